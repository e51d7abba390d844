"""The Prometheus text: names and labels of the contract, as Prometheus' own parser reads them."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from breakers.core.latency import LatencyHistogram
from breakers.core.states import Override
from breakers.metrics import Exposition


@pytest.fixture
def scrape(scene):
    exposition = Exposition(scene.fleet)

    def samples():
        families = text_string_to_metric_families(exposition.text().decode())
        return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}

    return samples


def test_the_state_is_present_before_any_traffic(scrape):
    found = scrape()
    assert found["circuit_breaker_state", ("name", "bank-api"), ("state", "closed")] == 0
    for outcome in ("failures", "successes", "rejected"):
        assert found[f"circuit_breaker_{outcome}_total", ("name", "bank-api")] == 0
    for state in ("closed", "half_open", "open"):
        assert found["circuit_breaker_requests_total", ("name", "bank-api"), ("state", state)] == 0


def test_names_and_labels_are_the_contracts_and_a_few_more_names(scene, scrape):
    scene.want("bank-api", failure_rate_threshold=0.5, slow_call_duration=1.0, slow_call_rate_threshold=0.5)
    scene.force(Override.FORCED_OPEN)
    scene.link().tell(add={"successes": 1})
    event = {"kind": "transition", "name": "bank-api", "from_state": "closed", "to_state": "open"}
    scene.fleet.record_event({**event, "reason": "failure_rate"})
    labels = {}
    for name, *pairs in scrape():
        if name.startswith("circuit_breaker_"):
            labels.setdefault(name, set()).add(tuple(label for label, _ in pairs))
    assert labels == {
        "circuit_breaker_requests_total": {("name", "state")},
        "circuit_breaker_failures_total": {("name",)},
        "circuit_breaker_successes_total": {("name",)},
        "circuit_breaker_rejected_total": {("name",)},
        "circuit_breaker_state": {("name", "state")},
        "circuit_breaker_instances": {("name", "state")},
        "circuit_breaker_transitions_total": {("from", "name", "reason", "to")},
        "circuit_breaker_call_duration_seconds_bucket": {("le", "name")},
        "circuit_breaker_call_duration_seconds_count": {("name",)},
        "circuit_breaker_call_duration_seconds_sum": {("name",)},
        "circuit_breaker_config_version": {("name",)},
        "circuit_breaker_agents": {()},
        # not the contract's: what dashboards draw limits and choose groups by
        "circuit_breaker_slow_calls_total": {("name",)},
        "circuit_breaker_failure_rate_threshold": {("name",)},
        "circuit_breaker_slow_call_rate_threshold": {("name",)},
        "circuit_breaker_override": {("name", "override")},
        "circuit_breaker_info": {("group", "name")},
    }


def test_requests_are_told_by_the_state_of_their_time(scene, scrape):
    scene.link().tell(add={"successes": 10, "failures": 3, "ignored": 1, "late": 1, "rejected": 7, "probes": 2})
    found = scrape()
    by_state = {s: found["circuit_breaker_requests_total", ("name", "bank-api"), ("state", s)] for s in
                ("closed", "open", "half_open")}  # fmt: skip
    assert by_state == {"closed": 13, "open": 7, "half_open": 2}
    assert found["circuit_breaker_failures_total", ("name", "bank-api")] == 3


def test_a_counter_never_goes_down(scene, scrape):
    one = scene.link().tell(add={"successes": 5})
    key = ("circuit_breaker_requests_total", ("name", "bank-api"), ("state", "closed"))
    assert scrape()[key] == 5
    one.tell(add={"probes": 2})
    assert scrape()[key] == 5


def test_one_sample_says_the_state_also_after_the_last_instance_left(scene, scrape):
    scene.link().tell(state="open").goodbye()
    states = {key: value for key, value in scrape().items() if key[0] == "circuit_breaker_state"}
    assert states == {("circuit_breaker_state", ("name", "bank-api"), ("state", "open")): 1}


def test_instances_are_counted_by_state_and_agents_by_link(scene, scrape):
    one = scene.link().tell(state="half_open")
    scene.link().tell()
    scene.link().tell().disconnect()
    found = scrape()
    counted = {s: found["circuit_breaker_instances", ("name", "bank-api"), ("state", s)] for s in
               ("closed", "half_open", "open", "silent")}  # fmt: skip
    assert counted == {"closed": 2, "half_open": 1, "open": 0, "silent": 0}
    assert found["circuit_breaker_agents",] == 2
    one.goodbye()
    assert scrape()["circuit_breaker_agents",] == 1


def test_the_histogram_counts_every_call_once_and_in_the_right_bucket(scene, scrape):
    histogram = LatencyHistogram()
    for seconds in (0.0005, 0.02, 0.02, 3.0, 500.0):
        histogram.record(seconds)
    one = scene.link()
    one.latency["bank-api"] = {str(index): count for index, count in histogram.to_counts().items()}
    one.tell(add={"successes": 5})
    buckets = {
        float(dict(labels)["le"]): value
        for (name, *labels), value in scrape().items()
        if name == "circuit_breaker_call_duration_seconds_bucket"
    }
    bounds = sorted(buckets)
    assert [buckets[bound] for bound in bounds] == sorted(buckets.values())
    assert (buckets[bounds[0]], buckets[float("inf")]) == (1, 5)
    assert next(buckets[bound] for bound in bounds if bound >= 0.02) == 3
    assert next(buckets[bound] for bound in bounds if bound >= 3.0) == 4


def test_no_instance_is_a_label(scene, scrape):
    one = scene.link().tell(add={"successes": 1})
    assert not any(str(one.id) in str(key) for key in scrape())


def test_the_version_of_the_config_is_told(scene, scrape):
    scene.want("bank-api", version=17)
    assert scrape()["circuit_breaker_config_version", ("name", "bank-api")] == 17


def test_limits_are_told_where_their_rule_is_on(scene, scrape):
    names = ("circuit_breaker_failure_rate_threshold", "circuit_breaker_slow_call_rate_threshold")
    scene.want("bank-api", "other")
    assert not {key[0] for key in scrape()} & set(names)
    scene.want("bank-api", failure_rate_threshold=0.25, slow_call_duration=1.0, slow_call_rate_threshold=1)
    limits = {key: value for key, value in scrape().items() if key[0] in names}
    assert limits == {(names[0], ("name", "bank-api")): 0.25, (names[1], ("name", "bank-api")): 1.0}


def test_slow_calls_are_counted_by_what_the_config_calls_slow(scene, scrape):
    scene.link().tell(add={"successes": 5, "slow": 2})
    assert scrape()["circuit_breaker_slow_calls_total", ("name", "bank-api")] == 2


def test_an_override_is_told_while_it_stands(scene, scrape):
    def overrides():
        return {key[1:]: value for key, value in scrape().items() if key[0] == "circuit_breaker_override"}

    assert overrides() == {}
    scene.force(Override.FORCED_OPEN)
    assert overrides() == {(("name", "bank-api"), ("override", "forced_open")): 1}
    scene.want("bank-api", override=None)
    assert overrides() == {}


def test_the_group_is_told_once_whatever_it_is_called(scene, scrape):
    scene.want("bank-api", group='the "core"\\\n')
    groups = [key for key in scrape() if key[0] == "circuit_breaker_info"]
    assert groups == [("circuit_breaker_info", ("group", 'the "core"\\\n'), ("name", "bank-api"))]


def test_the_text_is_as_prometheus_own_writer_would_have_it(scene):
    """Each family once, with help, type and every sample of its own; reasons stay inside their label."""
    scene.want("other")
    scene.link().tell(add={"successes": 4, "rejected": 2})
    event = {"kind": "transition", "name": "bank-api", "from_state": "closed", "to_state": "open"}
    scene.fleet.record_event({**event, "reason": 'a "quoted"\\ one\n# TYPE x gauge'})
    text = Exposition(scene.fleet).text().decode()
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families) == text.count("\n# TYPE ") == 15
    assert all(family.documentation and family.type in ("counter", "gauge", "histogram") for family in families)
    registry = CollectorRegistry()
    registry.register(type("Families", (Collector,), {"collect": lambda self: families})())
    again = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert [(f.name, f.type, f.documentation, f.samples) for f in again] == [
        (f.name, f.type, f.documentation, f.samples) for f in families
    ]
    reasons = [s.labels["reason"] for f in families for s in f.samples if "reason" in s.labels]
    assert reasons == ['a "quoted"\\ one\n# TYPE x gauge']
