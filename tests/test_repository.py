"""What holds for the repository as a whole: the import contracts and the pinned requirements."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_imports_run_downhill_only() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_every_requirement_is_pinned_and_hashed_and_names_no_host() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-bench.txt"):
        text = (ROOT / name).read_text()
        blocks = [block for block in re.split(r"\n(?=\S)", text) if not block.startswith("#")]
        unpinned = [block for block in blocks if "==" not in block or "--hash=sha256:" not in block]
        assert not unpinned
        assert "index-url" not in text
        assert "://" not in text
