"""The page: it is complete, self-contained and bounded, and executes no text (promise 27)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fakes.pages import Page, assert_inert, injections
from mirg.report.data import Chart, Examples, GalleryItem, Picture, ReportData, Series, Stage
from mirg.report.pages import TEMPLATES, render, write_report

FullReport = Callable[[Callable[[str], str]], ReportData]

STYLE = (TEMPLATES / "report.css").read_text(encoding="utf-8")
SCRIPTS = [(TEMPLATES / "report.js").read_text(encoding="utf-8")]


def test_500_injections_in_every_text_field(full_report: FullReport) -> None:
    strings = injections()
    assert len(strings) == 500
    for start in range(0, 500, 10):
        text = " ".join(strings[start : start + 10])
        assert_inert(render(full_report(lambda _, text=text: text)), SCRIPTS, STYLE)


def test_injected_text_is_still_shown_as_text(full_report: FullReport) -> None:
    page = assert_inert(render(full_report(lambda text: f"<b onclick=x>{text}</b>&amp;")), SCRIPTS, STYLE)
    assert "<b onclick=x>Report: demo</b>&amp;" in page.texts
    assert "<b onclick=x>Found: ring0</b>&amp;" in page.texts
    for text in ("RL corrects 3.", "IoU 0.90", "8 items", "all", "by place"):
        assert any(f"<b onclick=x>{text}</b>&amp;" in shown for shown in page.texts), text
    assert any("<b onclick=x>refer</b>&amp;" in value for value in page.values("data-task"))


def test_policy_allows_only_the_one_script_and_style_by_hash(full_report: FullReport) -> None:
    html = render(full_report(str))
    page = Page(html)
    (policy,) = [v for tag, n, v in page.attributes if tag == "meta" and n == "content" and "default-src" in v]
    assert "default-src 'none'" in policy and "img-src data:" in policy and "unsafe" not in policy
    for kind in ("script", "style"):
        (text,) = page.raw[kind]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    # The policy must come before anything it governs.
    assert html.index("Content-Security-Policy") < html.index("<style") < html.index("<script")


def test_page_is_complete_without_script(full_report: FullReport) -> None:
    page = Page(render(full_report(str)))
    assert [n for tag, n, _ in page.attributes if tag == "form"].count("hidden") == 2, "no dead controls"
    assert not any(n == "hidden" for tag, n, _ in page.attributes if tag == "article"), "every card is shown"
    assert page.elements.count("article") == 4 + 2, "four answers and two groups"


def test_page_shows_tables_boxes_reasons_and_broken_images(full_report: FullReport) -> None:
    page = Page(render(full_report(str)))
    text = " ".join(page.texts)
    for expected in (
        "55.0",
        "50.0 – 60.0",
        "+10.0",
        "−10.0 to +30.0",
        "no answer block",
        "overlap scores 0.40",
        "Training",
    ):
        assert expected in text, expected
    assert "missing.png does not exist" in text, "an image that is gone is said, by name"
    rects = [v for tag, n, v in page.attributes if tag == "rect" and n == "class"]
    assert {"true", "predicted", "given"} <= set(rects)
    assert page.elements.count("image") == 3, "an image of several cards is stored once"


def test_examples_come_first_each_box_in_the_style_of_its_model(full_report: FullReport) -> None:
    html = render(full_report(str))
    page = Page(html)
    assert html.index('id="examples"') < html.index('id="results"') < html.index('id="failures"')
    rects = [v for tag, n, v in page.attributes if tag == "rect" and n == "class"]
    assert {"before", "after"} <= set(rects)
    text = " ".join(page.texts)
    for expected in ("RL corrects 3.", "wrong → right", "IoU 0.90"):
        assert expected in text, expected


def test_examples_need_no_gallery(full_report: FullReport) -> None:
    data = full_report(str)._replace(gallery=(), rollouts=())
    page = Page(render(data))
    stored = {v for tag, n, v in page.attributes if tag == "image" and n == "id"}
    used = {v.removeprefix("#") for tag, n, v in page.attributes if tag == "use" and n == "href"}
    assert used <= stored and stored
    assert "article" not in page.elements and "dialog" in page.elements, "the images can be enlarged"


def test_what_changes_is_said_without_an_example() -> None:
    page = Page(render(ReportData(title="t", examples=Examples("Of 8 items RL fixes 0"))))
    assert "What changes" in page.texts and "Of 8 items RL fixes 0" in page.texts


def test_no_path_of_the_machine_is_in_the_page(full_report: FullReport, tmp_path: Path) -> None:
    assert str(tmp_path) not in render(full_report(str))


def test_an_empty_report_is_a_page() -> None:
    page = Page(render(ReportData(title="Nothing yet")))
    assert "Nothing yet" in page.texts and "dialog" not in page.elements and "section" not in page.elements


def test_gallery_keeps_to_its_budget(make_item: Callable[..., GalleryItem], tmp_path: Path) -> None:
    items = []
    for i in range(40):
        path = tmp_path / f"noise{i}.png"
        Image.effect_noise((200, 200), 90).convert("RGB").save(path)
        items.append(make_item(sample_id=f"s{i}", pictures=(Picture(path, 200, 200),), task=f"t{i % 4}"))
    html = render(ReportData(title="big", gallery=tuple(items)), per_outcome=40, image_budget=400_000)
    assert len(html) < 600_000
    shown = Page(html).elements.count("article")
    assert 0 < shown < 40
    assert f"{40 - shown} more were left out" in html


def test_photographs_at_full_bounds_stay_under_8_megabytes(
    make_item: Callable[..., GalleryItem], tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    Image.effect_noise((640, 480), 60).convert("RGB").save(path)
    shots = []
    for i in range(120):
        copy = tmp_path / f"p{i}.png"
        copy.write_bytes(path.read_bytes())
        shots.append(Picture(copy, 640, 480))
    long = "word " * 4000
    items = tuple(
        make_item(sample_id=f"{o}{m}{i}", outcome=o, model=m, thinking=long, answer=long, pictures=(shots[i % 120],))
        for o in ("right", "wrong_image", "wrong_box", "unreadable")
        for m in ("base", "SFT", "RL")
        for i in range(30)
    )
    out = write_report(tmp_path / "report.html", ReportData(title="photos", gallery=items))
    assert out.stat().st_size < 8_000_000


def test_a_metric_that_is_not_a_number_does_not_break_the_page() -> None:
    nan = Chart("odd", (Series("x", (0.0, 1.0, 2.0), (float("nan"), float("inf"), -1e300)),))
    assert "<h3>SFT</h3>" in render(ReportData(title="t", stages=(Stage("SFT", (nan,)),)))


def test_write_report_into_a_folder_or_a_file(tmp_path: Path) -> None:
    data = ReportData(title="t")
    assert write_report(tmp_path, data) == tmp_path / "report.html"
    assert write_report(tmp_path / "other.html", data).read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["report.css", "report.js", "sheet.css", "check.css"])
def test_assets_cannot_end_their_own_element(name: str) -> None:
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    assert "</" not in text and "<!--" not in text and "url(" not in text and "http" not in text


def test_the_script_makes_no_element_out_of_a_text() -> None:
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "fetch", "import"):
        assert word not in SCRIPTS[0]


def test_no_id_of_a_sample_takes_the_place_of_another_part(make_item: Callable[..., GalleryItem]) -> None:
    ids = ["gallery", "help", "a b", "a/b", "a-b", "\u202e", "'><script>", "s" * 500]
    html = render(ReportData(title="t", gallery=tuple(make_item(sample_id=name) for name in ids)))
    page = Page(html)
    places = [v for tag, n, v in page.attributes if tag == "article" and n == "id"]
    assert len(set(page.values("id"))) == len(page.values("id")), "no id twice"
    assert all(re.fullmatch(r"s-[\w-]{0,130}", name, re.ASCII) for name in places) and len(places) == len(ids)
    links = [v for tag, n, v in page.attributes if tag == "a" and n == "href" and v.startswith("#s-")]
    assert sorted(links) == sorted(f"#{name}" for name in places)


def test_a_group_of_rollouts_shows_each_completion_with_rewards_reasons_and_its_boxes(full_report: FullReport) -> None:
    html = render(full_report(str))
    text = " ".join(Page(html).texts)
    for expected in ("step 11", "4 completions, learned from", "+1.50", "advantage, 3 times", "IoU 0.1"):
        assert expected in text, expected
    assert 'data-answer="1"><title>predicted' in html, "the box of the second completion"


def test_numbers_that_are_no_advantage_are_not_drawn_as_one(full_report: FullReport) -> None:
    assert "advantage not known" in " ".join(Page(render(full_report(str))).texts)
