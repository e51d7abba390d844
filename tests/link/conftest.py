"""One server process for the tests that leave it running; services that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.programs import ServiceProcess
from tests.servers import ServerProcess

Start = Callable[..., ServiceProcess]


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
def start_service(tmp_path: Path) -> Iterator[Start]:
    """``start_service(server, "name")``: a linked service process."""
    with ExitStack() as stack:

        def start(server: ServerProcess, name: str = "trading_service") -> ServiceProcess:
            service = stack.enter_context(ServiceProcess(server, name, log=tmp_path / f"{name}.log"))
            return service.linked()

        yield start
