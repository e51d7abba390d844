"""What the pages say is what the code knows, and where they point there is something."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands
from prometheus_client.parser import text_string_to_metric_families

from breakers.__main__ import _parser
from breakers.core import wire
from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS
from breakers.fleet import Fleet
from breakers.metrics import Exposition
from tests.documents.pages import PAGES, ROOT, Block, blocks, name_of

SETTINGS, API, CLIENT = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("settings", "api", "client"))


def test_every_command_that_is_told_of_exists() -> None:
    told = set(re.findall(r"manage\.py (?:\\\n)?([a-z_]+)", SETTINGS + API)) - {"check"}
    assert told <= set(get_commands())
    ours = {name for name, app in get_commands().items() if app == "breakers"}
    assert ours <= told | {"serve"}, "serve has a page of its own"


def test_every_field_of_a_config_stands_in_the_table_of_the_client() -> None:
    missing = [name for name in (*BREAKER_FIELDS, *HTTP_FIELDS) if name != "name" and f"`{name}`" not in CLIENT]
    assert missing == []


@pytest.mark.parametrize("line", re.findall(r"python -m breakers (.*)", CLIENT))
def test_the_commands_of_the_library_are_commands(line: str) -> None:
    assert _parser().parse_args(line.split("#")[0].split()).command in line


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_a_file_and_to_a_heading_of_it(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(#[^)\s]+)?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if anchor:
            assert anchor[1:] in anchors(linked), f"{target}{anchor}"


def test_the_table_of_metrics_has_every_metric_of_the_server_and_no_other() -> None:
    told = {family.name for family in text_string_to_metric_families(Exposition(Fleet()).text().decode())}
    table = re.findall(r"^\| `(circuit_breaker_\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    assert {name.removesuffix("_total") for name in table} == told


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


MESSAGES = [block for page in PAGES if page.name == "protocol.md" for block in blocks(page) if block.language == "json"]


@pytest.mark.parametrize("block", MESSAGES, ids=lambda block: json.loads(block.code)["type"])
def test_the_messages_of_the_protocol_are_what_both_ends_read(block: Block) -> None:
    shown = json.loads(block.code)
    read = wire.decode_from_agent if shown.pop("type") in ("hello", "report", "goodbye") else wire.decode_from_server
    meant = read(block.code)
    assert meant is not None
    assert is_part_of(shown, asdict(meant)), "a field that nobody knows would be passed over in silence"


def is_part_of(shown: Any, whole: Any) -> bool:
    """Whether each key that is shown is in ``whole`` with that value; what is left out there is a default."""
    if isinstance(shown, dict):
        return all(key in whole and is_part_of(value, whole[key]) for key, value in shown.items())
    if isinstance(shown, list):
        return len(shown) == len(whole) and all(map(is_part_of, shown, whole))
    return bool(shown == whole)
