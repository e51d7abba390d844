"""The link's thread against a control plane that the test plays itself, over a real websocket."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web

from breakers.client.carrier import Link
from breakers.core.config import CircuitBreakerConfig
from breakers.core.registry import CircuitBreakerRegistry
from breakers.core.sync import Sync
from breakers.core.wire import (
    Ack,
    Desired,
    DesiredBreaker,
    Farewell,
    FromServer,
    Goodbye,
    Hello,
    Report,
    Welcome,
    decode_from_agent,
    encode,
)

T = TypeVar("T")


async def soon(probe: Callable[[], T], within: float = 60.0) -> T:
    """The first true answer of ``probe``."""
    async with asyncio.timeout(within):
        while not (answer := probe()):
            await asyncio.sleep(0.01)  # between two looks; what ends the wait is the answer
        return answer


class Visit:
    """One connection of a link."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.over = asyncio.Event()

    async def hear(self) -> Hello | Report | Goodbye:
        heard = await self.socket.receive(timeout=10)
        assert heard.type is aiohttp.WSMsgType.TEXT, heard
        return decode_from_agent(heard.data)

    async def hear_report(self, wanted: Callable[[Report], object]) -> Report:
        while True:
            message = await self.hear()
            assert isinstance(message, Report), message
            if wanted(message):
                return message

    async def say(self, *messages: FromServer | str) -> None:
        for message in messages:
            await self.socket.send_str(message if isinstance(message, str) else encode(message))

    async def welcome(self, **terms: float) -> Hello:
        hello = await self.hear()
        assert isinstance(hello, Hello)
        await self.say(Welcome(server="played", now=time.time(), **terms), Desired(revision=1))
        return hello

    async def leave(self, code: int, reason: str = "") -> None:
        await self.socket.close(code=code, message=reason.encode())
        self.over.set()


class ControlPlane:
    """Answers ``/ws/agent`` with ``status``, or else hands each connection to the test."""

    def __init__(self) -> None:
        self.status = 101
        self.knocks: list[str | None] = []
        self.visits: asyncio.Queue[Visit] = asyncio.Queue()
        self._visits: list[Visit] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.knocks.append(request.headers.get("Authorization"))
        if self.status != 101:
            return web.Response(status=self.status)
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        visit = Visit(socket)
        self._visits.append(visit)
        self.visits.put_nowait(visit)
        await visit.over.wait()
        return socket

    async def visit(self) -> Visit:
        return await asyncio.wait_for(self.visits.get(), 10)

    def end(self) -> None:
        for visit in self._visits:
            visit.over.set()


@pytest.fixture
async def plane() -> AsyncIterator[ControlPlane]:
    made = ControlPlane()
    app = web.Application()
    app.router.add_get("/ws/agent", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"  # type: ignore[attr-defined]  # known only now
    yield made
    made.end()
    await runner.cleanup()


class Service:
    """A registry with one breaker, and its link."""

    def __init__(self, url: str) -> None:
        self.registry = CircuitBreakerRegistry()
        self.breaker = self.registry.get_or_create("api", CircuitBreakerConfig(failure_threshold=1))
        self.sync = Sync(self.registry, service="played_service", library="test")
        self.link = Link(self.sync, url=url, token="tpcb_secret")

    def flap(self, transitions: int) -> None:
        for _ in range(transitions // 2):
            with pytest.raises(ZeroDivisionError):
                self.breaker.call_sync(lambda: 1 / 0)
            self.breaker.reset()

    async def close(self) -> None:
        await asyncio.to_thread(self.link.close)


@pytest.fixture
async def service(plane: Any) -> AsyncIterator[Service]:
    made = Service(plane.url)
    yield made
    made.link.begin_close()
    plane.status = 503  # so that it does not try to say its last words
    plane.end()
    await soon(lambda: made.link.ended)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what is said at the end, on a machine that may be busy."""
    monkeypatch.setattr("breakers.client.carrier.FLUSH", 30.0)


def counts(report: Report) -> int:
    return sum(status.counts.successes for status in report.breakers)


# --- linked -------------------------------------------------------------------------------------------------------


async def test_it_says_who_it_is_with_its_key(plane: ControlPlane, service: Service) -> None:
    visit = await plane.visit()
    hello = await visit.welcome()
    assert plane.knocks == ["Bearer tpcb_secret"]
    assert (hello.service, [r.name for r in hello.registrations]) == ("played_service", ["api"])
    await soon(lambda: service.link.status().connected and service.link.status().revision == 1)
    assert service.link.status().server == "played"
    assert dict(service.link.status())["last_error"] is None
    assert "tpcb_secret" not in repr(service.link)


async def test_counts_come_with_the_interval_and_heartbeats_in_between(plane: ControlPlane, service: Service) -> None:
    visit = await plane.visit()
    await visit.welcome(interval=0.05, heartbeat=0.1)
    await visit.hear_report(lambda report: report.breakers)
    for _ in range(3):
        await visit.hear_report(lambda report: not report.breakers)
    service.breaker.call_sync(int)
    await visit.hear_report(lambda report: counts(report) == 1)


async def test_a_transition_does_not_wait_for_the_interval(plane: ControlPlane, service: Service) -> None:
    visit = await plane.visit()
    await visit.welcome(interval=60.0, heartbeat=60.0)
    await visit.hear_report(lambda report: report.breakers)
    service.flap(2)
    told = await asyncio.wait_for(visit.hear_report(lambda report: report.transitions), 2)
    assert [transition.sequence for transition in told.transitions] == [1, 2]
    service.flap(2)
    told = await asyncio.wait_for(visit.hear_report(lambda report: report.transitions), 2)
    assert [transition.sequence for transition in told.transitions] == [3, 4]


async def test_a_config_that_cannot_be_is_refused_with_the_reason(plane: ControlPlane, service: Service) -> None:
    visit = await plane.visit()
    await visit.welcome()
    bad = {**service.breaker.config.as_dict(), "recovery_timeout": -1}
    await visit.say(Desired(revision=2, since=1, breakers=(DesiredBreaker("api", 2, 1, bad),)))
    report = await visit.hear_report(lambda report: report.refusals)
    assert (report.revision, report.refusals[0].revision) == (2, 2)
    assert "recovery_timeout" in report.refusals[0].error
    assert service.breaker.config.recovery_timeout == 60.0


async def test_a_message_that_only_a_newer_server_knows_is_passed_over(plane: ControlPlane, service: Service) -> None:
    visit = await plane.visit()
    await visit.welcome(interval=0.05)
    await visit.say('{"type": "weather", "sky": "blue"}', '{"type": "ack", "id": 1, "mood": "fine"}')
    service.breaker.call_sync(int)
    await visit.hear_report(lambda report: counts(report) == 1)
    assert service.link.status().connected


# --- apart and together again -------------------------------------------------------------------------------------


async def test_what_was_not_acknowledged_comes_again_after_a_reconnection(
    plane: ControlPlane, service: Service
) -> None:
    visit = await plane.visit()
    await visit.welcome()
    service.flap(4)
    report = await visit.hear_report(lambda report: report.transitions)
    await visit.say(Ack(id=report.id, sequence=1))
    await visit.leave(1012, "the server restarts")
    await soon(lambda: not service.link.status().connected)
    service.flap(2)
    again = await plane.visit()
    await again.welcome()
    told = await again.hear_report(lambda report: report.transitions)
    assert [transition.sequence for transition in told.transitions] == [2, 3, 4, 5, 6]
    assert "1012: the server restarts" in (service.link.status().last_error or "")


async def test_who_has_said_its_news_sleeps_until_there_is_more(plane: ControlPlane, service: Service) -> None:
    visit = await plane.visit()
    await visit.welcome()
    service.flap(4)
    while service.link.status().queued:
        report = await visit.hear_report(lambda report: report.transitions)
        await visit.say(Ack(id=report.id, sequence=report.transitions[-1].sequence))
        await soon(lambda at=report.transitions[-1].sequence: service.link.status().queued == 4 - at)
    await soon(lambda: service.link.status().queued == 0)
    await soon(lambda: not service.link._wake.is_set())  # set, it would look for news thirty times a second


@pytest.mark.parametrize(("code", "longest"), [(1012, 2.0), (1013, 0.5)])
async def test_a_restart_spreads_those_who_come_back(
    plane: ControlPlane, service: Service, monkeypatch: pytest.MonkeyPatch, code: int, longest: float
) -> None:
    drawn: list[float] = []
    monkeypatch.setattr(service.link._backoff, "_uniform", lambda low, high: drawn.append(high) or low)
    visit = await plane.visit()
    await visit.welcome()
    await visit.leave(code)
    await plane.visit()
    assert drawn == [longest]


async def test_a_server_that_says_nothing_is_left(
    plane: ControlPlane, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.client.conversation.SILENCE", 0.2)
    await (await plane.visit()).welcome()
    await (await plane.visit()).welcome()
    assert "said nothing" in (service.link.status().last_error or "")


async def test_a_server_that_talks_nonsense_is_left(plane: ControlPlane, service: Service) -> None:
    visit = await plane.visit()
    await visit.welcome()
    await visit.say("{")
    await (await plane.visit()).welcome()
    assert "WireError" in (service.link.status().last_error or "")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_said_once_and_stops_the_link(
    plane: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    plane.status = status
    service = Service(plane.url)
    await soon(lambda: service.link.ended)
    assert len(plane.knocks) == 1
    assert str(status) in (service.link.status().last_error or "")
    assert [record.levelname for record in caplog.records if record.name == "breakers.link"] == ["ERROR"]
    assert "tpcb_secret" not in caplog.text
    service.flap(4)
    assert service.link.status().queued == 0  # nobody will ask for it


async def test_a_password_in_the_address_is_not_said(plane: Any, caplog: pytest.LogCaptureFixture) -> None:
    plane.status = 403
    service = Service(plane.url.replace("//", "//ops:hunter2@"))
    await soon(lambda: bool(service.link.status().last_error))
    told = f"{caplog.text} {service.link!r} {service.link.status()}"
    assert "***@127.0.0.1" in told
    assert "hunter2" not in told
    service.link.close()


async def test_a_key_that_is_revoked_meanwhile_stops_the_link(plane: ControlPlane, service: Service) -> None:
    visit = await plane.visit()
    await visit.welcome()
    await visit.leave(4403, "the key was revoked")
    await soon(lambda: service.link.ended)


async def test_the_first_error_of_a_kind_is_a_warning_and_its_repeats_are_not(
    plane: ControlPlane, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "breakers.link")
    for _ in range(3):
        visit = await plane.visit()
        await visit.leave(1013, "try again later")
    await soon(lambda: sum("1013" in record.message for record in caplog.records) >= 3)
    levels = [record.levelname for record in caplog.records if "1013" in record.message]
    assert levels == ["WARNING", "DEBUG", "DEBUG"]


async def test_memory_is_flat_through_days_of_a_lost_server(
    plane: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Days are attempts to connect, a fresh transition between any two of them."""
    monkeypatch.setattr("breakers.client.backoff.Backoff.wait", lambda _: 0.0)
    caplog.set_level(logging.CRITICAL)
    logging.getLogger("breakers").setLevel(logging.CRITICAL)
    plane.status = 503
    tracemalloc.start()
    service = Service(plane.url)
    try:
        service.flap(11_000)
        held = []
        for knocks in (100, 200, 300):
            await soon(lambda knocks=knocks: len(plane.knocks) >= knocks)
            service.flap(1000)
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
        assert held[2] - held[1] < 100_000
        assert service.link.status().queued == 10_000
        assert service.link.status().dropped == 4_000
    finally:
        tracemalloc.stop()
        logging.getLogger("breakers").setLevel(logging.NOTSET)
        await service.close()


async def test_an_address_that_cannot_be_harms_nobody() -> None:
    service = Service("no address at all")
    await soon(lambda: service.link.status().last_error)
    assert service.breaker.call_sync(int) == 0
    await service.close()
    assert service.link.ended


# --- the end ------------------------------------------------------------------------------------------------------


async def test_closing_reports_what_is_left_and_waits_for_the_farewell(
    plane: ControlPlane, service: Service, patient: None
) -> None:
    visit = await plane.visit()
    await visit.welcome(interval=60.0, heartbeat=60.0)
    await visit.hear_report(lambda report: report.breakers)
    service.flap(5000)  # more than may be under way at once
    service.breaker.call_sync(int)
    closing = asyncio.ensure_future(service.close())
    told: list[int] = []
    successes = 0
    while isinstance(message := await visit.hear(), Report):
        told += [transition.sequence for transition in message.transitions]
        successes = max(successes, counts(message))
        await visit.say(Ack(id=message.id, sequence=max(told, default=0)))
    assert isinstance(message, Goodbye)
    assert (told, successes) == (list(range(1, 5001)), 1)
    assert not closing.done()
    await visit.say(Farewell())
    await closing
    assert service.link.ended
    assert service.link.status().queued == 0


async def test_closing_reports_counts_whose_interval_has_not_come(
    plane: ControlPlane, service: Service, patient: None
) -> None:
    visit = await plane.visit()
    await visit.welcome(interval=60.0, heartbeat=60.0)
    await visit.hear_report(lambda report: report.breakers)
    service.breaker.call_sync(int)
    closing = asyncio.ensure_future(service.close())
    await visit.hear_report(lambda report: counts(report) == 1)
    assert isinstance(await visit.hear(), Goodbye)
    await visit.say(Farewell())
    await closing


async def test_closing_does_not_wait_long_for_a_server_that_does_not_answer(
    plane: ControlPlane, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.client.carrier.FLUSH", 0.2)
    visit = await plane.visit()
    await visit.welcome()
    await service.close()
    await soon(lambda: service.link.ended)


async def test_closing_tries_a_server_that_is_away_once_more_and_no_longer(
    plane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.client.carrier.FLUSH", 60.0)
    plane.status = 503
    service = Service(plane.url)
    await soon(lambda: plane.knocks)
    await asyncio.wait_for(service.close(), 10)
    assert service.link.ended


async def test_closing_before_the_link_stands_still_says_what_there_is(plane: Any, patient: None) -> None:
    service = Service(plane.url)
    service.flap(2)
    closing = asyncio.ensure_future(service.close())
    visit = await plane.visit()
    await visit.welcome()
    told = await visit.hear_report(lambda report: report.transitions)
    await visit.say(Ack(id=told.id, sequence=2))
    while not isinstance(await visit.hear(), Goodbye):
        pass
    await visit.say(Farewell())
    await closing
    assert service.link.ended


async def test_a_closed_link_leaves_no_thread_and_no_listener(
    plane: ControlPlane, service: Service, patient: None
) -> None:
    visit = await plane.visit()
    await visit.welcome()
    closing = asyncio.ensure_future(service.close())
    while not isinstance(await visit.hear(), Goodbye):
        pass
    await visit.say(Farewell())
    await closing
    service.flap(2)
    assert service.link.status().queued == 0
    assert not any(thread.name == "breakers-link" and thread.is_alive() for thread in threading.enumerate())
    await service.close()  # again: nothing
