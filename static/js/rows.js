// The lists: one element a breaker, kept while it is there; rows move only when nobody looks.
import { bar, marks, marksSize, spark } from "./shapes.js";
import { affected, kindOf, needsAttention, WORDS } from "./verdict.js";
import { age, count, hour, limit, pageOf, percent, plural, speed } from "./words.js";
import { byId, part, put, say } from "./page.js";

const HOLD = 3000;
const KEYED = ":has(:focus-visible)"; // a click leaves the focus, not the eye
const HOVERS = matchMedia("(hover: hover)").matches; // a finger's stays

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

const SINGLE = {
	use: ".badge use", marks: ".marks", bar: ".bar", value: ".value", limit: ".limit", line: ".line", area: ".area",
	name: "a.name", more: "a.more", act: ".act", age: ".c-age",
};
const known = new WeakMap(); // element -> its parts: looking for them costs more than filling them
function partsOf(element) {
	if (known.has(element)) return known.get(element);
	const parts = Object.fromEntries(Object.entries(SINGLE).map(([name, selector]) => [name, part(element, selector)]));
	parts.cells = [...element.querySelectorAll("[data-cell]")];
	parts.paths = [...parts.marks.children];
	known.set(element, parts);
	return parts;
}

function fill(row, element, now) {
	const kind = kindOf(row);
	const words = texts(row);
	const parts = partsOf(element);
	for (const cell of parts.cells) say(cell, words[cell.dataset.cell]);
	put(element, "data-name", row.name);
	put(element, "data-state", kind);
	put(parts.use, "href", `#i-${kind}`);
	const [width, height] = marksSize(row);
	put(parts.marks, "width", String(width));
	put(parts.marks, "height", String(height));
	const squares = marks(row);
	for (const path of parts.paths) put(path, "d", squares[path.classList[0].slice(2)]);
	const [length, place, over] = bar(row);
	put(parts.bar, "data-over", over ? "yes" : "no");
	put(parts.value, "width", length);
	put(parts.limit, "d", place);
	const [line, area] = spark(row.trend);
	put(parts.line, "d", line);
	put(parts.area, "d", area);
	for (const link of [parts.name, parts.more]) put(link, "href", pageOf(row.name));
	put(parts.more, "aria-label", `Details of ${row.name}`);
	aim(parts.act, row);
	put(parts.age, "data-age", row.since ?? "");
	say(parts.age, age(row.since, now));
}

/** The button of a row. */
export function aim(button, row) {
	const label = row.override ? "Release" : "Reset";
	if (!button.hasAttribute("data-pending")) say(button, label);
	put(button, "aria-label", `${label} ${row.name}`);
	put(button, "formaction", `/dashboard/${label.toLowerCase()}`);
	put(button, "value", `${row.name} ${row.version}`);
}

export class Lists {
	constructor() {
		this.places = { attention: byId("attention"), rest: byId("rest") };
		this.template = byId("row-template").content.firstElementChild;
		this.elements = new Map();
		for (const place of Object.values(this.places)) {
			for (const element of place.children) this.elements.set(element.dataset.name, element);
		}
		this.seen = 0;
		this.order = { attention: [], rest: [] };
	}

	/** Somebody points at a list, or is in it, or was 3 s ago. */
	get held() {
		const looks = HOVERS ? `:hover, ${KEYED}` : KEYED;
		if (Object.values(this.places).some((place) => place.matches(looks))) this.seen = Date.now();
		return Date.now() - this.seen < HOLD;
	}

	/** Writes the `changed` rows of `shown`, which come in order. */
	paint(shown, changed, now) {
		const wanted = new Set();
		for (const row of shown) {
			wanted.add(row.name);
			let element = this.elements.get(row.name);
			if (element && !changed.has(row.name)) continue;
			if (!element) {
				element = this.template.cloneNode(true);
				this.elements.set(row.name, element);
			}
			fill(row, element, now);
		}
		for (const [name, element] of this.elements) {
			if (wanted.has(name)) continue;
			element.remove();
			this.elements.delete(name);
		}
		this.order = { attention: shown.filter(needsAttention), rest: shown.filter((row) => !needsAttention(row)) };
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
			if (cursor && element === cursor.nextElementSibling) {
				cursor.remove(); // one that leaves does not push all others: its turn comes
				cursor = element;
			}
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

	/** Once a second: the order, where it was held. */
	settle() {
		if (byId("held").textContent) this.arrange();
	}
}
