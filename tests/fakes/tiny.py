"""Tiny random models of the real classes, and a small dataset whose answers can be learnt in seconds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mirg.answers.markup import look_markup
from mirg.data.scenes.generate import corpus, iter_samples
from mirg.data.scenes.objects import NAMES
from mirg.data.scenes.world import WorldConfig
from mirg.models.tiny import TinyConfig, build_tiny
from mirg.samples import DatasetFolder, DatasetWriter, Sample, Trajectory

MODEL_TYPES = ("qwen3_vl", "qwen2_5_vl", "qwen2_vl")
WORLD = WorldConfig(side=96, images=(2, 3), frames=(3, 3), objects=(1, 2), clutter=0)
TASKS = ("group_grounding", "region", "odd_one_out")
MIDDLE = (0.25, 0.25, 0.75, 0.75)
LOOK = {"max_looks": 2, "crop_pixels": 3136}  # of the models that have learnt to look
JSON_ANSWER = '[{"image": 1, "bbox_2d": [10, 22, 38, 40], "label": "red ring"}]'
SIZES: dict[str, Any] = {
    "width": 32,
    "layers": 2,
    "heads": 2,
    "kv_heads": 2,
    "mlp": 64,
    "vision_width": 32,
    "vision_layers": 2,
    "vision_heads": 2,
    "vision_mlp": 64,
}


def tiny_config(model_type: str = "qwen3_vl", **changes: Any) -> TinyConfig:
    """The smallest configuration that the tests use."""
    return TinyConfig.model_validate({"model_type": model_type, **SIZES, **changes})


def tiny_pair(model_type: str = "qwen3_vl", **changes: Any) -> tuple[Any, Any]:
    """A random model and its processor."""
    texts = [*corpus(n=40, config=WORLD), *[JSON_ANSWER] * 40]
    return build_tiny(tiny_config(model_type, **changes), corpus=texts, names=NAMES)


def write_tiny(folder: Path, model_type: str = "qwen3_vl", **changes: Any) -> Path:
    """A random model saved as a model folder."""
    model, processor = tiny_pair(model_type, **changes)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_data(folder: Path, n: int, *, seed: int = 0, writer: str = "test", looks: int = 0) -> Path:
    """``n`` samples with trajectories of a few words: the form of an answer is learnt from them in seconds.

    One after another has 0 to ``looks`` looks, at the middle of some image.
    """
    with DatasetWriter(folder, name="tiny", created_by="tests", seed=seed) as out:
        for number, (sample, images) in enumerate(iter_samples(TASKS, n, split="train", seed=seed, config=WORLD)):
            refs = [
                ref.model_copy(update={"path": kept.path, "sha256": kept.sha256})
                for ref, kept in zip(
                    sample.images, (out.add_image(im, f"{sample.id}-{k}") for k, im in enumerate(images)), strict=True
                )
            ]
            seen = [look_markup(1 + (number + k) % len(images), MIDDLE) + "Seen." for k in range(number % (looks + 1))]
            told = Trajectory(thinking=f"Target: red ring.{''.join(seen)}", answer=sample.targets, writer=writer)
            out.add(sample.model_copy(update={"images": tuple(refs), "trajectory": told}))
    return folder


def read_data(folder: Path) -> list[tuple[Sample, list[Any]]]:
    """The samples of a dataset folder with their images."""
    data = DatasetFolder.open(folder)
    return [(sample, [data.open_image(ref) for ref in sample.images]) for sample in data.read()]


# What Qwen3.5 writes after the assistant's name: an opened thinking, or an empty one if thinking is switched off.
OPENS_THINKING = (
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- else %}{{- '<think>\\n' }}{%- endif %}"
)


def write_thinking(folder: Path, like: Path) -> Path:
    """The model folder ``like`` with a chat template that opens the thinking."""
    shutil.copytree(like, folder)
    file = folder / "chat_template.jinja"
    usual = "{{- '<|im_start|>assistant\\n' }}"
    text = file.read_text()
    assert text.count(usual) == 1
    file.write_text(text.replace(usual, OPENS_THINKING))
    return folder
