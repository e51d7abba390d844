"""The least that an ASGI application can do: the floor of what daphne costs."""

from __future__ import annotations

from typing import Any

BODY = b"{}"


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})
