// The lists: one element a breaker, kept while it is there; rows move only when nobody looks.
import { bar, marks, marksSize, spark } from "./shapes.js";
import { affected, kindOf, needsAttention, WORDS } from "./verdict.js";
import { age, count, hour, limit, pageOf, percent, plural, speed } from "./words.js";
import { all, byId, copy, hide, icon, part, put, say, watched } from "./page.js";

const HOLD = 3000;
const PAUSE = 1000; // rows move at most that often: nobody reads what jumps
const SLICE = 6; // of a frame
const CHUNK = 20; // the server's too

function note(row) {
	const { override, applied, instances } = row;
	const until = override?.expires_at && ` until ${hour(override.expires_at)}`;
	return [
		override && `by ${override.by}${until ?? ""}${override.reason && `: ${override.reason}`}`,
		kindOf(row) === "ready" && "Waiting for a call",
		!override && row.state !== "closed" && row.cause,
		instances.silent && `${count(instances.silent)} silent`,
		applied.on !== applied.of && `config on ${count(applied.on)} of ${count(applied.of)}`,
	].filter(Boolean).join(" · ");
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

const SINGLE = ["badge", "marks", "bar", "value", "limit", "line", "area", "name", "more", "act", "age"];
const known = new WeakMap(); // element -> its parts: looking for them costs more than filling them
function partsOf(element) {
	let parts = known.get(element);
	if (parts) return parts;
	parts = Object.fromEntries(SINGLE.map((name) => [name, part(element, `.${name}`)]));
	parts.cells = all("[data-cell]", element);
	parts.paths = [...parts.marks.children];
	known.set(element, parts);
	return parts;
}

function fill(row, element, now) {
	const kind = kindOf(row);
	const words = texts(row);
	const parts = partsOf(element);
	for (const cell of parts.cells) say(cell, words[cell.dataset.cell]);
	put(element, "data-state", kind);
	icon(parts.badge, kind);
	const [width, height] = marksSize(row);
	put(parts.marks, "width", String(width));
	put(parts.marks, "height", String(height));
	const squares = marks(row);
	for (const path of parts.paths) put(path, "d", squares[path.classList[0].slice(2)]);
	const [length, place, over] = bar(row);
	put(parts.bar, "data-over", over ? "yes" : "no");
	put(parts.value, "d", `M0 3.5h${length}v5H0z`);
	put(parts.limit, "d", place);
	const [line, area] = spark(row.trend);
	put(parts.line, "d", line);
	put(parts.area, "d", area);
	aim(parts.act, row);
	put(parts.age, "data-age", row.since ?? "");
	say(parts.age, age(row.since, now));
}

/** The button of a row. */
export function aim(button, row) {
	const label = row.override ? "Release" : "Reset";
	if (!button.ariaBusy) say(button, label);
	put(button, "aria-label", `${label} ${row.name}`);
	put(button, "formaction", `/dashboard/${label.toLowerCase()}`);
	put(button, "value", `${row.name} ${row.version}`);
}

export class Lists {
	constructor() {
		this.places = { attention: byId("attention"), rest: byId("rest") };
		this.elements = new Map(all(".rows .row").map((element) => [element.dataset.name, element]));
		this.shown = new Map();
		this.seen = this.moved = this.late = 0;
	}

	/** Writes the `changed` of `shown` (by name, in order) for a part of a frame; whether more is left. */
	paint(shown, changed, now) {
		this.shown = shown;
		this.late ||= Date.now();
		const ends = document.hidden ? Infinity : performance.now() + SLICE;
		for (const name of changed) {
			if (performance.now() > ends) break;
			changed.delete(name);
			if (shown.has(name)) fill(shown.get(name), this.element(name), now);
		}
		if (Date.now() - (changed.size ? this.late : this.moved) >= PAUSE) this.arrange();
		return changed.size > 0;
	}

	element(name) {
		const there = this.elements.get(name);
		if (there) return there;
		const made = copy("row-template");
		const parts = partsOf(made);
		made.dataset.name = name;
		parts.name.href = parts.more.href = pageOf(name);
		parts.more.ariaLabel = `Details of ${name}`;
		this.elements.set(name, made);
		return made;
	}

	arrange() {
		if (Object.values(this.places).some(watched)) this.seen = Date.now();
		const held = Date.now() - this.seen < HOLD;
		const order = { attention: [], rest: [] };
		this.late = 0;
		this.moved = Date.now();
		for (const [name, element] of this.elements) {
			if (this.shown.has(name)) continue;
			element.remove();
			this.elements.delete(name);
		}
		for (const [name, row] of this.shown) {
			if (this.elements.has(name)) order[needsAttention(row) ? "attention" : "rest"].push(this.elements.get(name));
		}
		let moves = 0;
		for (const [name, place] of Object.entries(this.places)) {
			if (held) moves += this.hold(place, order[name]);
			else this.move(place, order[name]);
			hide(byId(`${name}-empty`), part(place, ".row"));
			if (!held) say(byId(`${name}-note`), plural(order[name].length, "breaker") + (name === "rest" ? "" : ", worst first"));
		}
		const more = order.attention.length - CHUNK;
		say(byId("attention-more"), more > 0 ? `and ${count(more)} more` : "");
		say(byId("held"), moves ? `Order held: ${plural(moves, "row")} would move` : "");
	}

	/** Each where it belongs: CHUNK of them in the first chunk, at most twice that in others, so that few move. */
	move(place, order) {
		let chunk = place.firstElementChild;
		let there = chunk.firstElementChild;
		let [placed, least, most] = [0, CHUNK, CHUNK];
		for (const element of order) {
			while (placed === most || (!there && placed >= least && chunk.nextElementSibling)) {
				if (!chunk.nextElementSibling) chunk.after(chunk.cloneNode());
				chunk = chunk.nextElementSibling;
				there = chunk.firstElementChild;
				[placed, least, most] = [0, 0, 2 * CHUNK];
			}
			if (there?.nextElementSibling === element) {
				there.remove(); // it leaves, and pushes no other: its turn comes
				there = element;
			}
			if (there === element) there = there.nextElementSibling;
			else chunk.insertBefore(element, there);
			placed++;
		}
	}

	/** New rows come last, the others stay: how many would move. */
	hold(place, order) {
		const there = all(".row", place);
		const passed = new Set();
		let next = 0;
		let moves = 0;
		for (const element of order) {
			if (!element.isConnected) place.lastElementChild.append(element);
			while (passed.has(there[next])) next++;
			if (element === there[next]) next++;
			else moves++;
			passed.add(element);
		}
		return moves;
	}

	/** Once a second: the order, where it had to wait. */
	settle() {
		if (this.late || byId("held").textContent) this.arrange();
	}
}
