"""The page in a real browser: Debian's Chromium, driven by Playwright. Needs the extra ``app`` and ``playwright``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes.pages import injections
from fakes.serving import running
from fakes.typist import ANSWER, Typist, typist
from mirg.app.session import Model
from mirg.engines.base import Engine
from mirg.samples import DatasetFolder
from mirg.serve.limits import ServeLimits

pytest.importorskip("gradio", reason="the extra app is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
# A camera that shows a moving figure, and no question whether the page may use it.
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed"),
]
SIZES = [(80, 40), (60, 120), (100, 100), (50, 70), (30, 30), (64, 48), (48, 64), (90, 30), (33, 55)]
COLOURS = ["red", "green", "blue", "orange", "purple", "cyan", "brown", "pink", "gray"]
Opened = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *CAMERA])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Opened:
    """``opened(engine, …)``: the page for the engines in a new tab; fails on scripts' errors and outside requests."""

    @contextmanager
    def page_of(*engines: Engine, width: int = 1280, **limits: Any) -> Iterator[Any]:
        from mirg.app.page import Page, create_app

        folder = tmp_path / "page"
        folder.mkdir(exist_ok=True)
        bounds = ServeLimits(images=8, text=4000, **limits)
        models = [Model(engine, engine.name, bounds) for engine in engines]
        shown = Page(models, bounds, save=tmp_path / "kept", folder=folder)
        with running(create_app(shown), bounds) as address:
            tab = chromium.new_page(viewport={"width": width, "height": 900})
            wrong: list[str] = []
            tab.on("pageerror", lambda error: wrong.append(str(error)))
            tab.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
            tab.on("request", lambda r: _outside(r.url, address) and wrong.append(f"request to {r.url}"))
            try:
                tab.goto(address)
                tab.wait_for_selector("#ask")
                yield tab
            finally:
                tab.close()
            assert not wrong

    return page_of


def _outside(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


def pictures(folder: Path, count: int) -> list[Path]:
    """``count`` PNG files of different sizes, none of the first ones square."""
    paths = [folder / f"picture-{k}.png" for k in range(count)]
    for path, size, colour in zip(paths, SIZES, COLOURS, strict=False):
        Image.new("RGB", size, colour).save(path)
    return paths


def upload(tab: Any, paths: list[Path]) -> None:
    tab.locator("#images input[type=file]").first.set_input_files(paths)


def shown(tab: Any, count: int) -> None:
    tab.wait_for_function("n => document.querySelectorAll('#board svg[data-image]').length === n", arg=count)


def question(tab: Any, text: str) -> None:
    tab.locator("#question textarea").fill(text)


def asked(tab: Any, text: str = "Where is the red square?") -> None:
    question(tab, text)
    tab.locator("#ask").click()


def answered(tab: Any, number: int = 0, status: str = "done") -> Any:
    tab.wait_for_selector(f'#answer-{number} [data-status="{status}"]', timeout=60_000)
    return tab.locator(f"#answer-{number}")


def drag(tab: Any, image: int, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a box with the mouse, from one point to another, in fractions of what is seen of the image."""
    place = tab.locator(f"#board svg[data-image='{image}'] image").bounding_box()
    x, y, width, height = (place[key] for key in ("x", "y", "width", "height"))
    tab.mouse.move(x + start[0] * width, y + start[1] * height)
    tab.mouse.down()
    tab.mouse.move(x + end[0] * width, y + end[1] * height, steps=5)
    tab.mouse.up()


def box_in(text: str) -> tuple[int, list[float]]:
    """The image and the numbers of the first markup of a question."""
    head, _, rest = text.partition("<box image=")[2].partition(">")
    return int(head), [float(v) for v in rest.partition("</box>")[0].split(",")]


def test_uploaded_images_are_answered_with_boxes_in_the_chosen_image(opened: Opened, tmp_path: Path) -> None:
    with opened(typist()) as tab:
        upload(tab, pictures(tmp_path, 3))
        shown(tab, 3)
        asked(tab)
        answer = answered(tab)
        assert answer.locator("pre").inner_text() == "The red square is in the second image, above the middle."
        assert answer.locator("figure.chosen b").all_inner_texts() == ["Image-2"]
        assert "(6, 24) to (30, 72)" in answer.locator("table").inner_text()  # of 60 x 120 pixels
        rect = answer.locator("figure.chosen rect.predicted")
        drawn = [float(rect.get_attribute(name)) for name in ("x", "y", "width", "height")]
        assert drawn == pytest.approx([6, 24, 24, 48])
        tab.locator("#json-0 button").first.click()
        said = json.loads(tab.locator("#json-0 textarea").input_value())
        assert said["boxes"][0] | {"path": ""} == {
            "image": 2, "path": "", "pixels": [6, 24, 30, 72], "box": [0.1, 0.2, 0.5, 0.6], "problem": None,
        }  # fmt: skip
        with tab.expect_download() as download:
            tab.locator("#history").click()
        assert "Where is the red square?" in Path(download.value.path()).read_text()


def test_the_reasoning_streams_in_and_can_be_cancelled(opened: Opened, tmp_path: Path) -> None:
    engine = typist(text="<think>" + "word " * 400, pause=0.05)
    with opened(engine) as tab:
        upload(tab, pictures(tmp_path, 2))
        shown(tab, 2)
        asked(tab)
        answer = answered(tab, status="writing")
        first = len(answer.locator("pre").inner_text())
        tab.wait_for_function("n => document.querySelector('#answer-0 pre').innerText.length > n + 20", arg=first)
        begun = time.monotonic()
        tab.locator("#cancel").click()
        answer = answered(tab, status="cancelled")
        assert time.monotonic() - begun < 10  # of 20 seconds and more that the text would take
        assert 0 < answer.locator("pre").inner_text().count("word") < 400
        engine.script = lambda request, settings: ANSWER
        engine.pause = 0.0
        asked(tab)  # the model is free again
        answered(tab)


@pytest.mark.parametrize("kind", ["not an image", "too many", "too few", "no question", "too large"])
def test_what_cannot_be_asked_is_said_with_what_to_do(opened: Opened, tmp_path: Path, kind: str) -> None:
    paths = pictures(tmp_path, {"too many": 9, "too few": 1}.get(kind, 2))
    if kind == "not an image":
        paths[1].write_text("<html>a page</html>")
    limits = {"image_pixels": 4000} if kind == "too large" else {}
    expected = {
        "not an image": ("#notice", "picture-1.png"),
        "too many": ("#notice", "9 images are more than the 8 that are allowed"),
        "too few": ("#answer-0", "1 images are here, and a question is about 2 to 8"),
        "no question": ("#answer-0", "the question is empty"),
        "too large": ("#notice", "4,000 pixels"),
    }
    place, words = expected[kind]
    with opened(typist(), **limits) as tab:
        upload(tab, paths)
        tab.wait_for_timeout(1000)
        asked(tab, " " if kind == "no question" else "Where?")
        tab.wait_for_selector(f"{place} .mirg-notice.problem", timeout=20_000)
        said = tab.locator(f"{place} .mirg-notice.problem").first.inner_text()
        assert words in said
        assert "What to do:" in said or kind == "not an image"


def test_a_model_that_fails_leaves_the_page_usable(opened: Opened, tmp_path: Path) -> None:
    engine = typist(words=3, error=RuntimeError("CUDA out of memory <img src=x onerror=alert(1)>"))
    with opened(engine) as tab:
        upload(tab, pictures(tmp_path, 2))
        shown(tab, 2)
        asked(tab)
        answer = answered(tab, status="failed")
        assert "the model failed (RuntimeError)" in answer.inner_text()
        assert "What to do:" in answer.inner_text()
        engine.error = None
        tab.wait_for_selector("#ask:not([disabled])")
        asked(tab)
        answered(tab)


def test_a_box_drawn_with_the_mouse_is_part_of_the_question(opened: Opened, tmp_path: Path) -> None:
    prompts: list[str] = []
    engine = Typist(lambda request, settings: prompts.append(str(request.messages)) or ANSWER)  # type: ignore[arg-type]
    with opened(engine) as tab:
        upload(tab, pictures(tmp_path, 3))
        shown(tab, 3)
        question(tab, "Find this in the other images:")
        drag(tab, 2, (0.7, 0.6), (0.25, 0.1))  # from below to above: of the portrait image
        tab.wait_for_selector("#board rect.given")
        text = tab.locator("#question textarea").input_value()
        assert text.startswith("Find this in the other images: <box image=2>")
        number, box = box_in(text)
        assert number == 2
        assert box == pytest.approx([0.25, 0.1, 0.7, 0.6], abs=0.02)
        tab.locator("#ask").click()
        answered(tab)
        numbers = ",".join(str(round(1000 * v)) for v in box)
        assert numbers in prompts[0].replace("(", "").replace(")", "")  # in the frame of the family
        question(tab, "Find something else.")
        tab.wait_for_function("document.querySelectorAll('#board rect.given').length === 0")


def test_a_corrected_answer_becomes_a_sample_of_a_dataset(opened: Opened, tmp_path: Path) -> None:
    with opened(typist()) as tab:
        upload(tab, pictures(tmp_path, 3))
        shown(tab, 3)
        asked(tab, "Which image shows the square?")
        answered(tab)
        tab.locator("#correct button").first.click()
        tab.locator("#take-0").click()
        tab.wait_for_selector("#board rect.true")
        tab.locator("#save").click()
        tab.wait_for_selector("#notice :text('has 1 samples')")
        tab.locator("#clear").click()
        tab.wait_for_function("document.querySelectorAll('#board rect.true').length === 0")
        tab.locator("#save").click()
        tab.wait_for_selector("#notice :text('no right answer is given')")
        tab.get_by_label("the right answer").check()
        drag(tab, 1, (0.1, 0.2), (0.6, 0.9))
        tab.wait_for_selector("#board rect.true")
        tab.locator("#save").click()
        tab.wait_for_selector("#notice :text('has 2 samples')")
        tab.locator("#save").click()
        tab.wait_for_selector("#notice :text('was written already')")
    first, second = DatasetFolder.open(tmp_path / "kept")
    assert [(t.image, t.box) for t in first.targets] == [(2, (0.1, 0.2, 0.5, 0.6))]
    assert second.targets[0].image == 1
    assert second.targets[0].box == pytest.approx((0.1, 0.2, 0.6, 0.9), abs=0.02)
    assert [ref.size for ref in first.images] == SIZES[:3]
    command = [sys.executable, "-m", "mirg.cli.main", "data", "check", str(tmp_path / "kept")]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_two_models_answer_side_by_side(opened: Opened, tmp_path: Path) -> None:
    other = typist("trained", "<think>It is in none.</think><answer>none</answer>")
    with opened(typist("base"), other) as tab:
        upload(tab, pictures(tmp_path, 2))
        shown(tab, 2)
        asked(tab)
        one, two = answered(tab, 0), answered(tab, 1)
        assert one.locator("h3").inner_text() == "base"
        assert one.locator("figure.chosen").count() == 1
        assert two.locator("h3").inner_text() == "trained"
        assert "in none of the images" in two.inner_text()
        assert abs(one.bounding_box()["y"] - two.bounding_box()["y"]) < 5


def test_two_photographs_of_a_camera_are_asked_about(opened: Opened) -> None:
    with opened(typist("m")) as tab:
        for taken in (1, 2):
            tab.locator("#images").get_by_label("camera").or_(
                tab.locator("#images").get_by_label("webcam")
            ).first.click()
            tab.get_by_role("button", name="Click to Access Webcam").click()
            tab.wait_for_function("() => (document.querySelector('#images video') || {}).readyState >= 2")
            tab.get_by_role("button", name="capture photo").click()
            shown(tab, taken)
        asked(tab)
        assert "Image-2" in answered(tab).inner_text()


def test_an_image_is_pasted(opened: Opened) -> None:
    with opened(typist("m")) as tab:
        tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
        tab.evaluate("""async () => {
            const canvas = Object.assign(document.createElement("canvas"), {width: 70, height: 40});
            canvas.getContext("2d").fillRect(0, 0, 70, 40);
            const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
            await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        }""")
        tab.get_by_role("button", name="Paste from clipboard").click()
        shown(tab, 1)


@pytest.mark.parametrize(
    ("model", "examples"),
    [
        ("mirg-tiny", (("Find one object", ["Image-2"]), ("Find two objects", ["Image-1", "Image-3"]))),
        ("mirg-tiny-photo", (("One of two parts", ["Image-1"]), ("A part of one of three", ["Image-3"]))),
    ],
)
def test_the_embedded_models_answer_their_examples_on_a_phone(
    opened: Opened, model: str, examples: tuple[tuple[str, list[str]], ...]
) -> None:
    from mirg.engines.load import load_engine

    with opened(load_engine(model), width=390) as tab:
        for title, expected in examples:
            tab.get_by_role("button", name=title).click()
            tab.wait_for_function(
                "names => [...document.querySelectorAll('#answer-0 figure.chosen b')]"
                ".map(b => b.innerText).join() === names.join()",
                arg=expected,
            )
        shown(tab, 4)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_nothing_that_others_wrote_is_executed(opened: Opened, chromium: Any, tmp_path: Path) -> None:
    """The corpus in the question, the completion, the names of the model and the files, and a problem."""
    texts = injections()[::7]
    everything = "\n".join(texts)
    evil = "<img src=x onerror=alert(1)>"
    paths = pictures(tmp_path, 2)
    named = [paths[0].rename(tmp_path / f"{evil.replace('/', '')}.png"), paths[1]]
    engine = typist(evil, f"<think>{everything}</think><answer>Image-1: (0,0),(500,500)</answer>")
    failing = typist(f"b{evil}", everything, words=2, error=ValueError(evil))
    with opened(engine, failing) as tab:
        tab.evaluate("() => { window.alert = () => { window.hurt = true; }; }")
        upload(tab, named)
        shown(tab, 2)
        asked(tab, everything[:3900])
        answered(tab, 1, "failed")
        assert "onerror=alert(1)" in answered(tab, 0).inner_text()
        drag(tab, 1, (0.1, 0.1), (0.8, 0.8))
        tab.wait_for_timeout(1000)
        assert tab.evaluate("window.hurt") is None
        assert tab.locator(":is(#board, #answer-0, #answer-1, #notice) :is(script, img, iframe, style)").count() == 0
        with tab.expect_download() as download:
            tab.locator("#history").click()
        history = tmp_path / "history.html"
        shutil.copy(download.value.path(), history)
    tab = chromium.new_page()
    tab.on("dialog", lambda dialog: pytest.fail(dialog.message))
    tab.goto(history.as_uri())
    assert "onerror=alert(1)" in tab.locator("body").inner_text()
    assert tab.locator("img[src=x]").count() == 0
    tab.close()
