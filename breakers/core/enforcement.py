"""Carrying out what the fleet wants of one breaker: its override, its config, its resets."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from .breaker import CircuitBreaker
from .config import BREAKER_FIELDS, HTTP_FIELDS, CircuitBreakerConfig, HttpConfig
from .wire import DesiredBreaker, Json, ResetCommand

RESET_LIFETIME = 60.0
"""Seconds that a reset command lives after it was given."""
_REMEMBERED = 10_000


class ResetLog:
    """Which reset commands were met, so that each is carried out once, and which of them were confirmed. Bounded.

    ``started``: when this instance began, in the seconds of ``now``.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._seen: dict[str, float] = {}  # command id -> when it cannot come again; the soonest first
        self._done: dict[str, int] = {}  # command id -> the report that said so; 0: none on this connection

    def admits(self, command: ResetCommand, *, instance: str, now: float) -> bool:
        """True once for each command to ``instance`` that was given while it ran and is not older than its lifetime."""
        while self._seen and next(iter(self._seen.values())) <= now:
            del self._seen[next(iter(self._seen))]
        late = command.age > min(RESET_LIFETIME, now - self._started)
        other = command.instance is not None and command.instance != instance
        if command.id in self._seen or late or other or len(self._seen) >= _REMEMBERED:
            return False
        self._seen[command.id] = now + 2 * RESET_LIFETIME  # longer than any message is under way
        return True

    def done(self, key: str) -> None:
        self._done[key] = 0

    def unsaid(self, limit: int) -> tuple[str, ...]:
        return tuple(islice((key for key, said in self._done.items() if said == 0), limit))

    def said(self, keys: Iterable[str], report: int) -> None:
        self._done.update(dict.fromkeys(keys, report))

    def acknowledge(self, report: int) -> None:
        """Reports up to this one have arrived."""
        self._done = {key: said for key, said in self._done.items() if not 0 < said <= report}

    def forget_connection(self) -> None:
        """What was said and not acknowledged must be said again."""
        self._done = dict.fromkeys(self._done, 0)


def enforce_override(breaker: CircuitBreaker, row: DesiredBreaker) -> None:
    wanted = row.override
    if wanted is None or (wanted.expires_in is not None and wanted.expires_in <= 0):
        breaker.set_fleet_override(None)
    else:
        breaker.set_fleet_override(wanted.override, expires_in=wanted.expires_in, reason=wanted.reason)


def enforce_config(breaker: CircuitBreaker, row: DesiredBreaker) -> None:
    """Both configs or, with a :class:`ConfigError`, neither."""
    config = http = None
    if row.config is not None:
        config = CircuitBreakerConfig.from_mapping({**_known(row.config, BREAKER_FIELDS), "name": row.name})
    if row.http is not None:
        http = HttpConfig.from_mapping(_known(row.http, HTTP_FIELDS))
    breaker.apply_fleet_config(config, None if row.deleted else row.version)
    breaker.apply_fleet_http(http)


def _known(values: Json, fields: Iterable[str]) -> Json:
    """What this library knows of ``values``; a newer server may say more."""
    return {name: values[name] for name in fields if name in values}
