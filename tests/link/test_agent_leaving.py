"""An agent's socket that is gone before the server's word has left."""

from __future__ import annotations

from typing import Any

from autobahn.exception import Disconnected

from breakers.agents import AgentConsumer


async def test_an_answer_to_who_has_left_is_dropped_and_nothing_more_is_sent() -> None:
    tried: list[Any] = []

    async def send(message: Any) -> None:
        tried.append(message)
        raise Disconnected("Attempt to send on a closed protocol")

    consumer = AgentConsumer()
    consumer.base_send, consumer._closed = send, False
    await consumer._send_text("{}")
    await consumer._send_text("{}")
    assert len(tried) == 1
