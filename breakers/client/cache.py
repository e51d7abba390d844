"""The fleet's last word on disk, so that a process can start while the control plane is away."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from breakers.core.wire import Desired, DesiredBreaker, decode_from_server, encode

logger = logging.getLogger("breakers.link")


class DesiredCache:
    """``CIRCUIT_BREAKER_CACHE_FILE``: written whole beside its place and moved there, so that it is never half a file.

    Processes with the same breakers may share it: each writes what it was told. A file that cannot be read, or
    written, is a warning and no more.
    """

    def __init__(self, path: Path, wall: Callable[[], float] = time.time) -> None:
        self._path, self._wall = path, wall
        self._written: tuple[DesiredBreaker, ...] | None = None
        self._warned = False

    @classmethod
    def configured(cls) -> DesiredCache | None:
        path = os.environ.get("CIRCUIT_BREAKER_CACHE_FILE")
        return cls(Path(path)) if path else None

    def read(self) -> tuple[DesiredBreaker, ...]:
        """Nothing when there is no file; overrides have run on since it was written, expired ones are left out."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            age = max(0.0, self._wall() - float(kept["saved_at"]))
            desired = decode_from_server(json.dumps(kept["desired"]))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            logger.warning("The cache %s is passed over: %s: %s", self._path, type(error).__name__, error)
            return ()
        rows = desired.breakers if isinstance(desired, Desired) else ()
        return tuple(_aged(row, age) for row in rows)

    def write(self, rows: Iterable[DesiredBreaker]) -> None:
        """Nothing when they are what was written last."""
        wanted = tuple(rows)
        if wanted == self._written:
            return
        desired = json.loads(encode(Desired(max((row.revision for row in wanted), default=0), breakers=wanted)))
        try:
            self._replace(json.dumps({"saved_at": self._wall(), "desired": desired}))
            self._written = wanted
        except OSError as error:
            logger.log(logging.DEBUG if self._warned else logging.WARNING, "The cache is not written: %s", error)
            self._warned = True

    def _replace(self, text: str) -> None:
        descriptor, beside = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self._path)
        except OSError:
            with suppress(OSError):
                os.unlink(beside)
            raise


def _aged(row: DesiredBreaker, age: float) -> DesiredBreaker:
    override = row.override
    if override is None or override.expires_in is None:
        return row
    left = override.expires_in - age
    return replace(row, override=replace(override, expires_in=left) if left > 0 else None)
