"""What a breaker is told to do: by code, by an operator, by the fleet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Literal

from .config import CircuitBreakerConfig, Field, HttpConfig
from .errors import ConfigError
from .listeners import Listeners
from .machine import OPEN, Forced, Origin
from .states import CircuitBreakerState, Override
from .stepping import Stepping


class Orderly(Stepping):
    """Resets, overrides and live edits, in the two slots of code and fleet."""

    __slots__ = ("_code_config", "_code_http", "_fleet_config", "_fleet_http", "_orders")

    def __init__(self, config: CircuitBreakerConfig, clock: Callable[[], float]) -> None:
        super().__init__(config, clock)
        self._code_config = config
        self._fleet_config: CircuitBreakerConfig | None = None
        self._code_http: HttpConfig | None = None
        self._fleet_http: HttpConfig | None = None
        self._orders: Listeners[[]] = Listeners()
        """Called after each override that is set or lifted, in the thread that does: it is no change of state."""

    def reset(self) -> None:
        """CLOSED, with streak, window and back-off cleared; calls in flight will be late. Lifts no override."""
        now = self._clock()
        self._step(now, self._machine.reset, now)

    def _place(self, state: CircuitBreakerState, note: str) -> None:
        """For :mod:`breakers.testing`: into OPEN from CLOSED, into HALF_OPEN from OPEN."""
        now, machine = self._clock(), self._machine
        self._step(now, machine.trip if state is OPEN else machine.begin_probing, now, note)

    def force_open(self, expires_in: float | None = None, reason: str = "") -> None:
        """Rejects every call until released, or for ``expires_in`` seconds."""
        self._force("code", Override.FORCED_OPEN, expires_in, reason)

    def force_closed(self, expires_in: float | None = None, reason: str = "") -> None:
        """Lets every call through until released, or for ``expires_in`` seconds; the machine goes on judging."""
        self._force("code", Override.FORCED_CLOSED, expires_in, reason)

    def release(self) -> None:
        """Lifts the override that code has set; the fleet's stays."""
        self._force("code", None, None, "")

    def set_fleet_override(
        self, override: Override | None, *, expires_in: float | None = None, reason: str = ""
    ) -> None:
        """The fleet's slot; it outranks the code's. ``None`` empties it."""
        self._force("fleet", override, expires_in, reason)

    def _force(self, origin: Origin, override: Override | None, expires_in: float | None, reason: str) -> None:
        _check_order(expires_in, reason)
        now = self._clock()
        expires_at = inf if expires_in is None else now + expires_in
        forced = None if override is None else Forced(Override(override), expires_at, reason)
        self._step(now, self._machine.set_override, origin, forced, now)
        self._orders.tell(self.name)

    @property
    def code_config(self) -> CircuitBreakerConfig:
        """What code gave last; in force unless the fleet has given another."""
        return self._code_config

    @property
    def config_version(self) -> int | None:
        """The version of the fleet's config, ``None`` while the code's is in force."""
        return self._config_version

    def configure(self, config: CircuitBreakerConfig) -> None:
        """A live edit by code: nothing learnt is lost, nothing is judged before the next completion."""
        self._step(self._clock(), self._adopt_code, self._called_as_we_are(config))

    def apply_fleet_config(self, config: CircuitBreakerConfig | None, version: int | None) -> None:
        """The fleet's config outranks the code's; ``None`` returns to the code's."""
        given = None if config is None else self._called_as_we_are(config)
        self._step(self._clock(), self._adopt_fleet, given, version)

    def _called_as_we_are(self, config: CircuitBreakerConfig) -> CircuitBreakerConfig:
        return config if checked(config).name == self.name else replace(config, name=self.name)

    def _adopt_code(self, config: CircuitBreakerConfig) -> None:
        self._code_config = config
        self._machine.configure(self._fleet_config or config)

    def _adopt_fleet(self, config: CircuitBreakerConfig | None, version: int | None) -> None:
        self._fleet_config = config
        self._config_version = None if config is None else version
        self._machine.configure(config or self._code_config)

    @property
    def http_config(self) -> HttpConfig | None:
        """In force; ``None`` until an HTTP breaker of this name is made."""
        return None if self._code_http is None else self._fleet_http or self._code_http

    @property
    def code_http_config(self) -> HttpConfig | None:
        """What code gave last; in force unless the fleet has given another."""
        return self._code_http

    def set_http(self, http: HttpConfig) -> None:
        """What code gave to the HTTP breaker of this name. Raises ``TypeError`` on anything but an HTTP config."""
        if not isinstance(http, HttpConfig):
            raise TypeError(f"expected an HttpConfig, not {http!r}")
        self._step(self._clock(), self._adopt_http, "_code_http", http)

    def apply_fleet_http(self, http: HttpConfig | None) -> None:
        """The fleet's outranks the code's; ``None`` returns to the code's."""
        self._step(self._clock(), self._adopt_http, "_fleet_http", http)

    def _adopt_http(self, slot: Literal["_code_http", "_fleet_http"], http: HttpConfig | None) -> None:
        setattr(self, slot, http)
        self._machine.rebuild()


def checked(config: CircuitBreakerConfig) -> CircuitBreakerConfig:
    if not isinstance(config, CircuitBreakerConfig):
        raise TypeError(f"expected a CircuitBreakerConfig, not {config!r}")
    return config


_EXPIRY = Field("duration", "Seconds that an override lasts.", above=0, nullable=True)


def _check_order(expires_in: float | None, reason: str) -> None:
    problems = {"expires_in": _EXPIRY.problem(expires_in)}
    if not isinstance(reason, str):
        problems["reason"] = f"must be text, not {reason!r}"
    wrong = {name: problem for name, problem in problems.items() if problem is not None}
    if wrong:
        raise ConfigError(wrong)
