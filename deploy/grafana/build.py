"""Writes ``circuit-breakers.json``, the dashboard, beside this file: ``python deploy/grafana/build.py``.

Each panel is a line of the table below: what it is called, what it asks, how it looks. A test builds it again and
compares, and asks a real Prometheus every query.
"""

from __future__ import annotations

import json
import sys
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import GraphDrawStyle, LegendDisplayMode, StackingMode

FILE = Path(__file__).with_name("circuit-breakers.json")
sys.path.insert(0, str(FILE.parents[2]))

from breakers.core.latency import BOUNDS  # noqa: E402  # a script knows its repository by its own place only

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
SLOW = f"{BOUNDS[bisect_left(BOUNDS, 1.0)]:.6g}"
"""The bucket nearest above a second: what is called slow until the viewer chooses another."""
GREEN, YELLOW, RED = "green", "yellow", "red"
WIDTH, HEIGHT = 24, 8

REQUESTS = 'rate(circuit_breaker_requests_total{name=~"$name"}[$__rate_interval])'
FAILURES = 'rate(circuit_breaker_failures_total{name=~"$name"}[$__rate_interval])'
REJECTED = 'rate(circuit_breaker_rejected_total{name=~"$name"}[$__rate_interval])'
DURATIONS = 'circuit_breaker_call_duration_seconds_bucket{name=~"$name"}'
STATES = 'max by (name) (circuit_breaker_state{name=~"$name"})'
TRANSITIONS = 'sum by (name, from, to, reason) (circuit_breaker_transitions_total{name=~"$name"}%s)'
VERSIONS = 'max by (name) (circuit_breaker_config_version{name=~"$name"}%s)'
SERVERS = '{job="circuit-breaker-servers"}'
ANSWERS = f"django_http_requests_latency_including_middlewares_seconds_bucket{SERVERS}"
MADE = f"(sum by (name) ({REQUESTS}) - sum by (name) ({REJECTED}) > 0)"
SLOW_CALLS = 'rate(circuit_breaker_slow_calls_total{name=~"$name"}[$__rate_interval])'
LIMIT = 'max by (name) (circuit_breaker_%s_threshold{name=~"$name"})'


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str = "{{name}}"
    limit: bool = False
    """Drawn with dashes."""


@dataclass(frozen=True, slots=True)
class Graph:
    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    says: str = ""
    stacked: bool = False
    highest: float | None = None
    bars: bool = False
    width: int = 12


@dataclass(frozen=True, slots=True)
class Number:
    title: str
    expr: str
    unit: str = "short"
    steps: tuple[tuple[float, str], ...] = ()
    """From which value on it has another colour than green."""
    width: int = 3


@dataclass(frozen=True, slots=True)
class Timeline:
    title: str
    expr: str
    says: str
    width: int = WIDTH


def quantile(q: float, of: str = DURATIONS) -> Query:
    expr = f"histogram_quantile({q}, sum by (le) (rate({of}[$__rate_interval])))"
    return Query(expr, f"p{q * 100:g}")


ROWS: dict[str, tuple[Graph | Number | Timeline, ...]] = {
    "The fleet": (
        Number("Open", f"count({STATES} == 1) or vector(0)", steps=((1, RED),)),
        Number("Half-open", f"count({STATES} == 2) or vector(0)", steps=((1, YELLOW),)),
        Number("Closed", f"count({STATES} == 0) or vector(0)"),
        Number("Forced", 'count(circuit_breaker_override{name=~"$name"}) or vector(0)', steps=((1, YELLOW),)),
        Number(
            "Silent", 'max(circuit_breaker_instances{name=~"$name", state="silent"}) or vector(0)', steps=((1, YELLOW),)
        ),
        Number("Requests", f"sum({REQUESTS})", "reqps"),
        Number("Failed", f"sum({FAILURES}) / (sum({REQUESTS}) > 0)", "percentunit", ((0.05, YELLOW), (0.2, RED))),
        Number("Rejected", f"sum({REJECTED})", "reqps", ((0.1, YELLOW), (10, RED))),
        Timeline("States", STATES, "The worst state of each breaker's instances."),
    ),
    "Traffic": (
        Graph(
            "Failures of the calls made, against the limit",
            (
                Query(f"sum by (name) ({FAILURES}) / {MADE}"),
                Query(LIMIT % "failure_rate", "{{name}}: limit", limit=True),
            ),
            "percentunit",
            "Rejected requests are not calls. The limit is the config's; an instance judges by its own window, not by"
            " this average over all of them.",
            highest=1.0,
        ),
        Graph(
            "Failure rate of all requests",
            (Query(f"sum by (name) ({FAILURES}) / (sum by (name) ({REQUESTS}) > 0)"),),
            "percentunit",
            highest=1.0,
        ),
        Graph(
            "Requests by state", (Query(f"sum by (state) ({REQUESTS})", "{{state}}"),), "reqps", stacked=True
        ),
        Graph("Rejected requests", (Query(f"sum by (name) ({REJECTED})"),), "reqps", stacked=True),
    ),
    "Time": (
        Graph("How long calls take", (quantile(0.5), quantile(0.95), quantile(0.99)), "s", width=8),
        Graph(
            "Slow calls, against the limit",
            (
                Query(f"sum by (name) ({SLOW_CALLS}) / {MADE}"),
                Query(LIMIT % "slow_call_rate", "{{name}}: limit", limit=True),
            ),
            "percentunit",
            "The share of calls that took as long as the config of their breaker calls slow.",
            highest=1.0,
            width=8,
        ),
        Graph(
            "Calls longer than chosen",
            (
                Query(
                    f'1 - sum by (name) (rate({DURATIONS[:-1]}, le="$slow"}}[$__rate_interval]))'
                    f' / (sum by (name) (rate({DURATIONS[:-1]}, le="+Inf"}}[$__rate_interval])) > 0)'
                ),
            ),
            "percentunit",
            "The share of calls that took longer than chosen above.",
            highest=1.0,
            width=8,
        ),
    ),
    "Changes": (
        Graph(
            "State changes",
            (
                Query(
                    "sum by (name, to, reason) "
                    '(increase(circuit_breaker_transitions_total{name=~"$name"}[$__rate_interval]))',
                    "{{name}} to {{to}}: {{reason}}",
                ),
            ),
            says="Each instance's own.",
            bars=True,
            width=8,
        ),
        Graph("Version of the config", (Query(VERSIONS % ""),), width=8),
        Graph(
            "Alerts that fire",
            (
                Query(
                    'count by (alertname) (ALERTS{alertname=~"CircuitBreaker.*", alertstate="firing"})', "{{alertname}}"
                ),
            ),
            says="Those of deploy/prometheus/rules.yml, of all breakers.",
            stacked=True,
            width=8,
        ),
    ),
    "Instances": (
        Graph(
            "Instances by state",
            (Query('sum by (state) (circuit_breaker_instances{name=~"$name"})', "{{state}}"),),
            says="An instance counts once for each of its breakers.",
            stacked=True,
        ),
        Graph("Links", (Query("max(circuit_breaker_agents)", "links"),)),
    ),
    "Events and links": (
        Graph(
            "Events taken from the stream",
            (Query("sum by (outcome) (rate(control_plane_events_received_total[$__rate_interval]))", "{{outcome}}"),),
            "cps",
            stacked=True,
            width=6,
        ),
        Graph(
            "Events put into the stream",
            (Query("sum by (type) (rate(control_plane_events_sent_total[$__rate_interval]))", "{{type}}"),),
            "cps",
            stacked=True,
            width=6,
        ),
        Graph(
            "Events that wait",
            (
                Query("max(control_plane_events_waiting)", "for the stream"),
                Query("max(control_plane_events_lag)", "in the stream"),
                Query("sum(increase(control_plane_events_given_up_total[$__rate_interval]))", "given up"),
            ),
            says="In the stream they wait for a server that takes them.",
            width=6,
        ),
        Graph(
            "Links sent away",
            (
                Query(
                    "sum by (code) (increase(control_plane_agents_sent_away_total[$__rate_interval]))", "{{code}}"
                ),
            ),
            says="By close code: docs/protocol.md. 1012 is a restart.",
            bars=True,
            width=6,
        ),
    ),
    "Control plane": (
        Graph("Answers to Prometheus", (Query('up{job=~"circuit-breaker.*"}', "{{instance}}"),), highest=1.0, width=8),
        Graph(
            "CPU",
            (Query(f"rate(process_cpu_seconds_total{SERVERS}[$__rate_interval])", "{{instance}}"),),
            "percentunit",
            width=8,
        ),
        Graph(
            "Memory",
            (Query(f"process_resident_memory_bytes{SERVERS}", "{{instance}}"),),
            "bytes",
            width=8,
        ),
        Graph(
            "Answers by status",
            (
                Query(
                    f"sum by (status) (rate(django_http_responses_total_by_status_total{SERVERS}[$__rate_interval]))",
                    "{{status}}",
                ),
            ),
            "reqps",
            stacked=True,
        ),
        Graph(
            "How long answers take",
            (quantile(0.5, ANSWERS), quantile(0.95, ANSWERS)),
            "s",
        ),
    ),
}  # fmt: skip

# What was not there an interval ago counts from nought: a first transition begins its own series.
_RISEN = "({now} - ({then} or 0 * {now})) > 0"
ANNOTATIONS = {
    "State changes": (
        _RISEN.format(now=TRANSITIONS % "", then=TRANSITIONS % " offset $__interval"),
        RED,
        "{{name}}: {{from}} to {{to}} ({{reason}})",
    ),
    "Config edits": (
        _RISEN.format(now=VERSIONS % "", then=VERSIONS % " offset $__interval"),
        "blue",
        "{{name}} was edited",
    ),
}


def target(query: Query, letter: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(letter).expr(query.expr).legend_format(query.legend).range()


DASHED = [
    model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
    model.DynamicConfigValue("custom.lineWidth", 1),
]


def thresholds(steps: tuple[tuple[float, str], ...]) -> dashboard.ThresholdsConfig:
    found = [model.Threshold(None, GREEN), *(model.Threshold(value, colour) for value, colour in steps)]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def graph(of: Graph) -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(True)
    panel = timeseries.Panel().unit(of.unit).min(0).legend(legend).fill_opacity(20 if of.stacked else 0)
    if of.highest is not None:
        panel.max(of.highest)
    if of.stacked or of.bars:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if of.bars:
        panel.draw_style(GraphDrawStyle.BARS).fill_opacity(80)
    for letter, query in zip("ABC", of.queries, strict=False):
        panel.with_target(target(query, letter))
        if query.limit:
            panel.override_by_query(letter, DASHED)
    return panel.description(of.says)


def number(of: Number) -> stat.Panel:
    return stat.Panel().unit(of.unit).thresholds(thresholds(of.steps)).with_target(target(Query(of.expr, ""), "A"))


def timeline(of: Timeline) -> statetimeline.Panel:
    named = {"0": ("closed", GREEN), "1": ("open", RED), "2": ("half-open", YELLOW)}
    words = {value: model.ValueMappingResult(text=text, color=colour) for value, (text, colour) in named.items()}
    panel = statetimeline.Panel().mappings([model.ValueMap(words)]).with_target(target(Query(of.expr), "A"))
    return panel.description(of.says)


def placed(of: Graph | Number | Timeline) -> Any:
    match of:
        case Graph():
            panel, height = graph(of), HEIGHT
        case Number():
            panel, height = number(of), HEIGHT // 2
        case _:
            panel, height = timeline(of), HEIGHT + 2
    return panel.title(of.title).datasource(SOURCE).span(of.width).height(height)


def variables() -> tuple[Any, ...]:
    every = model.VariableOption(selected=True, text="All", value="$__all")
    slow = model.VariableOption(selected=True, text=SLOW, value=SLOW)

    def asked(name: str, label: str, query: str) -> Any:
        made = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(query)
        return made.refresh(model.VariableRefresh(2))  # when the time range changes

    groups = asked("group", "Group", "label_values(circuit_breaker_info, group)")
    # No value of its own for "All": Grafana then names those of the groups, so that every panel follows the group.
    names = asked("name", "Breaker", 'label_values(circuit_breaker_info{group=~"$group"}, name)')
    bounds = asked(
        "slow", "Longer than, s", 'label_values(circuit_breaker_call_duration_seconds_bucket{le!="+Inf"}, le)'
    )
    return (
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        groups.multi(True).include_all(True).all_value(".*").current(every),
        names.multi(True).include_all(True).current(every),
        bounds.sort(model.VariableSort(3)).current(slow),
    )


def build() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    made = dashboard.Dashboard("Circuit breakers").uid("circuit-breakers").tags(["circuit-breakers"]).readonly()
    made.time("now-1h", "now").refresh("10s").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    for variable in variables():
        made.with_variable(variable)
    for title, panels in ROWS.items():
        made.with_row(dashboard.Row(title))
        for panel in panels:
            made.with_panel(placed(panel))
    for name, (expr, colour, _) in ANNOTATIONS.items():
        made.annotation(
            dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(colour).expr(expr)
        )
    plain: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    for annotation in plain["annotations"]["list"]:  # Prometheus' own keys, which the model of annotations leaves out
        annotation |= {"step": "15s", "titleFormat": ANNOTATIONS[annotation["name"]][2]}
    return plain


def text() -> str:
    return json.dumps(build(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
