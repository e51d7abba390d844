"""A real control plane in a process of its own, for every test that needs one."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")


def eventually(probe: Callable[[], T], *, within: float = 60.0, what: str = "") -> T:
    """The first true answer of ``probe``, asked again and again; an AssertionError after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what or probe}; last answer: {answer!r}"
        time.sleep(0.02)  # between two looks; what ends the wait is the answer
    return answer


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that would configure the product."""
    ours = ("DJANGO_", "CIRCUIT_BREAKER_", "DATABASE_URL", "REDIS_URL", "PYTHONWARNINGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@functools.cache
def _template() -> tuple[Path, str]:
    """A migrated SQLite file with one key in it, and the key: made once a test session, copied for each server."""
    folder = Path(tempfile.mkdtemp(prefix="breakers-"))
    server = ServerProcess(folder, database=folder / "template.sqlite3")
    server.manage("migrate", "--verbosity", "0")
    token = server.create_key("tests", "agent,read,operate")
    # the write-ahead log is folded in, so that the file alone is the whole database
    server.python("from django.db import connection; connection.cursor().execute('PRAGMA wal_checkpoint(TRUNCATE)')")
    return server.database, token


class ServerProcess:
    """daphne, or with ``tuned`` ``manage.py serve``, on 127.0.0.1 over a SQLite file of its own.

    The port stays the same over restarts. ``listens_on``: a socket that others may have, too, instead of a port.

    ``with ServerProcess(tmp_path) as server:`` gives ``server.url`` and ``server.token`` (a key with every scope).
    """

    def __init__(
        self,
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        database: Path | None = None,
        tuned: bool = False,
        listens_on: socket.socket | None = None,
    ) -> None:
        self.folder = folder
        self._tuned = tuned
        self._socket = listens_on
        self.database = database or folder / "breakers.sqlite3"
        self.port = free_port() if listens_on is None else listens_on.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.token = ""
        self.environment = {
            **clean_environment(),
            "DJANGO_SETTINGS_MODULE": "tradpal_cb.settings",
            "DJANGO_SECRET_KEY": secrets.token_hex(32),
            "DATABASE_URL": f"sqlite:///{self.database}",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.prepare()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def prepare(self) -> None:
        """A migrated database, and a key with the scopes agent, read and operate in ``token``."""
        template, self.token = _template()
        shutil.copy(template, self.database)

    def create_key(self, name: str, scopes: str) -> str:
        return self.manage("create_api_key", name, "--scopes", scopes).strip()

    def start(self, within: float = 120.0) -> None:
        """Returns when ``/health`` answers."""
        assert self._process is None, "already running"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=self._passed,
            )  # fmt: skip
        try:
            eventually(self.is_healthy, within=within, what=f"the server is up; its log: {self.log}")
        except BaseException:
            self.stop()  # nobody else would
            raise

    @property
    def _passed(self) -> tuple[int, ...]:
        return () if self._socket is None else (self._socket.fileno(),)

    @property
    def _command(self) -> list[str]:
        if self._socket is not None:
            return ["manage.py", "serve", "--fd", str(self._socket.fileno())]
        if self._tuned:
            return ["manage.py", "serve", "--port", str(self.port)]
        return ["-m", "daphne", "-b", "127.0.0.1", "-p", str(self.port), "tradpal_cb.asgi:application"]

    def is_healthy(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended:\n{self.log.read_text()[-4000:]}"
        with contextlib.suppress(OSError):
            return self.request("GET", "/health")[0] == 200
        return False

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """``kill -9``."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """SIGTERM, then SIGKILL after 10 s: its exit code. Nothing when it does not run."""
        return None if self._process is None else self._end(signal.SIGTERM)

    def signal(self, sign: signal.Signals) -> None:
        """Lets it go on, or end: :meth:`stop` waits for that."""
        assert self._process is not None
        self._process.send_signal(sign)

    def wait(self) -> int:
        """Exit code of one that ends by itself."""
        assert self._process is not None
        process, self._process = self._process, None
        return process.wait(20)

    def _end(self, sign: signal.Signals) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(sign)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        return process.returncode

    def manage(self, *arguments: str) -> str:
        """Standard output of ``manage.py`` with these arguments, against this server's database."""
        return self._python(str(ROOT / "manage.py"), *arguments)

    def python(self, code: str) -> str:
        """Standard output of ``code`` in another process with Django ready, against this server's database."""
        return self._python("-c", f"import django\ndjango.setup()\n{code}")

    def _python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=50
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr[-4000:]}"
        return done.stdout

    def request(
        self, method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and decoded JSON of one request with the server's key; ``OSError`` when nobody answers."""
        content = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.url}{path}", content, method=method)
        known = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        for name, value in {"Content-Type": "application/json", **known, **(headers or {})}.items():
            asked.add_header(name, value)
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return answer.status, _json(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _json(error.read())


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")
