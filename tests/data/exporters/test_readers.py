"""Exports through the readers of the projects they are for, if those are installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from mirg.families import PixelLimits
from mirg.rewards import RewardConfig
from mirg.rewards.trl import reward_functions
from mirg.samples import DatasetFolder, Sample


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@needs("datasets")
def test_datasets_opens_the_images_of_trl(exported, samples: dict[str, Sample], tmp_path: Path) -> None:
    from datasets import load_dataset

    out, _ = exported("trl")
    for name, column in (("sft", "completion"), ("grpo", "record")):
        rows = load_dataset(
            "parquet", data_files=str(out / f"{name}.parquet"), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert set(rows.column_names) == {"id", "prompt", "images", column}
        for row in rows:
            assert [image.size for image in row["images"]] == samples[row["id"]].sizes
            assert {image.mode for image in row["images"]} == {"RGB"}


@pytest.mark.slow  # importing TRL takes longer than all other tests of this room
@needs("trl")
def test_trl_fills_the_placeholders(exported, dataset: DatasetFolder, tmp_path: Path) -> None:
    """What SFTTrainer's collator and GRPOTrainer do first, and the rewards on the truth."""
    from datasets import load_dataset
    from trl.data_utils import is_conversational, prepare_multimodal_messages

    out, _ = exported("trl")
    cache = str(tmp_path / "cache")
    rows = load_dataset("parquet", data_files=str(out / "grpo.parquet"), split="train", cache_dir=cache)
    for row in rows:
        assert is_conversational(row)
        filled = prepare_multimodal_messages(row["prompt"], row["images"])
        assert [part["image"] for part in filled[0]["content"] if part["type"] == "image"] == row["images"]
    from mirg.families import family

    named = reward_functions(RewardConfig(), family("qwen2.5-vl"), PixelLimits(3136, 12845056))
    for function in named.functions:
        found = function(completions=["<think>So.</think><answer>[]</answer>"] * len(rows), record=rows["record"])
        assert len(found) == len(dataset) and 1.0 in found


@pytest.mark.slow
@needs("trl")
def test_trl_collates_a_batch(exported, tmp_path: Path) -> None:
    """SFTTrainer's own collator with a processor of the family: as many image tokens as the grids say."""
    from datasets import load_dataset
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from fakes.tiny import tiny_pair

    _, processor = tiny_pair("qwen2_5_vl")
    out, _ = exported("trl", max_pixels=50_176)
    rows = load_dataset(
        "parquet", data_files=str(out / "sft.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    batch = DataCollatorForVisionLanguageModeling(processor)([rows[k] for k in range(3)])
    cells = int(batch["image_grid_thw"].prod(-1).sum()) // processor.image_processor.merge_size**2
    assert int((batch["input_ids"] == processor.image_token_id).sum()) == cells > 0
    assert int((batch["labels"] != -100).sum()) > 0


@needs("pycocotools")
def test_pycocotools_reads_coco(exported, samples: dict[str, Sample]) -> None:
    from pycocotools.coco import COCO  # type: ignore[import-not-found]

    out, _ = exported("coco")
    found = COCO(str(out / "annotations.json"))
    assert len(found.getImgIds()) == sum(len(s.images) for s in samples.values())
    for image in found.loadImgs(found.getImgIds()):
        for note in found.loadAnns(found.getAnnIds(imgIds=image["id"])):
            x, y, width, height = note["bbox"]
            assert 0 <= x < x + width <= image["width"] + 1e-6 and 0 <= y < y + height <= image["height"] + 1e-6


@needs("llamafactory")
def test_llamafactory_reads_its_entry(exported) -> None:
    from llamafactory.data.converter import SharegptDatasetConverter  # type: ignore[import-not-found]
    from llamafactory.data.mm_plugin import get_mm_plugin  # type: ignore[import-not-found]
    from llamafactory.data.parser import get_dataset_list  # type: ignore[import-not-found]

    out, report = exported("llamafactory", max_pixels=200_000)
    (entry,) = get_dataset_list(["mirg"], str(out))
    convert = SharegptDatasetConverter(entry, SimpleNamespace(media_dir=str(out)))
    rows = json.loads((out / entry.dataset_name).read_text())
    plugin = get_mm_plugin("qwen2_vl", image_token="<|image_pad|>")
    for row in map(convert, rows):
        turns = row["_prompt"] + row["_response"]
        assert sum(turn["content"].count("<image>") for turn in turns) == len(row["_images"])
        plugin._regularize_images(row["_images"], image_max_pixels=200_000, image_min_pixels=1024)
    assert len(rows) == report.files["sft.json"]


@needs("verl")
def test_verl_reads_its_rows(exported, samples: dict[str, Sample], tmp_path: Path) -> None:
    from omegaconf import OmegaConf  # type: ignore[import-not-found]
    from verl.utils.dataset.rl_dataset import RLHFDataset  # type: ignore[import-not-found]

    out, _ = exported("verl")
    config = OmegaConf.create({"filter_overlong_prompts": False, "cache_dir": str(tmp_path)})
    rows = RLHFDataset(str(out / "train.parquet"), tokenizer=None, config=config, processor=object())
    for k in range(len(rows)):
        parts = rows[k]["raw_prompt"][0]["content"]
        sample = samples[rows[k]["extra_info"]["id"]]
        assert [part["type"] for part in parts].count("image") == len(sample.images)
