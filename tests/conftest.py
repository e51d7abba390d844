"""What every test may need: a database in a real file, a fleet that remembers nothing, and people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connections
from hypothesis import HealthCheck, settings

from breakers.models import Revision
from breakers.services import Actor, api_key_create

GROUPS: dict[str, list[str]] = import_module("breakers.migrations.0002_groups").GROUPS
PASSWORD = "correct horse battery staple"

# how long an example takes says something of the machine, and nothing of what is tested
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# whoever changes something else meets the same examples; new ones are looked for by --hypothesis-profile=search
settings.register_profile("suite", settings.get_profile("search"), derandomize=True)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SQLite in a file, as in production: in memory, threads would share a lock that production has not."""
    database = connections.databases["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(autouse=True)
def _empty_fleet() -> Iterator[None]:
    """The process's one fleet outlives a test; what it remembers must not."""
    yield
    if "breakers.fleet" in sys.modules:  # most tests of the library never load it
        sys.modules["breakers.fleet"].fleet.clear()


@pytest.fixture(autouse=True)
def _full_buckets() -> Iterator[None]:
    """Who asked how often is remembered by the process; a test begins with nobody having asked."""
    yield
    if "breakers.access.buckets" in sys.modules:
        sys.modules["breakers.access.buckets"].buckets.clear()
    if "breakers.services.known_keys" in sys.modules:
        sys.modules["breakers.services.known_keys"].known_keys.clear()
    for name in ("breakers.access.sessions", "breakers.access.people"):
        if name in sys.modules:
            sys.modules[name].known.clear()
    if "breakers.api.hot" in sys.modules:
        sys.modules["breakers.api.hot"].known_keys.clear()
        sys.modules["breakers.api.hot"].kept_answers.clear()


@pytest.fixture
def ground(db: None) -> None:
    """What the migrations put into the database; a test with real transactions takes it away for the next."""
    Revision.objects.get_or_create(pk=1)
    for name, codenames in GROUPS.items():
        group, made = Group.objects.get_or_create(name=name)
        if made:
            granted = Permission.objects.filter(content_type__app_label="breakers", codename__in=codenames)
            group.permissions.add(*granted)


@pytest.fixture
def person(ground: None) -> Callable[..., User]:
    """``person("alice", "operator")``: a user of staff in that group, or in none. The password is ``PASSWORD``."""

    def make(name: str, *groups: str) -> User:
        user = User.objects.create_user(name, password=PASSWORD, is_staff=bool(groups))
        user.groups.set(Group.objects.filter(name__in=groups))
        return user

    return make


@pytest.fixture
def operator(person: Callable[..., User]) -> User:
    return person("olivia", "operator")


@pytest.fixture
def viewer(person: Callable[..., User]) -> User:
    return person("victor", "viewer")


@pytest.fixture
def editor(person: Callable[..., User]) -> User:
    return person("edith", "editor")


@pytest.fixture
def stranger(person: Callable[..., User]) -> User:
    """Somebody with an account and no group; who has not even that is an anonymous client."""
    return person("stan")


@pytest.fixture
def key(ground: None) -> Callable[..., str]:
    """``key("agent", "read")``: the secret of a new key of these scopes."""

    def make(*scopes: str, name: str = "") -> str:
        return api_key_create(name=name or "-".join(scopes), scopes=scopes, by=Actor("system"))[1]

    return make


@pytest.fixture
def service_key(key: Callable[..., str]) -> str:
    """What a service is given: it may link and nothing else."""
    return key("agent", name="trading_service")
