"""Child processes: started with a log each, and ended together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POLL = 0.05


@dataclass(frozen=True, slots=True)
class Child:
    """One process and the file that has its output."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def last_words(self) -> str:
        """The last line it wrote."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"


def start(name: str, arguments: Iterable[str], logs: Path, environment: Mapping[str, str]) -> Child:
    """``python -m ARGUMENTS``. We hold the child's standard input: our end, of whatever kind, is its end too."""
    log = logs / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own modules
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C comes to us alone, and we end them in order
        )
    return Child(name, process, log)


def end(children: Iterable[Child], patience: float) -> None:
    """Asks all of them, waits at most ``patience`` seconds, then kills."""
    running = [child for child in children if not child.ended]
    for child in running:
        child.process.terminate()
    deadline = time.monotonic() + patience
    for child in running:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        if child.process.stdin is not None:
            child.process.stdin.close()
