"""What programs ask all day is answered on the event loop, without Django, as Django answered the like before.

Django's middleware costs ten times what it takes to find such an answer, and all of it is the same each time: what it
adds to an answer follows from what a request brings. So the first request of a kind goes through Django, and what it
got for headers is what the next ones get that bring the same; a redirect, a refusal or a wrong host is never learned.
What differs is not taken from there: body, version and request id; who may, and how often, is asked anew each time.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, Final

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponseBase

from breakers import publish
from breakers.access import network_of_scope
from breakers.api import hot
from breakers.api.memory import JSON, kept_answers
from breakers.core.config import NAME_PATTERN
from tradpal_cb.counted import CHARSET, Counted
from tradpal_cb.requests import HEADER, id_for
from tradpal_cb.turns import Job, Looks, Turns

logger = logging.getLogger(__name__)

Scope = Mapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MANY: Final = 256
"""Kinds of requests that are known; whoever asks in ever new ways makes us forget, no more."""
LIST, DASHBOARD = "/circuit-breakers", "/dashboard"
_STATE: Final = re.compile(rf"/circuit-breakers/({NAME_PATTERN.pattern})/state")
_ANOTHERS: Final = frozenset((b"cookie", b"content-length", b"transfer-encoding"))
"""Whoever brings these is Django's: sessions are its affair, and bodies."""
_SINGLE: Final = frozenset((b"authorization", b"x-request-id"))
_ALIKE: Final = frozenset((b"traceparent", b"tracestate", b"baggage", b"x-forwarded-for", b"x-real-ip"))
"""Headers that differ from request to request, and on which no middleware's answer depends. All others count."""
_OWN: Final = frozenset(("content-length", "etag", HEADER.lower()))
"""Headers that differ from answer to answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that may be answered at once."""

    path: str
    name: str | None
    """Of the breaker whose state is asked."""
    query: bytes
    secret: str
    """Of the key that it comes with, right or wrong; empty without one."""
    id: str
    """That a proxy or client gives it."""
    kind: Hashable
    """All that it brings and an answer's headers may depend on."""
    at: float
    """When it came; monotonic."""

    @classmethod
    def of(cls, scope: Scope) -> Asked | None:
        """``None`` for what belongs to Django, whoever asks."""
        path, query = scope["path"], scope["query_string"]
        state = None if path in (LIST, DASHBOARD) else _STATE.fullmatch(path)
        if scope["method"] != "GET" or scope.get("root_path") or not query.isascii():
            return None
        if state is None and path not in (LIST, DASHBOARD):
            return None
        brought, rest = dict[bytes, bytes](), []
        for name, value in scope["headers"]:
            if name in _ANOTHERS or name in brought:
                return None
            if name in _SINGLE:
                brought[name] = value
            elif name not in _ALIKE:
                rest.append((name, value))
        scheme, _, secret = brought.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme and (scheme.lower() != "bearer" or not secret.strip()):
            return None
        return cls(
            path=path,
            name=None if state is None else state[1],
            query=query,
            secret=secret.strip(),
            id=brought.get(b"x-request-id", b"").decode("latin-1"),
            kind=(scope.get("scheme"), "/state" if state else path, *rest),
            at=time.monotonic(),
        )


@dataclass(frozen=True, slots=True)
class Head:
    """What Django said to the like: its headers, and at which address it took itself to be."""

    headers: tuple[tuple[bytes, bytes], ...]
    uri: str
    counted: Counted

    @classmethod
    def of(cls, request: ASGIRequest, response: HttpResponseBase) -> Head:
        kept = [(name, value) for name, value in response.items() if name.lower() not in _OWN]
        view = request.resolver_match.view_name if request.resolver_match else ""
        return cls(
            headers=tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in kept),
            uri=request.build_absolute_uri(request.path),
            counted=Counted(view=view, transport="https" if request.is_secure() else "http"),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    version: int | None = None


class AtOnce:
    """Of one event loop at a time, as its turns and looks. :meth:`learn` is for any thread."""

    def __init__(self) -> None:
        self._heads: dict[Hashable, Head] = {}
        self._looks, self._turns = Looks(hot.look), Turns()
        publish.subscribe(self._looks.outdate)

    def learn(self, scope: Scope, request: ASGIRequest, response: HttpResponseBase) -> None:
        """What Django answered; whether it is worth remembering is for us to say."""
        if response.status_code != 200 or response.streaming or response.cookies:
            return
        asked = Asked.of(scope)
        if asked is None or response.headers.get("Content-Type") != JSON or response.charset != CHARSET:
            return
        if len(self._heads) >= MANY:
            self._heads.clear()
        self._heads[asked.kind] = Head.of(request, response)

    def close(self) -> None:
        """For tests."""
        self._looks.close()

    async def answer(self, scope: Scope, send: Send) -> bool:
        """Whether it has been answered; else it is Django's, untouched."""
        asked = Asked.of(scope)
        head = None if asked is None else self._heads.get(asked.kind)
        if asked is None or head is None or not await self._is_ready(scope, asked, head):
            return False
        found = await self._turns.take(partial(self._found, scope, asked, head))
        if found is None:
            return False
        own = [(b"Content-Length", b"%d" % len(found.body)), (HEADER.encode(), id_for(asked.id).encode())]
        if found.version is not None:
            own.append((b"ETag", b'"%d"' % found.version))
        await send({"type": "http.response.start", "status": 200, "headers": [*head.headers, *own]})
        await send({"type": "http.response.body", "body": found.body})
        head.counted.note(seconds=time.monotonic() - asked.at, length=len(found.body))
        return True

    async def _is_ready(self, scope: Scope, asked: Asked, head: Head) -> bool:
        """Whether memory holds what is asked, as it was in the database and the fleet at some moment since."""
        if not hot.may_be_answered_at_once(asked.secret):
            return False
        address, jobs = _address(asked, head), dict[str, Job]()
        if address and kept_answers.fit(address, asked.at) is None:
            jobs[address] = partial(_make, scope, address)
        if not jobs and self._looks.good and hot.is_trusted(asked.secret):
            self._looks.renew(asked.secret)
            return True
        return await self._looks.take(asked.secret, jobs)

    @staticmethod
    def _found(scope: Scope, asked: Asked, head: Head) -> Answer | None:
        """``None`` for whatever is not sure to succeed: Django says what is wrong."""
        if asked.name is None:
            body = kept_answers.fit(_address(asked, head), asked.at)
            found = None if body is None else Answer(body)
        else:
            state = hot.state_of(asked.name)
            found = None if state is None else Answer(state.body, state.version)
        if found is None or not hot.may_read_now(asked.secret, "" if asked.secret else network_of_scope(scope)):
            return None
        return found


def _address(asked: Asked, head: Head) -> str:
    """Where the body is kept that is asked; empty for a state, which is made when its turn comes."""
    if asked.path == DASHBOARD:
        return hot.WHOLE
    return "" if asked.name else f"{head.uri}?{asked.query.decode()}"


def _make(scope: Scope, address: str) -> None:
    """In a thread: the body that is to be kept at ``address``."""
    try:
        if address == hot.WHOLE:
            hot.whole_body()
        else:
            hot.rows_body(ASGIRequest(dict(scope), BytesIO()), address)
    except Exception:  # a wrong query, most of all: the view meets it too, and tells its client
        logger.debug("A list could not be made", exc_info=True)
