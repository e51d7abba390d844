"""The threads that make one fleet of several servers: pass on, take in, and notice when that is not possible."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from django.utils import timezone
from redis import RedisError

from breakers import selectors
from breakers.access import buckets
from breakers.access.sessions import digests_of_ended, sessions_ended_elsewhere
from breakers.fleet import MergedFleet
from breakers.models import StateChange

from .history import History
from .loops import Loop
from .shelf import LIFETIME, Head, Shelf, channel, connect

logger = logging.getLogger("breakers.sharing")

BEAT: Final = 1.0
"""Seconds between two exchanges; what cannot wait wakes the others."""
REST: Final = 0.25
"""And between two at the least."""
COUNTS: Final = 3.0
"""Seconds between two exchanges of what was merely counted, nearly all of it: states and confirmations go at once."""
REFRESH: Final = 30.0
"""Seconds between two looks at what the database holds of others' instances."""
REFRESH_DEGRADED: Final = 5.0
PATIENCE: Final = 20.0
"""How many seconds later than a link's an instance's silence is believed while news come by the database only."""
LATE: Final = 20.0
LONGEST_ABSENCE: Final = 600.0
WRITTEN: Final = timedelta(seconds=2)
"""After which a transition stands in the database, whoever was told of it."""
AT_ONCE: Final = 20
"""Breakers that are dated in one beat, with a query each."""
IN_VAIN: Final = 5.0
"""Seconds until the history is asked again since when, where it did not say: in a storm it goes on for too long."""
SAME_TIME: Final = 3.0
"""Clocks that differ by fewer seconds are taken for equal."""
AGAIN: Final = 1.0


class Exchange:
    """This server's part in it; its threads run from :meth:`start` to :meth:`stop`. ``clock`` is monotonic."""

    def __init__(
        self, url: str, server: str, observed: MergedFleet, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url, self._server, self._fleet, self._clock = url, server, observed, clock
        self._shelf, self._history = Shelf(url, server), History(observed)
        self.trouble: str | None = None
        """Why this server sees its own links and the database only."""
        self._well_since: float | None = None
        self._beat = 0
        self._laid: set[UUID] = set()
        self._heads: dict[str, Head] = {}
        self._refreshed = self._counted = float("-inf")
        self._leaving, self._urgent = False, True
        self._in_vain: dict[str, float] = {}
        """Breakers of which the history did not say since when, and until when it is not asked again."""
        self._loops = (
            Loop("sharing", self.exchange, period=BEAT, rest=REST),
            Loop("sharing-history", self.read, period=BEAT, rest=REST),
        )
        self._stopping = threading.Event()

    def start(self) -> None:
        """Once."""
        buckets.share()
        self._fleet.share()
        for loop in self._loops:
            loop.start()
        threading.Thread(target=self._listen, name="sharing-wakes", daemon=True).start()

    def stop(self, within: float) -> None:
        """The others are told the last of it; what was laid down stays for them until it runs out."""
        self._stopping.set()
        for loop in self._loops:
            loop.stop(within)
        self._leaving = self._urgent = True
        self.exchange()
        self._shelf.close()

    def tell(self, changes: Sequence[StateChange]) -> None:
        """Transitions that this process has just written."""
        if changes:
            self._history.tell(changes)
            self.wake()

    def wake(self) -> None:
        """Something happened here that others should see at once."""
        self._urgent = True
        self._loops[0].wake()

    # --- over Redis -----------------------------------------------------------------------------------------------

    def exchange(self) -> None:
        """Passes on what changed here, takes in what changed elsewhere."""
        try:
            self._pass_on(self._shelf)
            if self.trouble is not None:
                self._fleet.rejoin()  # before counts come in that were made a while ago
            self._take_in(self._shelf)
        except RedisError as error:
            self._lose(error)
        else:
            self._mend()

    def _pass_on(self, shelf: Shelf) -> None:
        urgent, self._urgent = self._urgent, False
        self._beat += 1
        home = self._fleet.at_home()
        changed = list(self._fleet.unshared(counts=self._are_counts_due()))
        presence, dated, ended = self._fleet.presence(), self._fleet.dated(), digests_of_ended()
        head = Head(self._beat, 0, time.time(), presence, buckets.drain(), dated, ended)
        laid = home.union(UUID(passed.id) for passed in changed)
        try:
            kept = shelf.write(changed, self._laid - laid, head)
        except RedisError:
            self._laid |= laid  # it may be there all the same, and wants to be taken away when it has moved on
            raise
        if not kept and self._laid:
            self._fleet.share_again()
        self._laid = laid
        if urgent:
            shelf.wake()

    def _are_counts_due(self) -> bool:
        now = self._clock()
        if now - self._counted < COUNTS and not self._leaving:
            return False
        self._counted = now
        return True

    def _take_in(self, shelf: Shelf) -> None:
        heads = shelf.others()
        for server, head in heads.items():
            before, ahead = self._heads.get(server), _ahead(head)
            if before is None or head.version != before.version:
                self._fleet.adopt(server, shelf.changed(server, 0 if before is None else before.version), ahead)
            if before is None or head.beat != before.beat:
                self._fleet.hear(server, head.presence, ahead)
                buckets.debit(head.spent)
                sessions_ended_elsewhere(set(head.ended))
        for server in self._heads.keys() - heads.keys():
            if self._is_settled():
                self._fleet.orphan(server)
                logger.info("Server %s is gone; %d are left", server, len(heads) + 1)
            else:
                heads[server] = self._heads[server]  # it may only be later than we in finding Redis again
        self._heads = heads

    def _lose(self, error: RedisError) -> None:
        if self.trouble is None:
            logger.warning("Other servers are not heard, Redis does not answer: %s", error)
            self._fleet.be_patient(PATIENCE)
        self.trouble, self._well_since = f"Redis does not answer: {error}", None

    def _mend(self) -> None:
        if self._well_since is None:
            self._well_since = self._clock()
        if self.trouble is not None:
            logger.warning("Other servers are heard again")
            self.trouble = None
            self._fleet.share_again()
            self._refreshed -= REFRESH  # what happened meanwhile and is over by now, the database tells

    def _is_settled(self) -> bool:
        """Whether Redis has been there for long enough that whoever does not speak is gone."""
        return self._well_since is not None and self._clock() - self._well_since > LIFETIME

    def _listen(self) -> None:
        """Others wake this server; what they say is on their shelves and in the database."""
        while not self._stopping.is_set():
            client = connect(self._url)
            try:
                with client.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]  # redis has types for some
                    heard.subscribe(channel())
                    self._look()
                    while not self._stopping.is_set():
                        message = heard.get_message(timeout=AGAIN)
                        if message is not None and message["data"] != self._server.encode():
                            self._look()
            except RedisError:
                self._stopping.wait(AGAIN)
            finally:
                client.close()

    def _look(self) -> None:
        for loop in self._loops:
            loop.wake()

    # --- over the database ----------------------------------------------------------------------------------------

    def read(self) -> None:
        """Transitions that others wrote; and, seldom or where Redis is lost, what they wrote of their instances."""
        self._history.look()
        self._date()
        alone = self.trouble is not None or not self._is_settled() or self._fleet.adrift
        self._fleet.be_patient(PATIENCE if alone else 0.0)
        if self._clock() - self._refreshed >= (REFRESH_DEGRADED if alone else REFRESH):
            self._refresh()

    def _date(self) -> None:
        """Since when breakers are what they are: each server hears of the others' instances in another order."""
        now = self._clock()
        self._in_vain = {name: until for name, until in self._in_vain.items() if until > now}
        became = self._fleet.became(before=self._fleet.now() - WRITTEN, most=AT_ONCE, but=self._in_vain)
        since = {name: selectors.fleet_since(name, states) for name, states in became.items()}
        self._in_vain |= {name: now + IN_VAIN for name, moment in since.items() if moment is None}
        self._fleet.correct_since(became, {name: moment or self._told(name) for name, moment in since.items()})

    def _told(self, name: str) -> datetime | None:
        """Where the history goes on for too long: the earliest that a server knows which sees the same state."""
        state, since = self._fleet.dated().get(name, ("", 0.0))
        told = [head.dated[name] for head in self._heads.values() if name in head.dated]
        earliest = min((moment for found, moment in told if found == state), default=since)
        return datetime.fromtimestamp(earliest, UTC) if earliest < since else None

    def _refresh(self) -> None:
        """Rows are written up to ten seconds after what they tell."""
        now = self._clock()
        span = timedelta(seconds=min(now - self._refreshed + LATE, LONGEST_ABSENCE))
        self._fleet.refresh(selectors.instances_observed(since=timezone.now() - span))
        self._refreshed = now


def _ahead(head: Head) -> float:
    """Seconds by which another server's clock is ahead of ours; what its head may have waited to be read is none."""
    ahead = head.now - time.time()
    return ahead if abs(ahead) > SAME_TIME else 0.0
