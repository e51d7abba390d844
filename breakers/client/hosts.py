"""Breakers of hosts that come and go: kept in the process's registry, bounded in number."""

from __future__ import annotations

import functools
import re
import threading

from breakers.client.link import get_circuit_breaker
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.registry import registry
from breakers.core.states import CircuitBreakerState


class Seat:
    """One breaker, and when it was last used (seconds, monotonic)."""

    __slots__ = ("breaker", "used")

    def __init__(self, breaker: CircuitBreaker, used: float) -> None:
        self.breaker = breaker
        self.used = used

    @property
    def taken(self) -> bool:
        """False once the registry has forgotten the breaker."""
        return self.breaker._owner is not None


_seats: dict[str, Seat] = {}
"""Of every breaker made here, by name: sessions that share one use it, and keep it, together."""
_lock = threading.RLock()  # sessions of several event loops share seats; a listener of the registry may make a request


class Hosts:
    """At most ``most`` breakers of its own making, and each that is closed only until ``idle_after`` seconds after its
    last use. What the program makes or asks for itself is never dropped.

    Beyond ``most`` the longest unused is dropped first, of the closed ones if there are any: what is made anew is
    closed, so one that is not closed is reset before, for whoever watches.

    ``strict``: a breaker that exists must have been made with ``config``.
    """

    def __init__(
        self,
        config: CircuitBreakerConfig | None,
        http: HttpConfig,
        most: int,
        idle_after: float,
        *,
        strict: bool = False,
    ) -> None:
        self._config, self._http, self._strict = config, http, strict
        self._most = most
        self._idle_after = idle_after
        self._ours: dict[str, Seat] = {}
        self._seats: dict[str, Seat] = {}

    def named(self, name: str, now: float) -> CircuitBreaker:
        """``now``: seconds, monotonic. Finding one that is in use takes no lock. Raises ``ConfigError``."""
        return self.seat(name, now).breaker

    def seat(self, name: str, now: float) -> Seat:
        """The same with its seat, which is used by this. Who keeps it says himself when he uses it, and must see
        that it is taken still and not idle."""
        seat = self._seats.get(name)
        if seat is None or now - seat.used > self._idle_after or not seat.taken:
            seat = self._find(name, now)
        seat.used = now
        return seat

    def _find(self, name: str, now: float) -> Seat:
        with _lock:
            self._drop_idle(now)
            found = registry.get(name)
            if found is None:
                self._drop_for_one_more()
                seat = self._ours[name] = _seats[name] = Seat(self._get(name), now)
                registry.lend(name)
            else:
                seat = self._seat_of(found, now)
            if seat.breaker.http_config is None:
                seat.breaker.set_http(self._http)
            if len(self._seats) >= 2 * self._most:  # of those dropped since, too
                self._seats.clear()
            self._seats[name] = seat
            return seat

    def _seat_of(self, found: CircuitBreaker, now: float) -> Seat:
        name = found.name
        if self._strict:
            lent = registry.is_lent(name)
            self._get(name)
            if lent:  # it was only us who asked
                registry.lend(name)
        seat = _seats.get(name)
        return seat if seat is not None and seat.breaker is found else Seat(found, now)

    def _get(self, name: str) -> CircuitBreaker:
        return get_circuit_breaker(name, self._config, http=self._http)

    def _drop_idle(self, now: float) -> None:
        for name, seat in list(self._ours.items()):
            if (now - seat.used > self._idle_after and _is_closed(seat)) or not seat.taken:
                self._drop(name)

    def _drop_for_one_more(self) -> None:
        surplus = len(self._ours) + 1 - self._most
        if surplus > 0:
            first = sorted(self._ours, key=lambda name: (not _is_closed(self._ours[name]), self._ours[name].used))
            for name in first[:surplus]:
                self._drop(name)

    def _drop(self, name: str) -> None:
        seat = self._ours.pop(name)
        if _seats.get(name) is seat:
            del _seats[name]
        if seat.taken and registry.is_lent(name):
            if not _is_closed(seat):
                seat.breaker.reset()
            registry.forget(name)


def _is_closed(seat: Seat) -> bool:
    return seat.breaker.state is CircuitBreakerState.CLOSED


@functools.lru_cache(maxsize=1024)
def name_of(host: str | None, port: int | None) -> str:
    """``host:port`` in the letters that a breaker's name may have."""
    return re.sub(r"[^A-Za-z0-9_.:-]", "-", f"{host}:{port}")[-100:]
