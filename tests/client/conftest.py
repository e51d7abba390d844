"""A server that misbehaves, a session whose pool has room for one connection, and a real control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from breakers.client import CircuitBreakerServiceClient
from tests.misbehaving import Server, misbehaving
from tests.servers import ServerProcess


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with misbehaving() as made:
        yield made


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Room for one connection, so that one that leaks is missed by the next request."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as made:
        yield made


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A real one, shared: each test takes names of its own."""
    with ServerProcess(tmp_path_factory.mktemp("control_plane")) as made:
        yield made


@pytest.fixture
async def client(control_plane: ServerProcess) -> AsyncIterator[CircuitBreakerServiceClient]:
    async with CircuitBreakerServiceClient(control_plane.url, token=control_plane.token) as made:
        yield made
