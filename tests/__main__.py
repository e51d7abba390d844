"""``make test``: the suite, then the browser tests in a process of their own, and a last word on what was skipped."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

# most of the suite waits for real processes; a file stays in one worker, with the servers that it starts
WORKERS = min((os.cpu_count() or 1) + 1, 8)

RUNS = {
    "suite": ["-m", "not browser", "-n", str(WORKERS), "--dist", "loadfile", "--no-loadscope-reorder"],
    # Playwright's synchronous API leaves an event loop running in its process; pyproject keeps its plugin out otherwise
    "browser": ["-m", "browser", "-p", "playwright", "tests/browser"],
}

NOTHING_TO_RUN = 5


def skipped(report: Path) -> Iterator[str]:
    """``test: reason`` of each test that ``report`` (JUnit's XML) says was skipped."""
    for case in ElementTree.parse(report).iter("testcase"):
        for skip in case.iter("skipped"):
            yield f"{case.get('classname')}::{case.get('name')}: {skip.get('message')}"


def main() -> int:
    failed, passed_over = False, []
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in RUNS.items():
            report = Path(folder, f"{name}.xml")
            command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments, *sys.argv[1:]]
            code = subprocess.run(command).returncode
            failed |= code not in ((0, NOTHING_TO_RUN) if sys.argv[1:] else (0,))  # a choice may leave one run empty
            passed_over += skipped(report) if report.exists() else []
    print("\nSkipped:" if passed_over else "\nNothing was skipped.", *passed_over, sep="\n  ")
    print("Something failed: see above." if failed else "All else passed." if passed_over else "Everything passed.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
