"""A stand-in for the images of MIG-Bench, a small annotation file of the project's own, and models that know it.

Every image has a size and a colour that follow from its path, so that a server recognises the item of a request.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mirg.data.importers.migbench import Item
from mirg.evaluation.migbench.asking import mended
from mirg.evaluation.migbench.grouping import number_of

WHOLE = "(0,0),(999,999)"
_COMMON = "These images share one object in common. Recognize and locate this object in the {}th image. "
_VIEWS = (
    "The same object (marked with red in the first image(<|box_start|>({})<|box_end|>). Locate it in the {}th image. "
)
_TRACK = "For the object in the first image(<|box_start|>(139,305),(495,743)<|box_end|>), locate it in the {}th image. "
_REGION = "You are given a source image followed by its regions. Please locate the {}th region picture in the source. "
_FIRST, _SECOND = "51,265),(519,388", "7,8),(90,100"


def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(task: str, name: str, n_images: int, question: str, answer: Sequence[float], info: str = "") -> None:
        images = [f"./MIG-Bench/images/{task}/{name}/{k}.{'png' if k % 2 else 'jpg'}" for k in range(1, n_images + 1)]
        rows.append(
            {"task": task, "images": images, "question": question, "answer": list(answer)}
            | {"additional_info": info, "need_format": task != "object_tracking"}
        )

    add("diff", "pair", 2, "Compare these two images and give me their difference. ", (0.1, 0.2, 0.5, 0.9))
    add("view_diff", "lane", 2, "Their real difference in the second image.  Find it. ", (0.2, 0.1, 0.5, 0.6))
    add("common_object", "cup", 3, _COMMON.format(1), (0.321, 0.096, 0.999, 0.724))
    add("common_object", "cup", 3, _COMMON.format(2), (0.0, 0.15, 0.9, 0.545))
    add("common_object", "cup", 3, _COMMON.format(3), (0.25, 0.294, 0.749, 0.801))
    add("common_object", "hat", 4, _COMMON.format(2), (0.4, 0.1, 0.2, 0.8))  # inverted
    add("common_object", "hat", 4, _COMMON.format(4), (0.5, 0.4, 0.9, 1.02))  # outside
    add("object_tracking", "car", 4, _TRACK.format(2), (0.08, 0.33, 0.54, 0.81))
    add("object_tracking", "car", 4, _TRACK.format(3), (0.12, 0.32, 0.7, 0.8))
    add("object_tracking", "car", 4, _TRACK.format(4), (0.2, 0.1, 0.83, 0.5))
    add("multi_view", "hall", 3, _VIEWS.format(_FIRST, 2), (0.44, 0.24, 0.52, 0.39))
    add("multi_view", "hall", 3, _VIEWS.format(_FIRST, 3), (0.76, 0.34, 0.85, 0.49))
    add("multi_view", "hall", 3, _VIEWS.format(_FIRST, 3), (0.76, 0.34, 0.85, 0.49))  # a duplicate
    add("multi_view", "hall", 3, _VIEWS.format(_SECOND, 2), (0.1, 0.2, 0.3, 0.4))  # another object
    add("region", "yard", 3, _REGION.format(2), (0.57, 0.27, 0.69, 0.48))
    add("region", "yard", 3, _REGION.format(1), (0.42, 0.1, 0.6, 0.5))
    add("region", "lane", 2, _REGION.format(1), (0.2, 0.18, 0.4, 0.61))
    add("refer_grounding", "dog", 2, "Find where the object in image-1 is in the image-2.", (0.6, 0.1, 0.8, 0.5))
    found = "It is in the third image. <|box_start|>(700,100),(800,500)<|box_end|>. "
    add(
        "group_grounding",
        "men",
        4,
        "Find <|object_ref_start|>a red cup<|object_ref_end|>.",
        (0.7, 0.1, 0.8, 0.5),
        found,
    )
    add("reasoning", "sea", 2, "What in Image-2 opens Image-1? It is in the second image. ", (0.05, 0.1, 0.8, 0.5))
    add(
        "correspondence",
        "axe",
        2,
        "The area in the first image: find its like in the second image. ",
        (0.1, 0.1, 0.8, 0.9),
    )
    return rows


ROWS = _rows()
DEFECTS = {5: "inverted_box", 6: "outside_image", 12: "duplicate"}
TOGETHER = [[2, 3, 4], [5, 6], [7, 8, 9], [10, 11, 12], [15, 14]]  # what the mode "all" asks in one prompt


def revised(rows: Iterable[dict[str, Any]] = ROWS) -> list[dict[str, Any]]:
    """The rows as the revised version writes them: integers, no ``./``, Static names its image, no defective box."""
    made = []
    for row in rows:
        x1, y1, x2, y2 = (min(round(1000 * v), 1000) for v in row["answer"])
        question = "Their difference in the 1th image. " if row["task"] == "diff" else row["question"]
        answer = [min(x1, x2), y1, max(x1, x2), y2]
        made.append(
            row | {"images": [n.removeprefix("./") for n in row["images"]], "answer": answer, "question": question}
        )
    return made


def picture(name: str) -> Image.Image:
    """The image of a published path: its size (one of eight, none square) and its colour follow from the path."""
    digest = hashlib.sha256(name.removeprefix("./").encode()).digest()
    return Image.new("RGB", (56 + 8 * (digest[3] % 4), 36 + 4 * (digest[4] % 2)), tuple(digest[:3]))


def draw(root: Path, rows: Iterable[dict[str, Any]]) -> None:
    """All images of the rows below ``root``; PNG also under the name .jpg, so that no colour changes."""
    for name in {name for row in rows for name in row["images"]}:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(name).save(path, "PNG")


def write_tree(root: Path, rows: Sequence[dict[str, Any]] = ROWS, name: str = "MIG_data.json") -> Path:
    """The folder that a user downloads and unpacks: annotations and ``MIG-Bench/images``."""
    draw(root, rows)
    (root / name).write_text(json.dumps(rows))
    return root


def right_answer(items: Sequence[Item]) -> str:
    """The truth of the items of one prompt, each number once, as the family of the 0-1000 frame writes it."""
    lines = []
    for item in {number_of(item): item for item in items}.values():
        box = mended(item)
        assert box is not None
        numbers = [round(1000 * v) for v in box]
        lines.append("Image-{}: ({},{}),({},{})".format((item.targets or (1,))[-1], *numbers))
    return "<think>it is in (1,2),(3,4)</think><answer>" + "\n".join(lines) + "</answer>"


class Knowing:
    """Answers chat requests with the truth of the item whose images and question they hold."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items: dict[tuple[Any, ...], list[Item]] = {}
        for item in items:
            key = tuple(_colour(picture(name)) for name in item.images)
            self.items.setdefault(key, []).append(item)

    def __call__(self, body: dict[str, Any]) -> str:
        parts = body["messages"][0]["content"]
        images = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        shown = tuple(_colour(Image.open(io.BytesIO(base64.b64decode(one.partition(",")[2])))) for one in images)
        asked = _words(parts[-1]["text"])
        item = next(i for i in self.items[shown] if asked[: len(_words(i.question))] == _words(i.question))
        return right_answer([item])


def _colour(image: Image.Image) -> tuple[Any, ...]:
    return (image.size, image.getpixel((0, 0)))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", re.sub(r"<[^>]*>", "", text.lower()))
