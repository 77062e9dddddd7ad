"""The multiple-choice benchmarks: where each is, which fields its rows have, and how it is asked and averaged.

Sources of the formats and prompts: the files named in :attr:`ChoiceSet.source`, and ``docs/how-to/multiple-choice.md``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from mirg.data.importers.rows import Refused, short, text_of
from mirg.evaluation.choices.items import LETTERS, NO_ANSWER, TRUTH, Item, Key, letter_of, lettered, options_in

Row = Mapping[str, Any]
Mean = Literal["overall", "mean_of_tasks"]  # of all items, or of the tasks with equal weights


class Published(NamedTuple):
    """A published result: percent, of the headline (``score``), or of single tasks."""

    model: str
    source: str
    score: float | None = None
    tasks: Mapping[str, float] = {}


class ChoiceSet(NamedTuple):
    """One benchmark.

    ``hub`` is its name on the Hugging Face Hub, with the ``configs`` to load and the ``split`` whose answers are
    published; ``files`` are patterns of its files below a local folder, of which the first that fits is used. ``read``
    makes an item out of a row and the path of its file. ``headline`` is the mean that its authors report.
    """

    title: str
    hub: str
    split: str
    files: tuple[str, ...]
    read: Callable[[Row, PurePosixPath], Item]
    headline: Mean
    source: str
    configs: tuple[str, ...] = ("",)
    data_file: str = ""  # the file on the hub that has the rows, if the hub cannot tell
    published: tuple[Published, ...] = ()
    left_out: str = ""


# BLINK. The prompt is the one of its authors, which is in the data, after the sentence with which lmms-eval opens it.
BLINK_TASKS = (
    "Art_Style", "Counting", "Forensic_Detection", "Functional_Correspondence", "IQ_Test", "Jigsaw",
    "Multi-view_Reasoning", "Object_Localization", "Relative_Depth", "Relative_Reflectance",
    "Semantic_Correspondence", "Spatial_Relation", "Visual_Correspondence", "Visual_Similarity",
)  # fmt: skip
_BLINK_OPENING = "Note: You only need to respond with {} without providing any additional information.\n"


def _blink(row: Row, file: PurePosixPath) -> Item:
    options = lettered(_texts(row, "choices"))
    images = [row[name] for name in (f"image_{k}" for k in range(1, 10)) if row.get(name) is not None]
    text = _BLINK_OPENING.format(", ".join(options)) + _text(row, "prompt")
    key = Key(kind="option", options=options, answer=letter_of(_text(row, "answer"), options))
    return Item(_text(row, "idx"), _text(row, "sub_task"), text, images, key)


# MuirBench: images are at their places in question and options, and every item has an unanswerable counterpart.
def _muirbench(row: Row, file: PurePosixPath) -> Item:
    texts = _texts(row, "options")
    options = lettered(texts)
    listed = "\n".join(f"({letter}) {text}" for letter, text in zip(LETTERS, texts, strict=False))
    hint = "Hint: Please provide the correct option letter, such as A, B, C, D, directly."
    text = f"Question: {_text(row, 'question')}\nChoices:\n{listed}\n{hint}\nAnswer:"
    name, other = _text(row, "idx"), str(row.get("counterpart_idx") or "")
    answer = letter_of(_text(row, "answer"), options)
    key = Key(
        kind="option",
        options=options,
        answer=answer,
        pair="/".join(sorted((name, other), key=lambda idx: (len(idx), idx))) if other else "",
        side="unanswerable" if options[answer].strip().rstrip(".") == NO_ANSWER else "answerable",
    )
    return Item(name, _text(row, "task"), text, _list(row, "image_list"), key)


# VLM2-Bench: the table of all image cases (VLM2Bench_img.tsv), or the files of the developers' archive, whose folders
# of images are named in the scripts of the benchmark.
VLM2_KINDS = {"mat": "truth", "trk": "truth", "cpr": "truth", "cnt": "number", "grp": "option"}
_VLM2_IMAGES = {"gc": "data/gc/processed", "oc": "data/oc/original_obj", "pc": "data/pc/image/picks_face"}
_BASE64 = re.compile(r"[A-Za-z0-9+/]{32,}={0,2}")


def _vlm2(row: Row, file: PurePosixPath) -> Item:
    task = _text(row, "category") if "category" in row else file.stem.replace("_", "-")
    kind = VLM2_KINDS.get(task[3:])
    if kind is None:
        raise Refused("category", f"{short(task)} cannot be scored", "open questions about videos need a judge model")
    name, question = _text(row, "index", "q_id"), _text(row, "question")
    answer = _text(row, "answer", "gt_answer").strip()
    pair = side = ""
    options: dict[str, str] = {}
    if kind == "truth":
        options, answer = TRUTH, answer[:1].upper()
        pair, side = f"{task}/{re.sub(r'_[pn]$', '', name)}", "true" if answer == "T" else "false"
        name = re.sub(r"_[pn]$", "", name) + ("_p" if answer == "T" else "_n")
    elif kind == "option":
        options = options_in(question)
    elif not re.fullmatch(r"\d+", answer):
        raise Refused("answer", f"{short(answer)} is not a number")
    if options:
        answer = letter_of(answer, options)
    # Two questions of a pair may have the same name in the data, and names of two tasks may be equal.
    unique = name if name.startswith(task) else f"{task}_{name}"
    fields = {"kind": kind, "options": options, "answer": answer, "pair": pair, "side": side}
    return Item(unique, task, question, _vlm2_images(row, task), Key.model_validate(fields))


def _vlm2_images(row: Row, task: str) -> list[Any]:
    if "images" in row:
        folder = _VLM2_IMAGES.get(task[:2], "")
        return [f"{folder}/{name}" if isinstance(name, str) else name for name in _list(row, "images")]
    cell = row.get("image")
    found = _BASE64.findall(cell) if isinstance(cell, str) else cell
    if not isinstance(found, list) or not found:
        raise Refused("image", "holds no images", "it is a list of images in base64")
    try:
        return [base64.b64decode(text, validate=True) for text in found]
    except (binascii.Error, TypeError, ValueError) as error:
        raise Refused("image", f"is not base64: {error}") from error


def _text(row: Row, *names: str) -> str:
    """The first of the fields that the row has; tables hold numbers where every value of a column is one."""
    name = next((name for name in names if row.get(name) is not None), names[0])
    value = row.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
        return str(int(value))
    return text_of(value, name)


def _list(row: Row, name: str) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list | tuple):
        raise Refused(name, "is missing" if value is None else f"{short(value)} is not a list")
    return list(value)


def _texts(row: Row, name: str) -> list[str]:
    return [text_of(value, f"{name}.{k}") for k, value in enumerate(_list(row, name))]


_BLINK_README = "github.com/zeyofu/BLINK_Benchmark, README, val"
SETS: dict[str, ChoiceSet] = {
    "blink": ChoiceSet(
        title="BLINK",
        hub="BLINK-Benchmark/BLINK",
        split="val",
        configs=BLINK_TASKS,
        files=("**/val-*.parquet", "*.jsonl", "*.json"),
        read=_blink,
        headline="mean_of_tasks",
        source="arXiv 2404.12390; eval/evaluate.py of zeyofu/BLINK_Benchmark; lmms_eval/tasks/blink",
        published=(
            Published("human", _BLINK_README, 95.7),
            Published("GPT-4V", _BLINK_README, 51.1),
            Published("Gemini Pro", _BLINK_README, 45.2),
            Published("LLaVA-1.6-34B", _BLINK_README, 46.8),
            Published("random choice", _BLINK_README, 38.1),
        ),
    ),
    "muirbench": ChoiceSet(
        title="MuirBench",
        hub="MUIRBENCH/MUIRBENCH",
        split="test",
        files=("**/test-*.parquet", "*.jsonl", "*.json"),
        read=_muirbench,
        headline="overall",
        source="arXiv 2406.09411; eval/utils of muirbench/MuirBench; lmms_eval/tasks/muirbench",
        published=(
            Published("GPT-4o", "arXiv 2406.09411, abstract", 68.0),
            Published("Gemini Pro", "arXiv 2406.09411, abstract", 49.3),
        ),
    ),
    "vlm2": ChoiceSet(
        title="VLM2-Bench",
        hub="Sterzhang/vlm2-bench",
        split="train",
        data_file="VLM2Bench_img.tsv",
        files=("jsonl/*/vanilla/*_[cgmt]??.jsonl", "*/jsonl/*/vanilla/*_[cgmt]??.jsonl", "*.tsv", "*.jsonl"),
        read=_vlm2,
        headline="mean_of_tasks",
        source="arXiv 2502.12084; code/*/eval of vlm2-bench/VLM2-Bench; vlmeval/dataset/vlm2bench.py of VLMEvalKit",
        published=(
            Published(
                "Qwen2.5-VL-7B-Instruct",
                "vlm2bench_evaluator.ipynb of vlm2-bench/VLM2-Bench",
                tasks={
                    "gc-mat": 35.91,
                    "oc-cpr": 70.83,
                    "oc-cnt": 41.51,
                    "oc-grp": 47.00,
                    "pc-cpr": 80.00,
                    "pc-cnt": 57.98,
                    "pc-grp": 69.00,
                },
            ),
        ),
        left_out="the 200 open questions about videos, which need a judge model",
    ),
}
