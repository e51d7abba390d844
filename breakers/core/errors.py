"""The tree of exceptions::

CircuitBreakerError(Exception)
├── ConfigError(ValueError)         a config that cannot be; names every wrong field at once
└── CircuitBreakerOpenError         a call that was rejected without being made
    └── breakers.client.http.HttpCircuitBreakerOpenError(aiohttp.ClientConnectionError)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .states import CircuitBreakerState, Override


class CircuitBreakerError(Exception):
    """Root of everything that this package raises on purpose."""


class ConfigError(CircuitBreakerError, ValueError):
    """Wrong values in a config. ``fields`` maps each wrong field to a sentence that names its bound."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields: Mapping[str, str] = MappingProxyType(dict(fields))
        super().__init__("; ".join(f"{field}: {message}" for field, message in self.fields.items()))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[dict[str, str]]]:
        return type(self), (dict(self.fields),)


class CircuitBreakerOpenError(CircuitBreakerError):
    """The breaker rejected the call without making it.

    ``reason`` is why the breaker is as it is (a :class:`~breakers.core.states.Reason`, or the override's value);
    ``retry_after`` is in seconds, ``None`` when forced: nobody knows until when.
    """

    # the facts live in `args`, where BaseException.__new__ puts them: the breaker makes its rejections by that alone,
    # for a third of the price of a constructor in Python
    def __init__(
        self, name: str, state: CircuitBreakerState, reason: str | None = None, retry_after: float | None = None
    ) -> None:
        self.args = (name, state, reason, retry_after)

    @property
    def name(self) -> str:
        """The breaker's."""
        return self.args[0]  # type: ignore[no-any-return]  # args is a tuple of anything

    @property
    def state(self) -> CircuitBreakerState:
        """The machine's own."""
        return self.args[1]  # type: ignore[no-any-return]  # see name

    @property
    def reason(self) -> str | None:
        """Why the breaker is as it is: that of its last transition, or ``forced_open``."""
        return self.args[2]  # type: ignore[no-any-return]  # see name

    @property
    def retry_after(self) -> float | None:
        """Seconds."""
        return self.args[3]  # type: ignore[no-any-return]  # see name

    def __str__(self) -> str:
        if self.reason == Override.FORCED_OPEN:
            return f"Circuit breaker '{self.name}' is forced open"
        wait = "" if self.retry_after is None else f", retry after {self.retry_after:.3g} s"
        why = "" if self.reason is None else f" ({self.reason})"
        return f"Circuit breaker '{self.name}' is {self.state.value}{why}{wait}"
