"""The image: linted, its steps performed in an empty folder, and what they leave started. No container engine."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

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


@pytest.fixture
def served(image: Build) -> Iterator[str]:
    """The address of what ``CMD`` starts, after the migrations; both by the image's own programs."""
    port = free_port()
    environment = {**image.variables(), "DJANGO_SECRET_KEY": secrets.token_hex(32)}
    folder = image.root / IMAGE.last("WORKDIR").lstrip("/")
    python = image.root / "opt/venv/bin/python"
    subprocess.run([python, "manage.py", "migrate", "-v0"], cwd=folder, env=environment, check=True, timeout=100)
    command = [word.replace("8012", str(port)).replace("0.0.0.0", "127.0.0.1") for word in words(IMAGE.last("CMD"))]
    program = shutil.which(command[0], path=environment["PATH"])
    assert program is not None
    server = subprocess.Popen([program, *command[1:]], cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        assert server.wait(20) is not None


@pytest.mark.timeout(300)  # as above
def test_what_the_image_starts_is_healthy_by_its_own_check_and_writes_nowhere_else(image: Build, served: str) -> None:
    check = words(re.sub(r".*?CMD ", "", IMAGE.last("HEALTHCHECK")))
    assert check[-1].count("http://127.0.0.1:8012/health") == 1
    mine = [word.replace("http://127.0.0.1:8012", served) for word in check]
    mine[0] = str(image.root / "opt/venv/bin" / mine[0])

    before = tree(image.root / "app") | tree(image.root / "opt")
    eventually(lambda: subprocess.run(mine, capture_output=True).returncode == 0, what="HEALTHCHECK")
    stylesheet = next((image.root / "app/static").rglob("*.css")).relative_to(image.root / "app/static")
    with urlopen(f"{served}/static/{stylesheet}", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/css")
    assert tree(image.root / "app") | tree(image.root / "opt") == before, "a read-only file system will do"
    assert (image.root / "var/lib/breakers/control-plane.sqlite3").exists()

    unhealthy = [word.replace(served, f"http://127.0.0.1:{free_port()}") for word in mine]
    assert subprocess.run(unhealthy, capture_output=True).returncode != 0
