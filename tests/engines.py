"""Real engines in processes of their own, on loopback and in folders that vanish: Debian's PostgreSQL and nginx."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest

from tests.servers import eventually, free_port

PLACES = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"


def program(name: str, *places: str) -> str:
    """Path of the program; skips the test where it is not installed."""
    found = shutil.which(name, path=":".join((*places, os.environ.get("PATH", ""), PLACES)))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class Postgres:
    """A cluster in a folder of its own; stops and starts on the same port with what it holds."""

    def __init__(self) -> None:
        self._places = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
        self._initdb, self._postgres = program("initdb", *self._places), program("postgres", *self._places)
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres")
        command = [self._initdb, "--pgdata", str(self._data), "--username", "postgres", "--auth", "trust", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._as_whom)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _as_whom(self) -> dict[str, object]:
        """It refuses to run as root."""
        if os.getuid() != 0:
            return {"cwd": self._folder}
        known = pwd.getpwnam("postgres")
        return {"cwd": self._folder, "user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}

    def start(self) -> None:
        """Returns when it takes connections."""
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
            "max_connections": 100, "log_min_messages": "fatal",
        }  # fmt: skip
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._process = subprocess.Popen(
            [self._postgres, "-D", str(self._data), *options], stderr=subprocess.DEVNULL, **self._as_whom
        )
        eventually(lambda: self.run("SELECT 1", check=False) == "1", what="PostgreSQL answers")

    def stop(self) -> None:
        """At once: connections are broken off, what was committed stays."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            process.wait(20)

    def run(self, query: str, *, check: bool = True) -> str:
        command = [program("psql", *self._places), "-X", "-A", "-t", "-d", self.url, "-c", query]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip()


class Nginx:
    """The deployed configuration before servers of this machine; one process, nothing written outside ``folder``."""

    AROUND = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/default.conf;
}}
"""

    def __init__(self, folder: Path, configuration: str) -> None:
        """``configuration`` is what stands in ``conf.d``, with the addresses of this machine."""
        self._program = program("nginx")
        self._folder = folder
        (folder / "default.conf").write_text(configuration)
        (folder / "nginx.conf").write_text(self.AROUND.format(folder=folder))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [self._program, "-c", str(self._folder / "nginx.conf"), "-p", str(self._folder)]
        self._process = subprocess.Popen(command)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)


def deployed(configuration: str, *, port: int, servers: Sequence[int]) -> str:
    """``deploy/nginx/default.conf`` for ``port``, before servers on these ports instead of the two it names."""
    first, *others = servers
    lines = []
    for line in configuration.splitlines():
        if line.strip().startswith("server server-2:8012"):  # all that come after the first are told alike
            lines += [line.replace("server-2:8012", f"127.0.0.1:{server}") for server in others]
        else:
            lines.append(line.replace("server-1:8012", f"127.0.0.1:{first}"))
    return "\n".join(lines).replace("listen 8012", f"listen 127.0.0.1:{port}")
