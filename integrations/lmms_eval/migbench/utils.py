"""MIG-Bench for lmms-eval, in both versions: items, prompts and scores come from the installed ``mirg``.

lmms-eval loads this file by its path, again for every name that a YAML file mentions, and passes no options of a task to
``process_results``. The environment therefore says what is read and how the model is asked:

* ``MIGBENCH_ROOT``: the folder with the annotations and ``MIG-Bench/images``;
* ``MIGBENCH_FAMILY``: the model family, which decides the prompt and the frame of the boxes (default: qwen3-vl);
* ``MIGBENCH_INSTRUCTIONS``: full (default), short or none, as for ``mirg evaluate --instructions``;
* ``MIGBENCH_MIN_PIXELS``, ``MIGBENCH_MAX_PIXELS``: the limits of the model's processor, if not those of the family.

A document is one item with its prompt, sizes and files, so that what ``--log_samples`` writes explains itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np

from mirg.answers.markup import box_markup
from mirg.answers.prompts import Instructions, messages, prompt_text
from mirg.data.importers.migbench import PAPER_NAMES, Item, load_annotations
from mirg.data.importers.raw import RawBox
from mirg.data.importers.texts import numbers_of, with_boxes
from mirg.errors import ConfigError, MirgError
from mirg.evaluation.migbench import summary
from mirg.evaluation.migbench.images import image_path, image_sizes
from mirg.evaluation.migbench.official import Version
from mirg.families import Family, PixelLimits, limits_of
from mirg.families import family as family_by_name
from mirg.frames import Size
from mirg.images import open_image
from mirg.samples import ImageRef, Sample

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

Doc = Mapping[str, Any]
ANNOTATIONS: dict[str, str] = {"original": "MIG_data.json", "revised": "revised_MIG_bench.json"}


class Asked(NamedTuple):
    """How the model is asked: what the environment says besides the root."""

    family: Family
    limits: PixelLimits | None
    instructions: Instructions


def __getattr__(name: str) -> dict[str, str]:
    """``original`` and ``revised``: the annotation file of that version, for each split.

    lmms-eval looks a name of a YAML file up only if the task is run, so that the other version may be absent. The file
    is given to ``datasets`` because a task needs a dataset; :func:`original_docs` says why its rows are not used.
    """
    if name not in ANNOTATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with exit_with_reason():
        return dict.fromkeys(PAPER_NAMES, str(annotation_file(name)))


def original_docs(dataset: Dataset) -> Dataset:
    """The items of one task of the original version; the name of the split is the task.

    They are read from the annotation file again: ``datasets`` rounds the fractions of a JSON list to ten digits.
    """
    return _docs(dataset, "original")


def revised_docs(dataset: Dataset) -> Dataset:
    """The items of one task of the revised version; the name of the split is the task."""
    return _docs(dataset, "revised")


def doc_to_visual(doc: Doc) -> list[Image]:
    """The images in the order of the item, upright and in RGB."""
    return [open_image(file) for file in doc["files"]]


def doc_to_text(doc: Doc) -> str:
    """The prompt of models that take one text, with ``<image>`` in the place of every image."""
    return prompt_text(json.loads(doc["prompt"]))


def doc_to_messages(doc: Doc) -> list[dict[str, Any]]:
    """The prompt of chat models: the messages of ``mirg evaluate`` with the images at their places."""
    left = iter(doc_to_visual(doc))
    prompt = json.loads(doc["prompt"])
    for message in prompt:
        message["content"] = [
            {"type": "image", "url": next(left)} if part["type"] == "image" else part for part in message["content"]
        ]
    return prompt


def process_results(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """The scores of one response: IoU and, for each threshold, 1 or 0, under each protocol; the image of ``strict``."""
    item = Item(**{f.name: tuple(v) if isinstance(v := doc[f.name], list) else v for f in fields(Item)})
    asked = settings()
    frame = summary.Frame(asked.family, asked.limits, {item.index: [(w, h) for w, h in doc["sizes"]]})
    version: Version = "revised" if doc["revised"] else "original"
    score = summary.score_item(item, results[0], summary.PROTOCOLS, frame, version)
    found: dict[str, float] = {"strict_image_accuracy": float(bool(score.strict and score.strict.image_ok))}
    for protocol in summary.PROTOCOLS:
        iou = score.iou(protocol)
        found |= {f"{protocol}_acc@{t}": float(iou >= t) for t in summary.THRESHOLDS} | {f"{protocol}_mean_iou": iou}
    return found


def percent(values: Sequence[float]) -> float:
    """The mean of one metric of one task, in percent."""
    return summary.percent(np.asarray(values, dtype=np.float64))


def settings() -> Asked:
    """Read the environment. ConfigError for an unknown family, unknown instructions, or limits that are no numbers."""
    instructions = os.environ.get("MIGBENCH_INSTRUCTIONS", "full")
    if instructions not in get_args(Instructions):
        known = ", ".join(get_args(Instructions))
        raise ConfigError(f"MIGBENCH_INSTRUCTIONS is {instructions!r}", hint=f"one of {known}")
    family = family_by_name(os.environ.get("MIGBENCH_FAMILY", "qwen3-vl"))
    limits = limits_of(family, _pixels("MIGBENCH_MIN_PIXELS"), _pixels("MIGBENCH_MAX_PIXELS"))
    return Asked(family, limits, instructions)  # type: ignore[arg-type]


def annotation_file(version: str) -> Path:
    """The annotations of a version below ``MIGBENCH_ROOT``. ConfigError if there are none."""
    file = _root() / ANNOTATIONS[version]
    if not file.is_file():
        raise ConfigError(
            f"{file} does not exist", hint=f"MIGBENCH_ROOT is the folder with {file.name} and MIG-Bench/images"
        )
    return file


@contextmanager
def exit_with_reason() -> Iterator[None]:
    """End the program with the sentence of an error. lmms-eval would try five times and show only its own exception."""
    try:
        yield
    except MirgError as error:
        raise SystemExit(f"error: {error}") from error


def _docs(dataset: Dataset, version: Version) -> Dataset:
    from datasets import Dataset

    with exit_with_reason():
        asked, root, task = settings(), _root(), str(dataset.split)
        annotations = load_annotations(annotation_file(version), revised=version == "revised")
        items = [item for item in annotations.items if item.task == task]
        sizes = image_sizes(items, root)
        rows = [_row(item, sizes_N2, root, asked) for item, sizes_N2 in zip(items, sizes, strict=True)]
    return Dataset.from_list([row | {"revised": annotations.revised} for row in rows], split=dataset.split)


def _row(item: Item, sizes_N2: Sequence[Size], root: Path, asked: Asked) -> dict[str, Any]:
    prompt = messages(_sample(item, sizes_N2), asked.family, asked.limits, asked.instructions)
    files = [str(image_path(root, name)) for name in item.images]
    return {**asdict(item), "files": files, "sizes": [list(size) for size in sizes_N2], "prompt": json.dumps(prompt)}


def _sample(item: Item, sizes_N2: Sequence[Size]) -> Sample:
    """The item as a sample without its truth, which a prompt does not need and which may be defective."""
    refs = [ImageRef(path=p, width=w, height=h) for p, (w, h) in zip(item.images, sizes_N2, strict=True)]
    question = with_boxes(item.question, lambda box: RawBox(1, numbers_of(box)))
    parts = [p if isinstance(p, str) else box_markup(1, tuple(v / 1000 for v in p.numbers)) for p in question]
    return Sample(id=f"item {item.index}", task=item.task, images=tuple(refs), question="".join(parts))


def _root() -> Path:
    root = os.environ.get("MIGBENCH_ROOT")
    if not root:
        raise ConfigError("MIGBENCH_ROOT is not set", hint="export MIGBENCH_ROOT=the folder of the benchmark")
    return Path(root)


def _pixels(name: str) -> int | None:
    value = os.environ.get(name)
    if not value:
        return None
    if not value.isdecimal():
        raise ConfigError(f"{name} is {value!r}", hint="it must be a number of pixels, for example 1003520")
    return int(value)
