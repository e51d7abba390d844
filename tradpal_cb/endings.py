"""The end of a server process: connections to the database that its threads leave behind are closed.

Django closes a connection with its request, or keeps it for the next one of the same thread, and a thread that ends
closes nothing. SQLite folds its write-ahead log into the file when the last connection is closed: where none is, the
file alone is not the whole database.
"""

from __future__ import annotations

import atexit
import threading
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

_opened: WeakKeyDictionary[BaseDatabaseWrapper, threading.Thread] = WeakKeyDictionary()
_adding = threading.Lock()


def close_connections_at_exit() -> None:
    """Idempotent. Call it before whatever else is to run at exit and may still write: what comes first ends last."""
    connection_created.connect(_remember, dispatch_uid="tradpal_cb.endings")
    atexit.unregister(_close_all)
    atexit.register(_close_all)


def _remember(connection: BaseDatabaseWrapper, **_: Any) -> None:  # as Django sends its signals
    with _adding:
        _opened[connection] = threading.current_thread()


def _close_all() -> None:
    """Threads of requests have ended by now: the interpreter waits for them. One that goes on keeps its connection."""
    with _adding:
        opened = list(_opened.items())
    for connection, thread in opened:
        if thread is threading.current_thread() or not thread.is_alive():
            connection.inc_thread_sharing()
            with suppress(DatabaseError):  # the others are closed all the same
                connection.close()
