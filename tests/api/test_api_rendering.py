"""What the API answers with is what REST framework would write, whatever stands in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from rest_framework.renderers import JSONRenderer

from breakers.api.rendering import FEW, MemberByMember, text
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import BreakerStatus, TransitionReport
from dashboard.hub import Hub

MANY = [{"at": datetime(2026, 3, 1, tzinfo=UTC), "id": UUID(int=number), "n": number} for number in range(3 * FEW)]
SAMPLES = {
    "nothing": None,
    "an empty object": {},
    "a text": '\u00e4\u2028\u2029\x00"\\',
    "a list": [1, 2.5, True, None],
    "a page": {"count": 3, "next": None, "results": MANY},
    "a page without members": {"count": 0, "results": []},
    "two long lists": {"a": MANY, "b": list(range(100))},
    "a long list further inside": {"a": {"b": MANY}, "\u00fc": [MANY, {}]},
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_it_is_what_rest_framework_writes(sample):
    assert MemberByMember().render(sample) == JSONRenderer().render(sample)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_json_is_refused(value):
    for sample in ({"a": value}, {"a": [value] * 100}):
        with pytest.raises(ValueError, match="Out of range"):
            MemberByMember().render(sample)


def test_half_a_surrogate_pair_is_a_question_mark():
    assert text({"a": "x\udcffy\u00e4"}) == '{"a":"x?y\u00e4"}'
    assert json.loads(MemberByMember().render({"a": ["\ud800"] * 100})) == {"a": ["?"] * 100}


@pytest.mark.django_db
def test_what_a_service_says_and_utf_8_cannot_keeps_nobody_from_the_others(bank_api, running, api):
    """As the message of an exception about a file whose name is none."""
    identity = running(bank_api="closed")
    from breakers.core.wire import Report
    from breakers.fleet import fleet

    now = datetime.now(UTC)
    closed, opened = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN
    step = TransitionReport(1, "bank-api", closed, opened, "failure_rate", "x\udcff", now.timestamp(), 1, 5, 9, 0.55)
    status = BreakerStatus("bank-api", opened, epoch=1)
    fleet.report(identity.id, Report(2, now.timestamp(), fleet.revision, (status,), (step,)), now)
    assert fleet.row("bank-api")["cause"] == "x\udcff"
    assert api.get("/circuit-breakers").json()["results"][0]["cause"] == "x?"
    assert api.get("/dashboard").json()["breakers"][0]["cause"] == "x?"
    assert api.get("/circuit-breakers/bank-api").json()["cause"] == "x?"
    for path in ("/circuit-breakers/bank-api/state", "/alerts"):
        assert api.get(path).status_code == 200
    batch = Hub()._collect(with_snapshot=True)
    for frame in (batch.update, batch.snapshot):
        assert json.loads(frame.encode())["rows"][0]["cause"] == "x?"
