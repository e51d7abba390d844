"""The protocol's messages: what goes in comes out, and what is wrong is named."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakers.core import wire
from breakers.core.states import CircuitBreakerState, Override

numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)
naturals = st.integers(min_value=0, max_value=1 << 50)
texts = st.text(max_size=20)
statuses = st.builds(
    wire.BreakerStatus,
    name=texts,
    state=st.sampled_from(CircuitBreakerState),
    epoch=naturals,
    state_age=numbers,
    retry_in=st.none() | numbers,
    override=st.none()
    | st.builds(wire.OverrideStatus, override=st.sampled_from(Override), expires_in=st.none() | numbers),
    config_version=st.none() | naturals,
    counts=st.builds(wire.Counts, successes=naturals, failures=naturals, rejected=naturals, probes=naturals),
    window=st.none() | st.builds(wire.WindowCounts, calls=naturals, failures=naturals, slow=naturals),
    latency=st.dictionaries(st.integers(0, 99).map(str), naturals, max_size=4),
)
transitions = st.builds(
    wire.TransitionReport,
    sequence=naturals,
    name=texts,
    from_state=st.sampled_from(CircuitBreakerState),
    to_state=st.sampled_from(CircuitBreakerState),
    reason=texts,
    cause=texts,
    at=numbers,
    failure_rate=st.none() | numbers,
)
reports = st.builds(
    wire.Report,
    id=naturals,
    now=numbers,
    revision=naturals,
    breakers=st.lists(statuses, max_size=3).map(tuple),
    transitions=st.lists(transitions, max_size=3).map(tuple),
    resets=st.lists(texts, max_size=3).map(tuple),
)
desired = st.builds(
    wire.Desired,
    revision=naturals,
    since=st.none() | naturals,
    breakers=st.lists(
        st.builds(
            wire.DesiredBreaker,
            name=texts,
            revision=naturals,
            config=st.none() | st.just({"timeout": None, "failure_threshold": 0}),
            override=st.none()
            | st.builds(wire.DesiredOverride, override=st.sampled_from(Override), expires_in=st.none() | numbers),
            deleted=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
)


@given(reports)
def test_a_report_comes_out_as_it_went_in(report: wire.Report) -> None:
    assert wire.decode_from_agent(wire.encode(report)) == report


@given(desired)
def test_a_desired_state_comes_out_as_it_went_in(message: wire.Desired) -> None:
    assert wire.decode_from_server(wire.encode(message)) == message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "now", "breakers", "name"]), inner)
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from(["hello", "report", "goodbye"]))
def test_nonsense_is_a_wire_error_and_nothing_else(value: object, kind: str) -> None:
    text = json.dumps({**value, "type": kind} if isinstance(value, dict) else value)
    with contextlib.suppress(wire.WireError):
        wire.decode_from_agent(text)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_a_wire_error(junk: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode_from_agent(junk)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"type":"report","now":1}', "report.id: is missing"),
        ('{"type":"report","id":true,"now":1}', "report.id: must be of type int"),
        ('{"type":"report","id":1,"now":NaN}', "NaN is not a number"),
        ('{"type":"report","id":1e300,"now":1}', "report.id: must be of type int"),
        ('{"type":"report","id":1,"now":1e300}', "report.now: out of range"),
        ('{"type":"report","id":1,"now":1,"breakers":{}}', "report.breakers: must be a list"),
        (
            '{"type":"report","id":1,"now":1,"breakers":[{"name":"a","state":"ajar"}]}',
            "report.breakers.state: must be one of",
        ),
        ('{"type":"report","id":1,"now":1,"resets":[7]}', "report.resets: must be of type str"),
        ('{"type":"shout"}', "type: must be one of hello, report, goodbye"),
        ('{"type":["hello"]}', "type: must be one of"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(text: str, path: str) -> None:
    with pytest.raises(wire.WireError, match=path.replace("{", "\\{").replace("[", "\\[")):
        wire.decode_from_agent(text)


def test_a_newer_peer_may_add_keys_and_message_types() -> None:
    assert wire.decode_from_agent('{"type":"goodbye","mood":"fine"}') == wire.Goodbye()
    assert wire.decode_from_server('{"type":"a-later-idea"}') is None
    ack = wire.decode_from_server('{"type":"ack","id":3,"sequence":9,"colour":"blue"}')
    assert ack == wire.Ack(id=3, sequence=9)


def test_defaults_are_left_out_of_the_text() -> None:
    assert wire.encode(wire.Report(id=1, now=2.0)) == '{"type":"report","id":1,"now":2.0}'
