"""The contact sheet: it is complete, executes no text (promise 27), and stores images once and within a budget."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes.pages import Page, assert_inert, injections
from mirg.report.images import THUMBNAIL_PRESETS, Thumbs
from mirg.report.pages import asset
from mirg.report.sheet import SheetBox, SheetData, SheetImage, SheetSample, render_sheet

Change = Callable[[str], str]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{k}.png" for k in range(2)]
    for k, path in enumerate(paths):
        Image.new("RGB", (16, 12), (200, 60 * k, 30)).save(path)
    return paths


def data(images: list[Path], t: Change = str, n: int = 1) -> SheetData:
    """A page of ``n`` samples, ``t`` applied to every text in it."""
    boxes = (
        SheetBox("noted", (0.1, 0.1, 0.3, 0.3), t("blue star")),
        SheetBox("given", (0.5, 0.5, 0.9, 0.9), t("given in the question")),
        SheetBox("true", (0.25, 0.25, 0.75, 0.5), t("red ring")),
    )
    pictures = (
        SheetImage(images[0], "Image-1", t("reference"), t("a red ring"), boxes),
        SheetImage(images[1], "Image-2"),
        SheetImage(images[0].parent / "missing.png", "Image-3", t("frame 2")),
        SheetImage(None, "Image-4", problem=t("image x lies outside")),
    )
    sample = SheetSample(
        id=t("s0"), task=t("refer"), question=t("Where is the ring?"), images=pictures, tags=(t("same object"),),
        hidden=True, targets=(t("Image-1 (0.25) red ring"),), chain=t("Found: Image-1."), answer=(t("Image-1 (…)"),),
        written=t("written by rules; checks passed: grammar"), facts=((t("source"), t("scenes")),),
    )  # fmt: skip
    others = [sample._replace(id=f"{t('s')}{k}", hidden=False) for k in range(1, n)]
    return SheetData(t("Scenes"), t("12 samples."), [sample, *others], (t("2 rows cannot be read"),))


def assert_sheet_inert(html: str) -> Page:
    return assert_inert(html, [asset("report.js")], asset("report.css") + asset("sheet.css"))


def test_500_injections_in_every_text_field(images: list[Path]) -> None:
    strings = injections()
    assert len(strings) == 500
    # Ten at a time, each in a separate card.
    for start in range(0, 500, 10):
        parts = [data(images, lambda _, text=text: text) for text in strings[start : start + 10]]
        samples = [sample for part in parts for sample in part.samples]
        notes = [note for part in parts for note in part.notes]
        title = " ".join(strings[start : start + 10])
        assert_sheet_inert(render_sheet(SheetData(title, title, samples, notes)).html)


def test_injected_text_is_still_shown_as_text(images: list[Path]) -> None:
    html = render_sheet(data(images, lambda text: f"<b onclick=x>{text}</b>&amp;")).html
    page = assert_sheet_inert(html)
    for text in ("Scenes", "Where is the ring?", "Found: Image-1.", "red ring", "same object", "scenes", "reference"):
        assert any(f"<b onclick=x>{text}</b>&amp;" in shown for shown in page.texts), text


def test_every_card_is_there_without_the_script(images: list[Path]) -> None:
    page = Page(render_sheet(data(images, n=10)).html)
    assert page.elements.count("article") == 10 and len(set(page.values("id"))) == len(page.values("id"))
    assert [n for tag, n, _ in page.attributes if tag == "form"].count("hidden") == 1, "no dead controls"
    rects = [v for tag, n, v in page.attributes if tag == "rect" and n == "class"]
    assert {"true", "given", "noted", "case", "noted-case"} <= set(rects)
    text = " ".join(page.texts)
    for shown in ("missing.png does not exist", "image x lies outside", "reference", "a red ring", "checks passed"):
        assert shown in text, shown


def test_every_image_is_stored_once_and_every_use_finds_it(images: list[Path], tmp_path: Path) -> None:
    late = tmp_path / "late.png"
    Image.new("RGB", (16, 12), (1, 2, 3)).save(late)
    samples = list(data(images, n=3).samples)
    samples.append(samples[0]._replace(id="late", images=(SheetImage(late, "Image-1"), samples[0].images[0])))
    html = render_sheet(data(images)._replace(samples=samples)).html
    page = Page(html)
    placed = [v for tag, n, v in page.attributes if tag == "image" and n == "id"]
    used = {v.removeprefix("#") for tag, n, v in page.attributes if tag == "use" and n == "href"}
    assert len(placed) == len(set(placed)) == html.count("data:image/webp") == 3 and used < set(placed)


def test_boxes_are_in_pixels_of_the_original_and_never_leave_it(images: list[Path]) -> None:
    boxes = tuple(
        SheetBox("true", box)
        for box in [(0.25, 0.5, 0.5, 1.0), (-1.0, -1.0, 2.0, 2.0), (0.5, 0.5, 0.4, 0.6), (float("nan"), 0, 1, 1)]
    )
    one = data(images).samples[0]._replace(images=(SheetImage(images[0], "Image-1", boxes=boxes),))
    html = render_sheet(SheetData("t", "", [one])).html
    assert 'viewBox="0 0 16 12"' in html
    found = re.findall(r'<rect class="true" x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"><title>', html)
    assert [[float(value) for value in rect] for rect in found] == [[4, 6, 4, 6], [0, 0, 16, 12]]


def noise(folder: Path, count: int, side: int = 150) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [folder / f"n{k}.jpg" for k in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(path, quality=50)
    return paths


def test_the_page_keeps_to_its_budget_and_says_what_is_missing(tmp_path: Path) -> None:
    paths = noise(tmp_path, 20)
    samples = [
        SheetSample(id=f"s{k}", task="t", question="?", images=(SheetImage(path, "Image-1"),))
        for k, path in enumerate(paths)
    ]
    small = render_sheet(SheetData("t", "", samples), budget=100_000)
    fixed = len(asset("report.css") + asset("sheet.css") + asset("report.js")) + 20_000
    assert 0 < small.shown < 20 and small.left_out == 20 - small.shown and len(small.html) < 100_000 + fixed
    assert f"{small.left_out} samples were left out to keep this file small." in small.html
    whole = render_sheet(SheetData("t", "", samples), budget=5_000_000)
    assert whole.shown == 20 and "left out" not in whole.html


def test_thumbnails_shrink_until_all_fit(tmp_path: Path) -> None:
    paths = noise(tmp_path, 3, side=460)
    assert (
        Thumbs.fitting(paths, 10**9).preset == THUMBNAIL_PRESETS[0]
        and Thumbs.fitting(paths, 1).preset == THUMBNAIL_PRESETS[-1]
    )
    sides = [Thumbs.fitting(paths, budget).preset.side for budget in (10**6, 150_000, 50_000)]
    assert sides == sorted(sides, reverse=True) and len(set(sides)) > 1
    assert Thumbs.fitting([], 0).preset == THUMBNAIL_PRESETS[0]


def test_an_image_that_cannot_be_opened_costs_nothing(tmp_path: Path, images: list[Path]) -> None:
    broken = tmp_path / "page.png"
    broken.write_bytes(b"<html>")
    one = SheetSample(id="s", task="t", question="?", images=(SheetImage(broken, "Image-1"),))
    sheet = render_sheet(SheetData("t", "", [one]))
    assert sheet.shown == 1 and "page.png is not an image" in sheet.html and str(tmp_path) not in sheet.html


def test_filters_that_cannot_choose_are_not_offered(images: list[Path]) -> None:
    both = Page(render_sheet(data(images, n=2)).html)
    assert "image" in both.values("name")
    assert "image" not in Page(render_sheet(data(images)).html).values("name")


def test_an_empty_page() -> None:
    sheet = render_sheet(SheetData("Nothing", "0 samples.", []))
    assert sheet.shown == 0 and "Nothing" in Page(sheet.html).texts
