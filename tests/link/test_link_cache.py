"""What a process remembers of the fleet's wishes when the control plane is away at its start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from breakers.client.cache import DesiredCache
from breakers.core.config import CircuitBreakerConfig
from breakers.core.states import Override
from breakers.core.wire import DesiredBreaker, DesiredOverride
from tests.programs import ServiceProcess
from tests.servers import ServerProcess, eventually

ROW = DesiredBreaker("api", 7, 2, CircuitBreakerConfig(name="api", failure_threshold=9).as_dict())


def forced(expires_in: float | None) -> DesiredBreaker:
    return DesiredBreaker("api", 7, override=DesiredOverride(Override.FORCED_OPEN, "INC-1", expires_in))


def cache_at(path: Path, now: float = 1000.0) -> DesiredCache:
    return DesiredCache(path, wall=lambda: now)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    cache_at(tmp_path / "cache").write([ROW])
    assert cache_at(tmp_path / "cache").read() == (ROW,)


def test_no_file_is_nothing_remembered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert cache_at(tmp_path / "cache").read() == ()
    assert not caplog.records


def test_an_override_runs_on_while_nobody_looks(tmp_path: Path) -> None:
    cache_at(tmp_path / "cache").write([forced(60.0)])
    assert cache_at(tmp_path / "cache", now=1020.0).read() == (forced(40.0),)
    assert cache_at(tmp_path / "cache", now=1060.0).read()[0].override is None
    assert cache_at(tmp_path / "cache", now=900.0).read() == (forced(60.0),)  # the wall clock was set back


def test_an_override_without_an_end_stays(tmp_path: Path) -> None:
    cache_at(tmp_path / "cache").write([forced(None)])
    assert cache_at(tmp_path / "cache", now=1e9).read() == (forced(None),)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"{}",
        b'{"saved_at": "x", "desired": {}}',
        b'{"saved_at": 1, "desired": {"type": "desired", "revision": "7"}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_passed_over_with_a_warning(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_bytes(damage)
    assert cache_at(tmp_path / "cache").read() == ()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_place_that_cannot_be_written_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = cache_at(tmp_path / "missing" / "cache")
    cache.write([ROW])
    cache.write([ROW])
    assert [record.levelname for record in caplog.records if record.levelname == "WARNING"] == ["WARNING"]


def test_the_file_is_replaced_whole_and_only_when_something_changed(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    cache = cache_at(path)
    cache.write([ROW])
    first = os.stat(path).st_ino
    cache.write([ROW])
    assert os.stat(path).st_ino == first
    cache.write([ROW, forced(1.0)])
    assert os.stat(path).st_ino != first
    assert os.listdir(tmp_path) == ["cache"]


def test_a_process_starts_with_what_it_remembers_while_the_server_is_away(
    own_server: ServerProcess, tmp_path: Path
) -> None:
    environment = {"CIRCUIT_BREAKER_CACHE_FILE": str(tmp_path / "cache")}
    with ServiceProcess(own_server, environment=environment) as service:
        service.linked().ask("breaker", name="cached")
        eventually(lambda: own_server.request("GET", "/circuit-breakers/cached")[0] == 200)
        own_server.request("PATCH", "/circuit-breakers/cached/config", {"failure_threshold": 2})
        eventually(lambda: "failure_threshold" in _text(tmp_path / "cache"))
    own_server.kill()
    with ServiceProcess(own_server, environment=environment) as service:
        service.ask("breaker", name="cached")
        assert service.ask("config", name="cached")["failure_threshold"] == 2


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
