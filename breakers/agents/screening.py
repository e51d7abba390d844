"""What an agent says is checked here, before anything else sees it: its types are right, its values may be nonsense."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from breakers.core.config import BREAKER_FIELDS
from breakers.core.wire import Hello, Report, WireError
from breakers.models import InstanceIdentity

_NAME = BREAKER_FIELDS["name"]
_LONGEST_WORD = 255
_LATEST = 32503680000.0  # the year 3000: beyond it datetimes of some databases end


def identity_of(hello: Hello) -> InstanceIdentity:
    """Who says hello. Raises :class:`WireError`."""
    _check_names(registration.name for registration in hello.registrations)
    _check_moment("hello.now", hello.now)
    if hello.protocol < 1:
        raise WireError("hello.protocol: must be at least 1")
    return InstanceIdentity(
        id=_uuid(hello.instance),
        service=_word("hello.service", hello.service, 100),
        host=_word("hello.host", hello.host, _LONGEST_WORD),
        pid=hello.pid if 0 <= hello.pid <= 2**31 - 1 else 0,
        library=_word("hello.library", hello.library, 100),
        started_at=_check_moment("hello.started_at", hello.started_at),
    )


def check_report(report: Report) -> None:
    """Raises :class:`WireError` for what no link of ours would say."""
    _check_moment("report.now", report.now)
    for things in (report.breakers, report.transitions, report.registrations, report.refusals):
        _check_names(thing.name for thing in things)
    sequences = [transition.sequence for transition in report.transitions]
    if sequences and sequences != list(range(max(1, sequences[0]), sequences[0] + len(sequences))):
        raise WireError("report.transitions: their sequence has a gap")
    for transition in report.transitions:
        _check_moment("report.transitions.at", transition.at)


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if (problem := _problem(name[:_LONGEST_WORD])) is not None:
            raise WireError(f"name: {problem}")


@lru_cache(maxsize=10_000)
def _problem(name: str) -> str | None:
    """A fleet has few names, and tells of them in each report."""
    return _NAME.problem(name)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise WireError("hello.instance: must be a UUID") from None


def _word(path: str, text: str, longest: int) -> str:
    if not 1 <= len(text) <= longest or not text.isprintable():
        raise WireError(f"{path}: must be 1 to {longest} printable characters")
    return text


def _check_moment(path: str, seconds: float) -> datetime:
    if not 0 <= seconds < _LATEST:
        raise WireError(f"{path}: must be seconds since 1970")
    return datetime.fromtimestamp(seconds, UTC)
