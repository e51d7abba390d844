"""Four threads write instances that come and go, and fold them, as several servers over one database do; prints whether
the totals of three breakers are what was told, whatever happened in between and also while it did."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from datetime import timedelta

import django

django.setup()

from django.core.management import call_command  # noqa: E402  # needs the app registry, as all below
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from breakers import selectors, services  # noqa: E402
from breakers.models import InstanceRecord  # noqa: E402

BREAKERS = ("a", "b", "c")
NOW = timezone.now()
LONG_AGO = NOW - timedelta(hours=2)
told = {uuid.UUID(int=number): 0 for number in range(1, 31)}
owned = {instance: threading.Lock() for instance in told}
torn: list[Counter[str]] = []
over = threading.Event()


def persist(chance: random.Random) -> None:
    """Four instances tell a little more; most of them are gone at once."""
    some = sorted(chance.sample(list(told), 4))
    for instance in some:
        owned[instance].acquire()
    try:
        new = {instance: told[instance] + chance.randint(0, 5) for instance in some}
        services.instances_persist(rows=[row(each, new[each], gone=chance.random() < 0.6) for each in some])
        told.update(new)
    finally:
        for instance in some:
            owned[instance].release()


def row(instance: uuid.UUID, count: int, *, gone: bool) -> InstanceRecord:
    observed = {name: {"state": "closed", "counts": {"successes": count}, "latency": {"4": count}} for name in BREAKERS}
    return InstanceRecord(instance, "s", "h", 1, "l", NOW, NOW, NOW, LONG_AGO if gone else None, observed)


def totals() -> Counter[str]:
    instances, sums = selectors.everybody()
    found: Counter[str] = Counter()
    for name, observed in [
        *((n, o) for i in instances for n, o in i.observed.items()),
        *((d.breaker, d.observed) for d in sums),
    ]:
        found[name] += observed.get("counts", {}).get("successes", 0)
        found[f"{name} latency"] += observed.get("latency", {}).get("4", 0)
    return found


def work(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        if chance.random() < 0.3:
            services.instances_fold(before=NOW - timedelta(hours=1))
        else:
            persist(chance)
    connection.close()


def watch() -> None:
    while not over.is_set():
        found = totals()
        if len(set(found.values())) > 1:  # every breaker of an instance has the same counts
            torn.append(found)
    connection.close()


def main() -> None:
    call_command("migrate", verbosity=0)
    watching = threading.Thread(target=watch)
    working = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in (watching, *working):
        thread.start()
    for thread in working:
        thread.join()
    over.set()
    watching.join()
    print(set(totals().values()) == {sum(told.values())} and not torn)


if __name__ == "__main__":
    main()
