"""The modules that touch no page, in node's own runner; the browser tests meet them again on the page."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPTS = HERE.parents[1] / "static" / "js"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not there")
def test_pure_modules_in_node(tmp_path: Path) -> None:
    for script in (*SCRIPTS.glob("*.js"), HERE / "pure.test.mjs"):
        shutil.copy(script, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    done = subprocess.run(["node", "--test"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-6000:]
