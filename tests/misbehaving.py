"""A real HTTP server that misbehaves by a script."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp.abc
from aiohttp import web

Step = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answers(status: int = 200, body: bytes = b"fine", **headers: str) -> Step:
    async def step(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return step


def redirects(path: str) -> Step:
    return answers(302, Location=path)


async def resets(request: web.Request) -> web.StreamResponse:
    """Closes without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def resets_mid_headers(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    request.transport.close()
    return web.Response()


async def resets_mid_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"x" * 10)
    assert request.transport is not None
    request.transport.abort()
    return response


async def talks_nonsense(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(b"SMTP ready\r\n\r\n")
    request.transport.close()
    return web.Response()


async def hangs(request: web.Request) -> web.StreamResponse:
    """Takes the request and never answers."""
    await asyncio.sleep(3600)
    return web.Response()


async def hangs_mid_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"x" * 10)
    await asyncio.sleep(3600)
    return response


async def trickles_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100000"})
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.02)


async def closes_after_the_answer(request: web.Request) -> web.StreamResponse:
    """Says that it keeps the connection, and closes it."""
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\nfine")
    request.transport.close()
    return web.Response()


class Server:
    """Each request gets the next step of the script; the last one stays."""

    def __init__(self) -> None:
        self.url = ""
        self.steps: list[Step] = [answers()]
        self.requests: list[tuple[str, str, bytes]] = []

    def script(self, *steps: Step) -> None:
        self.steps = list(steps)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, await request.read()))
        step = self.steps[0] if len(self.steps) == 1 else self.steps.pop(0)
        return await step(request)


@asynccontextmanager
async def misbehaving() -> AsyncIterator[Server]:
    """A :class:`Server` on a free port."""
    server = Server()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield server
    finally:
        await runner.cleanup()


class Everywhere(aiohttp.abc.AbstractResolver):
    """Every name is this machine, every port the one that is asked for, or ``port``."""

    def __init__(self, port: int = 0) -> None:
        self.port = port

    async def resolve(self, host: str, port: int = 0, family: object = None) -> list[aiohttp.abc.ResolveResult]:
        found: dict[str, object] = {"hostname": host, "host": "127.0.0.1", "port": self.port or port}
        found |= {"family": socket.AF_INET, "proto": 0, "flags": 0}
        return [found]  # type: ignore[list-item]  # a TypedDict

    async def close(self) -> None:
        pass
