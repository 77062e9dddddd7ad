"""Whether a trajectory may be used for training: every check with its reason (``docs/concepts/trajectories.md``).

A check is one function: it returns a reason why the trajectory fails, or None. It depends only on the sample, the
stored trajectory and the settings, so its result is repeatable from the stored text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import groupby

from pydantic import Field

from mirg.answers.looks import crop_name
from mirg.answers.markup import cited as boxes_in
from mirg.answers.markup import markup_problem
from mirg.answers.places import NEGATION
from mirg.answers.prompts import write_completion
from mirg.answers.read import read
from mirg.config import Section
from mirg.errors import ConfigError, MirgError, PluginError
from mirg.families import Family
from mirg.families import family as family_named
from mirg.frames import from_frame, to_frame
from mirg.geometry import Box, iou_matrix, match
from mirg.plugins import load_plugin, plugin_errors
from mirg.samples.schema import Sample, Target, Trajectory
from mirg.samples.tokens import sizes_in
from mirg.trajectories.chain import (
    BOX_WORD,
    Cited,
    image_words,
    mentioned,
    mentions,
    normal_words,
    prose_of,
    sentences,
    things_of,
)
from mirg.trajectories.language import Language, language_problem
from mirg.trajectories.looks import Place, shown
from mirg.trajectories.phrases import conclusion_first, conclusions, leak


class VerifyConfig(Section):
    """Thresholds of the checks."""

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
    checks: tuple[str, ...] = Field(default=(), description="your own checks, FILE.py:NAME, besides those of mirg")


DEFAULT = VerifyConfig()
# The finest frame that does not depend on the size of the image; a coarser one would move small boxes.
DEFAULT_FAMILY = "qwen3-vl"


def _made(thinking: str) -> dict[str, tuple[Place, int]]:
    """The crops of the looks of a chain by their names, with the end of each look in the chain."""
    made: dict[str, tuple[Place, int]] = {}
    counts: Counter[int] = Counter()
    end = 0
    for image, box in boxes_in(thinking, "look"):
        counts[image] += 1
        end = thinking.find("</look>", end) + len("</look>")
        made[crop_name(image, counts[image])] = (image, box), end
    return made


class Case:
    """The input of a check, and what several checks read from it.

    ``parts`` are the sentences of the thinking, ``citations`` the boxes cited in them, ``prose`` is the thinking
    without the numbers of boxes and without looks, whose crops are ``crops`` by name. ``things`` are the labels of the
    sample, ``named`` the images that its question names.
    """

    def __init__(self, sample: Sample, trajectory: Trajectory, family: Family, config: VerifyConfig) -> None:
        self.sample, self.trajectory, self.family, self.config = sample, trajectory, family, config
        thinking = trajectory.thinking
        self.parts = sentences(thinking)
        # A longer thinking is refused for its length anyway.
        self.allowed_parts = (
            self.parts if len(thinking) <= config.max_chars else sentences(thinking[: config.max_chars])
        )
        self.citations = [box for sentence in self.parts for box in sentence.boxes]
        self.prose = prose_of(thinking)
        self.crops = _made(thinking)
        self.things = things_of(sample)
        self.named = frozenset([*mentioned(prose_of(sample.question)), *(n for n, _ in boxes_in(sample.question))])
        self.n_images = len(sample.images)
        self.answered = {target.image for target in trajectory.answer}


_BESIDE = (
    *("left of", "right of", "next to", "close to", "beside", "near", "above", "below", "under", "behind", "unlike"),
    *("in front of", "on top of", "opposite", "past", "than", "from"),
)
_BARE_NUMBERS = re.compile(r"[(\[] ?\d{1,9}(?:\.\d{1,9})? ?, ?\d{1,9}(?:\.\d{1,9})? ?[,)\]]")


def grammar(case: Case) -> str | None:
    """The completion that the model would be trained on can be written and reads back as the same answer."""
    thinking, answer, family = case.trajectory.thinking, case.trajectory.answer, case.family
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
    try:
        sizes = sizes_in(case.sample, family)
        text = write_completion(thinking, answer, sizes, family)
        framed = [(to_frame(target.box, sizes[target.image - 1], family), target.image) for target in answer]
        wanted = [(image, from_frame(numbers, sizes[image - 1], family)) for numbers, image in framed]
    except MirgError as error:
        return error.message
    reading = read(text, sizes, family, looks=True)
    if reading.failure or reading.format_score < 1.0:
        return f"the written completion does not read back: {reading.failure or reading.format_reason}"
    got = [(found.image, found.box) for found in reading.boxes]
    if [image for image, _ in got] != [image for image, _ in wanted] or reading.none != (not wanted):
        return f"the written answer reads back with {len(got)} boxes, {len(wanted)} were written"
    for (image, a), (_, b) in zip(got, wanted, strict=True):
        if any(abs(x - y) > 1e-6 for x, y in zip(a, b, strict=True)):
            return f"the box in Image-{image} reads back as another one"
    return None


def images_exist(case: Case) -> str | None:
    """Every image that the thinking or the answer names is one of the sample's, or the crop of an earlier look."""
    named = {*mentioned(case.prose), *(box.image for box in case.citations), *case.answered}
    wrong = sorted(number for number in named if not 1 <= number <= case.n_images)
    if wrong:
        return f"Image-{wrong[0]} does not exist, there are {case.n_images} images"
    for crop in _CROP.finditer(case.trajectory.thinking):
        _, made = case.crops.get(crop[0], (None, len(case.trajectory.thinking)))
        if crop.start() < made:
            return f"{crop[0]} is a crop, but no look before it has made it"
    return None


def final_image_set(case: Case) -> str | None:
    """The answer names exactly the images that hold a target."""
    true = set(case.sample.target_images)
    if case.answered == true:
        return None
    return f"the answer names {_images(case.answered)}, the truth is {_images(true)}"


def iou(case: Case) -> str | None:
    """Every box of the answer has its own target in its own image, with IoU of at least ``min_iou``."""
    answer, targets = case.trajectory.answer, case.sample.targets
    if len(answer) != len(targets):
        return f"the answer has {len(answer)} boxes, the truth {len(targets)}"
    for image in sorted(case.sample.target_images | case.answered):
        said, true = _boxes(answer, image), _boxes(targets, image)
        matched = sum(value >= case.config.min_iou for _, _, value in match(said, true))
        if matched < max(len(said), len(true)):
            return f"Image-{image}: {matched} of {max(len(said), len(true))} boxes reach IoU {case.config.min_iou}"
    return None


def citations(case: Case) -> str | None:
    """A box cited in an image with annotation is the box of something there, and of what it is called.

    What is said to be, or not to be, in the crop of a look agrees with the annotation, too.
    """
    for sentence in case.parts:
        names = {crop[0] for crop in _CROP.finditer(sentence.prose)} & case.crops.keys()
        if len(names) == 1 and (problem := _crop_problem(sentence.prose, names.pop(), case)):
            return problem
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


def verdicts(case: Case) -> str | None:
    """What the thinking says ("Found: ring Image-2", "Image-1: no", "Odd: Image-3") agrees with its answer."""
    prose, answered = case.prose, case.answered
    answer = f", the answer is {_images(answered)}"
    for number, said in _VERDICT.findall(prose):
        if (int(number) in answered) != (said.lower() == "yes"):
            return f"the thinking says Image-{number}: {said.lower()}{answer}"
    chosen = [(word, int(number)) for word, number in _CHOICE.findall(prose)]
    chosen += [("found", number) for said in _FOUND.findall(prose) for number in mentioned(said)]
    for word, number in chosen:
        if number not in answered:
            return f"the thinking says {word}: Image-{number}{answer}"
    if answered and _NOWHERE.search(prose):
        return f"the thinking finds it in none of the images{answer}"
    for sentence in case.allowed_parts:
        for found in conclusions(image_words(sentence.prose, case.things)):
            if found.number not in (answered if found.certain else answered | case.named):
                return f"the thinking says {found.words!r}{answer}"
    return None


# A box that is drawn in an image, as in "the object marked with a red bounding box".
_POINTS = re.compile(
    r"\b(?:marked|highlighted|outlined|framed|indicated) (?:\w+ ){0,4}(?:box|rectangle|frame)\b", re.IGNORECASE
)


def no_leak(case: Case) -> str | None:
    """Nothing gives away that the writer was shown the truth."""
    points = bool(boxes_in(case.sample.question) or _POINTS.search(case.sample.question))
    found = leak(case.allowed_parts, case.things, case.named, points)
    if found or not case.config.image_level:  # without an image-level part, the conclusion may come first
        return found
    return conclusion_first(case.allowed_parts, case.things, case.named, case.sample.target_images)


def levels(case: Case) -> str | None:
    """The image-level part is there, and comes before the object-level part, which exists if there is a target.

    A box that is read off the crop of a look may come before, because the look has chosen its image.
    """
    first_box = next((k for k, s in enumerate(case.parts) if s.has_box and not _CROP.search(s.prose)), None)
    first_image = next((k for k, s in enumerate(case.parts) if s.is_image_level), None)
    if case.answered and not case.citations:
        return "no object-level part: no box is cited"
    if case.n_images > 1 and case.config.image_level:
        if first_image is None:
            return "no image-level part: no statement about the images"
        if first_box is not None and first_box < first_image:
            return "a box is cited before any statement about the images"
    for image in sorted(case.answered):
        said = [box.box for box in case.citations if box.image == image]
        ious = iou_matrix(_boxes(case.trajectory.answer, image), said)
        if not said or bool((ious.max(axis=1) < case.config.citation_iou).any()):
            return f"a box of the answer in Image-{image} is not cited in the thinking"
    return None


def length(case: Case) -> str | None:
    """Neither empty nor endless."""
    config, characters, words = case.config, len(case.trajectory.thinking), len(case.prose.split())
    if characters > config.max_chars:
        return f"{characters} characters, at most {config.max_chars} allowed"
    if not config.min_words <= words <= config.max_words:
        return f"{words} words, {config.min_words} to {config.max_words} allowed"
    return None


def repetition(case: Case) -> str | None:
    """No sentence, phrase or word again and again."""
    config, text = case.config, case.trajectory.thinking.casefold()
    (sentence, _), times = _most_frequent_sentence(case)
    if times > config.max_same_sentence:
        return f"one sentence occurs {times} times: {sentence[:60]!r}"
    run = max((len(list(equal)) for _, equal in groupby(text.split())), default=0)
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


Check = Callable[[Case], str | None]
CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        *(grammar, images_exist, final_image_set, iou, citations, verdicts, no_leak, levels, length, repetition),
        language,
    )
}


def checks_of(config: VerifyConfig) -> dict[str, Check]:
    """The checks of ``config`` by name: all, except that of the language if none is configured, and its plug-ins.

    Raises ConfigError if a plug-in does not exist or its name is taken, PluginError if its file cannot be loaded.
    """
    chosen = {name: check for name, check in CHECKS.items() if name != "language" or config.language is not None}
    for plugin in config.checks:
        function, label = load_plugin(plugin, what=_PLUGIN), plugin.rpartition(":")[2]
        if not callable(function):
            raise ConfigError(f"the {_PLUGIN} {plugin} is not a function but {type(function).__name__}")
        if label in chosen or label in CHECKS:
            raise ConfigError(f"there are two trajectory checks {label!r}", hint="give the function another name")
        chosen[label] = _plugin_check(plugin, function)
    return chosen


_PLUGIN = "trajectory check"


def _plugin_check(plugin: str, function: Callable[[Sample, Trajectory], object]) -> Check:
    def check(case: Case) -> str | None:
        with plugin_errors(plugin, what=_PLUGIN):
            reason = function(case.sample, case.trajectory)
        if reason is None or (isinstance(reason, str) and reason):
            return reason
        raise PluginError(
            f"sample {case.sample.id}: the {_PLUGIN} {plugin} returned {reason!r}",
            hint="return a text that says why the trajectory fails, or None if it passes",
        )

    check.__doc__ = function.__doc__
    return check


def verify(
    sample: Sample,
    trajectory: Trajectory,
    *,
    family: Family | str = DEFAULT_FAMILY,
    config: VerifyConfig = DEFAULT,
) -> dict[str, str | None]:
    """The result of each check by its name: why the trajectory fails it, or None. The order is that of :data:`CHECKS`.

    Never raises on any sample and trajectory, except for errors of plug-ins (see :func:`checks_of`); time is linear in
    the length of the thinking. ``family`` says in which frame the completion of the grammar check is written
    (ConfigError for an unknown name).
    """
    case = Case(sample, trajectory, family_named(family) if isinstance(family, str) else family, config)
    return {name: check(case) for name, check in checks_of(config).items()}


def failures(results: Mapping[str, str | None]) -> dict[str, str]:
    """The checks that are not passed, with the reasons; empty means that the trajectory may be kept."""
    return {name: reason for name, reason in results.items() if reason is not None}


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


_CROP = re.compile(r"\bImage-(\d{1,9})([a-z]{1,3})\b")


def _crop_problem(prose: str, name: str, case: Case) -> str | None:
    """What is wrong with what a sentence says about the crop ``name``; names before a negation are said to be in it."""
    place, _ = case.crops[name]
    if not 1 <= place[0] <= case.n_images or not case.sample.images[place[0] - 1].objects:
        return None
    inside = {label.casefold() for label in shown(case.sample, *place)}
    called = {label: normal_words(label) for label in _labels(case.sample)}
    said, denied, rest = prose.partition(found[0]) if (found := NEGATION.search(prose)) else (prose, "", "")
    if missing := sorted(_called(said, called) - inside):
        return f"{name} is said to show {missing[0]!r}, which is not annotated there"
    if denied and (there := sorted(_called(rest, called) & inside)):
        return f"{name} is said not to show {there[0]!r}, which is annotated there"
    return None


def _labels(sample: Sample) -> set[str]:
    """Every label of the sample, in lower case."""
    notes = [*(note for image in sample.images for note in image.objects), *sample.targets]
    return {note.label.casefold() for note in notes} - {""}


def _called(words: str, labels: Mapping[str, str]) -> set[str]:
    """Which of ``labels`` (with their plain words) ``words`` name.

    A label inside a longer one ("ring") does not count, nor one that only locates something else ("beside the
    ring it lies at …").
    """
    text = f" {normal_words(words)} "
    for plain in labels.values():
        for before in _BESIDE:
            text = text.replace(f" {before} the {plain} ", " ").replace(f" {before} a {plain} ", " ")
    found = {label for label, plain in labels.items() if plain and f" {plain} " in text}
    return {label for label in found if not any(label != other and label in other for other in found)}


def _most_frequent_sentence(case: Case) -> tuple[tuple[str, int], int]:
    """The sentence, the image named last before it or in it, and how often it occurs about this image."""
    counts: Counter[tuple[str, int]] = Counter({("", 0): 0})
    current = 0
    for sentence in case.parts:
        current = next(iter(reversed(mentioned(sentence.prose))), current)
        counts[sentence.raw.casefold(), current] += 1
    return counts.most_common(1)[0]


def _about_images(text: str) -> list[tuple[str, int]]:
    """The words of ``text``, each with the image named last before it: what is said of each image is no repetition."""
    named = mentions(text)
    words: list[tuple[str, int]] = []
    k, current = 0, 0
    for word in re.finditer(r"\S+", text):
        while k < len(named) and named[k].start < word.end():
            current = named[k].number
            k += 1
        words.append((word[0], current))
    return words


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
