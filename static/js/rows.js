// The lists: one element a breaker, kept as long as the breaker is; changed cells are written, rows move only when nobody looks.
import { bar, marks, marksSize, spark } from "./shapes.js";
import { affected, kindOf, needsAttention, WORDS, worstFirst } from "./verdict.js";
import { count, duration, elapsed, hour, limit, percent, plural, speed } from "./words.js";
import { byId, say } from "./page.js";

const HOLD = 3000;

function note(row) {
  const { override, applied } = row;
  const parts = [];
  if (override) parts.push(`by ${override.by}${override.expires_at ? ` until ${hour(override.expires_at)}` : ""}${override.reason ? `: ${override.reason}` : ""}`);
  if (kindOf(row) === "ready") parts.push("Waiting for a call");
  if (!override && row.state !== "closed" && row.cause) parts.push(row.cause);
  if (row.instances.silent) parts.push(`${count(row.instances.silent)} silent`);
  if (applied.on !== applied.of) parts.push(`config on ${count(applied.on)} of ${count(applied.of)}`);
  return parts.join(" · ");
}

function rate(row) {
  if (row.failure_rate !== null) return percent(row.failure_rate);
  return row.rates.calls > 0 ? "few calls" : "no calls";
}

/** The words of a row: data-cell to text. */
export function texts(row) {
  const kind = kindOf(row);
  const [some, all] = affected(row);
  return {
    word: WORDS[kind],
    machine: row.override ? `machine: ${WORDS[row.state].toLowerCase()}` : "",
    name: row.name,
    under: row.group || row.services.join(", ") || "not linked",
    note: note(row),
    some: count(some),
    all: count(all),
    rate: rate(row),
    limit_text: row.limit === null ? "" : `limit ${limit(row.limit)}`,
    calls: speed(row.rates.calls),
    rejected: speed(row.rates.rejected),
  };
}

const put = (node, name, value) => node.getAttribute(name) !== value && node.setAttribute(name, value);

function fill(row, element) {
  const kind = kindOf(row);
  for (const [cell, text] of Object.entries(texts(row))) say(element.querySelector(`[data-cell=${cell}]`), text);
  put(element, "data-name", row.name);
  put(element, "data-state", kind);
  put(element, "data-since", row.since ?? "");
  put(element.querySelector(".badge use"), "href", `#i-${kind}`);
  const paths = marks(row);
  const [width, height] = marksSize(row);
  const picture = element.querySelector(".marks");
  put(picture, "width", String(width));
  put(picture, "height", String(height));
  for (const [name, d] of Object.entries(paths)) put(picture.querySelector(`.m-${name}`), "d", d);
  const [length, place, over] = bar(row);
  put(element.querySelector(".bar"), "data-over", over ? "yes" : "no");
  put(element.querySelector(".value"), "width", length);
  put(element.querySelector(".limit"), "d", place);
  const [line, area] = spark(row.trend);
  put(element.querySelector(".line"), "d", line);
  put(element.querySelector(".area"), "d", area);
  button(row, element);
}

function button(row, element) {
  const url = `/dashboard/breakers/${encodeURIComponent(row.name).replaceAll("%3A", ":")}`;
  put(element.querySelector("a.name"), "href", url);
  put(element.querySelector("a.more"), "href", url);
  put(element.querySelector("a.more"), "aria-label", `Details of ${row.name}`);
  const act = element.querySelector(".act");
  const label = row.override ? "Release" : "Reset";
  say(act, label);
  put(act, "aria-label", `${label} ${row.name}`);
  put(act, "formaction", row.override ? "/dashboard/release" : "/dashboard/reset");
  put(act, "value", `${row.name} ${row.version}`);
}

export class Lists {
  constructor() {
    this.places = { attention: byId("attention"), rest: byId("rest") };
    this.template = byId("row-template").content.firstElementChild;
    this.elements = new Map();
    for (const place of Object.values(this.places)) {
      for (const element of place.children) this.elements.set(element.dataset.name, element);
    }
    this.looking = 0;
    this.left = 0;
    this.order = { attention: [], rest: [] };
    this.watch();
  }

  /** Somebody points at a list, or is in it, or was until 3 s ago. */
  get held() {
    return this.looking > 0 || Date.now() - this.left < HOLD;
  }

  watch() {
    for (const place of Object.values(this.places)) {
      const states = { pointer: false, focus: false };
      const set = (what, on) => {
        if (states[what] === on) return;
        states[what] = on;
        this.looking += on ? 1 : -1;
        if (!on) {
          this.left = Date.now();
          setTimeout(() => this.arrange(), HOLD + 50);
        }
      };
      place.addEventListener("pointerenter", () => set("pointer", true));
      place.addEventListener("pointerleave", () => set("pointer", false));
      place.addEventListener("focusin", () => set("focus", true));
      place.addEventListener("focusout", (event) => set("focus", place.contains(event.relatedTarget)));
    }
  }

  /** Writes the rows in `changed` that `shown` has, and puts all in order. */
  paint(shown, changed) {
    const wanted = new Set();
    for (const row of shown) {
      wanted.add(row.name);
      let element = this.elements.get(row.name);
      if (element && !changed.has(row.name)) continue;
      if (!element) {
        element = this.template.cloneNode(true);
        this.elements.set(row.name, element);
      }
      fill(row, element);
    }
    for (const [name, element] of this.elements) {
      if (wanted.has(name)) continue;
      element.remove();
      this.elements.delete(name);
    }
    const sorted = worstFirst(shown);
    this.order = { attention: sorted.filter(needsAttention), rest: sorted.filter((row) => !needsAttention(row)) };
    this.arrange();
  }

  arrange() {
    const held = this.held;
    let moves = 0;
    for (const [name, place] of Object.entries(this.places)) {
      const order = this.order[name].map((row) => this.elements.get(row.name)).filter(Boolean);
      moves += held ? this.hold(place, order) : this.move(place, order);
    }
    say(byId("held"), held && moves ? `Order held: ${plural(moves, "row")} would move` : "");
    if (!held) this.count();
  }

  count() {
    const { attention, rest } = this.places;
    say(byId("attention-note"), `${plural(attention.children.length, "breaker")}, worst first`);
    say(byId("rest-note"), plural(rest.children.length, "breaker"));
    byId("attention-empty").hidden = attention.children.length > 0;
    byId("rest-empty").hidden = rest.children.length > 0;
  }

  move(place, order) {
    let cursor = place.firstElementChild;
    for (const element of order) {
      if (element === cursor) cursor = cursor.nextElementSibling;
      else place.insertBefore(element, cursor);
    }
    return 0;
  }

  /** New rows come in at the end; the others stay. How many would move. */
  hold(place, order) {
    const there = [...place.children];
    const passed = new Set();
    let next = 0;
    let moves = 0;
    for (const element of order) {
      if (!element.isConnected) place.append(element);
      while (passed.has(there[next])) next++;
      if (element === there[next]) next++;
      else moves++;
      passed.add(element);
    }
    return moves;
  }

  /** Time in state, once a second. */
  age(now) {
    for (const element of this.elements.values()) {
      say(element.querySelector(".c-age"), duration(elapsed(element.dataset.since || null, now)));
    }
  }
}
