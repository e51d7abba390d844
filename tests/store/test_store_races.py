"""Two at once: threads with connections of their own, on a real SQLite file."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Barrier, Event

import pytest
from django.db import connections, transaction
from django.utils import timezone

from breakers import publish, selectors, services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.wire import Registration
from breakers.models import BreakerConfig, ConfigChange, Instance, StateChange
from breakers.problems import AlreadyExists, Problem, VersionConflict
from breakers.services import Actor

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*actions: Callable[[], object]) -> list[object]:
    """What each returned, or the problem that it met; all begin together."""
    barrier = Barrier(len(actions))

    def run(action: Callable[[], object]) -> object:
        try:
            barrier.wait(timeout=30)
            return action()
        except Problem as problem:
            return problem
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def test_of_two_editors_of_one_version_one_wins_and_the_other_is_told(create, alice: Actor):
    row = create()

    def edit(threshold: int) -> BreakerConfig:
        config = replace(row.config(), failure_threshold=threshold)
        return services.breaker_edit(
            name="data_service", config=config, http=HttpConfig(), reason="", by=alice, expected_version=1
        )

    answers = at_once(*[lambda n=n: edit(n) for n in range(10, 18)])
    (won,) = [answer for answer in answers if isinstance(answer, BreakerConfig)]
    lost = [answer for answer in answers if isinstance(answer, VersionConflict)]
    assert [conflict.current_version for conflict in lost] == [2] * 7
    stands = selectors.breaker("data_service")
    assert (stands.version, stands.failure_threshold) == (2, won.failure_threshold)
    assert ConfigChange.objects.filter(kind="edited").count() == 1


def test_twenty_services_register_one_name_and_it_is_recorded_once():
    answers = at_once(
        *[
            lambda n=n: services.breakers_register(
                registrations=[Registration("shared", {"failure_threshold": n + 1}), Registration(f"own-{n}", {})],
                service=f"service-{n}",
            )
            for n in range(20)
        ]
    )
    assert answers == [[]] * 20
    assert BreakerConfig.objects.count() == 21
    change = ConfigChange.objects.get(breaker="shared")
    assert change.actor == f"service:service-{change.after['failure_threshold'] - 1}"
    assert list(ConfigChange.objects.order_by("revision").values_list("revision", flat=True)) == list(range(1, 22))


def test_of_two_who_create_one_name_one_is_told(alice: Actor):
    def create() -> object:
        return services.breaker_create(name="a", config=CircuitBreakerConfig(), http=HttpConfig(), by=alice)

    answers = at_once(create, create, create, create)
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 3
    assert ConfigChange.objects.count() == 1


def test_of_two_who_make_a_key_of_one_name_one_is_told(alice: Actor):
    def make() -> object:
        return services.api_key_create(name="deploy", scopes=["read"], by=alice)

    answers = at_once(make, make, make)
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 2


def test_a_transition_reported_twice_at_once_is_new_once(identity, transition):
    one = identity()
    services.instance_seen(identity=one)
    batch = [(one, transition(number)) for number in range(1, 21)]
    answers = at_once(*[lambda: services.transitions_record(batch=batch)] * 6)
    assert sorted(change.sequence for new in answers for change in new) == list(range(1, 21))
    assert StateChange.objects.count() == 20


def test_who_prunes_while_others_write_leaves_the_last_of_every_breaker_and_of_each_instance(identity, transition):
    """Two who prune, as a command beside a server's chore, and three who write, of gone instances and of live ones."""
    names, rounds = [f"breaker-{number}" for number in range(4)], range(1, 16)
    writers = [identity() for _ in range(3)]
    written = Event()

    def write(place: int) -> None:
        one = writers[place]
        for number in rounds:
            told = [
                transition(number * len(names) + index, name=name, at=number * 10 + place)
                for index, name in enumerate(names)
            ]
            services.transitions_record(batch=[(one, each) for each in told])
            if place == 0:
                Instance.objects.filter(pk=one.id).update(gone_at=timezone.now())

    def prune() -> None:
        while not written.is_set():
            services.history_prune(before=timezone.now() + timedelta(days=1))

    def write_all() -> None:
        try:
            at_once(*[partial(write, place) for place in range(3)])
        finally:
            written.set()

    at_once(write_all, prune, prune)
    services.history_prune(before=timezone.now() + timedelta(days=1))
    kept = StateChange.objects.values_list("breaker", "instance", "sequence")
    last = {(name, one.id, rounds[-1] * len(names) + names.index(name)) for name in names for one in writers[1:]}
    assert set(kept) == last, "the newest of all is the last writer's; the first one is gone"


def test_commit_order_is_revision_order(create, alice: Actor):
    """Whoever reads a revision finds every lower one: none is taken before and committed after."""
    create()
    gaps: list[str] = []

    def act() -> None:
        for _ in range(10):
            command = services.breaker_reset(name="data_service", reason="", by=alice)
            below = ConfigChange.objects.filter(revision__lte=command.revision).count()
            if below != command.revision:
                gaps.append(f"{below} of {command.revision}")

    at_once(act, act, act, act)
    assert gaps == []
    assert selectors.current_revision() == ConfigChange.objects.count() == 41


def test_a_snapshot_holds_every_write_up_to_its_revision_and_none_above(create, alice: Actor):
    row = create(failure_threshold=1)
    wrong: list[object] = []

    def write() -> None:
        for n in range(2, 32):
            config = replace(row.config(), failure_threshold=n)
            services.breaker_edit(name="data_service", config=config, http=HttpConfig(), reason="", by=alice)

    def read() -> None:
        while (state := selectors.desired_state()).revision < 31:
            record = state.breakers["data_service"]
            if not state.revision == record.revision == record.version == record.config.failure_threshold:
                wrong.append((state.revision, record))

    at_once(write, read, read)
    assert wrong == []


def test_whoever_is_woken_finds_the_write(alice: Actor, create):
    create()
    found: list[int] = []
    unsubscribe = publish.subscribe(lambda: found.append(selectors.current_revision()))
    try:
        with transaction.atomic():
            services.breaker_reset(name="data_service", reason="", by=alice)
            assert found == []
        assert found == [2]
    finally:
        unsubscribe()


def test_a_rolled_back_write_wakes_nobody(alice: Actor, create):
    create()
    found: list[int] = []
    unsubscribe = publish.subscribe(lambda: found.append(1))

    @transaction.atomic
    def fail() -> None:
        services.breaker_reset(name="data_service", reason="", by=alice)
        raise LookupError

    try:
        with pytest.raises(LookupError):
            fail()
    finally:
        unsubscribe()
    assert found == []
    assert (selectors.current_revision(), ConfigChange.objects.count()) == (1, 1)
