"""A request goes to one thread, whole, and comes back; whatever the body, the stream or the client does."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core import signals
from django.db import connections

from breakers.api import hot
from tradpal_cb.handler import OneHopHandler

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 20.0
"""Seconds for an answer: the first of a process imports the views."""
STATIC = Path(__file__).parents[2] / "static"


@pytest.fixture
async def handler(ground):
    made = OneHopHandler(threads=1, writers=1)
    yield made
    for pool in (made._pool, made._writers):
        pool.submit(connections.close_all).result()  # the thread's own
        pool.shutdown()
    made._at_once.close()


def scope(path, method="GET", **headers):
    raw = [
        (b"host", b"testserver"),
        *((name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()),
    ]
    return {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw, "http_version": "1.1"}


async def ask(handler, scope, *bodies):
    client = ApplicationCommunicator(handler, scope)
    for place, body in enumerate(bodies or (b"",), start=1):
        await client.send_input({"type": "http.request", "body": body, "more_body": place < len(bodies)})
    begin = await client.receive_output(PATIENCE)
    body, more = b"", True
    while more:
        part = await client.receive_output(PATIENCE)
        body, more = body + part.get("body", b""), part.get("more_body", False)
    await client.wait(PATIENCE)
    return begin["status"], {name.lower(): value for name, value in begin["headers"]}, body


@pytest.fixture
def bearer(key):
    return {"authorization": f"Bearer {key('read', 'operate')}"}


async def test_all_of_a_request_is_in_one_thread_of_the_pool(handler, bearer, monkeypatch):
    seen = []

    def note(*_, **__):
        seen.append(threading.current_thread().name)

    signals.request_started.connect(note)
    signals.request_finished.connect(note)
    monkeypatch.setattr(hot, "_may_read", note)
    try:
        assert (await ask(handler, scope("/circuit-breakers", **bearer)))[0] == 200
    finally:
        signals.request_started.disconnect(note)
        signals.request_finished.disconnect(note)
    assert len(seen) == 3
    assert set(seen) == {"http_0"}


async def test_a_body_in_pieces_is_one_body(handler, bearer):
    whole = scope("/circuit-breakers", "POST", content_type="application/json", content_length="20", **bearer)
    status, headers, _ = await ask(handler, whole, b'{"name": ', b'"bank-', b'api"}')
    assert (status, headers[b"etag"]) == (201, b'"1"')


async def test_a_body_that_does_not_say_its_length_is_read(handler, bearer):
    """As clients send what they have not counted: in chunks."""
    chunked = scope("/circuit-breakers", "POST", content_type="application/json", transfer_encoding="chunked", **bearer)
    status, _, body = await ask(handler, chunked, b'{"name": "bank-api", ', b'"failure_threshold": 7}')
    assert (status, json.loads(body)["config"]["failure_threshold"]) == (201, 7)


async def test_a_body_that_does_not_say_its_length_is_bounded_all_the_same(handler, bearer):
    chunked = scope("/circuit-breakers", "POST", content_type="application/json", transfer_encoding="chunked", **bearer)
    status, _, body = await ask(handler, chunked, b'{"name": "bank-api", "reason": "', b"x" * 70_000, b'"}')
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("name", ["js/page.js", "css/dashboard.css"])
async def test_a_file_is_sent_whole(handler, name):
    status, headers, body = await ask(handler, scope(f"/static/{name}"))
    assert (status, body) == (200, (STATIC / name).read_bytes())
    assert int(headers[b"content-length"]) == len(body)


async def test_a_file_of_many_pieces_is_sent_whole(handler):
    name = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
    status, headers, body = await ask(handler, scope(name))
    assert status == 200
    assert int(headers[b"content-length"]) == len(body) > 1_000_000


async def test_an_asynchronous_stream_is_sent_whole(handler, bearer):
    begun = scope("/circuit-breakers", "POST", content_type="application/json", content_length="13", **bearer)
    await ask(handler, begun, b'{"name": "x"}')
    status, headers, body = await ask(handler, scope("/changes.csv", **bearer))
    assert (status, headers[b"content-type"]) == (200, b"text/csv; charset=utf-8")
    assert body.count(b"\r\n") == 2


async def test_a_client_that_leaves_amid_its_body_is_no_error(handler, bearer):
    client = ApplicationCommunicator(handler, scope("/circuit-breakers", "POST", **bearer))
    await client.send_input({"type": "http.request", "body": b"{", "more_body": True})
    await client.send_input({"type": "http.disconnect"})
    await client.wait()
    assert await client.receive_nothing()


async def test_what_is_no_http_is_refused(handler):
    with pytest.raises(ValueError, match="websocket"):
        await handler({"type": "websocket"}, None, None)


async def test_an_address_that_is_no_text_is_a_client_error(handler):
    assert (await ask(handler, {**scope("/"), "query_string": b"\xff=\xff"}))[0] == 400
