"""Services in processes of their own, told what to do by a test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.servers import ROOT, ServerProcess, clean_environment, eventually


class ServiceProcess:
    """A service, linked to ``server`` unless told otherwise.

    ``service.ask("call", name="api", times=5)`` runs a command of ``tests/service_program.py`` there.
    """

    def __init__(
        self,
        server: ServerProcess | None = None,
        name: str = "trading_service",
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        by_database: bool = False,
    ) -> None:
        """``by_database``: linked by the server's database, whether the server runs or not."""
        self.name, self._server, self._by_database = name, server, by_database
        if server is not None and by_database:
            environment = {**server.environment, **(environment or {})}
        self._log = (log or Path("/dev/null")).open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "service_program.py")],
            cwd=ROOT, env={**clean_environment(), "PYTHONPATH": str(ROOT), **(environment or {})},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        if self._server is not None and self._by_database:
            self.ask("connect_database", service=self.name)
        elif self._server is not None:
            self.ask("connect", service=self.name, url=self._server.url, token=self._server.token)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, command: str, **arguments: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"{self.name} ended with {self._process.wait(10)}"
        answer = json.loads(line)
        assert "error" not in answer, f"{command}: {answer['error']}"
        return answer["answer"]

    def linked(self) -> Self:
        """Waits until it is."""
        eventually(lambda: self.ask("status")["connected"], what=f"{self.name} is linked")
        return self

    def kill(self) -> None:
        """``kill -9``."""
        self._process.kill()
        self._finish()

    def end(self) -> int:
        """Lets it end by itself, as a program does, and returns its code; kills it after 10 s. Again: the same code."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
        return self._finish()

    def _finish(self) -> int:
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None and not pipe.closed:
                pipe.close()
        return self._process.wait()
