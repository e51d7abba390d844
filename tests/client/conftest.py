"""A server that misbehaves, and a session whose pool has room for one connection."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.misbehaving import Server, misbehaving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with misbehaving() as made:
        yield made


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Room for one connection, so that one that leaks is missed by the next request."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as made:
        yield made
