"""One server process for the tests that leave it running; services that end with the test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.programs import ServiceProcess
from tests.servers import ServerProcess

Start = Callable[..., ServiceProcess]
_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """For tests that neither stop it nor mind other breakers than their own: use names of your own."""
    with ServerProcess(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """For tests that stop it, kill it, or change its database."""
    with ServerProcess(tmp_path) as server:
        yield server


@pytest.fixture
def fresh() -> str:
    """The name of a breaker that no other test has."""
    return f"fresh_{next(_NUMBERS)}"


@pytest.fixture
def start_service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """``start_service(server, "name")``: a linked service process; by the database with the parameter "database"."""
    by_database = getattr(request, "param", "websocket") == "database"
    with ExitStack() as stack:

        def start(server: ServerProcess, name: str = "trading_service") -> ServiceProcess:
            service = stack.enter_context(
                ServiceProcess(server, name, log=tmp_path / f"{name}.log", by_database=by_database)
            )
            return service.linked()

        yield start
