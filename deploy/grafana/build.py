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
PER_CALL = f"sum by (name) ({FAILURES}) / (sum by (name) ({REQUESTS}) - sum by (name) ({REJECTED}) > 0)"


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str = "{{name}}"


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
    width: int = 4


@dataclass(frozen=True, slots=True)
class Timeline:
    title: str
    expr: str
    says: str
    width: int = WIDTH


def quantile(q: float) -> Query:
    expr = f"histogram_quantile({q}, sum by (le) (rate({DURATIONS}[$__rate_interval])))"
    return Query(expr, f"p{q * 100:g}")


ROWS: dict[str, tuple[Graph | Number | Timeline, ...]] = {
    "The fleet": (
        Number("Open", f"count({STATES} == 1) or vector(0)", steps=((1, RED),)),
        Number("Half-open", f"count({STATES} == 2) or vector(0)", steps=((1, YELLOW),)),
        Number("Closed", f"count({STATES} == 0) or vector(0)"),
        Number("Requests", f"sum({REQUESTS})", "reqps"),
        Number("Failed", f"sum({FAILURES}) / (sum({REQUESTS}) > 0)", "percentunit", ((0.05, YELLOW), (0.2, RED))),
        Number("Rejected", f"sum({REJECTED})", "reqps", ((0.1, YELLOW), (10, RED))),
        Timeline("States", STATES, "The worst state of each breaker's instances."),
    ),
    "Traffic": (
        Graph(
            "Failures of the calls made, against the limit",
            (Query(PER_CALL), Query("vector($limit)", "limit")),
            "percentunit",
            "Rejected requests are not calls. The limit is the one chosen above: configs keep theirs.",
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
        Graph("How long calls take", (quantile(0.5), quantile(0.95), quantile(0.99)), "s"),
        Graph(
            "Slow calls",
            (
                Query(
                    f'1 - sum by (name) (rate({DURATIONS[:-1]}, le="$slow"}}[$__rate_interval]))'
                    f' / (sum by (name) (rate({DURATIONS[:-1]}, le="+Inf"}}[$__rate_interval])) > 0)'
                ),
            ),
            "percentunit",
            "The share of calls that took longer than chosen above.",
            highest=1.0,
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
        ),
        Graph("Version of the config", (Query(VERSIONS % ""),)),
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
    "Control plane": (
        Graph("Answers to Prometheus", (Query('up{job=~"circuit-breaker.*"}', "{{instance}}"),), highest=1.0, width=6),
        Graph(
            "CPU",
            (Query(f"rate(process_cpu_seconds_total{SERVERS}[$__rate_interval])", "{{instance}}"),),
            "percentunit",
            width=6,
        ),
        Graph(
            "Memory",
            (Query(f"process_resident_memory_bytes{SERVERS}", "{{instance}}"),),
            "bytes",
            width=6,
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
            width=6,
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
    bounds = 'label_values(circuit_breaker_call_duration_seconds_bucket{le!="+Inf"}, le)'
    names, every_name = "label_values(circuit_breaker_state, name)", ".*"
    asked = dashboard.QueryVariable("name").label("Breaker").datasource(SOURCE).refresh(model.VariableRefresh(2))
    chosen = dashboard.QueryVariable("slow").label("Slow from, s").datasource(SOURCE).refresh(model.VariableRefresh(1))
    return (
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        asked.query(names).multi(True).include_all(True).all_value(every_name).current(every),
        chosen.query(bounds).sort(model.VariableSort(3)).current(slow),
        dashboard.TextBoxVariable("limit").label("Limit, 0 to 1").default_value("0.5"),
    )  # fmt: skip


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
