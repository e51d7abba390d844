"""A Dockerfile read and performed without a container engine: each step runs in a folder that stands for ``/``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PLACES = ("/opt/venv", "/app", "/build", "/var/lib/breakers")
"""Of the image, absolute: whatever else a step named would be this machine's own."""
FILELESS = ("USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "CMD")


@dataclass(slots=True)
class Stage:
    """``steps`` are (instruction, rest of the line) in order, without the ``FROM``."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        return [rest for word, rest in self.steps if word == instruction][-1]


def read(path: Path) -> list[Stage]:
    """The stages of a Dockerfile: comments dropped, continued lines joined."""
    kept = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    stages: list[Stage] = []
    for line in filter(None, "\n".join(kept).replace("\\\n", " ").splitlines()):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, *alias = rest.split(" AS ")
            stages.append(Stage(base, alias[0] if alias else str(len(stages))))
        else:
            stages[-1].steps.append((word, rest.strip()))
    return stages


def sent(path: str, ignored: list[str]) -> bool:
    """Whether ``path`` is in the build's context; the last pattern that fits decides, as Docker has it."""
    kept = True
    for pattern in ignored:
        tries = [path, *map(str, Path(path).parents)]
        wanted = pattern.removeprefix("!")
        names = [wanted, wanted.removeprefix("**/")]
        if any(fnmatch(one, name) for one in tries for name in names):
            kept = pattern.startswith("!")
    return kept


class Build:
    """The file system that the last stage leaves, below ``root``; its variables in ``environment``."""

    def __init__(self, folder: Path) -> None:
        self.root, self._folder = folder / "root", folder
        self.environment: dict[str, str] = {}
        self.workdir = "/"
        self._ignored = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line[:1] not in ("", "#")]
        self._make_python()

    def _make_python(self) -> None:
        """What the base image brings: a program ``python``. Ours is the one that runs the tests."""
        shim = self._folder / "base" / "python"
        shim.parent.mkdir(parents=True)
        shim.write_text(f'#!/bin/sh\nexec "{sys._base_executable}" "$@"\n')  # type: ignore[attr-defined]  # venv uses it
        shim.chmod(0o755)

    def perform(self, stages: list[Stage]) -> None:
        for stage in stages:
            self.root.mkdir()
            self.environment, self.workdir = {}, "/"
            for word, rest in stage.steps:
                self._perform(word, rest)
            if stage is not stages[-1]:
                self.root.rename(self._folder / stage.name)

    def _perform(self, word: str, rest: str) -> None:
        match word:
            case "WORKDIR":
                self._workdir(rest)
            case "ENV":
                self._env(rest)
            case "RUN":
                self._run(rest)
            case "COPY":
                self._copy(rest)
            case _:
                assert word in FILELESS, f"nobody here can {word}"

    def below(self, text: str) -> str:
        """``text`` with the absolute paths of the image moved below ``root``."""
        named = re.findall(r"(?<![\w./$:])/[\w./-]+", text)
        assert all(path.startswith(PLACES) for path in named), f"{named} would be this machine's"
        return re.sub(rf"/(?=(?:{'|'.join(place[1:] for place in PLACES)})\b)", f"{self.root}/", text)

    def variables(self) -> dict[str, str]:
        """The image's own, over a bare environment; how to reach a package index is the machine's affair."""
        passed = ("PIP_", "SSL_", "UV_", "HOME", "REQUESTS_", "http", "HTTP", "no_proxy", "NO_PROXY")
        bare = {name: value for name, value in os.environ.items() if name.startswith(passed)}
        path = f"{self._folder / 'base'}:/usr/local/bin:/usr/bin:/bin"
        ours = {name: self.below(value).replace("$PATH", path) for name, value in self.environment.items()}
        return {**bare, "PATH": path, **ours}

    def _workdir(self, rest: str) -> None:
        self.workdir = rest
        (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _env(self, rest: str) -> None:
        self.environment.update(pair.split("=", 1) for pair in rest.split())

    def _run(self, rest: str) -> None:
        command = ["sh", "-euc", self._quicker(self.below(rest))]
        folder = self.root / self.workdir.lstrip("/")
        done = subprocess.run(command, cwd=folder, env=self.variables(), capture_output=True, text=True)
        assert done.returncode == 0, f"{rest}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"

    def _quicker(self, command: str) -> str:
        """``pip install`` done by uv, from its cache: the same wheels and hashes in seconds."""
        uv, python = Path(sys.executable).with_name("uv"), self.root / "opt/venv/bin/python"
        install = f"{uv} pip install --quiet --python {python}"
        return re.sub(r"\S+/pip install --no-cache-dir", install, command)

    def _copy(self, rest: str) -> None:
        """One source, to one target."""
        *options, source, target = rest.split()
        assert all(option.startswith("--from=") for option in options), f"nobody here can COPY {rest}"
        stage = options[0].removeprefix("--from=") if options else None
        origin = self._folder / stage / source.lstrip("/") if stage else ROOT / source
        goal = self.root / target.lstrip("/") if target.startswith("/") else self.root / self.workdir[1:] / target
        goal.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, goal, symlinks=True, ignore=None if stage else self._unsent)
        else:
            assert stage or sent(source, self._ignored), f".dockerignore keeps {source} out"
            shutil.copy(origin, goal)

    def _unsent(self, folder: str, names: list[str]) -> list[str]:
        below = Path(folder).relative_to(ROOT)
        return [name for name in names if not sent(str(below / name), self._ignored)]


def words(rest: str) -> list[str]:
    """The words of an instruction in its exec form."""
    found: list[str] = json.loads(rest)
    return found
