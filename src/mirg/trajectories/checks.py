"""The checks of a trajectory, one function each: a reason why it fails, or None (``docs/concepts/trajectories.md``).

A check is a pure function of the sample, the stored trajectory and the settings: whoever repeats it gets the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from mirg.answers.markup import markup_problem
from mirg.answers.read import Reading, read
from mirg.answers.write import write_completion
from mirg.errors import MirgError
from mirg.frames import Family, from_frame, to_frame
from mirg.geometry import Box, iou, match
from mirg.samples.schema import Sample, Target, Trajectory
from mirg.trajectories.chain import Cited, Sentence, mentioned, prose_of, sentences
from mirg.trajectories.leaks import leak


class VerifyConfig(BaseModel):
    """Thresholds of the checks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_iou: float = Field(default=0.5, gt=0, le=1, description="of every box of the answer with its target")
    citation_iou: float = Field(default=0.5, gt=0, le=1, description="of a cited box with something annotated")
    min_words: int = Field(default=3, ge=0)
    max_words: int = Field(default=800, ge=1)
    max_chars: int = Field(default=12_000, ge=1)
    max_same_sentence: int = Field(default=2, ge=1, description="times that one sentence may occur")
    max_same_word: int = Field(default=6, ge=1, description="times that one word may occur in a row")
    phrase_words: int = Field(default=10, ge=2, description="length of a phrase whose repetitions are counted")
    max_same_phrase: int = Field(default=3, ge=1)
    image_level: bool = Field(default=True, description="ask for statements about the images before those about boxes")


@dataclass(frozen=True)
class Case:
    """What a check looks at."""

    sample: Sample
    trajectory: Trajectory
    family: Family
    config: VerifyConfig

    @cached_property
    def parts(self) -> list[Sentence]:
        """The sentences of the thinking."""
        return sentences(self.trajectory.thinking)

    @cached_property
    def citations(self) -> list[Cited]:
        """Every box cited in the thinking."""
        return [box for sentence in self.parts for box in sentence.boxes]

    @property
    def n_images(self) -> int:
        """Images of the sample."""
        return len(self.sample.images)


_BARE_NUMBERS = re.compile(r"[(\[] ?\d{1,9}(?:\.\d{1,9})? ?, ?\d{1,9}(?:\.\d{1,9})? ?[,)\]]")


def grammar(case: Case) -> str | None:
    """The completion that the model would be trained on can be written and reads back as the same answer."""
    thinking = case.trajectory.thinking
    problem = markup_problem(thinking, case.n_images)
    if problem:
        return problem
    if thinking.count("<box") != len(case.citations) or thinking.count("</box>") != len(case.citations):
        return "a piece of box markup is broken: <box image=N>x1,y1,x2,y2</box> expected"
    bare = _BARE_NUMBERS.search(prose_of(thinking))
    if bare:
        return f"coordinates outside of box markup belong to no frame: {bare.group()!r}"
    sizes, answer = case.sample.sizes, case.trajectory.answer
    try:
        text = write_completion(thinking, answer, sizes, case.family)
        wanted = [(t.image, _in_frame(t, case)) for t in answer]
    except MirgError as error:
        return error.message
    return _reads_back(read(text, sizes, case.family), wanted)


def images_exist(case: Case) -> str | None:
    """Every image that the thinking or the answer names is one of the sample's."""
    named = [*mentioned(prose_of(case.trajectory.thinking)), *(c.image for c in case.citations)]
    named += [target.image for target in case.trajectory.answer]
    wrong = sorted({number for number in named if not 1 <= number <= case.n_images})
    return f"Image-{wrong[0]} does not exist, there are {case.n_images} images" if wrong else None


def final_image_set(case: Case) -> str | None:
    """The answer names exactly the images that hold a target."""
    named, true = {t.image for t in case.trajectory.answer}, set(case.sample.target_images)
    return None if named == true else f"the answer names {_images(named)}, the truth is {_images(true)}"


def boxes_agree(case: Case) -> str | None:
    """Every box of the answer has its own target in its own image, with IoU of at least ``min_iou``."""
    answer, targets = case.trajectory.answer, case.sample.targets
    if len(answer) != len(targets):
        return f"the answer has {len(answer)} boxes, the truth {len(targets)}"
    for image in sorted(case.sample.target_images | {t.image for t in answer}):
        said, true = _boxes(answer, image), _boxes(targets, image)
        matched = sum(value >= case.config.min_iou for _, _, value in match(said, true))
        if matched < max(len(said), len(true)):
            return f"Image-{image}: {matched} of {max(len(said), len(true))} boxes reach IoU {case.config.min_iou}"
    return None


def citations(case: Case) -> str | None:
    """A box cited in an image with annotation is the box of something there, and of what it is called."""
    for box in case.citations:
        problem = _citation_problem(box, case)
        if problem:
            return f"Image-{box.image}: {problem}"
    return None


# "Image-2: no." and "Image-2 no;", but not "Image 2 no longer shows".
_VERDICT = re.compile(r"\bimage[ -](\d{1,9}) ?:? (yes|no)(?= ?[.;,]|\s*$)", re.IGNORECASE | re.MULTILINE)
_MARKS = re.compile(r"[^\w-]+")
_CHOICE = re.compile(r"\b(odd|most|fewest|match|answer) ?: ?image[ -](\d{1,9})\b", re.IGNORECASE)
# "Found: red ring Image-1, Image-3", but not the rest of "Found: the ring in Image-1, not in Image-3".
_FOUND = re.compile(r"\bfound ?: ?([^.,;\n]{0,100}(?:, ?image[ -]\d{1,9})*)", re.IGNORECASE)
_NOWHERE = re.compile(r"\b(?:in|on) none of (?:the|these|those|all) (?:\w+ )?images\b", re.IGNORECASE)


def verdicts_agree(case: Case) -> str | None:
    """What the thinking says ("Found: ring Image-2", "Image-1: no", "Odd: Image-3") agrees with its answer."""
    prose = prose_of(case.trajectory.thinking)
    answered = {target.image for target in case.trajectory.answer}
    for number, said in _VERDICT.findall(prose):
        if (int(number) in answered) != (said.lower() == "yes"):
            return f"the thinking says Image-{number}: {said.lower()}, the answer is {_images(answered)}"
    for word, number in _CHOICE.findall(prose):
        if int(number) not in answered:
            return f"the thinking says {word}: Image-{number}, the answer is {_images(answered)}"
    for number in (number for said in _FOUND.findall(prose) for number in mentioned(said)):
        if number not in answered:
            return f"the thinking says found: Image-{number}, the answer is {_images(answered)}"
    if answered and _NOWHERE.search(prose):
        return f"the thinking finds it in none of the images, the answer is {_images(answered)}"
    return None


def no_leak(case: Case) -> str | None:
    """Nothing gives away that the writer was shown the truth."""
    return leak(case.parts)


def levels(case: Case) -> str | None:
    """The image-level part is there, and comes before the object-level part, which is there where there is a target."""
    first_box = next((k for k, s in enumerate(case.parts) if s.has_box), None)
    first_image = next((k for k, s in enumerate(case.parts) if s.is_image_level), None)
    if case.trajectory.answer and first_box is None:
        return "no object-level part: no box is cited"
    if case.n_images == 1 or not case.config.image_level:
        return None
    if first_image is None:
        return "no image-level part: no statement about the images"
    if first_box is not None and first_box < first_image:
        return "a box is cited before any statement about the images"
    return None


def length(case: Case) -> str | None:
    """Neither empty nor endless."""
    text, config = case.trajectory.thinking, case.config
    if len(text) > config.max_chars:
        return f"{len(text)} characters, at most {config.max_chars} allowed"
    words = len(prose_of(text).split())
    if not config.min_words <= words <= config.max_words:
        return f"{words} words, {config.min_words} to {config.max_words} allowed"
    return None


def repetition(case: Case) -> str | None:
    """No sentence, phrase or word again and again."""
    config = case.config
    same = Counter(sentence.raw.casefold() for sentence in case.parts).most_common(1)
    if same and same[0][1] > config.max_same_sentence:
        return f"one sentence occurs {same[0][1]} times: {same[0][0][:60]!r}"
    words = case.trajectory.thinking.casefold().split()
    run = _longest_run(words)
    if run > config.max_same_word:
        return f"one word occurs {run} times in a row"
    phrases = _most_repeats(words, config.phrase_words)
    return f"one phrase occurs {phrases} times" if phrases > config.max_same_phrase else None


CHECKS: dict[str, Callable[[Case], str | None]] = {
    "grammar": grammar,
    "images_exist": images_exist,
    "final_image_set": final_image_set,
    "iou": boxes_agree,
    "citations": citations,
    "verdicts": verdicts_agree,
    "no_leak": no_leak,
    "levels": levels,
    "length": length,
    "repetition": repetition,
}


def _reads_back(reading: Reading, wanted: list[tuple[int, Box]]) -> str | None:
    if reading.failure or reading.format_score < 1.0:
        return f"the written completion does not read back: {reading.failure or reading.format_reason}"
    got = [(found.image, found.box) for found in reading.boxes]
    if [image for image, _ in got] != [image for image, _ in wanted] or reading.none != (not wanted):
        return f"the written answer reads back with {len(got)} boxes, {len(wanted)} were written"
    for (image, a), (_, b) in zip(got, wanted, strict=True):
        if any(abs(x - y) > 1e-6 for x, y in zip(a, b, strict=True)):
            return f"the box in Image-{image} reads back as another one"
    return None


def _in_frame(target: Target, case: Case) -> Box:
    """The target's box after rounding to the family's frame, in fractions."""
    size = case.sample.sizes[target.image - 1]
    return from_frame(to_frame(target.box, size, case.family), size, case.family)


def _citation_problem(cited: Cited, case: Case) -> str | None:
    if not 1 <= cited.image <= case.n_images:
        return "there is no such image"
    notes = [(note.label, note.box) for note in case.sample.images[cited.image - 1].objects]
    complete = bool(notes)
    notes += [(target.label, target.box) for target in case.sample.targets if target.image == cited.image]
    if not notes:
        return None
    best = max(iou(cited.box, box) for _, box in notes)
    if best < case.config.citation_iou:
        return f"a cited box agrees with nothing annotated there (best IoU {best:.2f})"
    called = _labels_in(cited.words_before, case.sample)
    own = [box for label, box in notes if label.casefold() in called]
    if called and (own or complete) and not any(iou(cited.box, box) >= case.config.citation_iou for box in own):
        return f"what is called {' / '.join(sorted(called))!r} is something else, or is not at the cited box"
    return None


def _labels_in(words: str, sample: Sample) -> set[str]:
    """Labels of the sample that ``words`` name, in lower case; a label inside a longer one ("ring") does not count."""
    labels = {note.label.casefold() for image in sample.images for note in image.objects}
    labels |= {target.label.casefold() for target in sample.targets}
    text = f" {_MARKS.sub(' ', words.casefold())} "
    found = {label for label in labels if label and f" {label} " in text}
    return {label for label in found if not any(label != other and label in other for other in found)}


def _longest_run(words: list[str]) -> int:
    longest, run, before = 0, 0, None
    for word in words:
        run = run + 1 if word == before else 1
        longest, before = max(longest, run), word
    return longest


def _most_repeats(words: list[str], size: int) -> int:
    """How often the most frequent phrase of ``size`` words occurs, overlaps not counted."""
    counts: Counter[tuple[str, ...]] = Counter()
    last: dict[tuple[str, ...], int] = {}
    for start in range(len(words) - size + 1):
        phrase = tuple(words[start : start + size])
        if start - last.get(phrase, -size) >= size:
            counts[phrase] += 1
            last[phrase] = start
    return max(counts.values(), default=0)


def _boxes(targets: tuple[Target, ...], image: int) -> list[Box]:
    return [target.box for target in targets if target.image == image]


def _images(numbers: set[int]) -> str:
    return ", ".join(f"Image-{n}" for n in sorted(numbers)) or "none"
