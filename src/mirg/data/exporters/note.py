"""What an export says about itself at the top of its README.md, so that `mirg data import` reads its boxes rightly.

Rows of a trainer do not say in which frame their boxes are, and for a family that counts in pixels of the resized image
the frame depends on the pixel limits and on what the trainer does to images first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mirg.data.exporters.plan import Plan

README_FILE = "README.md"
_KEY = "mirg_export: "
_LONGEST = 4096  # characters of a README that are read


class ExportNote(BaseModel):
    """For which trainer and family the texts of ``files`` were written; pixels as :class:`mirg.frames.PixelLimits`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: str
    family: str
    min_pixels: int
    max_pixels: int
    files: tuple[str, ...]


def front_matter(to: str, plan: Plan, files: Sequence[str]) -> str:
    """The lines at the top of a README.md."""
    note = ExportNote(
        to=to,
        family=plan.family.name,
        min_pixels=plan.bounds.min_pixels,
        max_pixels=plan.bounds.max_pixels,
        files=tuple(files),
    )
    return f"---\n{_KEY}{note.model_dump_json()}\n---\n"


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
