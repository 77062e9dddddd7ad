"""The checks of a trajectory, one function each: a reason why it fails, or None (``docs/concepts/trajectories.md``).

A check is a pure function of the sample, the stored trajectory and the settings, so its result is repeatable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from mirg.answers.markup import cited as boxes_in
from mirg.answers.markup import markup_problem
from mirg.answers.prompts import write_completion
from mirg.answers.read import Reading, read
from mirg.errors import MirgError
from mirg.frames import Family, Size, from_frame, to_frame
from mirg.geometry import Box, iou_matrix, match
from mirg.samples.schema import Sample, Target, Trajectory
from mirg.trajectories.chain import (
    BOX_WORD,
    Cited,
    Sentence,
    image_words,
    mentioned,
    mentions,
    normal_words,
    prose_of,
    sentences,
    things_of,
)
from mirg.trajectories.conclusions import conclusion_first, conclusions
from mirg.trajectories.language import Language, language_problem
from mirg.trajectories.leaks import leak
from mirg.trajectories.sizes import sizes_in


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
    language: Language | None = Field(default=None, description="of the thinking: en or de; None: not looked at")


@dataclass(frozen=True)
class Case:
    """The input of a check."""

    sample: Sample
    trajectory: Trajectory
    family: Family
    config: VerifyConfig

    @cached_property
    def parts(self) -> list[Sentence]:
        """The sentences of the thinking."""
        return sentences(self.trajectory.thinking)

    @cached_property
    def allowed_parts(self) -> list[Sentence]:
        """The sentences of the thinking up to ``max_chars``: a longer one is refused for its length anyway."""
        text = self.trajectory.thinking
        return self.parts if len(text) <= self.config.max_chars else sentences(text[: self.config.max_chars])

    @cached_property
    def citations(self) -> list[Cited]:
        """Every box cited in the thinking."""
        return [box for sentence in self.parts for box in sentence.boxes]

    @cached_property
    def prose(self) -> str:
        """The thinking without the numbers of boxes."""
        return prose_of(self.trajectory.thinking)

    @cached_property
    def things(self) -> re.Pattern[str] | None:
        """The labels of the sample."""
        return things_of(self.sample)

    @cached_property
    def named(self) -> frozenset[int]:
        """The images that the question names."""
        return frozenset(mentioned(prose_of(self.sample.question))) | {n for n, _ in boxes_in(self.sample.question)}

    @property
    def n_images(self) -> int:
        """The number of images of the sample."""
        return len(self.sample.images)


_WORD = re.compile(r"\S+")
_BESIDE = (
    *("left of", "right of", "next to", "close to", "beside", "near", "above", "below", "under", "behind", "unlike"),
    *("in front of", "on top of", "opposite", "past", "than", "from"),
)
_BARE_NUMBERS = re.compile(r"[(\[] ?\d{1,9}(?:\.\d{1,9})? ?, ?\d{1,9}(?:\.\d{1,9})? ?[,)\]]")


def grammar(case: Case) -> str | None:
    """The completion that the model would be trained on can be written and reads back as the same answer."""
    thinking = case.trajectory.thinking
    problem = markup_problem(thinking, case.n_images)
    if problem:
        return problem
    if BOX_WORD in thinking:
        return f"the character {BOX_WORD} stands for a box and may not be in the thinking"
    if thinking.count("<box") != len(case.citations) or thinking.count("</box>") != len(case.citations):
        return "a piece of box markup is broken: <box image=N>x1,y1,x2,y2</box> expected"
    bare = _BARE_NUMBERS.search(case.prose)
    if bare:
        return f"coordinates outside of box markup belong to no frame: {bare.group()!r}"
    answer = case.trajectory.answer
    try:
        sizes = sizes_in(case.sample, case.family)
        text = write_completion(thinking, answer, sizes, case.family)
        wanted = [(t.image, _in_frame(t, sizes[t.image - 1], case.family)) for t in answer]
    except MirgError as error:
        return error.message
    return _reads_back(read(text, sizes, case.family), wanted)


def images_exist(case: Case) -> str | None:
    """Every image that the thinking or the answer names is one of the sample's."""
    named = [*mentioned(case.prose), *(c.image for c in case.citations)]
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
    for image in sorted({box.image for box in case.citations}):
        problem = _citation_problem(image, [box for box in case.citations if box.image == image], case)
        if problem:
            return f"Image-{image}: {problem}"
    return None


# "Image-2: no." and "Image-2 no;", but not "Image 2 no longer shows".
_VERDICT = re.compile(r"\bimage[ -](\d{1,9}) ?:? (yes|no)(?= ?[.;,]|\s*$)", re.IGNORECASE | re.MULTILINE)
_CHOICE = re.compile(r"\b(odd|most|fewest|match|answer) ?: ?image[ -](\d{1,9})\b", re.IGNORECASE)
# "Found: red ring Image-1, Image-3", but not the rest of "Found: the ring in Image-1, not in Image-3".
_FOUND = re.compile(r"\bfound ?: ?([^.,;\n]{0,100}(?:, ?image[ -]\d{1,9})*)", re.IGNORECASE)
_NOWHERE = re.compile(r"\b(?:in|on) none of (?:the|these|those|all) (?:\w+ )?images\b", re.IGNORECASE)


def verdicts_agree(case: Case) -> str | None:
    """What the thinking says ("Found: ring Image-2", "Image-1: no", "Odd: Image-3") agrees with its answer."""
    prose = case.prose
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
    for sentence in case.allowed_parts:
        for said in conclusions(image_words(sentence.prose, case.things)):
            if said.number not in (answered if said.certain else answered | case.named):
                return f"the thinking says {said.words!r}, the answer is {_images(answered)}"
    return None


def no_leak(case: Case) -> str | None:
    """Nothing gives away that the writer was shown the truth."""
    pointed = bool(boxes_in(case.sample.question))
    found = leak(case.allowed_parts, case.things, case.named, pointed)
    if found or not case.config.image_level:  # without an image-level part, the conclusion may come first
        return found
    return conclusion_first(case.allowed_parts, case.things, case.named, case.sample.target_images)


def levels(case: Case) -> str | None:
    """The image-level part is there, and comes before the object-level part, which is there where there is a target."""
    first_box = next((k for k, s in enumerate(case.parts) if s.has_box), None)
    first_image = next((k for k, s in enumerate(case.parts) if s.is_image_level), None)
    if case.trajectory.answer and first_box is None:
        return "no object-level part: no box is cited"
    if case.n_images == 1 or not case.config.image_level:
        return _not_cited(case)
    if first_image is None:
        return "no image-level part: no statement about the images"
    if first_box is not None and first_box < first_image:
        return "a box is cited before any statement about the images"
    return _not_cited(case)


def length(case: Case) -> str | None:
    """Neither empty nor endless."""
    text, config = case.trajectory.thinking, case.config
    if len(text) > config.max_chars:
        return f"{len(text)} characters, at most {config.max_chars} allowed"
    words = len(case.prose.split())
    if not config.min_words <= words <= config.max_words:
        return f"{words} words, {config.min_words} to {config.max_words} allowed"
    return None


def repetition(case: Case) -> str | None:
    """No sentence, phrase or word again and again."""
    config = case.config
    same = Counter(sentence.raw.casefold() for sentence in case.parts).most_common(1)
    if same and same[0][1] > config.max_same_sentence:
        return f"one sentence occurs {same[0][1]} times: {same[0][0][:60]!r}"
    text = case.trajectory.thinking.casefold()
    words = text.split()
    run = _longest_run(words)
    if run > config.max_same_word:
        return f"one word occurs {run} times in a row"
    phrases = _most_repeats(_about_images(text), config.phrase_words)
    return f"one phrase occurs {phrases} times" if phrases > config.max_same_phrase else None


def language(case: Case) -> str | None:
    """The thinking is written in the language asked for; labels may be of any."""
    if case.config.language is None:
        return None
    known = {word for note in _labels(case.sample) for word in normal_words(note).split()}
    return language_problem(case.prose, case.config.language, known)


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
    "language": language,
}


def checks_of(config: VerifyConfig) -> dict[str, Callable[[Case], str | None]]:
    """The checks of ``config`` by name: all, except that of the language if none is configured."""
    return {name: check for name, check in CHECKS.items() if name != "language" or config.language is not None}


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


def _in_frame(target: Target, size: Size, family: Family) -> Box:
    """The target's box after rounding to the family's frame, in fractions."""
    return from_frame(to_frame(target.box, size, family), size, family)


def _citation_problem(image: int, boxes: list[Cited], case: Case) -> str | None:
    """What is wrong with the first of ``boxes``, all cited in ``image``, that is not what it is said to be."""
    if not 1 <= image <= case.n_images:
        return "there is no such image"
    notes = [(note.label, note.box) for note in case.sample.images[image - 1].objects]
    complete = bool(notes)
    notes += [(target.label, target.box) for target in case.sample.targets if target.image == image]
    if not notes:
        return None
    # The question may point at a place that has no name; it does not make the image an annotated one.
    notes += [("", box) for number, box in boxes_in(case.sample.question) if number == image]
    called = {label: normal_words(label) for label in _labels(case.sample)}
    for cited, ious in zip(boxes, iou_matrix([c.box for c in boxes], [box for _, box in notes]), strict=True):
        best = float(ious.max())
        if best < case.config.citation_iou:
            return f"a cited box agrees with nothing annotated there (best IoU {best:.2f})"
        names = _called(cited.words_before, called)
        own = [value for value, (label, _) in zip(ious, notes, strict=True) if label.casefold() in names]
        if names and (own or complete) and not any(value >= case.config.citation_iou for value in own):
            return f"what is called {' / '.join(sorted(names))!r} is something else, or is not at the cited box"
    return None


def _labels(sample: Sample) -> set[str]:
    """Every label of the sample, in lower case."""
    labels = {note.label.casefold() for image in sample.images for note in image.objects}
    return (labels | {target.label.casefold() for target in sample.targets}) - {""}


def _called(words: str, labels: Mapping[str, str]) -> set[str]:
    """Which of ``labels`` (with their plain words) ``words`` name.

    A label inside a longer one ("ring") does not count, nor one that only says where something else is ("beside the
    ring it lies at …").
    """
    text = f" {normal_words(words)} "
    for plain in labels.values():
        for before in _BESIDE:
            text = text.replace(f" {before} the {plain} ", " ").replace(f" {before} a {plain} ", " ")
    found = {label for label, plain in labels.items() if plain and f" {plain} " in text}
    return {label for label in found if not any(label != other and label in other for other in found)}


def _not_cited(case: Case) -> str | None:
    """The first box of the answer that the thinking does not cite, or None."""
    for image in sorted({target.image for target in case.trajectory.answer}):
        said = [box.box for box in case.citations if box.image == image]
        ious = iou_matrix(_boxes(case.trajectory.answer, image), said)
        if not said or bool((ious.max(axis=1) < case.config.citation_iou).any()):
            return f"a box of the answer in Image-{image} is not cited in the thinking"
    return None


def _about_images(text: str) -> list[tuple[str, int]]:
    """The words of ``text``, each with the image named last before it: what is said of each image is no repetition."""
    named = mentions(text)
    words: list[tuple[str, int]] = []
    k, current = 0, 0
    for word in _WORD.finditer(text):
        while k < len(named) and named[k].start < word.end():
            current = named[k].number
            k += 1
        words.append((word[0], current))
    return words


def _longest_run(words: list[str]) -> int:
    longest, run, before = 0, 0, None
    for word in words:
        run = run + 1 if word == before else 1
        longest, before = max(longest, run), word
    return longest


def _most_repeats(words: Sequence[Hashable], size: int) -> int:
    """How often the most frequent phrase of ``size`` words occurs, overlaps not counted."""
    counts: Counter[tuple[Hashable, ...]] = Counter()
    last: dict[tuple[Hashable, ...], int] = {}
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
