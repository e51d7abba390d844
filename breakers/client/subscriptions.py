"""One type of event on its way to the handlers of one loop, as a member of the service's consumer group."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from breakers.core.events import (
    DEAD,
    DEAD_LENGTH,
    FIELD,
    RECOVERY,
    STREAM,
    Event,
    EventError,
    read_event,
    recovered_service,
)

from .backoff import Backoff
from .claims import Claim, Claims

logger = logging.getLogger("breakers")

Handler = Callable[[Event], object]
Message = tuple[bytes, Mapping[bytes, bytes] | None]
AT_ONCE: Final = 20
BLOCK: Final = 1000
"""Milliseconds that Redis may keep us waiting for a message."""
FORGOTTEN: Final = 3_600_000
"""Milliseconds without a sign after which a process's name is dropped from the group."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How patient a subscription is. All in seconds, but ``attempts``."""

    attempts: int = 3
    wait: float = 0.5
    """Before the second attempt; doubles."""
    timeout: float = 60.0
    """Of one attempt of a coroutine."""
    reclaim: float = 30.0
    """After which another process takes over from one that is no more heard of."""


class Subscription:
    """Runs from :meth:`begin` until it is closed or has no handler left."""

    def __init__(self, redis: Redis, event_type: str, group: str, delivery: Delivery) -> None:
        self._redis, self._type, self._group, self._delivery = redis, event_type, group, delivery
        self._me = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        # ends before what we hold may be taken over: whoever does finds it free
        self._claims = Claims(redis, group, self._me, delivery.reclaim * 2 / 3)
        self._handlers: list[list[Handler]] = []  # a cell each: the same one may subscribe twice
        self._task: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        """The same, also while it is being closed."""
        self._has_tried = asyncio.Event()
        self._interruptible = False
        self._closing = False
        self._closed_from_inside = self._outlives = False
        self._said: set[type[Exception]] = set()
        self._reclaim_due = 0.0
        self._seen: bytes | str = ""
        """The newest message that we know of, or what one would be called: from there a lost group begins anew."""

    def add(self, handler: Handler) -> Callable[[], None]:
        """Returns what takes it away again."""
        cell = [handler]
        self._handlers.append(cell)

        def end() -> None:
            self._handlers = [kept for kept in self._handlers if kept is not cell]

        return end

    @property
    def is_idle(self) -> bool:
        """Nobody wants anything of it any more."""
        return not self._handlers

    async def begin(self) -> None:
        """What is published once this has returned is delivered, unless Redis is away. Idempotent."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"breakers-events-{self._type}")
            self._running = self._task
            self._task.add_done_callback(lambda _: self._has_tried.set())
        await self._has_tried.wait()

    async def close(self) -> None:
        """Lets a handler that runs come to its end, unless that is who closes: then it ends when the handler has."""
        task, self._task = self._task, None
        self._closing, self._closed_from_inside = True, task is not None and task is asyncio.current_task()
        if task is None or self._closed_from_inside:
            return
        if self._interruptible:
            task.cancel()
        await asyncio.wait([task])
        with suppress(RedisError, OSError):
            await self._leave()
        if self._outlives:
            await self._redis.aclose()

    def outlives(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether ``task``, which closes the connection, is a handler of ours: then we end after it, and close anew."""
        self._outlives = self._running is not None and self._running is task
        return self._outlives

    # --- the task ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        backoff = Backoff()
        while not self._closing:
            try:
                try:
                    await self._join()
                finally:
                    self._has_tried.set()
                await self._take_own()
                backoff.connected()
                while not self._closing:
                    _end_if_cancelled()
                    await self._step()
                    self._all_is_well()
            except Exception as error:
                self._say(error)
                backoff.lost()
                self._interruptible = True
                await asyncio.sleep(backoff.wait())
                self._interruptible = False
        if self._closed_from_inside:
            with suppress(RedisError, OSError):
                await self._leave()
            await self._redis.aclose()  # what the handler had closed was needed once more

    async def _step(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._reclaim_due:
            self._reclaim_due = now + self._delivery.reclaim
            await self._reclaim()
        _end_if_cancelled()
        self._interruptible = True
        messages = await self._read(">", block=BLOCK)
        self._interruptible = False
        if messages:
            self._seen = messages[-1][0]
        await self._take_all(messages)

    async def _join(self) -> None:
        try:
            await self._redis.xgroup_create(STREAM, self._group, id=self._seen or "$", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        if not self._seen:
            seconds, microseconds = await self._redis.time()
            self._seen = f"{seconds * 1000 + microseconds // 1000 - 1}-0"  # what comes in this millisecond is new

    async def _leave(self) -> None:
        """With what was read but not handled, and without the name."""
        await self._take_own()
        if not await self._redis.xpending_range(STREAM, self._group, "-", "+", 1, self._me):
            await self._redis.xgroup_delconsumer(STREAM, self._group, self._me)

    async def _read(self, begin: str, *, block: int | None) -> Sequence[Message]:
        """``0``: what we took and never acknowledged; ``>``: what is new."""
        answer: Any = await self._redis.xreadgroup(self._group, self._me, {STREAM: begin}, count=AT_ONCE, block=block)
        return answer[0][1] if answer else []

    async def _reclaim(self) -> None:
        idle, cursor = int(self._delivery.reclaim * 1000), b"0-0"
        while True:
            answer: Any = await self._redis.xautoclaim(STREAM, self._group, self._me, idle, cursor, count=AT_ONCE)
            cursor = answer[0]
            await self._take_all([message for message in answer[1] if message[0]])
            if cursor == b"0-0":
                break
        for other in await self._redis.xinfo_consumers(STREAM, self._group):
            if other["pending"] == 0 and other["idle"] > FORGOTTEN:
                await self._redis.xgroup_delconsumer(STREAM, self._group, other["name"])

    async def _take_own(self) -> None:
        """What we took before and never acknowledged."""
        after = "0"
        while self._handlers and (messages := await self._read(after, block=None)):
            await self._take_all(messages)
            after = messages[-1][0].decode()

    # --- messages ------------------------------------------------------------------------------------------------

    async def _take_all(self, messages: Sequence[Message]) -> None:
        """In their order; those that are not for us are acknowledged first. Left to others where no handler is left."""
        if not self._handlers:
            return
        events = {key: event for key, fields in messages if (event := self._event(fields)) is not None}
        others = [key for key, _ in messages if key not in events]
        if others:
            await self._redis.xack(STREAM, self._group, *others)
        if not events:
            return
        held = set(events)
        keeping = asyncio.create_task(self._keep(held))
        try:
            for key, event in events.items():
                _end_if_cancelled()
                if not self._handlers:  # the last one took itself away
                    return
                await self._take(key, event)
                held.discard(key)
        finally:
            keeping.cancel()

    def _event(self, fields: Mapping[bytes, bytes] | None) -> Event | None:
        """``None`` also for what cannot be read: the control plane puts that aside."""
        try:
            event = read_event(fields or {}, (self._type,))
            if event is not None and event.event_type == RECOVERY:
                recovered_service(event)
        except EventError as error:
            logger.debug("A message of %s is passed over: it %s", STREAM, error)
            return None
        return event

    async def _keep(self, held: set[bytes]) -> None:
        """What waits for a slow handler stays ours."""
        while True:
            await asyncio.sleep(self._delivery.reclaim / 3)
            with suppress(RedisError, OSError):
                await self._claims.renew()
                await self._redis.xclaim(STREAM, self._group, self._me, 0, list(held), justid=True)

    async def _take(self, key: bytes, event: Event) -> None:
        claim = await self._claims.take(event.event_id)
        if claim is Claim.DONE:
            await self._redis.xack(STREAM, self._group, key)
        if claim is not Claim.MINE:  # stays pending while another is at the same event: looked at again by _reclaim
            return
        problems = [problem for (handler,) in self._handlers if (problem := await self._hand_over(handler, event))]
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(STREAM, self._group, key)
            self._claims.settle(pipe, event.event_id, handled=not problems)
            if problems:
                pipe.xadd(DEAD, self._epitaph(key, event, problems), maxlen=DEAD_LENGTH, approximate=True)
            await pipe.execute()

    def _epitaph(self, key: bytes, event: Event, problems: list[str]) -> dict[Any, Any]:
        return {FIELD: event.encode(), "problem": "; ".join(problems), "message": key, "group": self._group}

    async def _hand_over(self, handler: Handler, event: Event) -> str | None:
        """Why the handler would not have it, whatever was tried; ``None`` where it had."""
        name = getattr(handler, "__qualname__", repr(handler))
        wait, attempts = self._delivery.wait, self._delivery.attempts
        for attempt in range(1, attempts + 1):
            try:
                await self._call(handler, event)
            except Exception as error:
                last = attempt == attempts
                logger.log(
                    logging.ERROR if last else logging.WARNING,
                    "Event %s, %s: handler %s failed, attempt %d of %d",
                    event.event_type, event.event_id, name, attempt, attempts,
                    exc_info=last,
                )  # fmt: skip
                if last:
                    return f"handler {name}: {type(error).__name__}: {error}"
            else:
                return None
            await asyncio.sleep(wait)
            wait *= 2
        return None

    async def _call(self, handler: Handler, event: Event) -> None:
        """Raises what the handler raises; a cancellation that nobody asked us for is its failure."""
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        try:
            async with asyncio.timeout(self._delivery.timeout):
                answer = handler(event)
                if inspect.isawaitable(answer):
                    await answer
        except asyncio.CancelledError as error:
            if task is None or task.cancelling() > asked:
                raise
            raise RuntimeError("it was cancelled") from error

    def _say(self, error: Exception) -> None:
        level = logging.DEBUG if type(error) in self._said else logging.WARNING
        self._said.add(type(error))
        unforeseen = not isinstance(error, RedisError | OSError)
        text = "Events of type %s are not heard: %s: %s"
        logger.log(level, text, self._type, type(error).__name__, error, exc_info=unforeseen)

    def _all_is_well(self) -> None:
        if self._said:
            self._said.clear()
            logger.info("Events of type %s are heard again", self._type)


def _end_if_cancelled() -> None:
    """Until Python 3.12 ``asyncio.wait_for``, which redis-py uses, may swallow a cancellation."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
