"""Whatever is lost, repeated or late on the way: in the end both sides know the same, and nothing happened twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from breakers.core.config import CircuitBreakerConfig
from breakers.core.registry import CircuitBreakerRegistry
from breakers.core.states import CircuitBreakerState, Override, Reason
from breakers.core.sync import Sync
from breakers.core.wire import (
    Ack,
    BreakerStatus,
    Desired,
    DesiredBreaker,
    DesiredOverride,
    FromAgent,
    FromServer,
    Hello,
    Report,
    ResetCommand,
    decode_from_agent,
    decode_from_server,
    encode,
)
from breakers.testing import FakeClock

NAMES = ("a", "b")
CODE = CircuitBreakerConfig(failure_threshold=1, recovery_timeout=1e6)


class Peer:
    """The control plane as ``docs/protocol.md`` has it: desired rows by revision, one history, one report at a time."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.revision = 0
        self.rows: dict[str, DesiredBreaker] = {}
        self.commands: dict[str, tuple[ResetCommand, float]] = {}
        self.confirmed: set[str] = set()
        self.history: dict[int, str] = {}
        self.statuses: dict[str, BreakerStatus] = {}
        self.names: set[str] = set()
        self.linked = False

    def write(self, name: str, change: Callable[[DesiredBreaker], DesiredBreaker]) -> None:
        self.revision += 1
        before = self.rows.get(name, DesiredBreaker(name, 0))
        self.rows[name] = replace(change(before), revision=self.revision)

    def delete(self, name: str) -> None:
        if name in self.rows and not self.rows[name].deleted:
            self.revision += 1
            self.rows[name] = DesiredBreaker(name, self.revision, deleted=True)

    def command(self, name: str) -> None:
        self.revision += 1
        key = f"reset-{self.revision}"
        self.commands[key] = (ResetCommand(key, name), self.clock())

    def resets(self) -> tuple[ResetCommand, ...]:
        waiting = (item for key, item in self.commands.items() if key not in self.confirmed)
        return tuple(replace(command, age=self.clock() - at) for command, at in waiting)

    def whole(self) -> Desired:
        rows = tuple(row for name, row in self.rows.items() if name in self.names and not row.deleted)
        return Desired(self.revision, breakers=rows, resets=self.resets())

    def changes(self) -> Desired:
        rows = tuple(row for row in self.rows.values() if row.revision > self.told)
        told, self.told = self.told, self.revision
        return Desired(self.revision, since=told, breakers=rows, resets=self.resets())

    def hear(self, message: FromAgent) -> list[FromServer] | None:
        """The answers; ``None``: it hangs up."""
        if isinstance(message, Hello):
            self.linked, self.reported, self.recorded, self.told = True, 0, 0, self.revision
            self.names |= {registration.name for registration in message.registrations}
            return [self.whole()]
        assert isinstance(message, Report)
        if not self.linked or message.id > self.reported + 1:
            self.linked = False
            return None
        answers: list[FromServer] = []
        if message.id == self.reported + 1:
            self.reported = message.id
            answers += self.take(message)
        if message.revision < self.told:
            answers.append(self.whole())
        return [*answers, Ack(message.id, self.recorded)]

    def take(self, report: Report) -> list[FromServer]:
        for transition in report.transitions:
            known = self.history.setdefault(transition.sequence, transition.cause + str(transition.epoch))
            assert known == transition.cause + str(transition.epoch), "one number, two transitions"
            self.recorded = transition.sequence
        self.statuses.update({status.name: status for status in report.breakers})
        self.confirmed.update(report.resets)
        new = {registration.name for registration in report.registrations} - self.names
        self.names |= new
        rows = tuple(row for name, row in self.rows.items() if name in new and not row.deleted)
        return [Desired(self.told, since=self.told, breakers=rows)] if rows else []


class Conversation(RuleBasedStateMachine):
    """Two sides, two queues between them, and somebody who drops and repeats what is in them."""

    @initialize()
    def begin(self) -> None:
        self.clock = FakeClock()
        self.registry = CircuitBreakerRegistry(clock=self.clock)
        for name in NAMES:
            self.registry.get_or_create(name, CODE)
        self.happened: list[str] = []
        self.resets_seen = dict.fromkeys((*NAMES, "late"), 0)
        self.registry.on_transition(self._note)
        self.sync = Sync(self.registry, service="s", library="l", clock=self.clock, wall=lambda: 1e9)
        self.peer = Peer(self.clock)
        self.clock.advance(1)
        self.reconnect()

    def _note(self, breaker: object, transition) -> None:  # type: ignore[no-untyped-def]  # what the registry tells
        self.happened.append(transition.cause + str(transition.epoch))
        self.resets_seen[transition.name] += transition.reason is Reason.RESET

    # --- the program and the operator ----------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES))
    def fail(self, name: str) -> None:
        breaker = self.registry.get(name)
        assert breaker is not None
        if breaker.state is CircuitBreakerState.CLOSED:
            with pytest.raises(ZeroDivisionError):
                breaker.call_sync(lambda: 1 / 0)

    @rule()
    def make_another_breaker(self) -> None:
        self.registry.get_or_create("late", CODE)

    @rule(name=st.sampled_from((*NAMES, "late")), value=st.integers(1, 99))
    def edit(self, name: str, value: int) -> None:
        config = replace(CODE, name=name, success_threshold=value).as_dict()
        self.peer.write(name, lambda row: replace(row, version=row.version + 1, config=config, deleted=False))

    @rule(name=st.sampled_from(NAMES), forced=st.booleans())
    def override(self, name: str, forced: bool) -> None:
        order = DesiredOverride(Override.FORCED_CLOSED) if forced else None
        self.peer.write(name, lambda row: replace(row, override=order, deleted=False))

    @rule(name=st.sampled_from((*NAMES, "late")))
    def delete(self, name: str) -> None:
        self.peer.delete(name)

    @rule(name=st.sampled_from(NAMES))
    def reset(self, name: str) -> None:
        self.peer.command(name)

    @rule()
    def time_passes(self) -> None:
        self.clock.advance(0.5)

    # --- the two sides -------------------------------------------------------------------------------------------

    @rule()
    def reconnect(self) -> None:
        self.up: deque[str] = deque([encode(self.sync.hello())])
        self.down: deque[str] = deque()
        self.peer.linked = False

    @rule(whole=st.booleans(), limit=st.integers(1, 3))
    def report(self, whole: bool, limit: int) -> None:
        report = self.sync.report(whole=whole, heartbeat=whole, transitions=limit)
        if report is not None:
            self.up.append(encode(report))

    @rule()
    def push(self) -> None:
        if self.peer.linked:
            self.down.append(encode(self.peer.changes()))

    # --- the way between them ------------------------------------------------------------------------------------

    @rule(fate=st.sampled_from(("arrives", "arrives", "twice", "lost")))
    def up_goes(self, fate: str) -> None:
        self._pass(self.up, fate, self._at_the_peer)

    @rule(fate=st.sampled_from(("arrives", "arrives", "twice", "lost")))
    def down_goes(self, fate: str) -> None:
        self._pass(self.down, fate, self._at_the_sync)

    def _pass(self, queue: deque[str], fate: str, arrive: Callable[[str], None]) -> None:
        if queue:
            text = queue.popleft()
            for _ in range({"arrives": 1, "twice": 2, "lost": 0}[fate]):
                arrive(text)

    def _at_the_peer(self, text: str) -> None:
        message = decode_from_agent(text)
        if isinstance(message, Hello) and self.peer.linked:
            return
        answers = self.peer.hear(message)
        if answers is None:
            self.reconnect()
        else:
            self.down.extend(encode(answer) for answer in answers)

    def _at_the_sync(self, text: str) -> None:
        message = decode_from_server(text)
        assert message is not None
        self.sync.receive(message)

    # --- what holds ----------------------------------------------------------------------------------------------

    @invariant()
    def a_number_means_one_transition(self) -> None:
        for sequence, transition in self.peer.history.items():
            assert self.happened[sequence - 1] == transition

    @invariant()
    def a_reset_is_carried_out_at_most_once(self) -> None:
        for name in NAMES:
            given = sum(command.name == name for command, _ in self.peer.commands.values())
            assert self._resets(name) <= given

    def _resets(self, name: str) -> int:
        breaker = self.registry.get(name)
        assert breaker is not None
        seen = breaker.snapshot()
        return seen.epoch - seen.counts.state_changes + self.resets_seen[name]

    def teardown(self) -> None:
        """The way is good again: a while later both sides know the same."""
        self.reconnect()
        for _ in range(60):
            while self.up:
                self.up_goes("arrives")
            self.push()
            while self.down:
                self.down_goes("arrives")
            self.report(whole=True, limit=3)
        self._agree()

    def _agree(self) -> None:
        assert [self.peer.history[n] for n in sorted(self.peer.history)] == self.happened
        assert len(self.sync.outbox) == self.sync.outbox.dropped == 0
        assert self.sync.revision == self.peer.revision
        assert self.peer.confirmed == self.peer.commands.keys()
        for breaker in self.registry.all():
            self._agree_on(breaker.name)

    def _agree_on(self, name: str) -> None:
        breaker, row = self.registry.get(name), self.peer.rows.get(name)
        assert breaker is not None
        seen, told = breaker.snapshot(), self.peer.statuses[name]
        assert (told.state, told.epoch, told.counts.failures) == (seen.state, seen.epoch, seen.counts.failures)
        if row is None or row.deleted or row.config is None:
            assert breaker.config == breaker.code_config
        else:
            assert breaker.config.success_threshold == row.config["success_threshold"]
        assert seen.override == (row.override.override if row is not None and row.override is not None else None)
        if name in NAMES:
            assert self._resets(name) == sum(command.name == name for command, _ in self.peer.commands.values())


Conversation.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestConversation = Conversation.TestCase
