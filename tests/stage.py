"""A control plane whose fleet is played: any number of breakers, calm or on fire, with five minutes of past at once.

``python -m tests.stage --port 8100 --breakers 400 --scene incident`` is for the eyes, for pictures and for benchmarks.
The server is the real one; what instances would report goes straight into its memory. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import django

django.setup()

from django.core.management import call_command  # noqa: E402  # needs the app registry, as all below
from django.db import transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from breakers import selectors, services  # noqa: E402
from breakers.agents import serving  # noqa: E402
from breakers.core.config import CircuitBreakerConfig, HttpConfig  # noqa: E402
from breakers.core.latency import LatencyHistogram  # noqa: E402
from breakers.core.states import CircuitBreakerState as State  # noqa: E402
from breakers.core.states import Override  # noqa: E402
from breakers.core.wire import BreakerStatus, Counts, Report, TransitionReport, WindowCounts  # noqa: E402
from breakers.fleet import fleet  # noqa: E402
from breakers.models import ConfigChange, InstanceIdentity  # noqa: E402

SERVICES = (
    *("settlement", "ledger", "fx-quote", "order-router", "kyc", "reporting", "risk-engine", "pricing", "market-data"),
    *("auth", "position", "margin", "matching", "clearing", "wallet", "notify", "limits", "audit", "recon", "treasury"),
)
DEPENDENCIES = (
    *("bank-api", "postgres-primary", "refinitiv-feed", "fix-gateway", "sanctions-api", "s3-archive", "vol-surface"),
    *("hsm-signer", "redis-cache", "kafka", "ldap", "smtp", "rates-api", "swift", "iban-check", "object-store"),
    *("search", "geo-ip", "sms", "billing"),
)
STEP, PAST = 10, 300
"""Seconds between two reports of the past, and how long that is."""
MANY = 10_000
"""From so many breakers of instances on, one instance in four tells at a time."""
SETTINGS: dict[str, Any] = {
    "failure_rate_threshold": 0.5,
    "window_type": "time",
    "window_size": 60,
    "minimum_calls": 50,
}
INCIDENT = (
    # share of instances open, half-open, seconds ago, share of calls that fail
    (0.9, 0.05, 622, 0.642, "64 % failed, limit 50 %, 400 calls in 60 s"),
    (0.2, 0.0, 221, 0.527, "62 % slow, limit 50 %, 124 calls in 30 s"),
    (0.1, 0.1, 148, 0.513, "5 consecutive failures, last: ConnectionRefusedError: [Errno 111] 10.2.0.17:8443"),
    (0.0, 0.3, 112, 0.22, "51 % failed, limit 50 %, 96 calls in 60 s"),
    (0.0, 0.05, 26, 0.333, "52 % failed, limit 50 %, 60 calls in 60 s"),
)
ALICE, MEYER = services.Actor("user", "a.rossi"), services.Actor("user", "k.meyer")
CAUSES = {
    "recovery_timeout": "The wait of 30 s is over",
    "probe_failed": "The probe failed: ConnectTimeout after 2.0 s",
}


@dataclass
class Role:
    """What happens to one breaker: so many of its service's instances trip so long ago."""

    name: str
    service: str
    traffic: float
    """Calls a second on one instance."""
    opened: int = 0
    half_open: int = 0
    ago: float = 0.0
    share: float = 0.01
    cause: str = INCIDENT[0][-1]


@dataclass
class Player:
    """One instance: what it has counted so far, a breaker."""

    identity: InstanceIdentity
    reports: int = 0
    counts: dict[str, list[int]] = field(default_factory=dict)
    latency: dict[str, LatencyHistogram] = field(default_factory=dict)


def roles(breakers: int, instances: int, scene: str) -> list[Role]:
    """``calm``: nothing is wrong; ``incident``: what an on-call engineer is called for; ``fire``: a third is open."""
    chance, made = random.Random(7), []
    for place in range(breakers):
        series = place // len(DEPENDENCIES)
        name = DEPENDENCIES[place % len(DEPENDENCIES)] + (f"-{series + 1}" if series else "")
        made.append(Role(name, SERVICES[place % len(SERVICES)], chance.choice((0.0, 0.2, 2.0, 8.0))))
    if scene == "incident":
        for role, (opened, half_open, ago, share, cause) in zip(made, INCIDENT, strict=False):
            role.opened, role.half_open, role.ago = round(opened * instances), round(half_open * instances), ago
            role.share, role.cause, role.traffic = share, cause, 9.0
    elif scene == "fire":
        for role in chance.sample(made, max(1, breakers // 3)):
            role.opened, role.ago = chance.randint(1, instances), chance.randint(20, 1500)
            role.share, role.traffic = 0.5 + chance.random() / 2, 6.0
    return made


class Stage:
    """Plays the roles into the fleet of this process."""

    def __init__(self, breakers: int, instances: int, scene: str) -> None:
        self.roles = roles(breakers, instances, scene)
        self.calm, self.thin = scene == "calm", breakers * instances > MANY
        self.players: dict[str, list[Player]] = {}
        self._instances = instances
        self._chance = random.Random(11)
        self._sequence = 0
        self._begun = timezone.now()

    def build(self) -> None:
        """Configs, orders, and five minutes of past."""
        with transaction.atomic():
            for role in self.roles:
                config = CircuitBreakerConfig(name=role.name, **SETTINGS)
                services.breaker_create(name=role.name, config=config, http=HttpConfig(), group=role.service, by=MEYER)
        if not self.calm:
            self._order()
        self._begun = now = timezone.now()
        fleet._clock = lambda: now - timedelta(seconds=PAST + STEP)  # rates begin where the past does
        fleet.synchronise()
        fleet._clock = timezone.now
        self._link()
        for step in range(PAST // STEP, -1, -1):
            self.play(now - timedelta(seconds=step * STEP), float(STEP))
        self._remember()

    def _order(self) -> None:
        """Two overrides and an edit; one after the other, as people do them."""
        orders = [
            (Override.FORCED_OPEN, "INC-2291", 3500, ALICE),
            (Override.FORCED_CLOSED, "Shadow run of the new limit", 7000, MEYER),
        ]
        for role, (override, reason, seconds, by) in zip(self.roles[5:7], orders, strict=False):
            until = timezone.now() + timedelta(seconds=seconds)
            services.override_set(
                name=role.name, override=override, reason=reason, expires_at=until, by=by, confirm=True
            )
        row = selectors.breaker(self.roles[0].name)
        config, why = replace(row.config(), recovery_timeout=30.0), "Faster probing, INC-2304"
        services.breaker_edit(name=row.name, config=config, http=row.http_config(), reason=why, by=MEYER)
        ConfigChange.objects.filter(kind="created").update(at=timezone.now() - timedelta(days=15))
        for minutes, change in zip((6, 31, 64), selectors.changes().exclude(kind="created"), strict=False):
            ConfigChange.objects.filter(pk=change.pk).update(at=timezone.now() - timedelta(minutes=minutes))

    def _link(self) -> None:
        started, first = self._begun - timedelta(hours=30), self._begun - timedelta(seconds=PAST + STEP)
        for number, service in enumerate(dict.fromkeys(role.service for role in self.roles)):
            self.players[service] = []
            for place in range(self._instances):
                host = f"{service}-7f9c-{''.join(self._chance.choices('bcdfhkmqxz24578', k=3))}"
                key = UUID(int=(number << 32) + place + 1)
                player = Player(InstanceIdentity(key, service, host, 40 + place, "0.1.0", started))
                self.players[service].append(player)
                fleet.connect(player.identity, first)

    def play(self, at: datetime, seconds: float) -> None:
        """All instances tell of the ``seconds`` that end ``at``; of very many every fourth, of four times as long."""
        stride = 4 if self.thin else 1
        for service, players in self.players.items():
            mine = [role for role in self.roles if role.service == service]
            for place, player in enumerate(players):
                player.reports += 1
                if not self._is_silent(service, place, at):
                    told = mine if (player.reports + place) % stride == 0 else []
                    statuses = tuple(self._status(player, place, role, at, seconds * stride) for role in told)
                    revision = fleet.revision - (place == 3 and service == self.roles[0].service and not self.calm)
                    fleet.report(player.identity.id, Report(player.reports, at.timestamp(), revision, statuses), at)
        fleet.tick(at)

    def _is_silent(self, service: str, place: int, at: datetime) -> bool:
        """In trouble, one service of many loses an instance."""
        lost = not self.calm and place == 1 and service == SERVICES[8]
        return lost and at > self._begun - timedelta(seconds=60)

    def _status(self, player: Player, place: int, role: Role, at: datetime, seconds: float) -> BreakerStatus:
        passed = (at - self._begun).total_seconds()
        sick, age = role.ago > 0 and -passed < role.ago + 30, role.ago + passed - place * 2
        tripped = age > 0 and place < role.opened + role.half_open
        state = (State.OPEN if place < role.opened else State.HALF_OPEN) if tripped else State.CLOSED
        share = role.share * self._chance.uniform(0.9, 1.0) if sick else 0.01
        calls = self._whole(role.traffic * seconds * self._chance.uniform(0.7, 1.3))
        rejected, calls = (calls, self._whole(seconds / 15)) if state is State.OPEN else (0, calls)
        failed = sum(self._chance.random() < share for _ in range(calls))
        counts = player.counts.setdefault(role.name, [0, 0, 0])
        for index, added in enumerate((calls - failed, failed, rejected)):
            counts[index] += added
        latency = player.latency.setdefault(role.name, LatencyHistogram())
        for _ in range(min(calls, 3)):
            latency.record(self._chance.lognormvariate(-3, 0.6))
        edited = role is self.roles[0] and not self.calm and place != 3
        return BreakerStatus(
            role.name,
            state,
            {State.CLOSED: 1, State.OPEN: 1000, State.HALF_OPEN: 1001}[state],
            state_age=max(age, 0.0),
            retry_in=self._chance.uniform(4, 28) if state is State.OPEN else None,
            config_version=2 if edited else 1,
            counts=Counts(*counts),
            window=WindowCounts(400, round(400 * share), 8) if role.traffic >= 2 else WindowCounts(),
            latency={str(bucket): count for bucket, count in latency.counts.items()},
        )

    def _whole(self, mean: float) -> int:
        return int(mean) + (self._chance.random() < mean % 1)

    def _remember(self) -> None:
        """Each open instance has opened, probed and opened again since its breaker tripped."""
        batch = [told for role in self.roles for told in self._transitions(role)]
        batch.sort(key=lambda told: told[1].at)
        services.transitions_record(batch=batch)
        for identity, told in batch:
            if told.reason != "probe_failed":  # what first went wrong says more
                fleet.report(identity.id, Report(1, self._begun.timestamp(), fleet.revision, (), (told,)), self._begun)

    def _transitions(self, role: Role) -> Iterator[tuple[InstanceIdentity, TransitionReport]]:
        ends = self._begun.timestamp()
        for place, player in enumerate(self.players[role.service][: role.opened + role.half_open]):
            at = ends - role.ago + place * 2
            steps = [(State.CLOSED, State.OPEN, "failure_rate", at)]
            while (at := at + 30 + self._chance.random() * 60) < ends - 10:
                probed = at + 2 + self._chance.random() * 3
                steps += [(State.OPEN, State.HALF_OPEN, "recovery_timeout", at)]
                steps += [(State.HALF_OPEN, State.OPEN, "probe_failed", probed)]
            if place >= role.opened:
                steps.append((State.OPEN, State.HALF_OPEN, "recovery_timeout", ends - 5))
            for before, after, reason, moment in steps:
                self._sequence += 1
                cause, when = CAUSES.get(reason, role.cause), min(moment, ends)
                told = (before, after, reason, cause, when)
                yield player.identity, TransitionReport(self._sequence, role.name, *told, 1, 256, 400, role.share)

    def run(self, stop: threading.Event) -> None:
        """A report of everybody each second, until told to stop."""
        while not stop.wait(1.0):
            self.play(timezone.now(), 1.0)


def application() -> Any:
    from tradpal_cb.asgi import application  # starts what runs beside the server

    return application


def serve(stage: Stage, port: int, load: Any = application) -> None:
    """Until SIGTERM or SIGINT."""
    stop = threading.Event()
    playing = threading.Thread(target=stage.run, args=(stop,))
    playing.start()
    try:
        serving.serve(load, bind="127.0.0.1", port=port, patience=1.0, announce=lambda text: print(text, flush=True))
    finally:
        stop.set()
        playing.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--breakers", type=int, default=412)
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--scene", choices=["calm", "incident", "fire"], default="incident")
    given = parser.parse_args()
    call_command("migrate", verbosity=0)
    stage = Stage(given.breakers, given.instances, given.scene)
    stage.build()
    serve(stage, given.port)


if __name__ == "__main__":
    main()
