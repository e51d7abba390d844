"""Who was refused is written down, who tries too often waits, and no secret is in any of it."""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axes.models import AccessAttempt
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.core.checks.registry import registry
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.utils import timezone
from django.views.debug import technical_500_response
from rest_framework.test import APIClient

from breakers import checks
from breakers.access import Buckets, address_of, buckets, refused
from breakers.agents import AgentConsumer
from dashboard.consumers import FeedConsumer

PASSWORD = "correct horse battery staple"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What ``breakers.access`` has said so far."""
    caplog.set_level(logging.DEBUG)
    return lambda: [record.getMessage() for record in caplog.records if record.name == "breakers.access"]


def sign_in(name: str, password: str, *, path: str = "/dashboard/login", **how: Any):
    return Client(**how).post(path, {"username": name, "password": password})


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """How fast this machine asks is no matter: no time passes for who counts requests, unless a test says so."""
    stopped = Clock()
    monkeypatch.setattr(buckets, "_clock", stopped)
    return stopped


# --- buckets ----------------------------------------------------------------------------------------------------


def test_a_bucket_gives_its_burst_and_then_its_rate():
    clock = Clock()
    mine = Buckets(clock)
    assert [mine.take("a", rate=2, burst=3) for _ in range(4)] == [0, 0, 0, 0.5]
    assert not mine.may("a", rate=2, burst=3)
    assert mine.take("b", rate=2, burst=3) == 0
    clock.now += 0.5
    assert mine.may("a", rate=2, burst=3)
    assert [mine.take("a", rate=2, burst=3) for _ in range(2)] == [0, 0.5]
    clock.now += 1000
    assert [mine.take("a", rate=2, burst=3) == 0 for _ in range(4)] == [True, True, True, False]


def test_who_waits_is_not_made_to_wait_longer_by_asking():
    clock = Clock()
    mine = Buckets(clock)
    assert [mine.take("a", rate=1, burst=1) for _ in range(5)] == [0, 1, 1, 1, 1]


def test_callers_without_end_take_no_memory_without_end():
    mine = Buckets(Clock(), most=10)
    for number in range(1000):
        mine.take(str(number), rate=1, burst=1)
    assert len(mine._used) <= 10
    assert mine.take("999", rate=1, burst=1) == 1  # the newest are remembered


# --- addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxies", "forwarded", "found"),
    [
        (0, "1.2.3.4", "10.0.0.1"),
        (1, "1.2.3.4", "1.2.3.4"),
        (1, "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (2, "6.6.6.6, 1.2.3.4, 5.6.7.8", "1.2.3.4"),
        (2, "1.2.3.4", "10.0.0.1"),
        (1, "", "unknown"),
        (1, "nonsense\n", "unknown"),
        (1, "2001:db8::0001", "2001:db8::1"),
    ],
)
def test_an_address_is_what_our_own_proxies_wrote(settings, proxies, forwarded, found):
    settings.CIRCUIT_BREAKER_PROXIES = proxies
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=forwarded)
    assert address_of(request) == found


# --- signing in -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/dashboard/login", "/admin/login/"])
def test_repeated_failures_lock_a_name_from_that_address_for_a_while(operator: User, path: str):
    for _ in range(4):
        assert sign_in("olivia", "wrong", path=path).status_code == 200
    assert sign_in("olivia", "wrong", path=path).status_code == 429
    locked = sign_in("olivia", PASSWORD, path=path)
    assert (locked.status_code, locked["Retry-After"]) == (429, "900")
    page = locked.content.decode()
    assert "Try again in 15 minutes" in page
    assert "olivia" not in page
    assert "<style" not in page
    elsewhere = sign_in("olivia", PASSWORD, path=path, REMOTE_ADDR="10.9.9.9")
    assert elsewhere.status_code == 302, "who locks a name from one address locks nobody else out"
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    assert sign_in("olivia", PASSWORD, path=path).status_code == 302


def test_who_comes_by_a_local_socket_has_no_address_and_signs_in_all_the_same(operator: User):
    for _ in range(5):
        sign_in("olivia", "wrong", REMOTE_ADDR="")
    assert sign_in("olivia", PASSWORD, REMOTE_ADDR="").status_code == 429
    assert sign_in("olivia", PASSWORD).status_code == 302


def test_a_success_forgets_the_failures(operator: User):
    for _ in range(3):
        for _ in range(4):
            assert sign_in("olivia", "wrong").status_code == 200
        assert sign_in("olivia", PASSWORD).status_code == 302


def test_who_tries_many_names_is_slowed_down(db):
    answers = [sign_in(f"name{number}", "x").status_code for number in range(21)]
    assert answers == [200] * 20 + [429]
    assert sign_in("another", "x", REMOTE_ADDR="10.9.9.9").status_code == 200


def test_failed_and_locked_attempts_are_told_and_never_the_password(operator: User, lines, caplog):
    for _ in range(6):
        sign_in("olivia", "s3cret-typed")
    sign_in("s3cret-typed", "s3cret-typed")  # into the wrong field
    told = [line for line in lines() if "sign-in" in line]
    assert told[0] == "Refused: user:olivia from 127.0.0.1, sign-in: name and password do not match"
    assert "locked after too many attempts" in told[5]
    assert told[6].startswith("Refused: an unknown name from 127.0.0.1, sign-in")
    assert "s3cret-typed" not in caplog.text
    kept = AccessAttempt.objects.filter(username="olivia").values_list("get_data", "post_data")
    assert "s3cret-typed" not in str(list(kept))


# --- requests ---------------------------------------------------------------------------------------------------


def test_each_refused_request_is_told_with_who_and_what(viewer: User, key, lines, caplog):
    secret = key("read", name="grafana")
    with_key, person = APIClient(), APIClient()
    with_key.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    person.force_login(viewer)
    with_key.post("/circuit-breakers/reset-all?token=hidden")
    person.post("/circuit-breakers/reset-all")
    APIClient().get("/circuit-breakers")
    wrong = APIClient()
    wrong.credentials(HTTP_AUTHORIZATION="Bearer tpcb_not-a-key")
    wrong.get("/circuit-breakers")
    assert lines() == [
        "Refused: key:grafana from 127.0.0.1, POST /circuit-breakers/reset-all: not allowed",
        "Refused: user:victor from 127.0.0.1, POST /circuit-breakers/reset-all: not allowed",
        "Refused: nobody from 127.0.0.1, GET /circuit-breakers: not signed in, or a key that is not valid",
        "Refused: an unknown key from 127.0.0.1, GET /circuit-breakers: not signed in, or a key that is not valid",
    ]
    for hidden in (secret, "hidden", "tpcb_not-a-key"):
        assert hidden not in caplog.text


def test_a_click_that_is_refused_is_told_also_where_the_answer_is_a_page(viewer: User, lines):
    client = Client()
    client.force_login(viewer)
    for accept in ("text/html", "application/json"):
        client.post("/dashboard/reset", {"target": "a 1"}, HTTP_ACCEPT=accept)
    assert [line.split(",")[0] for line in lines()] == [
        "Refused: user:victor from 127.0.0.1",
        "Refused: user:victor from 127.0.0.1",
    ]


def test_the_admin_and_foreign_pages_are_told_too(viewer: User, operator: User, lines):
    client = Client()
    client.force_login(viewer)
    client.get("/admin/breakers/apikey/add/")
    foreign = Client(enforce_csrf_checks=True)
    foreign.force_login(operator)
    foreign.post("/dashboard/reset")
    assert [line.split(" from")[0] for line in lines()] == ["Refused: user:victor", "Refused: user:olivia"]


def test_nobody_writes_lines_of_their_own(lines):
    refused(who="eve\nRefused: root", what="GET /\r\n" + "x" * 500, where="1.2.3.4", why="because")
    (line,) = lines()
    assert "\n" not in line
    assert "\r" not in line
    assert len(line) < 300


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("application", "path"), [(AgentConsumer, "/ws/agent"), (FeedConsumer, "/ws/feed")])
async def test_refused_sockets_are_told(application, path, lines):
    headers = [(b"authorization", b"Bearer tpcb_wrong")]
    socket = WebsocketCommunicator(application.as_asgi(), path, headers)
    socket.scope["client"] = ["10.1.2.3", 5]
    connected, _ = await socket.connect(timeout=10)
    assert not connected
    (line,) = lines()
    assert "from 10.1.2.3" in line
    assert path in line
    assert "tpcb_wrong" not in line


# --- rates ------------------------------------------------------------------------------------------------------


def test_a_key_makes_a_hundred_requests_a_second_and_more_wait(settings, key, lines, clock: Clock):
    settings.CIRCUIT_BREAKER_KEY_RATE = 100.0
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key('read', name='grafana')}")
    assert {client.get("/circuit-breakers").status_code for _ in range(200)} == {200}, "two seconds' worth at once"
    clock.now += 1
    assert {client.get("/circuit-breakers").status_code for _ in range(100)} == {200}
    answer = client.get("/circuit-breakers")
    assert (answer.status_code, answer.json()["error"]["code"], answer["Retry-After"]) == (429, "throttled", "1")
    assert lines() == ["Refused: key:grafana from 127.0.0.1, GET /circuit-breakers: too many requests"]
    other = APIClient()
    other.credentials(HTTP_AUTHORIZATION=f"Bearer {key('read', name='another')}")
    assert other.get("/circuit-breakers").status_code == 200


def test_people_and_strangers_have_rates_of_their_own(settings, viewer: User, ground):
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    settings.CIRCUIT_BREAKER_USER_RATE = settings.CIRCUIT_BREAKER_ANONYMOUS_RATE = 0.5  # a burst of one
    person, stranger = APIClient(), APIClient()
    person.force_login(viewer)
    assert [client.get("/alerts").status_code for client in (stranger, stranger, person, person)] == [
        200,
        429,
        200,
        429,
    ]
    assert stranger.get("/alerts", REMOTE_ADDR="10.9.9.9").status_code == 200
    assert stranger.get("/health").status_code == 200, "an orchestrator that asks too often must not kill us"


def test_wrong_keys_are_slowed_down_and_a_right_one_from_elsewhere_is_not(key, django_assert_num_queries):
    wrong, right = APIClient(), APIClient()
    wrong.credentials(HTTP_AUTHORIZATION="Bearer tpcb_wrong")
    right.credentials(HTTP_AUTHORIZATION=f"Bearer {key('read')}")
    for _ in range(2000):
        if wrong.get("/alerts").status_code == 429:
            break
    else:
        pytest.fail("two thousand wrong keys, and nobody minded")
    assert right.get("/alerts", REMOTE_ADDR="10.9.9.9").status_code == 200


@pytest.mark.parametrize("address", ["/alerts", "/circuit-breakers"])
def test_a_key_that_was_right_is_not_made_to_wait_for_the_wrong_ones_of_its_neighbours(key, address):
    wrong, right = APIClient(), APIClient()
    wrong.credentials(HTTP_AUTHORIZATION="Bearer tpcb_wrong")
    right.credentials(HTTP_AUTHORIZATION=f"Bearer {key('read')}")
    assert right.get(address).status_code == 200
    assert 429 in {wrong.get(address).status_code for _ in range(200)}
    assert right.get(address).status_code == 200


# --- settings ---------------------------------------------------------------------------------------------------

DOCUMENTED = {
    "DJANGO_SECURE": "1",
    "DJANGO_ALLOWED_HOSTS": "breakers.example.com",
    "DJANGO_CSRF_TRUSTED_ORIGINS": "https://breakers.example.com",
    "CIRCUIT_BREAKER_PROXIES": "1",
}
PRINT = """
import django; django.setup()
from django.conf import settings as s
print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_SSL_REDIRECT, s.SECURE_HSTS_SECONDS)
print(s.SECURE_PROXY_SSL_HEADER)
"""


def server(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = ("DJANGO_", "CIRCUIT_BREAKER_", "DATABASE_URL", "REDIS_URL")
    given = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    given |= {"DJANGO_SETTINGS_MODULE": "tradpal_cb.settings", "DJANGO_SECRET_KEY": secrets.token_urlsafe(50)}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**given, **environment}, capture_output=True, text=True)


def test_check_deploy_is_clean_with_the_documented_settings():
    found = server("manage.py", "check", "--deploy", "--fail-level", "WARNING", **DOCUMENTED)
    assert (found.returncode, found.stdout) == (0, "System check identified no issues (0 silenced).\n"), found.stderr


def test_secure_makes_everything_https_and_without_it_nothing_redirects():
    assert server("-c", PRINT, **DOCUMENTED).stdout == "True True True 31536000\n('HTTP_X_FORWARDED_PROTO', 'https')\n"
    assert server("-c", PRINT).stdout == "False False False 0\nNone\n"


def test_what_is_asked_from_inside_is_not_redirected(settings, db):
    settings.SECURE_SSL_REDIRECT = True
    client = Client()
    assert client.get("/health").status_code == 200
    assert client.get("/dashboard").status_code == 301


UNWISE = [
    # what is set, and what is said of it
    ({"DJANGO_ALLOWED_HOSTS": "b.example", "CIRCUIT_BREAKER_PUBLIC_READ": "1"}, "breakers.W001"),
    ({"DJANGO_ALLOWED_HOSTS": "b.example,*"}, "breakers.W002"),
    ({"DJANGO_ALLOWED_HOSTS": "b.example", "DJANGO_DEBUG": "1"}, "breakers.W003"),
    ({"DJANGO_SIGN_IN_LOCK_MINUTES": "0"}, "breakers.W004"),
    ({"DJANGO_SECURE": "1"}, "breakers.W005"),
    ({"CIRCUIT_BREAKER_PUBLIC_URL": "breakers.example.com"}, "breakers.W006"),
    ({"CIRCUIT_BREAKER_HISTORY_DAYS": "0"}, "breakers.E001"),
    ({"CIRCUIT_BREAKER_KEY_RATE": "99"}, "breakers.E003"),
    ({"DJANGO_SIGN_IN_ATTEMPTS": "0"}, "breakers.E004"),
    ({"CIRCUIT_BREAKER_PUBLIK_READ": "1"}, "tradpal_cb.W001"),
]
CHECK = """
import os, sys
os.environ.update(eval(sys.argv[1]))
import django; django.setup()
from django.core.checks import run_checks
print(*(found.id for found in run_checks() if found.id.startswith(("breakers", "tradpal"))))
"""


def test_settings_that_nobody_would_have_meant_are_told():
    """All of them in one process: each variable says its own; W003 is about a server that W001 and W002 excuse."""
    together = {key: value for values, _ in UNWISE for key, value in values.items()}
    told = set(server("-W", "ignore", "-c", CHECK, repr(together)).stdout.split())
    assert told == {said for _, said in UNWISE} - {"breakers.W001", "breakers.W002"}
    del together["DJANGO_DEBUG"]
    together["DJANGO_ALLOWED_HOSTS"] = "b.example,*"
    told = set(server("-W", "ignore", "-c", CHECK, repr(together)).stdout.split())
    assert told == {said for _, said in UNWISE} - {"breakers.W003"}


def test_who_fails_behind_forged_addresses_is_locked_all_the_same_and_locks_nobody_else(operator: User, settings):
    for proxies, last in ((0, ""), (1, ", 10.7.7.7")):
        settings.CIRCUIT_BREAKER_PROXIES = proxies
        forged = [f"6.6.6.{number}{last}" for number in range(5)]
        answers = [sign_in("olivia", "wrong", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=one) for one in forged]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429]
        again = sign_in("olivia", PASSWORD, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=f"9.9.9.9{last}")
        assert again.status_code == 429
        victim = "6.6.6.1" if proxies else ""
        whose = {"HTTP_X_FORWARDED_FOR": victim} if proxies else {"REMOTE_ADDR": "6.6.6.1"}
        assert sign_in("olivia", PASSWORD, **{"REMOTE_ADDR": "10.0.0.1", **whose}).status_code == 302


def test_an_administrator_unlocks_by_a_command_or_in_the_admin(operator: User, admin_user: User):
    def lock() -> None:
        assert [sign_in("olivia", "wrong").status_code for _ in range(5)][-1] == 429
        assert sign_in("olivia", PASSWORD).status_code == 429

    lock()
    call_command("axes_reset")
    assert sign_in("olivia", PASSWORD).status_code == 302
    lock()
    client = Client()
    client.force_login(admin_user)
    kept = [str(pk) for pk in AccessAttempt.objects.values_list("pk", flat=True)]
    page = "/admin/axes/accessattempt/"
    client.post(page, {"action": "delete_selected", "_selected_action": kept, "post": "yes"})
    assert sign_in("olivia", PASSWORD).status_code == 302


def test_who_comes_by_https_through_the_proxy_is_told_to_stay_with_it(settings, db):
    settings.SECURE_HSTS_SECONDS, settings.SECURE_SSL_REDIRECT = 3600, True
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    client = Client()
    by_https = client.get("/dashboard/login", headers={"X-Forwarded-Proto": "https"})
    assert by_https["Strict-Transport-Security"].startswith("max-age=3600")
    assert by_https.cookies["csrftoken"]["secure"]
    assert client.get("/dashboard/login", headers={"X-Forwarded-Proto": "http"}).status_code == 301


def test_no_error_page_shows_a_password_of_the_settings(settings, rf):
    settings.DEBUG = True
    settings.REDIS_URL = "redis://:h1dden-1@redis:6379/0"
    settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": ["redis://x:h1dden-2@redis:6379/0"]}}}
    settings.OTHERS = {"default": {"PASSWORD": "h1dden-3"}}
    settings.SECRET_KEY = "h1dden-4"
    page = technical_500_response(rf.get("/"), ValueError, ValueError("something else"), None).content.decode()
    assert "redis://***" in page
    assert "h1dden" not in page
    assert "h1dden" not in repr(settings)


def test_pages_send_who_may_not_look_to_sign_in_and_say_so_of_who_has(stranger: User, lines):
    client = Client()
    client.get("/admin/")
    client.get("/dashboard", headers={"Accept": "text/html"})
    assert lines() == []
    client.post("/admin/breakers/apikey/add/")
    client.force_login(stranger)
    client.get("/admin/breakers/apikey/")
    client.post("/dashboard/connect", {"name": "x"})
    assert [line.split("Refused: ")[1] for line in lines()] == [
        "nobody from 127.0.0.1, POST /admin/breakers/apikey/add/: sent to sign in",
        "user:stan from 127.0.0.1, GET /admin/breakers/apikey/: sent to sign in",
        "user:stan from 127.0.0.1, POST /dashboard/connect: not allowed",
    ]


def test_a_key_rate_below_what_is_promised_and_any_host_are_told(settings):
    settings.CIRCUIT_BREAKER_KEY_RATE = 99
    assert [found.id for found in checks.key_rate(None)] == ["breakers.E003"]
    settings.CIRCUIT_BREAKER_KEY_RATE = 100
    assert checks.key_rate(None) == []
    settings.ALLOWED_HOSTS = ["b.example", "*"]
    assert [found.id for found in checks.any_host(None)] == ["breakers.W002"]
    settings.ALLOWED_HOSTS = ["b.example"]
    assert checks.any_host(None) == []
    assert set(checks.ALL) <= set(registry.get_checks())
