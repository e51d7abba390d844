"""Geometry of the pictures, as SVG attributes. ``static/js/shapes.js`` draws those of a row again in the browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from breakers.fleet import Row, Volume

from .verdict import Kind, kind_of
from .words import speed, tenths

MARKS = 40
"""More instances than this are drawn in proportion."""
COLUMNS = 10
STEP = 9
BAR = 80
SPARK_WIDTH, SPARK_HEIGHT, SPARK_POINTS = 80, 22, 30
GROUP_COLUMNS = 15


def marks(row: Row) -> dict[str, str]:
    """One square an instance, worst first: class of the path to its ``d``."""
    instances = row["instances"]
    counts = [instances["open"], instances["half_open"], instances["silent"], instances["closed"]]
    names, paths, place = ("open", "half_open", "silent", "closed"), {}, 0
    for name, count in zip(names, _fitted(counts), strict=True):
        paths[name] = "".join(_square(place + offset) for offset in range(count))
        if name == "half_open":
            paths["half_fill"] = "".join(_half(place + offset) for offset in range(count))
        place += count
    return paths


def marks_size(row: Row) -> tuple[int, int]:
    """Width and height of the marks' picture."""
    count = min(row["instances"]["total"], MARKS)
    return max(1, min(count, COLUMNS)) * STEP, max(1, -(-count // COLUMNS)) * STEP


def _fitted(counts: Sequence[int]) -> list[int]:
    """The same shares in at most ``MARKS``: none that is there vanishes."""
    total = sum(counts)
    if total <= MARKS:
        return list(counts)
    fitted = [max(1, count * MARKS // total) if count else 0 for count in counts]
    fitted[fitted.index(max(fitted))] += MARKS - sum(fitted)
    return fitted


def _corner(place: int) -> tuple[int, int]:
    return place % COLUMNS * STEP + 2, place // COLUMNS * STEP + 2


def _square(place: int) -> str:
    x, y = _corner(place)
    return f"M{x} {y}h5v5h-5z"


def _half(place: int) -> str:
    x, y = _corner(place)
    return f"M{x} {y}h2v5h-2z"


def dots(kinds: Sequence[Kind]) -> dict[str, str]:
    """A group's marks, one a breaker: kind to the ``d`` of a path; all but the closed ones are squares."""
    paths: dict[str, str] = {}
    for place, kind in enumerate(kinds):
        x, y = place % GROUP_COLUMNS * 12 + 5, place // GROUP_COLUMNS * 12 + 5
        paths[kind] = paths.get(kind, "") + (f"M{x} {y}h0" if kind is Kind.CLOSED else f"M{x - 3} {y - 3}h6v6h-6z")
    return paths


def dots_height(count: int) -> int:
    return max(1, -(-count // GROUP_COLUMNS)) * 12


def bar(row: Row) -> tuple[str, str, bool]:
    """Length of the failure rate, a mark at the limit (empty without one), and whether that is reached."""
    rate, limit = row["failure_rate"] or 0.0, row["limit"]
    over = limit is not None and rate >= limit
    return (
        tenths(rate * BAR),
        "" if limit is None else f"M{tenths(limit * BAR)} 0v12",
        over or kind_of(row) is Kind.OPEN,
    )


def spark(trend: Sequence[float | None]) -> tuple[str, str]:
    """The line of the last 5 minutes, newest at the right, broken where there were no calls; and the area below it."""
    first = SPARK_POINTS - len(trend)
    line = area = ""
    for run in _runs(trend):
        (x, y), *others = [(_across(first + place), _up(value)) for place, value in run]
        path = "".join(f"L{x} {y}" for x, y in others)
        line += f"M{x} {y}h0{path}"  # without a length it is a dot, where no other follows
        area += f"M{x} {SPARK_HEIGHT}V{y}{path}V{SPARK_HEIGHT}z"
    return line, area


def _across(place: int) -> str:
    return tenths(place * SPARK_WIDTH / (SPARK_POINTS - 1))


def _up(value: float) -> str:
    return tenths(SPARK_HEIGHT - 1 - min(value, 100.0) * (SPARK_HEIGHT - 2) / 100)


def _runs(trend: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    runs: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(trend):
        if value is not None:
            runs[-1].append((place, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def bound(limit: float) -> str:
    """The limit as a line across the chart of the failure rate, which is drawn as :func:`spark` draws."""
    return f"M0 {_up(limit * 100)}h{SPARK_WIDTH}"


def pulse(counts: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """State changes a minute as stacked columns, 4 wide, closed at the bottom, open on top; 29 high at the most."""
    highest = max((sum(column) for column in zip(*counts.values(), strict=True)), default=0)
    highest = max(highest, 5)
    floors = [29.0] * 60
    paths = {}
    for state in ("closed", "half_open", "open"):
        path = ""
        for minute, number in enumerate(counts[state]):
            if number:
                height = number * 26 / highest
                floors[minute] -= height
                path += f"M{minute * 4} {tenths(floors[minute])}h3v{tenths(height)}h-3z"
        paths[state] = path
    return paths


CHART_WIDTH, CHART_HEIGHT = 300, 100


@dataclass(frozen=True, slots=True)
class Columns:
    """Calls a second as stacked columns: passed, on them failed, on top rejected. ``highest`` is the scale."""

    passed: str
    failed: str
    rejected: str
    highest: str
    text: str


def columns(volumes: Sequence[Volume]) -> Columns:
    """The newest at the right, in a picture ``CHART_WIDTH`` by ``CHART_HEIGHT``."""
    highest = _round_up(max((sum(_parts(volume)) for volume in volumes), default=0.0))
    paths = dict.fromkeys(("passed", "failed", "rejected"), "")
    step = CHART_WIDTH / SPARK_POINTS
    for place, volume in enumerate(volumes, start=SPARK_POINTS - len(volumes)):
        floor = float(CHART_HEIGHT)
        for name, value in zip(paths, _parts(volume), strict=True):
            height = value * CHART_HEIGHT / highest
            floor -= height
            if height:
                paths[name] += f"M{tenths(place * step + 1)} {tenths(floor)}h8v{tenths(height)}h-8z"
    last = _parts(volumes[-1]) if volumes else (0.0, 0.0, 0.0)
    told = ", ".join(f"{speed(value)} {name}" for name, value in zip(paths, last, strict=True))
    return Columns(**paths, highest=speed(highest), text=f"Calls per second of the last 5 minutes, at last {told}")


def _parts(volume: Volume) -> tuple[float, float, float]:
    return volume["passed"], volume["failed"], volume["rejected"]


def _round_up(value: float) -> float:
    """The scale: 1, 2 or 5 times a power of ten."""
    scale = 1.0
    while scale < value:
        scale = next(scale * factor for factor in (2.0, 5.0, 10.0) if scale * factor >= value or factor == 10.0)
    return scale
