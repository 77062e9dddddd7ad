"""``mirg ground``: from image files and a question to text, JSON, a picture, and the right exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageColor
from typer.testing import CliRunner, Result

from fakes.engines import ScriptedEngine
from mirg.cli import ground as ground_module
from mirg.cli.main import app
from mirg.engines import load as load_module
from mirg.engines.ask import ask
from mirg.engines.base import Completion, Generation, Request
from mirg.errors import ConfigError, EngineError
from mirg.report.draw import COLOURS

ANSWER = "<think>Found: red ring Image-2.</think><answer>Image-2: (250,500),(750,1000)</answer>"


class Run:
    """Calls ``mirg ground`` with an engine that writes ``text``, and keeps what it was asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.requests: list[Request] = []
        self.settings: list[Generation] = []
        self.loaded: list[dict[str, str | None]] = []
        self.text: str = ANSWER
        self.said: Iterator[str] | None = None
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str) -> Result:
        def script(request: Request, settings: Generation) -> str:
            self.requests.append(request)
            self.settings.append(settings)
            return self.text if self.said is None else next(self.said)

        def load(model: str, **options: str | None) -> ScriptedEngine:
            self.loaded.append({"model": model, **options})
            return ScriptedEngine(script)

        self._monkeypatch.setattr(load_module, "load_engine", load)
        self._monkeypatch.chdir(self.folder)
        return CliRunner().invoke(app, ["ground", "--model", "runs/rl", *arguments])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    Image.new("RGB", (100, 80), "#802020").save(tmp_path / "a.png")
    Image.new("RGB", (200, 40), "#202080").save(tmp_path / "b.jpg")
    return Run(tmp_path, monkeypatch)


def test_text_has_reasoning_image_and_pixels(run: Run) -> None:
    result = run("a.png", "b.jpg", "-q", "Where is the red ring?")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "Reasoning",
        "  Found: red ring Image-2.",
        "",
        "Answer",
        "  Image-2  b.jpg  (50, 20) to (150, 40) px",
    ]


def test_the_model_sees_labelled_images_in_order_and_the_question(run: Run) -> None:
    run("a.png", "b.jpg", "-q", "Where is the red ring?", "--max-new-tokens", "64", "--family", "qwen3-vl")
    (request,) = run.requests
    assert [image.size for image in request.images] == [(100, 80), (200, 40)]
    texts = [part["text"] for part in request.messages[0]["content"]]
    assert texts[0] == "Image-1: " and texts[2] == "\nImage-2: " and "Where is the red ring?" in texts[-1]
    assert run.settings[0].max_new_tokens == 64 and run.settings[0].temperature == 0
    assert [{k: v for k, v in one.items() if v is not None} for one in run.loaded] == [
        {"model": "runs/rl", "family": "qwen3-vl"}
    ]


def test_json_is_one_document(run: Run) -> None:
    result = run("a.png", "b.jpg", "-q", "Where?", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert found["boxes"] == [
        {"image": 2, "path": "b.jpg", "pixels": [50, 20, 150, 40], "box": [0.25, 0.5, 0.75, 1.0], "problem": None}
    ]
    assert found["images"][1] == {"image": 2, "path": "b.jpg", "width": 200, "height": 40}
    assert (found["failure"], found["none"], found["thinking"]) == (None, False, "Found: red ring Image-2.")


def test_the_picture_shows_the_box_on_the_second_image(run: Run) -> None:
    assert run("a.png", "b.jpg", "-q", "Where?", "--out", "drawn.JPG").exit_code == 0
    assert Image.open(run.folder / "drawn.JPG").format == "JPEG"
    assert run("a.png", "b.jpg", "-q", "Where?", "--out", "drawn.png").exit_code == 0
    picture = Image.open(run.folder / "drawn.png").convert("RGB")
    orange = ImageColor.getrgb(COLOURS["predicted"])
    columns = [x for x in range(picture.width) for y in range(picture.height) if picture.getpixel((x, y)) == orange]
    assert columns and min(columns) > 300, "the first image is 300 pixels wide after enlarging"


OUTCOMES = [
    ("<think>x</think><answer>none</answer>", 0, "in none of the images", "an explicit none is an answer"),
    ("no idea", 1, "No answer could be used", "nothing to read"),
    ("", 1, "(empty)", "an empty completion"),
    ("Found: Image-1 (500,500),(800,900).", 1, "Boxes in it\n  Image-1  a.png  (50, 40) to (80, 72) px", "a sentence"),
    ("<think>x</think><answer>Image-9: (1,1),(9,9)</answer>", 1, "no such image", "an image that is not there"),
    ("<think>x</think><answer>Image-1: (900,1),(9,9)</answer>", 1, "inverted", "not a box"),
    ("<think>x</think><answer>Image-1: (500,500),(1500,900)</answer>", 0, "(50, 40) to (100, 72) px  [outside]", "cut"),
]


@pytest.mark.parametrize(("text", "code", "expected", "reason"), OUTCOMES, ids=[row[3] for row in OUTCOMES])
@pytest.mark.parametrize("as_json", [False, True])
def test_exit_code_says_whether_there_is_an_answer(
    run: Run, text: str, code: int, expected: str, reason: str, as_json: bool
) -> None:
    run.text = text
    result = run("a.png", "b.jpg", "-q", "Where?", *(["--json"] if as_json else []))
    assert result.exit_code == code, reason
    if as_json:
        assert (json.loads(result.stdout)["failure"] is None) == (code == 0)
    else:
        assert expected in result.stdout


def test_control_sequences_of_a_model_do_not_reach_the_terminal(run: Run) -> None:
    run.text = "<think>\x1b]0;title\x07\x1b[2Jyes</think><answer>Image-1: (1,1),(500,500)</answer>"
    assert "\x1b" not in run("a.png", "-q", "Where?").stdout
    raw = run("a.png", "-q", "Where?", "--json").stdout
    assert "\x1b" not in raw and json.loads(raw)["completion"] == run.text


REFUSED: list[tuple[list[str], str, str]] = [
    (["missing.png", "-q", "x"], "missing.png does not exist", "a missing image"),
    (["broken.png", "-q", "x"], "broken.png", "a file that is no image"),
    (["a.png", "-q", "  "], "question is empty", "no question"),
    (["a.png", "-q", "x", "--out", "drawn.gif"], "unknown kind of picture", "a picture that cannot be written"),
    (["a.png", "-q", "x", "--out", "nowhere/drawn.png"], "does not exist", "a folder that is not there"),
    (["a.png", "-q", "look at <|image_pad|>"], "question", "a vision token in the question"),
]


@pytest.mark.parametrize(("arguments", "message", "reason"), REFUSED, ids=[row[2] for row in REFUSED])
def test_bad_input_is_named_before_the_model_is_asked(
    run: Run, arguments: list[str], message: str, reason: str
) -> None:
    (run.folder / "broken.png").write_bytes(b"not a picture")
    result = run(*arguments)
    assert result.exit_code == 2, reason
    assert message in result.stderr and "Traceback" not in result.stderr
    assert run.requests == []


def test_a_broken_image_is_told_before_the_model_is_loaded(run: Run) -> None:
    run("missing.png", "-q", "x")
    assert run.loaded == []


def test_a_place_in_the_question_is_written_in_the_models_frame_and_drawn(run: Run) -> None:
    question = "What matches <box image=1>0.1,0.2,0.5,0.6</box>?"
    assert run("a.png", "b.jpg", "-q", question, "--out", "drawn.png").exit_code == 0
    assert "[100,200,500,600]" in run.requests[0].messages[0]["content"][-1]["text"]
    blue = ImageColor.getrgb(COLOURS["given"])
    picture = Image.open(run.folder / "drawn.png").convert("RGB")
    assert any(colour == blue for _, colour in picture.getcolors(1 << 20) or [])


def test_a_cut_completion_is_said(run: Run, tmp_path: Path) -> None:
    class Cut(ScriptedEngine):
        def generate(self, requests: list[Request], settings: Generation) -> list[Completion]:  # type: ignore[override]
            return [Completion("<think>and so on", 7, "length")]

    grounding = ask(Cut(lambda r, s: ""), ["a"], [Image.new("RGB", (9, 9))], "Where?")
    assert grounding.failure and "cut at 7 tokens" in "\n".join(ground_module.as_text(grounding))


def test_thin_boxes_keep_a_pixel() -> None:
    engine = ScriptedEngine(lambda r, s: "<answer>Image-1: (999,0),(1000,1)</answer>")
    grounding = ask(engine, ["a"], [Image.new("RGB", (50, 20))], "Where?")
    assert grounding.found[0].pixels == (49, 0, 50, 1)


def test_no_images_and_a_wrong_engine_are_errors() -> None:
    from mirg.engines.ask import open_images

    with pytest.raises(ConfigError, match="no images"):
        open_images([])

    class Silent(ScriptedEngine):
        def generate(self, requests: list[Request], settings: Generation) -> list[Completion]:  # type: ignore[override]
            return []

    with pytest.raises(EngineError, match="0 completions"):
        ask(Silent(lambda r, s: ""), ["a"], [Image.new("RGB", (9, 9))], "Where?")


def test_looks_are_executed_and_told(run: Run, tmp_path: Path) -> None:
    """The model looks once, is refused once, and answers; the picture has the part that was shown."""
    run.said = iter(
        [
            "<think>Closer. <look>Image-2: (250,0),(750,1000)</look>",
            "<look>Image-9: (1,2),(300,400)</look>",
            "So.</think><answer>Image-2: (250,500),(750,1000)</answer>",
        ]
    )
    result = run("a.png", "b.jpg", "-q", "Where?", "--looks", "2", "--out", "answer.png")
    assert result.exit_code == 0, result.output
    assert "  1. Image-2a  (50, 0) to (150, 40) px" in result.stdout and "  2. There is no Image-9." in result.stdout
    assert [len(request.images) for request in run.requests] == [2, 3, 3]
    assert "at most 2 times" in run.requests[0].messages[0]["content"][-1]["text"]
    picture = Image.open(tmp_path / "answer.png").convert("RGB")
    assert ImageColor.getrgb(COLOURS["given"]) in {colour for _, colour in picture.getcolors(2**20) or ()}


def test_looks_in_json_and_only_if_they_are_on(run: Run) -> None:
    assert "looks" not in json.loads(run("a.png", "b.jpg", "-q", "Where?", "--json").stdout)
    assert json.loads(run("a.png", "b.jpg", "-q", "Where?", "--json", "--looks", "1").stdout)["looks"] == []
    refused = run("a.png", "b.jpg", "-q", "Where?", "--looks", "1", "--thinking", "off")
    assert refused.exit_code == 2 and "--looks needs the model's thinking" in refused.output
