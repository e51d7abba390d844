"""The server reads reports by a faster way than the protocol's own: it must never read anything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakers.agents import reading
from breakers.core import wire
from tests.core.test_core_wire import json_values, reports

NUMBERS = [1 << 53, (1 << 53) + 2, -(1 << 53) - 2, 1 << 64, 1 << 200, 1.0, -0.0, 1e16, 1e400, 0.1]
EDGES = st.sampled_from([*NUMBERS, True, None, "", "\ud800", "ajar"])


def plain(value: Any) -> Any:
    """What a message holds, whatever class holds it."""
    if is_dataclass(value) or hasattr(value, "__struct_fields__"):
        names = [f.name for f in fields(value)] if is_dataclass(value) else value.__struct_fields__
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value.__class__.__name__, value


def outcome(read: Callable[[str | bytes], Any], text: str | bytes) -> Any:
    """What comes of a text: the message, or why there is none."""
    try:
        return plain(read(text))
    except wire.WireError as error:
        return str(error)


@given(reports)
def test_a_report_is_read_as_by_the_book(report: wire.Report) -> None:
    text = wire.encode(report)
    assert plain(reading.read(text)) == plain(report)
    assert plain(reading.read(text.encode())) == plain(report)


@given(reports, json_values | EDGES, st.data())
def test_a_report_with_something_strange_in_it_is_taken_or_refused_as_by_the_book(
    report: wire.Report, strange: object, data: st.DataObject
) -> None:
    told = {"type": "report", **json.loads(wire.encode(report))}
    place: Any = told
    while True:
        keys = [*place] if isinstance(place, dict) else [*range(len(place))]
        key = data.draw(st.sampled_from([*keys, "new"] if isinstance(place, dict) else keys))
        inner = place.get(key) if isinstance(place, dict) else place[key]
        if not (isinstance(inner, dict | list) and inner and data.draw(st.booleans())):
            break
        place = inner
    if key in keys and isinstance(place, dict) and data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = strange
    text = json.dumps(told)
    assert outcome(reading.read, text) == outcome(wire.decode_from_agent, text)


@pytest.mark.parametrize("message", [wire.Hello("i", "s", "h", 1, "l", 1.0, 1.0), wire.Goodbye()])
def test_what_is_no_report_is_read_by_the_book(message: wire.Hello | wire.Goodbye) -> None:
    assert reading.read(wire.encode(message)) == message


@pytest.mark.parametrize(
    "junk", ["", "{", "[" * 100_000, '{"type":"report","id":NaN}', b"\xff", '{"type":"shout"}', '{"type":""}']
)
def test_what_is_no_message_is_refused_in_the_words_of_the_protocol(junk: str | bytes) -> None:
    assert isinstance(outcome(reading.read, junk), str)
    assert outcome(reading.read, junk) == outcome(wire.decode_from_agent, junk)


def test_a_common_report_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "decode_from_agent", lambda text: pytest.fail("by the book"))
    breaker = '{"name":"a","state":"open","counts":{"failures":3}}'
    report: Any = reading.read(f'{{"type":"report","id":1,"now":1,"colour":"blue","breakers":[{breaker}]}}')
    assert report.breakers[0].counts.failures == 3
    assert report.transitions == ()
    with pytest.raises(AttributeError):
        report.id = 2  # what was said is not changed
