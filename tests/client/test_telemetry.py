"""Breakers in OpenTelemetry, by its own SDK: events of spans, and metrics by the names that Prometheus has."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader, Sum
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import breakers
from breakers import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerOpenError, get_circuit_breaker
from breakers.client import telemetry
from breakers.core import breaker as core
from breakers.testing import FakeClock, fresh_registry
from tests.misbehaving import Server

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(autouse=True)
def _nobody_else() -> Iterator[None]:
    breakers.registry.clear()  # of what tests of other files have left
    with fresh_registry():
        yield
        telemetry.uninstrument()


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    """Of a meter provider that is instrumented."""
    made = InMemoryMetricReader()
    provider = MeterProvider([made], shutdown_on_exit=False)
    telemetry.instrument(provider)
    yield made
    provider.shutdown()


@pytest.fixture
def spans(reader: InMemoryMetricReader) -> Callable[[], list[tuple[str, dict[str, Any]]]]:
    """The events of the spans that have ended, each with its attributes, in order."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.provider = provider

    def ended() -> list[tuple[str, dict[str, Any]]]:
        found = exporter.get_finished_spans()
        return [(event.name, dict(event.attributes or {})) for span in found for event in span.events]

    return ended


class tracing:  # noqa: N801  # reads as the statement that it is
    """``with tracing("name"):`` a span that records is the current one."""

    provider: TracerProvider

    def __init__(self, name: str = "request") -> None:
        self._span = self.provider.get_tracer(__name__).start_as_current_span(name, record_exception=False)

    def __enter__(self) -> None:
        self._span.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._span.__exit__(*error)


def fail() -> None:
    raise ConnectionError("down")


def opened(name: str = "data_service", **config: Any) -> CircuitBreaker:
    made = get_circuit_breaker(name, CircuitBreakerConfig(failure_threshold=1, **config))
    with pytest.raises(ConnectionError):
        made.call_sync(fail)
    return made


def collected(reader: InMemoryMetricReader) -> Samples:
    found: Samples = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else []:
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            for point in metric.data.data_points:
                found[metric.name, labels(point.attributes)] = point.value
    return found


def labels(given: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(value)) for name, value in given.items()))


# --- spans ---------------------------------------------------------------------------------------------------------


def test_a_rejection_is_an_event_of_the_span_in_which_it_happens(spans: Callable[[], Any]) -> None:
    breaker = opened(recovery_timeout=60.0)
    with tracing(), pytest.raises(CircuitBreakerOpenError):
        breaker.call_sync(int)
    ((name, facts),) = spans()
    assert name == "circuit_breaker.rejected"
    assert 59 < facts.pop("circuit_breaker.retry_after") <= 60
    assert facts == {
        "circuit_breaker.name": "data_service",
        "circuit_breaker.state": "open",
        "circuit_breaker.reason": "consecutive_failures",
    }


def test_a_transition_is_an_event_of_the_span_whose_call_caused_it(spans: Callable[[], Any]) -> None:
    with tracing():
        opened()
    assert spans() == [
        (
            "circuit_breaker.transition",
            {
                "circuit_breaker.name": "data_service",
                "circuit_breaker.from_state": "closed",
                "circuit_breaker.to_state": "open",
                "circuit_breaker.reason": "consecutive_failures",
                "circuit_breaker.cause": "1 failure, last: ConnectionError: down",
            },
        )
    ]


async def test_each_way_to_be_rejected_is_told_once(spans: Callable[[], Any], server: Server) -> None:
    breaker = opened()
    http = breakers.get_http_circuit_breaker("data_service")
    import aiohttp

    async def fetch() -> None: ...

    with tracing():
        with pytest.raises(CircuitBreakerOpenError):
            await breaker.call(fetch)
        with pytest.raises(CircuitBreakerOpenError):
            breaker.call_sync(int)
        with pytest.raises(CircuitBreakerOpenError), breaker:
            pass
        with pytest.raises(CircuitBreakerOpenError):
            async with breaker:
                pass
        with pytest.raises(CircuitBreakerOpenError):
            await breaker(fetch)()
        async with aiohttp.ClientSession() as session:
            with pytest.raises(CircuitBreakerOpenError):
                await http.get(session, server.url)
    assert [name for name, _ in spans()] == ["circuit_breaker.rejected"] * 6
    assert server.requests == []


def test_forced_open_has_no_time_at_which_to_come_again(spans: Callable[[], Any]) -> None:
    breaker = get_circuit_breaker("data_service")
    breaker.force_open(reason="INC-1")
    with tracing(), pytest.raises(CircuitBreakerOpenError):
        breaker.call_sync(int)
    assert spans() == [
        (
            "circuit_breaker.rejected",
            {
                "circuit_breaker.name": "data_service",
                "circuit_breaker.state": "closed",
                "circuit_breaker.reason": "forced_open",
            },
        )
    ]


def test_rejections_beyond_the_registry_are_told_too(spans: Callable[[], Any]) -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(name="mine"))
    breaker.force_open()
    with tracing(), pytest.raises(CircuitBreakerOpenError):
        breaker.call_sync(int)
    assert [facts["circuit_breaker.name"] for _, facts in spans()] == ["mine"]


def test_where_no_span_records_the_caller_sees_what_he_ever_saw(reader: InMemoryMetricReader) -> None:
    breaker = opened()
    assert not trace.get_current_span().is_recording()
    with pytest.raises(CircuitBreakerOpenError) as caught:
        breaker.call_sync(int)
    assert (caught.value.name, caught.value.reason) == ("data_service", "consecutive_failures")
    assert caught.value.retry_after is not None


def test_a_span_that_refuses_harms_no_caller(reader: InMemoryMetricReader, caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(trace.NonRecordingSpan):
        def is_recording(self) -> bool:
            return True

        def add_event(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("full")

    with trace.use_span(Refusing(trace.INVALID_SPAN_CONTEXT), record_exception=False, set_status_on_exception=False):
        breaker = opened()
        with pytest.raises(CircuitBreakerOpenError):
            breaker.call_sync(int)
    assert caplog.text.count("Circuit breaker 'data_service': a listener raised") == 2


# --- metrics -------------------------------------------------------------------------------------------------------


def storm() -> None:
    breaker = opened(recovery_timeout=1e-9, success_threshold=1)
    breaker.call_sync(int)
    get_circuit_breaker("rated", CircuitBreakerConfig(failure_rate_threshold=0.5)).call_sync(int)
    opened("shut", recovery_timeout=60.0)
    with pytest.raises(CircuitBreakerOpenError):
        get_circuit_breaker("shut").call_sync(int)


def test_the_meter_has_what_prometheus_has_by_the_same_names_and_labels(reader: InMemoryMetricReader) -> None:
    collector = telemetry._collector()  # its own: another would count transitions from now on
    storm()
    scraped = CollectorRegistry()
    scraped.register(collector)
    families = text_string_to_metric_families(generate_latest(scraped).decode())
    expected = {(one.name, labels(one.labels)): one.value for family in families for one in family.samples}
    found = collected(reader)
    assert {key: value for key, value in found.items() if key[0] != telemetry.DURATION} == expected
    assert found["circuit_breaker_rejected_total", (("name", "shut"),)] == 1
    assert found["circuit_breaker_state", (("name", "shut"), ("state", "open"))] == 1
    assert {name for name, _ in found} >= {
        "circuit_breaker_requests_total", "circuit_breaker_failures_total", "circuit_breaker_successes_total",
        "circuit_breaker_rejected_total", "circuit_breaker_state", "circuit_breaker_instances",
        "circuit_breaker_transitions_total", "circuit_breaker_call_duration_seconds_bucket",
        "circuit_breaker_call_duration_seconds_count", "circuit_breaker_call_duration_seconds_sum",
    }  # fmt: skip


def test_percentiles_are_there_for_those_who_cannot_compute_them(reader: InMemoryMetricReader) -> None:
    clock = FakeClock()
    with fresh_registry(clock):
        breaker = get_circuit_breaker("timed")
        get_circuit_breaker("never_called")
        for seconds in [0.01] * 94 + [1.0] * 5 + [30.0]:
            breaker.call_sync(clock.advance, seconds)
        check_percentiles(breaker, reader)
    telemetry.uninstrument()
    assert collected(reader) == {}


def check_percentiles(breaker: CircuitBreaker, reader: InMemoryMetricReader) -> None:
    latency = breaker.get_metrics()["latency"]
    told = {labels: value for (name, labels), value in collected(reader).items() if name == telemetry.DURATION}
    assert told == {
        (("name", "timed"), ("quantile", share)): latency[name]
        for share, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
    }
    assert list(told.values()) == [
        pytest.approx(0.01, rel=0.12),
        pytest.approx(1.0, rel=0.12),
        pytest.approx(1.0, rel=0.12),
    ]


def test_each_collection_tells_of_now(reader: InMemoryMetricReader) -> None:
    breaker = get_circuit_breaker("data_service")
    for calls in range(1, 4):
        breaker.call_sync(int)
        found = collected(reader)
        assert found["circuit_breaker_successes_total", (("name", "data_service"),)] == calls
        assert found["circuit_breaker_call_duration_seconds_count", (("name", "data_service"),)] == calls


def test_two_readers_are_each_told_all(reader: InMemoryMetricReader) -> None:
    first, second = InMemoryMetricReader(), InMemoryMetricReader()
    provider = MeterProvider([first, second], shutdown_on_exit=False)
    telemetry.uninstrument()
    telemetry.instrument(provider)
    breaker = get_circuit_breaker("data_service")
    for calls in range(1, 3):
        breaker.call_sync(int)
        for one in (first, second):
            assert collected(one)["circuit_breaker_successes_total", (("name", "data_service"),)] == calls
    provider.shutdown()


def test_who_reads_only_a_part_is_told_of_now_too() -> None:
    reader = InMemoryMetricReader()
    views = [View(instrument_name="circuit_breaker_[!s]*", aggregation=DropAggregation())]
    provider = MeterProvider([reader], views=views, shutdown_on_exit=False)
    telemetry.instrument(provider)
    breaker = get_circuit_breaker("data_service")
    for calls in range(1, 4):
        breaker.call_sync(int)
        found = collected(reader)
        assert found["circuit_breaker_successes_total", (("name", "data_service"),)] == calls
        assert {name for name, _ in found} == {
            "circuit_breaker_successes_total", "circuit_breaker_slow_calls_total", "circuit_breaker_state",
        }  # fmt: skip
    provider.shutdown()


def test_what_only_rises_says_so(reader: InMemoryMetricReader) -> None:
    storm()
    data = reader.get_metrics_data()
    assert data is not None
    kinds = {
        metric.name: metric.data for r in data.resource_metrics for scope in r.scope_metrics for metric in scope.metrics
    }
    rising = {name for name, kind in kinds.items() if isinstance(kind, Sum) and kind.is_monotonic}
    assert rising == {name for name in kinds if name.endswith("_total")}
    assert not any(isinstance(kind, Histogram) for kind in kinds.values())


# --- on and off ----------------------------------------------------------------------------------------------------


def test_a_second_time_changes_nothing(spans: Callable[[], Any], reader: InMemoryMetricReader) -> None:
    telemetry.instrument()
    with tracing():
        opened()
    assert len(spans()) == 1


def test_it_can_be_ended_and_begun_again(spans: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    telemetry.uninstrument()
    with tracing():
        breaker = opened()
        with pytest.raises(CircuitBreakerOpenError):
            breaker.call_sync(int)
    assert (spans(), collected(reader)) == ([], {})
    for _ in range(2):
        telemetry.instrument(provider)
        assert collected(reader)["circuit_breaker_failures_total", (("name", "data_service"),)] == 1
        telemetry.uninstrument()
        telemetry.uninstrument()
        assert collected(reader) == {}
    assert caplog.text == "" or "already been created" not in caplog.text
    provider.shutdown()


def test_a_provider_that_is_gone_is_let_go_and_each_next_one_costs_no_more() -> None:
    telemetry.instrument(MeterProvider(shutdown_on_exit=False))
    telemetry.uninstrument()
    listeners = len(breakers.registry._transition_listeners._cells)
    provider = MeterProvider(shutdown_on_exit=False)
    telemetry.instrument(provider)
    telemetry.uninstrument()
    known = len(telemetry._meters)
    provider.shutdown()
    del provider
    gc.collect()
    assert len(telemetry._meters) < known
    assert len(breakers.registry._transition_listeners._cells) == listeners


def test_the_call_path_is_what_it_was_before_and_after() -> None:
    assert core._new_error == CircuitBreakerOpenError.__new__
    code = CircuitBreaker.call.__code__, CircuitBreaker.call_sync.__code__, CircuitBreaker.acquire.__code__
    telemetry.instrument(MeterProvider(shutdown_on_exit=False))
    assert core._new_error is core._make_and_tell
    breaker = get_circuit_breaker("data_service")
    asyncio.run(breaker.call(asyncio.sleep, 0))
    assert breaker._machine.gate is not None, "a closed circuit has its short way all the same"
    assert code == (CircuitBreaker.call.__code__, CircuitBreaker.call_sync.__code__, CircuitBreaker.acquire.__code__)
    telemetry.uninstrument()
    assert core._new_error == CircuitBreakerOpenError.__new__


ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError("no opentelemetry here", name=name)

sys.meta_path.insert(0, Absent())
import breakers, breakers.client, breakers.client.metrics
from breakers.core import breaker as core
guarded = breakers.get_circuit_breaker("data_service", breakers.CircuitBreakerConfig(failure_threshold=1))
for call in (int, lambda: 1 / 0, int):
    try:
        guarded.call_sync(call)
    except (ZeroDivisionError, breakers.CircuitBreakerOpenError) as error:
        print(type(error).__name__)
print([name for name in sys.modules if name.startswith("opentelemetry")], bool(core._watchers),
      bool(breakers.registry._transition_listeners))
"""


def test_without_it_nothing_is_imported_and_nobody_listens() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", ABSENT], capture_output=True, text=True, timeout=50)
    assert done.stdout.split("\n")[:3] == ["ZeroDivisionError", "CircuitBreakerOpenError", "[] False False"], (
        done.stderr
    )
