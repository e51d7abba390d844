"""The code blocks of README and docs, with what the page says in comments about running them.

<!-- not run: REASON -->     this block is parsed and its commands are looked up, no more
<!-- before: CODE -->        runs first; a reader does not see it
<!-- after: CODE -->         below the block: runs next, to look at what the block did
<!-- needs: redis -->        $REDIS_URL is a Redis, for this page alone
<!-- serves -->              this block runs until it is ended; what follows meets it in good health
<!-- output -->              this block is what the one before it prints
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MARKS = ("not run", "needs", "before", "after", "serves", "output")
_COMMENT = re.compile(rf"<!--\s*({'|'.join(MARKS)})(?::\s*(.*?))?\s*-->", re.DOTALL)


@dataclass(slots=True)
class Block:
    page: str
    """Below the repository's root."""
    line: int
    """Of the first line of its code, in the page."""
    language: str
    code: str
    marks: dict[str, str] = field(default_factory=dict)
    prints: str | None = None
    """What it is said to write to standard output."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """Of a page, in order; one that is the output of another belongs to that one."""
    found: list[Block] = []
    tokens = MarkdownIt("commonmark").parse(page.read_text())
    for index, token in enumerate(tokens):
        if token.type != "fence":
            continue
        marks = _marks(reversed(tokens[:index])) | _marks(tokens[index + 1 :], only="after")
        if "output" in marks:
            assert found, f"{name_of(page)}: output of nothing"
            found[-1].prints = token.content
            continue
        assert token.map is not None
        language = token.info.split()[0] if token.info.strip() else ""
        found.append(Block(name_of(page), token.map[0] + 2, language, token.content, marks))
    return found


def _marks(tokens: Iterator[Token] | list[Token], *, only: str = "") -> dict[str, str]:
    """Of the comments that stand next to a block: those above it, or, of ``only`` that kind, the one below."""
    found: dict[str, str] = {}
    for token in tokens:
        if token.type != "html_block":
            return found
        comments = _COMMENT.findall(token.content)
        found |= {name: value for name, value in comments if (name == "after") == (only == "after")}
    return found


EVERY = [block for page in PAGES for block in blocks(page)]


def of(*languages: str) -> dict[str, list[Block]]:
    """Pages with blocks in these languages, by name."""
    found: dict[str, list[Block]] = {}
    for block in EVERY:
        if block.language in languages:
            found.setdefault(block.page, []).append(block)
    return found
