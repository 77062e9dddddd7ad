"""A session of the page without Gradio: images, drawn boxes, and answers that grow, are cancelled or fail."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from fakes.typist import ANSWER, THOUGHT, typist
from mirg.app.examples import EXAMPLES, examples_for, write_examples
from mirg.app.session import Answer, Model, Session, Sessions, ask_all, drawn_box, found_targets
from mirg.errors import ConfigError, ImageError, MirgError
from mirg.families import FAMILIES
from mirg.images import open_image
from mirg.serve.limits import ServeLimits

LIMITS = ServeLimits(images=8, text=200)
SIZES = [(80, 40), (60, 120), (100, 100)]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Three images of different sizes."""
    made = Session()
    made.show(files(tmp_path, SIZES), LIMITS)
    return made


def files(folder: Path, sizes: list[tuple[int, int]]) -> list[Path]:
    paths = [folder / f"{k}.png" for k in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        Image.new("RGB", size, "red").save(path)
    return paths


def last(session: Session, engine: ScriptedEngine, question: str = "Where?", limits: ServeLimits = LIMITS) -> Answer:
    """The final answer of one model."""
    *_, (answer,) = ask_all(session, [Model(engine, engine.name, limits)], question)
    return answer


def test_an_answer_grows_and_ends_with_its_boxes(session: Session) -> None:
    answers = [shown for (shown,) in ask_all(session, [Model(typist(pause=0.1), "m", LIMITS)], "Where?")]
    assert answers[0].status == "waiting"
    assert [a.status for a in answers[1:-1]] == ["writing"] * (len(answers) - 2)
    assert len(answers) > 3
    texts = [a.text for a in answers]
    assert texts == sorted(texts, key=len)
    done = answers[-1]
    assert done.status == "done"
    assert done.text == ANSWER
    assert done.grounding is not None
    assert done.grounding.reading.thinking == THOUGHT
    assert found_targets(done)[0].image == 2
    assert [turn.answers for turn in session.turns] == [(done,)]


def test_a_cancelled_answer_keeps_what_was_written_and_the_model_is_free(session: Session) -> None:
    model = Model(typist(text="word " * 5000, pause=0.01), "m", LIMITS)
    for (shown,) in ask_all(session, [model], "Where?"):
        if shown.text:
            session.cancel.set()
    assert shown.status == "cancelled"
    assert 0 < shown.text.count("word") < 5000
    model.engine = typist()
    *_, (again,) = ask_all(session, [model], "Where?")
    assert again.status == "done"


def test_two_models_are_asked_one_after_another_and_one_may_fail(session: Session) -> None:
    good, bad = Model(typist(), "a", LIMITS), Model(typist(words=2, error=RuntimeError("secret path")), "b", LIMITS)
    *_, (one, two) = ask_all(session, [bad, good], "Where?")
    assert (one.status, two.status) == ("failed", "done")
    assert one.problem == "the model failed (RuntimeError)"
    assert one.text == "<think>The red"
    assert "fewer or smaller images" in one.hint


@pytest.mark.parametrize(
    ("question", "count", "more", "problem"),
    [
        (" ", 3, {}, "the question is empty"),
        ("x" * 201, 3, {}, "more than 200 characters"),
        ("Where?", 1, {}, "1 images are here, and a question is about 2 to 8"),
        ("Where <|image_pad|>?", 3, {}, "<|image_pad|>"),
        ("Where <box image=7>0.1,0.2,0.3,0.4</box>?", 3, {}, "Image-7 does not exist"),
        ("Where?", 3, {"pixels": 9000}, "the images have more than 9,000 pixels together"),
        ("Where?", 3, {"prompt_tokens": 10}, "10 are allowed"),
    ],
)
def test_what_the_server_refuses_the_page_refuses(
    session: Session, question: str, count: int, more: dict[str, int], problem: str
) -> None:
    engine = typist()
    session.pictures = session.pictures[:count]
    answer = last(session, engine, question, LIMITS.model_copy(update=more))
    assert answer.status == "failed"
    assert problem in answer.problem
    assert engine.asked == []


def test_a_model_that_takes_too_long_is_given_up(session: Session) -> None:
    answer = last(
        session, typist(text="word " * 5000, pause=0.01), limits=LIMITS.model_copy(update={"answer_seconds": 0.3})
    )
    assert (answer.status, answer.problem) == ("failed", "no answer within 0.3 s")


def test_an_engine_that_cannot_be_watched_answers_at_once(session: Session) -> None:
    answer = last(session, ScriptedEngine(lambda request, settings: ANSWER))
    assert (answer.status, answer.text) == ("done", ANSWER)


def test_boxes_in_sentences_are_mentioned_and_not_an_answer(session: Session) -> None:
    """As a model writes that was not trained on the form of an answer."""
    engine = typist(text="Found: red ring Image-3. Box: Image-3 red ring (520,200),(920,520).")
    engine.family = FAMILIES["mirg-tiny"]
    grounding = last(session, engine).grounding
    assert grounding is not None
    assert grounding.found == ()
    assert grounding.failure is not None
    assert [(box.image, box.pixels) for box in grounding.mentioned] == [(3, (52, 20, 92, 52))]
    assert grounding.as_json()["mentioned"][0]["path"] == "2.png"


def test_images_are_opened_once_and_other_images_drop_the_targets(session: Session, tmp_path: Path) -> None:
    before = session.pictures
    session.targets.extend(found_targets(last(session, typist())))
    session.show([picture.path for picture in before], LIMITS)
    assert all(new is old for new, old in zip(session.pictures, before, strict=True))
    assert len(session.targets) == 1
    session.show([picture.path for picture in before[:2]], LIMITS)
    assert session.targets == []
    with pytest.raises(ConfigError, match="9 images are more than the 8"):
        session.show(files(tmp_path, [(20, 20)] * 9), LIMITS)


def test_hostile_files_are_refused_by_name(session: Session, tmp_path: Path) -> None:
    for path in [tmp_path / "page.png", tmp_path / "gone.png"]:
        if path.stem == "page":
            path.write_text("<html>")
        with pytest.raises(ImageError, match=path.name):
            session.show([path], LIMITS)
    assert len(session.pictures) == 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"image": 2, "box": [0.5, 0.75, 0.25, 0.1]}, (2, (0.25, 0.1, 0.5, 0.75))),
        ({"image": 1, "box": [-3, 0, 0.123456, 9]}, (1, (0.0, 0.0, 0.1235, 1.0))),
        ({"image": 1, "box": [0.5, 0.5, 0.501, 0.9]}, None),
        ({"image": 1, "box": [float("nan"), 0.5, float("inf"), 0.9]}, (1, (0.0, 0.5, 1.0, 0.9))),
        ({"image": 4, "box": [0.1, 0.1, 0.5, 0.5]}, ConfigError),
        ({"image": True, "box": [0.1, 0.1, 0.5, 0.5]}, ConfigError),
        ({"image": 1, "box": ["0.1", 0.1, 0.5, 0.5]}, ConfigError),
        ({"image": 1, "box": [0.1, 0.1, 0.5]}, ConfigError),
        ({"box": "<script>"}, ConfigError),
        ({}, ConfigError),
    ],
)
def test_a_drawn_box_is_checked(given: dict[str, Any], expected: Any) -> None:
    if expected is ConfigError:
        with pytest.raises(MirgError):
            drawn_box(given, 3)
    else:
        assert drawn_box(given, 3) == expected


def test_the_end_of_a_session_ends_its_question() -> None:
    sessions = Sessions()
    first, second = sessions.of("a"), sessions.of("b")
    assert sessions.of("a") is first
    sessions.end("a")
    assert (first.cancel.is_set(), second.cancel.is_set()) == (True, False)
    assert sessions.of("a") is not first
    sessions.close()
    assert second.cancel.is_set()
    oldest = sessions.of("b")
    oldest.cancel = threading.Event()
    for k in range(100):
        sessions.of(f"more {k}")
    assert oldest.cancel.is_set()


@pytest.mark.parametrize("name", ["mirg-tiny", "mirg-tiny-photo", "runs/sft/model", "org/other-model"])
def test_every_model_has_examples_of_two_images_and_more(tmp_path: Path, name: str) -> None:
    engine = typist(name)
    engine.family = FAMILIES["qwen3-vl" if "other" in name else "mirg-tiny"]
    examples = examples_for(engine)
    paths = write_examples(examples, tmp_path)
    assert len({example.question for example in examples}) == len(examples) == 3
    for example, files_of in zip(examples, paths, strict=True):
        assert [open_image(path).size for path in files_of] == [image.size for image in example.images]
        assert 2 <= len(files_of) <= 8
    assert set(EXAMPLES) == {"mirg-tiny", "mirg-tiny-photo", "family mirg-tiny"}
