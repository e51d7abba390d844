"""A thread that works with Redis and the database for as long as the server runs, whatever becomes of both."""

from __future__ import annotations

import logging
import threading
from typing import Final, Protocol

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

FIRST_WAIT: Final = 0.2
LONGEST_WAIT: Final = 5.0
ANSWER: Final = 5.0
"""Seconds that Redis has for an answer."""


class Work(Protocol):
    """One job; all of it runs on the worker's thread and may raise whatever it likes."""

    def begin(self, redis: Redis) -> None:
        """On each new connection."""

    def step(self, redis: Redis) -> None:
        """A little of it, again and again. Waits, a second at most, where there is nothing to do."""

    def end(self, redis: Redis) -> None:
        """The last of it, when the server ends and Redis answers."""


class Worker:
    """Runs ``work`` on a daemon thread of this name. Trouble is one line a kind until all is well again."""

    def __init__(self, name: str, url: str, work: Work) -> None:
        self._name, self._url, self._work = name, url, work
        self._stopping = threading.Event()
        self._said: set[type[Exception]] = set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Once."""
        self._thread.start()

    def stop(self, within: float) -> None:
        """Waits ``within`` seconds for what is under way."""
        self._stopping.set()
        self._thread.join(within)

    def _run(self) -> None:
        wait = FIRST_WAIT
        while not self._stopping.is_set():
            try:
                with self._connect() as redis:
                    self._work.begin(redis)
                    while not self._stopping.is_set():
                        self._work.step(redis)
                        close_old_connections()
                        self._all_is_well()
                        wait = FIRST_WAIT
                    self._work.end(redis)
            except Exception as error:
                self._say(error)
                connection.close()  # whatever it was, the next attempt begins with a sound one
                self._stopping.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT)
        connection.close()

    @property
    def well(self) -> bool:
        """Whether the last thing that it tried succeeded."""
        return not self._said and self._thread.is_alive()

    def _connect(self) -> Redis:
        """Without redis-py's own patience: it would hold up the end of the server, and the word that Redis is away."""
        patience = Retry(NoBackoff(), 0)
        return Redis.from_url(self._url, socket_timeout=ANSWER, socket_connect_timeout=ANSWER, retry=patience)

    def _say(self, error: Exception) -> None:
        level = logging.DEBUG if type(error) in self._said else logging.WARNING
        unforeseen = not isinstance(error, RedisError | DatabaseError | OSError)
        self._said.add(type(error))
        logger.log(level, "%s: %s: %s; it is tried again", self._name, type(error).__name__, error, exc_info=unforeseen)

    def _all_is_well(self) -> None:
        if self._said:
            self._said.clear()
            logger.info("%s: goes on", self._name)
