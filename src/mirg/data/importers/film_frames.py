"""The frames of a film by the names of their files, and what tracking benchmarks keep beside them.

Files are ordered by the number in their names (2 before 10), never by the alphabet. If the names leave the order open,
the film is refused: a box would be taken for that of another frame.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from mirg.data.importers.lines import lines_of, number_lines
from mirg.data.importers.raw import Numbers
from mirg.data.importers.rows import Refused
from mirg.images import SUFFIXES

_DIGITS = re.compile(r"(\d+)", re.ASCII)
_HINT = "name the frames so that they differ in one number only: 000001.jpg, 000002.jpg"


# (field, reason, hint)
Problem = tuple[str, str, str]
Track = list[tuple[int, Numbers]]  # (position among the frames, from 0; x, y, width, height in pixels)


@dataclass
class Sequence:
    """One film. ``frames`` are absolute paths, ``numbers`` their frame numbers; ``tracks`` by the object's id.

    ``unnamed`` says of objects without an entry in ``labels`` why the files do not name them.
    """

    name: str
    file: str
    frames: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    size: tuple[int, int] | None = None  # (width, height) in pixels
    tracks: dict[str, Track] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    unnamed: dict[str, str] = field(default_factory=dict)
    problem: Problem | None = None


def find_frames(sequence: Sequence, *folders: Path) -> None:
    """Set the frames of a sequence to the image files of the first folder that has any. Refused if none has."""
    for folder in folders:
        if folder.is_dir():
            sequence.frames, sequence.numbers = frame_files(folder)
            if sequence.frames:
                return
    raise Refused("frames", "there are no image files", f"expected in {', '.join(folder.name for folder in folders)}")


def frame_files(folder: Path) -> tuple[list[str], list[int]]:
    """The image files of ``folder`` in the order of the film, and their frame numbers.

    Empty if the folder has no images. Refused if the names leave the order open: no number, two numbers that vary, or
    one number twice (``1.jpg`` and ``01.jpg``). Hidden files (``._1.jpg``) are left out.
    """
    files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    numbers = frame_numbers([file.stem for file in files]) if files else []
    ordered = sorted(zip(numbers, map(str, files), strict=True))
    for (number, file), (following, other) in pairwise(ordered):
        if number == following:
            reason = f"frame number {number} is in two names: {Path(file).name} and {Path(other).name}"
            raise Refused("frames", reason, _HINT)
    return [file for _, file in ordered], [number for number, _ in ordered]


def frame_numbers(stems: list[str]) -> list[int]:
    """The frame number in every file name: the one number that varies among names that are otherwise alike.

    Refused if there is no such number, or more than one.
    """
    parts = [_DIGITS.split(stem) for stem in stems]
    words = {tuple(part.casefold() for part in name[::2]): stem for name, stem in zip(parts, stems, strict=True)}
    if len(words) > 1:
        one, other, *_ = words.values()
        raise Refused("frames", f"frame names are not alike: {one!r} and {other!r}", _HINT)
    columns = list(zip(*(map(int, name[1::2]) for name in parts), strict=True))
    varying = list({column for column in columns if len(set(column)) > 1})  # one number may be there twice
    if len(varying) > 1:
        example = f"{stems[0]!r} and {stems[-1]!r}"
        raise Refused("frames", f"frame names hold more than one number that varies: {example}", _HINT)
    if not columns or (not varying and len(stems) > 1):
        raise Refused("frames", f"frame names hold no number that tells their order: {stems[0]!r}", _HINT)
    return list(varying[0] if varying else columns[-1])


def flags_of(file: Path, count: int, allowed: Collection[int]) -> list[int]:
    """``count`` whole numbers, one per frame, in one line or in many. Refused if there are not as many, or others."""
    flags = [value for line in number_lines(file, file.name) for value in line]
    if len(flags) != count:
        raise Refused(file.name, f"has {len(flags)} values for {count} frames", "one value per frame")
    wrong = next((value for value in flags if value not in allowed), None)
    if wrong is not None:
        raise Refused(file.name, f"holds {wrong:g}, which is not a flag", f"expected {', '.join(map(str, allowed))}")
    return [int(value) for value in flags]


def settings_of(file: Path, section: str) -> dict[str, str]:
    """One section of an .ini file, its keys in lower case; empty if there is no such file or section."""
    if not file.is_file():
        return {}
    found = configparser.ConfigParser(interpolation=None, strict=False)
    found.read_string("\n".join(lines_of(file, file.name)))
    return dict(found[section]) if found.has_section(section) else {}
