// What every page does: theme, clock, the word for the connection, toasts, keys that work everywhere.
import { Feed } from "./feed.js";
import { clock, roughly, tenths } from "./words.js";

export const byId = (id) => document.getElementById(id);
const BANNER_AFTER = 2;
const TOAST = 8000;
const LAMPS = { live: "Live", lagging: "Lagging", stale: "Stale", reconnecting: "Reconnecting", connecting: "Connecting", polling: "Polling", offline: "Offline", signed_out: "Signed out" };

/** Text only where it differs: what stands still costs nothing. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function toast(text, level = "info", node = null) {
  const line = node ?? byId("toast").content.firstElementChild.cloneNode(true);
  line.dataset.level = level;
  say(line, text);
  if (!line.isConnected) byId("toasts").append(line);
  clearTimeout(line.timer);
  line.timer = setTimeout(() => line.remove(), TOAST);
  return line;
}

let announced = 0;
/** For those who listen: at most one sentence in 10 s. */
export function announce(text) {
  if (Date.now() - announced < 10000) return;
  announced = Date.now();
  say(byId("announcer"), text);
}

export const keysOn = () => localStorage.getItem("keys") !== "off";

function theme() {
  const root = document.documentElement;
  byId("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const shown = root.dataset.theme ?? (dark ? "dark" : "light");
    root.dataset.theme = shown === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  });
}

function keys() {
  const box = byId("keys-on");
  box.checked = keysOn();
  box.addEventListener("change", () => localStorage.setItem("keys", box.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    if (event.key === "?" && free(event)) byId("help-dialog").showModal();
    if (event.key === "/" && free(event) && byId("search")) {
      event.preventDefault();
      byId("search").focus();
    }
  });
}

/** Whether a single key is a command: not while somebody types, or in a dialog, or with keys switched off. */
export function free(event) {
  const typing = event.target.closest("input, textarea, select, dialog");
  return keysOn() && !typing && !event.ctrlKey && !event.metaKey && !event.altKey;
}

function banner(feed) {
  const at = clock(feed.serverTime || Date.now());
  const lost = Math.max(0, (Date.now() - feed.lostAt) / 1000);
  const seen = feed.serverTime ? ` You see the fleet as of ${at} UTC.` : " You see the page as it was served.";
  const checked = " Actions still go to the server and are checked there.";
  switch (feed.state) {
    case "stale":
      return [`No news for ${roughly(feed.behind)}.`, seen + checked, "Reconnect now"];
    case "reconnecting":
      if (lost < BANNER_AFTER) return null;
      return [`Live updates lost ${roughly(lost)} ago.`, `${seen} Next try in ${feed.wait} s.${checked}`, "Reconnect now"];
    case "polling":
      return ["Live updates do not get through.", " This page asks every 10 s instead.", "Reconnect now"];
    case "offline":
      return ["This computer is offline.", seen, "Reconnect now"];
    case "signed_out":
      return ["You are signed out.", `${seen} Sign in to go on.`, "Sign in"];
    default:
      return null;
  }
}

function showLink(feed) {
  const { state } = feed;
  document.body.dataset.link = state;
  say(byId("link-word"), LAMPS[state]);
  const fresh = state === "live" || state === "lagging";
  say(byId("link-age"), fresh ? `${tenths(feed.behind)} s behind` : feed.serverTime ? `data from ${clock(feed.serverTime)}` : "");
  const words = banner(feed);
  byId("banner").hidden = !words;
  if (!words) return;
  say(byId("banner-what"), words[0]);
  say(byId("banner-more"), words[1].trim());
  say(byId("banner-button"), words[2]);
}

/** Wires the page; `on` as for Feed, plus tick, each second. Returns the feed. */
export function start(on = {}) {
  const nothing = () => {};
  const feed = new Feed(document.body.dataset.feed, {
    snapshot: on.snapshot ?? nothing,
    update: on.update ?? nothing,
    event: on.event ?? nothing,
    moved: () => feed_ && showLink(feed_),
  });
  feed_ = feed;
  showLink(feed);
  byId("banner-button").addEventListener("click", () => (feed.state === "signed_out" ? location.reload() : feed.reconnect()));
  setInterval(() => {
    feed.tick();
    say(byId("clock"), `${clock(feed.time)} UTC`);
    on.tick?.(feed);
  }, 1000);
  theme();
  keys();
  for (const line of document.querySelectorAll(".toast")) toast(line.textContent, line.dataset.level, line);
  return feed;
}
let feed_ = null;
