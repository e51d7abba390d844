"""``manage.py migrate``: Django's, one at a time. Of two that begin at once, as in two containers, the second waits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from django.core.management.commands import migrate
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

LOCK: Final = 0x74726164
"""Of PostgreSQL's advisory locks, which are numbers, this one is ours."""


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with _alone(connections[options["database"]]):
            super().handle(*args, **options)


@contextmanager
def _alone(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Held by the session or the process: whoever dies lets go of it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            yield
        finally:
            with suppress(DatabaseError), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    elif connection.vendor == "sqlite" and not connection.is_in_memory_db():  # type: ignore[attr-defined]  # SQLite's has it
        with _holding(Path(connection.settings_dict["NAME"]).absolute().parent):
            yield
    else:
        yield


@contextmanager
def _holding(folder: Path) -> Iterator[None]:
    """A lock on the folder leaves no file behind, and none of SQLite's own is touched."""
    try:
        import fcntl
    except ImportError:  # Windows: two at once are two at once
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
