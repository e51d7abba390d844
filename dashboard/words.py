"""How figures read on a page. ``static/js/words.js`` says the same in the browser; a test holds the two together."""

from __future__ import annotations

from datetime import datetime
from math import floor

MINUTE, HOUR, DAY = 60, 3600, 86400
NOTHING = "–"


def moment(text: str | None) -> datetime | None:
    """An ISO moment of a row."""
    return datetime.fromisoformat(text) if text else None


def elapsed(since: str | None, now: datetime) -> float | None:
    """Seconds, never below 0: clocks differ."""
    then = moment(since)
    return None if then is None else max(0.0, (now - then).total_seconds())


def duration(seconds: float | None) -> str:
    """``48 s``, ``3 m 41 s``, ``1 h 4 m``, ``2 d 5 h``."""
    if seconds is None:
        return NOTHING
    whole = floor(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} m {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} m"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def ago(seconds: float | None) -> str:
    """``48 s ago``."""
    return NOTHING if seconds is None else f"{duration(seconds)} ago"


def ahead(seconds: float | None) -> str:
    """``+2.3 s``, or ``-2.3 s`` behind; nothing where it is not known."""
    if seconds is None:
        return ""
    text = f"{seconds:+z.1f} s"
    return text.removeprefix("+") if text == "+0.0 s" else text


def roughly(seconds: float) -> str:
    """For a sentence: ``48 s``, ``10 min``, ``1 h``, ``2 d``."""
    whole = floor(seconds)
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def tenths(value: float) -> str:
    """One decimal, halves up, as JavaScript rounds."""
    units = floor(value * 10 + 0.5)
    return f"{units // 10}.{units % 10}"


def percent(share: float) -> str:
    return f"{tenths(share * 100)}%"


def limit(share: float) -> str:
    """A limit that somebody typed: ``50%``, ``12.5%``."""
    return percent(share).replace(".0%", "%")


def speed(per_second: float) -> str:
    """``0``, ``0.3``, ``9.5``, ``412``, ``1,204``."""
    if per_second <= 0:
        return "0"
    return tenths(per_second) if per_second < 10 else f"{floor(per_second + 0.5):,}"


def clock(at: datetime) -> str:
    return at.strftime("%H:%M:%S")


def hour(text: str | None) -> str:
    """``15:30`` of an ISO moment."""
    at = moment(text)
    return "" if at is None else at.strftime("%H:%M")


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
