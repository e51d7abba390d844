"""What programs ask all day is answered on the event loop, in turns with its sockets, and is as true as ever."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from prometheus_client import REGISTRY

from breakers import publish, services
from breakers.api import hot, memory
from breakers.fleet import fleet
from breakers.services import Actor
from tradpal_cb import at_once
from tradpal_cb.handler import OneHopHandler
from tradpal_cb.turns import Looks, Turns

from .test_api_handler import ask, scope

ADDRESSES = ["/circuit-breakers", "/circuit-breakers/bank-api/state", "/dashboard"]
SYSTEM = Actor("system")


@pytest.fixture
async def handler(ground):
    made = OneHopHandler(threads=1, writers=1)
    yield made
    for pool in (made._pool, made._writers):
        pool.submit(connections.close_all).result()
        pool.shutdown()
    made._at_once.close()


@pytest.fixture
def bearer(key, bank_api):
    return {"authorization": f"Bearer {key('read', name='deploy')}"}


LOOP, DJANGO = "the event loop", "Django, in a thread"


@pytest.fixture
def where(handler):
    """By whom requests were answered, one after the other."""
    seen, at_once, answer = [], handler._at_once.answer, handler._answer

    async def note_loop(*asked):
        found = await at_once(*asked)
        seen.extend([LOOP] if found else [])
        return found

    def note_django(*asked):
        assert threading.current_thread().name.startswith("http")
        seen.append(DJANGO)
        return answer(*asked)

    handler._at_once.answer, handler._answer = note_loop, note_django
    return seen


def comparable(answer):
    status, headers, body = answer
    return status, {name: value for name, value in headers.items() if name != b"x-request-id"}, body


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    @pytest.mark.parametrize("path", ADDRESSES)
    async def test_a_known_key_is_answered_on_the_event_loop_with_what_a_thread_says(
        self, handler, bearer, where, path
    ):
        first, second = await ask(handler, scope(path, **bearer)), await ask(handler, scope(path, **bearer))
        assert comparable(first) == comparable(second)
        assert first[0] == 200
        assert where == [DJANGO, LOOP]

    @pytest.mark.parametrize("path", ADDRESSES)
    async def test_where_reading_is_public_anybody_is(self, handler, bank_api, where, settings, path):
        settings.CIRCUIT_BREAKER_PUBLIC_READ = True
        statuses = [(await ask(handler, scope(path)))[0] for _ in range(3)]
        assert statuses == [200, 200, 200]
        assert where == [DJANGO, LOOP, LOOP]

    async def test_what_was_committed_is_seen_by_the_next_read(self, handler, bearer):
        await ask(handler, scope("/circuit-breakers", **bearer))
        for number in range(5):
            name = f"new-{number}"
            await sync_to_async(services.breaker_create)(name=name, **wanted(name))
            assert name.encode() in (await ask(handler, scope("/circuit-breakers", **bearer)))[2]

    async def test_what_nobody_announced_is_seen_in_a_moment(self, handler, bearer, monkeypatch):
        await ask(handler, scope("/circuit-breakers", **bearer))
        monkeypatch.setattr(publish, "wake", lambda: None)
        await sync_to_async(services.breaker_create)(name="quiet", **wanted("quiet"))
        async with asyncio.timeout(60):
            while b"quiet" not in (await ask(handler, scope("/circuit-breakers", **bearer)))[2]:
                await asyncio.sleep(0.01)

    async def test_a_revoked_key_stops(self, handler, bearer, monkeypatch):
        assert (await ask(handler, scope("/dashboard", **bearer)))[0] == 200
        await sync_to_async(services.api_key_revoke)(name="deploy", by=SYSTEM)
        monkeypatch.setattr(memory, "TRUSTED", 0.0)
        assert (await ask(handler, scope("/dashboard", **bearer)))[0] == 401

    async def test_a_name_that_is_not_there_is_told_by_the_view(self, handler, bearer):
        for _ in range(2):
            status, _, body = await ask(handler, scope("/circuit-breakers/nobody/state", **bearer))
            assert (status, b"not_found" in body) == (404, True)

    async def test_a_wrong_query_is_told_by_the_view(self, handler, bearer):
        await ask(handler, scope("/circuit-breakers", **bearer))
        wrong = {**scope("/circuit-breakers", **bearer), "query_string": b"state=ajar"}
        assert (await ask(handler, wrong))[0] == 400

    async def test_who_asks_too_often_is_told_so(self, handler, bearer, settings):
        settings.CIRCUIT_BREAKER_KEY_RATE = 2
        assert 429 in {(await ask(handler, scope(ADDRESSES[1], **bearer)))[0] for _ in range(10)}

    async def test_what_is_begun_anew_in_a_thread_is_counted_once(self, handler, bearer, settings):
        settings.CIRCUIT_BREAKER_KEY_RATE = 10  # a burst of twenty
        for number in range(19):
            page = {**scope("/circuit-breakers", **bearer), "query_string": b"search=%d" % number}
            assert (await ask(handler, page))[0] == 200, number

    async def test_who_wants_a_page_or_has_a_session_is_left_to_a_thread(self, handler, bearer, where, settings):
        settings.CIRCUIT_BREAKER_PUBLIC_READ = True
        for _ in range(2):
            await ask(handler, scope("/dashboard", accept="text/html"))
            await ask(handler, scope("/dashboard", cookie=f"{settings.SESSION_COOKIE_NAME}=x"))
            await ask(handler, scope("/dashboard", authorization="Bearer wrong"))
        assert where == [DJANGO] * 6

    async def test_without_the_database_it_is_left_to_the_view(self, handler, bearer, where, monkeypatch):
        await ask(handler, scope(ADDRESSES[1], **bearer))

        def gone():
            raise OperationalError("gone")

        monkeypatch.setattr(fleet, "synchronise", gone)
        handler._at_once._looks.outdate()
        assert (await ask(handler, scope(ADDRESSES[1], **bearer)))[0] == 200
        assert where == [DJANGO, DJANGO]

    @pytest.mark.parametrize("path", ["/circuit-breakers", "/dashboard"])
    async def test_a_list_is_made_in_a_thread_and_once_for_all_who_wait(
        self, handler, bearer, where, monkeypatch, path
    ):
        await ask(handler, scope(path, **bearer))
        made, get = [], memory.KeptAnswers._made
        monkeypatch.setattr(
            memory.KeptAnswers, "_made", lambda *args: made.append(threading.current_thread()) or get(*args)
        )
        hot.kept_answers.clear()
        answers = await asyncio.gather(*(ask(handler, scope(path, **bearer)) for _ in range(5)))
        assert {status for status, *_ in answers} == {200}
        assert where == [DJANGO, *[LOOP] * 5]
        assert len(made) == 1
        assert threading.current_thread() not in made

    async def test_strangers_are_counted_alike_wherever_they_are_answered(self, handler, bank_api, where, settings):
        """By the line that they come from: of IPv6 nobody has a single address."""
        settings.CIRCUIT_BREAKER_PUBLIC_READ, settings.CIRCUIT_BREAKER_ANONYMOUS_RATE = True, 2
        asked = [{**scope("/dashboard"), "client": [f"2001:db8::{number}", 1]} for number in range(10)]
        statuses = [(await ask(handler, each))[0] for each in asked]
        assert statuses[:2] == [200, 200]
        assert 429 in statuses
        assert where[:2] == [DJANGO, LOOP]
        assert (await ask(handler, {**scope("/dashboard"), "client": ["2001:db8:0:1::1", 1]}))[0] == 200

    @pytest.mark.parametrize("path", ADDRESSES)
    async def test_each_request_has_its_own_id_or_the_one_that_it_came_with(self, handler, bearer, where, path):
        ids = [(await ask(handler, scope(path, **bearer)))[1][b"x-request-id"] for _ in range(3)]
        assert len(set(ids)) == 3
        named = await ask(handler, scope(path, x_request_id="mine", **bearer))
        assert named[1][b"x-request-id"] == b"mine"
        wrong = await ask(handler, scope(path, x_request_id="not\u00a0plain", **bearer))
        assert re.fullmatch(rb"[0-9a-f]{32}", wrong[1][b"x-request-id"])
        assert where == [DJANGO, *[LOOP] * 4]

    async def test_nobody_is_given_what_another_may_read(self, handler, bearer, service_key, where):
        await ask(handler, scope("/dashboard", **bearer))
        agent = {"authorization": f"Bearer {service_key}"}
        assert [(await ask(handler, scope("/dashboard", **agent)))[0] for _ in range(2)] == [403, 403]
        assert (await ask(handler, scope("/dashboard")))[0] == 401
        basic = {"authorization": bearer["authorization"].replace("Bearer", "Basic")}
        assert (await ask(handler, scope("/dashboard", **basic)))[0] == 401
        assert where == [DJANGO] * 5

    async def test_what_is_learned_is_of_requests_that_bring_the_same(self, handler, bearer, where):
        """A host that is not ours, plain HTTP that is to be HTTPS: only Django says what follows from a header."""
        for _ in range(2):
            await ask(handler, scope("/dashboard", **bearer))
        elsewhere = scope("/dashboard", **bearer)
        elsewhere["headers"] = [(b"host", b"elsewhere.example"), *elsewhere["headers"][1:]]
        assert [(await ask(handler, elsewhere))[0] for _ in range(2)] == [400, 400]
        forwarded = scope("/dashboard", x_forwarded_proto="https", **bearer)
        assert [(await ask(handler, forwarded))[0] for _ in range(2)] == [200, 200]
        traced = [scope("/dashboard", traceparent=f"00-{n:032x}-{n:016x}-01", **bearer) for n in range(1, 3)]
        assert [(await ask(handler, each))[0] for each in traced] == [200, 200]
        assert where == [DJANGO, LOOP, DJANGO, DJANGO, DJANGO, LOOP, LOOP, LOOP]

    async def test_a_body_or_another_method_is_djangos(self, handler, bearer, where):
        await ask(handler, scope("/circuit-breakers", **bearer))
        for _ in range(2):
            await ask(handler, scope("/circuit-breakers", content_length="2", **bearer), b"{}")
            await ask(handler, scope("/circuit-breakers", cookie="theme=dark", **bearer))
        _, _, body = await ask(handler, scope("/circuit-breakers", "HEAD", **bearer))
        assert body == b""
        assert (await ask(handler, scope("/circuit-breakers", "DELETE", **bearer)))[0] == 405
        assert where == [DJANGO] * 7

    async def test_it_is_counted_as_django_prometheus_counts_what_it_sees(self, handler, bearer, where):
        for path in ADDRESSES:
            await ask(handler, scope(path, **bearer))
            before = http_samples()
            await ask(handler, scope(path, x_new="1", **bearer))
            between = http_samples()
            await ask(handler, scope(path, x_new="1", **bearer))
            assert where[-2:] == [DJANGO, LOOP]
            assert growth(between, http_samples()) == growth(before, between) != {}

    async def test_kinds_of_requests_are_forgotten_before_they_are_too_many(self, handler, bearer, monkeypatch):
        monkeypatch.setattr(at_once, "MANY", 3)
        for number in range(10):
            assert (await ask(handler, scope("/dashboard", x_new=str(number), **bearer)))[0] == 200
            assert len(handler._at_once._heads) <= 3


def http_samples():
    """What django-prometheus has counted, but for how long things took."""
    found = {}
    for family in REGISTRY.collect():
        if family.name.startswith("django_http_"):
            for sample in family.samples:
                if "latency" not in sample.name or sample.name.endswith("_count"):
                    found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return {name: value for name, value in found.items() if not name[0].endswith("_created")}


def growth(before, after):
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def wanted(name):
    from breakers.core.config import CircuitBreakerConfig, HttpConfig

    return {"config": CircuitBreakerConfig(name=name), "http": HttpConfig(), "by": SYSTEM}


async def test_answers_take_turns_with_the_event_loop():
    turns, order = Turns(share=0.0), []
    answers = [asyncio.create_task(turns.take(lambda n=n: order.append(n))) for n in range(3)]
    await asyncio.sleep(0)
    for _ in range(3):
        asyncio.get_running_loop().call_soon(order.append, "socket")
        await asyncio.sleep(0)
    await asyncio.gather(*answers)
    assert [each for each in order if each != "socket"] == [0, 1, 2]
    assert order != [0, 1, 2, "socket", "socket", "socket"]
    assert "socket" in order[: order.index(2)]


async def test_one_answer_that_fails_is_not_the_others():
    turns = Turns()
    wrong, right = turns.take(lambda: 1 / 0), turns.take(lambda: "answer")
    found = await asyncio.gather(wrong, right, return_exceptions=True)
    assert (type(found[0]), found[1]) == (ZeroDivisionError, "answer")


async def test_who_leaves_before_its_turn_is_passed_over():
    turns, done = Turns(share=0.0), []
    leaving = [asyncio.create_task(turns.take(lambda n=n: done.append(n))) for n in range(2)]
    await asyncio.sleep(0)
    leaving[1].cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    async with asyncio.timeout(20):
        await turns.take(lambda: done.append(2))  # nobody is held up by who has left
    assert done == [0, 2]


async def test_one_look_is_for_all_that_wait():
    told, entered, go_on = [], threading.Event(), threading.Event()

    def look(about):
        told.append(set(about))
        entered.set()
        assert go_on.wait(20)

    looks = Looks(look)
    first = asyncio.create_task(looks.take("a"))
    await sync_to_async(entered.wait, thread_sensitive=False)(20)
    others = [asyncio.create_task(looks.take(about)) for about in ("b", "c", "b")]
    await asyncio.sleep(0)
    others[0].cancel()
    go_on.set()
    assert await first
    assert await others[1]
    assert await others[2]
    assert told == [{"a"}, {"b", "c"}]  # what came amid the first look waited for one that began after it
    looks.close()


async def test_jobs_follow_the_look_and_one_is_done_for_all_that_bring_the_same():
    told, go_on = [], threading.Event()
    looks = Looks(lambda about: go_on.wait(20) and told.append("look"))
    jobs = {name: lambda name=name: told.append(name) for name in ("a", "b")}
    waiting = [asyncio.create_task(looks.take("", {name: jobs[name]})) for name in "abba"]
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(*waiting) == [True] * 4
    assert told == ["look", "a", "look", "b", "a"]  # the first look was under way when the others came
    looks.close()


async def test_after_jobs_the_thread_rests_and_who_came_meanwhile_is_not_forgotten():
    looks, done = Looks(lambda about: None), []
    async with asyncio.timeout(60):
        assert await looks.take("", {"a": lambda: done.append("a")})
        assert looks._busy  # resting
        assert await looks.take("", {"b": lambda: done.append("b")})
    assert done == ["a", "b"]
    looks.close()


async def test_a_look_is_good_until_there_is_news():
    looks = Looks(lambda about: None, good_for=60.0)
    assert not looks.good
    assert await looks.take("")
    assert looks.good
    looks.outdate()
    assert not looks.good
    looks.close()


async def test_news_that_come_amid_a_look_outdate_it():
    looks = Looks(lambda about: looks.outdate(), good_for=60.0)
    assert await looks.take("")
    assert not looks.good
    looks.close()


async def test_a_look_that_fails_says_so_and_the_next_may_succeed():
    problems = [OperationalError("gone")]

    def look(about):
        if problems:
            raise problems.pop()

    looks = Looks(look)
    assert not await looks.take("")
    assert not looks.good
    assert await looks.take("")
    looks.close()


async def test_a_look_that_is_no_longer_fresh_is_renewed_while_it_is_still_good():
    taken = []
    looks = Looks(lambda about: taken.append(set(about)), good_for=60.0)
    assert await looks.take("a")
    looks.renew("a")
    assert taken == [{"a"}]  # fresh
    looks._good_until -= 40.0
    assert looks.good
    looks.renew("b")
    assert await looks.take("c")
    assert taken == [{"a"}, {"b"}, {"c"}]
    looks.close()


def test_a_look_renews_what_is_known_of_a_key_before_it_is_too_old(monkeypatch):
    known, asked = memory.KnownKeys(), []
    monkeypatch.setattr(memory, "authenticate_key", lambda secret: asked.append(secret) or object())
    now = [1000.0]
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    known.ask("k")
    known.refresh("k")
    assert asked == ["k"]
    now[0] += memory.TRUSTED / 2
    known.refresh("k")
    now[0] += memory.TRUSTED * 0.75
    assert known.trusted("k")
    assert asked == ["k", "k"]


def test_what_an_event_loop_left_behind_holds_up_no_other():
    go_on = threading.Event()
    looks, turns = Looks(lambda about: go_on.wait(20)), Turns()

    async def leave():
        left = [asyncio.ensure_future(looks.take("a")), asyncio.ensure_future(turns.take(lambda: None))]
        await asyncio.sleep(0)
        assert not any(each.done() for each in left)

    async def come():
        async with asyncio.timeout(60):
            return await looks.take("b"), await turns.take(lambda: "answer")

    asyncio.run(leave())
    go_on.set()
    assert asyncio.run(come()) == (True, "answer")
    looks.close()
