"""The shared stream of events, for services; needs the extra ``events``::

    from breakers.client.events import event_system_client

    async def handle_service_recovery(service_name: str): ...

    await event_system_client.subscribe("service.recovery", handle_service_recovery)
    await event_system_client.publish("service.recovery", {"service_name": "data_service"})

Handlers of ``service.recovery`` get the service's name, all others the :class:`~breakers.core.events.Event`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Literal, Self, overload

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from breakers.client.link import service_name
from breakers.client.subscriptions import Delivery, Handler, Subscription
from breakers.core.config import MAX_INTEGER
from breakers.core.errors import CircuitBreakerError, ConfigError
from breakers.core.events import FIELD, RECOVERY, STREAM, STREAM_LENGTH, Event, EventError, recovered_service

__all__ = ["Delivery", "Event", "EventError", "EventSystemClient", "EventSystemError", "event_system_client"]

DEFAULT_URL: Final = "redis://localhost:6379/0"
_ANSWER: Final = 5.0
_LENGTH: Final = "CIRCUIT_BREAKER_EVENTS_LENGTH"


class EventSystemError(CircuitBreakerError):
    """The stream did not take the event; it may have it all the same, and takes it again under the same id."""


class EventSystemClient:
    """Subscribes to types of events and publishes events, on any number of event loops.

    What is not given is read from the environment when it is needed: ``CIRCUIT_BREAKER_EVENTS_URL``, else
    ``REDIS_URL``, and ``CIRCUIT_BREAKER_SERVICE_NAME``. All processes of one ``service`` share the events of a type
    among them: the service gets each once, unless a process dies amid a handler. ``delivery`` says how patient it is.
    A closed client opens anew when it is used again; connections end with their loop or with :meth:`close`.
    """

    def __init__(self, url: str | None = None, *, service: str | None = None, delivery: Delivery | None = None) -> None:
        self._given_url, self._given_service = url, service
        self._delivery = delivery or Delivery()
        self._held: dict[asyncio.AbstractEventLoop, tuple[_Connection, AsyncGenerator[_Connection, None]]] = {}

    def __repr__(self) -> str:
        return f"EventSystemClient(service={self.service!r})"  # the URL may hold a password

    @property
    def service(self) -> str:
        return service_name(self._given_service)

    @property
    def url(self) -> str:
        environment = os.environ
        return (
            self._given_url
            or environment.get("CIRCUIT_BREAKER_EVENTS_URL")
            or environment.get("REDIS_URL")
            or DEFAULT_URL
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @overload
    async def subscribe(
        self, event_type: Literal["service.recovery"], handler: Callable[[str], object]
    ) -> Callable[[], None]: ...
    @overload
    async def subscribe(
        self, event_type: str, handler: Callable[[Event], object], *, whole: bool = ...
    ) -> Callable[[], None]: ...
    async def subscribe(
        self, event_type: str, handler: Callable[[Any], object], *, whole: bool = False
    ) -> Callable[[], None]:
        """Has ``handler`` called on this loop for each event of the type from now on; returns what ends this.

        A coroutine function is awaited, a plain one runs on the loop. One that raises is called again, a few times;
        then the event goes to the stream of the dead. ``whole``: a handler of ``service.recovery`` gets the event, too.
        Returns also while Redis is away: a warning says so, and it goes on trying.
        """
        held = await self._connection()
        subscription = held.subscriptions.get(event_type)
        if subscription is None:
            group = f"{self.service}:{event_type}"
            subscription = Subscription(held.redis, event_type, group, self._delivery)
            held.subscriptions[event_type] = subscription
        by_name = event_type == RECOVERY and not whole
        remove = subscription.add(_by_name(handler) if by_name else handler)
        await subscription.begin()

        def unsubscribe() -> None:
            remove()
            if subscription.is_idle and held.subscriptions.get(event_type) is subscription:
                del held.subscriptions[event_type]
                held.end_soon(subscription)

        return unsubscribe

    async def publish(
        self,
        event_type: str,
        data: Mapping[str, Any],
        *,
        event_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Puts an event into the stream and returns its id; ``event_id``: the one to use, where it may be sent again.

        Raises ``EventError`` for what is no event, :class:`EventSystemError` where the stream does not take it,
        ``ConfigError`` where the environment says a length that cannot be.
        """
        given = {} if event_id is None else {"event_id": event_id}
        event = Event(event_type, data, self.service, metadata=metadata or {}, **given)
        if event_type == RECOVERY:
            recovered_service(event)
        fields: dict[Any, Any] = {FIELD: event.encode()}  # redis-py's dict is invariant
        length = _stream_length()
        try:
            await (await self._connection()).redis.xadd(STREAM, fields, maxlen=length, approximate=True)
        except (RedisError, OSError) as error:
            raise EventSystemError(f"{event_type} was not published: {error}") from error
        return event.event_id

    async def close(self) -> None:
        """Ends the subscriptions of this loop, once their handlers have, and its connections."""
        held = self._held.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held[0].end()
            await held[1].aclose()

    async def _connection(self) -> _Connection:
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None:
            for ended in [other for other in self._held if other.is_closed()]:
                del self._held[ended]
            holder = _hold(self.url)
            held = self._held[loop] = await anext(holder), holder
        return held[0]


class _Connection:
    """Of one loop, with what is subscribed there."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.subscriptions: dict[str, Subscription] = {}
        self._ending: dict[asyncio.Task[None], Subscription] = {}

    def end_soon(self, subscription: Subscription) -> None:
        task = asyncio.create_task(subscription.close())
        self._ending[task] = subscription
        task.add_done_callback(lambda ended: self._ending.pop(ended, None))

    async def end(self) -> None:
        """One by one, in the caller's own task, which may be a handler of one. Handlers may unsubscribe meanwhile."""
        while self.subscriptions:
            _, subscription = self.subscriptions.popitem()
            await subscription.close()
        caller = asyncio.current_task()
        ending = [task for task, subscription in self._ending.items() if not subscription.outlives(caller)]
        if ending:
            await asyncio.wait(ending)


async def _hold(url: str) -> AsyncGenerator[_Connection, None]:
    """Open until it is closed: by us, or by the loop, which ends its generators when it ends."""
    at_once = Retry(NoBackoff(), 1)  # for a connection that has died since it was last used
    async with Redis.from_url(url, socket_timeout=_ANSWER, socket_connect_timeout=_ANSWER, retry=at_once) as redis:
        yield _Connection(redis)


def _stream_length() -> int:
    """Messages; a stream that is kept at none would lose everybody's events."""
    text = os.environ.get(_LENGTH, "").strip()
    if not text:
        return STREAM_LENGTH
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_INTEGER):
        raise ConfigError({_LENGTH: f"must be an integer from 1 to {MAX_INTEGER}, not {text!r}"})
    return int(text)


def _by_name(handler: Callable[[str], object]) -> Handler:
    def handle(event: Event) -> object:
        return handler(recovered_service(event))

    handle.__qualname__ = getattr(handler, "__qualname__", repr(handler))
    return handle


event_system_client: Final = EventSystemClient()
"""Ready-made; configured by the environment."""
subscribe: Final = event_system_client.subscribe
publish: Final = event_system_client.publish
close: Final = event_system_client.close
