"""Which frame all boxes of a source are in: what they rule out, what fits them best, and a refusal if it stays open.

Three frames differ in the numbers that fit them. Pixels of a resized image need more: an image that is
made smaller leaves numbers that also fit pixels of the original, all of them in its upper left part. So it is measured
how much smaller the image may be into which all boxes fit. Boxes that fill a resized image, and only a part of the
original, are not taken for pixels of the original.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mirg.data.importers.frames import NAMED, WORDS, possible
from mirg.data.importers.raw import FrameName
from mirg.errors import DataError
from mirg.families import RELATIVE_MAX
from mirg.images import Size

if TYPE_CHECKING:
    from mirg.data.importers.frames import Resized

_MIXED = 0.01  # share of boxes of another frame from which a source counts as mixed; fewer are rejected row by row
_ENOUGH = 200  # boxes after which a wrong frame is refused, rather than at the end of the file
_TIGHTER = 0.44  # mean gain per box from which a smaller frame is the better explanation: sides under 80 %
_AGAINST = 0.001  # share of boxes from which a smaller frame does not explain the boxes
_SURE = 9.2  # gain of all boxes together from which the better of two frames is taken: odds of 10,000
_SURE_OF_ENLARGED = 3 * _SURE  # images are seldom enlarged: a few boxes in small images are not a sign of it
_FEW = 24  # boxes up to which a smaller frame that holds all of them leaves the frame open
_LIKELY = 2.0  # gain of all boxes together from which the better of two frames is the best guess
_SAME = 0.05  # gains below this do not count: the two frames hardly differ for that image


@dataclass
class Evidence:
    """How many boxes may be in which frames, and a row of each kind.

    ``gains`` and ``differing``: by (frame, key of a resized frame), how much better the second explains all boxes, and
    for how many the two differ. A box at a random place in a frame has the probability 1 / area; the gain of a smaller
    frame is the logarithm of the quotient of the areas.
    """

    counts: Counter[frozenset[str]] = field(default_factory=Counter)
    examples: dict[frozenset[str], tuple[str, tuple[float, ...]]] = field(default_factory=dict)
    gains: Counter[tuple[str, str]] = field(default_factory=Counter)
    differing: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, kind: frozenset[str], where: str, numbers: Sequence[float]) -> None:
        """One box more, of row ``where``."""
        self.counts[kind] += 1
        self.examples.setdefault(kind, (where, tuple(numbers)))

    def weigh(self, where: str, numbers: Sequence[float], size: Size | None, resized: Sequence[Resized]) -> None:
        """One box more, tried on the frames of ``resized`` too; ``size`` is (width, height) of its image in pixels."""
        sides = [(one.key, one.sides(size) if size else None) for one in resized]
        self.add(possible(numbers, size, sides), where, numbers)
        if size is None:
            return
        areas = {"pixels": math.log(size[0] * size[1]), "relative_1000": 2 * math.log(RELATIVE_MAX)}
        areas |= {key: math.log(found[0] * found[1]) for key, found in sides if found}
        for name in ("pixels", "relative_1000", *(key for key, _ in sides[:1])):
            for key, _ in sides:
                if key in areas and name in areas and abs(gain := areas[name] - areas[key]) >= _SAME:
                    self.gains[name, key] += gain  # type: ignore[assignment]  # a Counter of floats
                    self.differing[name, key] += 1

    def join(self, other: Evidence) -> None:
        """All boxes of ``other`` too."""
        self.counts.update(other.counts)
        self.gains.update(other.gains)
        self.differing.update(other.differing)
        for kind, example in other.examples.items():
            self.examples.setdefault(kind, example)

    def votes(self, names: Sequence[str] = NAMED) -> dict[str, int]:
        """Boxes that each frame explains."""
        return {name: sum(n for kind, n in self.counts.items() if name in kind) for name in names}

    def settle(
        self, source: str, resized: Sequence[Resized] = (), said: Resized | None = None, *, sizes: bool = False
    ) -> FrameName:
        """The one frame that explains the boxes. DataError, with a guess and the option to set it, if it stays open.

        ``resized`` are the resizings that were tried; ``said`` is the one that the user named, the only one that may
        be the result. ``sizes``: the boxes are [x, y, width, height] in the source, which only annotation tools write:
        they are pixels of the original if they fit it, and are not fractions.
        """
        total = sum(n for kind, n in self.counts.items() if kind)
        if not total:
            return "fraction"  # nothing to convert
        good: list[FrameName] = [name for name, n in self.votes().items() if n >= total * (1 - _MIXED)]  # type: ignore[misc]
        if sizes and said is None and "pixels" in good and "fraction" not in good:
            return "pixels"
        fitting = [one for one in resized if "fraction" not in good and self._explains(one, total)]
        tight = self._best([one for one in fitting if self._doubts(one, total, good)], "pixels")
        named = said if said and self._explains(said, total) else None
        if named and all(self.gains[name, named.key] >= _SURE for name in good) and tight in (None, named):
            return "resized_pixels"
        tight = tight or self._smaller(total, resized, good)
        clear = not named or "fraction" in good or all(self.gains[name, named.key] <= -_SURE for name in good)
        if len(good) == 1 and not tight and clear:
            return good[0]
        raise self._open(source, total, good, tight or (said if said in fitting else self._best(fitting, "pixels")))

    def doubt(self, source: str, default: Resized, resized: Sequence[Resized]) -> None:
        """DataError if the boxes fill images that were resized to fewer pixels than ``default`` allows."""
        total = sum(n for kind, n in self.counts.items() if kind)
        best = self._best([one for one in resized if one != default and self._explains(one, total)], default.key)
        sure = best and self._tighter(default.key, best) and self.gains[default.key, best.key] >= _SURE
        if best and best.max_pixels and sure:
            raise DataError(
                f"{source}: its {total:,} boxes fill images resized to at most {best.max_pixels:,} pixels, and only a "
                f"part of images resized by the default limits of {default.family}",
                hint=f"--max-pixels {best.max_pixels} is the best guess; the default limit has to be given as well",
            )

    def contradict(
        self,
        frame: FrameName,
        source: str,
        *,
        final: bool,
        resized: Sequence[Resized] = (),
        said: Resized | None = None,
    ) -> None:
        """DataError if too many boxes are not in ``frame``: at the end of a file, or as soon as that is certain.

        ``resized`` are the resizings that boxes outside of the frame were tried on.
        """
        total = sum(self.counts.values())
        name = said.key if said and frame == "resized_pixels" else frame
        if not total or not (final or total >= _ENOUGH):
            return
        rest = {kind: n for kind, n in self.counts.items() if kind and name not in kind}
        wrong = sum(rest.values())
        if wrong <= (max(_MIXED * total, 2) if final else total / 5):
            return
        votes = self.votes()
        guess: str = max((one for one in NAMED if one != frame), key=lambda one: votes[one])
        option, words = f"--frame {guess}", WORDS[guess]
        whole = votes[guess] > (1 - _MIXED) * total
        # Whether a resized frame holds nearly all boxes that the frame does not.
        held = ((one, sum(n for kind, n in rest.items() if one.key in kind)) for one in resized if one != said)
        other = next((one for one, n in held if n >= (1 - _MIXED) * wrong), None)
        if not whole and other:
            whole, option, words = True, other.option, WORDS["resized_pixels"]
        found = f"all fit {words}" if whole else f"the frames are mixed: {self._mixture()}"
        raise DataError(
            f"{source}: {wrong:,} of {total:,} boxes are not {WORDS[frame]}; {found}",
            hint=f"{option} sets the frame" if whole else "take the file apart: one import has one frame",
        )

    def _explains(self, one: Resized, total: int) -> bool:
        return self.votes([one.key])[one.key] >= total * (1 - _MIXED)

    def _best(self, found: Sequence[Resized], name: str) -> Resized | None:
        """The resizing that explains the boxes best, compared with the frame ``name``."""
        return max(found, key=lambda one: self.gains[name, one.key], default=None)

    def _tighter(self, name: str, one: Resized) -> bool:
        """Whether ``one`` explains the boxes clearly better than ``name``, for the images in which they differ."""
        count = self.differing[name, one.key]
        return count > 0 and self.gains[name, one.key] / count >= _TIGHTER

    def _doubts(self, one: Resized, total: int, good: Sequence[str]) -> bool:
        """Whether ``one`` explains the boxes better than every frame of ``good``, with next to none against it."""
        least = _SURE_OF_ENLARGED if one.min_pixels else -math.inf
        against = sum(n for kind, n in self.counts.items() if one.key not in kind and kind.intersection(good))
        clear = all(self._tighter(name, one) and self.gains[name, one.key] >= least for name in good)
        return clear and against <= _AGAINST * total

    def _smaller(self, total: int, resized: Sequence[Resized], good: Sequence[str]) -> Resized | None:
        """A resizing to fewer pixels that holds every box as well; None if a box speaks against each.

        A few boxes in images of which most are hardly resized are not a proof of the frame that is larger.
        """
        if "fraction" in good or not good or total > _FEW:
            return None
        votes = self.votes([one.key for one in resized])
        found = [one for one in resized if not one.min_pixels and votes[one.key] == total]
        return self._best([one for one in found if all(self.gains[name, one.key] > 0 for name in good)], good[0])

    def _open(self, source: str, total: int, good: Sequence[FrameName], other: Resized | None) -> DataError:
        names = [WORDS[name] for name in good] + ([f"{WORDS['resized_pixels']} ({other.family})"] if other else [])
        if not names:
            hint = "take the file apart: one import has one frame, which --frame sets"
            return DataError(f"{source}: its boxes are in mixed frames: {self._mixture()}", hint=hint)
        votes = self.votes()
        decimals = any(v != int(v) for _, numbers in self.examples.values() for v in numbers)
        order = ("pixels", "relative_1000", "fraction") if decimals else ("relative_1000", "pixels", "fraction")
        guess = max(good or NAMED, key=lambda name: (votes[name], -order.index(name)))
        words, option = WORDS[guess], f"--frame {guess}"
        if other and all(self._tighter(name, other) or self.gains[name, other.key] >= _LIKELY for name in good):
            words, option = WORDS["resized_pixels"], other.option
        also = f", {other.option} for the last one" if other and option != other.option else ""
        reason = f"its {total:,} boxes may be {' or '.join(names)}; the best guess is {words}"
        return DataError(f"{source}: {reason}", hint=f"set it with {option} if it is right{also}")

    def _mixture(self) -> str:
        parts = []
        for kind, count in sorted(self.counts.items(), key=lambda item: -item[1]):
            named = kind & set(NAMED)
            if named and len(named) < len(NAMED):
                where, numbers = self.examples[kind]
                names = " or ".join(WORDS[name] for name in NAMED if name in named)
                parts.append(f"{count:,} {names} ({where}: {', '.join(f'{v:g}' for v in numbers)})")
        return ", ".join(parts)
