"""Some hundred links in one process: the library's own ``Sync`` and ``Conversation``, all on one event loop.

Obeys JSON lines on standard input and answers each with one; moments are ``time.monotonic``, which processes share.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

import aiohttp

from breakers.client.conversation import Conversation
from breakers.core.config import CircuitBreakerConfig
from breakers.core.registry import CircuitBreakerRegistry
from breakers.core.sync import Sync
from breakers.core.wire import Ack, FromServer

BREAKERS = 20


class TimedSync(Sync):
    """Remembers when each transition happened until the server says that it stands in the database."""

    happened: list[float]
    latencies: list[float]

    def receive(self, message: FromServer) -> None:
        super().receive(message)
        if isinstance(message, Ack):
            now, waiting = time.monotonic(), len(self.outbox)
            while len(self.happened) > waiting:
                self.latencies.append(now - self.happened.pop(0))


class Agent:
    def __init__(self, number: int) -> None:
        self.registry = CircuitBreakerRegistry()
        for index in range(BREAKERS):
            self.registry.get_or_create(f"breaker-{index}", CircuitBreakerConfig(failure_threshold=1))
        self.sync = TimedSync(self.registry, service=f"service-{number % 10}", library="benchmark")
        self.sync.happened, self.sync.latencies = [], []
        self.applied: list[float] = []
        self.welcomed = asyncio.Event()

    async def live(self, session: aiohttp.ClientSession) -> None:
        async with session.ws_connect("/ws/agent") as socket:
            wake = asyncio.Event()
            self.sync.wake = wake.set
            await Conversation(
                self.sync, socket, wake=wake, closing=asyncio.Event(), welcomed=self.welcomed.set,
                instructed=lambda: self.applied.append(time.monotonic()),
            ).hold()  # fmt: skip

    def succeed(self) -> None:
        for breaker in self.registry.all():
            breaker.call_sync(int)

    def flap(self) -> None:
        """One transition of one breaker."""
        breaker = self.registry.all()[1]
        self.sync.happened.append(time.monotonic())
        if breaker.state.value == "open":
            breaker.reset()
            return
        try:
            breaker.call_sync(lambda: 1 / 0)
        except ZeroDivisionError:
            return


class Agents:
    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self.agents: list[Agent] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.session = self._session()

    def _session(self) -> aiohttp.ClientSession:
        headers = {"Authorization": f"Bearer {self.token}"}
        return aiohttp.ClientSession(self.url, headers=headers, connector=aiohttp.TCPConnector(limit=0))

    async def link(self, number: int) -> int:
        for _ in range(number):
            agent = Agent(len(self.agents))
            self.agents.append(agent)
            self.tasks.append(asyncio.create_task(agent.live(self.session)))
            await agent.welcomed.wait()
        return len(self.agents)

    async def applied(self, number: int) -> list[float]:
        """When each link applied something, once ``number`` have since the last question; the last of each."""
        deadline = time.monotonic() + 10
        while sum(bool(agent.applied) for agent in self.agents) < number and time.monotonic() < deadline:  # noqa: ASYNC110  # an event a link would be measured too
            await asyncio.sleep(0.01)
        stamps = [agent.applied[-1] for agent in self.agents if agent.applied]
        for agent in self.agents:
            agent.applied.clear()
        return stamps

    async def busy(self, seconds: float) -> int:
        """Every breaker of every link succeeds once a second: how many links that were."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for agent in self.agents:
                agent.succeed()
                await asyncio.sleep(1.0 / len(self.agents))
        return len(self.agents)

    async def storm(self, seconds: float) -> list[float]:
        """One transition every two seconds in each link: seconds from each to its place in the database."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for agent in self.agents:
                agent.flap()
                await asyncio.sleep(2.0 / len(self.agents))
        while any(agent.sync.happened for agent in self.agents) and time.monotonic() < until + 10:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.05)
        return [latency for agent in self.agents for latency in agent.sync.latencies]

    async def idle(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return len(self.agents)


async def main() -> None:
    logging.getLogger("breakers").setLevel(logging.ERROR)  # openings are what it is here for
    agents = Agents(*sys.argv[1:])
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked: dict[str, Any] = json.loads(line)
        print(json.dumps(await getattr(agents, asked.pop("do"))(**asked)), flush=True)
    for task in agents.tasks:
        task.cancel()
    await agents.session.close()


if __name__ == "__main__":
    asyncio.run(main())
