"""Django under ASGI in one hop: a request goes once to a thread of a small pool and comes back with its answer.

The stock handler changes threads wherever the colour changes between handler, middleware and view, puts all
synchronous code of a process on one thread, and lets that thread die with the request. Here the whole synchronous
stack runs in one of a few long-lived threads, so that database connections can live as long as they. The addresses
that programs ask all day need neither Django nor a thread: see ``tradpal_cb.at_once``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import IO, Any, Final

import django
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.signals import request_started
from django.db import close_old_connections
from django.http import FileResponse, HttpResponseBase
from django.urls import set_script_prefix

from breakers.precedence import precedence
from tradpal_cb.endings import close_connections_at_exit
from tradpal_cb.streams import PatientSend, while_read
from tradpal_cb.turns import Gate

THREADS: Final = 4
"""Enough to answer while some wait for the database; each more is one more that takes turns with the event loop."""
WRITERS: Final = 2
"""What writes takes one lock in the database anyway: more would wait there, and with SQLite they would sleep."""
TURN: Final = 0.0002
"""Seconds until a thread that computes lets the event loop go on, which waits so after each of its system calls."""
_READING: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
_BLOCKS: Final = 16
"""Blocks of a file, of 64 KiB each, that are read in one hop: nothing is computed there."""

Scope = dict[str, Any]


class OneHopHandler(ASGIHandler):
    """Answers HTTP. A client that goes away ends its stream; else it is noticed when the answer is sent: a thread
    cannot be cancelled.
    """

    def __init__(self, threads: int = THREADS, writers: int = WRITERS) -> None:
        self.load_middleware(is_async=False)  # not its parent's way, which would load it for the event loop
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="http")
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="http-write")
        from tradpal_cb.at_once import AtOnce  # here, as the middleware: it needs the app registry

        self._at_once, self._gate = AtOnce(), Gate()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI callables of any server
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is answered here, not {scope['type']}")
        if await self._at_once.answer(scope, send):
            return
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        try:
            request, refusal = self.create_request(scope, body)
            response = refusal if request is None else await self._respond(scope, body, request)
            if scope["method"].upper() == "HEAD":
                _empty(response)
            await self._send(response, receive, send)
        finally:
            body.close()

    async def _respond(self, scope: Scope, body: Any, request: ASGIRequest) -> HttpResponseBase:
        """In a thread."""
        _tell_length(request, body)
        found: HttpResponseBase
        if request.method in _READING:
            async with self._gate.passed() as effort:
                found = await _hop(self._pool, effort.of, self._answer, scope, request)
            self._at_once.learn(scope, request, found)
        else:
            with precedence.taken():
                found = await _hop(self._writers, self._answer, scope, request)
        return found

    def _answer(self, scope: Scope, request: ASGIRequest) -> HttpResponseBase:
        """In a thread: all that Django does for one request, with its signals."""
        set_script_prefix(get_script_prefix(scope))
        request_started.send(sender=self.__class__, scope=scope)
        response: HttpResponseBase = self.get_response(request)
        response._handler_class = self.__class__  # type: ignore[attr-defined]  # Django's own mark, for its signal
        if response.streaming:
            close_old_connections()  # what streams closes later, and elsewhere
        else:
            response.close()
        return response

    async def _send(self, response: Any, receive: Any, send: Any) -> None:
        if not response.streaming:
            await self.send_response(response, send)
            return
        async with ThreadSensitiveContext():  # an asynchronous stream brings its own hops, to one thread
            if not response.is_async:
                response.block_size = self.chunk_size
                response.streaming_content = self._pieces(
                    iter(response), _BLOCKS if isinstance(response, FileResponse) else 1
                )
            patient = PatientSend(send)
            try:
                await while_read(self.send_response(response, patient), receive)
            finally:
                patient.end()
                await sync_to_async(response.close)()

    async def _pieces(self, parts: Iterator[bytes], at_once: int) -> AsyncIterator[bytes]:
        """The parts of a synchronous stream, so many in one hop and never all of them in memory."""
        while some := await self._some(parts, at_once):
            yield b"".join(some)

    async def _some(self, parts: Iterator[bytes], at_once: int) -> list[bytes]:
        async with self._gate.passed() as effort:
            some: list[bytes] = await _hop(self._pool, effort.of, list, islice(parts, at_once))
        return some


def _empty(response: Any) -> None:
    """For ``HEAD``: nothing is made for nobody, and of a long body daphne would send all but the first piece."""
    if response.streaming:
        response.streaming_content = ()
    else:
        response.content = b""


def _tell_length(request: ASGIRequest, body: IO[bytes]) -> None:
    """Of a body that came in chunks: without it Django's forms and REST framework take it for none at all."""
    if "CONTENT_LENGTH" not in request.META:
        request.META["CONTENT_LENGTH"] = str(body.seek(0, os.SEEK_END))
        body.seek(0)


def _hop(pool: ThreadPoolExecutor, function: Any, *arguments: Any) -> Any:
    return sync_to_async(function, thread_sensitive=False, executor=pool)(*arguments)


def application() -> OneHopHandler:
    """Makes Django and this process's threads ready, then the handler."""
    django.setup(set_prefix=False)
    close_connections_at_exit()
    sys.setswitchinterval(TURN)
    return OneHopHandler()
