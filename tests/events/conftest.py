"""A real Redis, and short ways to what tests of events speak of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from breakers import services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.events import DEAD, STREAM
from breakers.services import Actor
from tests.redis_server import RedisServer

ALICE = Actor("user", "alice")
RECOVERED: dict[str, Any] = {
    "event_type": "service.recovery",
    "event_id": "9f1c0d52-0d9e-4f7e-8a44-0c6f4b1f2f3a",
    "timestamp": "2026-03-01T12:00:00+00:00",
    "source": "health_monitor",
    "data": {"service_name": "data_service"},
    "metadata": {},
}


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    """Empty."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def events_on(settings: Any) -> None:
    settings.CIRCUIT_BREAKER_EVENTS = True


@pytest.fixture
def create(db: None) -> Callable[..., None]:
    """``create("data_service", group="market")``."""

    def make(*names: str, group: str = "") -> None:
        for name in names:
            config = CircuitBreakerConfig(name=name)
            services.breaker_create(name=name, config=config, http=HttpConfig(), group=group, by=ALICE)

    return make


def put(redis: Redis, event: object, **how: Any) -> bytes:
    """Adds a message whose ``event`` is this, as JSON unless it is text; its key."""
    content = event if isinstance(event, str | bytes) else json.dumps(event)
    key: bytes = redis.xadd(STREAM, {"event": content}, **how)
    return key


def stream(redis: Redis, name: str = STREAM) -> list[dict[str, Any]]:
    """The events in the stream, in their order."""
    messages: Any = redis.xrange(name)
    return [json.loads(fields[b"event"]) for _, fields in messages]


def dead(redis: Redis) -> list[dict[bytes, bytes]]:
    messages: Any = redis.xrange(DEAD)
    return [fields for _, fields in messages]
