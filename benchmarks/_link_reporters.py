"""Some hundred links in one process that do nothing but report, over bare sockets and in frames that were made once.

What ``_link_agents`` does with the library costs as much processor as the server that is measured; this costs a tenth.
Obeys JSON lines on standard input and answers each with one, as that does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import struct
import sys
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

from breakers.core.states import CircuitBreakerState
from breakers.core.wire import BreakerStatus, Counts, Hello, Registration, Report, encode

BREAKERS = 20
LATENCY = {str(bucket): 40 for bucket in range(29, 37)}
"""Calls of 0.6 to 3 ms."""
TICK = 0.005
AT_ONCE = 25
OUTSTANDING = 16
MARK = 123454321
"""Stands in the frame wherever a number rises from report to report."""
WIDTH = len(str(MARK))


def frame(text: bytes) -> bytes:
    """One websocket frame of a client. Masked with zeros: that is no less work for the server than another mask."""
    assert 126 <= len(text) < 1 << 16
    return struct.pack("!BBH", 0x81, 0x80 | 126, len(text)) + bytes(4) + text


def status(index: int) -> BreakerStatus:
    """One of a breaker that was called since the last report, and that failed now and then."""
    return BreakerStatus(
        f"breaker-{index}", CircuitBreakerState.CLOSED, epoch=2, state_age=1234.567891, config_version=1,
        counts=Counts(successes=MARK, failures=17, rejected=3, state_changes=3, probes=1),
        latency={**LATENCY, "31": MARK}, last_failure_time=time.time(), last_success_time=time.time(),
    )  # fmt: skip


def _template() -> bytes:
    """The frame of a report, with a place for the id and for each number that rises."""
    report = Report(MARK, time.time(), revision=MARK, breakers=tuple(map(status, range(BREAKERS))))
    return frame(encode(report).encode()).replace(str(MARK).encode(), b"%%%dd" % WIDTH)


TEXT = _template()


class Reporter(asyncio.Protocol):
    """One link."""

    def __init__(self, url: str, token: str, number: int) -> None:
        self._request = (
            f"GET /ws/agent HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {token}\r\n\r\n"
        ).encode()
        self._number = number
        self._revision = self._sent = self.acknowledged = 0
        self.waits: list[float] = []
        self.pouring = False
        self.welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.welcomed.done():
            self._be_welcomed(data)
        elif heard := data.count(b'{"type":"ack"'):
            self.acknowledged += heard
            self.waits.append(time.monotonic() - self._sent_at)
            if self.pouring:
                self.report(heard)

    def _be_welcomed(self, data: bytes) -> None:
        if b"101 Switching" in data:
            self._transport.write(frame(encode(self._hello()).encode()))
        if told := re.search(rb'"revision":(\d+)', data):
            self._revision = int(told[1])
            self.welcomed.set_result(None)

    def _hello(self) -> Hello:
        names = [f"breaker-{index}" for index in range(BREAKERS)]
        return Hello(
            str(uuid.uuid4()), f"service-{self._number % 10}", "here", 1, "benchmark", time.time(), time.time(),
            registrations=tuple(Registration(name, {"name": name}) for name in names),
        )  # fmt: skip

    def connection_lost(self, error: Exception | None) -> None:
        if not self.welcomed.done():
            self.welcomed.set_exception(ConnectionError("not let in"))

    def report(self, times: int = 1) -> None:
        self._sent_at = time.monotonic()
        for _ in range(times):
            self._sent += 1
            self._transport.write(TEXT % (self._sent, self._revision, *((MARK + self._sent,) * (2 * BREAKERS))))


class Reporters:
    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self._all: list[Reporter] = []

    async def link(self, number: int) -> int:
        """The bytes of a report, once so many are linked."""
        place, loop = urlsplit(self._url), asyncio.get_running_loop()
        while len(self._all) < number:
            some = range(len(self._all), min(len(self._all) + AT_ONCE, number))
            made = [Reporter(self._url, self._token, each) for each in some]
            for reporter in made:
                await loop.create_connection(lambda reporter=reporter: reporter, place.hostname, place.port)  # type: ignore[misc]  # of a lambda that keeps its own
            await asyncio.gather(*(reporter.welcomed for reporter in made))
            self._all += made
        return len(TEXT)

    @property
    def _acknowledged(self) -> int:
        return sum(reporter.acknowledged for reporter in self._all)

    async def report(self, seconds: float) -> dict[str, Any]:
        """Each link once a second, evenly: how many were sent and acknowledged, and how long that took."""
        before, sent, began = self._acknowledged, 0, time.monotonic()
        for reporter in self._all:
            reporter.waits.clear()
        while (now := time.monotonic() - began) < seconds:
            due = int(now * len(self._all))
            for number in range(sent, due):
                self._all[number % len(self._all)].report()
            sent = due
            await asyncio.sleep(TICK)
        waits = [wait for reporter in self._all for wait in reporter.waits]
        return {"sent": sent, "acknowledged": self._acknowledged - before, "waits": waits}

    async def flood(self, seconds: float, sockets: int) -> int:
        """Reports as fast as they are acknowledged, over some of the links: how many were."""
        before, some = self._acknowledged, self._all[:sockets]
        for reporter in some:
            reporter.pouring = True
            reporter.report(OUTSTANDING)
        await asyncio.sleep(seconds)
        for reporter in some:
            reporter.pouring = False
        return self._acknowledged - before


async def main() -> None:
    reporters = Reporters(*sys.argv[1:])
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked: dict[str, Any] = json.loads(line)
        print(json.dumps(await getattr(reporters, asked.pop("do"))(**asked)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
