"""Each format read back: as many placeholders as images, and every box where the model will look for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter

from fakes.datasets import write_rows
from mirg.answers import read
from mirg.families import Family, PixelLimits, family
from mirg.frames import Size, input_size
from mirg.rewards.total import RewardConfig, score
from mirg.samples import DatasetFolder, Sample

BOUNDS = PixelLimits(3136, 200_000)


class Shown(NamedTuple):
    """What a reader finds in one row; ``record`` is for rewards."""

    prompt: str
    images: list[str]
    answer: str | None  # as the model should write it, with the think block, or only its answer
    record: str | None


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Turn(Closed):
    role: Literal["user", "assistant"]
    content: str


class LlamaRow(Closed):
    messages: tuple[Turn, Turn]
    images: list[str]


class Objects(Closed):
    ref: list[str]
    bbox: list[tuple[float, float, float, float]]
    bbox_type: Literal["real", "norm1"]
    image_id: list[int]


class SwiftRow(Closed):
    """The keys that ms-swift names, and columns for rewards."""

    messages: list[Turn]
    images: list[str]
    objects: Objects | None = None
    solution: str | None = None
    record: str | None = None


class VerlImage(Closed):
    image: str
    min_pixels: int
    max_pixels: int


class RewardModel(Closed):
    style: Literal["rule"]
    ground_truth: str


class VerlRow(Closed):
    data_source: str
    prompt: list[Turn]
    images: list[VerlImage]
    ability: str
    reward_model: RewardModel
    extra_info: dict[str, str | int]


class EasyRow(Closed):
    id: str
    task: str
    problem: str
    answer: str
    solution: str
    images: list[str]


def parquet_rows(path: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    return parquet.read_table(path).to_pylist()


def valid(kind: type[BaseModel], value: Any) -> Any:
    """Through JSON, where a tuple is a list."""
    return TypeAdapter(kind).validate_json(json.dumps(value))


def llamafactory(out: Path) -> Iterator[Shown]:
    (info,) = json.loads((out / "dataset_info.json").read_text()).values()
    assert info["formatting"] == "sharegpt" and info["columns"] == {"messages": "messages", "images": "images"}
    for value in json.loads((out / info["file_name"]).read_text()):
        row = valid(LlamaRow, value)
        yield Shown(row.messages[0].content, row.images, row.messages[1].content, None)


def swift_sft(out: Path) -> Iterator[Shown]:
    for line in (out / "sft.jsonl").read_text().splitlines():
        row = valid(SwiftRow, json.loads(line))
        assert [turn.role for turn in row.messages] == ["user", "assistant"]
        yield Shown(row.messages[0].content, row.images, row.messages[1].content, None)


def swift_grpo(out: Path) -> Iterator[Shown]:
    for line in (out / "grpo.jsonl").read_text().splitlines():
        row = valid(SwiftRow, json.loads(line))
        assert [turn.role for turn in row.messages] == ["user"]
        yield Shown(row.messages[0].content, row.images, row.solution, row.record)


def verl(out: Path) -> Iterator[Shown]:
    for number, value in enumerate(parquet_rows(out / "train.parquet")):
        row = valid(VerlRow, value)
        assert row.extra_info["index"] == number and row.data_source == f"mirg/{row.extra_info['task']}"
        paths = [image.image for image in row.images]
        yield Shown(row.prompt[0].content, paths, row.extra_info["answer"], row.reward_model.ground_truth)


def easyr1(out: Path) -> Iterator[Shown]:
    for value in parquet_rows(out / "train.parquet"):
        row = valid(EasyRow, value)
        yield Shown(row.problem, row.images, row.solution, row.answer)


def trl(name: str) -> Callable[[Path], Iterator[Shown]]:
    def rows(out: Path) -> Iterator[Shown]:
        for row in parquet_rows(out / name):
            (turn,) = row["prompt"]
            text = "".join("<image>" if p["type"] == "image" else p["text"] for p in turn["content"])
            answer = row["completion"][0]["content"][0]["text"] if "completion" in row else None
            yield Shown(text, [image["path"] for image in row["images"]], answer, row.get("record"))

    return rows


READERS: dict[str, tuple[str, Callable[[Path], Iterator[Shown]], bool]] = {
    "llamafactory": ("llamafactory", llamafactory, False),
    "ms-swift sft": ("ms-swift", swift_sft, False),
    "ms-swift grpo": ("ms-swift", swift_grpo, True),
    "verl": ("verl", verl, True),
    "easyr1": ("easyr1", easyr1, True),
    "trl sft": ("trl", trl("sft.parquet"), False),
    "trl grpo": ("trl", trl("grpo.parquet"), True),
}


def first_shrunk(size: Size, bounds: PixelLimits) -> Size:
    """LLaMA-Factory and EasyR1, implemented a second time."""
    width, height = size
    for wrong, pixels in (
        (width * height > bounds.max_pixels, bounds.max_pixels),
        (width * height < bounds.min_pixels, bounds.min_pixels),
    ):
        if wrong:
            factor = (pixels / (width * height)) ** 0.5
            width, height = int(width * factor), int(height * factor)
    return width, height


def model_input(to: str, size: Size, chosen: Family) -> Size:
    """The size that the model sees, by what is known of the trainer."""
    if to == "ms-swift":
        return input_size(size, chosen, PixelLimits(3136, 200_000 // 784 * 784))
    if to in ("verl", "trl"):
        return input_size(size, chosen, BOUNDS)
    width, height = first_shrunk(size, BOUNDS)
    if to == "llamafactory":
        width, height = max(28, width), max(28, height)
    return input_size((width, height), chosen)


def of_images(samples: dict[str, Sample], images: list[str]) -> Sample:
    names = [Path(image).name for image in images]
    (found,) = [s for s in samples.values() if [Path(ref.path).name for ref in s.images] == names]
    return found


def numbers(text: str) -> list[tuple[int, list[int]]]:
    """(image, numbers) of an answer in JSON, by the plain way of reading it."""
    inside = text.rsplit("<answer>", 1)[-1].split("</answer>")[0]
    return [(row["image"], row["bbox_2d"]) for row in json.loads(inside)]


@pytest.mark.parametrize("reader", READERS)
def test_boxes_are_pixels_of_what_the_model_sees(exported, samples: dict[str, Sample], reader: str) -> None:
    to, rows, everything = READERS[reader]
    out, report = exported(to, min_pixels=BOUNDS.min_pixels, max_pixels=BOUNDS.max_pixels)
    chosen, seen = family("qwen2.5-vl"), set()
    for shown in rows(out):
        sample = of_images(samples, shown.images)
        seen.add(sample.id)
        assert shown.prompt.count("<image>") == len(sample.images)
        inputs = [model_input(to, size, chosen) for size in sample.sizes]
        if shown.answer is not None:
            found = numbers(shown.answer)
            assert [image for image, _ in found] == [t.image for t in sample.targets]
            for (image, box), target in zip(found, sample.targets, strict=True):
                sides = inputs[image - 1] * 2
                for number, fraction, side in zip(box, target.box, sides, strict=True):
                    assert abs(number - fraction * side) <= 0.5 + 1e-9
        if shown.record is not None and to != "trl":
            told = Sample.model_validate_json(shown.record)
            assert told.targets == sample.targets and told.trajectory is None
            assert [input_size(size, chosen) for size in told.sizes] == inputs, "so rewards need no limits"
    expected = {s.id for s in samples.values() if everything or s.trajectory}
    assert seen == expected and report.n_kept == len(samples) and not report.rejections


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["qwen3-vl", "internvl", "mirg-tiny"])
def test_relative_families(exported, samples: dict[str, Sample], reader: str, name: str) -> None:
    """Numbers from 0 to 1000 regardless of what the trainer does to images; read back within half a step."""
    to, rows, _ = READERS[reader]
    out, _ = exported(to, name)
    chosen = family(name)
    for shown in rows(out):
        sample = of_images(samples, shown.images)
        if shown.answer is not None:
            text = shown.answer if "</answer>" in shown.answer else f"<answer>{shown.answer}</answer>"
            reading = read(text, sample.sizes, chosen)
            assert reading.failure is None and len(reading.boxes) == len(sample.targets)
            for box, target in zip(reading.boxes, sample.targets, strict=True):
                assert box.image == target.image and box.problem is None
                assert max(abs(a - b) for a, b in zip(box.box, target.box, strict=True)) <= chosen.step / 2000 + 1e-9


@pytest.mark.parametrize("reader", ["verl", "easyr1", "ms-swift grpo", "trl grpo"])
def test_the_truth_earns_a_full_reward(exported, samples: dict[str, Sample], reader: str) -> None:
    """Scored against the record, with no limits but those of TRL's processor. Small images cost a step of rounding."""
    to, rows, _ = READERS[reader]
    out, _ = exported(to, max_pixels=BOUNDS.max_pixels)
    limits = BOUNDS if to == "trl" else None
    for shown in rows(out):
        record = Sample.model_validate_json(shown.record or "")
        answer = shown.answer or numbers_of(record, limits)
        text = f"<think>So.</think><answer>{answer}</answer>"
        found = score(text, record, family("qwen2.5-vl"), RewardConfig(), limits)
        assert found.format.value == found.image.value == 1.0 and found.object.value > 0.85, found


def numbers_of(sample: Sample, limits: PixelLimits | None) -> str:
    from mirg.answers import write_answer

    return write_answer(sample.targets, sample.sizes, family("qwen2.5-vl"), limits=limits)


@pytest.mark.parametrize("style", ["text", "json"])
def test_objects_of_ms_swift(exported, samples: dict[str, Sample], style: Literal["text", "json"]) -> None:
    """One ``<bbox>`` for each box, in order; the boxes are the fractions themselves, images count from 0."""
    out, report = exported("ms-swift", objects=True, style=style)
    for line in (out / "sft.jsonl").read_text().splitlines():
        row = valid(SwiftRow, json.loads(line))
        sample = of_images(samples, row.images)
        text = "".join(turn.content for turn in row.messages)
        assert row.objects is not None and text.count("<bbox>") == len(row.objects.bbox) == len(row.objects.image_id)
        last = list(zip(row.objects.image_id, row.objects.bbox, strict=True))[-len(sample.targets) :]
        assert last == [(t.image - 1, t.box) for t in sample.targets] or not sample.targets
        assert "<box" not in text.replace("<|box", "") and "0." not in text, "no fraction is left in a text"
        if style == "json":
            for number in range(len(row.objects.bbox)):
                text = text.replace("<bbox>", f"[{number},0,0,0]", 1)
            assert [image for image, _ in numbers(text)] == [t.image for t in sample.targets]
    for line in (out / "grpo.jsonl").read_text().splitlines():
        row = valid(SwiftRow, json.loads(line))
        assert row.objects is not None and row.messages[0].content.count("<bbox>") == len(row.objects.bbox)
    assert ("export QWENVL_BBOX_FORMAT=new" in report.settings) == (style == "json")


def test_coco(exported, samples: dict[str, Sample]) -> None:
    out, report = exported("coco")
    found = json.loads((out / "annotations.json").read_text())
    assert {"info", "licenses", "images", "annotations", "categories"} == set(found)
    for name in ("images", "annotations", "categories"):
        assert len({row["id"] for row in found[name]}) == len(found[name]) > 0
    names = {row["id"]: row["name"] for row in found["categories"]}
    images = {Path(row["file_name"]).name: row for row in found["images"]}
    told: dict[tuple[int, str], list[list[float]]] = {}
    for row in found["annotations"]:
        assert row["area"] == pytest.approx(row["bbox"][2] * row["bbox"][3]) and row["iscrowd"] == 0
        told.setdefault((row["image_id"], names[row["category_id"]]), []).append(row["bbox"])
    expected = set()
    for sample in samples.values():
        boxes = [(n + 1, note.label, note.box) for n, ref in enumerate(sample.images) for note in ref.objects]
        boxes += [(target.image, target.label, target.box) for target in sample.targets]
        for number, label, box in boxes:
            ref = sample.images[number - 1]
            row = images[Path(ref.path).name]
            assert (row["width"], row["height"]) == ref.size
            expected.add((row["id"], label, box))
            corners = [
                [b[0] / ref.width, b[1] / ref.height, (b[0] + b[2]) / ref.width, (b[1] + b[3]) / ref.height]
                for b in told[row["id"], label or "object"]
            ]
            assert any(corner == pytest.approx(box, abs=1e-9) for corner in corners)
    assert len(found["annotations"]) == len(expected), "each box once"
    assert report.files == {"annotations.json": len(images)}


def test_coco_says_which_objects_are_targets(exported, tmp_path: Path) -> None:
    """Of the second image, too; the others are objects."""
    named = (("ring", 0.5), ("ring", 0.75), ("cat", 0.5))
    notes = [{"label": label, "box": [0.25, 0.25, 0.75, end]} for label, end in named]
    one = {"id": "a", "images": [1, 2], "refs": [{"objects": notes[:1]}, {"objects": notes}]}
    source = write_rows(tmp_path / "notes", [one])
    out, _ = exported("coco", source=source)
    found = json.loads((out / "annotations.json").read_text())["annotations"]
    assert [(one["image_id"], one["kind"]) for one in found] == [(1, "object"), (2, "target"), *[(2, "object")] * 2]


def test_parquet_holds_identical_samples(exported, dataset: DatasetFolder, samples: dict[str, Sample]) -> None:
    from mirg.data.exporters.parquet import read_card, read_samples

    out, _ = exported("parquet")
    assert list(read_samples(out / "samples.parquet")) == list(samples.values())
    card = read_card(out / "samples.parquet")
    assert card.model_copy(update={"roots": {}}) == dataset.card
    rows = parquet_rows(out / "samples.parquet")
    for row, sample in zip(rows, samples.values(), strict=True):
        assert (row["id"], row["has_trajectory"]) == (sample.id, sample.trajectory is not None)
        assert [tuple(t["box"]) for t in row["targets"]] == [t.box for t in sample.targets]
        assert all(Path(image["path"]).is_file() for image in row["images"])
