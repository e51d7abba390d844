"""Each transition that any server writes is told here exactly once: the database is what carries them.

Numbers of rows are taken before their transactions commit, so one may appear below others that were there before it:
numbers that are missing are looked for until they are too old to be under way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from django.db import connection, transaction
from django.db.models import Q

from breakers import selectors
from breakers.fleet import MergedFleet
from breakers.fleet.events import transition_event
from breakers.models import StateChange

UNDER_WAY: Final = 60.0
"""Seconds after which a number that is missing will stay so: its transaction was undone."""
MOST_MISSING: Final = 5_000
LOOK_BACK: Final = 1_000
"""Numbers below the newest among which some may be missing at the start."""
AT_ONCE: Final = 2_000


class History:
    """Rows of ``StateChange`` in, events of the fleet out. Thread-safe."""

    def __init__(self, fleet: MergedFleet, clock: Callable[[], float] = time.monotonic) -> None:
        self._fleet, self._clock = fleet, clock
        self._lock = threading.Lock()
        self._begun = False
        self._newest = 0
        self._missing: dict[int, float] = {}

    def tell(self, changes: Iterable[StateChange]) -> None:
        """Rows that have just been committed, here or elsewhere; those that were told already are passed over."""
        with self._lock:
            new = [change for change in changes if self._is_new(change.pk)]
            if not self._begun:  # under the lock: the counting, when it begins, must find these counted or not yet told
                self._record(new)
                return
        self._record(new)

    def _record(self, changes: Iterable[StateChange]) -> None:
        for change in changes:
            self._fleet.record_event(transition_event(change))

    def _is_new(self, number: int) -> bool:
        if not self._begun:
            return True  # counted with the rest when it begins
        if number <= self._newest:
            return self._missing.pop(number, None) is not None
        now = self._clock()
        self._missing.update(dict.fromkeys(range(self._newest + 1, number), now))
        self._newest = number
        return True

    def look(self) -> None:
        """Tells what others wrote since. One query by primary key, and one where numbers are missing."""
        if not self._begun:
            self._begin()
            return
        while self._take() == AT_ONCE:
            pass

    def _take(self) -> int:
        with self._lock:
            self._give_up()
            wanted, missing = self._newest, list(self._missing)
        rows = list(StateChange.objects.filter(Q(pk__gt=wanted) | Q(pk__in=missing)).order_by("pk")[:AT_ONCE])
        self.tell(rows)
        return len(rows)

    def _give_up(self) -> None:
        limit = self._clock() - UNDER_WAY
        excess = sorted(self._missing)[:-MOST_MISSING]
        for number in [*excess, *(number for number, since in self._missing.items() if since < limit)]:
            self._missing.pop(number, None)

    def _begin(self) -> None:
        """Counts what there is and notes where the counting ends, as of one moment."""
        if not self._fleet.recalled:
            return
        with self._lock, transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            totals = selectors.transition_totals()
            numbers = set(StateChange.objects.order_by("-pk").values_list("pk", flat=True)[:LOOK_BACK])
            self._newest = max(numbers, default=0)
            expected = range(max(self._newest - LOOK_BACK, 0) + 1, self._newest)
            now = self._clock()
            self._missing = {number: now for number in expected if number not in numbers}
            self._fleet.count_transitions(totals)
            self._begun = True
