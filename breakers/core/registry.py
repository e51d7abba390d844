"""One breaker a name, for the whole process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from .breaker import CircuitBreaker
from .changes import transition
from .config import CircuitBreakerConfig, HttpConfig
from .errors import ConfigError
from .forgotten import Forgotten, Past
from .listeners import Listeners
from .lock import LOCK
from .orders import checked
from .states import Transition

TransitionListener = Callable[[CircuitBreaker, Transition], None]
RegisterListener = Callable[[CircuitBreaker], None]


class CircuitBreakerRegistry:
    """Breakers by name. ``clock`` is given to the breakers that it makes from then on."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._breakers: dict[str, CircuitBreaker] = {}
        self._first_configs: dict[str, CircuitBreakerConfig] = {}
        self._lent: set[str] = set()
        self._forgotten = Forgotten()
        self._first_epoch = 0
        """Later than all of those that were forgotten: to the fleet one that is made anew is the same breaker."""
        self._transition_listeners: Listeners[CircuitBreaker, Transition] = Listeners()
        self._register_listeners: Listeners[CircuitBreaker] = Listeners()
        self._forget_listeners: Listeners[CircuitBreaker] = Listeners()

    def get_or_create(
        self, name: str, config: CircuitBreakerConfig | None = None, *, http: HttpConfig | None = None
    ) -> CircuitBreaker:
        """The breaker of this name; made with ``config`` (``name`` replaces the config's) if there is none.

        One that is made here has ``http`` before any listener hears of it; one that exists is left as it is.
        Raises ``ConfigError`` on a name that cannot be, and on a config other than the one it was made with.
        """
        breaker = self._breakers.get(name)
        if breaker is None:
            return self._create(name, config, http)
        if self._lent:
            self._lent.discard(name)
        if config is not None:
            self._compare(breaker, replace(checked(config), name=name))
        return breaker

    def _create(self, name: str, given: CircuitBreakerConfig | None, http: HttpConfig | None) -> CircuitBreaker:
        config = CircuitBreakerConfig(name=name) if given is None else replace(checked(given), name=name)
        made = CircuitBreaker(config, clock=self.clock)
        made._owner = self._transition_listeners
        if http is not None:
            made.set_http(http)
        with LOCK:
            if self._first_epoch:
                made.begin_in(self._first_epoch)
            breaker = self._breakers.setdefault(name, made)
            if breaker is made:
                self._first_configs[name] = config
                self._forgotten.go_on(name)
        if breaker is not made:  # another thread was faster
            return self.get_or_create(name, given, http=http)
        self._register_listeners.tell(name, breaker)
        return breaker

    def _compare(self, breaker: CircuitBreaker, config: CircuitBreakerConfig) -> None:
        # also the present one: code may ask again after a live edit of its own
        known = (self._first_configs[breaker.name], breaker.code_config)
        if config in known:
            return
        theirs, given = known[0].as_dict(), config.as_dict()
        raise ConfigError(
            {
                field: f"breaker '{breaker.name}' exists with {theirs[field]!r}, not {value!r}; configure() edits it"
                for field, value in given.items()
                if value != theirs[field]
            }
        )

    def get(self, name: str) -> CircuitBreaker | None:
        """The breaker of this name; ``None`` if there is none. Makes none."""
        return self._breakers.get(name)

    def all(self) -> list[CircuitBreaker]:
        """Every breaker at this moment, in the order in which they were made."""
        return list(self._breakers.values())

    def reset_all(self) -> int:
        """Resets every breaker; how many there are."""
        breakers = self.all()
        for breaker in breakers:
            breaker.reset()
        return len(breakers)

    def forget(self, name: str) -> None:
        """The name is free again. Who holds the breaker keeps it as it is, but the registry speaks of it no more.

        If it is not closed, those who listen here, and the fleet, are told that it is: else the name would be open to
        them until the process ends. Calls that end later count for the fleet all the same.
        """
        with LOCK:
            breaker = self._breakers.pop(name, None)
            self._first_configs.pop(name, None)
            self._lent.discard(name)
            if breaker is None:
                return
            last = breaker.disown()
            past = self._forgotten.add(breaker, last)
            self._first_epoch = max(self._first_epoch, past.epoch + 1)
        if last is not None:
            self._transition_listeners.tell(name, breaker, transition(name, last))
        self._forget_listeners.tell(name, breaker)

    def forgotten(self) -> list[str]:
        """The names that have been forgotten and not been made anew; the longest forgotten first."""
        with LOCK:
            return self._forgotten.names()

    def look(self, name: str) -> tuple[CircuitBreaker | None, Past | None]:
        """The breaker of this name and what forgotten ones had counted: at one moment, so that nothing is in both."""
        with LOCK:
            return self._breakers.get(name), self._forgotten.get(name)

    def lend(self, name: str) -> None:
        """Marks a breaker whose maker will forget it one day, until the program asks for it by :meth:`get_or_create`:
        what code holds must not vanish from the registry."""
        self._lent.add(name)

    def is_lent(self, name: str) -> bool:
        return name in self._lent

    def clear(self) -> None:
        """Forgets every breaker."""
        for breaker in self.all():
            self.forget(breaker.name)

    def __contains__(self, name: object) -> bool:
        return name in self._breakers

    def __len__(self) -> int:
        return len(self._breakers)

    def on_transition(self, listener: TransitionListener) -> Callable[[], None]:
        """``listener(breaker, transition)`` for every breaker, also those made later. Returns what ends this."""
        return self._transition_listeners.subscribe(listener)

    def on_register(self, listener: RegisterListener) -> Callable[[], None]:
        """``listener(breaker)`` for each breaker made from now on. Returns what ends this."""
        return self._register_listeners.subscribe(listener)

    def on_forget(self, listener: RegisterListener) -> Callable[[], None]:
        """``listener(breaker)`` for each breaker forgotten from now on. Returns what ends this."""
        return self._forget_listeners.subscribe(listener)


registry = CircuitBreakerRegistry()
"""The registry of this process."""


def get_circuit_breaker(name: str, config: CircuitBreakerConfig | None = None) -> CircuitBreaker:
    """The breaker of this name in the process's registry; see :meth:`CircuitBreakerRegistry.get_or_create`."""
    return registry.get_or_create(name, config)
