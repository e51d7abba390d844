"""What the fleet wants of this process's breakers: taken row by row, and carried out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from .enforcement import ResetLog, enforce_config, enforce_override
from .errors import ConfigError
from .registrations import REGISTER_AGAIN_AFTER, Registrations
from .registry import CircuitBreakerRegistry
from .wire import Desired, DesiredBreaker, Refusal, ResetCommand

logger = logging.getLogger("breakers.link")


class Wanted:
    """Desired state as far as one instance, which begins now, has heard of it. Thread-safe.

    ``lock``: re-entrant; held while something is applied, and by whoever wants that to wait. ``touch(name)`` is called
    when a breaker's status is news. ``clock`` is monotonic.
    """

    def __init__(
        self,
        registry: CircuitBreakerRegistry,
        registrations: Registrations,
        *,
        instance: str,
        lock: threading.RLock,
        touch: Callable[[str], None],
        clock: Callable[[], float],
        seeds: dict[str, DesiredBreaker],
    ) -> None:
        self._registry, self._registrations = registry, registrations
        self._instance, self._lock, self._touch, self._clock = instance, lock, touch, clock
        self._seeds = seeds
        self.revision = 0
        self.resets = ResetLog(clock())
        self._rows: dict[str, DesiredBreaker] = {}  # what was last taken from the fleet, a breaker
        self._refused: dict[str, Refusal] = {}
        self.forget_connection()

    def forget_connection(self) -> None:
        """A new one begins: what was refused is due to be said, and what comes first answers our hello."""
        self._refusals_due = set(self._refused)
        self.resets.forget_connection()
        self._answered = False  # whether this conversation has brought any desired state

    # --- what comes ------------------------------------------------------------------------------------------------

    def take(self, desired: Desired) -> None:
        """In any order and any number of times: older never overwrites newer."""
        with self._lock:
            if not self._answered and desired.since is None and desired.revision < self.revision:
                self._start_over(desired.revision)
            self._answered = True
            for row in desired.breakers:
                if row.name in self._registry:
                    self._apply(row)
                elif row.name in self._rows and self._rows[row.name].revision < row.revision:
                    self._rows[row.name] = row  # of a forgotten one; holds for the one that is made anew
            if desired.since is None:
                self._return_absent(desired)
            for command in desired.resets:
                self._reset(command)
            if desired.since is None or desired.since <= self.revision:  # else rows are missing: our report says so
                self.revision = max(self.revision, desired.revision)

    def _start_over(self, revision: int) -> None:
        """The answer to our hello is behind what we hold: another database is the truth now, say a restored one."""
        logger.warning("The control plane is at revision %d, we were at %d: taking its word", revision, self.revision)
        self.revision = revision
        self._rows = {name: replace(row, revision=0) for name, row in self._rows.items()}

    def _apply(self, row: DesiredBreaker) -> None:
        """Takes a row that is newer than the one taken before; a config that cannot be is refused, the rest taken."""
        with self._lock:
            breaker, known = self._registry.get(row.name), self._rows.get(row.name)
            if breaker is None or (known is not None and known.revision >= row.revision):
                return
            self._rows[row.name] = row
            self._refused.pop(row.name, None)
            self._refusals_due.discard(row.name)
            if row.deleted:
                self._registrations.add(row.name, not_before=self._clock() + REGISTER_AGAIN_AFTER)
            else:
                self._registrations.cancel_later(row.name)
            try:
                enforce_override(breaker, row)
                enforce_config(breaker, row)
            except Exception as error:  # whatever it is, the other breakers must get theirs
                self._refuse(row, error)
            self._touch(row.name)

    def _refuse(self, row: DesiredBreaker, error: Exception) -> None:
        text = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        self._refused[row.name] = Refusal(row.name, row.revision, text[:500])
        self._refusals_due.add(row.name)
        logger.warning("Circuit breaker '%s' keeps its config, the pushed one is refused: %s", row.name, text)

    def _return_absent(self, desired: Desired) -> None:
        """The whole was sent: a row that we hold and that it does not name has been deleted."""
        named = {row.name for row in desired.breakers}
        for name in [name for name in self._rows if name not in named]:
            self._apply(DesiredBreaker(name, desired.revision, deleted=True))

    def _reset(self, command: ResetCommand) -> None:
        if not self.resets.admits(command, instance=self._instance, now=self._clock()):
            return
        breaker = self._registry.get(command.name)
        if breaker is not None:
            breaker.reset()
            self.resets.done(command.id)
            self._touch(command.name)

    # --- what the program makes ------------------------------------------------------------------------------------

    def apply_again(self, name: str) -> None:
        """What was wanted of a forgotten breaker holds for the one that is made anew."""
        if name in self._rows:
            with self._lock:
                row = self._rows.pop(name, None)
                if row is not None and not row.deleted:
                    self._apply(row)

    def seed(self, rows: Iterable[DesiredBreaker]) -> None:
        """Rows remembered from an earlier run: taken now, or when the program makes the breaker."""
        for row in rows:
            self._seeds[row.name] = replace(row, revision=0)  # whatever the server says is newer
            if row.name in self._registry:
                self.sow(row.name)

    def sow(self, name: str) -> None:
        """What was remembered for a breaker that is there now."""
        seed = self._seeds.pop(name, None)
        if seed is not None:
            self._apply(seed)

    def keep_only(self, forgotten: Collection[str]) -> None:
        """Of names without a breaker, what holds for one that is made anew is kept for these."""
        with self._lock:
            for name in [name for name in self._rows if name not in forgotten and name not in self._registry]:
                del self._rows[name]
                self._refused.pop(name, None)
                self._refusals_due.discard(name)

    # --- what is told of it ----------------------------------------------------------------------------------------

    def rows(self) -> tuple[DesiredBreaker, ...]:
        """The fleet's last word on each breaker of this process."""
        with self._lock:
            return tuple(row for row in self._rows.values() if not row.deleted)

    def refusals(self) -> tuple[Refusal, ...]:
        """Of the configs that stand in the database and could not be taken."""
        return tuple(self._refused[name] for name in sorted(self._refused))

    def refusals_due(self, limit: int) -> tuple[Refusal, ...]:
        """Those that were not said on this connection."""
        return tuple(self._refused[name] for name in sorted(self._refusals_due)[:limit])

    def said(self, refusals: Iterable[Refusal]) -> None:
        self._refusals_due.difference_update(refusal.name for refusal in refusals)
