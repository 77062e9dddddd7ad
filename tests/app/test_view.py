"""What the page shows, as HTML: boxes in their images, the chosen image, and texts that stay texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from fakes.pages import Page, injections
from fakes.typist import ANSWER, typist
from mirg.answers.looks import LookBudget
from mirg.app.keep import save_sample, write_history
from mirg.app.session import Answer, Model, Session, ask_all
from mirg.app.view import answer_html, answer_json, board_html, notice_html
from mirg.errors import AnswerError, ConfigError, DataError
from mirg.samples import DatasetFolder, Target, write_card
from mirg.samples.card import SAMPLES_FILE
from mirg.serve.limits import ServeLimits

LIMITS = ServeLimits(images=8)
GIVEN = "Find this: <box image=1>0.25,0.5,0.5,0.75</box>"
TARGET = Target(image=2, box=(0.1, 0.2, 0.5, 0.6))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A landscape image and a portrait one."""
    made = Session()
    for name, size in (("a.png", (80, 40)), ("b.png", (60, 120))):
        Image.new("RGB", size, "red").save(tmp_path / name)
    made.show([tmp_path / "a.png", tmp_path / "b.png"], LIMITS)
    return made


def answered(session: Session, text: str = ANSWER, question: str = "Where?") -> Answer:
    *_, (answer,) = ask_all(session, [Model(typist(text=text), "m", LIMITS)], question)
    return answer


def rects(html: str) -> list[tuple[str, ...]]:
    """(class, x, y, width, height) of every box."""
    found: list[dict[str, str]] = []
    for tag, name, value in Page(html).attributes:
        if tag == "rect":
            found += [{}] if name == "class" else []
            found[-1][name] = value
    keys = ("class", "x", "y", "width", "height")
    return [tuple(rect[key] for key in keys) for rect in found if rect["class"] != "case"]


def test_the_board_draws_the_boxes_of_question_and_right_answer_in_pixels(session: Session) -> None:
    html = board_html(session.pictures, GIVEN, [TARGET])
    assert rects(html) == [("given", "20.0", "20.0", "20.0", "10.0"), ("true", "6.0", "24.0", "24.0", "48.0")]
    page = Page(html)
    assert page.values("data-image") == ["1", "2"]
    assert page.values("viewbox") == ["0 0 80 40", "0 0 60 120"]
    assert "The images appear here" in board_html((), "", ())


def test_the_chosen_image_is_marked_and_its_box_listed(session: Session) -> None:
    html = answer_html(answered(session), session.pictures, GIVEN)
    assert rects(html) == [("given", "20.0", "20.0", "20.0", "10.0"), ("predicted", "6.0", "24.0", "24.0", "48.0")]
    page = Page(html)
    assert page.values("class").count("chosen") == 1
    text = " ".join(page.texts)
    assert "(6, 24) to (30, 72)" in text
    assert "Image-2 chosen" in " ".join(text.split())
    assert "tokens in" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<think>a</think><answer>none</answer>", "in none of the images"),
        ("It is there.", "The answer cannot be used:"),
        ("It is in Image-2 at [100, 200, 500, 600].", "These boxes are in its sentences"),
        ("<think>a</think><answer>Image-9: (1,2),(30,40)</answer>", "no such image"),
    ],
)
def test_every_kind_of_answer_is_said(session: Session, text: str, words: str) -> None:
    assert words in " ".join(Page(answer_html(answered(session, text), session.pictures, "Where?")).texts)


def test_a_growing_answer_shows_its_thinking_without_tags(session: Session) -> None:
    answer = Answer("m", "writing", "<think>It is")
    html = answer_html(answer, session.pictures, "Where?")
    assert '<pre dir="auto">It is</pre>' in html
    assert "<image" not in html  # images are sent once, with the whole answer
    assert answer_json(answer) == ""


def test_looks_are_listed_in_order_and_drawn(session: Session) -> None:
    """A look at part of Image-2, then one that is refused; the crop is a window into the image."""
    turns = iter(
        ["<think>Closer.<look>Image-2: (0,250),(500,500)</look>", "<look>Image-9: (0,0),(9,9)</look>", ANSWER[7:]]
    )
    engine = ScriptedEngine(lambda request, settings: next(turns))
    model = Model(engine, "m", LIMITS, look=LookBudget(max_looks=2))
    *_, (answer,) = ask_all(session, [model], "Where?")
    html = answer_html(answer, session.pictures, "Where?")
    page = Page(html)
    assert rects(html) == [("look", "0.0", "30.0", "30.0", "30.0"), ("predicted", "6.0", "24.0", "24.0", "48.0")]
    assert "0 30 30 30" in page.values("viewbox")
    assert "Image-2a, (0, 30) to (30, 60) in pixels" in html and "There is no Image-9." in html
    assert [look["name"] for look in json.loads(answer_json(answer))["looks"]] == ["Image-2a", ""]


def test_the_json_is_the_answer(session: Session) -> None:
    said = json.loads(answer_json(answered(session)))
    assert said["boxes"][0]["pixels"] == [6, 24, 30, 72]
    assert (said["model"], said["status"], said["completion"]) == ("m", "done", ANSWER)
    failed = json.loads(answer_json(Answer("m", "failed", "a", problem="p", hint="h")))
    assert (failed["problem"], failed["hint"]) == ("p", "h")
    assert answer_json(None) == ""


def test_texts_of_others_stay_texts_everywhere(session: Session, tmp_path: Path) -> None:
    """The corpus of injections in every field that somebody else may have written."""
    plain = Page(answer_html(answered(session), session.pictures, GIVEN))
    allowed = {*plain.elements, "em", "div", "p", "br", "span"}
    for text in injections()[::4]:  # the browser test has others of them
        Image.new("RGB", (30, 20)).save(tmp_path / "c.png")
        pictures = [picture.__class__(picture.path, text, picture.image, picture.uri) for picture in session.pictures]
        answer = Answer(text, "failed", text, problem=text, hint=text)
        shown = [answer_html(answer, pictures, text), board_html(pictures, text, [TARGET]), notice_html(text, text)]
        if text == injections()[0] or "answer" in text:
            shown.append(answer_html(answered(session, f"<think>{text}"), pictures, GIVEN))
        for page in map(Page, shown):
            assert set(page.elements) <= allowed, set(page.elements) - allowed
            assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in {"style", "src"}]
            assert all(value.startswith("data:image/webp;base64,") for value in page.values("href"))


def test_the_history_has_a_card_for_every_question_and_model(session: Session, tmp_path: Path) -> None:
    models = [
        Model(typist(), "base", LIMITS),
        Model(typist(text="<think>b</think><answer>none</answer>"), "new", LIMITS),
    ]
    for question in (GIVEN, "<img src=x onerror=alert(1)>"):
        list(ask_all(session, models, question))
    html = write_history(tmp_path / "history.html", session.turns).read_text()
    page = Page(html)
    assert "img" not in page.elements
    assert html.count("Find this: [box in Image-1]") >= 2
    assert {"base", "new"} <= set(page.values("value"))
    assert "Content-Security-Policy" in page.values("http-equiv")
    assert "predicted" in html


def test_saved_samples_are_appended_and_read_back(session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    assert save_sample(folder, session.pictures, GIVEN, [TARGET]) == 1
    assert save_sample(folder, session.pictures[::-1], "Is there a cat in Image-2?", []) == 2
    first, second = DatasetFolder.open(folder).read(images="decode")
    assert (first.question, first.targets, first.image_hidden) == (GIVEN, (TARGET,), True)
    assert (second.targets, [ref.size for ref in second.images]) == ((), [(60, 120), (80, 40)])
    assert second.images[1].path == first.images[0].path  # one file
    assert not save_sample_of(session, folder, "Where is it in Image-2?", [TARGET]).image_hidden


def save_sample_of(session: Session, folder: Path, question: str, targets: list[Target]) -> object:
    save_sample(folder, session.pictures, question, targets)
    *_, last = DatasetFolder.open(folder)
    return last


def test_nothing_is_saved_that_would_lose_something(session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    save_sample(folder, session.pictures, GIVEN, [TARGET])
    before = (folder / SAMPLES_FILE).read_bytes()
    with pytest.raises(DataError, match="was written already"):
        save_sample(folder, session.pictures, GIVEN, [TARGET])
    with pytest.raises(AnswerError, match="Image-3 does not exist"):
        save_sample(folder, session.pictures, "<box image=3>0.1,0.2,0.3,0.4</box>", [])
    with pytest.raises(ConfigError):
        save_sample(folder, session.pictures[:1], GIVEN, [TARGET])
    assert (folder / SAMPLES_FILE).read_bytes() == before
    (folder / SAMPLES_FILE).write_bytes(before + b"half a row\n")
    with pytest.raises(DataError, match="row 2 of the dataset cannot be read"):
        save_sample(folder, session.pictures, "Another?", [TARGET])
    (folder / SAMPLES_FILE).write_bytes(before)
    write_card(folder, name="mine")
    with pytest.raises(DataError, match="was not made by this page"):
        save_sample(folder, session.pictures, "Another?", [TARGET])
