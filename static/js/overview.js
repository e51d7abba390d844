// The overview: rows as they are heard, painted once a frame at most (a hidden tab: once a second).
import { actions } from "./actions.js";
import { live } from "./live.js";
import { announce, byId, free, head, icon, on, part, put, say, start } from "./page.js";
import { Lists } from "./rows.js";
import { chipOf, kindOf, matches, tally, verdict, worstFirst } from "./verdict.js";
import { count, pageOf } from "./words.js";

const rows = new Map();
const changed = new Set();
const filter = { state: "", group: "", search: "", ...Object.fromEntries(new URLSearchParams(location.search)) };
const lists = new Lists();
const act = actions((name) => rows.get(name) ?? null);
const regions = live();
let due = false;
let silent = 0;
let sorted = [];

const feed = start({
	snapshot(message) {
		rows.clear();
		take(message);
		paint();
		regions.soon();
	},
	update(message) {
		take(message);
		for (const name of message.removed) rows.delete(name);
		if (message.rows.length || message.removed.length) soon();
	},
	event(message) {
		act.event(message);
		if (message.kind !== "reset_progress") regions.soon();
	},
	tick() {
		lists.settle();
		if (rows.size && feed.sure) judge();
		regions.tick(feed);
	},
});

function take(message) {
	silent = message.summary.silent;
	for (const row of message.rows) {
		rows.set(row.name, row);
		changed.add(row.name);
	}
	act.rows(message.rows);
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
	sorted = worstFirst(rows.values());
	lists.paint(sorted.filter(isShown), changed, feed.time);
	changed.clear();
	judge();
	chips();
}

function judge() {
	const said = verdict(sorted, silent, feed.time);
	byId("verdict").dataset.state = said.level;
	icon(byId("verdict"), said.level);
	if (byId("verdict-title").textContent !== said.title) announce(said.title);
	say(byId("verdict-title"), said.title);
	byId("verdict-worst").hidden = !said.worst;
	const worst = part(byId("verdict-worst"), "a");
	say(worst, said.worst);
	put(worst, "href", pageOf(said.worst));
	say(byId("verdict-detail"), said.detail);
	head(`${said.open ? `(${said.open} open) ` : ""}Overview · Breakers`, said.level);
	byId("onboarding")?.toggleAttribute("hidden", rows.size > 0);
	byId("fleet").hidden = rows.size === 0;
}

function chips() {
	const counts = tally([...rows.values()].filter(inPlace));
	counts.all = Object.values(counts).reduce((a, b) => a + b);
	for (const chip of document.querySelectorAll(".chip")) say(part(chip, "b"), count(counts[chip.dataset.chip]));
	say(byId("all-link"), `All ${count(rows.size)} breakers`);
}

on(byId("search"), "input", (event) => {
	if (!rows.size) return;
	filter.search = event.target.value.trim();
	history.replaceState(null, "", `?${new URLSearchParams(new FormData(event.target.form))}`);
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
