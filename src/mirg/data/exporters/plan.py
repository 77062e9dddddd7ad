"""What one export is to be, what a format says about itself, and what an export says about itself in its README.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from mirg.answers import Instructions, Style
from mirg.answers.looks import LookBudget, split_turns
from mirg.data.exporters.resize import Resize
from mirg.families import Family, PixelLimits
from mirg.frames import Size
from mirg.samples import DatasetCard, Sample


@dataclass(frozen=True)
class Plan:
    """The settings of an export. ``min_pixels`` and ``max_pixels`` bound a resized image; None: as the trainer does.

    ``out`` is the folder as it will be called; ``roots`` are the declared image folders of the source, absolute.
    """

    family: Family
    out: Path
    card: DatasetCard
    roots: dict[str, str] = field(default_factory=dict)
    min_pixels: int | None = None
    max_pixels: int | None = None
    instructions: Instructions = "full"
    style: Style | None = None
    objects: bool = False
    look: LookBudget = field(default_factory=LookBudget)
    resize: Resize = field(default_factory=Resize)

    @property
    def bounds(self) -> PixelLimits:
        """Fewest and most pixels that the trainer is to be set to."""
        return self.resize.limits(self.family, self.min_pixels, self.max_pixels)

    @property
    def limits(self) -> PixelLimits:
        """Those of the model's processor."""
        return self.resize.processor_limits(self.family, self.bounds)

    def given(self, size: Size) -> Size:
        """The size of the image that the trainer gives the processor, for an original of ``size``."""
        return self.resize.given(size, self.family, self.bounds)


@dataclass(frozen=True)
class Row:
    """A sample as a trainer takes it; ``images`` are paths. Texts are empty in formats that show none.

    ``prompt`` has ``<image>`` in the place of each picture, ``messages`` the parts of it (see ``mirg.answers``).
    ``answer`` is the truth as the model should write it; ``completion``, thinking and answer, is None without a
    trajectory. ``record`` is the sample's JSON for rewards, without trajectory but with the model family; its sizes are
    those of the images that the processor is given. ``boxes`` are those behind ``<bbox>`` in prompt and completion, as
    (image, fractions). ``crops`` are those shown between the turns of a completion with looks, as (name, path).
    """

    sample: Sample
    images: tuple[str, ...]
    prompt: str = ""
    messages: list[dict[str, object]] = field(default_factory=list)
    answer: str = ""
    completion: str | None = None
    record: str = ""
    boxes: tuple[tuple[int, tuple[float, float, float, float]], ...] = ()
    prompt_boxes: int = 0
    crops: tuple[tuple[str, str], ...] = ()

    @property
    def turns(self) -> list[str]:
        """The turns of the completion; one if it has no looks."""
        return split_turns(self.completion or "")

    def conversation(self) -> list[dict[str, str]]:
        """Prompt and completion as chat messages of text; a crop is ``<image>`` in a turn of the user."""
        said = [{"role": "user", "content": self.prompt}]
        for k, turn in enumerate(self.turns):
            said += [{"role": "user", "content": f"{self.crops[k - 1][0]}: <image>"}] if k else []
            said.append({"role": "assistant", "content": turn})
        return said

    @property
    def shown(self) -> list[str]:
        """The paths of all images of :meth:`conversation`, in order."""
        return [*self.images, *(path for _, path in self.crops)]


class RowWriter(Protocol):
    """Takes rows one by one and leaves files in the folder that it was opened for."""

    def add(self, row: Row) -> None:
        """Write one row."""
        ...

    def finish(self) -> dict[str, int]:
        """Complete the files; returns how many rows each holds, by name. A file without rows is not left."""
        ...

    def close(self) -> None:
        """Let go of what is open, also after an error."""
        ...


@dataclass(frozen=True)
class Format:
    """One format. ``reserved`` are texts with a meaning for its reader, which samples may not hold.

    ``open`` makes a writer for a folder; ``settings`` gives the settings that its trainer needs, line by line.
    """

    name: str
    open: Callable[[Path, Plan], RowWriter]
    settings: Callable[[Plan], list[str]]
    rendered: bool = True  # rows hold prompts and answers of a family
    upright: bool = True  # its readers ignore the EXIF rotation
    beside: Mapping[str, object] = field(default_factory=dict)  # JSON files of a fixed content
    sft_only: bool = False  # rows without a completion have no place in it
    resize: Resize = field(default_factory=Resize)
    reserved: tuple[str, ...] = ("<image>", "<video>", "<audio>")


README_FILE = "README.md"
_KEY = "mirg_export: "
_LONGEST = 4096  # characters of a README that are read


class ExportNote(BaseModel):
    """For which trainer and family the texts of ``files`` were written; pixels as ``PixelLimits``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: str
    family: str
    min_pixels: int
    max_pixels: int
    files: tuple[str, ...]

    def __str__(self) -> str:
        """The lines at the top of a README.md."""
        return f"---\n{_KEY}{self.model_dump_json()}\n---\n"


def note_beside(file: Path) -> ExportNote | None:
    """What the export that wrote ``file`` says about it; None if no export did."""
    try:
        with (file.parent / README_FILE).open(encoding="utf-8") as stream:
            text = stream.read(_LONGEST)
    except (OSError, UnicodeDecodeError):
        return None
    line = next((line for line in text.splitlines()[1:2] if line.startswith(_KEY)), "")
    try:
        note = ExportNote.model_validate_json(line.removeprefix(_KEY))
    except ValidationError:
        return None
    return note if file.name in note.files else None
