"""Looks in the chains of the rules: the model looks again at what is too small to be recognised at first.

A chain searches: it looks at the small objects that may be the target, image by image and from left to right, says
after each look what the crop shows, by the annotation, and stops when it has seen the target. If the image of the
target is known, it looks only there. Chains of samples without small targets are unchanged.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from mirg.answers.looks import crop_name
from mirg.answers.markup import cited, look_markup
from mirg.geometry import Box, share_inside
from mirg.samples.coverage import INCOMPLETE, label_key
from mirg.samples.schema import ImageRef, Sample, Trajectory
from mirg.trajectories.chain import BOX_WORD, mentioned, prose_of, sentence_spans
from mirg.trajectories.english import Name
from mirg.trajectories.voice import Voice, kinds_of
from mirg.trajectories.writer import subject

SMALL = 0.01  # share of the image; a chain looks at targets up to this size
ZOOM = (2.5, 4.0)  # sides of a look in sides of the object
LEAST = 0.12  # side of a look, as a share of that of the image
MARGIN = 0.02  # around the object, more than the rounding of any frame
READ_OFF = 0.5  # share of an object that a crop must show to show it
ODD = "odd_one_out"  # the task that is only decided when all images have been seen
WHOLE = frozenset({"counting", "reasoning"})  # tasks whose image is found by numbers or sizes, not by looks

Place = tuple[int, Box]  # an image and the box of a look in it, or of an object in it
# sample, most looks, source of chance -> looks at what the question points at, those that search, and those at targets
# that the search has not shown, each in order
Places = Callable[[Sample, int, random.Random], tuple[list[Place], list[Place], list[Place]]]
# sample, image, name of the crop, box of the look -> the sentence after a look
Words = Callable[[Sample, int, str, Box], str]


def _around(box: Box, rng: random.Random) -> Box:
    """A look that shows ``box`` at some place inside it, not always in the middle."""
    sides = [_side(box[k], box[k + 2], rng) for k in (0, 1)]
    return (sides[0][0], sides[1][0], sides[0][1], sides[1][1])


def with_looks(
    trajectory: Trajectory,
    sample: Sample,
    max_looks: int,
    *,
    plain: bool,
    seed: int = 0,
    places: Places | None = None,
    words: Words | None = None,
) -> Trajectory:
    """``trajectory`` with up to ``max_looks`` looks before what they decide; a pure function.

    ``plain``: in sentences, else in terse forms. ``places`` chooses the looks; None: :func:`places_to_look`. ``words``
    are said after each look of a terse chain; None: its name and what it shows. The trajectory is returned unchanged
    if it has no place to look at.
    """
    rng = random.Random(f"{seed} looks {sample.id}")
    asked, wanted, last = (places or places_to_look)(sample, max_looks, rng)
    if not (asked or wanted or last):
        return trajectory
    terse = words or _terse
    counts, voice = dict[int, int](), Voice(sample, seed)

    def said(places: Sequence[Place]) -> str:
        text = ""
        for image, box in places:
            counts[image] = counts.get(image, 0) + 1
            name = crop_name(image, counts[image])
            before, after = _sentences(voice, image, name, box) if plain else ("", terse(sample, image, name, box))
            text += f"{before}{look_markup(image, box)}{after} "
        return text

    thinking, at = trajectory.thinking, _place_in(trajectory.thinking, sample)
    box_at = max(at, _first_box(thinking))
    chain = f"{said(asked)}{thinking[:at]}{said(wanted)}{thinking[at:box_at]}{said(last)}{thinking[box_at:]}"
    return trajectory.model_copy(update={"thinking": chain, "writer": f"{trajectory.writer}+looks/3"})


def _place_in(thinking: str, sample: Sample) -> int:
    """Where in a chain the looks for the target stand.

    They come after the name of what is sought, if it begins the chain and is known without them, else first. Where
    whole images are compared, they come before the first box.
    """
    spans = sentence_spans(thinking)
    if sample.task in WHOLE:
        return _first_box(thinking)
    start, end = spans[0]
    references = {k for k, image in enumerate(sample.images, 1) if image.role == "reference"}
    is_known = references or cited(sample.question) or label_key(subject(sample)) in label_key(sample.question)
    names_it = end < len(thinking) and references.issuperset(mentioned(prose_of(thinking[start:end])))
    return end + 1 if is_known and names_it else 0


def _first_box(thinking: str) -> int:
    """Where the first sentence with a box begins; 0 without one."""
    spans = sentence_spans(thinking)
    return next((start for start, end in spans if BOX_WORD in prose_of(thinking[start:end])), 0)


def places_to_look(sample: Sample, max_looks: int, rng: random.Random) -> tuple[list[Place], list[Place], list[Place]]:
    """Where a chain of ``sample`` looks, in order: at what the question points at, for the targets, and at them.

    All are empty if no target is small. Together they have at most ``max_looks`` places. The last are the small targets
    that no look before has shown, those of an image that was found by another object for example.
    """
    small = [(target.image, target.box) for target in sample.targets if is_small(target.box)]
    if not small:
        return [], [], []
    looks: list[Place] = []

    def added(places: Sequence[Place]) -> list[Place]:
        before = len(looks)
        for image, box in places:
            seen = any(k == image and share_inside(box, place) >= 1.0 for k, place in looks)
            if not seen and len(looks) < max_looks:
                looks.append((image, _around(box, rng)))
        return looks[before:]

    asked = [place for place in cited(sample.question) if is_small(place[1]) and shown(sample, *place)]
    return added(asked), added(_candidates(sample)), added(small)


def _candidates(sample: Sample) -> list[Place]:
    """The small objects that may be the target, image by image and from left to right; the last one is the target.

    In an image that holds no target, and beside a target, these are objects whose name shares a word with its name.
    Where the odd one out is sought, they are those of all images.
    """
    found: list[Place] = []
    waiting = set(sample.target_images)
    name = sought(sample)
    searched = _is_searched(sample, name)
    for k, image in enumerate(sample.images, 1):
        if image.role == "reference" or not (searched or k in waiting):
            continue
        right = _right_ones(sample, k, name)
        others = [] if sample.meta.get(INCOMPLETE) else _others(image, name)
        places = sorted({*right, *others})
        if sample.task != ODD and {k} >= waiting and right:
            places = places[: 1 + max(map(places.index, right))]
        found += [(k, box) for box in places]
        waiting -= {k}
        if not waiting and sample.task != ODD:
            break
    return found


def sought(sample: Sample) -> str:
    """The name by which the image of the target is found: that of one companion if the question names it."""
    mark = sample.meta.get("mark")
    notes = [note for k in sample.target_images for note in sample.images[k - 1].objects]
    is_one = isinstance(mark, str) and any(label_key(note.label) == label_key(mark) for note in notes)
    return str(mark) if is_one else subject(sample)


def _is_searched(sample: Sample, name: str) -> bool:
    """Whether looks at objects called ``name`` find the image of the target: no other image has such an object."""
    others = [image for k, image in enumerate(sample.images, 1) if k not in sample.target_images]
    labels = {label_key(note.label) for image in others if image.role != "reference" for note in image.objects}
    return (
        sample.image_hidden
        and sample.task not in WHOLE
        and not sample.meta.get(INCOMPLETE)
        and label_key(name) not in labels
    )


def _right_ones(sample: Sample, image: int, name: str) -> list[Box]:
    """The small objects by which the search ends in an image: those called ``name``, else its targets."""
    if image not in sample.target_images:
        return []
    targets = [target.box for target in sample.targets if target.image == image and is_small(target.box)]
    notes = sample.images[image - 1].objects
    called = [note.box for note in notes if label_key(note.label) == label_key(name) and is_small(note.box)]
    return targets if name == subject(sample) else called or targets


def _others(image: ImageRef, name: str) -> list[Box]:
    """The small objects of an image whose name shares a word with ``name``, without those called ``name``."""
    words = set(label_key(name).split())
    keys = [(label_key(note.label), note.box) for note in image.objects if is_small(note.box)]
    return [box for key, box in keys if key != label_key(name) and words.intersection(key.split())]


def shown(sample: Sample, image: int, box: Box) -> list[str]:
    """The labels of the objects of an image of which ``box`` shows the larger part, those of targets first."""
    things = [(target.label or subject(sample), target.box) for target in sample.targets if target.image == image]
    things += [(note.label, note.box) for note in sample.images[image - 1].objects]
    return [*dict.fromkeys(label for label, place in things if label and share_inside(place, box) >= READ_OFF)]


def is_small(box: Box) -> bool:
    """Whether an object covers so little of its image that a chain looks at it."""
    return (box[2] - box[0]) * (box[3] - box[1]) <= SMALL


def _side(low: float, high: float, rng: random.Random) -> tuple[float, float]:
    low, high = max(low - MARGIN, 0.0), min(high + MARGIN, 1.0)
    size = min(max((high - low) * rng.uniform(*ZOOM), LEAST), 1.0)
    start = rng.uniform(max(high - size, 0.0), min(low, 1.0 - size))
    return math.floor(start * 1000) / 1000, min(math.ceil((start + size) * 1000) / 1000, 1.0)


def _terse(sample: Sample, image: int, name: str, box: Box) -> str:
    return f"{name}: {', '.join(shown(sample, image, box)) or 'nothing'}."


def _sentences(voice: Voice, image: int, name: str, box: Box) -> tuple[str, str]:
    voice.say("closer")
    labels: Sequence[str] = shown(voice.sample, image, box)
    what = sought(voice.sample)
    found = label_key(what) in map(label_key, labels) or not voice.is_named or voice.sample.task == ODD
    kind, name_of_it = "shows_it" if found else "lacks", None if what == voice.label else Name(what)
    voice.say_of(name_of_it, kind, image=name, list=kinds_of(labels) or "nothing of interest")
    return f"{voice.said[-2]} ", voice.said[-1]
