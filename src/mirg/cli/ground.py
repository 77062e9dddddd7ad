"""``mirg ground``: ask a model about your own images; reasoning, image and pixel box out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mirg.cli.measured import (
    CROP_PIXELS,
    AnswerInstructions,
    Concurrency,
    CropPixels,
    Device,
    Endpoint,
    EngineName,
    Family,
    KeyEnv,
    Looks,
    MaxPixels,
    Thinking,
    VllmArguments,
    load_engine,
    look_budget,
)
from mirg.cli.output import json_out
from mirg.console import clean, one_line, say, warn
from mirg.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

    from mirg.answers.looks import LookStep
    from mirg.engines.ask import FoundBox, Grounding

UNREADABLE_EXIT = 1
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}  # as Pillow names them


def ground(
    images: Annotated[list[Path], typer.Argument(help="Image files; the model knows them as Image-1, Image-2, …")],
    model: Annotated[str, typer.Option("--model", help="A training run folder, a model folder, or a model's name.")],
    question: Annotated[str, typer.Option("-q", "--question", help="What to look for.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Draw the boxes and write the picture here (PNG).")] = None,
    family: Family = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest completion.")] = 512,
    looks: Looks = 0,
    crop_pixels: CropPixels = CROP_PIXELS,
    instructions: AnswerInstructions = None,
    device: Device = None,
    engine: EngineName = "local",
    vllm: VllmArguments = None,
    thinking: Thinking = None,
    endpoint: Endpoint = None,
    key_env: KeyEnv = None,
    concurrency: Concurrency = 16,
    max_pixels: MaxPixels = None,
) -> None:
    """Ask a model about several images; get reasoning, image and box.

    Ends with exit code 1 where the answer cannot be read.
    """
    options = dict(locals())
    from mirg.engines.ask import ask, open_images, question_sample, shown
    from mirg.engines.base import Generation

    check_picture_path(out)
    look = look_budget(looks, crop_pixels, thinking)
    opened = open_images(images)  # before the model is loaded, which takes long
    names = [str(path) for path in images]
    asked = load_engine(model, options, [question_sample(names, opened, question)])
    usable = shown(asked, names, opened, question)
    for reason in usable.left_out:
        warn(f"left out: {reason}")
    if usable.left_out:
        warn(f"{len(usable.left_out)} of {len(images)} images are left out; Image-1 is {usable.names[0]}")
    grounding = ask(
        asked,
        usable.names,
        usable.images,
        question,
        settings=Generation(max_new_tokens=max_new_tokens, batch_size=1),
        instructions=instructions,
        look=look,
    )
    if as_json:
        json_out(grounding.as_json() | {"left_out": usable.left_out})
    else:
        say("\n".join(as_text(grounding)))
    if out is not None:
        save_picture(grounding, usable.images, out)
    if grounding.failure is not None:
        if as_json:
            warn(f"the answer cannot be used: {grounding.failure}")
        raise typer.Exit(UNREADABLE_EXIT)


def as_text(grounding: Grounding) -> list[str]:
    """The lines that ``mirg ground`` prints for people."""
    lines = []
    if grounding.reading.thinking.strip():
        lines += ["Reasoning", *_indented(grounding.reading.thinking), ""]
    if grounding.looks:
        lines += ["Looks", *(f"  {look_words(k, step)}" for k, step in enumerate(grounding.looks, 1)), ""]
    if grounding.failure is not None:
        lines += ["No answer could be used", f"  {one_line(grounding.failure)}", "", "Completion"]
        lines += _indented(grounding.completion.text or "(empty)")
        if grounding.mentioned:
            lines += ["", "Boxes in it", *_listed(grounding, grounding.mentioned)]
    elif grounding.reading.none:
        lines += ["Answer", "  in none of the images"]
    else:
        lines += ["Answer", *_listed(grounding, grounding.found)]
    if grounding.completion.finish == "length":
        lines += ["", f"The completion was cut at {grounding.completion.tokens} tokens: raise --max-new-tokens."]
    return lines


def _listed(grounding: Grounding, boxes: Sequence[FoundBox]) -> list[str]:
    lines = []
    for found in boxes:
        name = one_line(grounding.name_of(found.image) or "no such image")
        place = "no place" if found.pixels is None else "({}, {}) to ({}, {}) px".format(*found.pixels)
        problem = f"  [{found.problem}]" if found.problem else ""
        lines.append(f"  Image-{found.image}  {name}  {place}{problem}")
    return lines


def look_words(number: int, step: LookStep) -> str:
    """One look as a line: its number, the crop and its pixels in the original, or why it was refused."""
    if step.refusal is not None or step.pixels is None:
        return f"{number}. {step.refusal}"
    return f"{number}. {step.name}  " + "({}, {}) to ({}, {}) px".format(*step.pixels)


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in clean(text).strip().split("\n")]


def check_picture_path(out: Path | None) -> None:
    """Refuse a picture name that Pillow cannot write, before anything expensive is done."""
    if out is None:
        return
    if out.suffix.lower() not in PICTURES:
        raise ConfigError(f"--out {out}: unknown kind of picture", hint="end the name in .png, .jpg or .webp")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: the folder {out.parent} does not exist", hint="make the folder first")


def save_picture(grounding: Grounding, images: Sequence[Image], out: Path) -> None:
    """Draw the answer over the images, side by side, and write it to ``out``."""
    import io

    from mirg.answers.markup import cited
    from mirg.report.data import Mark
    from mirg.report.draw import draw_sample
    from mirg.storage import write_atomic

    predicted = [Mark(found.image, found.box) for found in grounding.drawn]
    given = [Mark(image, box) for image, box in cited(grounding.question)]
    looks = enumerate(grounding.looks or (), 1)
    given += [Mark(s.look.image, s.look.box, f"look {k}") for k, s in looks if s.look and s.refusal is None]
    buffer = io.BytesIO()
    draw_sample(images, predicted=predicted, given=given).save(buffer, PICTURES[out.suffix.lower()])
    write_atomic(out, buffer.getvalue())
