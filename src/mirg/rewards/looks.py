"""Rewards for looks and for grounded thinking, each optional and in [0, 1], beside the total of the other three.

======================  ==============================================================================
``look_image``          share of the looks that name an image with a target or a reference
``look_cover``          share of the targets that lies inside a look which shows at most half of its image
``look_cost``           1 without looks, 0 if all are used
``look_diversity``      share of the budget that is used for looks at different places (ViGoRL)
``grounded``            share of the boxes cited in the thinking that hold
======================  ==============================================================================

A look is different from the earlier ones if its IoU with each of them in its image is at most 0.5. A cited box
(``red ring Image-3 (x1,y1),(x2,y2)``) holds if its IoU with an annotated object of that name is at least 0.5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mirg.answers.blocks import split
from mirg.answers.image_names import LAST, names_in
from mirg.answers.looks import LOOK_BLOCK, Look, LookBudget, found_looks, replay
from mirg.answers.places import ANY_BOX, NUMBER, SENTENCE_END, UNCLEAR, images_of
from mirg.errors import MirgError
from mirg.families import Family, PixelLimits
from mirg.frames import from_frame, swapped
from mirg.geometry import Box, box_problem, iou, share_inside
from mirg.rewards.parts import BEST, Part
from mirg.rewards.trl import RewardFunction, adapted, completion_text
from mirg.samples.coverage import label_key
from mirg.samples.schema import Sample

LARGEST = 0.5  # share of the image that a look may show to count as one that covers a target
SAME = 0.5  # IoU from which two looks are one, and a cited box is the object's
MOST_CITATIONS = 64  # of a thinking that are checked; more come from a loop
_WORDS = re.compile(r"[^\W_]+")
_NUMBERS = re.compile(NUMBER, re.ASCII)


class LookRewards(BaseModel):
    """Weights of these rewards, beside the total of the other three, which is in [0, 1]; 0: the reward is off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    look_image: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Looks name the right images.")
    look_cover: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Targets lie inside a look.")
    look_cost: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Few looks.")
    look_diversity: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Looks at different places.")
    grounded: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Boxes cited in the thinking hold.")

    @property
    def weights(self) -> dict[str, float]:
        """The weights that are not 0, by name."""
        return {name: weight for name, weight in self if weight}


@dataclass(frozen=True)
class Seen:
    """A completion with what its looks became; the input of every part."""

    text: str
    sample: Sample
    family: Family
    budget: LookBudget
    limits: PixelLimits | None = None

    @cached_property
    def named(self) -> list[int]:
        """The image of every look, 0 if it names none."""
        found = found_looks(self.text, self.sample.sizes, self.family, self.limits)
        return [one.look.image if one.look else 0 for one in found]

    @cached_property
    def made(self) -> list[Look]:
        """The looks that were answered with a crop, in order."""
        steps = replay(self.text, self.sample.sizes, self.family, self.budget, self.limits)
        return [step.look for step in steps if step.look and step.refusal is None]


def look_image(seen: Seen) -> Part:
    """The share of the looks that name an image with a target or a reference; 1 if the sample has no such image."""
    references = {k for k, image in enumerate(seen.sample.images, 1) if image.role == "reference"}
    wanted = seen.sample.target_images | references
    if not wanted:
        return BEST
    right = sum(image in wanted for image in seen.named)
    if not seen.named:
        return Part(0.0, "no look")
    return _part(right / len(seen.named), f"{right} of {len(seen.named)} looks are at an image that matters")


def look_cover(seen: Seen) -> Part:
    """The mean share of a target that lies inside one look, over all targets; 1 if there is no target."""
    targets = seen.sample.targets
    if not targets:
        return BEST
    looks = [look for look in seen.made if _area(look.box) <= LARGEST]
    shares = [
        max((share_inside(t.box, look.box) for look in looks if look.image == t.image), default=0.0) for t in targets
    ]
    value = math.fsum(shares) / len(targets)
    return _part(value, f"looks cover {value:.2f} of the targets")


def look_cost(seen: Seen) -> Part:
    """1 without a look, 0 with as many as the budget allows, or more."""
    most, used = max(seen.budget.max_looks, 1), len(seen.named)
    return _part(max(1.0 - used / most, 0.0), f"{used} of {most} looks are used")


def look_diversity(seen: Seen) -> Part:
    """The share of the budget that is used for looks at different places: a repeated look adds 0."""
    different: list[Look] = []
    for look in seen.made:
        if all(old.image != look.image or iou(old.box, look.box) <= SAME for old in different):
            different.append(look)
    most = max(seen.budget.max_looks, 1)
    return _part(len(different) / most, f"{len(different)} looks at different places, of {most}")


def grounded(seen: Seen) -> Part:
    """The share of the citations that hold, 0 without a citation; images without any annotation are not judged."""
    found = citations(split(seen.text).thinking, seen.sample, seen.family, seen.limits)
    verdicts = [
        verdict for cited in islice(found, MOST_CITATIONS) if (verdict := _holds(cited, seen.sample)) is not None
    ]
    if not verdicts:
        return Part(0.0, "no place is cited that can be checked")
    right = sum(verdicts)
    return _part(right / len(verdicts), f"{right} of {len(verdicts)} cited boxes hold")


PARTS: dict[str, Callable[[Seen], Part]] = {
    part.__name__: part for part in (look_image, look_cover, look_cost, look_diversity, grounded)
}


def look_parts(
    text: str, sample: Sample, family: Family, budget: LookBudget, limits: PixelLimits | None = None
) -> dict[str, Part]:
    """Every part of a completion (:func:`mirg.answers.looks.joined` turns) by name: pure, and total on any ``text``."""
    seen = Seen(text, sample, family, budget, limits)
    return {name: part(seen) for name, part in PARTS.items()}


def look_functions(
    rewards: LookRewards, family: Family, budget: LookBudget, limits: PixelLimits | None = None
) -> list[tuple[RewardFunction, float]]:
    """The parts with a weight as functions that TRL takes, for ``plugins`` of :func:`mirg.rewards.reward_functions`.

    Their completions are joined turns. The attribute ``reason`` of each says, for a completion and its sample, why the
    reward is less than 1.
    """

    def function(name: str) -> RewardFunction:
        def part(completion: object, sample: Sample) -> Part:
            return PARTS[name](Seen(completion_text(completion), sample, family, budget, limits))

        what = f"The {name} reward of each completion, in [0, 1]."
        made: Any = adapted(lambda completion, sample: part(completion, sample).value, name, what)
        made.reason = lambda completion, sample: part(completion, sample).reason
        return made

    return [(function(name), weight) for name, weight in rewards.weights.items()]


@dataclass(frozen=True, slots=True)
class Citation:
    """A box cited in a thinking, in fractions of its image, and the words before it in its sentence."""

    image: int
    box: Box
    words: str


def citations(thinking: str, sample: Sample, family: Family, limits: PixelLimits | None = None) -> Iterator[Citation]:
    """The boxes that a thinking cites, in any spelling of the families; looks are no citations. Total and linear.

    A box lies in the image that is named last before it in its sentence, else in the one that the words around it give
    (:mod:`mirg.answers.places`), else in image 0, or in image 1 if it is the only one. ``Image-2a`` is in Image-2.
    """
    text = _CROP.sub(r"\1", LOOK_BLOCK.sub(" ", thinking))
    spans = [match.span() for match in islice(ANY_BOX.finditer(text), MOST_CITATIONS)]
    names = names_in(text)
    done, image = 0, 0
    for (start, end), around in zip(spans, images_of(text, spans, names), strict=True):
        *ended, words = SENTENCE_END.split(text[done:start])
        inside = [name for name in names if start - len(words) <= name.start and name.end <= start]
        name = inside[-1] if inside else around
        if name is not None and name is not UNCLEAR:
            image = len(sample.images) if name.number == LAST else name.number
        elif ended or not image:  # else it is in the image of the box before it in its sentence
            image = int(len(sample.images) == 1)
        yield Citation(image, _fractions(text[start:end], image, sample, family, limits), words)
        done = end


_CROP = re.compile(r"\b(Image-\d{1,9})[a-z]{1,3}\b")
_NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)


def _fractions(spelled: str, image: int, sample: Sample, family: Family, limits: PixelLimits | None) -> Box:
    if not 1 <= image <= len(sample.images):
        return _NOWHERE
    numbers = [float(number) for number in _NUMBERS.findall(spelled)]
    ordered = swapped(numbers) if family.axes == "yx" else numbers
    try:
        return from_frame(ordered, sample.sizes[image - 1], family, limits)
    except MirgError:
        return _NOWHERE


def _holds(cited: Citation, sample: Sample) -> bool | None:
    """Whether a citation agrees with the annotation; None if its image exists and has no annotation."""
    if not 1 <= cited.image <= len(sample.images):
        return False
    notes = [(note.label, note.box) for note in sample.images[cited.image - 1].objects]
    notes += [(target.label, target.box) for target in sample.targets if target.image == cited.image]
    if not notes:
        return None
    if box_problem(cited.box):
        return False
    names = _called(cited.words, sample)
    return any(iou(cited.box, box) >= SAME and (not names or label_key(label) in names) for label, box in notes)


def _called(words: str, sample: Sample) -> set[str]:
    """The labels of the sample that ``words`` name, without one that is part of a longer one ("ring", "red ring")."""
    text = _plain(words)
    found = {label for label in _labels(sample) if _plain(label) in text}
    return {label for label in found if not any(label != other and label in other for other in found)}


def _plain(words: str) -> str:
    return f" {' '.join(_WORDS.findall(words.casefold()))} "


def _labels(sample: Sample) -> set[str]:
    notes = [*(note for image in sample.images for note in image.objects), *sample.targets]
    return {label_key(note.label) for note in notes} - {""}


def _part(value: float, reason: str) -> Part:
    return BEST if value >= 1.0 - 1e-9 else Part(max(value, 0.0), reason)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
