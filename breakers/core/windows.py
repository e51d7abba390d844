"""What happened lately, over the last N calls or the last N seconds. Counting only: deciding is the machine's."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import floor, inf

from .config import CircuitBreakerConfig


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls in a window, and how many of them failed and were slow (one call may be both)."""

    calls: int
    failures: int
    slow: int


class CountWindow:
    """The last ``size`` calls.

    Calls are numbered; only the numbers of the failed and slow ones are kept, so a healthy window costs a few
    bytes whatever its size, and a full one 40 bytes a bad call.
    """

    __slots__ = ("calls", "expires", "failed", "failures", "newest", "size", "slow", "slowed")

    def __init__(self, size: int) -> None:
        self.size = size
        self.calls = 0
        self.newest = 0
        self.failed: deque[int] = deque()
        self.slowed: deque[int] = deque()
        self.failures = self.slow = 0
        self.expires = inf
        """Number of the call that pushes the oldest bad one out."""

    def push(self, now: float, failed: bool, slow: bool) -> None:
        self.newest += 1
        if self.calls < self.size:
            self.calls += 1
        if failed:
            self.failed.append(self.newest)
        if slow:
            self.slowed.append(self.newest)
        self._forget()

    def tally(self, now: float) -> Tally:
        """Counts over the last ``size`` calls; ``now`` matters to time windows only."""
        return Tally(self.calls, self.failures, self.slow)

    def resize(self, size: int) -> None:
        """Shrinking keeps the newest outcomes; growing waits for new ones."""
        self.size = size
        self.calls = min(self.calls, size)
        self._forget()

    def _forget(self) -> None:
        oldest = self.newest - self.size
        for numbers in (self.failed, self.slowed):
            while numbers and numbers[0] <= oldest:
                numbers.popleft()
        self.failures, self.slow = len(self.failed), len(self.slowed)
        self.expires = min((numbers[0] + self.size for numbers in (self.failed, self.slowed) if numbers), default=inf)


class Bucket:
    """Counts of one slice of time."""

    __slots__ = ("calls", "failures", "index", "slow")

    def __init__(self, index: int) -> None:
        self.index = index
        self.calls = self.failures = self.slow = 0


class TimeWindow:
    """The last ``size`` seconds, in 10 to 100 buckets that expire by their index.

    A call is forgotten when it is between ``size`` less one bucket and ``size`` seconds old, never later.
    """

    __slots__ = ("buckets", "calls", "count", "failures", "newest", "size", "slow", "until", "width")

    def __init__(self, size: int) -> None:
        self.buckets: deque[Bucket] = deque()
        self.newest: Bucket
        self.calls = self.failures = self.slow = 0
        self.until = -inf
        """Seconds; before then calls go into the newest bucket, and none expires. A little early for the rounding."""
        self._cut(size)

    def push(self, now: float, failed: bool, slow: bool) -> None:
        """What has expired stays until :meth:`tally`."""
        bucket = self._bucket(now)
        bucket.calls += 1
        self.calls += 1
        if failed:
            bucket.failures += 1
            self.failures += 1
        if slow:
            bucket.slow += 1
            self.slow += 1

    def tally(self, now: float) -> Tally:
        """Counts over the window that ends at ``now`` (seconds, monotonic); drops what has expired."""
        self._forget(now)
        return Tally(self.calls, self.failures, self.slow)

    def resize(self, size: int) -> None:
        """Keeps what the new size still covers, each bucket filed under the time at which it began."""
        width = self.width
        self._cut(size)
        old, self.buckets, self.until = self.buckets, deque(), -inf
        for bucket in old:
            self._file(floor(bucket.index * width / self.width), bucket)

    def _cut(self, size: int) -> None:
        self.size = size
        # whole seconds where that gives 10 to 100 buckets: then calls leave at exactly `size` seconds of a whole clock
        self.count = min(size, 100) if size >= 10 else size * 10
        self.width = size / self.count

    def _file(self, index: int, old: Bucket) -> None:
        if not self.buckets or self.newest.index != index:
            self._begin(index)
        bucket = self.newest
        bucket.calls += old.calls
        bucket.failures += old.failures
        bucket.slow += old.slow

    def _bucket(self, now: float) -> Bucket:
        index = floor(now / self.width)
        # a thread may come with a clock reading older than another thread's: it joins the newest bucket
        if not self.buckets or self.newest.index < index:
            self._begin(index)
            # the next slice begins, and the oldest bucket leaves, at whole multiples of the width
            self.until = (index + 0.999) * self.width
        return self.newest

    def _begin(self, index: int) -> None:
        self.newest = Bucket(index)
        self.buckets.append(self.newest)

    def _forget(self, now: float) -> None:
        oldest = floor(now / self.width) - self.count
        while self.buckets and self.buckets[0].index <= oldest:
            bucket = self.buckets.popleft()
            self.calls -= bucket.calls
            self.failures -= bucket.failures
            self.slow -= bucket.slow


Window = CountWindow | TimeWindow


def window_for(config: CircuitBreakerConfig, current: Window | None = None) -> Window | None:
    """The window that ``config`` asks for: ``current`` resized where its type stays, else an empty one, else none."""
    if config.failure_rate_threshold is None and config.slow_call_rate_threshold is None:
        return None
    kind = CountWindow if config.window_type == "count" else TimeWindow
    if type(current) is not kind:
        return kind(config.window_size)
    if current.size != config.window_size:
        current.resize(config.window_size)
    return current
