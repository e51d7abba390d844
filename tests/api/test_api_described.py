"""schemathesis plays the OpenAPI document against a real server, with all checks, as everybody who may knock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ROOT, ServerProcess

HERE = Path(__file__).parent
WIDE = {
    "CIRCUIT_BREAKER_KEY_RATE": "1000000",
    "CIRCUIT_BREAKER_ANONYMOUS_RATE": "1000000",
    "CIRCUIT_BREAKER_USER_RATE": "1000000",
    "CIRCUIT_BREAKER_PROXIES": "1",
    "DJANGO_LOG_LEVEL": "ERROR",
}
AS_EVER = {"PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.api.described_hooks"}
"""With one worker and the seed: the same run every time."""
ROLES = {
    "key: operate": "read,operate", "key: read": "read", "key: agent": "agent",
    "stranger": None, "viewer": None, "operator": None, "editor": None,
}  # fmt: skip
"""To the scopes of its key."""
EVERYTHING = "examples,coverage,fuzzing,stateful"
PEOPLE = {"viewer", "operator", "editor"}
"""Come with a session."""
_SIGN_IN = """
from django.contrib.auth.models import Group, User
from django.test import Client
user = User.objects.create_user("{role}")
user.groups.add(Group.objects.get(name="{role}"))
client = Client()
client.force_login(user)
print(client.session.session_key)
"""
CSRF = "x" * 32
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("described"), environment=WIDE) as server:
        for name in ("bank-api", "data_service"):
            assert server.request("POST", "/circuit-breakers", {"name": name})[0] == 201
        yield server


def headers_of(role: str, server: ServerProcess) -> list[str]:
    """What whoever plays this role sends with each request."""
    scopes = ROLES[role]
    if scopes:
        return [f"Authorization: Bearer {server.create_key(role, scopes)}"]
    if role not in PEOPLE:
        return []
    session = server.python(_SIGN_IN.format(role=role)).split()[-1]
    return [f"Cookie: sessionid={session}; csrftoken={CSRF}", f"X-CSRFToken: {CSRF}"]


@pytest.mark.parametrize("role", ROLES)
def test_every_answer_is_as_described(server, tmp_path, role):
    document = tmp_path / "schema.json"
    document.write_text(json.dumps(server.request("GET", "/schema")[1]))
    who = [part for header in headers_of(role, server) for part in ("-H", header)]
    options = ["--checks", "all", "--max-examples", "2", "--seed", "1", "--workers", "1", "--continue-on-failure"]
    done = subprocess.run(
        [
            sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
            "--config-file", str(HERE / "schemathesis.toml"),
            "run", str(document), "--url", server.url, "--phases", EVERYTHING,
            "--no-color", *options, *who,
        ],
        cwd=tmp_path, env={**os.environ, **AS_EVER},
        capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " 0 selected" not in done.stdout
    assert "Rate limited" not in done.stdout, "then the logic behind it was not tried"
    assert "Traceback" not in server.log.read_text()
