"""Laws that hold after whatever instances, people and time do, in any order."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from breakers.core.states import Override
from breakers.core.wire import WindowCounts
from breakers.fleet import Row
from breakers.fleet.rows import derive_row
from tests.fleet.conftest import Linked, Scene

NAMES = ("a", "b", "c")
STATES = ("closed", "half_open", "open")
SEVERITY = {state: severity for severity, state in enumerate(STATES)}
slots = st.integers(0, 3)
names = st.sampled_from(NAMES)
adds = st.dictionaries(st.sampled_from(("successes", "failures", "rejected", "ignored")), st.integers(0, 9))


class Model:
    """What an instance is to somebody who only remembers facts."""

    def __init__(self, linked: Linked) -> None:
        self.linked = linked
        self.heard = linked.scene.now
        self.gone = False
        self.revision = 0
        self.states: dict[str, str] = {}
        self.windows: dict[str, tuple[int, int]] = {}

    def live(self) -> bool:
        return not self.gone and self.linked.scene.now - self.heard <= timedelta(seconds=15)


class FleetMachine(RuleBasedStateMachine):
    """Four instances at most, three names; the model derives each row from scratch."""

    @initialize()
    def begin(self) -> None:
        self.scene = Scene()
        self.scene.want("a", "b")
        self.models: dict[int, Model] = {}
        self.dead: list[Model] = []
        self.last_known: dict[str, str] = {}
        self.seen: dict[str, Row] = {}
        self.seen_version = 0
        self.totals: dict[str, dict[str, int]] = {}

    def _model(self, slot: int) -> Model:
        """The instance in the slot; a new one where there is none."""
        if slot not in self.models:
            self.models[slot] = Model(self.scene.link(f"service-{slot % 2}"))
        return self.models[slot]

    def _hear(self, model: Model) -> Linked:
        model.heard, model.gone = self.scene.now, False
        model.revision = model.linked.revision
        return model.linked

    @rule(slot=slots, name=names, state=st.sampled_from(STATES), add=adds, window=st.none() | st.integers(0, 20))
    def tell(self, slot: int, name: str, state: str, add: dict[str, int], window: int | None) -> None:
        model = self._model(slot)
        told = None if window is None else WindowCounts(calls=window, failures=window // 2)
        self._hear(model).tell(name, state, add=add, window=told)
        model.states[name] = state
        model.windows.pop(name, None)
        if told is not None:
            model.windows[name] = (told.calls, told.failures)
        self._remember()

    @rule(slot=slots, name=names)
    def blip(self, slot: int, name: str) -> None:
        model = self._model(slot)
        self._hear(model).move("open", "half_open", "closed", name=name, ago=(3.0, 2.0, 1.0))
        model.states[name] = "closed"
        model.windows.pop(name, None)
        self._remember()

    @rule(slot=slots, name=names)
    def forget(self, slot: int, name: str) -> None:
        """The last is that it is closed; then the process has it no more. It may never have been told of before."""
        model = self._model(slot)
        self._hear(model).tell(name, "closed", forgotten=True)
        del model.linked.states[name]  # one that is made anew has a later epoch
        model.states[name] = "closed"
        self._remember()
        del model.states[name]
        model.windows.pop(name, None)
        self._remember()

    @rule(slot=slots)
    def heartbeat(self, slot: int) -> None:
        self._hear(self._model(slot)).send()
        self._remember()

    @rule(slot=slots)
    def repeat_the_past(self, slot: int) -> None:
        """A report of long ago arrives again: zero counts must not take anything back."""
        model = self._model(slot)
        linked = self._hear(model).send()
        for name in model.states:
            counts, linked.counts[name] = linked.counts.get(name, {}), {}
            window = model.windows.get(name)
            told = None if window is None else WindowCounts(*window)
            linked.tell(name, model.states[name], window=told)
            linked.counts[name] = counts
        self._remember()

    @rule(slot=slots)
    def reconnect(self, slot: int) -> None:
        model = self._model(slot)
        model.linked.disconnect().connect()
        model.heard, model.gone = self.scene.now, False
        self._remember()

    @rule(slot=slots)
    def lose(self, slot: int) -> None:
        self._model(slot).linked.disconnect()

    @rule(slot=slots)
    def goodbye(self, slot: int) -> None:
        model = self._model(slot)
        model.linked.goodbye()
        model.gone = True
        self._remember()

    @rule(slot=slots)
    def replace_process(self, slot: int) -> None:
        if slot in self.models:
            model = self.models.pop(slot)
            model.linked.goodbye()
            model.gone = True
            self.dead.append(model)
            self._remember()

    @rule(seconds=st.sampled_from((1, 4, 14, 16, 301)))
    def time_passes(self, seconds: int) -> None:
        for _ in range(min(seconds, 20)):
            self.scene.wait(1)
            self._age()
        if seconds > 20:
            self.scene.now += timedelta(seconds=seconds - 20)
            self.scene.fleet.tick(self.scene.now)
            self._age()

    def _age(self) -> None:
        for model in self.models.values():
            model.gone = model.gone or self.scene.now - model.heard > timedelta(seconds=300)
        self._remember()

    @rule(name=names, threshold=st.integers(1, 9))
    def edit(self, name: str, threshold: int) -> None:
        self.scene.want(name, failure_threshold=threshold)

    @rule(name=names, seconds=st.none() | st.integers(1, 20))
    def force(self, name: str, seconds: int | None) -> None:
        until = None if seconds is None else self.scene.now + timedelta(seconds=seconds)
        self.scene.want(name, override=Override.FORCED_OPEN, override_expires_at=until)

    @rule(name=names)
    def drop(self, name: str) -> None:
        if name in self.scene.records:
            self.scene.drop(name)

    @rule(slot=slots)
    def confirm(self, slot: int) -> None:
        model = self._model(slot)
        model.linked.revision = self.scene.revision
        self._hear(model).send()
        self._remember()

    @rule(slot=slots, name=names)
    def refuse(self, slot: int, name: str) -> None:
        model = self._model(slot)
        self._hear(model).refuse(name)
        self._remember()

    @rule()
    def look(self) -> None:
        """A reader of the feed catches up: old rows and changes are the fresh rows."""
        version, changed, removed = self.scene.fleet.changed_since(self.seen_version)
        assert not changed & removed
        for name in removed:
            self.seen.pop(name, None)
        for name in changed:
            row = self.scene.fleet.row(name)
            assert row is not None
            self.seen[name] = row
        self.seen_version = version
        assert self.seen == {row["name"]: row for row in self.scene.fleet.rows()}

    def _remember(self) -> None:
        for name in NAMES:
            live = [m.states[name] for m in self.models.values() if m.live() and name in m.states]
            if live:
                self.last_known[name] = max(live, key=SEVERITY.__getitem__)

    @invariant()
    def rows_are_what_the_facts_say(self) -> None:
        rows = self.scene.fleet.rows()
        assert [row["name"] for row in rows] == sorted(self.scene.records)
        for row in rows:
            self._check(row)

    def _check(self, row: Row) -> None:
        name = row["name"]
        present = [m for m in self.models.values() if not m.gone and name in m.states]
        live = [m for m in present if m.live()]
        states = [m.states[name] for m in live]
        expected = {state: states.count(state) for state in STATES}
        assert row["instances"] == {"total": len(present), **expected, "silent": len(present) - len(live)}
        assert row["state"] == self.last_known.get(name, "closed")
        assert row["services"] == sorted({m.linked.identity.service for m in present})
        windows = [m.windows[name] for m in live if name in m.windows]
        if windows:
            calls, failures = (sum(column) for column in zip(*windows, strict=True))
            assert row["failure_rate"] == (round(failures / calls, 4) if calls else None)
        assert row["applied"]["of"] == len(live)
        assert row["applied"]["on"] <= sum(m.revision >= self.scene.records[name].revision for m in live)

    @invariant()
    def kept_rows_are_derived_rows(self) -> None:
        """Nothing that a row shows changes without the row being derived again."""
        fleet = self.scene.fleet
        for row in fleet.rows():
            view = fleet._ledger.view(row["name"])
            assert row == derive_row(view, self.scene.records[row["name"]], self.scene.now)

    @invariant()
    def totals_never_go_down_and_add_up(self) -> None:
        everybody = [*self.models.values(), *self.dead]
        for name in self.scene.records:
            metrics = self.scene.fleet.metrics(name)
            for outcome in ("successes", "failures", "rejected", "ignored"):
                counted = sum(m.linked.counts.get(name, {}).get(outcome, 0) for m in everybody)
                assert metrics[f"{outcome}_total"] == counted
            before = self.totals.get(name, {})
            after = {key: value for key, value in metrics.items() if key.endswith("_total")}
            assert all(after[key] >= value for key, value in before.items())
            self.totals[name] = after
            parts = ("successes", "failures", "ignored", "late", "rejected")
            assert after["requests_total"] == sum(after[f"{part}_total"] for part in parts)

    @invariant()
    def the_summary_is_the_sum_of_the_rows(self) -> None:
        summary, rows = self.scene.fleet.summary(), self.scene.fleet.rows()
        assert summary["open"] + summary["half_open"] + summary["closed"] == summary["total"] == len(rows)
        present = [m for m in self.models.values() if not m.gone]
        assert summary["instances"] == len(present)
        assert {UUID(i["instance"]) for i in self.scene.fleet.instances()} == {m.linked.id for m in present}

    @invariant()
    def since_is_never_in_the_future(self) -> None:
        for row in self.scene.fleet.rows():
            assert row["since"] is not None
            assert row["since"] <= self.scene.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


FleetMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestFleetLaws = FleetMachine.TestCase
