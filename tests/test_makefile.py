"""What `make` says before there is anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", *arguments]
    # the make that runs these tests is not its parent
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A bare clone, as far as these questions go."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    return tmp_path


def test_make_alone_explains_its_targets(clone: Path) -> None:
    explained = make(clone)
    assert explained.returncode == 0
    assert [line.split()[1] for line in explained.stdout.splitlines()][:4] == ["run", "test", "check", "bench"]


def test_a_missing_python_is_answered_with_a_sentence(clone: Path) -> None:
    refused = make(clone, "run", "PYTHON=no-such-python")
    assert refused.returncode != 0
    assert refused.stdout == ""
    sentence, makes_own = refused.stderr.splitlines()
    assert sentence.startswith("Python 3.11, 3.12 or 3.13 with venv is needed")
    assert makes_own.startswith("make: ***")
    assert not (clone / ".venv").exists()


def test_a_python_that_is_too_old_is_passed_over(clone: Path) -> None:
    old = clone / "python-of-old"
    old.write_text("#!/bin/sh\nexit 1\n")  # as ours answers when asked for its version and venv
    old.chmod(0o755)
    refused = make(clone, "run", f"PYTHON={old}")
    assert refused.returncode != 0
    assert str(old) in refused.stderr.splitlines()[0]
