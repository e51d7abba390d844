"""The image: linted, its steps performed in an empty folder, and what they leave started. No container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.deploy.container import Container, is_possible
from tests.deploy.dockerfile import ROOT, Build, read, sent, words
from tests.servers import eventually, free_port

DOCKERFILE = ROOT / "Dockerfile"
STAGES = read(DOCKERFILE)
IMAGE = STAGES[-1]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """What the Dockerfile's steps leave: packages from the index, as a build would fetch them."""
    if os.geteuid() != 0:
        pytest.skip("the Dockerfile gives folders to another user, which only root may do")
    build = Build(tmp_path_factory.mktemp("image"))
    build.perform(STAGES)
    return build


def test_the_linter_finds_nothing() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), DOCKERFILE], capture_output=True, text=True, timeout=50
    )
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("script", ["deploy/prepare.sh", ".ci/run"])
def test_shellcheck_finds_nothing_in_what_containers_and_ci_run(script: str) -> None:
    check = Path(sys.executable).with_name("shellcheck")
    linted = subprocess.run([check, ROOT / script], capture_output=True, text=True, timeout=50)
    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_image_runs_as_nobody_in_particular() -> None:
    user, group = IMAGE.last("USER").split(":")
    assert user.isdigit(), "by number: Kubernetes' runAsNonRoot does not look names up"
    assert int(user) >= 10_000
    assert group == user
    order = [word for word, _ in IMAGE.steps]
    assert order.index("USER") > max(i for i, word in enumerate(order) if word in ("RUN", "COPY"))


def test_neither_stage_brings_a_compiler() -> None:
    assert len(STAGES) == 2
    assert {stage.base for stage in STAGES} == {"python:3.11-slim-bookworm"}, "slim: has none"
    assert "apt" not in " ".join(rest for stage in STAGES for word, rest in stage.steps if word == "RUN")
    assert "--only-binary :all:" in STAGES[0].last("RUN"), "nothing needs one"


def test_everything_that_the_server_needs_is_sent_and_nothing_else() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for kept in ("manage.py", "breakers/core/breaker.py", "static/js/feed.js", "templates/base.html"):
        assert sent(kept, ignored)
        assert (ROOT / kept).exists() or kept.startswith(("static", "templates"))
    for left in (".git/config", ".env", "var/operator-password", "db.sqlite3", "tests/conftest.py", ".venv/bin/python"):
        assert not sent(left, ignored)
    assert not sent("breakers/core/__pycache__/breaker.cpython-311.pyc", ignored)


def tree(folder: Path) -> dict[str, int]:
    """Each file below ``folder`` and when it was written, but what Python keeps of packages (pip compiles them)."""
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and _is_told(path)}


def _is_told(path: Path) -> bool:
    return not ("site-packages" in path.parts and path.suffix == ".pyc")


@pytest.mark.timeout(300)  # the first test that needs the image waits until it is built, packages and all
def test_the_image_holds_the_server_and_no_tools_of_the_trade(image: Build) -> None:
    installed = {path.name for path in (image.root / "opt/venv/bin").iterdir()}
    assert {"python", "daphne"} <= installed
    assert not {"pip", "gcc", "cc", "pytest", "uv"} & installed
    assert {path.name for path in (image.root / "app").iterdir()} - {"__pycache__"} == {
        "manage.py", "breakers", "dashboard", "demo", "static", "staticfiles", "templates", "tradpal_cb",
    }  # fmt: skip
    assert (image.root / "var/lib/breakers").stat().st_uid == 10_001


class Started:
    """What the image's own words start: in a container made by hand where that is allowed, else in its folder."""

    def __init__(self, image: Build, folder: Path) -> None:
        self._image = image
        self.port = free_port()
        user, volume = IMAGE.last("USER"), IMAGE.last("VOLUME")
        self.container = Container(image, folder, user=user, volume=volume) if is_possible() else None

    def command(self, words: Sequence[str]) -> list[str]:
        moved = [word.replace("8012", str(self.port)).replace("0.0.0.0", "127.0.0.1") for word in words]
        if self.container is not None:
            return self.container.command(moved)
        program = shutil.which(moved[0], path=self.environment["PATH"])
        assert program is not None
        return [program, *moved[1:]]

    @property
    def folder(self) -> Path:
        return self._image.root / self._image.workdir.lstrip("/")

    @property
    def environment(self) -> dict[str, str]:
        if self.container is None:
            return {**self._image.variables(), "DJANGO_SECRET_KEY": "k" * 50}
        own = {
            name: value.replace("$PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            for name, value in self._image.environment.items()
        }
        return {**own, "DJANGO_SECRET_KEY": "k" * 50}

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(words), cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *words: str) -> tuple[int, str]:
        """How it ended, and what it said."""
        process = self.begin(*words)
        said, _ = process.communicate(timeout=100)
        return process.returncode, said


@pytest.fixture
def started(image: Build, tmp_path: Path) -> Started:
    return Started(image, tmp_path)


HEALTHCHECK = words(re.sub(r".*?CMD ", "", IMAGE.last("HEALTHCHECK")))
WRITTEN = """
import os
for folder in ("/app", "/opt", "/usr", "/etc", "/"):
    for path, _, files in os.walk(folder) if folder == "/app" else [(folder, [], [])]:
        assert not any(os.access(os.path.join(path, one), os.W_OK) for one in ("", *files)), path
for folder in ("/tmp", "/var/lib/breakers"):
    open(os.path.join(folder, "written"), "w").close()
    os.remove(os.path.join(folder, "written"))
print(os.getuid(), os.getgid(), os.getgroups())
"""


@pytest.mark.timeout(300)  # as above
def test_two_who_migrate_at_once_and_then_what_the_image_starts_is_healthy_by_its_own_check(started: Started) -> None:
    migrations = [started.begin("python", "manage.py", "migrate", "-v0") for _ in range(2)]
    said = [process.communicate(timeout=100)[0] for process in migrations]
    assert [process.returncode for process in migrations] == [0, 0], said

    image = started.folder.parent
    before = tree(image / "app") | tree(image / "opt")
    assert started.run(*HEALTHCHECK)[0] != 0, "nobody serves yet"
    server = started.begin(*words(IMAGE.last("CMD")))
    try:
        eventually(lambda: started.run(*HEALTHCHECK)[0] == 0, what="HEALTHCHECK")
        stylesheet = next((image / "app/static").rglob("*.css")).relative_to(image / "app/static")
        with urlopen(f"http://127.0.0.1:{started.port}/static/{stylesheet}", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/css")
        if started.container is not None:
            has_no_rights(server.pid)
            assert started.run("python", "-c", WRITTEN) == (0, "10001 10001 []\n")
    finally:
        server.terminate()
        said_by_server, _ = server.communicate(timeout=30)
    assert server.returncode == 0, said_by_server
    assert tree(image / "app") | tree(image / "opt") == before, "a read-only file system will do"
    assert (image / "var/lib/breakers/control-plane.sqlite3").exists()
    assert started.run(*HEALTHCHECK)[0] != 0, "nobody serves any more"


def has_no_rights(process: int) -> None:
    status = dict(line.split(":\t") for line in Path(f"/proc/{process}/status").read_text().splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Groups"].strip() == ""
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert status["NoNewPrivs"] == "1"
