"""Where the log goes and how it reads: lines for people on the console, JSON for machines in a file or there too.

Each line is one event, whatever clients put into it. Lines of a request carry its id. What instances report of
their breakers is written here as services write it themselves: ``Circuit breaker 'NAME' went from ...``.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ImproperlyConfigured

from breakers.tracing import request_id

if TYPE_CHECKING:  # the settings use this module, before there are models
    from breakers.fleet import Event, Fleet

logger = logging.getLogger("breakers")

FORMATS: Final = ("text", "json")
_QUIET: Final = {
    **dict.fromkeys(("axes", "daphne", "django.server"), "WARNING"),
    "django.security.DisallowedHost": "CRITICAL",  # a traceback for each: `breakers.access` has the line
    "apprise": "CRITICAL",  # it writes addresses with their tokens, at ERROR those that it cannot read
    "urllib3": "ERROR",  # beneath it: paths with tokens
}
_BREAKS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class RequestIdFilter(logging.Filter):
    """Gives each record that is made for a request its ``request_id``."""

    def filter(self, record: logging.LogRecord) -> bool:
        if known := request_id.get() or getattr(getattr(record, "request", None), "request_id", ""):
            record.request_id = known
        return True


class OneLine(logging.Formatter):
    """For people. A message stays on its line: nobody who chooses a name or a reason writes lines of his own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the base class names it
        record.message = _BREAKS.sub(lambda found: f"\\x{ord(found[0]):02x}", record.message)
        line = super().formatMessage(record)
        known = getattr(record, "request_id", "")
        return f"{line} [{known}]" if known else line


class LogFile(logging.handlers.WatchedFileHandler):
    """Watched: logrotate may move it away at any time. What cannot be written is lost, and harms nobody who logs."""

    _lost = _said = False

    def emit(self, record: logging.LogRecord) -> None:
        self._lost = False
        try:
            super().emit(record)
        except OSError:  # the base class opens the file outside of what it guards
            self.handleError(record)
        if self._said and not self._lost:
            self._said = False
            logger.info("CIRCUIT_BREAKER_LOG_FILE is written again")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the base class names it
        """One line until it can be written again."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._lost = True
        if not self._said:
            self._said = True
            logger.error("CIRCUIT_BREAKER_LOG_FILE is not written, and tried again with each line: %s", error)
            self._lost = True


def configuration(*, level: str, format: str, file: str) -> dict[str, Any]:  # noqa: A002  # the setting's word
    """``LOGGING``: the console in ``format``, and JSON lines appended to ``file`` unless that is empty.

    Raises ``ImproperlyConfigured`` for a format that is none, and a file that cannot be written.
    """
    if format not in FORMATS:
        raise ImproperlyConfigured(f"CIRCUIT_BREAKER_LOG_FORMAT is {format!r}; it can be {' or '.join(FORMATS)}")
    handlers: dict[str, Any] = {"console": {"class": "logging.StreamHandler", "formatter": format}}
    if file:
        handlers["file"] = _file(Path(file))
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": "tradpal_cb.logs.RequestIdFilter"}},
        "formatters": {"text": {**_TEXT}, "json": {**_JSON}},  # copies: logging takes them apart
        "handlers": {name: {**handler, "filters": ["request_id"]} for name, handler in handlers.items()},
        "root": {"handlers": list(handlers), "level": level},
        "loggers": {name: {"level": level} for name, level in _QUIET.items()},
    }


_TEXT: Final = {
    "()": "tradpal_cb.logs.OneLine",
    "format": "{asctime} {levelname} {name} {message}",
    "style": "{",
}
_JSON: Final = {
    "()": "pythonjsonlogger.json.JsonFormatter",
    "format": "{levelname} {name} {message}",
    "style": "{",
    "rename_fields": {"levelname": "level", "name": "logger"},
    "timestamp": True,
}


def _file(path: Path) -> dict[str, Any]:
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ImproperlyConfigured(f"CIRCUIT_BREAKER_LOG_FILE is {str(path)!r}, which cannot be written")
    return {"class": "tradpal_cb.logs.LogFile", "filename": str(path), "formatter": "json", "delay": True}


def follow(fleet: Fleet) -> Callable[[], None]:
    """From here on writes what happens in the fleet into the log, once an event. Returns what ends it."""
    return fleet.on_event(log_event)


def log_event(event: Event) -> None:
    """Opening is a warning. How a reset gets on is for the pages only."""
    if event["kind"] == "transition":
        _log_transition(event)
    elif event["kind"] != "reset_progress":
        facts = {"breaker": event["name"], "change": event["kind"], "actor": event.get("actor")}
        logger.info("Circuit breaker '%s', %s: %s", event["name"], event.get("actor"), event.get("text"), extra=facts)


def _log_transition(event: Event) -> None:
    wanted = ("service", "instance", "from_state", "to_state", "reason", "cause")
    facts = {"breaker": event["name"], **{key: event.get(key) for key in wanted}}
    logger.log(
        logging.WARNING if event["to_state"] == "open" else logging.INFO,
        "Circuit breaker '%(breaker)s' went from %(from_state)s to %(to_state)s (%(reason)s)"
        " in %(service)s, instance %(instance)s: %(cause)s",
        facts,
        extra=facts,
    )
