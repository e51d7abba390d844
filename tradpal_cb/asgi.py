"""The server: HTTP by Django, ``/ws/agent`` for links, ``/ws/feed`` for browsers and keys."""

from __future__ import annotations

import os
import sys
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import get_resolver, path, re_path

from tradpal_cb import handler, logs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradpal_cb.settings")
http = handler.application()  # first: it makes the app registry ready for the imports below

from breakers.agents import AgentConsumer, collector, runtime  # noqa: E402  # needs the app registry
from breakers.fleet import fleet  # noqa: E402  # needs the app registry
from dashboard.consumers import FeedConsumer  # noqa: E402  # needs the app registry

logs.follow(fleet)
runtime.start()
if "daphne.server" in sys.modules:  # else another server serves this
    from tradpal_cb import unheard

    unheard.install()


async def nowhere(scope: Any, receive: Any, send: Any) -> None:
    """A socket at any other address is refused (403), where the router alone would raise: a 500 for whoever asks."""
    await receive()
    await send({"type": "websocket.close"})


routes = [
    path("ws/agent", AgentConsumer.as_asgi()),
    path("ws/feed", FeedConsumer.as_asgi()),  # type: ignore[arg-type]  # Channels routes ASGI applications
    re_path("", nowhere),  # type: ignore[arg-type]  # as above
]
application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(routes)})
get_resolver().url_patterns  # noqa: B018  # reading it imports every view: the first request need not
collector.settle()
