"""What breakers that the registry has forgotten had counted: to the fleet, one name in one process is one breaker."""

from __future__ import annotations

import weakref
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .changes import Change
from .counts import NOTHING, Counts, Totals
from .machine import Machine

if TYPE_CHECKING:
    from .breaker import CircuitBreaker

REMEMBERED = 10_000
"""Names; of one that is made anew after so many others were forgotten the counts begin at zero."""
_ONE_CHANGE = Totals(Counts(state_changes=1))


@dataclass(frozen=True, slots=True)
class Past:
    """Of one name: what its forgotten breakers have counted, and where the next one goes on."""

    epoch: int = 0
    """Of the last one, when it was closed or taken for closed; the next one begins in a later one."""
    ended: Totals = NOTHING
    """Of those that are no more, and the changes that closed some of them for who watches."""
    lingering: tuple[tuple[weakref.ref[CircuitBreaker], Machine], ...] = ()
    """Those that somebody still holds, if only until a call has ended. Their machines outlive them here, for their last
    counts."""

    @property
    def totals(self) -> Totals:
        return sum((_counted(*one) for one in self.lingering), self.ended)

    def folded(self) -> Past:
        """The same, with what has come to its end added up."""
        ended, lingering = self.ended, []
        for reference, machine in self.lingering:
            if reference() is None:
                ended += _counted(reference, machine)
            else:
                lingering.append((reference, machine))
        return replace(self, ended=ended, lingering=tuple(lingering))


def _counted(reference: weakref.ref[CircuitBreaker], machine: Machine) -> Totals:
    breaker = reference()
    if breaker is not None:
        return breaker.snapshot().totals
    return Totals(machine.counts(), machine.latencies())


class Forgotten:
    """The past of each name. Those without a breaker now are at most ``REMEMBERED``. Its owner holds the lock."""

    def __init__(self) -> None:
        self._past: dict[str, Past] = {}  # of names without a breaker; the longest forgotten first
        self._continued: dict[str, Past] = {}  # of those with one
        self._freed: deque[str] = deque()  # told by finalisers, which can come at any moment: they only append

    def add(self, breaker: CircuitBreaker, last: Change | None) -> Past:
        """``last`` closed it for who watches the name."""
        name, freed = breaker.name, self._freed
        self._fold()
        before = self._continued.pop(name, None) or Past()
        one = weakref.ref(breaker, lambda _: freed.append(name)), breaker._machine
        past = self._past[name] = replace(
            before,
            epoch=breaker._machine.epoch if last is None else last.epoch,
            ended=before.ended if last is None else before.ended + _ONE_CHANGE,
            lingering=(*before.lingering, one),
        )
        if len(self._past) > REMEMBERED:
            del self._past[next(iter(self._past))]
        return past

    def go_on(self, name: str) -> None:
        """One of that name was made."""
        past = self._past.pop(name, None)
        if past is not None:
            self._continued[name] = past

    def get(self, name: str) -> Past | None:
        self._fold()
        return self._past.get(name) or self._continued.get(name)

    def names(self) -> list[str]:
        """Those without a breaker."""
        return list(self._past)

    def _fold(self) -> None:
        while self._freed:
            name = self._freed.popleft()
            for where in (self._past, self._continued):
                if name in where:
                    where[name] = where[name].folded()
