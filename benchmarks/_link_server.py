"""The control plane as ``manage.py serve`` runs it, with a door through which ``benchmarks.link`` measures it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from typing import Any

sends: list[Any] = []


async def save(_: dict[str, Any]) -> dict[str, float]:
    """One edit of the one breaker that every link has: when it began and when it was committed (monotonic)."""
    from breakers import selectors, services

    def edit() -> dict[str, float]:
        began = time.monotonic()
        row = selectors.breaker("breaker-0")
        config = replace(row.config(), failure_threshold=5 + (row.version or 0) % 90)
        by = services.Actor("system", "benchmark")
        services.breaker_edit(name=row.name, config=config, http=row.http_config(), reason="benchmark", by=by)
        return {"began": began, "committed": time.monotonic()}

    return await asyncio.to_thread(edit)


async def broadcast(_: dict[str, Any]) -> dict[str, float]:
    """The bytes of the last push once more, raw, to the same sockets."""
    text = last_push()
    began = time.monotonic()
    for send in sends:
        await send({"type": "websocket.send", "text": text})
    return {"began": began, "committed": time.monotonic(), "bytes": len(text)}


def last_push() -> str:
    from breakers.agents import messages
    from breakers.fleet import fleet

    changes = messages.changed(fleet.revision - 1)
    assert changes is not None
    (text,) = messages.encoded(changes, list)
    return text


DOORS = {"/bench/save": save, "/bench/broadcast": broadcast}


def measured(application: Any) -> Any:
    """``application``, remembering the sockets of links."""

    async def door(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] in DOORS:
            answer = await DOORS[scope["path"]](scope)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
        elif scope["type"] == "websocket":
            await observed(scope, receive, send)
        else:
            await application(scope, receive, send)

    async def observed(scope: dict[str, Any], receive: Any, send: Any) -> None:
        sends.append(send)
        try:
            await application(scope, receive, send)
        finally:
            sends.remove(send)

    return door


def main(port: int) -> None:
    import django

    django.setup()
    from breakers.agents import serving

    def load() -> Any:
        from tradpal_cb.asgi import application

        return measured(application)

    serving.serve(load, bind="127.0.0.1", port=port, patience=1.0, announce=lambda text: print(text, flush=True))


if __name__ == "__main__":
    main(int(sys.argv[1]))
