"""What several servers show together: the whole fleet on each, nobody twice, nobody lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import BreakerStatus, Counts, OverrideStatus, Report, WindowCounts
from tests.fleet.conftest import START, Linked
from tests.fleet.servers import Servers, arrive, differences, ids, instance_of, late, move

CLOSED = CircuitBreakerState.CLOSED


@pytest.fixture
def servers() -> Servers:
    return Servers()


def test_each_shows_the_instances_of_the_others(servers: Servers) -> None:
    first, second = servers.all
    here, there = servers.link(0).tell(add={"successes": 3}), servers.link(1).tell(state="open", add={"failures": 2})
    servers.exchange()
    assert ids(first) == ids(second) == {here.id, there.id}
    assert first.steady_rows() == second.steady_rows()
    assert first.row()["state"] == "open"
    assert first.row()["instances"] == {"total": 2, "closed": 1, "half_open": 0, "open": 1, "silent": 0}
    assert first.totals() == second.totals()
    assert first.totals()["requests_total"] == 5
    assert [row["linked"] for row in first.fleet.instances()] == [True, True]
    assert first.fleet.picture().agents == second.fleet.picture().agents == 2


def test_everything_of_an_instance_is_the_same_on_each(servers: Servers) -> None:
    first, second = servers.all
    there = servers.link(1)
    there.latency["bank-api"] = {"30": 5, "50": 1}
    there.move("open", cause="5 consecutive failures", ago=(2.0,))
    there.tell(
        state="open", add={"failures": 5, "slow": 1}, retry_in=30.0, consecutive_failures=5, config_version=1,
        override=OverrideStatus(Override.FORCED_CLOSED, "fleet", "INC-1"), window=WindowCounts(10, 5, 1),
        last_failure_time=12.0, last_success_time=11.0,
    )  # fmt: skip
    there.refuse(error="cannot be")
    servers.exchange()
    assert first.fleet.instance_rows("bank-api") == second.fleet.instance_rows("bank-api")
    assert first.fleet.instances() == second.fleet.instances()
    assert first.fleet.metrics("bank-api") == second.fleet.metrics("bank-api")
    assert first.row() == second.row()
    assert first.row()["cause"] == "5 consecutive failures"
    assert first.fleet.troubles("bank-api") == second.fleet.troubles("bank-api")


def test_one_that_moves_is_counted_once_all_the_way(servers: Servers) -> None:
    first, second = servers.all
    linked = servers.link(0).tell(add={"successes": 10})
    servers.exchange()
    move(linked, second).tell(add={"successes": 5})
    assert second.totals()["requests_total"] == 15
    assert first.totals()["requests_total"] == 10
    servers.exchange()
    assert first.totals() == second.totals()
    assert first.totals()["requests_total"] == 15
    assert instance_of(first, linked)["calls"] == 15
    servers.exchange()
    assert first.shelf == {}, "only its home speaks for it"
    assert first.row()["instances"]["total"] == 1


def test_the_newest_report_wins_whichever_server_is_read_last(servers: Servers) -> None:
    first, second = servers.all
    linked = servers.link(0).tell(state="open", window=WindowCounts(4, 4))
    third = Servers(1).all[0]
    first.lay_down()
    servers.now += timedelta(seconds=1)
    arrive(linked, second).tell(state="closed", window=WindowCounts(9, 0))
    second.lay_down()
    third.house.now = servers.now
    for order in ((first, second), (second, first), (second, first, second)):
        for server in order:
            third.take_in(server, again=True)
        assert third.row()["state"] == "closed"
        assert third.fleet.metrics("bank-api")["window"]["calls"] == 9


def test_what_an_instance_has_forgotten_it_has_nowhere_also_where_it_was_told_last(servers: Servers) -> None:
    first, second = servers.all
    linked = servers.link(0).tell(state="open")
    servers.exchange()
    linked.tell(state="closed", forgotten=True)
    first.lay_down()
    move(linked, second).send()  # it has told that it has forgotten, and tells it no more
    second.take_in(first)
    servers.exchange()
    assert [server.row()["instances"]["total"] for server in servers.all] == [0, 0]
    del linked.states["bank-api"]  # made anew
    linked.tell(state="open")
    servers.exchange()
    assert [server.row()["instances"]["open"] for server in servers.all] == [1, 1]


def test_who_had_forgotten_a_breaker_leaves_no_state_of_it_behind(servers: Servers) -> None:
    first, second = servers.all
    has_it, had_it = servers.link(0).tell(state="open"), servers.link(0).tell(state="closed", forgotten=True)
    servers.exchange()
    has_it.goodbye()
    servers.now += timedelta(seconds=1)
    had_it.goodbye()
    servers.exchange()
    assert [server.row()["state"] for server in servers.all] == ["open", "open"]
    assert first.row()["instances"] == second.row()["instances"]


def test_that_a_breaker_was_forgotten_is_read_in_the_database_where_nobody_else_tells_it(servers: Servers) -> None:
    first, second = servers.all
    linked = servers.link(0).tell(state="open")
    servers.exchange()
    servers.now += timedelta(seconds=1)
    linked.tell(state="closed", forgotten=True)
    second.fleet.refresh(first.fleet.observed_for_persist())
    assert second.row()["instances"]["total"] == 0


def test_a_reset_is_for_nobody_who_has_forgotten_the_breaker_elsewhere(servers: Servers) -> None:
    first, _ = servers.all
    servers.link(1).tell().tell(forgotten=True)
    servers.now += timedelta(seconds=1)
    command = first.reset()
    servers.exchange()
    assert first.fleet.reset_progress(command)["targeted"] == 0


def test_a_late_report_to_the_old_server_takes_nothing_back(servers: Servers) -> None:
    first, second = servers.all
    linked = servers.link(0).tell(add={"successes": 1})
    under_way = Report(
        id=9, now=servers.now.timestamp(), breakers=(BreakerStatus("bank-api", CLOSED, counts=Counts(1)),)
    )
    servers.now += timedelta(seconds=1)
    arrive(linked, second).tell(add={"successes": 1})
    servers.exchange()
    late(linked, first, under_way)
    servers.exchange()
    servers.exchange()
    assert first.shelf == {}
    assert first.totals() == second.totals()
    assert first.totals()["requests_total"] == 2


def test_who_is_linked_elsewhere_is_live_as_long_as_it_is_heard_there(servers: Servers) -> None:
    first, _ = servers.all
    there = servers.link(1).tell()
    servers.wait(60, heartbeats=(there,))
    assert first.row()["instances"]["silent"] == 0
    servers.wait(14)
    assert first.row()["instances"]["silent"] == 0
    servers.wait(3)
    assert first.row()["instances"]["silent"] == 1


def test_a_share_that_is_not_renewed_keeps_nobody_alive(servers: Servers) -> None:
    first, second = servers.all
    servers.link(1).tell(state="open")
    servers.exchange()
    first.fleet.orphan(second.name)
    servers.wait(14, exchange=False)
    assert first.row()["instances"] == {"total": 1, "closed": 0, "half_open": 0, "open": 1, "silent": 0}
    servers.wait(2, exchange=False)
    assert first.row()["instances"]["silent"] == 1


def test_what_a_dead_server_had_not_written_is_written_by_who_knew(servers: Servers) -> None:
    first, second = servers.all
    servers.link(1).tell(add={"failures": 3})
    servers.exchange()
    assert first.fleet.observed_for_persist() == [], "its home does that"
    first.fleet.orphan(second.name)
    (record,) = first.fleet.observed_for_persist()
    assert record.observed["bank-api"]["counts"]["failures"] == 3


def test_a_goodbye_is_known_everywhere_and_its_totals_stay(servers: Servers) -> None:
    first, _ = servers.all
    servers.link(1).tell(add={"failures": 3}).goodbye()
    servers.exchange()
    assert first.fleet.instances() == []
    assert first.totals()["failures_total"] == 3
    servers.wait(130)
    assert servers.all[1].shelf == {}, "whoever was away for so long reads it in the database"
    assert first.totals()["failures_total"] == 3


def test_a_reset_is_confirmed_across_servers(servers: Servers) -> None:
    first, second = servers.all
    here, there = servers.link(0).tell(), servers.link(1).tell()
    servers.exchange()
    servers.now += timedelta(seconds=1)
    command = first.reset()
    second.resets, second.revision = first.resets, first.revision
    second.apply()
    told: list[dict[str, object]] = []
    first.fleet.on_event(told.append)
    there.send(resets=(command,))
    here.send(resets=(command,))
    servers.exchange()
    for server in servers.all:
        assert server.fleet.reset_progress(command) == {"targeted": 2, "confirmed": 2, "silent": 0}
    assert [event["confirmed"] for event in told] == [1, 2]


def test_a_confirmation_may_come_before_the_command_is_known(servers: Servers) -> None:
    first, second = servers.all
    there = servers.link(1).tell()
    servers.now += timedelta(seconds=1)
    command = second.reset()
    there.send(resets=(command,))
    servers.exchange()
    first.resets, first.revision = second.resets, second.revision
    first.apply()
    assert first.fleet.reset_progress(command) == {"targeted": 1, "confirmed": 1, "silent": 0}


def test_a_reset_is_also_for_who_was_running_elsewhere_and_not_yet_known(servers: Servers) -> None:
    first, _ = servers.all
    servers.link(1).tell()
    servers.now += timedelta(seconds=1)
    command = first.reset()
    assert first.fleet.reset_progress(command)["targeted"] == 0
    servers.exchange()
    assert first.fleet.reset_progress(command)["targeted"] == 1
    servers.now += timedelta(seconds=1)
    servers.link(1).tell()
    servers.exchange()
    assert first.fleet.reset_progress(command)["targeted"] == 1, "who came later is not asked"


def test_a_state_that_came_and_went_between_two_beats_is_known_everywhere(servers: Servers) -> None:
    first, second = servers.all
    there = servers.link(1).tell()
    servers.exchange()
    for _ in range(3):
        servers.now += timedelta(seconds=3)
        there.move("open", "closed", ago=(2.0, 1.0), cause="it flaps")
    servers.exchange()
    troubles = first.fleet.troubles("bank-api")
    assert troubles is not None
    assert (troubles.openings, troubles.flapping_since) == (3, START + timedelta(seconds=1))
    assert troubles == second.fleet.troubles("bank-api")
    assert first.row()["since"] == second.row()["since"]


def test_calls_elsewhere_are_traffic_of_this_moment_but_not_a_past(servers: Servers) -> None:
    first, second = servers.all
    there = servers.link(1).tell(add={"successes": 1000})
    servers.wait(1)
    assert first.row()["rates"]["calls"] == 0
    for _ in range(10):
        there.tell(add={"successes": 10})
        servers.wait(1)
    assert first.row()["rates"]["calls"] == second.row()["rates"]["calls"] > 5
    move(there, first)
    servers.wait(30)
    assert first.row()["rates"]["calls"] == 0


def test_speeds_shares_and_trends_are_the_same_on_each(servers: Servers) -> None:
    first, second = servers.all
    here, there = servers.link(0).tell(), servers.link(1).tell()
    servers.wait(70, heartbeats=(here, there))
    for _ in range(25):
        here.tell(add={"successes": 3, "failures": 1, "rejected": 1})
        there.tell(add={"successes": 2, "failures": 2})
        servers.wait(1)
        assert first.row() == second.row()
    row = first.row()
    assert row["rates"] == {"calls": 8.0, "failures": 3.0, "rejected": 1.0}
    assert row["failure_rate"] == 0.375
    assert row["trend"][-2:] == [37.5, 37.5]
    assert first.fleet.volumes("bank-api") == second.fleet.volumes("bank-api")
    servers.wait(100, heartbeats=(here, there))
    assert first.row() == second.row()
    assert first.row()["failure_rate"] is None


def test_nonsense_of_one_instance_is_not_the_others(servers: Servers, caplog: pytest.LogCaptureFixture) -> None:
    first, second = servers.all
    bad, good = servers.link(1).tell(), servers.link(1).tell()
    second.lay_down()
    version, blob = second.shelf[str(bad.id)]
    second.shelf[str(bad.id)] = version, blob.replace(b"closed", b"clowns")
    first.take_in(second)
    assert instance_of(first, good)["state"] == "closed"
    assert "makes no sense" in caplog.text


def test_alone_nothing_is_kept_for_others() -> None:
    alone = Servers(1)
    alone.all[0].fleet._shared = alone.all[0].fleet._ledger.shared = False
    linked = alone.link().move("open", "closed")
    (facts,) = alone.all[0].fleet._ledger.instances.values()
    assert facts.breakers["bank-api"].moves == ()
    assert linked.id == facts.identity.id


class MergedMachine(RuleBasedStateMachine):
    """Links that move as they like between three servers that hear of each other in any order, and often."""

    slots, places = st.integers(0, 3), st.integers(0, 2)

    @initialize()
    def begin(self) -> None:
        self.servers = Servers(3, ("a", "b"))
        self.linked: dict[int, Linked] = {}
        self.gone: list[Linked] = []
        self.least: dict[tuple[int, str], dict[str, int]] = {}

    def _link(self, slot: int, place: int) -> Linked:
        if slot not in self.linked:
            self.linked[slot] = self.servers.link(place)
        return self.linked[slot]

    def _pass_time(self) -> None:
        self.servers.now += timedelta(milliseconds=10)

    @rule(slot=slots, place=places, name=st.sampled_from("ab"), state=st.sampled_from(("closed", "half_open", "open")),
          add=st.dictionaries(st.sampled_from(("successes", "failures", "rejected")), st.integers(0, 9)))  # fmt: skip
    def tell(self, slot: int, place: int, name: str, state: str, add: dict[str, int]) -> None:
        self._pass_time()
        self._link(slot, place).tell(name, state, add=add)

    @rule(slot=slots, place=places, name=st.sampled_from("ab"))
    def flap(self, slot: int, place: int, name: str) -> None:
        self._pass_time()
        self._link(slot, place).move("open", "closed", name=name, ago=(0.002, 0.001))

    @rule(slot=slots, place=places, name=st.sampled_from("ab"))
    def forget(self, slot: int, place: int, name: str) -> None:
        self._pass_time()
        linked = self._link(slot, place)
        linked.tell(name, "closed", forgotten=True)
        del linked.states[name]  # one that is made anew has a later epoch

    @rule(slot=slots, place=places, noticed=st.booleans())
    def move(self, slot: int, place: int, noticed: bool) -> None:
        self._pass_time()
        linked, to = self._link(slot, place), self.servers.all[place]
        if linked.scene is not to:
            (move if noticed else arrive)(linked, to)

    @rule(slot=slots)
    def leave(self, slot: int) -> None:
        self._pass_time()
        if slot in self.linked:
            self.linked[slot].goodbye()
            self.gone.append(self.linked.pop(slot))

    @rule(reader=places, writer=places, again=st.booleans(), fresh=st.booleans())
    def hear(self, reader: int, writer: int, again: bool, fresh: bool) -> None:
        self._pass_time()
        if fresh or not self.servers.all[writer].version:
            self.servers.all[writer].lay_down()
        if reader != writer:
            self.servers.all[reader].take_in(self.servers.all[writer], again=again)

    @rule()
    def agree(self) -> None:
        """Two beats, and everybody shows the same: exactly what the instances have counted, and who is there."""
        self._pass_time()
        self.servers.exchange()
        self.servers.exchange()
        first = self.servers.all[0]
        for server in self.servers.all:
            assert not differences(server.steady_rows(), first.steady_rows())
            assert ids(server) == {linked.id for linked in self.linked.values()}
            assert not differences(server.fleet.instances(), first.fleet.instances())
            for name in "ab":
                counted = [linked.counts.get(name, {}) for linked in (*self.linked.values(), *self.gone)]
                totals = server.totals(name)
                for key in ("successes", "failures", "rejected"):
                    assert totals[f"{key}_total"] == sum(counts.get(key, 0) for counts in counted)
                states = [linked.states[name][0].value for linked in self.linked.values() if name in linked.states]
                shown = server.row(name)["instances"]
                assert {state: shown[state] for state in ("closed", "half_open", "open")} == {  # type: ignore[literal-required]  # those three
                    state: states.count(state) for state in ("closed", "half_open", "open")
                }

    @invariant()
    def totals_never_go_down(self) -> None:
        for index, server in enumerate(self.servers.all):
            for name in "ab":
                totals, before = server.totals(name), self.least.get((index, name), {})
                assert all(totals[key] >= count for key, count in before.items())
                self.least[index, name] = totals


TestMerged = MergedMachine.TestCase
TestMerged.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
