"""Writes the tables of variables in ``docs/settings.md`` from ``variables.py``: ``python -m tradpal_cb.settings_page``.

What stands between the tables is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from tradpal_cb.variables import OF_SERVICES, SECTIONS, Variable

FILE: Final = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
TABLES: Final[dict[str, tuple[Variable[Any], ...]]] = {**SECTIONS, "In a service": OF_SERVICES}
_TABLE: Final = re.compile(r"(?<=<!-- variables: )([^\n]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def page(written: str) -> str:
    """``written`` with each table as it should be. Raises ``KeyError`` for one of a section that is none."""
    return _TABLE.sub(lambda found: f"{found[1]}{found[2]}{_table(TABLES[found[1]])}", written)


def _table(variables: tuple[Variable[Any], ...]) -> str:
    rows = [f"| `{one.name}` | {_default(one)} | {one.says} |" for one in variables]
    return "\n".join(["", "| variable | default | |", "|---|---|---|", *rows, "", ""])


def _default(variable: Variable[Any]) -> str:
    if variable.shown is not None:
        return variable.shown
    match variable.default:
        case bool(chosen):
            return str(int(chosen))
        case int(number) | float(number):
            return f"{number:g}"
        case list(names):
            return f"`{','.join(names)}`" if names else "empty"
        case text:
            return f"`{text}`" if text else "empty"


if __name__ == "__main__":
    FILE.write_text(page(FILE.read_text()))
