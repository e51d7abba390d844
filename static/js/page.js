// What every page does: theme, clock, connection, toasts, keys.
import { Feed } from "./feed.js";
import { age, clock, roughly, tenths } from "./words.js";

export const part = (node, selector) => node.querySelector(selector);
export const on = (node, name, listener, how) => node.addEventListener(name, listener, how);
export const byId = (id) => document.getElementById(id);
export const all = (selector, node = document) => [...node.querySelectorAll(selector)];
const BANNER_AFTER = 2;
const TOAST = 8000;

// written only where it differs: what stands still costs nothing
export function say(node, text) {
	if (node.textContent === text) return;
	if (text && node.firstChild?.data) node.firstChild.data = text;
	else node.textContent = text;
}
export const put = (node, name, value) => node.getAttribute(name) !== value && node.setAttribute(name, value);
export const copy = (id) => byId(id).content.firstElementChild.cloneNode(true);
export const hide = (node, yes) => node?.toggleAttribute("hidden", yes);
export const icon = (node, kind) => put(part(node, "use"), "href", `#i-${kind}`);

export function toast(text, level, line = copy("toast")) {
	line.dataset.level = level;
	say(line, text);
	if (!line.isConnected) byId("toasts").append(line);
	clearTimeout(line.timer);
	line.timer = setTimeout(() => line.remove(), TOAST);
	return line;
}

const HOVERS = matchMedia("(hover: hover)").matches; // a finger's stays
let keyed = true; // a click leaves the focus, not the eye, and so does a dialog that it opened
on(document, "pointerdown", () => (keyed = false), true);
on(document, "keydown", (event) => (keyed ||= !event.target.closest("dialog")), true);
/** Somebody points at it, or is in it by keyboard. */
export const watched = (node) => (HOVERS && node.matches(":hover")) || (keyed && node.contains(document.activeElement));

let told = { title: document.title, level: byId("favicon").dataset.level };
/** What the tab says of the fleet, for as long as it is sure. */
export const head = (title, level) => (told = { title, level });

let news = "";
let announced = 0;
/** For those who listen: at most one sentence in 10 s, the newest. */
export function announce(text = news) {
	news = text;
	if (!news || Date.now() - announced < 10000) return;
	announced = Date.now();
	say(byId("announcer"), news);
	news = "";
}

const keysOn = () => localStorage.keys !== "off";

on(byId("theme"), "click", () => {
	const { dataset } = document.documentElement;
	dataset.theme ||= matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
	dataset.theme = dataset.theme === "dark" ? "light" : "dark";
	localStorage.theme = dataset.theme;
});

const box = byId("keys-on");
box.checked = keysOn();
on(box, "change", () => (localStorage.keys = box.checked ? "on" : "off"));
/** What single keys do, outside of fields and dialogs. */
export const keys = { "?": () => byId("help-dialog").showModal() };
on(document, "keydown", (event) => {
	const { key, target, ctrlKey, metaKey, altKey } = event;
	if (!keysOn() || !keys[key] || ctrlKey || metaKey || altKey || target.closest("input, textarea, select, dialog")) return;
	event.preventDefault();
	keys[key]();
});

function showLink(feed) {
	const { state, serverTime } = feed;
	const { dataset } = document.body;
	if (feed.without) dataset.without = feed.without;
	const lost = (Date.now() - feed.lostAt) / 1000;
	const word = state[0].toUpperCase() + state.slice(1).replace("_", " ");
	const fresh = state === "live" || state === "lagging";
	if (dataset.link !== state && !fresh && state !== "connecting") announce(word);
	dataset.link = state;
	say(byId("link-word"), word);
	say(byId("link-age"), fresh ? `${tenths(feed.behind)} s behind` : serverTime ? `data from ${clock(serverTime)}` : "");
	const title = (feed.sure ? "" : "? ") + told.title;
	if (document.title !== title) document.title = title;
	put(byId("favicon"), "href", byId("favicon").dataset[feed.sure ? told.level : "no_data"]);
	hide(byId("banner"), state === "reconnecting" && lost < BANNER_AFTER);
	if (feed.sure) return;
	const wait = Math.max(0, Math.ceil((feed.nextTry - Date.now()) / 1000));
	const facts = { behind: roughly(feed.behind), lost: roughly(lost), wait };
	if (serverTime) facts.at = clock(serverTime);
	for (const [name, text] of Object.entries(facts)) say(byId(`banner-${name}`), text);
}

/** Wires the page; `hear` as Feed's `on`, and tick, each second */
export function start(hear = {}) {
	const feed = new Feed(document.body.dataset.feed, { ...hear, moved: () => showLink(feed) });
	feed.open();
	showLink(feed);
	on(byId("reconnect"), "click", () => feed.reconnect());
	setInterval(() => {
		feed.tick();
		announce();
		say(byId("clock"), `${clock(feed.time)} UTC`);
		for (const node of all(".age")) say(node, age(node.dataset.age, feed.sure ? feed.time : null, node.dataset.ago));
		hear.tick?.(feed);
	}, 1000);
	for (const line of all(".toast")) toast(line.textContent, line.dataset.level, line);
	return feed;
}
