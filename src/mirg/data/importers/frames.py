"""The coordinate frames of boxes in files: which of them a box may be in, and the conversion to fractions.

A box read in the wrong frame is the most common silent mistake of the field (docs/concepts/coordinates.md). One box
rarely shows its frame; ``mirg.data.importers.evidence`` looks at all boxes of a file.

The frame of boxes in pixels of an image as a model family sees it, after its processor, and perhaps a trainer, resized
it, depends on the pixel limits, which a file seldom says. Limits that people often set are therefore tried on its
boxes: a limit under which all of them fit is named in the advice, never assumed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mirg.data.exporters.build import FORMATS, format_of
from mirg.data.exporters.plan import README_FILE, note_beside
from mirg.data.exporters.resize import Resize
from mirg.data.importers.raw import FrameName, ImportOptions
from mirg.errors import ConfigError, DataError, ImageError
from mirg.families import FAMILIES, RELATIVE_MAX, PixelLimits, family
from mirg.frames import Size, input_size
from mirg.geometry import Box

NAMED: tuple[FrameName, ...] = ("fraction", "relative_1000", "pixels")
WORDS: dict[str, str] = {
    "fraction": "fractions (0-1)",
    "relative_1000": f"0-{RELATIVE_MAX}",
    "pixels": "pixels",
    "resized_pixels": "pixels of the resized image",
}

_EDGE = 1.0  # pixels, or units of 0-1000, by which a box may leave the image: rounding
_NONE: frozenset[str] = frozenset()
_ANY: frozenset[str] = frozenset(NAMED)
_FRACTION: frozenset[str] = frozenset({"fraction"})
_RELATIVE: frozenset[str] = frozenset({"relative_1000"})
_PIXELS: frozenset[str] = frozenset({"pixels"})
_BOTH = _RELATIVE | _PIXELS
# Most, and fewest, pixels of an image as documentation and recipes set them: numbers of visual tokens of 28 x 28
# pixels, and squares of round sides. The default limits of the families are tried too.
_OFTEN = tuple(sorted(
    [tokens * 28 * 28 for tokens in (256, 512, 768, 1000, 1024, 1280, 2048, 2560, 4096, 5120)]
    + [side * side for side in (512, 768, 1000, 1024, 2048)]
))  # fmt: skip
_LEAST_OFTEN = (512 * 512, *(tokens * 28 * 28 for tokens in (256, 512, 768, 1000, 1024, 1280)))


def possible(
    numbers: Sequence[float], size: Size | None, others: Iterable[tuple[str, Size | None]] = ()
) -> frozenset[str]:
    """The frames that a box may be in: ``size`` is (width, height) in pixels of its image, None if it is not known.

    ``others`` are names of frames in pixels of a resized image, with its (width, height). Anything of 0-1 with a
    decimal can only be fractions: nobody writes 0-1000 or pixels to less than one.
    """
    x1, y1, x2, y2 = numbers
    top, low = max(numbers), min(numbers)
    if not (low >= -_EDGE and math.isfinite(x1 + y1 + x2 + y2)):  # the sum of anything with NaN is NaN
        return _NONE
    right, lower = max(x1, x2) - _EDGE, max(y1, y2) - _EDGE
    more = {name for name, sides in others if sides and right <= sides[0] and lower <= sides[1]}
    if top <= 1.0:
        return _FRACTION if only_fractions(numbers) else _ANY | more
    fits = top <= RELATIVE_MAX + _EDGE
    inside = size is None or (right <= size[0] and lower <= size[1])
    found = (_BOTH if inside else _RELATIVE) if fits else _PIXELS if inside else _NONE
    return found | more if more else found


def only_fractions(numbers: Sequence[float]) -> bool:
    """Whether finite numbers of a box are all at most 1, and have decimals: they are not pixels, and not 0-1000."""
    return max(numbers) <= 1.0 and any(value != int(value) for value in numbers)


def to_fractions(numbers: Sequence[float], size: Size | None, frame: FrameName, resized: Size | None = None) -> Box:
    """``numbers`` in ``frame`` as fractions of the original image, edges within one unit clipped.

    ``size`` is (width, height) of the original image, ``resized`` of the resized one, in pixels. DataError if boxes in
    pixels are to be converted and that size is not known.
    """
    if frame == "fraction":
        width, height = 1.0, 1.0
    elif frame == "relative_1000":
        width, height = float(RELATIVE_MAX), float(RELATIVE_MAX)
    else:
        sides = size if frame == "pixels" else resized
        if sides is None:
            raise DataError("boxes in pixels need the size of the image", hint="import with --look header")
        width, height = float(sides[0]), float(sides[1])
    x1, y1, x2, y2 = numbers
    box = (x1 / width, y1 / height, x2 / width, y2 / height)
    if frame == "fraction" or (min(box) >= 0.0 and max(box) <= 1.0):
        return box
    right, lower = _EDGE / width, _EDGE / height
    return (_snap(box[0], right), _snap(box[1], lower), _snap(box[2], right), _snap(box[3], lower))


def _snap(value: float, edge: float) -> float:
    if -edge <= value < 0.0:
        return 0.0
    return 1.0 if 1.0 < value <= 1.0 + edge else value


@dataclass(frozen=True)
class Resized:
    """Whose resizing it is: of a family within limits (None: the default ones), behind the loader of a trainer."""

    family: str
    min_pixels: int | None = None
    max_pixels: int | None = None
    trainer: str = ""

    def sides(self, size: Size) -> Size | None:
        """(width, height) of the resized image in pixels; None for an image that is refused."""
        return _sides(self, size)

    @property
    def key(self) -> str:
        """A short name, different for every resizing."""
        return f"resized_pixels {self.option}"

    @property
    def option(self) -> str:
        """What the command line needs to say it."""
        parts = [f"--frame resized_pixels --family {self.family}"]
        parts += [f"--trainer {self.trainer}"] if self.trainer else []
        parts += [f"--min-pixels {self.min_pixels}"] if self.min_pixels else []
        parts += [f"--max-pixels {self.max_pixels}"] if self.max_pixels else []
        return " ".join(parts)


@lru_cache(maxsize=65536)
def _sides(resized: Resized, size: Size) -> Size | None:
    chosen = family(resized.family)
    resize = FORMATS[resized.trainer].resize if resized.trainer else Resize()
    bounds = resize.limits(chosen, resized.min_pixels, resized.max_pixels)
    try:
        return input_size(resize.given(size, chosen, bounds), chosen, resize.processor_limits(chosen, bounds))
    except ImageError:
        return None


def said(options: ImportOptions) -> Resized | None:
    """The resizing that the options name; None without a family that counts in resized pixels.

    ConfigError if they contradict each other.
    """
    least, most = options.min_pixels, options.max_pixels
    if least and most and least > most:
        raise ConfigError(f"--min-pixels {least} is larger than --max-pixels {most}")
    if options.trainer:
        format_of(options.trainer)
    if not options.family:
        if options.frame == "resized_pixels":
            raise ConfigError("--frame resized_pixels needs --family", hint="every family resizes images differently")
        return None
    frame = family(options.family).box_frame
    if frame == "resized_pixels":
        return Resized(options.family, least, most, options.trainer)
    if options.frame == "resized_pixels":
        reason = f"{options.family} does not write pixels of the resized image"
        raise ConfigError(reason, hint=f"its boxes are --frame {frame}")
    return None


def considered(options: ImportOptions) -> tuple[Resized, ...]:
    """The resizings that the boxes of a file are tried on; without a family, those of all that count in such pixels."""
    # Of families that resize images alike, the first one is tried.
    alike: dict[tuple[object, ...], str] = {}
    for name, chosen in FAMILIES.items():
        if chosen.box_frame == "resized_pixels":
            alike.setdefault((chosen.resize, chosen.factor, chosen.limits), name)
    one = said(options)
    names = ([one.family] if one else []) if options.family else list(alike.values())
    least, most = options.min_pixels, options.max_pixels
    limits = [(least, limit) for limit in ((None, *_OFTEN) if most is None else (most,))]
    if least is None and most is None:
        limits += [(limit, None) for limit in _LEAST_OFTEN]
    return tuple(
        Resized(name, low, high, options.trainer)
        for name in names
        for low, high in limits
        if (low or 0) <= (high or low or 0)
    )


def with_note(path: Path, options: ImportOptions) -> ImportOptions:
    """The options, completed by what an export of mirg says about its file. ConfigError if they contradict it."""
    note = note_beside(path)
    if note is None:
        return options
    if family(note.family).axes == "yx":
        reason = f"{path.name} was exported for {note.family}, whose boxes in running text have y first"
        raise ConfigError(
            reason, hint="import the dataset that it was exported from, or export that for another family"
        )
    frame = family(note.family).box_frame
    agreed: dict[str, str | int] = {"frame": frame}
    if frame == "resized_pixels":
        agreed |= {"family": note.family, "min_pixels": note.min_pixels, "max_pixels": note.max_pixels}
        agreed |= {"trainer": note.to} if format_of(note.to).resize.first else {}
    for name in ("frame", "family", "trainer"):
        given = getattr(options, name)
        if given and given not in (agreed.get(name, given), "auto"):
            raise _contradiction(path, f"--{name} {given}", agreed)
    if "max_pixels" in agreed:
        resize = format_of(note.to).resize
        least, most = options.min_pixels or note.min_pixels, options.max_pixels or note.max_pixels
        if resize.limits(family(note.family), least, most) != PixelLimits(note.min_pixels, note.max_pixels):
            raise _contradiction(path, f"--min-pixels {least} --max-pixels {most}", agreed)
    return options.model_copy(update=agreed)


def _contradiction(path: Path, given: str, agreed: dict[str, str | int]) -> ConfigError:
    boxes = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in agreed.items())
    return ConfigError(
        f"{given} contradicts {path.parent / README_FILE}, by which the boxes of {path.name} are {boxes}",
        hint="leave the option out; if the file has been changed since, remove the first lines of README.md",
    )
