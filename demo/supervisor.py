"""Starts the control plane and the fleet, watches them, and ends them together."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .keeping import kept_secret
from .processes import POLL, Child, end, start

HOST = "127.0.0.1"
SERVER = "server"
INSTANCES = 2
SERVICES = ("trading_service", "portfolio_service", "market_data_service")


class Refused(Exception):
    """A start that cannot be; its text is the sentence for the person."""


class Ended(Exception):
    """A signal, or the death of who started us, asks us to end."""


class Supervisor:
    """The children of one run. ``var`` keeps secrets, database and logs."""

    def __init__(self, var: Path) -> None:
        self.var = var
        self.logs = var / "log"
        self.logs.mkdir(parents=True, exist_ok=True)
        self._children: list[Child] = []
        self._asked = threading.Event()
        self._parent = os.getppid() if "MAKELEVEL" in os.environ else None  # make may be killed without a word
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self._asked.set())

    def start(self, name: str, *arguments: str, **environment: str) -> Child:
        child = start(name, arguments, self.logs, environment)
        self._children.append(child)
        return child

    def wait_for(self, condition: Callable[[], bool], seconds: float = float("inf")) -> bool:
        """Whether it came true in time. Raises :class:`Ended`."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self._asked.wait(POLL) or (self._parent is not None and os.getppid() != self._parent):
                raise Ended
            if time.monotonic() > deadline:
                return False
        return True

    def start_fleet(self, url: str, token: str) -> None:
        """The flaky service and every instance of the services that call it, linked to ``url``."""
        address_file = self.var / "flaky-url"
        address_file.unlink(missing_ok=True)
        flaky = self.start("flaky", "demo.flaky", str(address_file))
        if not self.wait_for(lambda: flaky.ended or address_file.exists(), 30) or flaky.ended:
            raise Refused(f"The flaky service did not start ({flaky.last_words()}); see {flaky.log}.")
        for service in SERVICES:
            for instance in range(1, INSTANCES + 1):
                self.start(
                    f"{service}-{instance}",
                    "demo.services",
                    service,
                    CIRCUIT_BREAKER_SERVICE_URL=url,
                    CIRCUIT_BREAKER_SERVICE_TOKEN=token,
                    DEMO_FLAKY_URL=address_file.read_text(),
                )

    def end(self) -> None:
        """Services first, so that they can take their leave of the server. A few seconds at most."""
        end([child for child in self._children if child.name != SERVER], patience=4)
        end(self._children, patience=4)


def run(var: Path, port: int, announce: Callable[[str], None]) -> int:
    """``make run``: until a signal (0) or until the server ends (1). Raises :class:`Refused`."""
    with _open_lock(var) as lock:
        _be_the_only_one(lock, port)
        _check_port(port)
        supervisor = Supervisor(var)
        try:
            server = _start_server(supervisor, var, port)
            url = f"http://{HOST}:{port}"
            supervisor.start_fleet(url, (var / "fleet-key").read_text().strip())
            password = (var / "operator-password").read_text().strip()
            announce(f"Dashboard  {url}/dashboard")
            announce(f"Sign in    {url}/dashboard/login as operator, password {password}")
            announce("Stop       Ctrl-C")
            supervisor.wait_for(lambda: server.ended)
            raise Refused(f"The server ended ({server.last_words()}), and all with it; see {server.log}.")
        except Ended:
            return 0
        finally:
            supervisor.end()


def run_fleet(var: Path, url: str, token: str, announce: Callable[[str], None]) -> int:
    """The fleet without a server of its own: until a signal."""
    supervisor = Supervisor(var)
    try:
        supervisor.start_fleet(url, token)
        announce(
            f"{len(SERVICES) * INSTANCES} services call, linked to {url}; Ctrl-C ends them; logs in {supervisor.logs}"
        )
        supervisor.wait_for(lambda: False)
        return 0  # never reached: the wait ends with a signal
    except Ended:
        return 0
    finally:
        supervisor.end()


def _open_lock(var: Path) -> IO[str]:
    try:
        var.mkdir(mode=0o700, parents=True, exist_ok=True)  # the database is as secret as the password
        return (var / "run.lock").open("a+")
    except OSError as error:
        raise Refused(f"{var} cannot be written ({error.strerror}); it keeps database and logs.") from None


def _be_the_only_one(lock: IO[str], port: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        raise Refused(
            f"It runs already, on http://{HOST}:{lock.read().strip()}/dashboard; Ctrl-C there ends it."
        ) from None
    lock.truncate(0)
    lock.write(str(port))
    lock.flush()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server: a port at rest is free
        try:
            probe.bind((HOST, port))
        except OverflowError:
            raise Refused(f"{port} is no port; choose one from 1 to 65535.") from None
        except OSError as error:
            why = (
                "is taken by another program"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used ({error.strerror})"
            )
            raise Refused(f"Port {port} {why}; choose another: make run PORT={port + 1}") from None


def _start_server(supervisor: Supervisor, var: Path, port: int) -> Child:
    settings = {
        "DJANGO_SETTINGS_MODULE": "tradpal_cb.settings",
        "DJANGO_SECRET_KEY": kept_secret(var / "secret-key", secrets.token_urlsafe(50)),
        "DJANGO_DEBUG": "0",
        "DATABASE_URL": f"sqlite:///{var / 'control-plane.sqlite3'}",
        "REDIS_URL": "",
        "CIRCUIT_BREAKER_PUBLIC_READ": "1",
    }
    prepared = supervisor.start("prepare", "demo.prepare", str(var), **settings)
    supervisor.wait_for(lambda: prepared.ended)
    if prepared.process.returncode:
        raise Refused(f"The database could not be prepared ({prepared.last_words()}); see {prepared.log}.")
    daphne = ("daphne", "-b", HOST, "-p", str(port), "-v", "0", "tradpal_cb.asgi:application")
    server = supervisor.start(SERVER, "demo.lifeline", *daphne, **settings)
    if not supervisor.wait_for(lambda: server.ended or _healthy(port), 60) or server.ended:
        raise Refused(f"The server did not start ({server.last_words()}); see {server.log}.")
    return server


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False
