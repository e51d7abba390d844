"""Breakers in OpenTelemetry, for programs that use it; needs the extra ``otel``::

    from breakers.client import telemetry

    telemetry.instrument()

The span in which a call is rejected, or changes the state of a breaker, gets an event that says so; and the meter has
what :mod:`breakers.client.metrics` tells Prometheus, by the same names.

Durations are told as what Prometheus' histogram consists of, and as percentiles. A histogram of OpenTelemetry's own
takes one ``record`` a call (6 microseconds, fourteen times a healthy call), be it on the call's path or in bursts at
each collection: its API has none that is read and gives counts, which breakers keep anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final
from weakref import WeakKeyDictionary

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
from prometheus_client.core import Metric

from breakers.core.breaker import CircuitBreaker, on_rejection
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.registry import registry
from breakers.core.states import Transition

from .metrics import BreakerCollector

__all__ = ["instrument", "uninstrument"]

NAME: Final = "tradpal.circuit_breakers"
DURATION: Final = "circuit_breaker_call_duration_seconds"
PERCENTILES: Final = {"0.5": "p50", "0.95": "p95", "0.99": "p99"}

_lock = threading.Lock()
_meters: WeakKeyDictionary[MeterProvider, _Meter] = WeakKeyDictionary()
_endings: list[Callable[[], object]] = []
"""What undoes :func:`instrument`; empty while that is not called for."""


def instrument(meter_provider: MeterProvider | None = None) -> None:
    """From here on, for every breaker of the process; ``meter_provider``: not the global one. Again: changes nothing.

    Rejections are told of every breaker, transitions and metrics of those in the registry. Nothing is recorded where no
    span is recording, and nothing is computed before the meter is read; a healthy call does what it did.
    """
    with _lock:
        if _endings:
            return
        provider = metrics.get_meter_provider() if meter_provider is None else meter_provider
        meter = _meters.get(provider)
        if meter is None:
            meter = _meters[provider] = _Meter(provider.get_meter(NAME))
        meter.reads = True
        _endings.extend([on_rejection(_tell_rejection), registry.on_transition(_tell_transition), meter.fall_silent])


def uninstrument() -> None:
    """Ends it: spans get no events any more, and instruments, which OpenTelemetry keeps for ever, no values."""
    with _lock:
        while _endings:
            _endings.pop()()


def _tell_rejection(error: CircuitBreakerOpenError) -> None:
    span = trace.get_current_span()
    if span.is_recording():
        facts = {"state": error.state.value, "reason": error.reason, "retry_after": error.retry_after}
        known = {f"circuit_breaker.{name}": value for name, value in facts.items() if value is not None}
        span.add_event("circuit_breaker.rejected", {"circuit_breaker.name": error.name, **known})


def _tell_transition(breaker: CircuitBreaker, happened: Transition) -> None:
    span = trace.get_current_span()
    if span.is_recording():
        facts = {
            "circuit_breaker.name": happened.name,
            "circuit_breaker.from_state": happened.from_state.value,
            "circuit_breaker.to_state": happened.to_state.value,
            "circuit_breaker.reason": happened.reason.value,
            "circuit_breaker.cause": happened.cause,
        }
        span.add_event("circuit_breaker.transition", facts)


class _Meter:
    """The instruments of one provider, made once: OpenTelemetry cannot take them back."""

    def __init__(self, meter: Meter) -> None:
        self.reads = False
        self._collector = _collector()
        self._lock = threading.Lock()
        self._cut: dict[str, Metric] = {}
        for family in self._collector.describe():
            for name in _samples_of(family):
                self._make(meter, family, name)
        text = "Durations that so large a share of all calls did not exceed."
        meter.create_observable_gauge(DURATION, [self._percentiles], description=text)

    def fall_silent(self) -> None:
        self.reads = False

    def _make(self, meter: Meter, family: Metric, name: str) -> None:
        """Without units: Prometheus' exporter would put them into the names."""
        made = {
            "counter": meter.create_observable_counter,
            "gauge": meter.create_observable_gauge,
            # what a histogram has counted, see above
            "histogram": meter.create_observable_up_down_counter,
        }[family.type]
        made(name, [self._reader(name)], description=family.documentation)

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            if not self.reads:
                return []
            samples = self._told_once(name).samples
            return [Observation(sample.value, dict(sample.labels)) for sample in samples if sample.name == name]

        return read

    def _percentiles(self, _: CallbackOptions) -> Iterable[Observation]:
        """Named as Prometheus names those of a summary; as :meth:`CircuitBreaker.get_metrics` has them."""
        for breaker in registry.all() if self.reads else ():
            latency = breaker.get_metrics()["latency"]
            for share, name in PERCENTILES.items():
                if latency[name] is not None:
                    yield Observation(latency[name], {"name": breaker.name, "quantile": share})

    def _told_once(self, name: str) -> Metric:
        """Of the cut at hand, so that all of a collection tells of one moment; who asks again begins the next."""
        with self._lock:
            if name not in self._cut:
                families = list(self._collector.collect())
                self._cut = {sample: each for each in families for sample in _samples_of(each)}
            return self._cut.pop(name)


@cache
def _collector() -> BreakerCollector:
    """One for all providers: it goes on counting transitions, so that their counters never fall."""
    return BreakerCollector(registry)


def _samples_of(family: Metric) -> list[str]:
    """The names under which Prometheus gets the values of a family."""
    if family.type == "counter":
        return [f"{family.name}_total"]
    if family.type == "histogram":
        return [f"{family.name}_{part}" for part in ("bucket", "count", "sum")]
    return [family.name]
