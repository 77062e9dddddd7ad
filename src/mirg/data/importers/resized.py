"""Boxes in pixels of an image as a model family sees it: after its processor, and perhaps a trainer, resized it.

The frame of such boxes depends on the pixel limits, which a file seldom says. Limits that people often set are
therefore tried on its boxes: a limit under which all of them fit is named in the advice, never assumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mirg.data.exporters.build import FORMATS, format_of
from mirg.data.exporters.plan import README_FILE, note_beside
from mirg.data.exporters.resize import Resize
from mirg.data.importers.raw import ImportOptions
from mirg.errors import ConfigError, ImageError
from mirg.frames import FAMILIES, PixelLimits, Size, family, input_size

# Most, and fewest, pixels of an image as documentation and recipes set them: numbers of visual tokens of 28 x 28
# pixels, and squares of round sides. The default limits of the families are tried too.
_OFTEN = tuple(sorted(
    [tokens * 28 * 28 for tokens in (256, 512, 768, 1000, 1024, 1280, 2048, 2560, 4096, 5120)]
    + [side * side for side in (512, 768, 1000, 1024, 2048)]
))  # fmt: skip
_LEAST_OFTEN = (512 * 512, *(tokens * 28 * 28 for tokens in (256, 512, 768, 1000, 1024, 1280)))


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
    if family(options.family).box_frame == "resized_pixels":
        return Resized(options.family, least, most, options.trainer)
    if options.frame == "resized_pixels":
        reason = f"{options.family} does not write pixels of the resized image"
        raise ConfigError(reason, hint="its boxes are --frame relative_1000")
    return None


def considered(options: ImportOptions) -> tuple[Resized, ...]:
    """The resizings that the boxes of a file are tried on; without a family, those of all that count in such pixels."""
    # One family of those that resize images alike stands for all of them.
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
