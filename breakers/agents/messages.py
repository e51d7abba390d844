"""What the fleet wants, as texts for sockets: the whole for a newcomer, what changed for the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Final

from breakers.core.wire import MAX_BYTES, Desired, DesiredBreaker, ResetCommand, encode, encode_part
from breakers.fleet import fleet

_SURELY_FITS: Final = 400
"""A message of this many rows is below MAX_BYTES."""


def whole(names: Collection[str], resets: tuple[ResetCommand, ...]) -> Desired:
    """All that is wanted of ``names``."""
    revision = fleet.revision  # read first: a row may then be newer than what is claimed, never older
    return Desired(revision=revision, breakers=fleet.desired(names), resets=resets)


def changed(since: int) -> Desired | None:
    """What changed after ``since``; ``None``: nobody can tell, send the whole."""
    return fleet.desired_since(since)


def encoded(desired: Desired, names: Callable[[], Collection[str]]) -> list[str]:
    """The text; several where it is over MAX_BYTES. ``names``: the breakers of whom the whole is meant for."""
    text = encode(desired)
    if len(text) <= MAX_BYTES:
        return [text]
    return [encode(part) for part in _cut(desired if desired.since is not None else _explicit(desired, names()))]


def _explicit(desired: Desired, names: Collection[str]) -> Desired:
    """The whole, said as changes since the beginning: what it leaves out is named as deleted."""
    known = {row.name for row in desired.breakers}
    absent = tuple(DesiredBreaker(name, desired.revision, deleted=True) for name in names if name not in known)
    return replace(desired, since=0, breakers=(*desired.breakers, *absent))


def _cut(desired: Desired) -> Iterator[Desired]:
    """Parts in the order of their rows' revisions; none claims a revision before all its rows are out."""
    rows = sorted(desired.breakers, key=lambda row: row.revision)
    since, first = desired.since, 0
    while first < len(rows) or first == 0:
        last = first + _SURELY_FITS
        revision = desired.revision if last >= len(rows) else max(rows[last].revision - 1, since or 0)
        yield Desired(revision=revision, since=since, breakers=tuple(rows[first:last]))
        since, first = revision, last
    for start in range(0, len(desired.resets), 10 * _SURELY_FITS):
        part = desired.resets[start : start + 10 * _SURELY_FITS]
        yield Desired(revision=desired.revision, since=desired.revision, resets=part)


class Parts:
    """What changed, as texts for those whom only some of it concerns; each row is made into JSON once for all."""

    def __init__(self, changes: Desired) -> None:
        self._changes = changes
        self._rows = {row.name: row for row in changes.breakers}
        self._texts: dict[str, str] = {}

    def concern(self, names: Collection[str]) -> list[str]:
        """Those of ``names`` that changed, in the order of their revisions."""
        return sorted(self._rows.keys() & names, key=lambda name: self._rows[name].revision)

    def encoded(self, names: Collection[str], since: int, resets: tuple[ResetCommand, ...]) -> list[str]:
        """The texts for whoever has everything up to ``since``: the rows of ``names``, and ``resets``."""
        told = Desired(self._changes.revision, since)
        if len(names) + len(resets) > _SURELY_FITS:
            return encoded(replace(told, breakers=tuple(self._rows[name] for name in names), resets=resets), list)
        lists = {"breakers": map(self._text, names), "resets": map(encode_part, resets)}
        parts = [f'"{key}":[{",".join(texts)}]' for key, values in lists.items() if (texts := list(values))]
        return [",".join((encode(told)[:-1], *parts)) + "}"]

    def _text(self, name: str) -> str:
        if name not in self._texts:
            self._texts[name] = encode_part(self._rows[name])
        return self._texts[name]
