// The overview: rows as they are heard, painted once a frame at most (a hidden tab: once a second).
import { actions } from "./actions.js";
import { announce, byId, free, icon, on, part, put, say, start } from "./page.js";
import { Lists } from "./rows.js";
import { dots, dotsHeight, pulse } from "./shapes.js";
import { chipOf, groupsOf, KINDS, kindOf, matches, needsAttention, tally, verdict, WORDS, worstFirst } from "./verdict.js";
import { clock, count, pageOf } from "./words.js";

const LATEST = 8;
const TOGETHER = 30000;
const rows = new Map();
const changed = new Set();
const query = new URLSearchParams(location.search);
const filter = { state: query.get("state") ?? "", group: query.get("group") ?? "", search: query.get("search") ?? "" };
const lists = new Lists();
const act = actions((name) => rows.get(name) ?? null);
const template = (id) => byId(id).content.firstElementChild.cloneNode(true);
let due = false;
let silent = 0;

const feed = start({
  snapshot(message) {
    rows.clear();
    take(message);
    paint();
  },
  update(message) {
    take(message);
    for (const name of message.removed) rows.delete(name);
    if (message.rows.length || message.removed.length) soon();
  },
  event(message) {
    act.event(message);
    tell(message);
  },
  tick() {
    lists.age(feed.time);
    if (rows.size) judge();
    beat();
  },
});

function take(message) {
  silent = message.summary.silent;
  for (const row of message.rows) {
    rows.set(row.name, row);
    changed.add(row.name);
  }
}

function soon() {
  if (due) return;
  due = true;
  if (document.hidden) setTimeout(paint, 1000);
  else requestAnimationFrame(paint);
}

const inPlace = (row) => matches(row, filter);
const isShown = (row) => inPlace(row) && (!filter.state || chipOf(kindOf(row)) === filter.state);

function paint() {
  due = false;
  const sorted = worstFirst(rows.values());
  lists.paint(sorted.filter(isShown), changed);
  changed.clear();
  lists.age(feed.time);
  judge();
  chips();
  groups(sorted);
}

function judge() {
  const every = [...rows.values()];
  const said = verdict(every, silent, feed.time);
  byId("verdict").dataset.state = said.level;
  icon(byId("verdict"), said.level);
  if (byId("verdict-title").textContent !== said.title) announce(said.title);
  say(byId("verdict-title"), said.title);
  byId("verdict-worst").hidden = !said.worst;
  const worst = part(byId("verdict-worst"), "a");
  say(worst, said.worst);
  put(worst, "href", pageOf(said.worst));
  say(byId("verdict-detail"), said.detail);
  const unsure = ["live", "lagging"].includes(feed.state) ? "" : "? ";
  const title = `${unsure}${said.open ? `(${said.open} open) ` : ""}Overview · Breakers`;
  if (document.title !== title) document.title = title;
  put(byId("favicon"), "href", byId("favicon").dataset[unsure ? "neutral" : said.level]);
  byId("onboarding")?.toggleAttribute("hidden", rows.size > 0);
  byId("fleet").hidden = rows.size === 0;
}

function chips() {
  const counts = tally([...rows.values()].filter(inPlace));
  counts.all = KINDS.reduce((sum, kind) => sum + counts[kind], 0);
  for (const chip of document.querySelectorAll(".chip")) say(part(chip, "b"), count(counts[chip.dataset.chip]));
  say(byId("all-link"), `All ${count(rows.size)} breakers`);
}

function groups(sorted) {
  const members = new Map();
  for (const row of sorted) {
    for (const name of groupsOf(row)) {
      if (!members.has(name)) members.set(name, []);
      members.get(name).push(row);
    }
  }
  const found = [...members].map(([name, group]) => {
    const worst = kindOf(group.find(needsAttention) ?? group[0]);
    return { name, kinds: group.map(kindOf), worst };
  });
  found.sort((a, b) => KINDS.indexOf(a.worst) - KINDS.indexOf(b.worst) || (a.name < b.name ? -1 : 1));
  const place = byId("groups");
  const old = new Map([...place.children].map((element) => [element.dataset.group, element]));
  const order = found.map((group) => group_(group, old.get(group.name) ?? template("group-template")));
  lists.move(place, order);
  for (const [name, element] of old) if (!members.has(name)) element.remove();
}

function group_({ name, kinds, worst }, element) {
  element.dataset.group = name;
  element.dataset.state = worst;
  say(part(element, "a"), name);
  put(part(element, "a"), "href", `/dashboard?group=${encodeURIComponent(name)}`);
  say(part(element, ".worst"), `${count(kinds.filter((kind) => kind === worst).length)} ${WORDS[worst].toLowerCase()}`);
  put(part(element, "svg"), "height", String(dotsHeight(kinds.length)));
  const paths = dots(kinds);
  for (const kind of KINDS) put(part(element, `.d-${kind}`), "d", paths[kind] ?? "");
  return element;
}

const ICONS = { reset: "reset", override: "forced_open", config: "config" };
const told = new Map();

function tell(message) {
  if (message.kind === "reset_progress" || message.change === "registered") return;
  const moved = message.kind === "transition";
  const kind = moved ? message.to_state : message.change === "override_released" ? "closed" : (ICONS[message.kind] ?? "config");
  const key = `${message.name} ${kind}`;
  const at = Date.parse(message.at);
  const last = told.get(key);
  const same = moved && last && at - last.at <= TOGETHER && last.element.isConnected && !last.instances.has(message.instance);
  const entry = same ? last : { element: template("change-template"), at, instances: new Set() };
  const { element, instances } = entry;
  instances.add(message.instance);
  told.set(key, entry);
  element.dataset.state = kind;
  icon(element, kind);
  say(part(element, "time"), clock(at));
  put(part(element, "time"), "datetime", message.at);
  say(part(element, "a"), message.name);
  put(part(element, "a"), "href", pageOf(message.name));
  const where = instances.size > 1 ? `${count(instances.size)} instances` : message.service;
  const cause = message.cause || (message.reason ?? "").replaceAll("_", " ");
  const text = moved ? `${WORDS[kind]} on ${where}: ${cause}` : `${message.text.replaceAll(" -> ", " → ")} · ${message.actor}`;
  say(part(element, "p"), text);
  const list = byId("changes");
  list.prepend(element);
  while (list.children.length > LATEST) list.lastElementChild.remove();
  byId("changes-empty").hidden = true;
  if (moved) count_(message.to_state);
}

const STATES = ["closed", "half_open", "open"];
const beats = Object.fromEntries(STATES.map((state) => [state, byId("pulse").dataset[state].split(" ").map(Number)]));
let minute = Math.floor(feed.time / 60000);

function count_(state) {
  beat();
  beats[state][59] += 1;
  draw();
}

function beat() {
  const now = Math.floor(feed.time / 60000);
  if (now === minute) return;
  for (; minute < now; minute++) {
    for (const state of STATES) beats[state] = [...beats[state].slice(1), 0];
  }
  draw();
}

function draw() {
  for (const [state, d] of Object.entries(pulse(beats))) put(part(byId("pulse"), `.p-${state}`), "d", d);
}

on(byId("search"), "input", (event) => {
  if (!rows.size) return;
  filter.search = event.target.value.trim();
  const url = new URL(location.href);
  if (filter.search) url.searchParams.set("search", filter.search);
  else url.searchParams.delete("search");
  history.replaceState(null, "", url);
  for (const name of rows.keys()) changed.add(name);
  paint();
});

on(byId("reset-all"), "click", (event) => {
  if (!rows.size) return;
  event.preventDefault();
  act.resetAll(event.currentTarget, [...rows.values()].filter(isShown));
});

on(document, "keydown", (event) => {
  if (!free(event)) return;
  const links = [...document.querySelectorAll(".rows a.name")];
  const here = links.indexOf(document.activeElement?.closest(".row")?.querySelector("a.name"));
  if (event.key === "j") links[Math.min(here + 1, links.length - 1)]?.focus();
  if (event.key === "k") links[Math.max(here - 1, 0)]?.focus();
  if (event.key === "r" && here >= 0) part(links[here].closest(".row"), ".act").click();
});
