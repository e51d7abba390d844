// One breaker: its facts as they are heard; the server writes the rest.
import { actions } from "./actions.js";
import { live } from "./live.js";
import { byId, icon, part, say, start } from "./page.js";
import { aim, texts } from "./rows.js";
import { kindOf } from "./verdict.js";
import { duration } from "./words.js";

const place = byId("breaker");
const { name } = place.dataset;
let row = null;
const act = actions(() => row);
const regions = live();

function paint({ rows }) {
	const found = rows.find((one) => one.name === name);
	if (!found) return;
	row = found;
	const kind = kindOf(row);
	const words = texts(row);
	place.dataset.state = kind;
	place.dataset.target = `${name} ${row.version}`;
	byId("age").dataset.age = row.since ?? "";
	for (const cell of place.querySelectorAll("[data-cell]")) say(cell, words[cell.dataset.cell]);
	icon(part(place, ".badge"), kind);
	aim(part(place, ".page-head .act"), row);
	act.rows(rows);
}

function probe(now) {
	if (row.ready_to_probe) return "with the next call";
	return duration(row.retry_at ? Math.max(0, (Date.parse(row.retry_at) - now) / 1000) : null);
}

start({
	snapshot(message) {
		paint(message);
		regions.soon();
	},
	update: paint,
	event(message) {
		act.event(message);
		if (message.name === name) regions.soon();
	},
	tick(feed) {
		regions.tick(feed);
		if (row) say(byId("probe"), probe(feed.time));
	},
});
