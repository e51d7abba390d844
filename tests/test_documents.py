"""What the pages about the server say is what the server knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = (ROOT / "docs/settings.md").read_text()
API = (ROOT / "docs/api.md").read_text()


def test_every_command_that_is_told_of_exists() -> None:
    told = set(re.findall(r"manage\.py (?:\\\n)?([a-z_]+)", SETTINGS + API)) - {"check"}
    assert told <= set(get_commands())
    ours = {name for name, app in get_commands().items() if app == "breakers"}
    assert ours <= told | {"serve"}, "serve has a page of its own"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([a-z]+\.md)?(#[a-z-]+)?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
        assert not anchor or anchor[1:] in {heading.lower().replace(" ", "-") for heading in headings}
