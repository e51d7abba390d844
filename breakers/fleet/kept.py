"""The rows as last derived, and which of them changed after which version."""

from __future__ import annotations

from collections.abc import Mapping

from .view import Row


class KeptRows:
    """One version a settlement that changed anything: a reader asks for what came after the one it has seen."""

    def __init__(self) -> None:
        self.version = 0
        self._rows: dict[str, Row] = {}
        self._changed: dict[str, int] = {}
        self._removed: dict[str, int] = {}

    def rows(self) -> list[Row]:
        return [self._rows[name] for name in sorted(self._rows)]

    def row(self, name: str) -> Row | None:
        return self._rows.get(name)

    def changed_since(self, version: int) -> tuple[int, set[str], set[str]]:
        """The version now; the names of the rows that changed, and of those that went, after ``version``."""
        changed = {name for name, at in self._changed.items() if at > version}
        removed = {name for name, at in self._removed.items() if at > version}
        return self.version, changed, removed

    def settle(self, derived: Mapping[str, Row | None]) -> None:
        """Takes rows over, ``None`` for one that is no more; those that came out the same are no change."""
        new = {name: row for name, row in derived.items() if row != self._rows.get(name)}
        if new:
            self.version += 1
        for name, row in new.items():
            self._put(name, row)

    def _put(self, name: str, row: Row | None) -> None:
        if row is None:
            del self._rows[name], self._changed[name]
            self._removed[name] = self.version
        else:
            self._rows[name], self._changed[name] = row, self.version
            self._removed.pop(name, None)
