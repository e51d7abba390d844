"""The site that ``make docs`` builds: whole, without a broken link, and without a network to read it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import breakers
from breakers.core.config import BREAKER_FIELDS
from tests.documents.pages import PAGES, ROOT

pytestmark = pytest.mark.timeout(150)  # the first test waits for the build


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as ``make docs`` builds it: any warning ends it."""
    folder = tmp_path_factory.mktemp("site")
    command = [Path(sys.executable).with_name("mkdocs"), "build", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=140)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


def test_every_page_is_on_the_site_and_can_be_found_from_the_first(site: Path) -> None:
    pages = {path.stem for path in PAGES if path.parent.name == "docs"} | {"changelog", "reference"}
    shown = set(re.findall(r'href="(?:\./)?([\w-]+)\.html"', (site / "index.html").read_text()))
    assert pages <= shown
    assert pages <= {path.stem for path in site.glob("*.html")}


def test_reading_it_asks_no_other_host(site: Path) -> None:
    loaded = r'(?:src="|<link[^>]+href="|url\()(?:https?:)?//[^")]+'
    for page in (*site.glob("*.html"), *site.rglob("*.css")):
        assert re.findall(loaded, page.read_text()) == [], page.name


def test_every_public_name_and_every_field_is_in_the_reference(site: Path) -> None:
    reference = (site / "reference.html").read_text()
    documented = set(re.findall(r'id="(breakers\.[\w.]+)"', reference))
    assert {f"breakers.{name}" for name in breakers.__all__} <= documented
    assert {f"breakers.CircuitBreaker.{name}" for name in ("call", "force_open", "get_metrics", "reset")} <= documented
    assert all(f"<code>{name}</code>" in reference for name in BREAKER_FIELDS)
    assert ":class:" not in reference, "roles of another tool are code here"


def test_files_that_pages_link_to_are_there_to_be_read(site: Path) -> None:
    assert (site / "files/deploy/nginx/default.conf.txt").read_text() == (
        ROOT / "deploy/nginx/default.conf"
    ).read_text()
    assert 'href="files/deploy/nginx/default.conf.txt"' in (site / "deploy.html").read_text()


def test_it_can_be_searched(site: Path) -> None:
    index = json.loads((site / "search/search_index.json").read_text())
    assert any("ready to probe" in entry["text"] for entry in index["docs"])
