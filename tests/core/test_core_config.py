"""Section 1.1: every bound of every field, and what a wrong one says."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys

import pytest

from breakers.core.config import (
    BREAKER_FIELDS,
    HTTP_FIELDS,
    TABLE_DEFAULTS,
    CircuitBreakerConfig,
    HttpConfig,
    parse_statuses,
)
from breakers.core.errors import CircuitBreakerError, CircuitBreakerOpenError, ConfigError
from breakers.core.states import CircuitBreakerState

LARGEST = 2147483647
INF, NAN = float("inf"), float("nan")
DURATIONS = ["recovery_timeout", "timeout", "slow_call_duration", "max_recovery_timeout"]
RATES = ["failure_rate_threshold", "slow_call_rate_threshold"]
INTEGERS = {
    "failure_threshold": 0,
    "success_threshold": 1,
    "window_size": 1,
    "minimum_calls": 1,
    "half_open_max_calls": 1,
}


def config(**values) -> CircuitBreakerConfig:
    """With room for the value under test: rules that span two fields are kept out of the way."""
    room = {"window_type": "time", "slow_call_duration": 1.0}
    return CircuitBreakerConfig(**{**room, **values})


def wrong(**values) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(**values)
    return list(caught.value.fields)


def test_the_defaults_are_the_table() -> None:
    made = CircuitBreakerConfig()
    assert made.as_dict() == dict(TABLE_DEFAULTS) == {
        "name": "default", "failure_threshold": 5, "recovery_timeout": 60.0, "success_threshold": 3, "timeout": 30.0,
        "window_type": "count", "window_size": 100, "minimum_calls": 20, "failure_rate_threshold": None,
        "slow_call_duration": None, "slow_call_rate_threshold": None, "half_open_max_calls": 1,
        "recovery_backoff": 1.0, "max_recovery_timeout": 3600.0, "recovery_jitter": 0.0,
    }  # fmt: skip
    assert list(BREAKER_FIELDS) == [field.name for field in dataclasses.fields(CircuitBreakerConfig)]
    assert list(HTTP_FIELDS) == [field.name for field in dataclasses.fields(HttpConfig)]


def test_every_field_has_a_sentence_for_the_person_who_edits_it() -> None:
    assert all(field.help.endswith(".") for field in (*BREAKER_FIELDS.values(), *HTTP_FIELDS.values()))


@pytest.mark.parametrize("name", ["a", "A" * 100, "a_b.c:d-e", "0", "...", "reset-all2", "RESET-ALL"])
def test_names_that_can_be(name) -> None:
    assert config(name=name).name == name


@pytest.mark.parametrize("name", ["", "a" * 101, ".", "..", "reset-all", "a b", "a/b", "ä", "a\n", "\n", 5, None, b"a"])
def test_names_that_cannot_be(name) -> None:
    assert wrong(name=name) == ["name"]


@pytest.mark.parametrize(("field", "least"), INTEGERS.items())
def test_integers_have_both_bounds_and_are_not_coerced(field, least) -> None:
    for right in (least, least + 1, LARGEST):
        assert getattr(config(**{field: right}), field) == right
    for bad in (least - 1, LARGEST + 1, 5.0, "5", True, None, NAN, 10**5000, -(10**5000)):
        assert wrong(**{field: bad}) == [field]


@pytest.mark.parametrize("field", DURATIONS)
def test_durations_are_finite_and_positive(field) -> None:
    for right in (5e-324, 0.5, 5, 10**300, sys.float_info.max):
        assert getattr(config(**{field: right}), field) == right
    for bad in (0, 0.0, -0.0, -1.0, INF, -INF, NAN, "5", True, b"5", 10**5000, 1j):
        assert wrong(**{field: bad}) == [field]


def test_which_fields_may_be_none() -> None:
    nullable = {"timeout", "failure_rate_threshold", "slow_call_duration", "slow_call_rate_threshold"}
    for field in BREAKER_FIELDS:
        if field in nullable:
            assert getattr(config(**{field: None}), field) is None
        else:
            assert wrong(**{field: None}) == [field]


@pytest.mark.parametrize("field", RATES)
def test_rates_are_above_0_and_at_most_1(field) -> None:
    for right in (1e-9, 0.5, 1.0, 1):
        assert getattr(config(**{field: right}), field) == right
    for bad in (0, 0.0, 1.0000001, 50, -0.1, NAN, "0.5", True):
        assert wrong(**{field: bad}) == [field]


def test_back_off_is_at_least_1_and_jitter_between_0_and_1() -> None:
    for field, rights, bads in (
        ("recovery_backoff", (1, 1.0, 2.5, 1e300), (0.999, 0, -1, INF, NAN, "2", True)),
        ("recovery_jitter", (0, 0.0, 0.5, 1, 1.0), (-0.001, 1.001, INF, NAN, "0", False)),
    ):
        for right in rights:
            assert getattr(config(**{field: right}), field) == right
        for bad in bads:
            assert wrong(**{field: bad}) == [field]


@pytest.mark.parametrize("bad", ["COUNT", "", None, 5, "sliding", ["count"]])
def test_the_window_is_of_calls_or_of_time(bad) -> None:
    assert {config(window_type=right).window_type for right in ("count", "time")} == {"count", "time"}
    assert wrong(window_type=bad) == ["window_type"]


def test_the_minimum_fits_a_count_window_and_any_time_window() -> None:
    assert CircuitBreakerConfig(window_size=20, minimum_calls=20).minimum_calls == 20
    assert CircuitBreakerConfig(window_type="time", window_size=10, minimum_calls=1000).minimum_calls == 1000
    assert wrong(window_type="count", window_size=19, minimum_calls=20) == ["minimum_calls"]


@pytest.mark.parametrize("bad", ["5", None, 0])
def test_a_minimum_that_is_wrong_by_itself_is_not_compared(bad) -> None:
    for pair in ({"minimum_calls": bad}, {"window_size": bad}):
        with pytest.raises(ConfigError) as caught:
            CircuitBreakerConfig(**pair)
        (said,) = caught.value.fields.values()
        assert said == f"must be an integer >= 1 and <= 2147483647, not {bad!r}"


def test_a_slow_call_rate_needs_a_slow_call_duration() -> None:
    assert wrong(slow_call_rate_threshold=0.5, slow_call_duration=None) == ["slow_call_rate_threshold"]
    assert config(slow_call_rate_threshold=0.5).slow_call_rate_threshold == 0.5


def test_one_error_names_every_wrong_field() -> None:
    every = {field: object() for field in BREAKER_FIELDS}
    assert wrong(**every) == list(BREAKER_FIELDS)
    assert set(wrong(failure_threshold=-1, window_type="count", window_size=1, recovery_jitter=7)) == {
        "failure_threshold", "minimum_calls", "recovery_jitter",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"name": "a b"},
            "must be 1 to 100 characters of A-Z a-z 0-9 _ . : - and none of '.', '..', 'reset-all', not 'a b'",
        ),
        ({"failure_threshold": "5"}, "must be an integer >= 0 and <= 2147483647, not '5'"),
        ({"recovery_timeout": 0}, "must be a finite number of seconds > 0, not 0"),
        ({"timeout": -1.5}, "must be a finite number of seconds > 0 or null, not -1.5"),
        ({"window_type": "sliding"}, "must be one of 'count', 'time', not 'sliding'"),
        ({"minimum_calls": 21, "window_size": 20}, "must be at most window_size (20) in a count window, not 21"),
        ({"failure_rate_threshold": 50}, "must be a number > 0 and <= 1 or null, not 50"),
        ({"slow_call_rate_threshold": 0.5}, "needs slow_call_duration"),
        ({"recovery_backoff": 0.5}, "must be a number >= 1, not 0.5"),
        ({"recovery_jitter": 2}, "must be a number >= 0 and <= 1, not 2"),
        ({"name": "-" * 200}, "not '" + "-" * 56 + "..."),
        ({"window_type": "x" * 58}, "not '" + "x" * 58 + "'"),
        ({"window_type": "x" * 59}, "not '" + "x" * 56 + "..."),
    ],
)
def test_the_error_names_bound_and_value(values, said) -> None:
    with pytest.raises(ConfigError) as caught:
        CircuitBreakerConfig(**values)
    ((field, told),) = caught.value.fields.items()
    assert told == said or (said.startswith("not ") and told.endswith(said))
    assert str(caught.value) == f"{field}: {told}"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"failure_statuses": "5xx"},
            "must list HTTP statuses and ranges from 100 to 599, as '429,500-599', not '5xx'",
        ),
        ({"max_retries": -1}, "must be an integer >= 0 and <= 2147483647, not -1"),
        ({"retry_backoff": 0}, "must be a finite number of seconds > 0, not 0"),
        ({"retry_non_idempotent": "yes"}, "must be true or false, not 'yes'"),
    ],
)
def test_the_error_of_an_http_config_too(values, said) -> None:
    with pytest.raises(ConfigError) as caught:
        HttpConfig(**values)
    assert list(caught.value.fields.values()) == [said]


def test_values_that_cannot_be_shown_are_refused_all_the_same() -> None:
    class Unshowable:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(ConfigError) as caught:
        CircuitBreakerConfig(failure_threshold=10**5000, timeout=Unshowable())
    assert caught.value.fields["failure_threshold"].endswith("not this int")
    assert caught.value.fields["timeout"].endswith("or null, not this Unshowable")


def test_a_config_is_a_value() -> None:
    made = CircuitBreakerConfig(name="a")
    assert made == CircuitBreakerConfig(name="a")
    assert hash(made) == hash(CircuitBreakerConfig(name="a"))
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.timeout = 5.0
    with pytest.raises(ConfigError):
        dataclasses.replace(made, timeout=-1.0)


def test_configs_travel_as_mappings() -> None:
    made = CircuitBreakerConfig(name="a", timeout=None, failure_rate_threshold=0.5)
    assert CircuitBreakerConfig.from_mapping(made.as_dict()) == made
    assert HttpConfig.from_mapping(HttpConfig(max_retries=0).as_dict()) == HttpConfig(max_retries=0)
    with pytest.raises(ConfigError) as caught:
        CircuitBreakerConfig.from_mapping({"failure_treshold": 3, 5: 1})
    assert caught.value.fields == {"failure_treshold": "no such field", "5": "no such field"}
    with pytest.raises(ConfigError) as caught:
        HttpConfig.from_mapping({"x" * 200: 1})
    assert list(caught.value.fields) == ["x" * 100]


# -- the environment -------------------------------------------------------------------------------------------------

ENVIRONMENT = [
    ("FAILURE_THRESHOLD", "failure_threshold", "7", 7),
    ("RECOVERY_TIMEOUT", "recovery_timeout", "1.5", 1.5),
    ("SUCCESS_THRESHOLD", "success_threshold", " 2 ", 2),
    ("TIMEOUT", "timeout", "5", 5.0),
    ("TIMEOUT", "timeout", "none", None),
]


@pytest.mark.parametrize(("variable", "field", "text", "value"), ENVIRONMENT)
def test_the_environment_gives_defaults_that_code_outranks(monkeypatch, variable, field, text, value) -> None:
    monkeypatch.setenv(f"CIRCUIT_BREAKER_{variable}", text)
    assert getattr(CircuitBreakerConfig(), field) == value
    assert getattr(CircuitBreakerConfig(**{field: 9}), field) == 9
    monkeypatch.setenv(f"CIRCUIT_BREAKER_{variable}", "  ")
    assert CircuitBreakerConfig().as_dict() == dict(TABLE_DEFAULTS)


@pytest.mark.parametrize("text", ["five", "-1", "inf", "nan", "9" * 5000, "1_0", "\u0665", "0x10", "true"])
@pytest.mark.parametrize("variable", ["FAILURE_THRESHOLD", "RECOVERY_TIMEOUT", "SUCCESS_THRESHOLD", "TIMEOUT"])
def test_a_wrong_variable_is_named_with_its_field(monkeypatch, variable, text) -> None:
    monkeypatch.setenv(f"CIRCUIT_BREAKER_{variable}", text)
    with pytest.raises(ConfigError) as caught:
        CircuitBreakerConfig(window_size=0)
    assert set(caught.value.fields) == {variable.lower(), "window_size"}
    if text in ("five", "1_0"):
        assert "(from CIRCUIT_BREAKER_" in caught.value.fields[variable.lower()]


# -- HttpConfig ------------------------------------------------------------------------------------------------------


def test_http_defaults() -> None:
    assert HttpConfig().as_dict() == {
        "failure_statuses": "429,500-599", "max_retries": 2, "retry_statuses": "429,502,503,504",
        "retry_backoff": 0.1, "max_retry_wait": 5.0, "retry_non_idempotent": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "bads"),
    [
        ("failure_statuses", ["99", "600", "500-499", "5xx", "500-", "-500", "500,,x", 500, None, "500," * 60]),
        ("retry_statuses", ["99", "1000", 503, None]),
        ("max_retries", [-1, 1.0, "2", True, None]),
        ("retry_backoff", [0, -1.0, INF, NAN, "0.1", None]),
        ("max_retry_wait", [0, -1.0, INF, None]),
        ("retry_non_idempotent", [0, 1, "true", None]),
    ],
)
def test_every_bound_of_http_config(field, bads) -> None:
    for bad in bads:
        with pytest.raises(ConfigError) as caught:
            HttpConfig(**{field: bad})
        assert list(caught.value.fields) == [field]


def test_statuses_are_parsed() -> None:
    assert parse_statuses("") == frozenset()
    assert parse_statuses("429, 500-502,100,599") == {429, 500, 501, 502, 100, 599}
    assert HttpConfig(failure_statuses="", max_retries=0).max_retries == 0
    for text, said in (
        ("5xx", "not a status or a range: '5xx'"),
        ("99-100", "not a status or a range: '99-100'"),
        ("099", "outside 100 to 599: '099'"),
        ("500-499", "outside 100 to 599: '500-499'"),
    ):
        with pytest.raises(ValueError, match=f"^{said}$"):
            parse_statuses(text)


def test_a_list_of_statuses_has_at_most_200_characters() -> None:
    longest = ("500," * 50)[:200]
    assert HttpConfig(failure_statuses=longest).failure_statuses == longest
    with pytest.raises(ConfigError):
        HttpConfig(failure_statuses=longest + ",")


# -- errors ----------------------------------------------------------------------------------------------------------


def test_errors_carry_facts_and_travel() -> None:
    error = CircuitBreakerOpenError("api", CircuitBreakerState.OPEN, "failure_rate", 1.25)
    assert isinstance(error, CircuitBreakerError)
    assert str(error) == "Circuit breaker 'api' is open (failure_rate), retry after 1.25 s"
    named = CircuitBreakerOpenError(name="api", state=CircuitBreakerState.OPEN, reason="failure_rate", retry_after=1.25)
    assert repr(named) == repr(error)
    again = pickle.loads(pickle.dumps(named))
    assert (again.name, again.state, again.reason, again.retry_after) == (
        "api", CircuitBreakerState.OPEN, "failure_rate", 1.25,
    )  # fmt: skip
    forced = CircuitBreakerOpenError("api", CircuitBreakerState.CLOSED, "forced_open")
    assert str(forced) == "Circuit breaker 'api' is forced open"
    assert str(CircuitBreakerOpenError("api", CircuitBreakerState.OPEN)) == "Circuit breaker 'api' is open"


def test_a_config_error_is_a_value_error_and_travels() -> None:
    error = ConfigError({"timeout": "wrong"})
    assert isinstance(error, ValueError)
    assert isinstance(error, CircuitBreakerError)
    assert pickle.loads(pickle.dumps(error)).fields == {"timeout": "wrong"}
    with pytest.raises(TypeError):
        error.fields["timeout"] = "right"
