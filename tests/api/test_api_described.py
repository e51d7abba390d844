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
WIDE = {"CIRCUIT_BREAKER_KEY_RATE": "1000000", "CIRCUIT_BREAKER_ANONYMOUS_RATE": "1000000", "DJANGO_LOG_LEVEL": "ERROR"}
AS_EVER = {"PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.api.described_hooks"}
"""With one worker and the seed: the same run every time."""
EVERYTHING = "examples,coverage,fuzzing,stateful"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("described"), environment=WIDE) as server:
        for name in ("bank-api", "data_service"):
            assert server.request("POST", "/circuit-breakers", {"name": name})[0] == 201
        yield server


@pytest.mark.parametrize(
    ("scopes", "phases"),
    [("read,operate", EVERYTHING), ("read", "examples,fuzzing,stateful"), (None, "examples,fuzzing")],
    ids=["operator", "reader", "stranger"],
)
def test_every_answer_is_as_described(server, tmp_path, scopes, phases):
    document = tmp_path / "schema.json"
    document.write_text(json.dumps(server.request("GET", "/schema")[1]))
    key = ["-H", f"Authorization: Bearer {server.create_key(phases, scopes)}"] if scopes else []
    options = ["--checks", "all", "--max-examples", "2", "--seed", "1", "--workers", "1", "--continue-on-failure"]
    done = subprocess.run(
        [
            sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
            "--config-file", str(HERE / "schemathesis.toml"),
            "run", str(document), "--url", server.url, "--phases", phases, "--no-color", *options, *key,
        ],
        cwd=tmp_path, env={**os.environ, **AS_EVER},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " 0 selected" not in done.stdout
    assert "Traceback" not in server.log.read_text()
