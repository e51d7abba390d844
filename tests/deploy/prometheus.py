"""A real Prometheus, for the tests that ask one."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.servers import eventually, free_port


class Prometheus:
    """Debian's, over a folder of its own, until the ``with`` ends."""

    def __init__(self, program: str, folder: Path, configuration: Path) -> None:
        self._port = free_port()
        self._command = [
            program, f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self._port}", "--log.level=warn",
        ]  # fmt: skip
        self._log = folder / "prometheus.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        eventually(self._is_ready, what=f"Prometheus is ready; its log: {self._log}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, path: str, **parameters: object) -> Any:
        with urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def now(self, expr: str) -> list[dict[str, Any]]:
        """Labels and value of each sample at this moment."""
        found = self.ask("query", query=expr)["result"]
        return [{**one["metric"], "value": float(one["value"][1])} for one in found]

    def lately(self, expr: str, seconds: float) -> list[dict[str, Any]]:
        """The series of the last so many seconds that have a number at all, a point a second."""
        now = time.time()
        series = self.ask("query_range", query=expr, start=now - seconds, end=now, step=1)["result"]
        return [one for one in series if any(value != "NaN" for _, value in one["values"])]
