"""The figures of ``docs/scaling.md``: what is derived there follows from what was measured."""

from __future__ import annotations

import re

import pytest

from tests.documents.pages import ROOT

PAGE = re.sub(r"\s+", " ", (ROOT / "docs/scaling.md").read_text())
LINKS, BREAKERS, TRANSITIONS, SHARED_EVERY, HALF_A_CORE, FLEET = 180, 20, 90, 3.0, 500.0, 100_000


def said(pattern: str) -> float:
    """The number that stands where the pattern has ``#``."""
    found = re.findall(re.escape(pattern).replace(r"\#", r"([\d.,]*\d)"), PAGE)
    assert len(set(found)) == 1, f"{pattern}: {found}"
    return float(found[0].replace(",", ""))


REPORT = said("(# ms on the busy two-core machine")
TAKEN_IN = said("| taken in by each other server | # |")
LINK = said("a link that is busy all the time costs # ms a second")
TRANSITION = said("a transition # ms from the socket to the history")
EACH = said("/ 3 = # ms an instance and second")
_ROW = re.compile(
    r"\| (\d) \| ([\d.]+)(?: \(([\d.]+) x\))? \| ([\d.]+)(?: \(([\d.]+) x\))? \| ([\d.]+)(?: \(([\d.]+)\))? \| "
    r"([\d.]+)(?: \(([\d.]+) x\))? \|"
)
ROWS = [[float(cell) if cell else 1.0 for cell in row] for row in _ROW.findall(PAGE)]
ONE = ROWS[0]


def test_each_row_of_servers_is_compared_with_the_first() -> None:
    assert [row[0] for row in ROWS] == [1, 2, 3]
    for number, idle, idle_ratio, busy, busy_ratio, a_server, server_ratio, storm, storm_ratio in ROWS:
        assert a_server == pytest.approx(busy / number, abs=0.06)
        assert idle_ratio == pytest.approx(idle / ONE[1], abs=0.02)
        assert busy_ratio == pytest.approx(busy / ONE[3], abs=0.02)
        assert server_ratio == pytest.approx(a_server / ONE[3], abs=0.02)
        assert storm_ratio == pytest.approx(storm / ONE[7], abs=0.02)


# 10: percent of a core to milliseconds a second
FOLLOWS = {
    "a link": (LINK, ONE[3] * 10 / LINKS),
    "an update": (said("an update of one breaker # us"), LINK * 1000 / BREAKERS),
    "a transition": (TRANSITION, (ONE[7] - ONE[1]) * 10 / TRANSITIONS),
    "its formula": (said("((# % -"), ONE[7]),
    "links of half a core": (said("half a core carries # such links"), HALF_A_CORE / LINK),
    "what is taken in": (EACH, REPORT * TAKEN_IN / SHARED_EVERY),
    "links that are heard": (said("At # ms a link and second"), LINK),
    "cores to hear a hundred thousand": (said("busy links need # cores to be heard"), FLEET * LINK / 1000),
    "cores that each server needs": (said("remain on every server, # cores"), FLEET * EACH / 1000),
    "where more servers stop to help": (said("stop helping at about # busy instances"), HALF_A_CORE / EACH),
    "a digest": (said(f"x 50 x {TAKEN_IN:.2f} x {REPORT:.2f} ms = # ms"), 50 * TAKEN_IN * REPORT),
    "servers with digests": (said("over half a core each is # servers"), FLEET * LINK / 1000 / 0.5),
    "the same, every five seconds": (said("is the server's to say) it is #."), FLEET * LINK / 1000 / 0.5 / 5),
    "transitions a second": (said("A transition an instance and hour is # a second"), FLEET / 3600),
    "their part of a core": (said("ms # % of a core in all"), FLEET / 3600 * TRANSITION / 10),
    "rows a day": (said("but # million rows a day"), FLEET * 24 / 1e6),
}


@pytest.mark.parametrize("figure", FOLLOWS)
def test_a_figure_follows_from_what_was_measured(figure: str) -> None:
    told, computed = FOLLOWS[figure]
    decimals = len(f"{told:g}".partition(".")[2])
    assert told == pytest.approx(computed, rel=0.02, abs=0.6 * 10**-decimals)
