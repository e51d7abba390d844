"""Sentences about values that are legal and hardly meant; silence about the rest."""

from __future__ import annotations

import pytest

from breakers.advice import advice
from breakers.core.config import CircuitBreakerConfig, HttpConfig

UNWISE = [
    ({"failure_threshold": 0}, "never opens"),
    ({"failure_threshold": 1, "recovery_timeout": 30.0}, "A single failure opens it, and stops all calls"),
    ({"failure_rate_threshold": 0.5, "minimum_calls": 2}, "one call alone is 50%"),
    ({"timeout": None}, "a call that hangs is never counted"),
    ({"timeout": 121.0}, "may hang for 121 s"),
    ({"slow_call_duration": 30.0, "slow_call_rate_threshold": 0.5}, "No call can be slow (30 s)"),
    ({"slow_call_duration": 2.0}, "nothing follows"),
    ({"recovery_timeout": 1.0}, "A wait of 1 s means a probe every second from each instance"),
    ({"recovery_timeout": 5.0}, "a probe every 5 s from each instance"),
    ({"recovery_timeout": 7200.0, "max_recovery_timeout": 7200.0}, "nobody looks for 2 h"),
    ({"recovery_timeout": 60.0, "max_recovery_timeout": 30.0}, "The ceiling of the wait, 30 s, is below"),
    ({"half_open_max_calls": 11}, "11 probes at once"),
    ({"success_threshold": 51}, "51 good probes in a row"),
]
UNWISE_HTTP = [
    ({"max_retries": 6}, "may become 7 requests"),
    ({"retry_non_idempotent": True}, "may be done twice"),
    ({"failure_statuses": " "}, "No status is a failure"),
]
FINE = [
    {},
    {"failure_threshold": 2},
    {"failure_threshold": 0, "failure_rate_threshold": 0.5},
    {"failure_threshold": 0, "slow_call_rate_threshold": 0.5, "slow_call_duration": 2.0},
    {"failure_rate_threshold": 0.5, "minimum_calls": 5},
    {"timeout": 120.0},
    {"recovery_timeout": 5.1},
    {"recovery_timeout": 3600.0},
    {"half_open_max_calls": 10},
    {"success_threshold": 50},
]


@pytest.mark.parametrize(("values", "sentence"), UNWISE)
def test_an_unwise_value_is_told_in_one_sentence(values, sentence):
    found = advice(CircuitBreakerConfig(**values), HttpConfig())
    assert [sentence in each for each in found] == [True], found


@pytest.mark.parametrize(("values", "sentence"), UNWISE_HTTP)
def test_an_unwise_http_value_is_told_in_one_sentence(values, sentence):
    found = advice(CircuitBreakerConfig(), HttpConfig(**values))
    assert [sentence in each for each in found] == [True], found


@pytest.mark.parametrize("values", FINE)
def test_of_sound_values_nothing_is_said(values):
    assert advice(CircuitBreakerConfig(**values), HttpConfig()) == []


def test_no_retry_repeats_nothing():
    assert advice(CircuitBreakerConfig(), HttpConfig(max_retries=0, retry_non_idempotent=True)) == []
    assert advice(CircuitBreakerConfig(), HttpConfig(max_retries=5)) == []
