"""Speeds of one breaker over the fleet, from differences of cumulative counts, sampled once a second."""

from __future__ import annotations

from collections import deque
from typing import TypedDict

RATE_SPAN = 10.0
RECENT_SPAN = 60.0
TREND_STEP = 10.0
TREND_LENGTH = 30


class Rates(TypedDict):
    """Per second. ``calls`` were let through, ``rejected`` were not."""

    calls: float
    failures: float
    rejected: float


class Volume(TypedDict):
    """What passed through in one step, per second: ``passed`` were let through and did not fail."""

    passed: float
    failed: float
    rejected: float


Sample = tuple[float, int, int, int, int]
"""Moment (epoch seconds), and since the fleet began to watch: calls, judged calls, failures, rejected."""


class Flow:
    """What has passed through one breaker since this process began to watch it.

    ``add`` with each report, ``sample`` about once a second; the answers change with ``sample`` only, so that a row
    stands still between two samples.
    """

    __slots__ = (
        "_begun",
        "_calls",
        "_failures",
        "_judged",
        "_rejected",
        "_samples",
        "_step",
        "_trend",
        "_volumes",
        "rates",
        "recent",
    )

    def __init__(self) -> None:
        self._calls = self._judged = self._failures = self._rejected = 0
        self._samples: deque[Sample] = deque()
        self._trend: deque[float | None] = deque(maxlen=TREND_LENGTH)
        self._volumes: deque[tuple[float, float, float]] = deque(maxlen=TREND_LENGTH)
        self._step: Sample | None = None
        self._begun = 0.0
        self.rates = Rates(calls=0.0, failures=0.0, rejected=0.0)
        self.recent: float | None = None
        """Failures of the judged calls of the last 60 s, as a share; ``None`` without calls."""

    def add(self, *, calls: int, judged: int, failures: int, rejected: int) -> None:
        self._calls += calls
        self._judged += judged
        self._failures += failures
        self._rejected += rejected

    def start(self, now: float) -> None:
        """The zero from which the first rate is taken."""
        if not self._samples:
            self._samples.append(self._now(now))
            self._step, self._begun = self._samples[0], now

    def sample(self, now: float) -> bool:
        """Takes a sample; true when an answer changed. O(samples that left the span)."""
        self.start(now)
        if self._samples[-1][1:] == self._now(now)[1:] and len(self._samples) == 1:
            self._samples[0] = self._now(now)  # idle: nothing to remember but when
        else:
            self._samples.append(self._now(now))
        while len(self._samples) > 2 and self._samples[1][0] <= now - RECENT_SPAN:
            self._samples.popleft()
        changed = self._step_trend(now)
        rates, recent = self._rates(now), self._recent()
        changed = changed or rates != self.rates or recent != self.recent
        self.rates, self.recent = rates, recent
        return changed

    def trend(self) -> list[float | None]:
        """Percent failed of each 10 s, oldest first, up to 30; ``None`` without calls; empty when none had any."""
        return list(self._trend) if any(value is not None for value in self._trend) else []

    def volumes(self) -> list[Volume]:
        """What each 10 s of :meth:`trend` carried, oldest first, up to 30; those without calls as well."""
        return [Volume(passed=passed, failed=failed, rejected=rejected) for passed, failed, rejected in self._volumes]

    def _now(self, now: float) -> Sample:
        return now, self._calls, self._judged, self._failures, self._rejected

    def _rates(self, now: float) -> Rates:
        then = next((s for s in reversed(self._samples) if s[0] <= now - RATE_SPAN), self._samples[0])
        # an idle flow keeps its last sample only, but has been watched, and idle, for longer than that
        span = max(now - then[0], min(now - self._begun, RATE_SPAN), 1.0)
        return Rates(
            calls=_speed(self._calls - then[1], span),
            failures=_speed(self._failures - then[3], span),
            rejected=_speed(self._rejected - then[4], span),
        )

    def _recent(self) -> float | None:
        return share(self._failures - self._samples[0][3], self._judged - self._samples[0][2])

    def _step_trend(self, now: float) -> bool:
        begun = self._step
        if begun is None or now - begun[0] < TREND_STEP:
            return False
        before, span = self.trend(), now - begun[0]
        calls, failures, rejected = self._calls - begun[1], self._failures - begun[3], self._rejected - begun[4]
        self._volumes.append((_speed(calls - failures, span), _speed(failures, span), _speed(rejected, span)))
        failed = share(self._failures - begun[3], self._judged - begun[2])
        self._trend.append(None if failed is None else round(failed * 100, 1))
        self._step = self._now(now)
        return self.trend() != before


def _speed(count: int, span: float) -> float:
    return round(count / span, 2)


def share(part: int, whole: int) -> float | None:
    """``part / whole`` to four digits; ``None`` of nothing."""
    return round(part / whole, 4) if whole else None
