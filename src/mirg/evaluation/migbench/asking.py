"""How items of MIG-Bench are asked: as samples with the prompt of mirg, or in the words of the published scripts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mirg.answers.markup import box_markup
from mirg.answers.prompts import Instructions
from mirg.data.importers.migbench import Item, convert
from mirg.data.importers.raw import ImportOptions, RawBox, RawSample
from mirg.errors import ConfigError, did_you_mean
from mirg.evaluation.batches import PromptForm
from mirg.evaluation.migbench.grouping import Group, joined
from mirg.evaluation.migbench.official import Version
from mirg.families import Family, PixelLimits
from mirg.frames import Size
from mirg.geometry import Box, box_problem
from mirg.samples import ImageRef, Sample, Target

# Spelling included, what the published scripts append to a question. Original: Migician's eval/MIG_bench_eval.py (which
# closes the box with a second opening token); revised, and the one with thinking: UniVG-R1's
# eval/MIG_bench/MIG_bench_eval.py.
_END = " Don't generate addtional words."
_QWEN: dict[Version, str] = {
    "original": "Format:<|box_start|>(x1,y1),(x2,y2)<|box_start|>." + _END,
    "revised": "Format:<|box_start|>(x1,y1),(x2,y2)<|box_end|>." + _END,
}
_INTERNVL = "Format:<box>[[x1,y1,x2,y2]]</box>." + _END
_THINKING = (
    " First output the thinking process in <think> </think> tags and then output the bounding box in <answer>"
    " </answer> tags."
)
_INTERNVL_TOKENS = {
    "<|box_start|>": "<box>",
    "<|box_end|>": "</box>",
    "<|object_ref_start|>": "<ref>",
    "<|object_ref_end|>": "</ref>",
}
_PAIRS = re.compile(r"\((\d+),(\d+)\),\((\d+),(\d+)\)")
PROMPTS = ("mirg", "published", "published-think")
# The pixel limits that the published scripts set; Migician's script leaves those of the processor.
LIMITS: dict[Version, dict[str, PixelLimits]] = {"original": {}, "revised": {"qwen2-vl": PixelLimits(3136, 401408)}}


def prompt_form(prompts: str, version: Version, questions: Mapping[str, str]) -> PromptForm | None:
    """The form of the prompts; None for that of mirg. ``questions`` has the published question of each sample.

    ``published``: the images in order and without labels, then the question and the suffix of the published script of
    this version, which asks for the box only. ``published-think``: with the suffix that asks for the thinking first.
    InternVL gets labels and its own tokens, as in both scripts.
    """
    if prompts not in PROMPTS:
        hint = f"{did_you_mean(prompts, PROMPTS, cutoff=0.4)}known: {', '.join(PROMPTS)}"
        raise ConfigError(f"unknown prompts {prompts!r}", hint=hint)
    if prompts == "mirg":
        return None

    def write(sample: Sample, family: Family, _: PixelLimits | None, __: Instructions) -> list[dict[str, Any]]:
        internvl = family.name == "internvl"
        suffix = _INTERNVL if internvl else _QWEN[version]
        text = questions[sample.id] + (_THINKING if prompts == "published-think" else suffix)
        parts: list[dict[str, Any]] = []
        for number in range(1, len(sample.images) + 1):
            image = {"type": "image", "text": None}
            parts += [_text(f"Image-{number}: "), image, _text("\n")] if internvl else [image]
        return [{"role": "user", "content": [*parts, _text(_in_internvl(text) if internvl else text)]}]

    return PromptForm(f"{prompts} ({version})", write)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _in_internvl(question: str) -> str:
    for token, other in _INTERNVL_TOKENS.items():
        question = question.replace(token, other)
    return _PAIRS.sub(r"[\1,\2,\3,\4]", question)


def sample_id(kind: str, group: Group) -> str:
    """``migbench-0012``, or ``migbench-0012+0013`` for a prompt about several items; it is read back by position."""
    return f"{kind}-{'+'.join(f'{item.index:04d}' for item in group)}"


def sample_of(kind: str, group: Group, paths: Mapping[str, str], sizes: Mapping[str, Size]) -> Sample:
    """The sample that asks for the items of a group.

    ``paths`` and ``sizes`` are those of the images by their published name. A sample needs a valid box, so that of a
    defective item has its corners in order and is cut at the edges of the image; the tables use the annotation itself.
    """
    asked = joined(group)
    (raw,) = convert((replace(asked, targets=asked.targets or (1,)), None, False), ImportOptions(root="."))
    assert isinstance(raw, RawSample)
    images = []
    for image in raw.images:
        width, height = sizes[image.path]
        images.append(ImageRef(path=paths[image.path], width=width, height=height, role=image.role))
    return Sample(
        id=sample_id(kind, group),
        task=raw.task,
        images=tuple(images),
        question="".join(_part(part) for part in raw.question),
        targets=tuple(_targets(group)),
        relation=raw.relation,
        image_hidden=raw.image_hidden,
        source=kind,
        meta={"index": [item.index for item in group]} if len(group) > 1 else raw.meta,
    )


def _part(part: str | RawBox) -> str:
    if isinstance(part, str):
        return part
    x1, y1, x2, y2 = (v / 1000 for v in part.numbers)
    return box_markup(part.image, (x1, y1, x2, y2))


def _targets(group: Group) -> list[Target]:
    found = []
    for item in group:
        box = mended(item)
        target = Target(image=(item.targets or (1,))[-1], box=box) if box else None
        if target and target not in found:  # two items of a prompt may be duplicates
            found.append(target)
    return found


def mended(item: Item) -> Box | None:
    """The answer with its corners in order, cut at the edges of the image; None if nothing is left of it."""
    x1, y1, x2, y2 = (min(max(v, 0.0), 1.0) for v in item.answer)
    box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    return None if box_problem(box) else box
