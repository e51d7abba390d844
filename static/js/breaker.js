// One breaker: its facts as they are heard. The tables stand as served.
import { actions } from "./actions.js";
import { byId, icon, part, say, start } from "./page.js";
import { aim, texts, trend } from "./rows.js";
import { kindOf } from "./verdict.js";
import { duration, elapsed } from "./words.js";

const place = byId("breaker");
let row = null;
const act = actions(() => row);

function paint(rows) {
  row = rows.find((one) => one.name === place.dataset.name) ?? row;
  if (!row) return;
  const kind = kindOf(row);
  place.dataset.state = kind;
  place.dataset.since = row.since ?? "";
  const words = texts(row);
  for (const cell of place.querySelectorAll("[data-cell]")) say(cell, words[cell.dataset.cell]);
  icon(part(place, ".badge"), kind);
  trend(place, row);
  aim(part(place, ".page-head .act"), row);
}

function probe(now) {
  if (row?.ready_to_probe) return "with the next call";
  return duration(row?.retry_at ? Math.max(0, (Date.parse(row.retry_at) - now) / 1000) : null);
}

start({
  snapshot: (message) => paint(message.rows),
  update: (message) => paint(message.rows),
  event: act.event,
  tick(feed) {
    say(byId("age"), duration(elapsed(place.dataset.since || null, feed.time)));
    if (row) say(byId("probe"), probe(feed.time));
  },
});
