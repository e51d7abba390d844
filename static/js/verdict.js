// What a row comes to; dashboard/verdict.py says the same.
import { count, elapsed, plural, roughly } from "./words.js";

export const WORDS = {
	open: "Open",
	ready: "Ready to probe",
	half_open: "Half-open",
	forced_open: "Forced open",
	forced_closed: "Forced closed",
	no_data: "No data",
	closed: "Closed",
};
const KINDS = Object.keys(WORDS); // worst first

export function kindOf(row) {
	if (row.override) return row.override.override;
	if (row.instances.total === row.instances.silent) return "no_data";
	return row.ready_to_probe ? "ready" : row.state;
}

export const chipOf = (row) => kindOf(row).replace("ready", "open");

export function needsAttention(row) {
	const kind = kindOf(row);
	return kind === "no_data" ? row.instances.total > 0 : kind !== "closed";
}

export function affected(row) {
	const { instances } = row;
	const kind = kindOf(row);
	if (row.override) return [row.applied.on, row.applied.of];
	if (kind === "no_data") return [instances.silent, instances.total];
	if (kind === "half_open") return [instances.half_open, instances.total];
	return [kind === "closed" ? instances.closed : instances.open, instances.total];
}

function rank(row) {
	const [some, all] = affected(row);
	const trouble = needsAttention(row);
	return [KINDS.indexOf(kindOf(row)), trouble && all ? -some / all : 0, trouble ? -row.rates.rejected : 0];
}

const ranks = new WeakMap(); // a row that changes is another row
const rankOf = (row) => ranks.get(row) ?? ranks.set(row, rank(row)).get(row);

export function worstFirst(rows) {
	return [...rows]
		.map((row) => [rankOf(row), row])
		.sort(([a, x], [b, y]) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2] || (x.name < y.name ? -1 : 1))
		.map(([, row]) => row);
}

export function tally(rows) {
	const counts = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
	for (const row of rows) counts[chipOf(row)] += 1;
	return counts;
}

const groupsOf = (row) => (row.group ? [row.group] : row.services.length ? row.services : ["not linked"]);

export function matches(row, filter) {
	if (filter.group && !groupsOf(row).includes(filter.group)) return false;
	if (!filter.search) return true;
	const text = [row.name, row.group, ...row.services].join(" ").toLowerCase();
	return text.includes(filter.search.toLowerCase());
}

const be = (n) => (n === 1 ? "is" : "are");
const ASIDES = KINDS.slice(2, -1);
const aside = (kind, n) => `${count(n)} ${kind === "no_data" ? `send${n === 1 ? "s" : ""}` : be(n)} ${WORDS[kind].toLowerCase()}`;

/** `rows` worst first. */
export function verdict(rows, silent, now) {
	const counts = tally(rows);
	const worst = rows.find(needsAttention);
	const asides = ASIDES.filter((kind) => counts[kind]);
	return {
		open: counts.open,
		level: counts.open ? "open" : asides.length ? "half_open" : rows.length ? "closed" : "no_data",
		title: title(counts, asides, rows.length),
		worst: worst?.name ?? "",
		detail: `${worst ? `, ${plight(worst, now)}.` : ""}${unheard(silent)}${lastChange(rows, now)}`.trim(),
	};
}

function title(counts, asides, total) {
	if (!total) return "No breakers yet";
	if (counts.open) return `${count(counts.open)} of ${plural(total, "breaker")} ${be(counts.open)} open`;
	if (asides.length) return `No breaker is open; ${asides.map((kind) => aside(kind, counts[kind])).join(", ")}`;
	return total === 1 ? "The one breaker is closed" : `All ${count(total)} breakers are closed`;
}

function plight(row, now) {
	const [some, all] = affected(row);
	const age = elapsed(row.since, now);
	const word = WORDS[kindOf(row)].toLowerCase();
	if (row.override) return `${word} by ${row.override.by}`;
	return `${word} on ${count(some)} of ${plural(all, "instance")}${age === null ? "" : ` for ${roughly(age)}`}`;
}

const unheard = (n) => (n ? ` ${plural(n, "instance")} ${be(n)} silent.` : "");

function lastChange(rows, now) {
	const last = rows.reduce((newest, { since }) => (since > newest ? since : newest), "");
	return last ? ` Last change ${roughly(elapsed(last, now))} ago.` : "";
}
