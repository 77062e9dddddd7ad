"""A small annotation file in MIG-Bench's schema, of the project's own making: every task, the known kinds of defect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def row(task: str, n_images: int, question: str, answer: list[float], info: str = "") -> dict[str, Any]:
    return {
        "task": task,
        "images": [f"./MIG-Bench/images/{task}/{answer[0]}-{k}.jpg" for k in range(n_images)],
        "question": question,
        "answer": answer,
        "additional_info": info,
        "need_format": True,
    }


# (row, images in which the answer may lie)
Truth = tuple[dict[str, Any], tuple[int, ...]]
REGION: Truth = (
    row("region", 4, "Please locate the 3th region picture in the source image. ", [0.1, 0.3, 0.2, 0.5]),
    (1,),
)
ROWS: list[Truth] = [
    (row("diff", 2, "Give me the coordinates of their difference. ", [0.1, 0.1, 0.5, 0.5]), (1, 2)),
    (row("view_diff", 2, "Their real difference in the second image.  ", [0.2, 0.1, 0.5, 0.5]), (2,)),
    (row("common_object", 4, "Locate this object in the 3th image. ", [0.3, 0.1, 0.9, 0.9]), (3,)),
    (row("common_object", 4, "Locate this object in the 1th image. ", [0.31, 0.5, 0.9, 0.2]), (1,)),
    (
        row(
            "object_tracking",
            6,
            "For the object in the first image (<|box_start|>(5,6),(7,8)<|box_end|>), locate it in the 6th image. ",
            [0.4, 0.1, 0.5, 0.5],
        ),
        (6,),
    ),
    (row("multi_view", 2, "(the object in the first image) Locate it in the 2th image. ", [0.5, 0.1, 0.9, 0.5]), (2,)),
    REGION,
    (row("refer_grounding", 2, "Where is the object of image-1 in the image-2.", [0.6, 0.1, 0.8, 0.5]), (2,)),
    (
        row(
            "group_grounding",
            5,
            "Give the bounding box of the region this sentence refers to: a cup.",
            [0.7, 0.1, 0.8, 0.5],
            "It is in the fifth image. <|box_start|>(700,100),(800,500)<|box_end|>. ",
        ),
        (5,),
    ),
    (
        row("reasoning", 2, "What in Image-2 opens Image-1? It is in the second image. ", [0.05, 0.1, 0.8, 0.5]),
        (2,),
    ),
    (row("correspondence", 2, "Box in the first image; answer in the second image. ", [0.15, 0.1, 0.8, 1.02]), (2,)),
    REGION,  # a second time: duplicates are among the known defects
]


def annotation_rows() -> list[dict[str, Any]]:
    return [annotation for annotation, _ in ROWS]


def revised_rows() -> list[Truth]:
    """The same items as the revised version has them: 0-1000 integers, paths without ./, Static names its image."""
    static = [
        (
            row("diff", 2, f"Give me their difference in the {words}.", [left, 0.1, 0.5, 0.5]),
            (number,),
        )
        for words, number, left in (("1th image. ", 1, 0.11), ("2th image", 2, 0.12), ("first image", 1, 0.13))
    ]
    rows = [*static, *((annotation, images) for annotation, images in ROWS if annotation["task"] != "diff")]
    return [
        (
            annotation
            | {
                "images": [path.removeprefix("./") for path in annotation["images"]],
                "answer": [round(1000 * v) for v in annotation["answer"]],
            },
            images,
        )
        for annotation, images in rows
    ]


def write_annotations(path: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    path.write_text(json.dumps(annotation_rows() if rows is None else rows), encoding="utf-8")
    return path


def write_responses(path: Path, responses: dict[int, str]) -> Path:
    lines = (json.dumps({"index": index, "response": text}) for index, text in responses.items())
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
