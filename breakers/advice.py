"""Sentences about config values that are legal and yet hardly meant. They never refuse anything."""

from __future__ import annotations

from collections.abc import Iterator

from breakers.core.config import CircuitBreakerConfig, HttpConfig

SHORT_WAIT = 5.0
LONG_WAIT = 3600.0
LONG_TIMEOUT = 120.0
FEW_CALLS = 5
MANY_PROBES = 10
MANY_SUCCESSES = 50
MANY_RETRIES = 5


def advice(config: CircuitBreakerConfig, http: HttpConfig | None = None) -> list[str]:
    """What a careful colleague would say of these values; nothing about the defaults."""
    found = [*_of_opening(config), *_of_calls(config), *_of_recovery(config)]
    return found if http is None else [*found, *_of_http(http)]


def _of_opening(config: CircuitBreakerConfig) -> Iterator[str]:
    rates = [rate for rate in (config.failure_rate_threshold, config.slow_call_rate_threshold) if rate is not None]
    if not config.failure_threshold and not rates:
        yield "No rule is on: this breaker never opens."
    if config.failure_threshold == 1:
        yield f"A single failure opens it, and stops all calls of that instance for {config.recovery_timeout:g} s."
    if rates and config.minimum_calls < FEW_CALLS:
        share = f"{1 / config.minimum_calls:.0%}"
        yield f"Rates are judged from {config.minimum_calls} calls on, where one call alone is {share}."


def _of_calls(config: CircuitBreakerConfig) -> Iterator[str]:
    slow, limit = config.slow_call_duration, config.timeout
    if limit is None:
        yield "Without a timeout, a call that hangs is never counted as a failure."
    elif limit > LONG_TIMEOUT:
        yield f"A call may hang for {limit:g} s before it counts as a failure."
    if slow is not None and limit is not None and slow >= limit:
        yield f"No call can be slow ({slow:g} s) without having timed out ({limit:g} s) before."
    if slow is not None and config.slow_call_rate_threshold is None:
        yield "Slow calls are counted, but without slow_call_rate_threshold nothing follows from them."


def _of_recovery(config: CircuitBreakerConfig) -> Iterator[str]:
    wait, ceiling = config.recovery_timeout, config.max_recovery_timeout
    if wait <= SHORT_WAIT:
        often = "second" if wait == 1 else f"{wait:g} s"
        yield f"A wait of {wait:g} s means a probe every {often} from each instance while the dependency is down."
    if wait > LONG_WAIT:
        yield f"After opening, nobody looks for {wait / 3600:.3g} h whether the dependency is well again."
    if ceiling < wait:
        yield f"The ceiling of the wait, {ceiling:g} s, is below the wait itself, {wait:g} s."
    if config.half_open_max_calls > MANY_PROBES:
        yield f"{config.half_open_max_calls} probes at once from each instance are a load for a dependency in recovery."
    if config.success_threshold > MANY_SUCCESSES:
        yield f"It takes {config.success_threshold} good probes in a row to close; until then most calls are rejected."


def _of_http(http: HttpConfig) -> Iterator[str]:
    if http.max_retries > MANY_RETRIES:
        yield f"Each call may become {http.max_retries + 1} requests: retries multiply the load on what is in trouble."
    if http.retry_non_idempotent and http.max_retries:
        yield "POST and PATCH are sent again after a failure: what they do may be done twice."
    if not http.failure_statuses.strip():
        yield "No status is a failure: only connections that fail and timeouts count."
