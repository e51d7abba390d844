"""What pages may weigh, and what their files may not do."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
STYLES = sorted((ROOT / "static" / "css").glob("*.css"))
TEMPLATES = sorted((ROOT / "templates" / "dashboard").rglob("*.html"))


def test_all_scripts_together_stay_within_40_kb() -> None:
    assert 0 < sum(script.stat().st_size for script in SCRIPTS) <= 40 * 1024


def test_all_styles_together_stay_within_25_kb() -> None:
    assert 0 < sum(style.stat().st_size for style in STYLES) <= 25 * 1024


def test_nothing_moves_by_itself_and_nothing_fades_for_who_asked_for_less() -> None:
    for style in STYLES:
        text, _, gentle = style.read_text().partition("@media (prefers-reduced-motion: no-preference)")
        assert not re.search(r"@keyframes|\banimation\b|\btransition\b", text), style.name
        assert "@keyframes" not in gentle


def test_scripts_make_no_markup_and_no_styles() -> None:
    forbidden = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\.style\b|\beval\(|https?://")
    assert [script.name for script in SCRIPTS if forbidden.search(script.read_text())] == []


def test_templates_have_no_inline_script_style_or_foreign_address() -> None:
    forbidden = re.compile(r"\sstyle=|\son[a-z]+=|<style|<script(?![^>]*src=)|https?://|\|safe\b|autoescape off")
    assert [template.name for template in TEMPLATES if forbidden.search(template.read_text())] == []
