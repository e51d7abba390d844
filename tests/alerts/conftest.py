"""Somebody who is told: a webhook, a rule of a real server that leads there, and services in processes of their own."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest

from tests.programs import ServiceProcess
from tests.receiver import Receiver
from tests.servers import ServerProcess, eventually

moment = datetime.fromisoformat
LEVELS = {"open": "error"}
"""All others are warnings."""
RULE = """
from django.utils import timezone
from breakers import services
from breakers.models import NotificationRule
for name in %(names)r:
    values = {"levels": ["error", "warning"], "after": 0.0, "quiet": 0.0, "address": %(url)r + "/" + name}
    rule = NotificationRule(name=name, **values)
    services.notification_rule_save(rule=rule, by=services.Actor("system"), now=timezone.now())
"""
Start = Callable[..., ServiceProcess]


class OnCall:
    """Who is told at one path of the receiver, and looks at the page that a message links to."""

    def __init__(self, receiver: Receiver, name: str) -> None:
        self._receiver, self._path = receiver, f"/{name}"

    def told(self, name: str = "") -> list[tuple[str, str]]:
        """Event and kind of each message so far, of one breaker."""
        return [(each["event"], each["kind"]) for each in self._messages if name in ("", each["name"])]

    @property
    def _messages(self) -> list[dict[str, Any]]:
        paths = [path for path, _, _ in self._receiver.got]
        return [each for path, each in zip(paths, self._receiver.messages, strict=True) if path == self._path]

    def hears(self, name: str, kind: str, event: str = "firing", within: float = 60.0) -> dict[str, Any]:
        """The message, once it has come. One that fires stands among the alerts, and on the page that it links to."""

        def message() -> dict[str, Any] | None:
            wanted = [m for m in self._messages if (m["name"], m["kind"], m["event"]) == (name, kind, event)]
            return wanted[-1] if wanted else None

        found = eventually(message, within=within, what=f"{event} {kind} of {name}")
        assert found["level"] == LEVELS.get(kind, "warning")
        if event == "resolved":
            assert moment(found["over_since"]) >= moment(found["since"])
        else:
            assert found["message"]
            assert age(found) < timedelta(minutes=10)
        return found

    def looks_at(self, message: dict[str, Any]) -> str:
        """The text of the page that the message links to."""
        return page(message["link"])

    def hears_the_end(self, name: str, kind: str, within: float = 60.0) -> dict[str, Any]:
        return self.hears(name, kind, "resolved", within)


def rules(server: ServerProcess, receiver: Receiver, *names: str) -> list[OnCall]:
    """Rules of these names for everything that fires at ``server``, each with a path of its own."""
    server.python(RULE % {"names": names, "url": receiver.url})
    return [OnCall(receiver, name) for name in names]


def age(message: dict[str, Any]) -> timedelta:
    """From its ``since`` to when it was told."""
    return moment(message["at"]) - moment(message["since"])


def page(link: str) -> str:
    with urllib.request.urlopen(link, timeout=20) as answer:
        return unescape(answer.read().decode())


def alerts(server: ServerProcess, name: str) -> dict[str, dict[str, Any]]:
    """Kind to alert, as the API has it."""
    found = server.request("GET", "/alerts")[1]["alerts"]
    return {alert["kind"]: alert for alert in found if alert["name"] == name}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def start_service() -> Iterator[Start]:
    """``start_service(server, "trading_service")``: linked; without a server not yet."""
    with ExitStack() as stack:

        def start(server: ServerProcess | None, name: str = "trading_service") -> ServiceProcess:
            made = stack.enter_context(ServiceProcess(server, name))
            return made if server is None else made.linked()

        yield start


def open_to_readers(server: ServerProcess) -> ServerProcess:
    """Whoever reaches it may read, and links in messages lead there."""
    server.environment |= {"CIRCUIT_BREAKER_PUBLIC_READ": "1", "CIRCUIT_BREAKER_PUBLIC_URL": server.url}
    return server
