// The modules that touch no page, in node's own runner: ``tests/dashboard/test_dashboard_scripts.py`` runs it.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Feed } from "./feed.js";
import { bar, marks, marksSize, spark } from "./shapes.js";
import { affected, kindOf, matches, needsAttention, verdict, worstFirst } from "./verdict.js";
import { age, count, duration, hour, limit, pageOf, percent, plural, roughly, speed, tenths } from "./words.js";

const row = (name, given = {}) => ({
  name, group: "", services: ["trading"], state: "closed", override: null, ready_to_probe: false,
  instances: { total: 4, closed: 4, half_open: 0, open: 0, silent: 0 }, applied: { on: 4, of: 4 },
  rates: { calls: 0, failures: 0, rejected: 0 }, since: null, failure_rate: null, limit: null, trend: [], ...given,
});
const opened = (name, n, given) =>
  row(name, { state: "open", instances: { total: 4, closed: 4 - n, half_open: 0, open: n, silent: 0 }, ...given });
const forced = { override: "forced_open", by: "user:alice", reason: "", expires_at: null };

test("figures read as people write them", () => {
  assert.deepEqual([0, 59.9, 221, 3840, 190800].map(duration), ["0 s", "59 s", "3 m 41 s", "1 h 4 m", "2 d 5 h"]);
  assert.deepEqual([48, 622, 3600, 200000].map(roughly), ["48 s", "10 min", "1 h", "2 d"]);
  assert.deepEqual([0, 0.25, 9.94, 9.95, 1203.6].map(speed), ["0", "0.3", "9.9", "10.0", "1,204"]);
  assert.deepEqual([tenths(0.05), percent(0.642), limit(0.5), limit(0.125)], ["0.1", "64.2%", "50%", "12.5%"]);
  assert.deepEqual([count(1234567), plural(1, "row"), plural(1200, "row")], ["1,234,567", "1 row", "1,200 rows"]);
  assert.equal(hour("2026-03-01T15:30:59Z"), "15:30");
  assert.equal(pageOf("host:80/x"), "/dashboard/breakers/host:80%2Fx");
});

test("an age is a duration, and a moment once nobody knows how late it is", () => {
  const since = "2026-03-01T11:50:00Z";
  assert.equal(age(since, Date.parse("2026-03-01T12:00:05Z")), "10 m 5 s");
  assert.equal(age(since, null), "since 11:50");
  assert.equal(age(since, null, " ago"), "at 11:50");
  assert.equal(age(since, Date.parse(since) + 90000, " ago"), "1 m 30 s ago");
  assert.equal(age("", null), "–");
  assert.equal(age(since, Date.parse("2026-03-01T11:49:00Z")), "0 s"); // clocks differ
});

test("an override comes before silence, and silence before the machine", () => {
  const silent = { total: 4, closed: 0, half_open: 0, open: 0, silent: 4 };
  assert.equal(kindOf(opened("a", 1, { override: forced, instances: silent })), "forced_open");
  assert.equal(kindOf(opened("a", 1, { instances: silent })), "no_data");
  assert.equal(kindOf(opened("a", 1, { ready_to_probe: true })), "ready");
  assert.deepEqual(affected(row("a", { override: forced, applied: { on: 3, of: 4 } })), [3, 4]);
  assert.equal(needsAttention(row("a", { instances: { ...silent, total: 0, silent: 0 } })), false);
});

test("the worst is first: kind, then share, then rejected, then name", () => {
  const half = row("half", { state: "half_open" });
  const loud = opened("loud", 2, { rates: { calls: 0, failures: 0, rejected: 9 } });
  const rows = [row("b"), row("a"), half, opened("some", 2), loud, opened("all", 4)];
  assert.deepEqual(worstFirst(rows).map(({ name }) => name), ["all", "loud", "some", "half", "a", "b"]);
});

test("one sentence for all of it", () => {
  const now = Date.parse("2026-03-01T12:00:00Z");
  const bad = [opened("bank", 3, { since: "2026-03-01T11:50:00Z" }), row("b"), row("c", { since: "2026-03-01T11:59:48Z" })];
  const { level, title, worst, detail } = verdict(bad, 1, now);
  assert.deepEqual([level, title, worst], ["open", "1 of 3 breakers is open", "bank"]);
  assert.equal(detail, ", open on 3 of 4 instances for 10 min. 1 instance is silent. Last change 12 s ago.");
  assert.equal(verdict([row("a"), row("b")], 0, now).title, "All 2 breakers are closed");
  const none = verdict([], 0, now);
  assert.deepEqual([none.level, none.title], ["no_data", "No breakers yet"]); // not healthy: there is nothing to be
});

test("a filter is a group and a word of name, group or service", () => {
  const one = row("Bank", { group: "settlement" });
  assert.equal(matches(one, { group: "", search: "bAnK" }), true);
  assert.equal(matches(one, { group: "", search: "trad" }), true);
  assert.equal(matches(one, { group: "trading", search: "" }), false); // it is shown in its group
  assert.equal(matches(row("b"), { group: "trading", search: "" }), true);
});

test("of many instances none vanishes from the marks", () => {
  const many = row("a", { instances: { total: 1000, closed: 997, half_open: 1, open: 1, silent: 1 } });
  const squares = Object.fromEntries(Object.entries(marks(many)).map(([name, d]) => [name, d.split("M").length - 1]));
  assert.deepEqual(squares, { half_fill: 1, open: 1, half_open: 1, silent: 1, closed: 37 });
  assert.deepEqual(marksSize(many), [90, 36]);
});

test("a line is broken where there were no calls, and a bar ends at its rate", () => {
  const [line] = spark([0, null, 100]);
  assert.equal(line, "M74.5 21.0h0M80.0 1.0h0");
  assert.deepEqual(bar(row("a", { failure_rate: 0.5, limit: 0.5 })), ["40.0", "M40.0 0v12", true]);
});

class FakeSocket {
  static made = [];
  constructor(url) {
    this.url = url;
    FakeSocket.made.push(this);
  }
  close() {}
}
// a clock in the test's hand: older nodes cannot mock Date
let time;
let timers;
function tick(milliseconds) {
  const ends = time + milliseconds;
  for (;;) {
    const [id, next] = [...timers].sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
    if (!next || next.at > ends) break;
    timers.delete(id);
    time = next.at;
    next.call();
  }
  time = ends;
}

let heard;
let feed;
const say = (message) => FakeSocket.made.at(-1).onmessage({ data: JSON.stringify(message) });
const stamp = () => new Date(time).toISOString();
const pass = (seconds) => {
  for (let i = 0; i < seconds; i++) {
    tick(1000);
    feed.tick();
  }
};
const online = (yes) => Object.defineProperty(globalThis, "navigator", { value: { onLine: yes }, configurable: true });

beforeEach(() => {
  time = Date.parse("2026-03-01T12:00:00Z");
  timers = new Map();
  let made = 0;
  Date.now = () => time;
  globalThis.setTimeout = (call, wait) => (timers.set(++made, { at: time + wait, call }), made);
  globalThis.clearTimeout = (id) => timers.delete(id);
  Object.assign(globalThis, { location: new URL("https://ops.example/dashboard"), document: { hidden: false }, addEventListener() {}, WebSocket: FakeSocket });
  globalThis.fetch = async () => { throw new Error("nobody answers"); };
  online(true);
  FakeSocket.made = [];
  heard = [];
  feed = new Feed("/ws/feed", { snapshot: () => heard.push("snapshot"), update: () => heard.push("update"), moved() {} });
  feed.open();
});

test("connecting, live, lagging, stale: a word for each", () => {
  assert.deepEqual([feed.state, feed.sure, FakeSocket.made[0].url], ["connecting", true, "wss://ops.example/ws/feed"]);
  say({ type: "update", rows: [], server_time: stamp() }); // before the snapshot: makes no sense yet
  say({ type: "snapshot", rows: [], server_time: stamp() });
  assert.deepEqual([feed.state, heard], ["live", ["snapshot"]]);
  pass(2);
  assert.equal(feed.state, "live");
  pass(1);
  assert.deepEqual([feed.state, feed.sure], ["lagging", true]);
  pass(13);
  assert.deepEqual([feed.state, feed.sure], ["stale", false]);
  say({ type: "update", rows: [], server_time: stamp() });
  assert.deepEqual([feed.state, heard], ["live", ["snapshot", "update"]]);
});

test("a clock that is wrong makes nothing late", () => {
  const theirs = () => new Date(Date.now() + 3600e3).toISOString();
  say({ type: "snapshot", rows: [], server_time: theirs() });
  pass(1);
  say({ type: "update", rows: [], server_time: theirs() });
  assert.deepEqual([feed.state, feed.behind], ["live", 0]);
});

test("a lost socket is tried again, later and later and within bounds", () => {
  say({ type: "snapshot", rows: [], server_time: stamp() });
  const waits = [];
  for (let i = 0; i < 12; i++) {
    const begun = Date.now();
    FakeSocket.made.at(-1).onclose({ code: 1006 });
    assert.equal(feed.state, "reconnecting");
    waits.push(feed.nextTry - begun);
    tick(15000);
  }
  assert.equal(FakeSocket.made.length, 13);
  assert.ok(waits.every((wait) => wait >= 500 && wait <= 15000), `${waits}`);
  assert.ok(waits[0] <= 1000);
});

test("who is signed out is not tried again", () => {
  say({ type: "snapshot", rows: [], server_time: stamp() });
  FakeSocket.made.at(-1).onclose({ code: 4401 });
  pass(60);
  assert.deepEqual([feed.state, feed.sure, FakeSocket.made.length], ["signed_out", false, 1]);
});

test("offline is said, and after a minute without sockets the page asks", async () => {
  say({ type: "snapshot", rows: [], server_time: stamp() });
  FakeSocket.made.at(-1).onclose({ code: 1006 });
  online(false);
  assert.equal(feed.state, "offline");
  online(true);
  const answer = { ok: true, status: 200, json: async () => ({ breakers: [], summary: {} }) };
  globalThis.fetch = async () => answer;
  globalThis.WebSocket = class extends FakeSocket {
    constructor(url) {
      super(url);
      queueMicrotask(() => this.onclose?.({ code: 1006 }));
    }
  };
  for (let i = 0; i < 75; i++) {
    pass(1);
    await new Promise((done) => setImmediate(done));
  }
  assert.equal(feed.state, "polling");
});
