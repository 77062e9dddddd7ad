"""Defects planted one at a time in correct replies (``fakes.planted``), and the whole set as a function of a seed.

Every defect names the checks that may find it; ``reply`` means ``read_reply``, which refuses what cannot be read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fakes.foreign import FOREIGN
from fakes.planted import (
    RANKS,
    STYLES,
    Reply,
    correct,
    german,
    label,
    listing,
    notes,
    numbers,
    samples,
    shown,
    spelled,
    true_boxes,
)
from fakes.wordings import (
    FIRST_CONCLUSIONS,
    FIRST_LEAKS,
    FRESH_CONCLUSIONS,
    FRESH_LEAKS,
    HONEST,
    LAST_CONCLUSIONS,
    LAST_LEAKS,
    LATE_CONCLUSIONS,
    LATE_HONEST,
    LATE_LEAKS,
    PUBLISHED_LEAKS,
    SEEN_CONCLUSIONS,
    SEEN_LEAKS,
    UNSEEN_CONCLUSIONS,
    UNSEEN_HONEST,
    UNSEEN_LEAKS,
)
from mirg.geometry import Box, iou
from mirg.samples.schema import Sample


@dataclass(frozen=True)
class Planted:
    """One reply: ``defect`` is "" for a correct one, ``group`` tells wordings seen from those held out."""

    sample: Sample
    text: str
    defect: str
    style: str
    language: str | None = "en"
    group: str = ""
    wording: str = ""


Plant = Callable[[random.Random, Sample, Reply], Reply | None]  # None: this defect does not fit this sample

FEW = 0.35  # the IoU that a shifted box keeps at most; the checks ask for 0.5


def shifted(rng: random.Random, box: Box, others: Sequence[Box]) -> Box:
    """A box of the same size that overlaps ``box`` a little or not, and no other one more."""
    width, height = box[2] - box[0], box[3] - box[1]
    for _ in range(500):
        x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        moved = (x, y, x + width, y + height)
        if all(iou(moved, other) < FEW for other in (box, *others)):
            return moved
    return (0.0, 0.0, 0.03, 0.03) if box[0] > 0.1 else (0.96, 0.96, 1.0, 1.0)


def _all_boxes(sample: Sample, image: int) -> list[Box]:
    return [note.box for note in notes(sample, image)]


def _other_image(rng: random.Random, sample: Sample) -> int | None:
    free = [n for n in numbers(sample) if n not in sample.target_images]
    return rng.choice(free) if free else None


# --- the answer ------------------------------------------------------------------------------------------------------


def wrong_image(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    other = _other_image(rng, sample)
    if other is None or not reply.answer:
        return None
    reply.answer[0] = (other, reply.answer[0][1])
    return reply


def wrong_image_throughout(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    """The chain argues for another image and the answer follows it."""
    other = _other_image(rng, sample)
    objects = notes(sample, other) if other else ()
    if other is None or not objects or len(reply.answer) != 1:
        return None
    box = rng.choice(objects).box
    reply.object_level = [f"In Image-{other} it is at {spelled(rng, box)}."]
    reply.answer = [(other, box)]
    return reply


def shifted_answer(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    if not reply.answer:
        return None
    k = rng.randrange(len(reply.answer))
    image, box = reply.answer[k]
    reply.answer[k] = (image, shifted(rng, box, [b for n, b in reply.answer if n == image]))
    return reply


def shifted_throughout(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    if not reply.answer:
        return None
    image, box = reply.answer[0]
    moved = shifted(rng, box, _all_boxes(sample, image))
    reply.answer[0] = (image, moved)
    reply.object_level[-len(reply.answer) :] = [
        f"In Image-{n} the {label(sample)} is at {spelled(rng, b)}." for n, b in reply.answer
    ]
    return reply


def target_left_out(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    if not reply.answer:
        return None
    del reply.answer[rng.randrange(len(reply.answer))]
    return reply


def one_target_too_many(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    image = rng.choice(numbers(sample))
    objects = _all_boxes(sample, image)
    if not objects:
        return None
    reply.answer.append((image, rng.choice(objects)))
    return reply


# --- the wording -----------------------------------------------------------------------------------------------------


def _worded(rng: random.Random, sample: Sample, wording: str) -> str:
    images = sorted(sample.target_images) or list(numbers(sample))
    image = images[0]
    name = rng.choice((f"Image-{image}", f"Image-{image}", f"image {image}", f"the {RANKS[image - 1]} image"))
    text = wording.format(image=name, label=label(sample))
    return text[0].upper() + text[1:]


def leaking(rng: random.Random, sample: Sample, reply: Reply, wording: str) -> Reply | None:
    """After an image-level statement or among the boxes: anywhere a teacher might let it slip."""
    if "{image}" in wording and not sample.image_hidden:
        return None  # the question names the image: to know it is no secret
    text = _worded(rng, sample, wording)
    parts = reply.object_level if reply.object_level and rng.random() < 0.4 else reply.image_level
    parts.insert(rng.randint(1, len(parts)), text)
    return reply


def concluding(rng: random.Random, sample: Sample, reply: Reply, wording: str) -> Reply | None:
    if not sample.targets or not sample.image_hidden:
        return None  # where the question names the image, to say it first concludes nothing
    reply.image_level.insert(0, _worded(rng, sample, wording))
    return reply


# --- levels ----------------------------------------------------------------------------------------------------------


def no_image_level(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    if not reply.answer:
        return None
    name = label(sample)
    reply.image_level = [
        rng.choice((f"Target: {name}.", f"I look for the {name}.", f"A {name} has a clear outline and colour."))
    ]
    reply.object_level = [f"Box: Image-{n} {name} {spelled(rng, b)}." for n, b in reply.answer]
    return reply


def no_object_level(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    if not reply.answer:
        return None
    reply.object_level = rng.choice(([], [f"The {label(sample)} lies near the middle of it.", "Its outline is clear."]))
    return reply


def other_object_only(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    """Boxes are cited, but not that of the answer."""
    name = label(sample)
    found = [(n, note) for n in numbers(sample) for note in notes(sample, n) if note.label != name]
    found = [(n, note) for n, note in found if all(iou(note.box, b) < FEW for i, b in reply.answer if i == n)]
    if not reply.answer or not found:
        return None
    n, note = rng.choice(found)
    reply.object_level = [f"Image-{n} has the {note.label} {spelled(rng, note.box)}."]
    return reply


def object_level_first(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    if not reply.answer:
        return None
    reply.image_level, reply.object_level = reply.object_level, reply.image_level
    return reply


# --- what is cited ---------------------------------------------------------------------------------------------------


def box_of_another_object(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    """An object is named and another one's box is cited for it."""
    pairs = [
        (n, a.label, b.box)
        for n in numbers(sample)
        for a in notes(sample, n)
        for b in notes(sample, n)
        if a.label != b.label and all(iou(b.box, c.box) < FEW for c in notes(sample, n) if c.label == a.label)
    ]
    if not pairs:
        return None
    n, name, box = rng.choice(pairs)
    form = rng.choice(
        ("In Image-{n} the {name} is at {box}.", "Image-{n} {name} {box}.", "The {name} of Image-{n} takes {box}.")
    )
    reply.object_level.append(form.format(n=n, name=name, box=spelled(rng, box)))
    return reply


def box_of_nothing(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    n = rng.choice([n for n in numbers(sample) if notes(sample, n)])
    name, box = rng.choice([(note.label, note.box) for note in notes(sample, n)])
    empty = shifted(rng, box, _all_boxes(sample, n))
    reply.object_level.append(f"The {name} in Image-{n} is at {spelled(rng, empty)}.")
    return reply


def box_in_another_image(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    """The target's box is cited in an image in whose place there is nothing like it."""
    if not reply.answer:
        return None
    box, name = reply.answer[0][1], label(sample)
    wrong = [
        n for n in numbers(sample)
        if notes(sample, n) and not any(iou(box, b.box) >= FEW and b.label == name for b in notes(sample, n))
    ]  # fmt: skip
    if not wrong:
        return None
    reply.object_level.append(f"In Image-{rng.choice(wrong)} the {name} is at {spelled(rng, box)}.")
    return reply


def contradicting_verdict(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    """The chain decides for another image than the answer."""
    other = _other_image(rng, sample)
    if other is None or not reply.answer:
        return None
    name, true = label(sample), sorted(sample.target_images)[0]
    forms = (
        f"Image-{other}: yes.", f"Image-{true}: no.", f"Found: {name} Image-{other}.", f"Odd: Image-{other}.",
        f"The {name} is in none of the images.", f"So the answer is Image-{other}.",
        f"The target must be in the {RANKS[other - 1]} image.", f"The final answer is image {other}.",
        f"Therefore the correct image is Image-{other}.", f"The match is Image-{other}.",
    )  # fmt: skip
    reply.image_level.append(rng.choice(forms))
    return reply


def fabricated_image(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    n = len(sample.images) + rng.choice((1, 1, 2, 3))
    name = label(sample)
    forms = (
        f"Image-{n} shows a {name} too.", f"The {RANKS[min(n, 10) - 1] if n <= 10 else f'{n}th'} image is darker.",
        f"Images 1 to {n} differ in colour.", f"Images 1, 2 and {n} are alike.", f"In picture {n} there is nothing.",
        f"Photo {n} is a close-up.", "Image-0 is the reference.", f"Compared with image #{n}, it is brighter.",
        f"The object of Image-{n} is at (100,100),(300,300).", f"The {n}th picture adds nothing.",
    )  # fmt: skip
    parts = reply.image_level
    parts.insert(rng.randint(1, len(parts)), rng.choice(forms))
    return reply


# --- form ------------------------------------------------------------------------------------------------------------


def malformed(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    kind = rng.randrange(8)
    if kind == 0:
        reply.between, reply.after = "", ""  # cut in the thinking
        reply.answer = []
        reply.boxes_as_json = True
    elif kind == 1:
        reply.before, reply.between = "", "\n<answer>"  # no thinking block
    elif kind == 2:
        reply.image_level.append("Its centre is near (412, 530).")
    elif kind == 3:
        reply.object_level.append("In Image-1 the edge runs along (700,200),(300,900).")  # inverted
    elif kind == 4:
        reply.after = ", or so it seems</answer>"
        reply.boxes_as_json = False
        reply.answer = []
    elif kind == 5:
        reply.object_level.append("Image-1 ends at (10,10),(1400,1200).")  # outside
    elif kind == 6:
        reply.between, reply.after = "</think>\nIt is on the left.", ""  # words for an answer
        reply.answer = []
    else:
        reply.object_level.append("It spans <box>12, 20</box>.")
    return reply


def too_short(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    reply.image_level, reply.object_level = [rng.choice(("Image-1.", "Yes.", "Image 1!"))], []
    return reply


def too_long(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    words = ("edge", "shade", "corner", "tone", "line", "spot", "fold", "stripe", "gloss", "grain")
    for k in range(70):
        chosen = [rng.choice(words) for _ in range(12)]
        reply.image_level.append(f"Image-{1 + k % len(sample.images)} has a {' and a '.join(chosen)}, {k}.")
    return reply


def looping(rng: random.Random, sample: Sample, reply: Reply) -> Reply | None:
    kind = rng.randrange(3)
    if kind == 0:
        reply.image_level += [f"Image-1 shows {shown(sample, 1)} once more."] * rng.randint(4, 12)
    elif kind == 1:
        reply.image_level.append("It is very " + "very " * rng.randint(8, 40) + "clear.")
    else:
        turn = "and then the edge and the corner and the shade of it and the line below, "
        reply.image_level.append(turn * rng.randint(5, 15) + "which ends.")
    return reply


# --- the set ---------------------------------------------------------------------------------------------------------

DEFECTS: dict[str, tuple[Plant, frozenset[str]]] = {
    plant.__name__: (plant, frozenset(checks.split()))
    for plant, checks in (
        (wrong_image, "final_image_set"),
        (wrong_image_throughout, "final_image_set"),
        (shifted_answer, "iou"),
        (shifted_throughout, "iou citations"),
        (target_left_out, "iou final_image_set"),
        (one_target_too_many, "iou final_image_set"),
        (no_image_level, "levels"),
        (no_object_level, "levels"),
        (other_object_only, "levels"),
        (object_level_first, "levels"),
        (box_of_another_object, "citations"),
        (box_of_nothing, "citations"),
        (box_in_another_image, "citations"),
        (contradicting_verdict, "verdicts"),
        (fabricated_image, "images_exist reply"),
        (malformed, "grammar reply"),
        (too_short, "length"),
        (too_long, "length"),
        (looping, "repetition"),
    )
}
# Wordings by the round in which they were written (``fakes.wordings``); those held out were never learnt from.
WORDED: dict[str, tuple[Callable[..., Reply | None], dict[str, tuple[str, ...]]]] = {
    "leak": (
        leaking,
        {
            "seen": SEEN_LEAKS,
            "first": FIRST_LEAKS,
            "last": LAST_LEAKS,
            "published": PUBLISHED_LEAKS,
            "fresh": FRESH_LEAKS,
            "late": LATE_LEAKS + UNSEEN_LEAKS[::2],
            "held_out": UNSEEN_LEAKS[1::2],
        },
    ),
    "conclusion_first": (
        concluding,
        {
            "seen": SEEN_CONCLUSIONS,
            "first": FIRST_CONCLUSIONS,
            "last": LAST_CONCLUSIONS,
            "fresh": FRESH_CONCLUSIONS,
            "late": LATE_CONCLUSIONS + UNSEEN_CONCLUSIONS[::2],
            "held_out": UNSEEN_CONCLUSIONS[1::2],
        },
    ),
}
HONEST_SEEN, HONEST_HELD_OUT = HONEST + LATE_HONEST + UNSEEN_HONEST[::2], UNSEEN_HONEST[1::2]
MEANT: dict[str, frozenset[str]] = {
    **{name: checks for name, (_, checks) in DEFECTS.items()},
    "leak": frozenset({"no_leak"}),
    "conclusion_first": frozenset({"no_leak"}),
    "other_language": frozenset({"language"}),
}


def planted_set(seed: int, n_correct: int = 600, per_defect: int = 28, per_wording: int = 2) -> list[Planted]:
    """``n_correct`` replies without a defect, and the others with one each."""
    rng = random.Random(seed)
    stream = samples(seed, 1_000_000)
    planted = list(_correct(rng, stream, n_correct))
    for name, (plant, _) in DEFECTS.items():
        planted += [_one(rng, stream, name, plant) for _ in range(per_defect)]
    for name, (plant, groups) in WORDED.items():
        for group, wordings in groups.items():
            planted += [
                _one(rng, stream, name, plant, wording, group) for wording in wordings for _ in range(per_wording)
            ]
    return planted + list(_foreign(rng, stream, per_defect))


def _correct(rng: random.Random, stream: Iterator[Sample], count: int) -> Iterator[Planted]:
    styles = [*STYLES.items(), ("german", german)]
    for k in range(count):
        name, style = styles[k % len(styles)]
        group, honest = (("seen", HONEST_SEEN), ("held_out", HONEST_HELD_OUT))[k // len(styles) % 2]
        sample = next(stream)
        if name == "german":
            yield Planted(sample, german(rng, sample, true_boxes(rng, sample)).text(), "", name, "de", group)
        else:
            reply = correct(rng, sample, style, honest)
            yield Planted(sample, reply.text(), "", name, "en", group, " ".join(reply.honest))


def _one(
    rng: random.Random,
    stream: Iterator[Sample],
    defect: str,
    plant: Callable[..., Reply | None],
    wording: str = "",
    group: str = "",
) -> Planted:
    """The first sample that the defect fits, with it."""
    for sample in stream:
        name = rng.choice(list(STYLES))
        reply = correct(rng, sample, STYLES[name])
        done = plant(rng, sample, reply, wording) if wording else plant(rng, sample, reply)
        if done is not None:
            return Planted(sample, done.text(), defect, name, "en", group, wording)
    raise AssertionError("the stream of samples has no end")


def _foreign(rng: random.Random, stream: Iterator[Sample], count: int) -> Iterator[Planted]:
    """Chains in another language than the one asked for."""
    for k in range(count):
        sample = next(stream)
        if k % 3 == 0:
            reply, language, style = german(rng, sample, true_boxes(rng, sample)), "en", "german"
        elif k % 3 == 1:
            style = rng.choice(("prose", "compared", "careful"))
            reply, language = correct(rng, sample, STYLES[style], ()), "de"
        else:
            style = rng.choice(list(FOREIGN))
            words = FOREIGN[style]
            boxes = true_boxes(rng, sample)
            first = [
                words.shows.format(n=n, what=listing([x.label for x in notes(sample, n)[:6]] or ["-"], ","))
                for n in numbers(sample)
            ]
            last = [words.at.format(n=n, what=label(sample), box=spelled(rng, b)) for n, b in boxes]
            reply = Reply([words.start, *first], last, boxes)
            language = "en"
        if len(reply.thinking.split()) >= 30:
            yield Planted(sample, reply.text(), "other_language", style, language)
