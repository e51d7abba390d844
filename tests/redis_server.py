"""A real Redis in a process of its own, for every test that needs one."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest
from redis import Redis, RedisError

from tests.servers import eventually, free_port


class RedisServer:
    """``redis-server`` on 127.0.0.1; the port and, with ``durable``, what it holds stay the same over restarts."""

    def __init__(self, folder: Path, *, durable: bool = False, options: Sequence[str] = ()) -> None:
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._keep = ["--appendonly", "yes", "--appendfsync", "always"] if durable else ["--appendonly", "no"]
        self._keep += options
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when it answers."""
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                    "--dir", str(self._folder), *self._keep,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        eventually(self._answers, what="Redis answers")

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """Nothing when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(sign)
            process.wait(10)

    def kill(self) -> None:
        """``kill -9``."""
        self.stop(signal.SIGKILL)

    def client(self) -> Redis:
        """To be closed by the caller."""
        return Redis.from_url(self.url)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "redis.log").read_text()[-2000:]
        with self.client() as redis:
            try:
                return bool(redis.ping())
            except RedisError:
                return False
