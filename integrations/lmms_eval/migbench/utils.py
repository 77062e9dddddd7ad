"""MIG-Bench for lmms-eval, in both versions: items, prompts and scores come from the installed ``mirg``.

lmms-eval loads this file by its path, again for every name that a YAML file mentions, and passes no options of a task
to ``process_results``. The environment therefore says what is read and how the model is asked:

* ``MIGBENCH_ROOT``: the folder of the benchmark, as for ``mirg evaluate --bench migbench --root``;
* ``MIGBENCH_FAMILY``: the model family, which decides the prompt and the frame of the boxes (default: qwen3-vl);
* ``MIGBENCH_PROMPTS``: mirg (default), published or published-think, as for ``mirg evaluate --prompts``;
* ``MIGBENCH_INSTRUCTIONS``: full (default), short or none, as for ``mirg evaluate --instructions``;
* ``MIGBENCH_MIN_PIXELS``, ``MIGBENCH_MAX_PIXELS``: the limits of the model's processor, if not those of the family.
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

from mirg.answers.prompts import Instructions, messages, prompt_text
from mirg.data.importers.migbench import PAPER_NAMES, Item, load_annotations
from mirg.errors import ConfigError, DataError, MirgError
from mirg.evaluation.migbench.asking import prompt_form, sample_id, sample_of
from mirg.evaluation.migbench.bench import annotations_in
from mirg.evaluation.migbench.images import image_folder
from mirg.evaluation.migbench.official import Version
from mirg.evaluation.migbench.summary import PROTOCOLS, THRESHOLDS, Frame, score_item
from mirg.evaluation.migbench.summary import percent as mean_in_percent
from mirg.families import Family, PixelLimits, limits_of
from mirg.families import family as family_by_name
from mirg.images import image_size, open_image

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

Doc = Mapping[str, Any]  # fields of the item, and its files, sizes (width, height), prompt (JSON) and version
# What lmms-eval writes in the place of an answer if a request fails or the budget is used up. It is not a response.
NO_ANSWER = ("[LMMS_EVAL_REQUEST_FAILED", "[LMMS_EVAL_BUDGET_EXCEEDED")
KINDS: dict[str, str] = {"original": "migbench", "revised": "migbench-revised"}  # beginnings of ids, as elsewhere


class Asked(NamedTuple):
    """How the model is asked: what the environment says besides the root."""

    family: Family
    limits: PixelLimits
    prompts: str
    instructions: Instructions


def __getattr__(name: str) -> dict[str, str]:
    """``original`` and ``revised``: the annotation file of that version for each split, ``data_files`` of its tasks.

    Names of YAML files are looked up only for tasks that are run, so that the other version may be absent. ``datasets``
    gets this file because lmms-eval loads a dataset for every task; :func:`original_docs` says why it is read again.
    """
    if name not in KINDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with exit_with_reason():
        return dict.fromkeys(PAPER_NAMES, str(annotations_in(root_folder(), name == "revised")))


def original_docs(dataset: Dataset) -> Dataset:
    """The items of one task of the original version; the name of the split is the task.

    They are read from the annotation file again: ``datasets`` rounds the fractions in a JSON list to ten digits.
    """
    return _docs(dataset, "original")


def revised_docs(dataset: Dataset) -> Dataset:
    """The items of one task of the revised version; the name of the split is the task."""
    return _docs(dataset, "revised")


def doc_to_visual(doc: Doc) -> list[Image]:
    """The images of the item in its order, upright and in RGB."""
    return [open_image(file) for file in doc["files"]]


def doc_to_text(doc: Doc) -> str:
    """The prompt for models that take one text, with ``<image>`` in the place of every image."""
    return prompt_text(json.loads(doc["prompt"]))


def doc_to_messages(doc: Doc) -> list[dict[str, Any]]:
    """The prompt for chat models: the messages of ``mirg evaluate``, with the images in their places."""
    left = iter(doc_to_visual(doc))
    prompt = json.loads(doc["prompt"])
    for message in prompt:
        message["content"] = [
            {"type": "image", "url": next(left)} if part["type"] == "image" else part for part in message["content"]
        ]
    return prompt


def process_results(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """The scores of one response: its IoU and, for each threshold, 1.0 or 0.0, under each protocol.

    An item without an answer is ``unanswered`` and wrong. ``index`` and ``response`` are for ``mirg score migbench``,
    which reads the files of ``--log_samples``.
    """
    values: dict[str, Any] = {f.name: tuple(v) if isinstance(v := doc[f.name], list) else v for f in fields(Item)}
    item = Item(**values)
    asked = settings()
    frame = Frame(asked.family, asked.limits, {item.index: [(w, h) for w, h in doc["sizes"]]})
    response = None if results[0].startswith(NO_ANSWER) else results[0]
    score = score_item(item, response, PROTOCOLS, frame, doc["version"])
    found: dict[str, Any] = {"index": item.index, "response": response, "unanswered": float(response is None)}
    for protocol in PROTOCOLS:
        iou = score.iou(protocol)
        found |= {f"{protocol}_acc@{t}": float(iou >= t) for t in THRESHOLDS} | {f"{protocol}_mean_iou": iou}
        if by_image := score.by_image(protocol):
            found[f"{protocol}_image_accuracy"] = float(by_image.image_ok)
    return found


def percent(values: Sequence[float]) -> float:
    """The mean of one metric over the items of a task, in percent."""
    return mean_in_percent(np.asarray(values, dtype=np.float64))


def root_folder() -> Path:
    """The folder of the benchmark. ConfigError if the environment names none."""
    root = os.environ.get("MIGBENCH_ROOT", "")
    if not Path(root).is_dir() or not root:
        problem = f"MIGBENCH_ROOT is {root!r}, which is not a folder" if root else "MIGBENCH_ROOT is not set"
        raise ConfigError(problem, hint="export MIGBENCH_ROOT=FOLDER, the folder of the benchmark")
    return Path(root)


def settings() -> Asked:
    """Read the environment. ConfigError for an unknown family or instructions, and for limits that are no numbers."""
    instructions = os.environ.get("MIGBENCH_INSTRUCTIONS", "full")
    if instructions not in get_args(Instructions):
        raise ConfigError(f"MIGBENCH_INSTRUCTIONS is {instructions!r}", hint="it must be full, short or none")
    family = family_by_name(os.environ.get("MIGBENCH_FAMILY", "qwen3-vl"))
    limits = limits_of(family, _pixels("MIGBENCH_MIN_PIXELS"), _pixels("MIGBENCH_MAX_PIXELS"))
    return Asked(family, limits, os.environ.get("MIGBENCH_PROMPTS", "mirg"), instructions)  # type: ignore[arg-type]


@contextmanager
def exit_with_reason() -> Iterator[None]:
    """End the program with the sentence of an error. lmms-eval would try five times and then hide the message."""
    try:
        yield
    except MirgError as error:
        raise SystemExit(f"error: {error}") from error


def _docs(dataset: Dataset, version: Version) -> Dataset:
    from datasets import Dataset

    task, revised = str(dataset.split), version == "revised"
    with exit_with_reason():
        file = annotations_in(root_folder(), revised)
        items = [item for item in load_annotations(file, revised=revised).items if item.task == task]
        if not items:
            raise DataError(f"{file} has no item of the task {task}", hint="run only the tasks that it has items of")
        return Dataset.from_list(_rows(items, version), split=dataset.split)


def _rows(items: Sequence[Item], version: Version) -> list[dict[str, Any]]:
    """The documents of the items. Raises what opening an image and writing a prompt raise."""
    asked, folder, kind = settings(), image_folder(items, root_folder()), KINDS[version]
    sizes = {name: image_size(folder.path(name)) for item in items for name in item.images}
    names = {name: name for name in sizes}
    questions = {sample_id(kind, (item,)): item.question for item in items}
    form = prompt_form(asked.prompts, version, questions)
    write = form.write if form else messages
    return [
        asdict(item)
        | {
            "files": [str(folder.path(name)) for name in item.images],
            "sizes": [list(sizes[name]) for name in item.images],
            "prompt": json.dumps(write(sample_of(kind, (item,), names, sizes), *asked[:2], asked.instructions)),
            "version": version,
        }
        for item in items
    ]


def _pixels(name: str) -> int | None:
    value = os.environ.get(name, "")
    if value and not value.isdecimal():
        raise ConfigError(f"{name} is {value!r}", hint="it must be a number of pixels, for example 1003520")
    return int(value) if value else None
