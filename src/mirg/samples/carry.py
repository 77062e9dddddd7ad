"""Bringing samples of one dataset into another: their images are referred to, or copied."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mirg.errors import ImageError
from mirg.samples.card import size_words
from mirg.samples.folder import DatasetFolder
from mirg.samples.roots import MARK, rooted
from mirg.samples.schema import ImageRef, Sample
from mirg.samples.writer import DatasetWriter

# Which images are copied: those of the dataset's own folder, all, or none; the new rows refer to the others.
Copy = Literal["own", "all", "none"]


class Carrier:
    """Images of ``source`` as images of the dataset that ``target`` writes, each file looked at once."""

    def __init__(self, source: DatasetFolder, target: DatasetWriter, copy: Copy = "none") -> None:
        self.source = source
        self.target = target
        self.copy = copy
        self._done: dict[str, ImageRef] = {}
        self._roots: dict[str, str] = {}

    def carry(self, sample: Sample) -> Sample:
        """The sample with references that hold in the new folder. ImageError, naming it, if a copy is impossible."""
        return sample.model_copy(update={"images": tuple(self.carry_image(ref, sample.id) for ref in sample.images)})

    def carry_image(self, ref: ImageRef, sample_id: str) -> ImageRef:
        """The same for one image of the sample ``sample_id``."""
        own = not ref.path.startswith(MARK)
        if self.copy == "all" or (own and self.copy == "own"):
            return self._copied(ref, sample_id)
        name, _, inside = ("", "", ref.path) if own else ref.path[1:].partition("/")
        if name not in self._roots:
            self.source.image_path(ref, sample_id)  # says which roots there are, if this one is not declared
            folder = self.source.root if own else self.source.roots.declared[name]
            self._roots[name] = self.target.add_root(name or self.source.card.name, folder)
        return ref.model_copy(update={"path": rooted(self._roots[name], inside)})

    def _copied(self, ref: ImageRef, sample_id: str) -> ImageRef:
        if ref.path not in self._done:
            self._done[ref.path] = self.target.add_file(
                self.source.image_path(ref, sample_id), Path(ref.path).stem, size=ref.size if ref.measured else None,
                sample_id=sample_id, limits=self.source.limits,
            )  # fmt: skip
        stored = self._done[ref.path]
        if ref.measured and stored.size != ref.size:  # another row told its size rightly
            raise ImageError(f"sample {sample_id}: image {ref.path} {size_words(stored.size, ref.size)}")
        update = {"path": stored.path, "sha256": stored.sha256, "width": stored.width, "height": stored.height}
        return ref.model_copy(update=update)
