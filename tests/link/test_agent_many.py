"""A push of a thousand changes: each agent hears what concerns it, and the event loop is not held meanwhile."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection

import pytest
from django.utils import timezone

from breakers import services
from breakers.agents import hub, messages
from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import BreakerStatus, Desired, DesiredBreaker, Report, ResetCommand, decode_from_server, encode
from breakers.documents import Entry
from breakers.fleet import fleet
from breakers.models import InstanceIdentity
from breakers.services import Actor

pytestmark = pytest.mark.django_db(transaction=True)
ALICE = Actor("user", "alice")
NAMES = [f"b{number:02}" for number in range(3 * hub.FEW)]


class Agent:
    """An instance that has these breakers, and what its socket was sent."""

    def __init__(self, names: Collection[str]) -> None:
        now, self.heard = timezone.now(), list[Desired]()
        identity = InstanceIdentity(uuid.uuid4(), "s", "h", 1, "t", now)
        fleet.connect(identity, now)
        statuses = tuple(BreakerStatus(name, CircuitBreakerState.CLOSED) for name in names)
        fleet.report(identity.id, Report(1, now.timestamp(), fleet.revision, statuses), now)
        self.link = hub.AgentLink(identity, names, self._send, self._close, 1)
        self.link.covered = self.link.told = fleet.revision

    async def _send(self, text: str) -> None:
        message = decode_from_server(text)
        assert isinstance(message, Desired)
        self.heard.append(message)

    async def _close(self, code: object) -> None:
        raise AssertionError(f"sent away: {code}")


@pytest.fixture
def breakers(ground: None) -> None:
    services.configs_import(entries=[Entry(name, {}) for name in NAMES], reason="", by=ALICE)
    fleet.synchronise()


def force(names: list[str]) -> None:
    given = {"override": Override.FORCED_OPEN, "reason": "INC-1", "expires_at": None, "by": ALICE, "confirm": True}
    services.overrides_set(names=names, **given)
    fleet.synchronise()


async def push(*agents: Agent) -> None:
    pushing = hub.Hub()
    for agent in agents:
        await pushing.join(agent.link)
    await pushing._deliver(asyncio.get_running_loop())


async def test_of_many_changes_an_agent_hears_those_of_its_breakers(breakers: None) -> None:
    some, others, none = Agent(NAMES[:2]), Agent(NAMES[1:4]), Agent(["unknown"])
    since = fleet.revision
    await asyncio.to_thread(force, NAMES)
    await push(some, others, none)
    assert [[row.name for row in message.breakers] for message in some.heard] == [NAMES[:2]]
    assert [[row.name for row in message.breakers] for message in others.heard] == [NAMES[1:4]]
    assert {(m.revision, m.since) for m in some.heard + others.heard} == {(since + len(NAMES), since)}
    assert some.heard[0].breakers[0].override is not None
    assert none.heard == []
    assert {agent.link.covered for agent in (some, others, none)} == {fleet.revision}


async def test_of_many_resets_an_agent_hears_those_of_its_breakers_with_what_else_changed(breakers: None) -> None:
    some, others = Agent(NAMES[:2]), Agent(NAMES[1:4])
    await asyncio.to_thread(force, NAMES)
    await asyncio.to_thread(services.breakers_reset_all, names=NAMES, reason="", by=ALICE)
    await asyncio.to_thread(fleet.synchronise)
    await push(some, others)
    assert [[reset.name for reset in message.resets] for message in some.heard] == [NAMES[:2]]
    assert [[row.name for row in message.breakers] for message in others.heard] == [NAMES[1:4]]
    assert [[reset.name for reset in message.resets] for message in others.heard] == [NAMES[1:4]]


def reset(names: list[str]) -> None:
    services.breakers_reset_all(names=names, reason="", by=ALICE)
    fleet.synchronise()


@pytest.mark.parametrize("act", [force, reset])
@pytest.mark.parametrize(("changed", "between"), [(NAMES, {1, 2}), (NAMES[:1], set())])
async def test_others_have_their_turn_within_a_long_push_and_not_within_a_short_one(
    breakers: None,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[list[str]], None],
    changed: list[str],
    between: set[int],
) -> None:
    monkeypatch.setattr(hub, "TURN", -1.0)  # it is always over
    agents, seen = [Agent(NAMES[:2]) for _ in range(3)], set[int]()

    async def look() -> None:
        while len(seen & {3}) == 0:
            seen.add(sum(bool(agent.heard) for agent in agents))
            await asyncio.sleep(0)

    await asyncio.to_thread(act, changed)
    looking = asyncio.create_task(look())
    await push(*agents)
    await looking
    assert seen - {0, 3} == between


def test_a_message_put_together_of_parts_is_the_message() -> None:
    rows = tuple(DesiredBreaker(name, 10 + n, config={"timeout": 1.5}) for n, name in enumerate("abc"))
    resets = (ResetCommand("1", "a", 0.5), ResetCommand("2", "b"))
    parts = messages.Parts(Desired(12, 3, rows))
    assert parts.concern({"c", "a", "x"}) == ["a", "c"]
    for names, commands in ((["a", "c"], resets), (["a"], ()), ([], resets)):
        wanted = tuple(row for row in rows if row.name in names)
        assert parts.encoded(names, 5, commands) == [encode(Desired(12, 5, wanted, commands))]


def test_an_agent_with_more_breakers_than_fit_is_told_in_parts() -> None:
    names = [f"b{number:04}" for number in range(1000)]
    rows = tuple(DesiredBreaker(name, 10 + n, config={"retry_statuses": 1500 * "5"}) for n, name in enumerate(names))
    told = [decode_from_server(text) for text in messages.Parts(Desired(1009, 3, rows)).encoded(names, 3, ())]
    assert [row.name for message in told for row in message.breakers] == names  # type: ignore[union-attr]  # all Desired
    assert len(told) > 1
