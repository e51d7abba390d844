"""What agents say, and what they are told, goes before reads."""

from __future__ import annotations

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from channels.testing import WebsocketCommunicator
from django.db import connections
from django.utils import timezone

from breakers.agents import consumer, hub, runtime
from breakers.agents.consumer import AgentConsumer
from breakers.core.wire import Ack, Desired, Hello, Report, decode_from_server, encode
from breakers.fleet import fleet
from breakers.models import InstanceIdentity
from breakers.precedence import Precedence


@pytest.fixture
def precedence(monkeypatch):
    made = Precedence(lapses=3600.0)
    for module in (consumer, hub, runtime):
        monkeypatch.setattr(module, "precedence", made)
    return made


@pytest.fixture
def headers(key):
    return [(b"authorization", f"Bearer {key('agent')}".encode())]


@pytest.fixture
def threads(monkeypatch):
    """In which keys are looked up: one that closes its connection in the end."""
    made = ThreadPoolExecutor(1)
    monkeypatch.setattr(consumer, "_threads", made)
    yield
    made.submit(connections.close_all).result()
    made.shutdown()


@pytest.mark.usefixtures("threads")
@pytest.mark.django_db(transaction=True)
async def test_a_report_takes_precedence_until_its_acknowledgement_has_left(precedence, headers, monkeypatch):
    seen, take, send = [], fleet.report, AgentConsumer._send_text

    def note(*report):
        seen.append(precedence.claimed)
        return take(*report)

    async def note_what_leaves(consumer, text):
        await send(consumer, text)
        seen.append(precedence.claimed)

    monkeypatch.setattr(fleet, "report", note)
    socket = WebsocketCommunicator(AgentConsumer.as_asgi(), "/ws/agent", headers)
    assert (await socket.connect(20))[0]
    now = time.time()
    await socket.send_to(encode(Hello(str(uuid.uuid4()), "s", "h", 1, "t", now, now)))
    while not isinstance(decode_from_server(await socket.receive_from(20)), Desired):
        pass
    monkeypatch.setattr(AgentConsumer, "_send_text", note_what_leaves)
    await socket.send_to(encode(Report(1, now)))
    assert decode_from_server(await socket.receive_from(20)) == Ack(1)
    await socket.disconnect()
    assert seen == [True, True]  # the report, and its acknowledgement
    assert not precedence.claimed


@pytest.mark.django_db
def test_looking_for_what_is_wanted_takes_precedence(precedence, monkeypatch):
    seen, synchronise = [], fleet.synchronise

    def note():
        seen.append(precedence.claimed)
        return synchronise()

    monkeypatch.setattr(fleet, "synchronise", note)
    runtime.ControlPlane()._synchronise()
    assert seen == [True]
    assert not precedence.claimed


async def test_a_push_takes_precedence_until_it_has_left(precedence, monkeypatch):
    seen, told, written = [], asyncio.Event(), hub.written

    async def note(*what):
        seen.append(precedence.claimed)

    async def note_the_end():
        await written()
        await note()
        told.set()

    monkeypatch.setattr(hub, "written", note_the_end)
    identity = InstanceIdentity(uuid.uuid4(), "s", "h", 1, "t", timezone.now())
    pushing, link = hub.Hub(), hub.AgentLink(identity, ["x"], note, note, 1)
    link.covered = fleet.revision - 1
    await pushing.join(link)
    monkeypatch.setattr(hub._Batch, "bring", note)
    pushing.publish()
    async with asyncio.timeout(20):
        await told.wait()
    assert seen == [True, True]
