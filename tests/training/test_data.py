"""From samples to rows: counts that agree, images that are shared, and what is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakes.hostile_images import huge_header_png
from fakes.training import rows
from mirg.errors import DataError
from mirg.families import PixelLimits
from mirg.models.load import LoadedModel, load_model
from mirg.samples import DatasetFolder, DatasetWriter, Sample, Target
from mirg.training import data as module
from mirg.training.data import Length, grpo_rows, image_tokens, longest_rows, sft_rows
from mirg.training.recipe import PromptConfig
from mirg.training.sft import train_sft

NONE = PromptConfig(instructions="none")
FULL = PromptConfig()


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> LoadedModel:
    """A model whose processor keeps the shape of images, so that their numbers of tokens differ."""
    return load_model(str(folders[request.param]), limits=PixelLimits(2 * 32 * 32, 20 * 32 * 32))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 samples of 1 to 12 images of any shape, some of them in several samples."""
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("mixed") / "data"
    with DatasetWriter(folder, name="mixed") as out:
        pool = [
            out.add_image(Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)), f"i{k}")
            for k, (w, h) in enumerate(rng.integers(8, 200, (20, 2)).tolist())
        ]
        for k in range(30):
            images = tuple(pool[int(i)] for i in rng.integers(0, len(pool), rng.integers(1, 13)))
            target = Target(image=len(images), box=(0.1, 0.2, 0.7, 0.8), label="red ring")
            out.add(Sample(id=f"s{k}", task="refer", images=images, question="Where?", targets=(target,)))
    return folder


def test_the_longest_rows_are_those_with_most_tokens_of_text_and_images_together() -> None:
    lengths = [Length("a", 50, (1,)), Length("b", 10, (60, 40)), Length("c", 5, (105,)), Length("d", 9, (102,))]
    assert longest_rows(lengths, 3) == [3, 1, 2]
    assert longest_rows(lengths, 9) == [3, 1, 2, 0]


def test_an_image_that_the_processor_refuses_is_left_out_by_name(model: LoadedModel, tmp_path: Path) -> None:
    """The other rows are trained on; before, the first batch with the image ended the run."""
    with DatasetWriter(tmp_path / "data", name="long") as out:
        for k, size in enumerate([(40, 30), (1200, 5), (30, 40)]):
            ref = out.add_image(Image.new("RGB", size, (90 * k, 0, 0)), f"i{k}")
            target = Target(image=1, box=(0.1, 0.2, 0.7, 0.8), label="ring")
            out.add(Sample(id=f"s{k}", task="refer", images=(ref,), question="Where?", targets=(target,)))
    prepared = grpo_rows(str(tmp_path / "data"), model, FULL)
    assert [row["id"] for row in prepared.rows] == ["s0", "s2"]
    (left,) = prepared.rejections
    assert (left.id, left.row) == ("s1", 2) and "images/i1.png" in left.reason and "too long" in left.reason


def test_placeholders_images_and_features_agree(model: LoadedModel, mixed: Path) -> None:
    """Promise 10 for the real processor."""
    prepared = grpo_rows(str(mixed), model, FULL)
    assert len(prepared) == 30
    processor: Any = model.processor
    longest = 0
    for row in (prepared.rows[k] for k in range(30)):
        text = processor.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        assert text.count(processor.image_token) == len(row["images"])
        made = processor(text=[text], images=row["images"], return_tensors="pt")
        shown = int((made["input_ids"] == processor.image_token_id).sum())
        grids = made["image_grid_thw"]
        assert len(grids) == len(row["images"])
        assert shown == int(grids.prod(-1).sum()) // 4 == made["pixel_values"].shape[0] // 4
        assert [int(g.prod()) // 4 for g in grids] == [image_tokens(image.size, model) for image in row["images"]]
        longest = max(longest, made["input_ids"].shape[1])
    assert prepared.longest == longest, "the length that was counted without pixels is the real one"


def test_the_length_of_an_sft_row_is_the_real_one(loaded: LoadedModel, data: Path) -> None:
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    prepared = sft_rows(str(data), loaded, NONE, 4096)
    batch = DataCollatorForVisionLanguageModeling(loaded.processor)([prepared.rows[k] for k in range(12)])
    assert prepared.longest == batch["input_ids"].shape[1]


def test_a_sample_that_is_too_long_is_refused_with_its_length(loaded: LoadedModel, data: Path) -> None:
    whole = sft_rows(str(data), loaded, NONE, 4096)
    assert len(sft_rows(str(data), loaded, NONE, whole.longest)) == len(whole), "the limit itself is allowed"
    some = sft_rows(str(data), loaded, NONE, whole.longest - 1)
    assert 0 < len(some) < len(whole) == len(some) + len(some.rejections)
    assert f"more than max_tokens = {whole.longest - 1}" in some.rejections[0].reason
    with pytest.raises(DataError, match="no usable sample"):
        sft_rows(str(data), loaded, NONE, 64)


def test_a_question_with_an_image_token_is_refused(loaded: LoadedModel, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    lines = (folder / "samples.jsonl").read_text().splitlines()
    bad = json.loads(lines[0]) | {"question": "Where is <|image_pad|>?"}
    (folder / "samples.jsonl").write_text("\n".join([json.dumps(bad), *lines[1:]]) + "\n")
    prepared = grpo_rows(str(folder), loaded, NONE)
    assert [rejection.id for rejection in prepared.rejections] == [bad["id"]]


def test_a_rejection_names_the_line_of_the_file(loaded: LoadedModel, data: Path, tmp_path: Path) -> None:
    """Lines before it count even if they hold no sample: a broken row and a blank line."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    lines = (folder / "samples.jsonl").read_text().splitlines()
    bad = json.dumps(json.loads(lines[2]) | {"question": "Where is <|image_pad|>?"})
    (folder / "samples.jsonl").write_text("\n".join([lines[0], lines[1][:40], "", bad, *lines[3:]]) + "\n")
    prepared = grpo_rows(str(folder), loaded, NONE)
    assert [(rejection.row, rejection.field) for rejection in prepared.rejections] == [(2, "line"), (4, "sample")]


def test_sft_needs_trajectories_and_grpo_does_not(loaded: LoadedModel, mixed: Path) -> None:
    with pytest.raises(DataError, match="the sample has no trajectory"):
        sft_rows(str(mixed), loaded, NONE, 4096)
    sample = grpo_rows(str(mixed), loaded, NONE).rows[0]["sample"]
    assert isinstance(sample, Sample) and sample.trajectory is None


def test_the_samples_of_grpo_are_objects_without_trajectory_and_shared(loaded: LoadedModel, data: Path) -> None:
    first, second = grpo_rows(str(data), loaded, NONE).rows[[0, 0]]["sample"]
    assert first is second and first.trajectory is None
    assert next(iter(DatasetFolder.open(data))).model_copy(update={"trajectory": None}) == first


def test_images_are_opened_when_taken_and_shared(loaded: LoadedModel, data: Path) -> None:
    prepared = grpo_rows(str(data), loaded, NONE)
    copies = prepared.rows[[0, 0, 0]]["images"]
    assert all(isinstance(image, Image.Image) and image.mode == "RGB" for image in copies[0])
    assert all(a is b for row in copies[1:] for a, b in zip(copies[0], row, strict=True))
    assert prepared.rows[0]["images"][0] is copies[0][0], "kept between batches"


def test_only_so_many_pixels_are_kept(mixed: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_PIXELS", 30_000)
    prepared = grpo_rows(str(mixed), loaded, NONE)
    opener: Any = prepared.rows.format["format_kwargs"]["transform"]
    for k in range(30):
        assert len(prepared.rows[k]["images"]) >= 1
        kept = sum(image.width * image.height for image in opener._kept.values())
        assert kept == opener._pixels
        assert kept <= 30_000 or len(opener._kept) == 1


def test_bad_images_cost_their_samples_and_nothing_else(
    tmp_path: Path, data: Path, sft_recipe: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Missing, cut off and absurdly large: each sample is named, the run continues, and the run says how many."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    missing, cut, huge = (folder / samples[k]["images"][0]["path"] for k in (0, 1, 2))
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    huge.write_bytes(huge_header_png())
    outcome = train_sft(sft_recipe(data=str(folder), steps=1), tmp_path / "run")
    assert outcome.step == 1
    rejected = rows(tmp_path / "run" / "rejected.jsonl")
    assert [row["id"] for row in rejected] == [samples[k]["id"] for k in (0, 1, 2)]
    assert all(row["reason"] and row["hint"] for row in rejected)
    assert all(samples[k]["id"] in caplog.text for k in (0, 1, 2))
    facts = json.loads((tmp_path / "run" / "model" / "mirg.json").read_text())
    assert (facts["samples"], facts["rejected_samples"]) == (9, 3)
