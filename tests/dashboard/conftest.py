"""Rows by hand, instances in the process's own fleet, and sockets of the feed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from breakers import services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import BreakerStatus, Counts, Report, WindowCounts
from breakers.fleet import Row, fleet
from breakers.models import InstanceIdentity
from breakers.services import Actor
from dashboard.consumers import FeedConsumer
from dashboard.recent import recent

HOST = "testserver"
ORIGIN = f"http://{HOST}"
Make = Callable[..., Row]


@pytest.fixture
def make_row() -> Make:
    """``make_row(opened=3, closed=1)``: a row whose state follows from its instances; any key may be given."""

    def make(
        name: str = "bank-api", *, closed: int = 0, half_open: int = 0, opened: int = 0, silent: int = 0, **given: Any
    ) -> Row:
        total = closed + half_open + opened + silent
        row: dict[str, Any] = {
            "name": name,
            "group": "",
            "state": "open" if opened else "half_open" if half_open else "closed",
            "override": None,
            "services": ["trading"],
            "instances": {"total": total, "closed": closed, "half_open": half_open, "open": opened, "silent": silent},
            "since": None,
            "retry_at": None,
            "cause": None,
            "rates": {"calls": 0.0, "failures": 0.0, "rejected": 0.0},
            "failure_rate": None,
            "p50": None,
            "p95": None,
            "p99": None,
            "version": 1,
            "applied": {"on": total - silent, "of": total - silent},
            "limit": None,
            "trend": [],
            "ready_to_probe": False,
        }
        return Row(**{**row, **given})

    return make


@pytest.fixture
def breaker(ground: None) -> Callable[..., None]:
    """``breaker("bank-api", group="settlement", failure_threshold=7)``: in the database."""

    def make(name: str, *, group: str = "", **values: Any) -> None:
        config = CircuitBreakerConfig(name=name, **values)
        services.breaker_create(name=name, config=config, http=HttpConfig(), group=group, by=Actor("user", "alice"))

    return make


@pytest.fixture(autouse=True)
def nothing_is_kept() -> None:
    """What the overview asks for again is made anew."""
    recent.clear()


class Told:
    """An instance that says what a test wants."""

    def __init__(self, service: str) -> None:
        now = timezone.now()
        self.identity = InstanceIdentity(uuid4(), service, "host-1", 4711, "0.1.0", now)
        self._epochs: dict[str, int] = {}
        self._reports = 0
        fleet.connect(self.identity, now)

    @property
    def id(self) -> UUID:
        return self.identity.id

    def tell(
        self,
        name: str,
        state: str = "closed",
        *,
        resets: tuple[str, ...] = (),
        window: WindowCounts | None = None,
        **counts: int,
    ) -> None:
        self._reports += 1
        epoch = self._epochs[name] = self._epochs.get(name, 0) + 1
        status = BreakerStatus(name, CircuitBreakerState(state), epoch, counts=Counts(**counts), window=window)
        now = timezone.now()
        report = Report(self._reports, now.timestamp(), fleet.revision, (status,), resets=resets)
        fleet.report(self.id, report, now)


@pytest.fixture
def instance(ground: None) -> Callable[..., Told]:
    """``instance("trading").tell("bank-api", "open")``."""

    def link(service: str = "trading") -> Told:
        fleet.synchronise()
        return Told(service)

    return link


@pytest.fixture
def signed_in() -> Callable[[User], Client]:
    def client_of(user: User) -> Client:
        client = Client(headers={"Accept": "text/html"})
        client.force_login(user)
        return client

    return client_of


class Socket(WebsocketCommunicator):
    """One reader of the feed."""

    async def message(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of ``kinds``; of any without."""
        while True:
            message: dict[str, Any] = json.loads(await self.receive_from(timeout=5))
            if not kinds or message["type"] in kinds:
                return message


Dial = Callable[..., Socket]


@pytest.fixture
def dial(monkeypatch: pytest.MonkeyPatch) -> Dial:
    """``dial(cookie=..., key=..., origin=...)``: a socket that is not yet connected."""
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", [HOST])

    def make(*, cookie: str = "", key: str = "", origin: str = "", host: str = HOST) -> Socket:
        headers = {"host": host, "origin": origin, "cookie": cookie and f"{settings.SESSION_COOKIE_NAME}={cookie}"}
        headers["authorization"] = key and f"Bearer {key}"
        given = [(name.encode(), value.encode()) for name, value in headers.items() if value]
        return Socket(FeedConsumer.as_asgi(), "/ws/feed", headers=given)

    return make


@pytest.fixture
def feed(dial: Dial, key: Callable[..., str]) -> Callable[[], Awaitable[Socket]]:
    """``await feed()``: a connected socket, with a key that may read."""
    secret = key("read")

    async def connect() -> Socket:
        socket = dial(key=secret)
        connected, _ = await socket.connect(timeout=5)
        assert connected
        return socket

    return connect
