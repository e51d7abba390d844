"""While the database is away: what it said before is remembered for a while, to read by, and nothing is changed."""

from __future__ import annotations

import hashlib
import secrets
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import InterfaceError, OperationalError
from django.test import Client

from breakers.access import people, sessions
from breakers.outage import LIFETIME, MOST, REMEMBERED, DatabaseAway, Outage, Remembered
from breakers.services import Actor, api_key_revoke, keys_remember
from breakers.services.known_keys import known_keys
from tests.engines import Postgres
from tests.peers.feeds import Reader
from tests.redis_server import RedisServer
from tests.servers import ServerProcess, eventually

# --- what is remembered ------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Served(Outage):
    """Of a database that may be away, whatever this test runs on."""

    possible = True


def away() -> str:
    raise OperationalError("nobody there")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_was_said_last_is_remembered_for_a_quarter_of_an_hour(clock: Clock) -> None:
    known: Remembered[str, int] = Remembered(clock=clock)
    known.keep("a", 1)
    clock.now += LIFETIME
    assert known.recall("a") == 1
    clock.now += 1
    assert known.recall("a") is None
    assert LIFETIME == 15 * 60


def test_recalling_makes_nothing_younger(clock: Clock) -> None:
    known: Remembered[str, int] = Remembered(clock=clock)
    known.keep("a", 1)
    clock.now += LIFETIME - 1
    assert known.recall("a") == 1
    clock.now += 2
    assert known.recall("a") is None


def test_what_the_database_no_longer_says_is_forgotten(clock: Clock) -> None:
    known: Remembered[str, int] = Remembered(clock=clock)
    known.keep("a", 1)
    known.keep_only({"b": 2})
    assert (known.recall("a"), known.recall("b")) == (None, 2)
    known.forget("b")
    assert known.recall("b") is None


def test_memory_is_bounded(clock: Clock) -> None:
    known: Remembered[int, int] = Remembered(most=3, clock=clock)
    for number in range(3):
        known.keep(number, number)
    known.keep(2, 22)
    assert [known.recall(number) for number in range(3)] == [0, 1, 22], "one that is known takes no new place"
    known.keep(3, 3)
    assert [known.recall(number) for number in range(4)] == [None, None, None, 3]


# --- whether it is away ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [OperationalError, InterfaceError])
def test_after_it_did_not_answer_nobody_waits_for_a_second(clock: Clock, problem: type[Exception]) -> None:
    outage, asked = Served(clock), []

    def ask() -> None:
        asked.append(clock.now)
        raise problem("nobody there")

    with pytest.raises(problem):
        outage.ask(ask)
    assert outage.lasting
    clock.now += REMEMBERED - 0.1
    with pytest.raises(DatabaseAway):
        outage.ask(ask)
    assert len(asked) == 1
    clock.now += 0.1
    with pytest.raises(problem):
        outage.ask(ask)
    assert len(asked) == 2


def test_it_is_back_with_the_first_answer(clock: Clock) -> None:
    outage = Served(clock)
    with pytest.raises(OperationalError):
        outage.ask(away)
    clock.now += REMEMBERED
    assert outage.ask(lambda: "here") == "here"
    assert not outage.lasting
    assert outage.ask(lambda: "still here") == "still here"


def test_what_it_says_of_the_question_is_an_answer(clock: Clock) -> None:
    outage = Served(clock)
    with pytest.raises(Session.DoesNotExist):
        outage.ask(lambda: (_ for _ in ()).throw(Session.DoesNotExist))
    assert not outage.lasting


def test_while_one_finds_out_the_others_need_not_wait(clock: Clock) -> None:
    outage, trying, answered = Served(clock), threading.Event(), threading.Event()
    with pytest.raises(OperationalError):
        outage.ask(away)
    clock.now += REMEMBERED

    def slowly() -> str:
        trying.set()
        assert answered.wait(10)
        return "here"

    one = threading.Thread(target=outage.ask, args=(slowly,))
    one.start()
    assert trying.wait(10)
    with pytest.raises(DatabaseAway):
        outage.ask(lambda: "a second one asked")
    answered.set()
    one.join(10)
    assert outage.ask(lambda: "here") == "here"


def test_a_file_that_is_locked_for_a_moment_is_not_away(clock: Clock, db: None) -> None:
    outage = Outage(clock)
    if outage.possible:
        pytest.skip("only SQLite is a file")
    with pytest.raises(OperationalError):
        outage.ask(away)
    assert not outage.lasting
    assert outage.ask(lambda: "here") == "here"


# --- keys and sessions -------------------------------------------------------------------------------------------


def test_keys_that_are_good_are_known_without_having_been_used_here(key: Callable[..., str]) -> None:
    key("read", name="good")
    key("read", name="revoked")
    keys_remember()
    api_key_revoke(name="revoked", by=Actor("system"))
    names = {name for _, found in known_keys._known.values() for name in [found.name]}
    assert names == {"good", "revoked"}
    keys_remember()
    assert {found.name for _, found in known_keys._known.values()} == {"good"}


def test_sessions_and_people_are_known_without_having_been_here(viewer: User, stranger: User) -> None:
    client = Client()
    client.force_login(viewer)
    stranger.is_active = False
    stranger.save()
    sessions.known.clear()
    people.people_remember()
    session = client.session.session_key
    assert session is not None
    assert sessions.known.recall(session) is not None
    assert people.known.recall(viewer.pk) == viewer
    assert people.known.recall(stranger.pk) is None, "who was dismissed is nobody"


def test_what_is_remembered_ends_with_signing_out_here_and_at_another_server(viewer: User) -> None:
    here, elsewhere = Client(), Client()
    for client in (here, elsewhere):
        client.force_login(viewer)
        assert client.get("/dashboard", headers={"Accept": "text/html"}).status_code == 200
    one, other = here.session.session_key, elsewhere.session.session_key
    assert one is not None
    assert other is not None
    assert sessions.known.recall(one) is not None
    here.post("/dashboard/logout")
    assert sessions.known.recall(one) is None
    Session.objects.get(session_key=other).delete()  # as another server does
    people.people_remember()
    assert sessions.known.recall(other) is None


def test_a_session_that_ended_while_nobody_could_be_told_is_taken_out_later(viewer: User) -> None:
    client = Client()
    client.force_login(viewer)
    key = client.session.session_key
    assert key is not None
    sessions.ended.add(key)  # as a signing out leaves it when the database is away
    people.people_remember()
    assert sessions.known.recall(key) is None
    assert client.get("/dashboard", headers={"Accept": "text/html"}).status_code == 302
    sessions.sessions_end()
    assert not Session.objects.filter(session_key=key).exists()
    assert key not in sessions.ended


def test_what_ended_at_another_server_has_ended_here_and_is_said_to_the_database_by_either(viewer: User) -> None:
    here, other = Client(), Client()
    for client in (here, other):
        client.force_login(viewer)
    one, two = here.session.session_key, other.session.session_key
    people.people_remember()
    assert one is not None
    told = hashlib.sha256(one.encode()).hexdigest()
    sessions.sessions_ended_elsewhere({told, "of somebody whom we do not know"})
    assert here.get("/dashboard", headers={"Accept": "text/html"}).status_code == 302
    assert other.get("/dashboard", headers={"Accept": "text/html"}).status_code == 200
    assert told in sessions.digests_of_ended(), "and is passed on"
    sessions.sessions_end()
    assert [row.session_key for row in Session.objects.all()] == [two]
    assert sessions.digests_of_ended() == []


def test_sessions_that_ended_are_remembered_in_bounds() -> None:
    for number in range(MOST + 1):
        sessions.ended.add(str(number))
    found = sessions.ended.keys
    sessions.ended.drop(found)
    assert len(found) == MOST
    assert "0" not in found


# --- with real processes -----------------------------------------------------------------------------------------


class Person:
    """A browser without scripts: cookies, forms, redirects."""

    def __init__(self, server: ServerProcess, cookies: CookieJar | None = None) -> None:
        self.server, self.cookies = server, CookieJar()
        for cookie in cookies or ():
            self.cookies.set_cookie(cookie)
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def at(self, server: ServerProcess) -> Person:
        """With the same cookies at another server: cookies know no ports."""
        return Person(server, self.cookies)

    def ask(self, path: str, form: dict[str, str] | None = None, accept: str = "text/html") -> tuple[int, str, str]:
        """Status, path in the end and text; a ``form`` is sent with its token."""
        token = next((cookie.value or "" for cookie in self.cookies if cookie.name == "csrftoken"), "")
        sent = None if form is None else urllib.parse.urlencode({**form, "csrfmiddlewaretoken": token}).encode()
        asked = urllib.request.Request(f"{self.server.url}{path}", sent, headers={"Accept": accept})
        try:
            with self._opener.open(asked, timeout=20) as answer:
                return answer.status, urllib.parse.urlsplit(answer.url).path, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, path, error.read().decode()

    def sign_in(self) -> None:
        self.ask("/dashboard/login")
        assert self.ask("/dashboard/login", {"username": "olivia", "password": "pass"})[1] == "/dashboard"


class House:
    """Two servers on one PostgreSQL and one Redis; ``olivia``, an operator, signed in before the second began."""

    def __init__(self, postgres: Postgres, *servers: ServerProcess) -> None:
        self.postgres, self.servers = postgres, servers
        self.olivia = Person(servers[0])

    @contextmanager
    def without_database(self) -> Iterator[None]:
        self.postgres.stop()
        try:
            yield
        finally:
            self.postgres.start()
            for server in self.servers:
                eventually(lambda: server.request("GET", "/health")[0] == 200)  # noqa: B023  # asked at once
            eventually(lambda: all("database" not in banner(server, self.olivia) for server in self.servers))


def banner(server: ServerProcess, person: Person) -> str:
    """What a page says that the server does without."""
    page = person.at(server).ask("/dashboard/alerts")[2]
    return page.partition('data-without="')[2].partition('"')[0]


_PEOPLE = """
from django.contrib.auth.models import Group, User
from breakers.services import Actor, api_key_create
user = User.objects.create_user("olivia", password="pass", is_staff=True)
user.groups.set(Group.objects.filter(name="operator"))
print(api_key_create(name="tests", scopes=["agent", "read", "operate"], by=Actor("system"))[1])
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with Postgres() as postgres, RedisServer(tmp_path_factory.mktemp("redis")) as redis:
        shared = {
            "DATABASE_URL": postgres.url, "REDIS_URL": redis.url, "DJANGO_SECRET_KEY": secrets.token_hex(32),
            "DJANGO_LOG_LEVEL": "DEBUG",
        }  # fmt: skip
        first, second = (
            ServerProcess(tmp_path_factory.mktemp("server"), environment=shared, tuned=True) for _ in range(2)
        )
        first.manage("migrate", "--verbosity", "0")
        first.token = second.token = first.python(_PEOPLE).strip()
        house = House(postgres, first, second)
        try:
            first.start()
            assert first.request("POST", "/circuit-breakers", {"name": "bank-api"})[0] == 201
            house.olivia.sign_in()
            second.start()
            eventually(lambda: "are remembered" in second.log.read_text())  # olivia was never there
            yield house
        finally:
            first.stop()
            second.stop()


def test_pages_go_on_from_memory_at_every_server(house: House) -> None:
    with house.without_database():
        for server in house.servers:
            olivia = house.olivia.at(server)
            for path in ("/dashboard", "/dashboard/alerts", "/dashboard/instances", "/dashboard/connect"):
                status, where, text = olivia.ask(path)
                assert (status, where) == (200, path)
                assert "olivia" in text
                assert 'data-without="database"' in text
                assert "nothing can be changed" in text
            assert "bank-api" in olivia.ask("/dashboard")[2]
            assert "Nothing has changed yet" not in olivia.ask("/dashboard")[2], "that is not known"
            breaker = olivia.ask("/dashboard/breakers/bank-api")[2]
            assert breaker.count("This is in the database, which does not answer.") == 3, "lanes, history, audit"
            assert "Failures in a row that open" in breaker
            assert 'disabled title="The database does not answer"' in breaker
            assert "Nothing is recorded" not in olivia.ask("/dashboard/events")[2]
            status, text = olivia.ask("/circuit-breakers/bank-api", accept="application/json")[::2]
            assert (status, '"recent":null' in text) == (200, True)
    olivia = house.olivia.at(house.servers[1])
    assert "which does not answer" not in olivia.ask("/dashboard/breakers/bank-api")[2]
    assert "disabled" not in olivia.ask("/dashboard/breakers/bank-api")[2]


def test_nothing_is_changed_and_what_cannot_be_is_a_page_that_says_so(house: House) -> None:
    with house.without_database():
        server, olivia = house.servers[1], house.olivia.at(house.servers[1])
        for path in ("/dashboard/reset", "/dashboard/breakers/bank-api/forced_open"):
            status, _, text = olivia.ask(path, {"target": "bank-api 1", "reason": "x", "hours": "1"})
            assert (status, "The database does not answer" in text) == (503, True), path
        status, _, text = olivia.ask("/dashboard/reset", {"target": "bank-api 1"}, accept="application/json")
        assert (status, '"unavailable"' in text) == (503, True)
        assert "The database does not answer" in olivia.ask("/admin/")[2]
        assert Person(server).ask("/dashboard")[1] == "/dashboard/login", "who is nobody stays nobody"
        assert server.request("POST", "/circuit-breakers/reset-all", {"confirm": True})[0] == 503
    assert house.servers[0].request("GET", "/circuit-breakers/bank-api")[1]["recent"] == []


def test_a_key_that_was_never_used_at_a_server_is_good_there_too_and_a_wrong_one_is_not(house: House) -> None:
    with house.without_database():
        server = house.servers[1]
        eventually(lambda: server.request("GET", "/circuit-breakers/bank-api/state")[0] == 200)
        status = server.request("GET", "/circuit-breakers", headers={"Authorization": "Bearer tpcb_wrong"})[0]
        assert status == 503, "nobody can say that it is wrong, nor that it is right"


def test_the_banner_of_a_page_that_is_open_comes_and_goes(house: House) -> None:
    with Reader(house.servers[0]) as reader:
        assert reader.without == []
        with house.without_database():
            eventually(lambda: reader.without == ["database"])
            with Reader(house.servers[0]) as late:
                eventually(lambda: late.without == ["database"], what="the feed opens, and says so at once")
        eventually(lambda: reader.without == [])


def test_signing_out_ends_a_session_also_while_the_database_cannot_be_told(house: House) -> None:
    person = Person(house.servers[0])
    person.sign_in()
    elsewhere = person.at(house.servers[1])
    assert elsewhere.ask("/dashboard")[1] == "/dashboard"
    with house.without_database():
        thief = person.at(house.servers[0])
        assert person.ask("/dashboard")[1] == "/dashboard"
        status, where, _ = person.ask("/dashboard/logout", {})
        assert (status, where) == (200, "/dashboard/login")
        assert thief.ask("/dashboard")[1] == "/dashboard/login"
        eventually(lambda: elsewhere.ask("/dashboard")[1] == "/dashboard/login", what="Redis tells the other server")
    eventually(lambda: said_to_have_ended(house))
    for server in house.servers:
        assert thief.at(server).ask("/dashboard")[1] == "/dashboard/login"


def said_to_have_ended(house: House) -> Any:
    return house.postgres.run("SELECT count(*) FROM django_session") == "1"
