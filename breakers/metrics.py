"""What Prometheus is told of the fleet: names and labels of the contract, never an instance as a label.

Written as text at once: a fleet of a thousand breakers has 32,000 lines, and a collector's samples, made and written
one by one, take seven times as long.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from breakers.core.latency import BOUNDS, LatencyHistogram
from breakers.fleet import Counted, Fleet, Picture, fleet

_STATE_VALUES: Final = {"closed": 0, "open": 1, "half_open": 2}
_WISHED: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BUCKETS: Final = tuple(sorted({bisect_left(BOUNDS, seconds) for seconds in _WISHED}))
"""Indices into the fleet's own buckets: exact counts at odd bounds rather than guessed ones at round bounds."""
_LES: Final = tuple(f'",le="{BOUNDS[index]:.6g}"}} ' for index in BUCKETS)
_DURATION: Final = "circuit_breaker_call_duration_seconds"


class Exposition:
    """Reads the fleet's memory, once a scrape, under one lock: the lines of a scrape belong together."""

    def __init__(self, observed: Fleet = fleet) -> None:
        self._fleet = observed
        self._lock = threading.Lock()
        self._highest: dict[tuple[str, str], int] = {}

    def text(self) -> bytes:
        """O(breakers)."""
        with self._lock:
            return "".join(self._lines(self._fleet.picture())).encode()

    def _lines(self, picture: Picture) -> Iterator[str]:
        yield _head("requests_total", "counter", "Requests by the state in which they were made; open: the rejected.")
        yield from (self._requests(counted) for counted in picture.breakers)
        for outcome in ("successes", "failures", "rejected"):
            yield _head(f"{outcome}_total", "counter", f"Calls: {outcome}.")
            yield from _each(f"{outcome}_total", [(each, each.totals[f"{outcome}_total"]) for each in picture.breakers])
        yield _head("slow_calls_total", "counter", "Calls that took as long as their config calls slow.")
        yield from _each("slow_calls_total", [(each, each.totals["slow_total"]) for each in picture.breakers])
        yield _head("state", "gauge", "State over the fleet: 0 closed, 1 open, 2 half-open.")
        yield from map(_state, picture.breakers)
        yield _head("instances", "gauge", "Instances by state.")
        yield from map(_instances, picture.breakers)
        yield _head("transitions_total", "counter", "State changes of instances.")
        yield from _transitions(picture)
        yield _head("call_duration_seconds", "histogram", "How long calls took.")
        yield from map(_durations, picture.breakers)
        yield _head("config_version", "gauge", "Version of the config.")
        yield from _each("config_version", [(each, each.row["version"]) for each in picture.breakers])
        yield _head("failure_rate_threshold", "gauge", "Share of failures that opens; absent where that rule is off.")
        yield from _limits("failure_rate_threshold", [(each, each.row["limit"]) for each in picture.breakers])
        yield _head("slow_call_rate_threshold", "gauge", "Share of slow calls that opens; absent where off.")
        yield from _limits("slow_call_rate_threshold", [(each, each.slow_limit) for each in picture.breakers])
        yield _head("override", "gauge", "1 while somebody forces it open or closed.")
        yield from map(_override, picture.breakers)
        yield _head("info", "gauge", "1; for the group, to be joined by name.")
        yield from map(_info, picture.breakers)
        yield _head("agents", "gauge", "Links to the control plane that are up.")
        yield f"circuit_breaker_agents {picture.agents}.0\n"

    def _requests(self, counted: Counted) -> str:
        name = counted.row["name"]
        return "".join(
            f'circuit_breaker_requests_total{{name="{name}",state="{state}"}} {self._risen(name, state, count)}.0\n'
            for state, count in requests_by_state(counted).items()
        )

    def _risen(self, name: str, state: str, count: int) -> int:
        """A difference of two counters may dip when they are told apart in time; a counter must not."""
        highest = max(count, self._highest.get((name, state), 0))
        self._highest[name, state] = highest
        return highest


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP circuit_breaker_{name} {text}\n# TYPE circuit_breaker_{name} {kind}\n"


def _each(name: str, values: Iterable[tuple[Counted, int]]) -> Iterator[str]:
    for counted, value in values:
        yield f'circuit_breaker_{name}{{name="{counted.row["name"]}"}} {value}.0\n'


def _limits(name: str, values: Iterable[tuple[Counted, float | None]]) -> Iterator[str]:
    for counted, limit in values:
        if limit is not None:
            yield f'circuit_breaker_{name}{{name="{counted.row["name"]}"}} {limit!r}\n'


def _override(counted: Counted) -> str:
    forced, name = counted.row["override"], counted.row["name"]
    return "" if forced is None else f'circuit_breaker_override{{name="{name}",override="{forced["override"]}"}} 1.0\n'


def _info(counted: Counted) -> str:
    return f'circuit_breaker_info{{name="{counted.row["name"]}",group="{_escaped(counted.row["group"])}"}} 1.0\n'


def requests_by_state(counted: Counted) -> dict[str, int]:
    """Rejections were requested in OPEN, probes in HALF_OPEN, the rest in CLOSED."""
    totals = counted.totals
    rejected, probes = totals["rejected_total"], totals["probes_total"]
    closed = max(totals["requests_total"] - rejected - probes, 0)
    return {"closed": closed, "open": rejected, "half_open": probes}


def _state(counted: Counted) -> str:
    row = counted.row
    return f'circuit_breaker_state{{name="{row["name"]}",state="{row["state"]}"}} {_STATE_VALUES[row["state"]]}.0\n'


def _instances(counted: Counted) -> str:
    counts, begin = counted.row["instances"], f'circuit_breaker_instances{{name="{counted.row["name"]}",state="'
    return (
        f'{begin}closed"}} {counts["closed"]}.0\n{begin}half_open"}} {counts["half_open"]}.0\n'
        f'{begin}open"}} {counts["open"]}.0\n{begin}silent"}} {counts["silent"]}.0\n'
    )


def _transitions(picture: Picture) -> Iterator[str]:
    for (name, before, after, reason), count in sorted(picture.transitions.items()):
        labels = f'name="{_escaped(name)}",from="{before}",to="{after}",reason="{_escaped(reason)}"'
        yield f"circuit_breaker_transitions_total{{{labels}}} {count}.0\n"


def _escaped(text: str) -> str:
    """People choose groups and instances tell reasons: whatever they say stays inside the label."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _durations(counted: Counted) -> str:
    latency, name = counted.latency, counted.row["name"]
    begin, counts = f'{_DURATION}_bucket{{name="{name}', cumulated(latency)
    total = counts[-1]
    lines = [f"{begin}{le}{count}.0\n" for le, count in zip(_LES, counts, strict=False)]
    end = f'{_DURATION}_count{{name="{name}"}} {total}.0\n{_DURATION}_sum{{name="{name}"}} {latency.sum_seconds!r}\n'
    return f'{"".join(lines)}{begin}",le="+Inf"}} {total}.0\n{end}'


def cumulated(latency: LatencyHistogram) -> list[int]:
    """Calls that took at most as long as each of ``BUCKETS``, and, last, all of them."""
    counts = [0] * (len(BUCKETS) + 1)
    for index, count in latency.counts.items():
        counts[bisect_left(BUCKETS, index)] += count
    return list(accumulate(counts))


exposition: Final = Exposition()
"""Of this process's fleet."""
