"""The server's variables: declared once, read with care, and told on the page as they are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from breakers.client.requests import DEFAULT_TIMEOUT
from tests.servers import clean_environment
from tradpal_cb import settings_page, variables

ROOT = Path(__file__).resolve().parent.parent
EVERY = list(variables.every())
LIBRARY = "\n".join(
    path.read_text() for folder in ("core", "client") for path in (ROOT / "breakers" / folder).glob("*.py")
)


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env={**clean_environment(), **environment}, capture_output=True, text=True, timeout=50,
    )  # fmt: skip


def test_the_page_is_what_the_code_says() -> None:
    written = settings_page.FILE.read_text()
    assert settings_page.page(written) == written, "run python -m tradpal_cb.settings_page"


def test_every_section_and_so_every_variable_has_its_table_on_the_page() -> None:
    assert re.findall(r"<!-- variables: (.+) -->", settings_page.FILE.read_text()) == list(settings_page.TABLES)


def test_the_settings_read_each_variable_once_and_nothing_past_the_list() -> None:
    source = (ROOT / "tradpal_cb" / "settings.py").read_text()
    read = re.findall(r"variables\.([A-Z_]+)\.read\(", source)
    declared = [name for name, one in vars(variables).items() if isinstance(one, variables.Variable)]
    assert sorted(read) == sorted(declared)
    assert len(declared) == len(EVERY) == len({one.name for one in EVERY})
    assert "environ" not in source


def test_the_variables_of_services_are_those_that_the_library_reads() -> None:
    read = set(re.findall(r"\bCIRCUIT_BREAKER_[A-Z_]+[A-Z]\b", LIBRARY)) - {"CIRCUIT_BREAKER_SERVICE"}
    told = {variable.name: variable.default for variable in variables.OF_SERVICES}
    shared = {variable.name for variable in variables.every()}  # the server's own, where both mean the same
    assert read - set(told) - shared == set()
    assert all(name.removeprefix("CIRCUIT_BREAKER_SERVICE_") in LIBRARY for name in told)
    assert float(told["CIRCUIT_BREAKER_SERVICE_TIMEOUT"]) == DEFAULT_TIMEOUT


@pytest.mark.parametrize(
    ("variable", "given", "sentence"),
    [
        (variables.DEBUG, "ture", "DJANGO_DEBUG is 'ture'; it must be 1 or 0"),
        (variables.PROXIES, "-1", "CIRCUIT_BREAKER_PROXIES is '-1'; it must be a whole number, 0 or more"),
        (variables.HISTORY_DAYS, "30d", "CIRCUIT_BREAKER_HISTORY_DAYS is '30d'; it must be a whole number, 0 or more"),
        (variables.KEY_RATE, "nan", "CIRCUIT_BREAKER_KEY_RATE is 'nan'; it must be a number above 0"),
        (variables.USER_RATE, "0", "CIRCUIT_BREAKER_USER_RATE is '0'; it must be a number above 0"),
        (variables.LOG_LEVEL, "loud", "DJANGO_LOG_LEVEL is 'loud'; it must be one of DEBUG, INFO, WARNING, ERROR,"),
        (variables.DATABASE, "mysql://u:hunter2@h/d", "DATABASE_URL cannot be read; it must be sqlite:///path or"),
        (variables.DATABASE, "postgres://u:hunter2@h:port/d", "DATABASE_URL cannot be read; it must be sqlite:///path"),
        (variables.DATABASE, "postgres://u:hunter2@h", "DATABASE_URL cannot be read; it must be sqlite:///path"),
        (variables.DATABASE, "hunter2", "DATABASE_URL cannot be read; it must be sqlite:///path or postgres://"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_a_sentence_and_no_secret(
    variable: variables.Variable[object], given: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable.name, given)
    with pytest.raises(ImproperlyConfigured) as refused:
        variable.read()
    assert str(refused.value).startswith(sentence)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "given", "means"),
    [
        (variables.PUBLIC_READ, "Yes", True),
        (variables.AUTO_REGISTER, "off", False),
        (variables.ALLOWED_HOSTS, "a.example, b.example,", ["a.example", "b.example"]),
        (variables.KEY_RATE, "250", 250.0),
        (variables.LOG_LEVEL, "debug", "DEBUG"),
        (variables.PROXIES, " 2 ", 2),
    ],
)
def test_a_value_is_read_as_it_was_meant(
    variable: variables.Variable[object], given: str, means: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable.name, given)
    assert variable.read() == means


@pytest.mark.parametrize("variable", EVERY, ids=lambda variable: variable.name)
def test_an_empty_variable_is_an_absent_one(
    variable: variables.Variable[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable.name, "")
    assert variable.read() == variable.default
    monkeypatch.delenv(variable.name)
    assert variable.read() == variable.default


def test_databases_of_both_engines_are_understood() -> None:
    assert variables.database("postgres://u:p@h:5433/d")["ENGINE"].endswith("postgresql")
    assert variables.database("sqlite:////var/lib/x.sqlite3")["NAME"] == "/var/lib/x.sqlite3"


def test_what_the_address_of_the_database_asks_for_is_kept() -> None:
    code = "from tradpal_cb import settings; print(settings.DATABASES['default']['OPTIONS'])"
    url = "postgres://u:p@h/d?sslmode=require"
    environment = {**clean_environment(), "DJANGO_DEBUG": "1", "DATABASE_URL": url}
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    found = ast.literal_eval(told.stdout)
    assert found.pop("pool")["max_size"] == 12
    assert found == {"sslmode": "require", "connect_timeout": 2}


def test_a_wrong_variable_ends_a_command_with_its_sentence_alone() -> None:
    refused = manage("check", DJANGO_DEBUG="1", CIRCUIT_BREAKER_PROXIES="one")
    assert refused.returncode == 1
    assert refused.stderr == "CIRCUIT_BREAKER_PROXIES is 'one'; it must be a whole number, 0 or more\n"
    assert manage("check").stderr == "DJANGO_SECRET_KEY is required unless DJANGO_DEBUG=1\n"


def test_a_misspelt_variable_is_found_by_the_check() -> None:
    told = manage("check", DJANGO_DEBUG="1", CIRCUIT_BREAKER_HISTORY_DAY="5").stderr
    assert "The variable CIRCUIT_BREAKER_HISTORY_DAY is read by nobody." in told
    assert "Is CIRCUIT_BREAKER_HISTORY_DAYS meant?" in told
    known = {variable.name: "1" for variable in variables.OF_SERVICES}
    assert "read by nobody" not in manage("check", DJANGO_DEBUG="1", **known).stderr
