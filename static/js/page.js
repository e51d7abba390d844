// What every page does: theme, clock, connection, toasts, keys.
import { Feed } from "./feed.js";
import { age, clock, roughly, tenths } from "./words.js";

export const part = (node, selector) => node.querySelector(selector);
export const on = (node, name, listener, how) => node.addEventListener(name, listener, how);
export const byId = (id) => document.getElementById(id);
const BANNER_AFTER = 2;
const TOAST = 8000;

// written only where it differs: what stands still costs nothing
export const say = (node, text) => node.textContent !== text && (node.textContent = text);
export const put = (node, name, value) => node.getAttribute(name) !== value && node.setAttribute(name, value);
export const icon = (node, kind) => put(part(node, "use"), "href", `#i-${kind}`);

export function toast(text, level = "info", node = null) {
	const line = node ?? byId("toast").content.firstElementChild.cloneNode(true);
	line.dataset.level = level;
	say(line, text);
	if (!line.isConnected) byId("toasts").append(line);
	clearTimeout(line.timer);
	line.timer = setTimeout(() => line.remove(), TOAST);
	return line;
}

let told = { title: document.title, level: byId("favicon").dataset.level };
/** What the tab says of the fleet, for as long as it is sure. */
export function head(title, level) {
	told = { title, level };
}

let announced = 0;
/** For those who listen: at most one sentence in 10 s. */
export function announce(text) {
	if (Date.now() - announced < 10000) return;
	announced = Date.now();
	say(byId("announcer"), text);
}

const keysOn = () => localStorage.getItem("keys") !== "off";

function theme() {
	const root = document.documentElement;
	on(byId("theme"), "click", () => {
		const dark = matchMedia("(prefers-color-scheme: dark)").matches;
		const shown = root.dataset.theme ?? (dark ? "dark" : "light");
		root.dataset.theme = shown === "dark" ? "light" : "dark";
		localStorage.setItem("theme", root.dataset.theme);
	});
}

function keys() {
	const box = byId("keys-on");
	box.checked = keysOn();
	on(box, "change", () => localStorage.setItem("keys", box.checked ? "on" : "off"));
	on(document, "keydown", (event) => {
		if (event.key === "?" && free(event)) byId("help-dialog").showModal();
		if (event.key === "/" && free(event) && byId("search")) {
			event.preventDefault();
			byId("search").focus();
		}
	});
}

/** Whether a single key is a command. */
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
	if (feed.without) document.body.dataset.without = feed.without;
	say(byId("link-word"), state[0].toUpperCase() + state.slice(1).replace("_", " "));
	const fresh = state === "live" || state === "lagging";
	say(byId("link-age"), fresh ? `${tenths(feed.behind)} s behind` : feed.serverTime ? `data from ${clock(feed.serverTime)}` : "");
	const title = (feed.sure ? "" : "? ") + told.title;
	if (document.title !== title) document.title = title;
	put(byId("favicon"), "href", byId("favicon").dataset[feed.sure ? told.level : "neutral"]);
	const words = banner(feed);
	byId("banner").hidden = !words;
	if (!words) return;
	say(byId("banner-what"), words[0]);
	say(byId("banner-more"), words[1].trim());
	say(byId("banner-button"), words[2]);
}

/** Wires the page; `hear` as Feed's `on`, and tick, each second. */
export function start(hear = {}) {
	const feed = new Feed(document.body.dataset.feed, { ...hear, moved: () => showLink(feed) });
	feed.open();
	showLink(feed);
	on(byId("banner-button"), "click", () => (feed.state === "signed_out" ? location.reload() : feed.reconnect()));
	setInterval(() => {
		feed.tick();
		say(byId("clock"), `${clock(feed.time)} UTC`);
		for (const node of document.querySelectorAll("[data-age]")) say(node, age(node.dataset.age, feed.sure ? feed.time : null));
		hear.tick?.(feed);
	}, 1000);
	theme();
	keys();
	for (const line of document.querySelectorAll(".toast")) toast(line.textContent, line.dataset.level, line);
	return feed;
}
