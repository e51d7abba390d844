"""Instances that are long gone: summed up, forgotten, and exact when they return. Against the real database."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from breakers import selectors, services
from breakers.agents import chores
from breakers.agents.returning import readmit
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.fleet import Fleet
from breakers.models import Departed, Instance
from breakers.services import Actor

pytestmark = pytest.mark.django_db
LONG = timedelta(hours=1, seconds=1)


@pytest.fixture
def live(scene, ground, monkeypatch):
    """A scene whose desired state is the database's, told by its own clock."""
    services.breaker_create(
        name="bank-api", config=CircuitBreakerConfig(), http=HttpConfig(), by=Actor("user", "alice")
    )
    monkeypatch.setattr("django.utils.timezone.now", lambda: scene.now)
    return restart(scene)


def restart(scene):
    """The process ends and another one begins."""
    scene.fleet = Fleet(lambda: scene.now)
    scene.fleet.synchronise()
    scene.revision = scene.fleet.revision
    return scene


def persist(scene):
    services.instances_persist(rows=scene.fleet.observed_for_persist())


def fold(scene):
    """The server's chore."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chores, "fleet", scene.fleet)
        chores.fold()


def leave(scene, linked):
    """It says goodbye, an hour passes, and it is summed up."""
    linked.goodbye()
    persist(scene)
    scene.now += LONG
    fold(scene)


def come_back(scene, linked, monkeypatch):
    """As the server admits it."""
    monkeypatch.setattr("breakers.agents.returning.fleet", scene.fleet)
    forgotten = not scene.fleet.knows(linked.id) and readmit(linked.identity, linked.revision)
    scene.fleet.connect(linked.identity, scene.now, forgotten=forgotten)
    services.instance_seen(identity=linked.identity, forgotten=forgotten)
    return linked


def counted(scene):
    metrics = scene.fleet.metrics("bank-api")
    return metrics["successes_total"], metrics["failures_total"], metrics["latency"]["counts"]


def test_who_is_long_gone_leaves_table_and_memory_and_its_counts_stay(live):
    for _ in range(3):
        one = live.link()
        one.latency["bank-api"] = {"40": 7}
        one.tell(add={"successes": 5, "failures": 2})
        leave(live, one)
    assert counted(live) == (15, 6, {40: 21})
    assert live.fleet.long_gone(live.now) == []
    assert selectors.instances_observed() == []
    assert counted(restart(live)) == (15, 6, {40: 21})


def test_who_is_gone_for_less_than_an_hour_is_still_known(live):
    one = live.link().tell(add={"successes": 5})
    one.goodbye()
    persist(live)
    live.now += timedelta(minutes=59)
    fold(live)
    assert live.fleet.knows(one.id)
    assert live.fleet.long_gone(live.now - services.FOLD_AFTER) == []
    assert [record.id for record in selectors.instances_observed()] == [one.id]


def test_who_returns_is_counted_once_before_and_after_a_restart(live, monkeypatch):
    one = live.link()
    one.latency["bank-api"] = {"40": 5}
    one.tell(add={"successes": 5})
    leave(live, one)
    one.latency["bank-api"] = {"40": 8}
    come_back(live, one, monkeypatch).tell(add={"successes": 3})
    assert counted(live) == (8, 0, {40: 8})
    assert counted(restart(live)) == (5, 0, {40: 5}), "nothing was written since its return"
    come_back(live, one, monkeypatch).tell()
    persist(live)
    assert counted(restart(live)) == (8, 0, {40: 8})
    assert not Instance.objects.get().folded


def test_who_returns_while_memory_still_knows_it_is_taken_out_of_the_sums(live):
    one = live.link().tell(add={"successes": 5})
    one.goodbye()
    persist(live)
    live.now += LONG
    services.instances_fold(before=live.now - services.FOLD_AFTER)  # by another server
    one.connect().tell(add={"successes": 1})
    persist(live)
    assert counted(live)[0] == counted(restart(live))[0] == 6


def test_who_comes_and_goes_for_days_is_never_doubled(live, monkeypatch):
    chance = random.Random(7)
    crowd = [live.link() for _ in range(4)]
    told = 0
    for _ in range(60):
        one = chance.choice(crowd)
        come_back(live, one, monkeypatch)
        one.tell(add={"successes": (more := chance.randint(0, 9))})
        told += more
        persist(live)
        if chance.random() < 0.5:
            leave(live, one)
        if chance.random() < 0.3:
            restart(live)
        assert counted(live)[0] == told


def test_a_row_of_long_ago_is_deleted_and_its_counts_stay(live):
    leave(live, live.link().tell(add={"successes": 5}))
    live.now += services.FORGET_AFTER
    assert services.instances_forget(before=live.now - services.FORGET_AFTER) == 1
    assert not Instance.objects.exists()
    assert counted(restart(live))[0] == 5


def test_who_returns_after_it_was_forgotten_is_not_counted_twice(live, monkeypatch):
    one = live.link()
    one.latency["bank-api"] = {"40": 5}
    one.tell(add={"successes": 5})
    leave(live, one)
    live.now += services.FORGET_AFTER
    services.instances_forget(before=live.now - services.FORGET_AFTER)
    restart(live)
    come_back(live, one, monkeypatch).tell()
    one.latency["bank-api"] = {"40": 6}
    one.tell(add={"successes": 1})
    assert counted(live) == (6, 0, {40: 6})
    persist(live)
    assert counted(restart(live)) == (6, 0, {40: 6})
    one.connect().tell(add={"successes": 2})
    persist(live)
    assert counted(live)[0] == counted(restart(live))[0] == 8
    leave(live, one)
    assert counted(restart(live))[0] == 8


def test_who_was_forgotten_and_loses_its_first_connection_is_not_counted_twice_either(live, monkeypatch):
    one = live.link().tell(add={"successes": 5})
    leave(live, one)
    live.now += services.FORGET_AFTER
    services.instances_forget(before=live.now - services.FORGET_AFTER)
    restart(live)
    come_back(live, one, monkeypatch).disconnect()
    come_back(live, one, monkeypatch).tell()
    assert counted(live)[0] == 5


@pytest.fixture
def forgotten(live):
    """An instance that had counted 5 on each of two breakers, and whose row was deleted."""
    services.breaker_create(name="card", config=CircuitBreakerConfig(), http=HttpConfig(), by=Actor("user", "alice"))
    one = live.link().tell(add={"successes": 5}).tell("card", add={"successes": 5})
    leave(live, one)
    live.now += services.FORGET_AFTER
    services.instances_forget(before=live.now - services.FORGET_AFTER)
    restart(live)
    return one


def test_who_was_forgotten_is_not_counted_twice_where_a_server_dies_before_it_wrote_anything(
    live, forgotten, monkeypatch
):
    come_back(live, forgotten, monkeypatch).tell(add={"successes": 1})
    restart(live)  # the row stands, and nothing in it
    come_back(live, forgotten, monkeypatch).tell(add={"successes": 1})
    assert counted(live)[0] == 5  # what it had counted until this report stands in the sums, or is lost with the server
    forgotten.tell(add={"successes": 2})
    persist(live)
    assert counted(live)[0] == counted(restart(live))[0] == 7


def test_who_was_forgotten_is_not_counted_twice_where_a_server_dies_that_had_heard_half_of_it(
    live, forgotten, monkeypatch
):
    come_back(live, forgotten, monkeypatch).tell()
    forgotten.tell(add={"successes": 1})
    persist(live)
    restart(live)
    come_back(live, forgotten, monkeypatch).tell(add={"successes": 1})
    forgotten.tell("card")
    assert counted(live)[0] == 7
    assert live.fleet.metrics("card")["successes_total"] == 5
    live.wait(6, heartbeats=(forgotten,))
    forgotten.tell("made-later", add={"successes": 3})
    persist(live)
    assert not Instance.objects.get(pk=forgotten.id).forgotten
    restart(live)
    come_back(live, forgotten, monkeypatch).tell(add={"successes": 1})
    assert counted(live)[0] == 8
    assert live.fleet._ledger.view("made-later").totals[0] == 3


def test_a_process_that_is_merely_old_is_counted_whole(live, monkeypatch):
    one = live.link()
    live.now += services.FORGET_AFTER + LONG
    one.revision = 0  # the first link that it ever makes
    restart(live)
    come_back(live, one, monkeypatch).tell(add={"successes": 5})
    assert counted(live)[0] == 5


def test_who_is_not_written_down_yet_is_not_forgotten(live):
    one = live.link().tell(add={"successes": 5})
    one.goodbye()
    persist(live)
    one.send(*(one.status("bank-api", "closed", {"successes": 1}),))  # a late report
    one.goodbye()
    live.now += LONG
    fold(live)
    assert live.fleet.knows(one.id)
    persist(live)
    fold(live)
    assert counted(live)[0] == counted(restart(live))[0] == 6


def test_the_state_in_which_the_last_one_left_outlives_it(live):
    one, other = live.link().tell(), live.link().tell()
    one.move("open")
    one.goodbye()
    live.wait(1)
    other.goodbye()
    persist(live)
    assert live.row()["state"] == "closed", "the other left last, and closed"
    live.now += LONG
    fold(live)
    assert restart(live).row()["state"] == "closed"
    last = live.link().tell()
    last.move("open")
    leave(live, last)
    assert restart(live).row()["state"] == "open"


def test_those_who_left_within_one_sum_are_read_at_one_moment(live):
    """Whoever is folded between two reads of a starting server is counted in one of them."""
    one = live.link().tell(add={"successes": 5})
    one.goodbye()
    persist(live)
    live.now += LONG
    read = selectors.instances_observed

    def overtaken():
        records = read()
        services.instances_fold(before=live.now)
        return records

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selectors, "instances_observed", overtaken)
        restart(live)
    assert counted(live)[0] == 5


def test_a_fold_that_fails_changes_nothing(live, monkeypatch):
    one = live.link().tell(add={"successes": 5})
    one.goodbye()
    persist(live)
    live.now += LONG
    with monkeypatch.context() as patch:
        patch.setattr(type(Instance.objects.all()), "bulk_update", broken_for(Instance))
        with pytest.raises(RuntimeError):
            services.instances_fold(before=live.now)
    assert not Departed.objects.filter(instance=one.id).exists()
    assert counted(restart(live))[0] == 5


def broken_for(model):
    """``bulk_update`` that fails for this model only."""
    real = type(model.objects.all()).bulk_update

    def bulk_update(self, *arguments, **options):
        if self.model is model:
            raise RuntimeError("the power went")
        return real(self, *arguments, **options)

    return bulk_update
