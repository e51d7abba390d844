// The overview: rows as they are heard, painted once a frame at most, hidden once a second.
import { actions } from "./actions.js";
import { live } from "./live.js";
import { all, announce, byId, head, hide, icon, keys, on, part, put, say, start } from "./page.js";
import { Lists } from "./rows.js";
import { chipOf, matches, tally, verdict, worstFirst } from "./verdict.js";
import { count, pageOf, plural } from "./words.js";

const rows = new Map();
const changed = new Set();
const filter = { state: "", group: "", search: "", ...Object.fromEntries(new URLSearchParams(location.search)) };
const lists = new Lists();
const act = actions((name) => rows.get(name), resetAll);
const regions = live();
let due = false;
let painted = 0;
let silent = 0;
let sorted = [];
let shown = null; // by name, in order; null: something changed

const feed = start({
	snapshot(message) {
		rows.clear();
		take(message);
		shown = null;
		paint();
		regions.soon();
	},
	update(message) {
		for (const name of message.removed) rows.delete(name);
		take(message);
		if (!shown) soon();
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
	if (message.rows.length || message.removed?.length) shown = null;
	act.rows(message.rows);
}

function soon() {
	if (document.hidden && Date.now() - painted >= 1000) return paint(); // timers sleep there for a minute
	if (due) return;
	due = true;
	if (document.hidden) setTimeout(paint, 1000);
	else requestAnimationFrame(paint);
}

const inPlace = (row) => matches(row, filter);
const isShown = (row) => inPlace(row) && (!filter.state || chipOf(row) === filter.state);

function paint() {
	due = false;
	painted = Date.now();
	if (!shown) {
		sorted = worstFirst(rows.values());
		shown = new Map(sorted.filter(isShown).map((row) => [row.name, row]));
		judge();
		chips();
	}
	if (lists.paint(shown, changed, feed.time)) soon();
}

function judge() {
	const { level, title, worst, detail, open } = verdict(sorted, silent, feed.time);
	put(byId("verdict"), "data-state", level);
	icon(byId("verdict"), level);
	if (byId("verdict-title").textContent !== title) announce(title);
	say(byId("verdict-title"), title);
	hide(byId("verdict-worst"), !worst);
	const link = part(byId("verdict-worst"), "a");
	say(link, worst);
	put(link, "href", pageOf(worst));
	say(byId("verdict-detail"), detail);
	head(`${open ? `(${count(open)} open) ` : ""}Overview · Breakers`, level);
	hide(byId("onboarding"), rows.size > 0);
	hide(byId("fleet"), !rows.size);
}

function chips() {
	const found = [...rows.values()].filter(inPlace);
	const counts = { ...tally(found), "": found.length };
	for (const chip of all(".chip")) {
		const state = chip.dataset.chip;
		say(part(chip, "b"), count(counts[state]));
		chip.search = new URLSearchParams({ ...filter, state });
	}
	say(byId("all-link"), `All ${count(rows.size)} breakers`);
}

// What the dialog of Reset all says.
function resetAll() {
	if (!rows.size) return null; // the server knows
	const now = [...rows.values()].filter(isShown);
	const open = now.filter((row) => chipOf(row) === "open").length;
	const facts = `${count(open)} of them ${open === 1 ? "is" : "are"} open now. Overrides stay.`;
	return { count: plural(now.length, "breaker"), typed: String(now.length), facts };
}

on(byId("search"), "input", (event) => {
	if (!rows.size) return;
	filter.search = event.target.value.trim();
	history.replaceState(null, "", `?${new URLSearchParams(new FormData(event.target.form))}`);
	byId("reset-all").search = location.search;
	for (const name of rows.keys()) changed.add(name);
	shown = null;
	lists.moved = 0;
	paint();
});

function step(by) {
	const links = all(".rows a.name").filter((link) => link.checkVisibility());
	const here = links.indexOf(document.activeElement.closest(".row")?.querySelector("a.name"));
	links[Math.min(Math.max(here + by, 0), links.length - 1)]?.focus();
}
keys["/"] = () => byId("search").focus();
keys.j = () => step(1);
keys.k = () => step(-1);
