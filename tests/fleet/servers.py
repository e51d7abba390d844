"""Several servers in one process: fleets with one clock, and shelves on which each lays what it passes on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgpack

from breakers.core.wire import Report
from breakers.fleet import MergedFleet, PassedInstance
from tests.fleet.conftest import START, Linked, Scene

UNSTEADY = ("rates", "failure_rate", "trend", "since")
Shelf = dict[str, tuple[int, bytes]]
"""Instance to the version at which it last changed, and what is said of it."""


class Server(Scene):
    """A scene whose clock is the house's."""

    def __init__(self, house: Servers, name: str) -> None:
        self.house = house
        super().__init__()
        self.name = name
        self.fleet = MergedFleet(lambda: house.now)
        self.fleet.share()
        self.shelf: Shelf = {}
        self.version = 0
        self.read: dict[str, int] = {}
        self.recovered: list[str] = []

    @property
    def now(self) -> datetime:
        return self.house.now

    @now.setter
    def now(self, _: datetime) -> None:
        """The house says what time it is."""

    def lay_down(self) -> None:
        self.version += 1
        changed = {passed.id: (self.version, msgpack.packb(passed)) for passed in self.fleet.unshared()}
        home = {str(one) for one in self.fleet.at_home()}
        self.shelf = {one: blob for one, blob in self.shelf.items() if one in home} | changed
        self.presence = self.fleet.presence()

    def take_in(self, other: Server, *, again: bool = False) -> None:
        """What ``other`` laid down since the last time; all of it ``again``."""
        after = 0 if again else self.read.get(other.name, 0)
        new = [blob for version, blob in other.shelf.values() if version > after]
        self.fleet.adopt(other.name, [PassedInstance(*msgpack.unpackb(blob)) for blob in new])
        if self.read.get(other.name) != other.version:
            self.fleet.hear(other.name, other.presence)
        self.read[other.name] = other.version

    def totals(self, name: str = "bank-api") -> dict[str, int]:
        return {key: count for key, count in self.fleet.metrics(name).items() if key.endswith("_total")}

    def steady_rows(self) -> list[dict[str, Any]]:
        return [{key: value for key, value in row.items() if key not in UNSTEADY} for row in self.fleet.rows()]


class Servers:
    """All of them; each wants the same."""

    def __init__(self, number: int = 2, names: Iterable[str] = ("bank-api",)) -> None:
        self.now = START
        self.all = [Server(self, f"server-{index}") for index in range(number)]
        for server in self.all:
            server.want(*names)

    def link(self, server: int = 0) -> Linked:
        return self.all[server].link()

    def exchange(self, *, again: bool = False) -> None:
        """One beat: everybody lays down, then everybody takes in."""
        for server in self.all:
            server.lay_down()
        for server in self.all:
            for other in self.all:
                if other is not server:
                    server.take_in(other, again=again)

    def wait(self, seconds: float, *, heartbeats: tuple[Linked, ...] = (), exchange: bool = True) -> None:
        """Time passes by the second."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.now = min(self.now + timedelta(seconds=1), end)
            for linked in heartbeats:
                linked.send()
            if exchange:
                self.exchange()
            for server in self.all:
                server.fleet.tick(self.now)


def move(linked: Linked, to: Server) -> Linked:
    """The link breaks and comes back at another server, where it tells all of its breakers anew."""
    linked.disconnect()
    return arrive(linked, to)


def arrive(linked: Linked, to: Server) -> Linked:
    """The same, but the server that it left has not noticed."""
    linked.scene, linked.reports = to, 0
    linked.connect()
    return linked.send(*(linked.status(name, state.value, {}) for name, (state, _) in linked.states.items()))


def late(linked: Linked, server: Server, report: Report) -> None:
    """What was under way to a server when its link broke."""
    server.fleet.report(linked.id, report, server.now)


def instance_of(server: Server, linked: Linked, name: str = "bank-api") -> dict[str, Any]:
    found = {row["instance"]: row for row in server.fleet.instance_rows(name)}
    return found[str(linked.id)]


def ids(server: Server) -> set[UUID]:
    return {UUID(row["instance"]) for row in server.fleet.instances()}


def differences(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Key to both values, a pair of rows, where they differ."""
    pairs = zip(some, others, strict=True)
    found = [{key: (a.get(key), b.get(key)) for key in {*a, *b} if a.get(key) != b.get(key)} for a, b in pairs]
    return [each for each in found if each]
