// One breaker: its facts as they are heard; the server writes the rest.
import { actions } from "./actions.js";
import { live } from "./live.js";
import { all, byId, copy, icon, part, say, start } from "./page.js";
import { aim, texts } from "./rows.js";
import { bar } from "./shapes.js";
import { kindOf } from "./verdict.js";
import { clock, duration } from "./words.js";

const place = byId("breaker");
const { name } = place.dataset;
let row = null;
let gone = false;
const act = actions(() => row);
const regions = live();

/** Somebody deleted it: what was can be read, not acted on. */
function end() {
	if (gone) return;
	gone = true;
	row = null;
	act.rows([]);
	place.dataset.state = "no_data";
	icon(part(place, ".badge"), "no_data");
	say(byId("said"), "Deleted");
	byId("gone").append(copy("gone-words"));
	for (const button of all(".btn", place)) {
		Object.assign(button, { role: "button", ariaDisabled: "true", title: `${name} was deleted` });
		button.removeAttribute("href");
	}
}

function paint({ type, rows, removed }) {
	const found = rows.find((one) => one.name === name);
	if (!found && (type !== "update" || removed.includes(name))) end();
	if (!found) return;
	if (gone) location.reload(); // somebody made it anew
	row = found;
	const kind = kindOf(row);
	const words = texts(row);
	place.dataset.state = kind;
	place.dataset.target = `${name} ${row.version}`;
	byId("age").dataset.age = row.since ?? "";
	for (const cell of all("[data-cell]", place)) say(cell, words[cell.dataset.cell]);
	icon(part(place, ".badge"), kind);
	place.classList.toggle("over", bar(row)[2]);
	aim(part(place, ".page-head .act"), row);
	act.rows(rows);
}

function probe({ sure, time }) {
	const at = Date.parse(row.retry_at);
	if (row.ready_to_probe) return "with the next call";
	if (!at) return "–";
	return sure ? duration(Math.max(0, (at - time) / 1000)) : `at ${clock(at)}`;
}

start({
	snapshot(message) {
		paint(message);
		if (!gone) regions.soon();
	},
	update: paint,
	event(message) {
		act.event(message);
		if (message.name === name && !gone) regions.soon();
	},
	tick(feed) {
		if (!gone) regions.tick(feed);
		if (row) say(byId("probe"), probe(feed));
	},
});
