"""Rows in the shape of MGrounding-630k, of the project's own making: what the data benchmark reads."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
LOOKS = ("small", "large", "red", "wooden", "round", "white", "old", "shiny", "striped", "broken")
THINGS = ("statue", "lamp", "bicycle", "kettle", "chair", "street sign", "dog", "glass bottle", "boat", "umbrella")
PLACES = ("on the left", "next to the window", "in front of the wall", "under the table", "at the end of the road")
CLAUSES = (
    "that is partly covered by a plant",
    "with a handle on its side",
    "which a woman looks at",
    "near a door",
    "",
)
TARGET_BYTES = 2150  # of a row: 630,000 of them are 1.4 GB
FOLDER = "./MGrounding-630k"
BRIEF = " Answer with the coordinates of its bounding box, from 0 to 1000, and with nothing else."


def write_rows(path: Path, count: int, seed: int = 0) -> int:
    """Write a JSON list of ``count`` rows, one a line; returns its size in bytes."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        file.write("[\n")
        for number in range(count):
            file.write((",\n" if number else "") + json.dumps(row(draw, number)))
        file.write("\n]\n")
    return path.stat().st_size


def row(draw: random.Random, number: int) -> dict[str, Any]:
    """One row: several turns about several images, as many as make a row of the usual size."""
    kind = draw.choices(("gg", "tracking", "region", "common", "refer", "diff"), (5, 4, 3, 3, 1, 1))[0]
    images, turns = {
        "gg": _group, "tracking": _tracking, "region": _region, "common": _common, "refer": _refer, "diff": _difference,
    }[kind](draw, number)  # fmt: skip
    said: list[dict[str, str]] = []
    length = sum(len(path) + 4 for path in images) + 60
    for question, answer in turns:
        opening = "" if said else "<image>\n" * len(images)
        said += [{"from": "human", "value": opening + question}, {"from": "gpt", "value": answer}]
        length += len(opening) + len(question) + len(answer) + 80
        if length > TARGET_BYTES:
            break
    return {"id": f"{kind}_{number:07d}", "images": images, "conversations": said, "type": f"{kind}_train"}


def _box(draw: random.Random) -> str:
    x1, y1 = draw.randrange(0, 900), draw.randrange(0, 900)
    x2, y2 = draw.randrange(x1 + 1, 1000), draw.randrange(y1 + 1, 1000)
    return f"<|box_start|>({x1},{y1}),({x2},{y2})<|box_end|>"


def _phrase(draw: random.Random) -> str:
    words = (draw.choice(LOOKS), draw.choice(LOOKS), draw.choice(THINGS), draw.choice(PLACES), draw.choice(CLAUSES))
    return f"<|object_ref_start|>a {' '.join(words).strip()}<|object_ref_end|>"


def _paths(draw: random.Random, task: str, source: str, count: int, number: int) -> list[str]:
    return [f"{FOLDER}/{task}/{source}/{number % 50_000:05d}/sa_{draw.randrange(10**7)}_{k}.jpg" for k in range(count)]


Turns = Iterator[tuple[str, str]]


def _group(draw: random.Random, number: int) -> tuple[list[str], Turns]:
    count = draw.randint(3, 5)

    def turns() -> Turns:
        while True:
            asked = f"Give the bounding box of the region this sentence refers to: {_phrase(draw)}."
            yield asked + BRIEF, f"It's in the {ORDINALS[draw.randrange(count)]} image. {_box(draw)}"

    return _paths(draw, "Group_Grounding", "SA-1B", count, number), turns()


def _tracking(draw: random.Random, number: int) -> tuple[list[str], Turns]:
    paths = [f"{FOLDER}/Object_Tracking/clips/{number:07d}/{k * 10:05d}.jpg" for k in range(6)]

    def turns() -> Turns:
        while True:
            asked = f"Track the object in the first image {_box(draw)} through the other images."
            yield asked, "\n".join(f"Image-{k}: {_box(draw)}" for k in range(2, 7))

    return paths, turns()


def _region(draw: random.Random, number: int) -> tuple[list[str], Turns]:
    count = draw.randint(2, 4)

    def turns() -> Turns:
        while True:
            asked = ORDINALS[draw.randrange(count - 1)]
            yield f"Please locate the {asked} region picture in the source image.{BRIEF}", _box(draw)

    return _paths(draw, "Region_Locating", "photos", count, number), turns()


def _common(draw: random.Random, number: int) -> tuple[list[str], Turns]:
    count = draw.randint(3, 5)

    def turns() -> Turns:
        while True:
            where = ORDINALS[draw.randrange(count)]
            yield f"One object occurs in all images. Locate this object in the {where} image.{BRIEF}", _box(draw)

    return _paths(draw, "Common_Object", "photos", count, number), turns()


def _refer(draw: random.Random, number: int) -> tuple[list[str], Turns]:
    def turns() -> Turns:
        while True:
            yield f"Image-1 shows {_phrase(draw)}. Locate the same kind of object in Image-2.{BRIEF}", _box(draw)

    return _paths(draw, "Referring_Grounding", "pairs", 2, number), turns()


def _difference(draw: random.Random, number: int) -> tuple[list[str], Turns]:
    def turns() -> Turns:
        while True:
            yield f"The two images differ in one place. Where is it in Image-2?{BRIEF}", _box(draw)

    return _paths(draw, "Static_Diff", "edits", 2, number), turns()
