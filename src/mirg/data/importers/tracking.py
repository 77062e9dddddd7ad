"""Frames of a film in any order: the frame that a tracking question starts from, by the names of the files.

MGrounding-630k's shuffled variant calls the temporally first frame "the first image" wherever it stands in the list;
elsewhere the file that the question starts from ends in ``_ref``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from mirg.data.importers.rows import Refused
from mirg.data.importers.texts import Name, image_names

_LAST_NUMBER = re.compile(r"(\d{1,12})\D*$", re.ASCII)
_MARK = "_ref"
_HINT = "the anchor's file ends in _ref, or all files of one folder end in their frame number"


class Frames(NamedTuple):
    """``anchor``: the number (from 1) of the image that the question starts from; ``numbers``: of the film's frames."""

    anchor: int
    numbers: tuple[int | None, ...]


def frames_of(paths: Sequence[str]) -> Frames:
    """Find the anchor among the images of a tracking row. Refused if the names of the files do not show it."""
    return _frames(tuple(paths))


@lru_cache(maxsize=8)  # the questions of one row are about the same files
def _frames(paths: tuple[str, ...]) -> Frames:
    files = [PurePosixPath(path.replace("\\", "/")) for path in paths]
    marked = [k for k, file in enumerate(files, 1) if file.stem.lower().endswith(_MARK)]
    numbers = tuple(_number(file.stem) for file in files)
    if len(marked) == 1:
        return Frames(marked[0], numbers)
    if marked:
        raise Refused("images", f"images {', '.join(map(str, marked))} all end in {_MARK}", _HINT)
    known = [number for number in numbers if number is not None]
    if len(known) < len(files) or len({file.parent for file in files}) > 1:
        raise Refused("images", "the names of the files do not show which frame is the first", _HINT)
    if known.count(min(known)) > 1:
        raise Refused("images", f"frame {min(known)} occurs twice: which one is the first?", _HINT)
    return Frames(1 + known.index(min(known)), numbers)


def anchored(question: str, images: int, anchor: int) -> str:
    """``question``, in which "the first image" means the anchor, with the number where it stands in the list.

    Refused where it calls two images the first one, and only one of them can be the anchor.
    """
    if anchor == 1:
        return question
    first = [name for name in image_names(question, images) if name.ordinal and name.number == 1]
    if len(first) > 1:
        raise Refused("question", f"names the first image {len(first)} times; the first frame is image {anchor}")
    return _replaced(question, first[0], anchor) if first else question


def _replaced(question: str, name: Name, anchor: int) -> str:
    article = re.search(r"\bthe\s+$", question[: name.start], re.IGNORECASE)
    start = article.start() if article else name.start
    return f"{question[:start]}Image-{anchor}{question[name.end :]}"


def _number(stem: str) -> int | None:
    found = _LAST_NUMBER.search(stem[: -len(_MARK)] if stem.lower().endswith(_MARK) else stem)
    return int(found[1]) if found else None
