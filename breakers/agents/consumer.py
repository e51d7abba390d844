"""``/ws/agent``: one agent's socket. Nothing here touches the database: the writer's thread does."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final

from autobahn.exception import Disconnected
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import Error as DatabaseError
from django.db import close_old_connections

from breakers.access import address_of_scope, refused
from breakers.core.wire import (
    PROTOCOL,
    Ack,
    Farewell,
    FromServer,
    Goodbye,
    Hello,
    Report,
    UnknownMessage,
    Welcome,
    WireError,
    encode,
)
from breakers.fleet import fleet
from breakers.precedence import precedence
from breakers.services import authenticate_key

from .codes import BUSY, FLOODING, MALFORMED, OUT_OF_ORDER, OVERSIZED, REFUSED, CloseCode, close, sent_away
from .hub import AgentLink, hub
from .outlet import put
from .reading import read
from .returning import readmit
from .screening import check_report, identity_of
from .writer import writer

Message = dict[str, Any]

MESSAGES_PER_SECOND: Final = 500.0
BURST: Final = 2000.0
"""Messages that an agent may send at once; beyond it, and the rate, it is sent away."""

_threads = ThreadPoolExecutor(2, thread_name_prefix="agents")
"""Keys are looked up here: few threads, so that a fleet that reconnects at once opens few database connections."""


class AgentConsumer(AsyncWebsocketConsumer):
    """From handshake to farewell. An agent that misbehaves is sent away with a code and costs the others nothing."""

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        """One loop in place of Channels' own: no channel a socket, no thread hop and no task a message."""
        self.scope, self.base_send = scope, send
        if self._protocol is not None:
            self._protocol.failByDrop = False  # an oversized message is answered with 1009, not with silence
        self._link: AgentLink | None = None
        self._key = 0
        self._newer = False
        self._closed = False
        self._allowance, self._refilled_at = BURST, time.monotonic()
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                await self.dispatch(message)
        finally:
            self._leave()

    @property
    def _protocol(self) -> Any:
        """The websocket behind daphne's ``send``; ``None`` under another server."""
        protocol = self.base_send.args[0] if isinstance(self.base_send, functools.partial) else None
        return protocol if hasattr(protocol, "sendCloseFrame") else None

    async def dispatch(self, message: Message) -> None:
        if message["type"] == "websocket.connect":
            await self._admit()
        elif not self._closed:
            await self._take(message.get("text") or message.get("bytes") or "")

    async def _admit(self) -> None:
        """By key alone: cookies say nothing here."""
        try:
            self._key, who = await _in_thread(_agent_key, dict(self.scope["headers"]).get(b"authorization", b""))
        except DatabaseError:  # not a refusal: that would stop the agent for good
            await self.accept()
            await self._dismiss(BUSY)
            return
        if self._key:
            await self.accept()
        else:
            self._closed = True
            refused(who=who, what="/ws/agent", where=address_of_scope(self.scope), why=REFUSED.reason)
            sent_away(REFUSED, self._who)
            await self.close()

    async def _take(self, text: str | bytes) -> None:
        if not self._affordable():
            await self._dismiss(FLOODING)
            return
        try:
            with precedence.taken():
                await self._handle(read(text))
        except WireError as error:
            if not (self._newer and isinstance(error, UnknownMessage)):  # else we do without what it knows and we don't
                await self._dismiss(MALFORMED.because(str(error)))
        except DatabaseError:
            await self._dismiss(BUSY)

    def _affordable(self) -> bool:
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._refilled_at) * MESSAGES_PER_SECOND) - 1
        self._refilled_at = now
        return self._allowance >= 0

    async def _handle(self, message: Hello | Report | Goodbye) -> None:
        link = self._link
        if isinstance(message, Hello):
            if link is None:
                await self._welcome(message)
            elif message.instance != str(link.id):
                await self._dismiss(OUT_OF_ORDER.because("a second hello, of another instance"))
        elif link is None:
            await self._dismiss(OUT_OF_ORDER.because("the first message is a hello"))
        elif isinstance(message, Goodbye):
            await self._say_farewell(link)
        else:
            await self._report(link, message)

    async def _welcome(self, hello: Hello) -> None:
        self._newer = hello.protocol > PROTOCOL
        identity, names = identity_of(hello), [registration.name for registration in hello.registrations]
        if not 0 < fleet.revision >= hello.revision:  # we have just begun, are behind, or its database was not ours
            await _in_thread(fleet.synchronise)
        forgotten = not fleet.knows(identity.id) and await _in_thread(readmit, identity, hello.revision)
        fleet.connect(identity, datetime.now(UTC), forgotten=forgotten)
        link = self._link = AgentLink(identity, names, self._send_text, self._dismiss, self._key)
        await hub.join(link)
        writer.note(identity, hello.registrations, forgotten=forgotten)
        await self._say(Welcome(server=writer.server, now=time.time(), protocol=min(hello.protocol, PROTOCOL)))
        await link.instruct_whole()

    async def _report(self, link: AgentLink, report: Report) -> None:
        if report.id > link.reported + 1:
            await self._dismiss(OUT_OF_ORDER.because(f"report {link.reported + 1} is missing"))
            return
        if report.id == link.reported + 1:
            check_report(report)
            if report.transitions and not writer.record(link, report):
                await self._dismiss(BUSY)
                return
            link.reported = report.id
            fleet.report(link.id, report, datetime.now(UTC))
            if report.registrations:
                writer.note(link.identity, report.registrations)
                await link.introduce(registration.name for registration in report.registrations)
        if not report.transitions:  # else once they are in the database
            await self._say(Ack(id=report.id, sequence=link.recorded))
        await hub.heard(link, report.revision)

    async def _say_farewell(self, link: AgentLink) -> None:
        """Once all it said is in the database."""
        fleet.goodbye(link.id)
        writer.persist([link.id], lambda: hub.run(link.loop, functools.partial(self._say, Farewell())))

    def _leave(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            hub.leave(link)
            fleet.disconnect(link.id)
            writer.persist([link.id])  # whoever was killed cannot tell it again
        if not self._closed and getattr(self._protocol, "localCloseCode", None) == OVERSIZED.code:
            sent_away(OVERSIZED, self._who)  # by autobahn, which tells nobody

    @property
    def _who(self) -> str:
        link = self._link
        return f"{link.identity.service} ({link.id})" if link is not None else address_of_scope(self.scope)

    async def _say(self, message: FromServer) -> None:
        await self._send_text(encode(message))

    async def _send_text(self, text: str) -> None:
        if self._closed or put(self._protocol, text):
            return
        try:
            await self.base_send({"type": "websocket.send", "text": text})
        except Disconnected:  # it left amid the answer; what it had not heard, it will ask for again
            self._closed = True

    async def _dismiss(self, why: CloseCode) -> None:
        if self._closed:
            return
        self._closed = True
        sent_away(why, self._who)
        if self._protocol is not None:
            close(self._protocol, why)
        else:
            await self.base_send({"type": "websocket.close", "code": why.code, "reason": why.reason})


def _agent_key(authorization: bytes) -> tuple[int, str]:
    """Id of the key, 0 for one that does not open this door; and as the log of refusals calls it."""
    scheme, _, secret = authorization.decode("latin-1").partition(" ")
    key = authenticate_key(secret.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        return 0, "an unknown key" if scheme else "nobody"
    return key.pk if key.allows("agent") else 0, f"key:{key}"


async def _in_thread(act: Callable[..., Any], *arguments: object) -> Any:
    """What asks the database."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _asked, act, *arguments)


def _asked(act: Callable[..., Any], *arguments: object) -> Any:
    try:
        return act(*arguments)
    finally:
        close_old_connections()
