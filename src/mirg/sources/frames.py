"""Which coordinate frame the boxes of a source are in: evidence per box, a guess, and a refusal where they are mixed.

A box taken for another frame is the field's most common silent mistake (docs/concepts/coordinates.md). One box rarely
tells its frame; thousands do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from mirg.errors import DataError
from mirg.frames import RELATIVE_MAX, family, from_frame
from mirg.geometry import Box
from mirg.images import Size

# fraction: 0-1; relative_1000: 0-1000 per axis; pixels: of the original; resized_pixels: of what a model family sees.
FrameName = Literal["auto", "fraction", "relative_1000", "pixels", "resized_pixels"]
NAMED: tuple[FrameName, ...] = ("fraction", "relative_1000", "pixels")
WORDS: dict[str, str] = {
    "fraction": "fractions (0-1)",
    "relative_1000": f"0-{RELATIVE_MAX}",
    "pixels": "pixels",
    "resized_pixels": "pixels of the resized image",
}

_MIXED = 0.01  # share of boxes of another frame from which a source counts as mixed; fewer are rejected row by row
_ENOUGH = 200  # boxes after which a wrong frame is refused, rather than at the end of the file
_EDGE = 1.0  # pixels, or units of 0-1000, by which a box may leave the image: rounding


_NONE: frozenset[str] = frozenset()
_ANY: frozenset[str] = frozenset(NAMED)
_FRACTION: frozenset[str] = frozenset({"fraction"})
_RELATIVE: frozenset[str] = frozenset({"relative_1000"})
_PIXELS: frozenset[str] = frozenset({"pixels"})
_BOTH = _RELATIVE | _PIXELS


def possible(numbers: Sequence[float], size: Size | None) -> frozenset[str]:
    """The frames that a box may be in: ``size`` is (width, height) in pixels of its image, None where unknown.

    Anything of 0-1 with a decimal can only be fractions: nobody writes 0-1000 or pixels to less than one.
    """
    x1, y1, x2, y2 = numbers
    top, low = max(numbers), min(numbers)
    if not (low >= -_EDGE and math.isfinite(x1 + y1 + x2 + y2)):  # the sum of anything with NaN is NaN
        return _NONE
    if top <= 1.0:
        whole = x1 == int(x1) and y1 == int(y1) and x2 == int(x2) and y2 == int(y2)
        return _ANY if whole else _FRACTION
    fits = top <= RELATIVE_MAX + _EDGE
    inside = size is None or (max(x1, x2) <= size[0] + _EDGE and max(y1, y2) <= size[1] + _EDGE)
    if fits:
        return _BOTH if inside else _RELATIVE
    return _PIXELS if inside else _NONE


def to_fractions(numbers: Sequence[float], size: Size | None, frame: FrameName, family_name: str | None = None) -> Box:
    """``numbers`` in ``frame`` as fractions of the original image, edges within one unit clipped.

    DataError where pixels are to be converted and the size of the image is unknown, ImageError as
    :func:`mirg.frames.from_frame`.
    """
    if frame == "fraction":
        width, height = 1.0, 1.0
    elif frame == "relative_1000":
        width, height = float(RELATIVE_MAX), float(RELATIVE_MAX)
    elif size is None:
        raise DataError("boxes in pixels need the size of the image", hint="import with --look header")
    elif frame == "pixels":
        width, height = float(size[0]), float(size[1])
    else:
        box = from_frame(numbers, size, family(family_name or ""))
        return _clipped(box, (_EDGE / size[0], _EDGE / size[1]))
    x1, y1, x2, y2 = numbers
    edge = 0.0 if frame == "fraction" else _EDGE
    return _clipped((x1 / width, y1 / height, x2 / width, y2 / height), (edge / width, edge / height))


def _clipped(box: Box, edge: tuple[float, float]) -> Box:
    """Coordinates that leave 0-1 by no more than ``edge`` (of width, of height) set onto the edge."""
    return (_snap(box[0], edge[0]), _snap(box[1], edge[1]), _snap(box[2], edge[0]), _snap(box[3], edge[1]))


def _snap(value: float, edge: float) -> float:
    if -edge <= value < 0.0:
        return 0.0
    return 1.0 if 1.0 < value <= 1.0 + edge else value


@dataclass
class Evidence:
    """How many boxes may be in which frames, and a row of each kind."""

    counts: Counter[frozenset[str]] = field(default_factory=Counter)
    examples: dict[frozenset[str], tuple[str, tuple[float, ...]]] = field(default_factory=dict)

    def add(self, kind: frozenset[str], where: str, numbers: Sequence[float]) -> None:
        """One box more, of row ``where``."""
        self.counts[kind] += 1
        self.examples.setdefault(kind, (where, tuple(numbers)))

    def join(self, other: Evidence) -> None:
        """All boxes of ``other`` too."""
        self.counts.update(other.counts)
        for kind, example in other.examples.items():
            self.examples.setdefault(kind, example)

    def votes(self) -> dict[str, int]:
        """Boxes that each frame explains."""
        return {name: sum(n for kind, n in self.counts.items() if name in kind) for name in NAMED}

    def settle(self, source: str) -> FrameName:
        """The one frame that explains the boxes. DataError, with a guess and the option to set it, where none does."""
        total = sum(n for kind, n in self.counts.items() if kind)
        if not total:
            return "fraction"  # nothing to convert
        votes = self.votes()
        good: list[FrameName] = [name for name in NAMED if votes[name] >= total * (1 - _MIXED)]
        if len(good) == 1:
            return good[0]
        guess = self._guess(good or list(NAMED))
        if good:
            reason = f"its {total:,} boxes may be {' or '.join(WORDS[name] for name in good)}"
        else:
            reason = "its boxes are in mixed frames: " + self._mixture()
        raise DataError(
            f"{source}: {reason}; the best guess is {WORDS[guess]}", hint=f"set it with --frame {guess} if it is right"
        )

    def contradict(self, frame: FrameName, source: str, *, final: bool) -> None:
        """DataError where too many boxes are not in ``frame``: at the end of a file, or as soon as it is plain."""
        total = sum(self.counts.values())
        if frame not in NAMED or not total or not (final or total >= _ENOUGH):
            return
        wrong = sum(n for kind, n in self.counts.items() if kind and frame not in kind)
        if wrong <= (max(_MIXED * total, 2) if final else total / 5):
            return
        votes = self.votes()
        guess = max((name for name in NAMED if name != frame), key=lambda name: votes[name])
        whole = votes[guess] > (1 - _MIXED) * total
        found = f"all fit {WORDS[guess]}" if whole else f"the frames are mixed: {self._mixture()}"
        raise DataError(
            f"{source}: {wrong:,} of {total:,} boxes are not {WORDS[frame]}; {found}",
            hint=f"--frame {guess} sets the frame" if whole else "take the file apart: one import has one frame",
        )

    def _guess(self, names: Sequence[FrameName]) -> FrameName:
        votes = self.votes()
        decimals = sum(
            n for kind, n in self.counts.items() if kind and any(v != int(v) for v in self.examples[kind][1])
        )
        order = ("pixels", "relative_1000", "fraction") if decimals else ("relative_1000", "pixels", "fraction")
        return max(names, key=lambda name: (votes[name], -order.index(name)))

    def _mixture(self) -> str:
        parts = []
        for kind, count in sorted(self.counts.items(), key=lambda item: -item[1]):
            if kind and len(kind) < len(NAMED):
                where, numbers = self.examples[kind]
                names = " or ".join(WORDS[name] for name in NAMED if name in kind)
                parts.append(f"{count:,} {names} ({where}: {', '.join(f'{v:g}' for v in numbers)})")
        return ", ".join(parts)
