"""What reading and pruning history costs at a million transitions, beside a hundred thousand, as ratios.

The database is a SQLite file that is thrown away, or the empty one that ``DATABASE_URL`` names. ``--rows`` chooses
another size, ``--plans`` shows how the database goes about each question.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

SMALL = 100_000
SERVICES, INSTANCES, PER_SERVICE = 20, 400, 20
BREAKERS = SERVICES * PER_SERVICE
DAYS = 30
REPEATS = 5


def fill(rows: int, first: int) -> None:
    """Transitions number ``first`` to ``rows``, spread evenly over 30 days, breakers and instances."""
    from django.utils import timezone

    from breakers.models import StateChange
    from breakers.services import transitions

    draw, now = random.Random(7), timezone.now()
    ways = [("closed", "open", "failure_rate"), ("open", "half_open", "recovery_timeout")]
    ways += [("half_open", "closed", "probes_succeeded"), ("half_open", "open", "probe_failed")]
    for start in range(first, rows, 5000):
        batch = []
        for number in range(start, min(start + 5000, rows)):
            instance, (before, after, reason) = draw.randrange(INSTANCES), draw.choice(ways)
            service = instance % SERVICES
            breaker = service * PER_SERVICE + draw.randrange(PER_SERVICE)
            at = now - timedelta(seconds=draw.random() * DAYS * 86400)
            batch.append(
                StateChange(
                    breaker=f"breaker-{breaker:03}", service=f"service-{service:02}",
                    instance=uuid.UUID(int=instance), sequence=number + 1, from_state=before, to_state=after,
                    reason=reason, cause="5 consecutive failures, last: ConnectionRefusedError: [Errno 111]",
                    epoch=number, failures=5, calls=9, failure_rate=0.55, at=at, received_at=at,
                )
            )  # fmt: skip
        StateChange.objects.bulk_create(batch)
        transitions._count(batch)


def people() -> None:
    """The breakers and the instances of the history."""
    from django.utils import timezone

    from breakers.models import BreakerConfig, Instance

    now = timezone.now()
    names = [f"breaker-{number:03}" for number in range(BREAKERS)]
    BreakerConfig.objects.bulk_create([BreakerConfig(name=name, revision=0) for name in names])
    Instance.objects.bulk_create(
        Instance(
            id=uuid.UUID(int=number), service=f"service-{number % SERVICES:02}", host="host", pid=1,
            started_at=now, first_seen_at=now, last_seen_at=now,
        )
        for number in range(INSTANCES)
    )  # fmt: skip


def questions() -> dict[str, Callable[[], object]]:
    """What pages, exports and a starting server ask; a query set is read whole."""
    from django.utils import timezone

    from breakers import exports, selectors

    name, instance, now = "breaker-007", uuid.UUID(int=7), timezone.now()
    day, hour = now - timedelta(days=1), now - timedelta(hours=1)
    middle = (
        selectors.history()
        .filter(at__lte=now - timedelta(days=DAYS / 2))
        .values_list(*exports.TRANSITIONS.columns.values())[0]
    )
    return {
        "a breaker's newest page": lambda: selectors.history(name)[:100],
        "its page 20": lambda: selectors.history(name)[1900:2000],
        "its opened ones of a day": lambda: selectors.history(name, since=day, to_state="open")[:100],
        "its probes that failed": lambda: selectors.history(name, reason="probe_failed")[:100],
        "an instance's newest page": lambda: selectors.history(instance=instance)[:100],
        "the fleet's newest page": lambda: selectors.history()[:100],
        "a service's newest page": lambda: selectors.history(service="service-07")[:100],
        "a service's of a reason that it never had": lambda: selectors.history(service="service-07", reason="reset")[
            :100
        ],
        "the fleet's of a reason that nobody had": lambda: selectors.history(reason="slow_call_rate")[:100],
        "the fleet's of an hour, one reason": lambda: selectors.history(since=hour, reason="failure_rate")[:100],
        "a piece in the middle of an export": lambda: exports._piece(selectors.history(), exports.TRANSITIONS, middle),
        "since when, of one breaker": lambda: selectors.fleet_since(name),
        "the highest sequence of an instance": lambda: selectors.recorded_sequence(instance),
        "a starting server: latest states": selectors.latest_states,
        "a starting server: last causes": selectors.last_causes,
        "a starting server: totals": selectors.transition_totals,
    }


def timed(ask: Callable[[], object]) -> float:
    """Milliseconds, the best of a few: others use this machine too."""
    from django.db.models import QuerySet

    taken = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        answer = ask()
        if isinstance(answer, QuerySet):
            list(answer)
        taken.append(1000 * (time.perf_counter() - begun))
    return min(taken)


def plans() -> None:
    """The database's own words for each question that is one query."""
    from django.db.models import QuerySet

    for name, ask in questions().items():
        answer = ask()
        if isinstance(answer, QuerySet):
            print(f"\n{name}:\n{answer.explain()}")


def prune() -> None:
    """A day of thirty goes, in batches; the longest batch is what a writer may have to wait for."""
    from django.utils import timezone

    from breakers import services

    begun = time.perf_counter()
    deleted = services.history_prune(before=timezone.now() - timedelta(days=DAYS - 1))
    print(f"\npruning a day: {deleted} deleted in {time.perf_counter() - begun:.2f} s")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=1_000_000)
    asked.add_argument("--plans", action="store_true")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("DATABASE_URL", f"sqlite:///{Path(folder, 'history.sqlite3')}")
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradpal_cb.settings")
        os.environ.setdefault("DJANGO_SECRET_KEY", "only-for-a-benchmark")
        import django

        django.setup()
        measure(given.rows, given.plans)


def measure(rows: int, show_plans: bool) -> None:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    people()
    fill(SMALL, 0)
    small = {name: timed(ask) for name, ask in questions().items()}
    begun = time.perf_counter()
    fill(rows, SMALL)
    print(f"{connection.vendor}: {(rows - SMALL) / (time.perf_counter() - begun):,.0f} rows a second written")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    print(f"\n{'milliseconds':40}{SMALL:>12,}{rows:>12,}{'ratio':>8}")
    for name, ask in questions().items():
        large = timed(ask)
        print(f"{name:40}{small[name]:12.2f}{large:12.2f}{large / small[name]:8.1f}")
    if show_plans:
        plans()
    prune()


if __name__ == "__main__":
    main()
