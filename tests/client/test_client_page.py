"""What ``docs/client.md`` shows runs, and what it says is so."""

from __future__ import annotations

import re

import pytest

from breakers.__main__ import _parser
from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS
from breakers.testing import fresh_registry
from tests.servers import ROOT

PAGE = (ROOT / "docs" / "client.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
async def test_its_code_runs(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIRCUIT_BREAKER_SERVICE_URL", raising=False)
    namespace: dict[str, object] = {}
    with fresh_registry():
        exec(compile(code, "docs/client.md", "exec"), namespace)
        for name, made in list(namespace.items()):
            if name == "other_forms":
                await made()  # type: ignore[operator]  # a coroutine function
            elif name.startswith("test_"):
                made()  # type: ignore[operator]  # a function


def test_every_setting_stands_in_its_table() -> None:
    missing = [name for name in (*BREAKER_FIELDS, *HTTP_FIELDS) if name != "name" and f"`{name}`" not in PAGE]
    assert missing == []


@pytest.mark.parametrize("line", re.findall(r"python -m breakers (.*)", PAGE))
def test_its_commands_are_commands(line: str) -> None:
    assert _parser().parse_args(line.split("#")[0].split()).command in line
