"""The page of the checks: every finding is shown, no text is executed (promise 27), and drawings are in proportion."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from fakes.pages import assert_inert, injections
from mirg.report.charts import render_counts
from mirg.report.data import Matrix
from mirg.report.pages import CheckData, LengthView, Line, Listing, ShapeView, SharedLine, asset, render_check
from mirg.report.tables import shade_grid


def full(t: Callable[[str], str] = str) -> CheckData:
    """A page with every section, ``t`` applied to every text in it."""
    bars = [(t("1"), 3), (t("2"), 1)]
    shape = ShapeView(t("refer"), 4, 2, bars, bars, bars, bars, ((1, 0, 0), (0, 2, 0), (0, 0, 1)))
    line = Line(3, t("s1"), t("question"), t("holds '<image>'"), t("remove it"), t("kind"))
    return CheckData(
        title=t("Check of data"),
        subtitle=t("4 rows"),
        failed=True,
        verdict=t("1 rows cannot be used."),
        facts=((t("images"), t("every image was decoded")),),
        rejections=Listing(7, {t("question"): 7}, (line,)),
        warnings=Listing(1, {t("tiny box"): 1}, (line,)),
        against=t("Compared with bench."),
        shared=(SharedLine(t("s1"), 1, t("a.png"), t("b1"), 2, t("b.png"), t("bench"), t("the same file")),),
        shared_total=3,
        length_note=t("Text is estimated."),
        lengths=(LengthView(t("qwen3-vl"), 10, 20, 30, 0.5, 1, 2, ((30, t("s1")),), bars),),
        shapes=(shape, shape),
    )


STYLE, SCRIPTS = asset("report.css") + asset("check.css"), [asset("report.js")]


def test_500_injections_in_every_text_field() -> None:
    """Twenty at a time: if a page has a list, each is a separate line; in the others they follow each other."""
    strings = injections()
    assert len(strings) == 500
    for start in range(0, 500, 20):
        part = strings[start : start + 20]
        whole = full(lambda _, text=" ".join(part): text)
        single = [full(lambda _, text=text: text) for text in part]
        lines = [line for data in single for line in data.warnings.lines]
        kinds = {kind: 1 for data in single for kind in data.warnings.by}
        lists = {
            "warnings": Listing(20, kinds, lines),
            "facts": [fact for data in single for fact in data.facts],
            "shared": [line for data in single for line in data.shared],
            "lengths": [view for data in single for view in data.lengths],
            "shapes": [shape for data in single for shape in data.shapes[:1]],
        }
        assert_inert(render_check(whole._replace(**lists)), SCRIPTS, STYLE)


def test_everything_is_shown() -> None:
    page = assert_inert(render_check(full(lambda text: f"<i onclick=x>{text}</i>&amp;")), SCRIPTS, STYLE)
    for text in ("Check of data", "1 rows cannot be used.", "holds '<image>'", "remove it", "bench", "qwen3-vl", "s1"):
        assert any(f"<i onclick=x>{text}</i>&amp;" in shown for shown in page.texts), text
    words = " ".join(page.texts)
    assert "6 more are not on this page" in words and "2 more are not on this page" in words
    assert words.count("image hidden in 2") == 2 and page.elements.count("details") == 1


def test_an_empty_report_is_a_page() -> None:
    page = assert_inert(render_check(CheckData("t", "0 rows", False, "Nothing was found.")), SCRIPTS, STYLE)
    assert "Nothing was found." in page.texts and "section" not in page.elements


def test_bars_are_as_high_as_their_counts() -> None:
    svg = ElementTree.fromstring(render_counts("t", [("a", 40), ("b", 0), ("c", 20)]))
    heights = [float(rect.attrib["height"]) for rect in svg.iter("rect")]
    assert heights[1] == 0 and heights[0] == pytest.approx(2 * heights[2], abs=0.2)
    assert "a 40, b 0, c 20" in svg.attrib["aria-label"]
    assert render_counts("t", []) == render_counts("t", [("a", 0)]) == ""


@pytest.mark.parametrize("n", [1, 5, 20, 200])
def test_names_under_the_axis_never_run_into_each_other(n: int) -> None:
    svg = ElementTree.fromstring(render_counts("t", [(str(k), k + 1) for k in range(n)]))
    xs = [float(text.attrib["x"]) for text in svg.iter("text") if "mid" in text.attrib["class"]]
    assert xs and all(b - a >= 39.9 for a, b in pairwise(xs))


def test_the_fullest_cell_is_the_darkest() -> None:
    grid = shade_grid(Matrix("m", ("a", "b"), ("x", "y"), ((8, 1), (0, 4))))
    assert [[cell.shade for cell in row.cells] for row in grid.rows] == [[10, 1], [0, 5]]
    assert sum(cell.share for row in grid.rows for cell in row.cells) == pytest.approx(1)
    empty = shade_grid(Matrix("m", ("a",), ("x",), ((0,),)))
    assert empty.rows[0].cells[0].shade == 0 and empty.rows[0].cells[0].share == 0
