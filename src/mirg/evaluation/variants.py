"""Variants of a dataset for robustness runs: what is asked stays the same, how the images are presented changes.

A variant takes samples and gives them back with the same ids, with another order of the images, with more images, or
with images of another size. A sample for which the change is not safe is left out with a reason. Each change is a pure
function of the sample, the dataset and the seed.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mirg.answers.image_order import in_new_order, speaks_of_order
from mirg.errors import ConfigError, ImageError
from mirg.evaluation.records import MASK, question_form
from mirg.samples import DatasetFolder, ImageRef, Sample
from mirg.samples.card import size_words
from mirg.samples.folder import ImageCheck, OnReject
from mirg.samples.reorder import reordered

if TYPE_CHECKING:
    from PIL import Image

MOST_DISTRACTORS = 64
MOST_SCALE = 8.0
VERSION = 1  # part of the key of every row: changes whenever some sample would be changed in another way
_TRIES = 200  # images looked at for each distractor

Change = Callable[[Sample], Sample | str]  # the changed sample, or why it is left out


@dataclass(frozen=True)
class Variant:
    """One change: ``kind`` permute, distractors or rescale, with the number of distractors or the factor."""

    kind: str
    value: float = 0.0

    @property
    def name(self) -> str:
        """The name of its folder, such as ``rescale-0.5``."""
        return f"{self.kind}-{self.value:g}" if self.value else self.kind

    def change(self, samples: Sequence[Sample], seed: int) -> Change:
        """The change of one sample; ``samples`` are those of the whole dataset, which give the distractors."""
        if self.kind == "permute":
            return lambda sample: permuted(sample, seed)
        if self.kind == "rescale":
            return lambda sample: rescaled(sample, self.value)
        return Distractors(samples, int(self.value), seed).added


def variants(permute: bool, distractors: int | None, rescale: float | None) -> list[Variant]:
    """The variants that the options name; :class:`ConfigError` if a number is out of range."""
    if distractors is not None and not 1 <= distractors <= MOST_DISTRACTORS:
        raise ConfigError(f"{distractors} distractors", hint=f"add 1 to {MOST_DISTRACTORS} images to every sample")
    if rescale is not None and not (0.0 < rescale <= MOST_SCALE and rescale != 1.0):
        raise ConfigError(f"images cannot be rescaled by {rescale:g}", hint=f"above 0, at most {MOST_SCALE:g}, not 1")
    found = [Variant("permute")] if permute else []
    found += [] if distractors is None else [Variant("distractors", distractors)]
    return found + ([] if rescale is None else [Variant("rescale", rescale)])


class VariantFolder(DatasetFolder):
    """The changed ``rows`` (with their lines in the file) of ``dataset``. Nothing is written; the files are the same.

    ``samples`` are those of the whole dataset, which give the distractors.
    """

    def __init__(
        self,
        dataset: DatasetFolder,
        rows: Sequence[tuple[int, Sample]],
        variant: Variant,
        samples: Sequence[Sample],
        seed: int,
    ) -> None:
        super().__init__(dataset.root, dataset.card, dataset.limits)
        self.settings = {"kind": variant.kind, "value": variant.value, "seed": seed, "version": VERSION}
        self._factor = variant.value if variant.kind == "rescale" else 1.0
        change = variant.change(samples, seed)
        changes = [(row, sample, change(sample)) for row, sample in rows]
        self.changed_rows = [(row, new) for row, _, new in changes if isinstance(new, Sample)]
        self._left_out = [(row, sample, why) for row, sample, why in changes if isinstance(why, str)]

    def numbered(
        self, on_reject: OnReject | None = None, *, images: ImageCheck = "none"
    ) -> Iterator[tuple[int, Sample]]:
        """The changed samples; those that are left out go to ``on_reject``. ``images`` is ignored."""
        if on_reject is not None:
            for row, sample, why in self._left_out:
                on_reject(self.rejection(row, sample, "left out", why))
        yield from self.changed_rows

    def left_out_words(self) -> list[str]:
        """How many samples are left out for each reason, as sentences."""
        counts = Counter(why for _, _, why in self._left_out).most_common()
        total = len(self._left_out) + len(self.changed_rows)
        return [f"{count:,} of {total:,} samples are left out, each because {why}" for why, count in counts]

    def open_image(self, ref: ImageRef, sample_id: str | None = None) -> Image.Image:
        """The resized pixels of ``ref``, whose size is the new one; ImageError as in the class above."""
        from PIL import Image

        if self._factor == 1.0:
            return super().open_image(ref, sample_id)
        image = super().open_image(ref.model_copy(update={"width": 0, "height": 0}), sample_id)
        size = _scaled(image.size, self._factor)
        owner = f"sample {sample_id}: " if sample_id else ""
        if ref.measured and size != ref.size:
            raise ImageError(f"{owner}image {ref.path} rescaled {size_words(size, ref.size)}")
        if size[0] * size[1] > self.limits.max_pixels:
            words = f"rescaled to {size[0]} x {size[1]} has more than {self.limits.max_pixels:,} pixels"
            raise ImageError(f"{owner}image {ref.path} {words}", hint="use a smaller factor")
        return image.resize(size, Image.Resampling.BICUBIC)


def permuted(sample: Sample, seed: int) -> Sample | str:
    """The images in a random order in which none keeps its place; question, targets and roles follow."""
    count = len(sample.images)
    if count < 2:
        return "it has one image, which has no other order"
    if _is_sequence(sample):
        return "its images are a sequence, whose order means something"
    rng = random.Random(f"permute {seed} {sample.id}")
    numbers = list(range(1, count + 1))
    order = numbers
    while any(old == new for old, new in zip(numbers, order, strict=True)):
        order = rng.sample(numbers, count)
    question = in_new_order(sample.question, {old: new for new, old in enumerate(order, 1)})
    if question is None or speaks_of_order(question_form(sample)):
        return "its question speaks of the order of the images in words that cannot be rewritten safely"
    return reordered(sample, order).model_copy(update={"question": question})


def rescaled(sample: Sample, factor: float) -> Sample | str:
    """The sizes of the images times ``factor``; boxes are fractions and stay."""
    images = []
    for ref in sample.images:
        width, height = _scaled(ref.size, factor) if ref.measured else (0, 0)
        images.append(ref.model_copy(update={"width": width, "height": height}))
    return sample.model_copy(update={"images": tuple(images), "trajectory": None})


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    width, height = (max(1, round(side * factor)) for side in size)
    return width, height


# --- distractors -----------------------------------------------------------------------------------------------------

_PLURAL = r"(?:images|pictures|photos|photographs|views|frames)"
# A question that says something about all images is another one if there are more of them.
_ABOUT_ALL = re.compile(
    rf"""\b(?:all|both|two|three|four|five|six|seven|eight|\d+)\s+(?:of\s+)?(?:the\s+|these\s+)?(?:other\s+)?{_PLURAL}
    |\b(?:each|every|no)\s+(?:other\s+)?(?:of\s+(?:the|these)\s+)?(?:image|picture|photo|photograph|view|frame)
    |(?<!\bin\s)(?<!\bof\s)(?<!from\s)(?<!among\s)(?<!through\s)\b(?:the|these)\s+{_PLURAL}
    |\b(?:common|share[sd]?|shared|same|differ\w*|compar\w+|chang\w+|alter\w*|missing|lack\w*|odd|rest|count\w*|how\s+many
    |counterpart|last|most|more|fewest|fewer|less|least|than|(?:larg|small|great|high|low|bigg|near|clos)est)\b""",
    re.IGNORECASE | re.VERBOSE,
)
# Relations in which the answer is a thing like the one that the question shows, so that its label finds all of them.
_BY_LABEL = ("same_object", "same_category")
Words = frozenset[str]


class _Shown(NamedTuple):
    """An image of the dataset, the image set of its sample, and the words of every label known in it."""

    ref: ImageRef
    image_set: str
    labels: set[Words]


class Distractors:
    """Images of other samples, ``count`` for each sample, appended to its own images so that these keep their numbers.

    A distractor comes from another image set, is not one of the sample's files, and holds no object with the label that
    the sample asks for, as far as the dataset says: every label (targets, object notes, ``meta["subject"]`` of a sample
    with targets) whose words contain those asked for, or are contained in them, excludes an image. An object that
    nobody annotated is not noticed.
    """

    def __init__(self, samples: Sequence[Sample], count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        shown: dict[str, _Shown] = {}
        for sample in samples:
            for number, ref in enumerate(sample.images, 1):
                found = shown.setdefault(ref.path, _Shown(ref, sample.image_set, set()))
                targets = [target.label for target in sample.targets if target.image == number]
                subject = [sample.meta.get("subject")] if targets else []
                labels = [*targets, *subject, *(note.label for note in ref.objects)]
                found.labels.update(words for label in labels if (words := _words(label)))
        self._pool = list(shown.values())

    def added(self, sample: Sample) -> Sample | str:
        """The sample with the distractors after its images, or why there can be none."""
        if _is_sequence(sample):
            return "its images are a sequence, to which no other image belongs"
        if _ABOUT_ALL.search(question_form(sample)):
            return "its question compares the images or speaks about all of them"
        wanted = _wanted(sample)
        if wanted is None:
            return "it does not name the requested object, so that another image might show it too"
        chosen = self._choose(sample, wanted)
        if len(chosen) < self._count:
            return f"only {len(chosen)} images of other samples are known not to show the requested object"
        images = (*sample.images, *(ref.model_copy(update={"role": "distractor", "frame": None}) for ref in chosen))
        meta = {**sample.meta, "image_set": sample.image_set}
        return sample.model_copy(update={"images": images, "meta": meta, "trajectory": None})

    def _choose(self, sample: Sample, wanted: Sequence[Words]) -> list[ImageRef]:
        rng = random.Random(f"distractors {self._seed} {sample.id}")
        own = {key for ref in sample.images for key in (ref.path, ref.sha256)} - {None}
        chosen: list[ImageRef] = []
        for place in rng.sample(range(len(self._pool)), min(len(self._pool), _TRIES * self._count)):
            ref, image_set, labels = self._pool[place]
            known = ref.path in own or ref.sha256 in own or image_set == sample.image_set
            if known or any(a <= b or b <= a for a in wanted for b in labels):
                continue
            chosen.append(ref)
            own |= {ref.path, ref.sha256} - {None}
            if len(chosen) == self._count:
                break
        return chosen


def _wanted(sample: Sample) -> list[Words] | None:
    """The words of every label that a distractor must not have; None if that does not make it safe."""
    labels = [*(target.label for target in sample.targets), sample.meta.get("subject"), sample.meta.get("mark")]
    wanted = [words for label in labels if (words := _words(label))]
    if not sample.image_hidden and sample.targets:
        return wanted  # the question names the image, so that no other one can be meant
    named = MASK in question_form(sample) or any(t.label and t.label in sample.question for t in sample.targets)
    return wanted if wanted and (named or sample.relation in _BY_LABEL) else None


def _words(label: object) -> Words:
    """The words of a label without articles."""
    found = re.findall(r"\w+", label.casefold()) if isinstance(label, str) else ()
    return frozenset(found) - {"a", "an", "the"}


def _is_sequence(sample: Sample) -> bool:
    return any(image.frame is not None or image.role == "frame" for image in sample.images)
