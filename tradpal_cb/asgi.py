"""The server: HTTP by Django, ``/ws/agent`` for links, ``/ws/feed`` for browsers and keys."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import get_resolver, path

from tradpal_cb import handler, logs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradpal_cb.settings")
http = handler.application()  # first: it makes the app registry ready for the imports below

from breakers.agents import AgentConsumer, collector, runtime  # noqa: E402  # needs the app registry
from breakers.fleet import fleet  # noqa: E402  # needs the app registry
from dashboard.consumers import FeedConsumer  # noqa: E402  # needs the app registry

logs.follow(fleet)
runtime.start()

routes = [
    path("ws/agent", AgentConsumer.as_asgi()),
    path("ws/feed", FeedConsumer.as_asgi()),  # type: ignore[arg-type]  # Channels routes ASGI applications
]
application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(routes)})
get_resolver().url_patterns  # noqa: B018  # reading it imports every view: the first request need not
collector.settle()
