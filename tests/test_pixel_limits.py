"""Pixel limits arrive wherever boxes are written or read: otherwise the boxes of a family with pixels are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from fakes.serving import as_openai
from fakes.uneven import (
    BOX,
    CHAIN,
    CITED,
    COMPLETION,
    FAMILY,
    LIMITS,
    POINTED,
    SAMPLE,
    SEEN,
    SIZES,
    THINKING,
    TOKENS,
    WRITTEN,
    write_uneven,
)
from mirg.answers import messages, prompt_text, write_answer, write_completion
from mirg.answers.looks import LookBudget
from mirg.answers.markup import render
from mirg.answers.prompts import question_text
from mirg.answers.read import read
from mirg.data.checks.leakage import Holdout, alike, difference_hash
from mirg.data.checks.lengths import Lengths, SampleCounter
from mirg.data.checks.run import CheckConfig, check_dataset
from mirg.data.checks.sheet import show
from mirg.data.compose.bench import Pixels
from mirg.data.exporters.build import make_plan
from mirg.data.exporters.files import ImageFiles
from mirg.data.exporters.render import rendered
from mirg.data.filter import Criteria, write_filtered
from mirg.engines.ask import ask
from mirg.engines.base import Request
from mirg.errors import DataError, ImageError
from mirg.evaluation.blind import write_helpful
from mirg.evaluation.measure import MeasurePlan
from mirg.evaluation.pass_rates import write_difficulty
from mirg.evaluation.records import load_records, make_record
from mirg.evaluation.runner import Plan, evaluate
from mirg.frames import extent, from_frame, input_size, to_frame
from mirg.images import ImageLimits
from mirg.report.images import Thumbs, _opened
from mirg.rewards import RewardConfig, score
from mirg.rewards.looks import LookRewards, look_functions, look_parts
from mirg.rewards.trl import reward_functions, total_reward
from mirg.samples import Carrier, DatasetFolder, DatasetWriter, Sample
from mirg.samples.tokens import template_tokens
from mirg.serve.limits import Refused, ServeLimits
from mirg.serve.server import Served


class Student(ScriptedEngine):
    """Writes the right answer in the frame of its limits if its turn was begun; keeps what it was shown."""

    def __init__(self, alone: str = COMPLETION) -> None:
        self.shown: list[Request] = []
        super().__init__(lambda request, settings: self.answer(request, alone), family=FAMILY, limits=LIMITS)

    def answer(self, request: Request, alone: str) -> str:
        self.shown.append(request)
        return COMPLETION.removeprefix(CHAIN) if request.prefix else alone


def test_the_numbers_of_these_tests() -> None:
    assert [input_size(size, FAMILY, LIMITS) for size in SIZES] == list(SEEN)
    assert all(input_size(size, FAMILY) != seen for size, seen in zip(SIZES[1:], SEEN[1:], strict=True))


@pytest.mark.parametrize(
    ("written", "holds"),
    [
        (lambda: question_text(SAMPLE, FAMILY, LIMITS), POINTED),
        (lambda: prompt_text(messages(SAMPLE, FAMILY, LIMITS)), POINTED),
        (lambda: render(THINKING, SIZES, FAMILY, LIMITS), CITED),
        (lambda: write_answer(SAMPLE.targets, SIZES, FAMILY, limits=LIMITS), WRITTEN),
        (lambda: write_completion(THINKING, SAMPLE.targets, SIZES, FAMILY, limits=LIMITS), COMPLETION),
        (lambda: str(list(to_frame(BOX, SIZES[2], FAMILY, LIMITS))).replace(" ", ""), CITED),
        (lambda: str(extent(SIZES[2], FAMILY, LIMITS)), str(SEEN[2])),
    ],
    ids=["question", "prompt", "markup", "answer", "completion", "box", "extent"],
)  # fmt: skip
def test_what_is_written(written: Callable[[], str], holds: str) -> None:
    assert holds in written()


@pytest.mark.parametrize(
    "value",
    [
        lambda: read(COMPLETION, SIZES, FAMILY, LIMITS).boxes[0].box == BOX,
        lambda: from_frame([308, 56, 616, 168], SIZES[2], FAMILY, LIMITS) == BOX,
        lambda: score(COMPLETION, SAMPLE, FAMILY, limits=LIMITS).total,
        lambda: total_reward(RewardConfig(), FAMILY, LIMITS)([COMPLETION], record=[SAMPLE.model_dump_json()])[0],
        lambda: reward_functions(RewardConfig(), FAMILY, LIMITS).functions[2](
            [COMPLETION], record=[SAMPLE.model_dump_json()]
        )[0],
        lambda: make_record(SAMPLE, COMPLETION, family=FAMILY, limits=LIMITS).object_reward,
        lambda: look_parts(COMPLETION, SAMPLE, FAMILY, LookBudget(), LIMITS)["grounded"].value,
        lambda: look_functions(LookRewards(grounded=1), FAMILY, LookBudget(), LIMITS)[0][0](
            [COMPLETION], record=[SAMPLE.model_dump_json()]
        )[0],
    ],
    ids=["reader", "frame", "score", "total reward", "object reward", "record", "looks", "reward for looks"],
)
def test_what_is_read(value: Callable[[], float]) -> None:
    assert value() == 1


def test_evaluation(tmp_path: Path) -> None:
    engine = Student(alone=COMPLETION.removeprefix(CHAIN))  # without thinking, which costs the format
    evaluate(engine, write_uneven(tmp_path / "data"), tmp_path / "out", Plan(rewards=RewardConfig(format_weight=0)))
    (record,) = load_records(tmp_path / "out")
    assert POINTED in prompt_text(engine.shown[0].messages)
    assert record.joint and (record.iou, record.object_reward, record.format) == (1.0, 1.0, 0.0)
    assert record.total == 1.0, "the format has no weight"


def test_measurements(tmp_path: Path) -> None:
    data, engine = write_uneven(tmp_path / "data"), Student(alone=COMPLETION.removeprefix(CHAIN))
    plan = MeasurePlan(rewards=RewardConfig(format_weight=0))  # thinking that is missing then costs nothing
    found = write_difficulty(engine, data, tmp_path / "rated", 1, plan)
    assert found.kept == {"always": 1} and POINTED in prompt_text(engine.shown[0].messages)
    assert next(iter(DatasetFolder.open(tmp_path / "rated"))).meta["mean_reward"] == 1.0
    student = Student(alone="hm")
    assert write_helpful(student, data, tmp_path / "helpful").kept == {"wrong to right": 1}
    assert [request.prefix for request in student.shown] == ["", CHAIN]


def test_a_question_of_a_person() -> None:
    engine = Student()
    found = ask(engine, "abc", pictures(), SAMPLE.question)
    assert POINTED in prompt_text(engine.shown[0].messages)
    assert [(box.image, box.pixels) for box in found.found] == [(3, (500, 100, 1000, 300))]
    low = WRITTEN.replace('3, "bbox_2d": [308, 56, 616, 168]', '2, "bbox_2d": [28, 231, 84, 308]')
    found = ask(Student(alone=f"<answer>{low}</answer>"), "abc", pictures(), SAMPLE.question)
    assert [(box.image, box.pixels) for box in found.found] == [(2, (12, 112, 38, 150))], "the end of a high image"


def test_tokens_are_those_of_the_resized_images(tmp_path: Path) -> None:
    """In a filter, in the check of lengths, and in a server that refuses prompts by their length."""
    data, least, most = write_uneven(tmp_path / "data"), LIMITS.min_pixels, LIMITS.max_pixels
    tokens = SampleCounter(FAMILY, LIMITS)(SAMPLE).total
    assert SampleCounter(FAMILY, LIMITS)(SAMPLE).images == TOKENS
    bounds = Criteria(max_tokens=tokens, family=FAMILY.name, min_pixels=least, max_pixels=most)
    assert write_filtered(data, tmp_path / "all", bounds).n_kept == 1
    with pytest.raises(DataError):
        write_filtered(data, tmp_path / "none", bounds.model_copy(update={"max_tokens": tokens - 1}))

    counted: list[str] = []
    lengths = Lengths(FAMILY, most, lambda words: counted.append(words) or 0, "no text")  # type: ignore[func-returns-value]
    pointing = SAMPLE.model_copy(update={"question": "What is at <box image=3>0.5,0.25,1.0,0.75</box>?"})
    assert (lengths.add(pointing) or 0) - template_tokens(FAMILY, len(SIZES)) == 198 + 10 + 176
    assert [CITED in words for words in counted[-2:]] == [True, True], "the question and the completion"

    body = {"model": "m", "messages": as_openai(messages(SAMPLE, FAMILY, LIMITS), pictures())}
    Served(Student(), "m", ServeLimits(prompt_tokens=650))._prepare(json.dumps(body).encode())
    with pytest.raises(Refused, match="tokens, 418 are allowed"):
        Served(Student(), "m", ServeLimits(prompt_tokens=TOKENS))._prepare(json.dumps(body).encode())


def test_an_export_that_leaves_resizing_to_the_processor(tmp_path: Path) -> None:
    bounds = {"min_pixels": LIMITS.min_pixels, "max_pixels": LIMITS.max_pixels}
    row = rendered(SAMPLE, "abc", make_plan(write_uneven(tmp_path / "data"), tmp_path, FAMILY.name, **bounds), ())
    assert POINTED in row.prompt and (row.answer, row.completion) == (WRITTEN, COMPLETION)


TIGHT = ImageLimits(max_pixels=60_000)  # the second image only


def refused(work: Callable[[], object]) -> bool:
    with pytest.raises(ImageError, match="60,000 pixels"):
        work()
    return True


@pytest.mark.parametrize(
    "is_refused",
    [
        lambda data, sample, out: refused(lambda: data.open_image(sample.images[0])),
        lambda data, sample, out: list(data.read(lambda row: None, images="header")) == [],
        lambda data, sample, out: refused(lambda: Carrier(data, DatasetWriter(out, name="x"), "all").carry(sample)),
        lambda data, sample, out: check_dataset(data, CheckConfig(look="decode")).rejected == 1,
        lambda data, sample, out: difference_hash(turned(data).image_path(sample.images[2]), TIGHT).hash is None,
        lambda data, sample, out: alike(turned(data), unknown(data), Holdout(data), 8) == [],
        lambda data, sample, out: show(turned(data), out)[0].notes == (),
        lambda data, sample, out: Thumbs(limits=TIGHT).make([data.image_path(sample.images[0])]) == {},
        lambda data, sample, out: {Thumbs.fitting([], size, TIGHT).limits for size in (-1, 10**6)} == {TIGHT},
        lambda data, sample, out: _opened(data.image_path(sample.images[0]), TIGHT) is None,
        lambda data, sample, out: show(data, out) and out.read_text().count("data:image/webp") == 1,
        lambda data, sample, out: refused(lambda: Pixels(data, unmeasured(sample), 64).size(0)),
        lambda data, sample, out: refused(lambda: exporting(data, out).path(sample.images[0], "uneven")),
    ],
    ids=["open", "read", "copy", "check", "look", "looks", "header", "thumb", "size", "probe", "page", "new", "export"],
)  # fmt: skip
def test_limits_of_a_folder_reach_whoever_opens_its_images(
    is_refused: Callable[[DatasetFolder, Sample, Path], bool], tmp_path: Path
) -> None:
    root = write_uneven(tmp_path / "data").root
    (sample,) = list(DatasetFolder.open(root))
    assert is_refused(DatasetFolder.open(root, limits=TIGHT), sample, tmp_path / "out")


def unmeasured(sample: Sample) -> Any:
    refs = [ref.model_copy(update={"width": 0, "height": 0}) for ref in sample.images]
    return SimpleNamespace(images=[SimpleNamespace(ref=ref) for ref in refs])


def turned(data: DatasetFolder) -> DatasetFolder:
    """Its third image is not plain, and EXIF rotates it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.linear_gradient("L").resize((1000, 400)).save(sorted((data.root / "images").iterdir())[2], exif=exif)
    return data


def unknown(data: DatasetFolder) -> dict:
    return {path: (use, None) for path, (use, _) in Holdout(data).images.items()}


def exporting(data: DatasetFolder, out: Path) -> ImageFiles:
    """An export that has to turn the first image upright, so that it opens it."""
    (out / "images").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    first = sorted((data.root / "images").iterdir())[0]
    Image.open(first).save(first, exif=exif)
    return ImageFiles(data, out, out, copy=False, relative=False, upright=True)


def pictures() -> list[Image.Image]:
    return [Image.new("RGB", size) for size in SIZES]
