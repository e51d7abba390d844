"""What programs ask all day is answered on the event loop, in turns with its sockets, and is as true as ever."""

from __future__ import annotations

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections

from breakers import publish, services
from breakers.api import hot, memory
from breakers.fleet import fleet
from breakers.services import Actor
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
    made._looks.close()


@pytest.fixture
def bearer(key, bank_api):
    return {"authorization": f"Bearer {key('read', name='deploy')}"}


@pytest.fixture
def where(monkeypatch):
    """The threads in which requests were judged."""
    seen, judge = [], hot._may_read

    def note(request):
        seen.append(threading.current_thread())
        return judge(request)

    monkeypatch.setattr(hot, "_may_read", note)
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
        assert [thread is threading.current_thread() for thread in where] == [False, True]

    @pytest.mark.parametrize("path", ADDRESSES)
    async def test_where_reading_is_public_anybody_is(self, handler, bank_api, where, settings, path):
        settings.CIRCUIT_BREAKER_PUBLIC_READ = True
        statuses = [(await ask(handler, scope(path)))[0] for _ in range(3)]
        assert statuses == [200, 200, 200]
        assert where[-1] is threading.current_thread()

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
        await ask(handler, scope("/dashboard", accept="text/html"))
        await ask(handler, scope("/dashboard", cookie=f"{settings.SESSION_COOKIE_NAME}=x"))
        await ask(handler, scope("/dashboard", authorization="Bearer wrong"))
        assert threading.current_thread() not in where

    async def test_without_the_database_it_is_left_to_the_view(self, handler, bearer, where, monkeypatch):
        await ask(handler, scope(ADDRESSES[1], **bearer))

        def gone():
            raise OperationalError("gone")

        monkeypatch.setattr(fleet, "synchronise", gone)
        handler._looks.outdate()
        await ask(handler, scope(ADDRESSES[1], **bearer))
        assert threading.current_thread() not in where

    async def test_a_list_that_is_not_made_yet_is_made_in_a_thread(self, handler, bearer, monkeypatch):
        made, encoded = [], memory.encoded

        def note(value):
            made.append(threading.current_thread())
            return encoded(value)

        monkeypatch.setattr(memory, "encoded", note)
        await ask(handler, scope("/dashboard", **bearer))
        hot.kept_answers.clear()
        await ask(handler, scope("/dashboard", **bearer))
        assert len(made) == 2
        assert threading.current_thread() not in made


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
    assert known.trusts("k")
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
