"""``manage.py serve --bind 0.0.0.0 --port 8012``: the control plane, by daphne tuned for it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string

from breakers.agents import serving


class Command(BaseCommand):
    help = "Serves HTTP and websockets until SIGTERM or Ctrl-C, then drains; a second signal ends at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bind", default="127.0.0.1", help="address to listen on; default: %(default)s")
        parser.add_argument("--port", type=int, default=8012, help="default: %(default)s")
        parser.add_argument(
            "--fd",
            type=int,
            help="listen on this descriptor instead: a socket of systemd, or shared by several servers",
        )
        parser.add_argument(
            "--drain",
            type=float,
            default=5.0,
            help="seconds that requests in flight have at the end; default: %(default)g",
        )

    def handle(
        self, *args: object, bind: str, port: int, fd: int | None, drain: float, **options: Any
    ) -> None:  # what argparse found
        try:
            serving.serve(_application, bind=bind, port=port, patience=drain, announce=self._announce, descriptor=fd)
        except serving.Refused as error:
            raise CommandError(str(error)) from None

    def _announce(self, text: str) -> None:
        serving.logger.info("%s", text)  # as everything that a server says: where operators look, as they read it


def _application() -> Any:  # an ASGI application has no common type
    return import_string(settings.ASGI_APPLICATION)
