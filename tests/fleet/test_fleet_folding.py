"""Several servers over one PostgreSQL write, fold and take back the same instances at the same time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.engines import Postgres
from tests.servers import ROOT, clean_environment


@pytest.mark.timeout(120)
def test_who_is_folded_while_its_row_is_written_is_counted_once() -> None:
    with Postgres() as postgres:
        environment = {"DJANGO_SETTINGS_MODULE": "tradpal_cb.settings", "DJANGO_DEBUG": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-m", "tests.fold_program"],
            cwd=ROOT, env={**clean_environment(), **environment, "DATABASE_URL": postgres.url},
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("True", "")
