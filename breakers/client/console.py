"""What ``python -m breakers`` shows: the control plane's answers as text that a person reads. No I/O here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import inf
from typing import Any

from breakers.client.answers import BreakerInfo, BreakerRow, HistoryRow, InstanceCounts, InstanceRow, ResetDone

_SEVERITY = {"open": 0, "half_open": 1, "closed": 2}
_PAINT = {"open": "\x1b[31m", "half_open": "\x1b[33m", "closed": "\x1b[32m"}
_PLAIN = "\x1b[0m"
_NAME = 20
"""Letters that the first column of a table may have on any terminal."""
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}

Cell = tuple[str, str]
"""A text, and the state that it is painted by."""


def parse_duration(text: str) -> float:
    """Seconds of ``15m``, ``0.5s``, ``1h30m`` or ``900``. Raises ``ValueError``."""
    if re.fullmatch(_NUMBER, text):
        seconds = float(text)
    elif re.fullmatch(f"({_NUMBER}[dhms])+", text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(f"({_NUMBER})([dhms])", text))
    else:
        raise ValueError(f"not a duration as 90s, 15m or 1h30m: {text!r}")
    if not 0 < seconds < inf:
        raise ValueError("a duration must be longer than nothing and shorter than for ever")
    return seconds


def duration(seconds: float) -> str:
    """The two largest units: ``2 h 5 min``."""
    left = max(0, round(seconds))
    if left < 60:
        return f"{left} s"
    minutes, left = divmod(left, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (left, "s")) if n]
    return " ".join(parts[:2])


def plain(text: str) -> str:
    """``text`` on one line and without what a terminal would obey; causes quote what strangers' servers said."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _age(at: str | None, now: datetime) -> str:
    return "" if at is None else duration((now - datetime.fromisoformat(at)).total_seconds())


def _clock(at: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def shown_state(row: BreakerRow) -> str:
    """The state in a word or two, an override before what the machine says."""
    override = row["override"]
    if override is not None:
        return override["override"].replace("_", " ").upper()
    if row.get("ready_to_probe"):
        return "OPEN, READY TO PROBE"
    return row["state"].replace("_", "-").upper()


def _paint_of(row: BreakerRow) -> str:
    override = row["override"]
    return "open" if override is not None and override["override"] == "forced_open" else row["state"]


def _counts(counts: InstanceCounts) -> str:
    parts = [(counts["open"], "open"), (counts["half_open"], "half-open"), (counts["closed"], "closed")]
    named = [f"{n} {state}" for n, state in [*parts, (counts["silent"], "silent")] if n]
    return ", ".join(named) or "none"


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.0%}"


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def columns(heads: Sequence[str], lines: Iterable[Sequence[Cell]], *, width: int | None, colour: bool) -> str:
    """A table, cut at ``width`` characters; what stands under a head with a ``>`` stands right."""
    cells = [[(head.lstrip(">"), "") for head in heads], *(list(line) for line in lines)]
    if width is not None:  # a long name leaves room for what is said of it
        most = max(_NAME, width // 3)
        cells = [[(_cut(line[0][0], most), line[0][1]), *line[1:]] for line in cells]
    widths = [max(len(line[i][0]) for line in cells) for i in range(len(heads))]
    layout = [(wide, head.startswith(">")) for head, wide in zip(heads, widths, strict=True)]
    return "\n".join(_line(line, layout, width, colour) for line in cells)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…" if room > 0 else ""


def _line(line: Sequence[Cell], layout: Sequence[tuple[int, bool]], width: int | None, colour: bool) -> str:
    shown, room = [], width
    for i, ((text, state), (wide, right)) in enumerate(zip(line, layout, strict=True)):
        padded = text.rjust(wide) if right else text if i == len(line) - 1 else text.ljust(wide)
        if room is not None:
            padded = _cut(padded, room)
        shown.append(f"{_PAINT[state]}{padded}{_PLAIN}" if colour and state in _PAINT else padded)
        room = None if room is None else room - wide - 2
    return "  ".join(shown).rstrip()


def table(rows: Sequence[BreakerRow], *, now: datetime, width: int | None = None, colour: bool = False) -> str:
    """All breakers, the worst first, and a line that counts them."""
    ordered = sorted(rows, key=lambda row: (_SEVERITY.get(_paint_of(row), 3), row["name"]))
    heads = ("NAME", "STATE", ">SINCE", "INSTANCES", ">CALLS/S", ">FAILED", ">P95", "CAUSE")
    body = columns(heads, (_row(row, now) for row in ordered), width=width, colour=colour)
    return f"{body}\n\n{count_line(rows)}" if rows else "There are no breakers here."


def _row(row: BreakerRow, now: datetime) -> list[Cell]:
    why = row["cause"] if row["override"] is None else row["override"]["reason"]
    cells = [
        row["name"], shown_state(row), _age(row["since"], now), _counts(row["instances"]),
        f"{row['rates']['calls']:.1f}", _percent(row["failure_rate"]), _milliseconds(row["p95"]), plain(why or ""),
    ]  # fmt: skip
    return [(text, _paint_of(row) if i == 1 else "") for i, text in enumerate(cells)]


def count_line(rows: Sequence[BreakerRow]) -> str:
    states = [row["state"] for row in rows]
    parts = [f"{states.count(s)} {s.replace('_', '-')}" for s in _SEVERITY if s in states]
    forced = [row["override"]["override"] for row in rows if row["override"] is not None]
    orders = [f"{forced.count(o)} {o.replace('_', ' ')}" for o in ("forced_open", "forced_closed") if o in forced]
    told = "; ".join(", ".join(part) for part in (parts, orders) if part)
    return f"{len(rows)} breaker{'s' * (len(rows) != 1)}: {told}"


def change_line(row: BreakerRow, *, now: datetime) -> str:
    """One line of ``watch`` where no terminal is there to draw on."""
    why = row["cause"] if row["override"] is None else row["override"]["reason"]
    return f"{_clock(now.isoformat())}  {row['name']}  {shown_state(row)}  {plain(why or '')}".rstrip()


def details(info: BreakerInfo, *, now: datetime, width: int | None = None, colour: bool = False) -> str:
    """Everything about one breaker."""
    parts = [
        _heading(info, now, colour),
        _instances(info["instance_rows"], now, width, colour),
        _config(info),
        _recent(info["recent"], width),
    ]
    return "\n\n".join(part for part in parts if part)


def _heading(info: BreakerInfo, now: datetime, colour: bool) -> str:
    state, paint = shown_state(info), _PAINT.get(_paint_of(info), "") if colour else ""
    since = f" for {age}" if (age := _age(info["since"], now)) else ""
    lines = [f"{info['name']}  {paint}{state}{_PLAIN if paint else ''}{since}", *_reasons(info, now)]
    metrics = info["metrics"]
    lines.append(
        f"  {metrics['requests_total']} calls: {metrics['successes_total']} succeeded, "
        f"{metrics['failures_total']} failed, {metrics['rejected_total']} rejected"
    )
    return "\n".join(lines)


def _reasons(info: BreakerInfo, now: datetime) -> list[str]:
    override, lines = info["override"], []
    if override is not None:
        until = f", {_age(now.isoformat(), datetime.fromisoformat(at))} left" if (at := override["expires_at"]) else ""
        reason = f": {plain(override['reason'])}" if override["reason"] else ""
        lines.append(f"  {override['override'].replace('_', ' ')} by {override['by']}{until}{reason}")
    if info["cause"]:
        lines.append(f"  {plain(info['cause'])}")
    if info["retry_at"] is not None and not info.get("ready_to_probe"):
        lines.append(f"  probes again in {_age(now.isoformat(), datetime.fromisoformat(info['retry_at']))}")
    return lines


def _instances(rows: Sequence[InstanceRow], now: datetime, width: int | None, colour: bool) -> str:
    if not rows:
        return "No instance has this breaker."
    heads = ("SERVICE", "HOST", ">PID", "STATE", ">SINCE", ">SEEN", "CONFIG")
    return columns(heads, (_instance(row, now) for row in rows), width=width, colour=colour)


def _instance(row: InstanceRow, now: datetime) -> list[Cell]:
    config = (
        f"refused: {plain(row['refused'])}" if row["refused"] else "applied" if row["applied"] else "not yet applied"
    )
    state = "SILENT" if row["silent"] else row["state"].replace("_", "-").upper()
    seen = f"{_age(row['last_seen'], now)} ago"
    texts = [row["service"], row["host"], str(row["pid"]), state, _age(row["since"], now), seen, config]
    return [(text, row["state"] if i == 3 and not row["silent"] else "") for i, text in enumerate(texts)]


def _config(info: BreakerInfo) -> str:
    applied = info["applied"]
    lines = [f"config, version {info['version']}, applied by {applied['on']} of {applied['of']}"]
    values = {name: value for name, value in info["config"].items() if name != "name"}
    wide = max((len(name) for name in values), default=0)
    return "\n".join(lines + [f"  {name.ljust(wide)}  {_value(value)}" for name, value in values.items()])


def _value(value: Any) -> str:
    return "-" if value is None else "yes" if value is True else "no" if value is False else str(value)


def _recent(rows: Sequence[HistoryRow], width: int | None) -> str:
    if not rows:
        return ""
    lines = [
        [(_clock(row["at"]), ""), (row["service"], ""), (f"{row['from_state']} -> {row['to_state']}", ""),
         (plain(row["cause"]), "")]
        for row in rows
    ]  # fmt: skip
    return columns(("AT (UTC)", "SERVICE", "CHANGE", "CAUSE"), lines, width=width, colour=False)


def reset_line(done: ResetDone) -> str:
    """What a reset has set going."""
    counts = done["instances"]
    line = f"{done['name']} is reset: {counts['targeted']} told, {counts['confirmed']} confirmed so far"
    return f"{line}, {counts['silent']} silent" if counts["silent"] else line
