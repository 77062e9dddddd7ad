"""A teacher that looks again: its turns, the crops it is sent, the ledger, and what is kept of its replies."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes import teacher
from fakes.faulty_api import FaultyApi
from mirg.answers.looks import Look, look_text
from mirg.answers.markup import cited
from mirg.families import family
from mirg.samples import DatasetFolder
from mirg.trajectories.build import check_dataset
from mirg.trajectories.teacher.ledger import Ledger
from mirg.trajectories.teacher.output import write_output
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.run import ask_teacher

LOOK = {"max_looks": 2, "crop_pixels": 4096}
NEAR, CORNER = (0.1, 0.2, 0.7, 0.8), (0.7, 0.8, 1.0, 1.0)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    return teacher.dataset(tmp_path_factory.mktemp("two") / "data", 2)


class Teacher:
    """Looks at ``boxes`` of ``Image-2``, one a turn, and then answers as a good teacher, saying ``read_off``."""

    def __init__(self, src: DatasetFolder, recipe: TeacherRecipe, boxes: list[Any], read_off: str) -> None:
        self.src, self.boxes, self.recipe, self.read_off = src, boxes, recipe, read_off
        self.sent: list[dict[str, Any]] = []

    def __call__(self, body: dict[str, Any]) -> str:
        self.sent.append(body)
        sample = next(iter(self.src.read()))
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        opened = "<think>" if turn == 0 else ""
        if turn < len(self.boxes):
            look = look_text(Look(2, self.boxes[turn]), sample.sizes, family(self.recipe.family))
            return f"{opened}Step {turn + 1} needs a closer look. {look} I continue too early."
        return opened + self.read_off + teacher.good(sample, self.recipe).removeprefix("<think>")


def run(api: FaultyApi, src: DatasetFolder, path: Path, boxes: list[Any], read_off: str) -> Teacher:
    recipe = teacher.recipe(api.url, look=LOOK, repair=False)
    api.reply = Teacher(src, recipe, boxes, read_off)
    with Ledger(path / "ledger.db") as ledger:
        ask_teacher(src, recipe, ledger)
        assert write_output(src, path / "out", recipe, ledger, overwrite=True).n_kept == 2
    return api.reply  # type: ignore[return-value]


def pixels(part: dict[str, Any]) -> tuple[int, int]:
    data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    return Image.open(io.BytesIO(data)).size


def test_a_teacher_looks_and_its_looks_are_kept(api: FaultyApi, two: DatasetFolder, tmp_path: Path) -> None:
    asked = run(api, two, tmp_path, [NEAR], "Image-2a shows a red ring. ")
    first, second = (next(body for body in asked.sent if len(body["messages"]) == n) for n in (2, 4))
    assert "at most 2 times" in first["messages"][0]["content"]
    assert second["messages"][2]["content"].endswith("</look>"), "what the teacher writes behind its look is not sent"
    words, crop = second["messages"][3]["content"]
    assert words["text"] == "Image-2a: " and crop["type"] == "image_url" and min(pixels(crop)) >= 48
    (sample, _) = DatasetFolder.open(tmp_path / "out").read()
    assert sample.trajectory is not None
    assert [image for image, _ in cited(sample.trajectory.thinking, "look")] == [2]
    assert "Step 1 needs a closer look. <look image=2>" in sample.trajectory.thinking
    assert check_dataset(DatasetFolder.open(tmp_path / "out")).n_rejected == 0


def test_a_finished_run_asks_nothing_again(api: FaultyApi, two: DatasetFolder, tmp_path: Path) -> None:
    run(api, two, tmp_path, [NEAR, CORNER], "Image-2a shows a red ring. ")
    kept = (tmp_path / "out" / "samples.jsonl").read_bytes()
    again = run(api, two, tmp_path, [NEAR, CORNER], "Image-2a shows a red ring. ")
    assert again.sent == [] and (tmp_path / "out" / "samples.jsonl").read_bytes() == kept


def test_a_refused_look_is_said_and_left_out(api: FaultyApi, two: DatasetFolder, tmp_path: Path) -> None:
    asked = run(api, two, tmp_path, [(0.2, 0.2, 0.201, 0.201), NEAR], "Image-2a shows a red ring. ")
    said = next(body for body in asked.sent if len(body["messages"]) == 4)["messages"][3]
    assert said == {"role": "user", "content": "This part of Image-2 has only 1 x 1 pixels."}
    sample = next(iter(DatasetFolder.open(tmp_path / "out").read()))
    assert sample.trajectory is not None and len(cited(sample.trajectory.thinking, "look")) == 1


@pytest.mark.parametrize(
    ("boxes", "read_off", "reason"),
    [
        ([CORNER], "Image-2a shows a red ring. ", "Image-2a is said to show 'red ring', which is not annotated there"),
        ([NEAR], "Image-2a shows no red ring. ", "Image-2a is said not to show 'red ring', which is annotated there"),
        ([NEAR], "Image-2b shows a red ring. ", "Image-2b is a crop, but no look before it has made it"),
    ],
)
def test_what_is_read_off_a_crop_is_checked(
    api: FaultyApi, two: DatasetFolder, tmp_path: Path, boxes: list[Any], read_off: str, reason: str
) -> None:
    recipe = teacher.recipe(api.url, look=LOOK, repair=False)
    api.reply = Teacher(two, recipe, boxes, read_off)
    with Ledger(tmp_path / "ledger.db") as ledger:
        ask_teacher(two, recipe, ledger)
        outcomes = ledger._rows("SELECT reason FROM outcomes WHERE accepted = ?", 0)
    assert [row[0] for row in outcomes] == [reason] * 2


def test_a_recipe_without_looks_is_written_as_before(api: FaultyApi) -> None:
    assert "look" not in teacher.recipe(api.url).model_dump()
    assert teacher.recipe(api.url, look=LOOK).model_dump()["look"] == LOOK
