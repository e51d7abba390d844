"""The pages. Each is complete as served; ``static/js`` only keeps it current."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe
from django.views.decorators.vary import vary_on_headers

from breakers import alerts as firing
from breakers import services
from breakers.api import hot
from breakers.api.permissions import actor_of, may_operate
from breakers.fleet import fleet
from breakers.problems import AlreadyExists

from . import changes, detail, forcing, shapes
from .alarms import folded
from .away import is_away, told
from .cells import BLANK, CHUNK, cells, chunks
from .filters import Filter
from .lanes import swimlane
from .page import readable, show
from .recent import context, recent
from .verdict import needs_attention, verdict, worst_first
from .words import ago, ahead, duration, elapsed, limit, moment, plural

HISTORY = 20
EVENTS = 100
SPANS = {"30m": timedelta(minutes=30), "6h": timedelta(hours=6), "24h": timedelta(hours=24)}


@require_safe
def root(request: HttpRequest) -> HttpResponse:
    return redirect("dashboard:overview")


@csrf_exempt  # nothing is changed here: another method is a 405, whatever it comes with
@vary_on_headers("Accept", "Cookie")
@never_cache
def dashboard(request: HttpRequest) -> HttpResponse:
    """One URL, two readers: a page for whoever prefers HTML, the API's JSON for everybody else."""
    if request.get_preferred_type(["application/json", "text/html"]) == "text/html":
        return overview(request)
    return hot.dashboard(request)


@require_safe
@readable
def overview(request: HttpRequest) -> HttpResponse:
    now, every, wanted = timezone.now(), fleet.rows(), Filter.of(request.GET)
    rows = [row for row in worst_first(every) if wanted.matches(row)]
    trouble = [cells(row, now) for row in rows if needs_attention(row)]
    rest = [cells(row, now) for row in rows if not needs_attention(row)]
    return show(
        request,
        "dashboard/overview.html",
        "overview",
        "Overview",
        **context(partial(told, request)),
        verdict=verdict(every, fleet.summary()["silent"], now),
        chips=wanted.chips(every),
        filter=wanted,
        total=f"{len(every):,}",
        attention=chunks(trouble),
        more=f"and {len(trouble) - CHUNK:,} more" if len(trouble) > CHUNK else "",
        attention_note=f"{plural(len(trouble), 'breaker')}, worst first",
        rest=chunks(rest),
        rest_note=plural(len(rest), "breaker"),
        onboarding=not every,
        origin=request.build_absolute_uri("/").rstrip("/"),
        blank=BLANK,
    )


@require_safe
@never_cache
@readable
def latest(request: HttpRequest) -> HttpResponse:
    """What the overview asks for again as things happen; the rows come by the feed."""
    return HttpResponse(recent.text())


@require_safe
@readable
def breaker(request: HttpRequest, name: str) -> HttpResponse:
    """Everything about one. A name that has no config any more is not found; its history is in the events."""
    now, row, record = timezone.now(), fleet.row(name), fleet.record(name)
    if row is None or record is None:
        raise Http404(name)
    instances, span = fleet.instance_rows(name), request.GET.get("span", "30m")
    own, http = detail.settings_of(record)
    on, others = detail.versions(instances, record.version)
    return show(
        request,
        "dashboard/breaker.html",
        "overview",
        name,
        row=cells(row, now),
        facts=row,
        record=record,
        limit="" if row["limit"] is None else f"limit {limit(row['limit'])}",
        next_probe=detail.next_probe(row, now),
        slow=detail.slow_calls(fleet.metrics(name)["window"], record.config),
        p50=detail.latency(row["p50"]),
        p95=detail.latency(row["p95"]),
        p99=detail.latency(row["p99"]),
        swimlane=told(request, lambda: swimlane(name, instances, now, SPANS.get(span, SPANS["30m"]))),
        span=span if span in SPANS else "30m",
        spans=list(SPANS),
        instances=[detail.instance_cells(instance, now) for instance in instances],
        settings=own,
        http_settings=http,
        on=on,
        others=others,
        audit=told(request, lambda: changes.newest(HISTORY, name=name, what="actions")),
        history=told(request, lambda: changes.placed(changes.newest(HISTORY, name=name, what="transitions"))),
        calls=shapes.columns(fleet.volumes(name)),
        bound="" if row["limit"] is None else shapes.bound(row["limit"]),
        questions=forcing.questions(row),
        may_edit=_may_edit(request),
    )


def _may_edit(request: HttpRequest) -> bool:
    """In the admin, which needs the database and a member of the staff."""
    staff = not is_away(request) and getattr(request.user, "is_staff", False)
    return staff and may_operate(request.user, "change_breakerconfig")


@require_safe
@readable
def alerts(request: HttpRequest) -> HttpResponse:
    """What is firing now, errors first; what one lost instance does to all its breakers is one line."""
    now, found = timezone.now(), firing.alerts()
    lines = [
        {**alert, "age": duration(elapsed(alert["since"], now)), "others": others} for alert, others in folded(found)
    ]
    return show(request, "dashboard/alerts.html", "alerts", "Alerts", alerts=lines, firing=len(found))


@require_safe
@readable
def events(request: HttpRequest) -> HttpResponse:
    """Transitions, operator actions and config changes in one list; ``before`` turns the page, ``event`` begins it."""
    name, what, key = request.GET.get("breaker", "").strip(), request.GET.get("what", ""), request.GET.get("event", "")
    first = told(request, lambda: changes.named(key)) if key else None
    after = changes.Cursor.parse(first.cursor if first else request.GET.get("before", ""))
    found = told(request, lambda: changes.newest(EVENTS, name=name or None, what=what, after=after))
    older = found[-1].cursor if found and len(found) == EVENTS else ""
    entries = None if found is None else told(request, lambda: changes.placed([first, *found] if first else found))
    context = {"entries": entries, "name": name, "what": what, "older": older, "paged": bool(key or after)}
    context["lost"] = key and not first and found is not None
    return show(request, "dashboard/events.html", "events", "Events", **context)


@require_safe
@readable
def instances(request: HttpRequest) -> HttpResponse:
    """Who is linked, or was until 5 minutes ago, and the services whose history has gaps, also of who has left."""
    now = timezone.now()
    found = [
        {
            **row,
            "ahead": ahead(row["skew"]),
            "heard": ago(elapsed(row["last_seen"], now)),
            "up": duration(elapsed(row["started_at"], now)),
        }
        for row in fleet.instances()
    ]
    context = {"instances": found, "revision": fleet.revision, "gaps": firing.gaps()}
    return show(request, "dashboard/instances.html", "instances", "Instances", **context)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache  # its answer may hold a key, shown once
@readable
def connect(request: HttpRequest) -> HttpResponse:
    """How to link a service; who may, makes its key here and sees it once."""
    asks = request.method == "POST"
    may_make, secret, problem = (asks or not is_away(request)) and may_operate(request.user, "add_apikey"), "", ""
    name = request.POST.get("name", "").strip()
    if asks and may_make:
        try:
            _, secret = services.api_key_create(name=name, scopes=["agent"], by=actor_of(request))
        except (AlreadyExists, ValueError) as error:
            problem = str(error)
    origin = request.build_absolute_uri("/").rstrip("/")
    context = {"may_make": may_make, "secret": secret, "problem": problem, "origin": origin, "name": name}
    answer = show(request, "dashboard/connect.html", "connect", "Connect", **context, **_arrival(request, name))
    answer.status_code = 403 if asks and not may_make else 200
    return answer


def _arrival(request: HttpRequest, made: str) -> dict[str, Any]:
    """Whom the page waits for: a service by name, or whoever links first after the page was opened."""
    service = request.GET.get("service", made)[:100]
    try:
        since = moment(request.GET.get("since")) or timezone.now()
    except ValueError:  # a bookmark never fails
        since = timezone.now()
    linked = fleet.instances()
    mine = [one for one in linked if one["service"] == service or (not service and _began(one) >= since)]
    wait_at = f"{request.path}?{urlencode({'service': service} if service else {'since': since.isoformat()})}"
    return {"linked": len(linked), "service": service, "arrived": mine[0] if mine else None, "wait_at": wait_at}


def _began(instance: Mapping[str, Any]) -> datetime:
    return moment(instance["first_seen"]) or timezone.now()
