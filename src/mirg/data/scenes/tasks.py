"""The tasks of the procedural world: a new one is a function, a line in :data:`TASKS` and one in :data:`QUESTIONS`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np

from mirg.answers.markup import box_markup
from mirg.data.scenes.drafts import (
    Draft,
    Make,
    Names,
    Picture,
    at_least,
    choose,
    draw,
    fill,
    holder_pictures,
    look_alike,
    showing,
    targets_named,
)
from mirg.data.scenes.objects import split_name
from mirg.data.scenes.world import (
    Scene,
    WorldConfig,
    another_view,
    background_for,
    distractors,
    grid_box,
    has_room,
    pick,
    scene_for,
    zoom,
)
from mirg.geometry import Box
from mirg.samples.schema import Relation

QUESTIONS: dict[str, tuple[str, ...]] = {
    "common_object": (
        "Which object is in every image? Point to it in Image-{k}.",
        "Find the object that all images share, in Image-{k}.",
    ),
    "difference": (
        "The images hold the same objects but for one. Point to it.",
        "Which object is in only one of the images? Point to it.",
    ),
    "view_difference": (
        "The images are two views of one place. One object is in only one of them. Point to it.",
        "Seen from another side, one object is missing or new. Point to it.",
    ),
    "odd_one_out": (
        "One image shows another object than the rest. Point to it.",
        "Which image is the odd one out? Point to its object.",
    ),
    "refer": (
        "Find the object of Image-1 in another image.",
        "Which other image shows the object of Image-1? Point to it.",
    ),
    "reasoning": (
        "Find the object with the colour of the object in Image-1 and the shape of the object in Image-2.",
        "Which object has the colour that Image-1 shows and the shape that Image-2 shows? Point to it.",
    ),
    "correspondence": (
        "Find the counterpart of the object at {box} of Image-1: its shape, in another colour.",
        "Which other image has the shape of the object at {box} of Image-1, in another colour? Point to it.",
    ),
    "group_grounding": ("Find the {name}.", "Where is the {name}?"),
    "counting": (
        "Find the {name} in the image with the most objects.",
        "Which image has the most objects? Point to its {name}.",
    ),
    "multi_target": ("Find every {name}.", "Point to every {name} in the images."),
    "companion": (
        "Find the {name} in the image with the {mark}.",
        "Which image shows the {mark}? Point to its {name}.",
    ),
    "companion_twice": (
        "Find the {name} in the image that shows the {mark} twice.",
        "Which image shows the {mark} twice? Point to its {name}.",
    ),
    "object_tracking": (
        "Where is the object at {box} of Image-1 in Image-{k}?",
        "Track the object at {box} of Image-1. Find it in Image-{k}.",
    ),
    "multi_view": (
        "The images are views of one place. Which other view shows the object at {box} of Image-1? Point to it.",
        "Find the object at {box} of Image-1 in another view of the same place.",
    ),
    "region": (
        "Where in Image-1 is the object of Image-{k}?",
        "Image-{k} is cut out of Image-1. Find its object in Image-1.",
    ),
}


def _draft(
    rng: np.random.Generator,
    questions: str,
    pictures: Sequence[Picture],
    subject: str,
    relation: Relation,
    choices: int,
    numbers: Collection[int] | None = None,
    *,
    hidden: bool = True,
    k: int = 0,
    box: Box | None = None,
    **meta: str,
) -> Draft:
    """The draft that asks for ``subject`` in the images ``numbers`` (None: in all that show it).

    ``k``, ``box`` (in Image-1) and ``meta`` fill the question.
    """
    marked = box_markup(1, box) if box else ""
    question = pick(rng, QUESTIONS[questions]).format(name=subject, k=k, box=marked, **meta)
    targets = targets_named(pictures, subject, numbers)
    return Draft(tuple(pictures), question, targets, relation, hidden, {"subject": subject, **meta, "choices": choices})


def _in_one_image(
    rng: np.random.Generator, config: WorldConfig, subject: str, count: int, avoid: Sequence[str] = ()
) -> list[Picture]:
    """``count`` pictures, one of which shows the subject."""
    holder = int(rng.integers(count))
    lists = [fill(rng, config, subject, int(k == holder), avoid) for k in range(count)]
    return holder_pictures(rng, config, lists, subject, avoid)


# Tasks that do not name the object: it must be found by comparing the images.


def common_object(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Which object is in every image? No other name is in all of them; the question names the image of the answer."""
    count = draw(rng, config.images, least=2)
    subject = pick(rng, config.subjects)
    lists: list[Names] = [fill(rng, config, subject, 1) for _ in range(count - 1)]
    shared = set(lists[0]).intersection(*lists[1:]) - {subject}
    lists.insert(int(rng.integers(count)), fill(rng, config, subject, 1, avoid=sorted(shared)))
    pictures = [Picture(scene_for(rng, config, names)) for names in lists]
    number = int(rng.integers(count)) + 1
    return _draft(rng, "common_object", pictures, subject, "same_category", 1, [number], hidden=False, k=number)


def difference(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Two images are equal except for one object that only one of them has."""

    def altered(scene: Scene) -> Scene:
        return replace(scene, background=background_for(rng, config)) if config.change_background else scene

    return _pair(rng, config, "difference", altered)


def view_difference(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Two views of one place are equal except for one object that only one of them has; every object has moved."""
    return _pair(rng, config, "view_difference", partial(another_view, rng, config))


def _pair(rng: np.random.Generator, config: WorldConfig, task: str, altered: Callable[[Scene], Scene]) -> Draft:
    """A scene, and it without the subject and ``altered``."""
    subject = pick(rng, config.subjects)
    names = fill(rng, at_least(config, 2), subject, 1)
    full = scene_for(rng, config, names)
    less = altered(showing(full, [k for k, name in enumerate(names) if name != subject]))
    scenes = (full, less) if draw(rng, (1, 2)) == 1 else (less, full)
    return _draft(rng, task, [Picture(scene) for scene in scenes], subject, "changed_object", 2)


def odd_one_out(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Every image shows one object of the same name, except one image that shows another object."""
    count = draw(rng, config.images, least=3)
    subject = pick(rng, config.subjects)
    usual = distractors(rng, config, 1, subject)[0]
    odd = int(rng.integers(count))
    if config.same_place:
        scenes = _at_one_place(rng, config, subject, usual, odd, count)
    else:
        scenes = [scene_for(rng, config, [subject if k == odd else usual]) for k in range(count)]
    pictures = [Picture(scene, "candidate" if k == odd else "distractor") for k, scene in enumerate(scenes)]
    return _draft(rng, "odd_one_out", pictures, subject, "changed_object", count)


def _at_one_place(
    rng: np.random.Generator, config: WorldConfig, subject: str, usual: str, odd: int, count: int
) -> list[Scene]:
    """Scenes of which a share ``config.same_place`` of the usual ones has its object at the box of the odd one."""
    first = scene_for(rng, config, [subject])
    box = first.objects[0].box
    usual = look_alike(rng, config, subject, box) or usual
    scenes = []
    for k in range(count):
        anchor = (0, box) if rng.random() < config.same_place else None
        scenes.append(first if k == odd else scene_for(rng, config, [usual], anchor=anchor))
    return scenes


CLOSE_UP = (0.5, 0.7)


def refer(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Image-1 shows one object close up; the same kind of object is in one of the other images.

    The answer is never in Image-1.
    """
    count = draw(rng, config.images, least=3)
    subject = pick(rng, config.subjects)
    near = scene_for(rng, config.model_copy(update={"object_side": CLOSE_UP}), [subject])
    pictures = [Picture(near, "reference"), *_in_one_image(rng, config, subject, count - 1)]
    return _draft(rng, "refer", pictures, subject, "same_category", count - 1, range(2, count + 1))


def reasoning(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Image-1 gives a colour and Image-2 a shape; the object that has both is in one of the other images.

    The answer is never in Image-1 or Image-2.
    """
    count = draw(rng, config.images, least=4)
    subject = pick(rng, config.subjects)
    hints = [
        pick(rng, [name for name in config.names if split_name(name)[k] == word and name != subject])
        for k, word in enumerate(split_name(subject))
    ]
    pictures = [Picture(scene_for(rng, config, [name]), "reference") for name in hints]
    pictures += _in_one_image(rng, config, subject, count - 2)
    return _draft(rng, "reasoning", pictures, subject, "none", count - 2)


def correspondence(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """An object is marked in Image-1; another image has its counterpart: the same shape in another colour.

    No third object has the shape, and the answer is never in Image-1.
    """
    count = draw(rng, config.images, least=3)
    subject = pick(rng, config.subjects)
    shape = split_name(subject)[1]
    alike = [name for name in config.names if split_name(name)[1] == shape and name != subject]
    marked = pick(rng, alike)
    first = Picture(scene_for(rng, config, fill(rng, config, marked, 1, avoid=[subject, *alike])), "reference")
    pictures = [first, *_in_one_image(rng, config, subject, count - 1, alike)]
    (start,) = targets_named([first], marked)
    return _draft(
        rng, "correspondence", pictures, subject, "corresponds_to", count - 1, box=start.box, reference=marked
    )


# Tasks that name the object. The question gives the image, leaves it open, or identifies it by the number of objects or
# by another object in it.


def group_grounding(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """A named object is in one of several images, and the question does not say in which."""
    count = draw(rng, config.images, least=2)
    subject = pick(rng, config.subjects)
    return _draft(rng, "group_grounding", _in_one_image(rng, config, subject, count), subject, "none", count)


def counting(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """A named object is in several images; the question asks for it in the image with the most objects.

    No two images have the same number of objects.
    """
    most = max(config.objects[1], 3)
    count = min(draw(rng, config.images, least=2), most)
    sizes = [k + 1 for k in choose(rng, most, count)]
    holders = {count - 1, *choose(rng, count - 1, draw(rng, (1, count - 1)))}
    subject = pick(rng, config.subjects)
    lists = []
    for k in rng.permutation(count).tolist():
        exactly = config.model_copy(update={"objects": (sizes[k], sizes[k])})
        lists.append(fill(rng, exactly, subject, int(k in holders)))
    fullest = max(range(count), key=lambda k: len(lists[k]))
    pictures = holder_pictures(rng, config, lists, subject, asked=fullest)
    return _draft(rng, "counting", pictures, subject, "same_category", count, [fullest + 1])


MOST_TARGETS = 4
MOST_PER_IMAGE = 2
# At least one image has no target; otherwise there would be no choice of images.
LEAST_IMAGES = 3


def multi_target(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Every occurrence of a named object, two to four of them, in several images."""
    count = draw(rng, config.images, least=LEAST_IMAGES)
    holders = choose(rng, count, draw(rng, (2, min(count - 1, MOST_TARGETS))))
    copies = {k: 1 for k in holders}
    for k in holders:
        if sum(copies.values()) < MOST_TARGETS and config.objects[1] >= MOST_PER_IMAGE and rng.random() < 0.3:
            copies[k] = MOST_PER_IMAGE
    subject = pick(rng, config.subjects)
    lists = [fill(rng, config, subject, copies.get(k, 0)) for k in range(count)]
    pictures = holder_pictures(rng, config, lists, subject)
    return _draft(rng, "multi_target", pictures, subject, "same_category", count)


def none(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """The named object is in no image. The question is worded like those of ``group_grounding`` or ``multi_target``.

    Neither the wording nor the number of images gives the answer away.
    """
    every = rng.random() < 0.5
    count = draw(rng, config.images, least=LEAST_IMAGES if every else 2)
    subject = pick(rng, config.subjects)
    pictures = holder_pictures(rng, config, [fill(rng, config, subject, 0) for _ in range(count)], subject)
    return _draft(rng, "multi_target" if every else "group_grounding", pictures, subject, "none", count)


def companion(
    rng: np.random.Generator, config: WorldConfig, questions: str = "companion", here: int = 1, elsewhere: int = 0
) -> Draft:
    """Every image shows the named object; the question means the one in the image that also shows another object.

    It shows the other object ``here`` times, the other images show it ``elsewhere`` times.
    """
    config = at_least(config, 1 + here)
    count = draw(rng, config.images, least=2)
    subject = pick(rng, config.subjects)
    mark = distractors(rng, config, 1, subject)[0]
    holder = int(rng.integers(count))
    marks: list[Names] = [[mark] * (here if k == holder else elsewhere) for k in range(count)]
    return _marked(rng, config, questions, subject, marks, holder, mark)


def companion_pair(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Every image shows the named object; the question means the one in the image that also shows two others.

    Each of the other images shows one of the two, so that looking for only one of them finds several images.
    """
    config = at_least(config, 3)
    count = draw(rng, config.images, least=3)
    subject = pick(rng, config.subjects)
    pair = distractors(rng, config, 2, subject)
    holder = int(rng.integers(count))
    # The two alternate, so that each of them is in more than one image if there are enough images.
    turns = iter([pair[k % 2] for k in rng.permutation(count - 1)])
    marks: list[Names] = [pair if k == holder else [next(turns)] for k in range(count)]
    return _marked(rng, config, "companion", subject, marks, holder, f"{pair[0]} and the {pair[1]}")


def _marked(
    rng: np.random.Generator,
    config: WorldConfig,
    questions: str,
    subject: str,
    marks: Sequence[Names],
    holder: int,
    mark: str,
) -> Draft:
    """A picture for each of ``marks`` shows the subject and those names, and no mark of another picture.

    Only the one of ``holder`` is meant. ``config`` must allow one object more than the longest list.
    """
    known = sorted({name for names in marks for name in names})
    lists = [fill(rng, config, subject, 1, avoid=known) for _ in marks]
    for names, shown in zip(lists, marks, strict=True):
        others = [k for k, name in enumerate(names) if name != subject]
        for k, name in zip(others, shown, strict=False):
            names[k] = name
    pictures = holder_pictures(rng, config, lists, subject, asked=holder)
    return _draft(rng, questions, pictures, subject, "same_category", len(marks), [holder + 1], mark=mark)


# Tasks with several views of one place: moving objects, other viewpoints, and crops.

# Largest step of an object from one frame to the next, as a fraction of the image.
STEP = 0.22


def object_tracking(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Objects move from frame to frame; one is marked by its box in Image-1 and asked for in a later frame.

    The frame of the answer is uniform over Image-2 … Image-N.
    """
    count = draw(rng, config.frames, least=2)
    subject = pick(rng, config.subjects)
    scenes = [scene_for(rng, config, fill(rng, config, subject, 1))]
    while len(scenes) < count:
        scenes.append(_moved(rng, config, scenes[-1]))
    pictures = [Picture(scene, "frame", frame=k) for k, scene in enumerate(scenes, 1)]
    start = targets_named(pictures, subject, [1])[0].box
    number = int(rng.integers(2, count + 1))
    return _draft(
        rng, "object_tracking", pictures, subject, "same_object", 1, [number], hidden=False, k=number, box=start
    )


def _moved(rng: np.random.Generator, config: WorldConfig, scene: Scene) -> Scene:
    """The next frame: each object takes a random step that leaves it in the image and hides nothing."""
    boxes = [thing.box for thing in scene.objects]
    for k in range(len(boxes)):
        others = boxes[:k] + boxes[k + 1 :]
        for _ in range(12):
            box = _stepped(rng, boxes[k], config.side)
            if has_room(box, others, config.max_overlap):
                boxes[k] = box
                break
    objects = tuple(replace(thing, box=box) for thing, box in zip(scene.objects, boxes, strict=True))
    background = background_for(rng, config) if config.change_background else scene.background
    return replace(scene, objects=objects, background=background)


def _stepped(rng: np.random.Generator, box: Box, side: int) -> Box:
    # The step is a number of whole pixels, so that the box stays exact.
    x1, y1, x2, y2 = (round(value * side) for value in box)
    dx, dy = (round(value * side) for value in rng.uniform(-STEP, STEP, 2))
    dx = min(max(dx, -x1), side - x2)
    dy = min(max(dy, -y1), side - y2)
    return grid_box(x1 + dx, y1 + dy, x2 + dx, y2 + dy, side)


def multi_view(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Views of one place, none of which shows all of it; an object marked in Image-1 is in one other view.

    The answer is never in Image-1.
    """
    count = draw(rng, config.images, least=3)
    subject = pick(rng, config.subjects)
    place = scene_for(rng, config, fill(rng, at_least(config, 2), subject, 1))
    others = [k for k, thing in enumerate(place.objects) if thing.name != subject]
    holder = int(rng.integers(1, count))
    pictures = [Picture(place, "reference")]
    for number in range(1, count):
        seen = [others[k] for k in choose(rng, len(others), draw(rng, (1, len(others))))]
        if number == holder:
            seen.append(place.names.index(subject))
        view = another_view(rng, config, showing(place, seen))
        pictures.append(Picture(view, "candidate" if number == holder else "distractor"))
    (start,) = targets_named(pictures, subject, [1])
    return _draft(rng, "multi_view", pictures, subject, "same_object", count - 1, range(2, count + 1), box=start.box)


# Margin around the object of a crop as a share of its longer side. The second range is used if the first has no room.
MARGINS = ((0.05, 0.3), (0.02, 0.05))


def region(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Image-1 shows several objects, and the other images are crops of it. Where in Image-1 is the object of one crop?

    The crop of the question has the role ``reference``, the others ``distractor``.
    """
    while True:
        source = scene_for(rng, at_least(config, 2), fill(rng, at_least(config, 2), pick(rng, config.subjects), 1))
        views: list[Scene] = []
        for index in range(len(source.objects)):
            crops = (zoom(source, index, rng.uniform(*margin)) for margin in MARGINS)
            views += islice(filter(None, crops), 1)
        if views:  # one object of the scene can be cropped without others
            break
    order = rng.permutation(len(views))[: draw(rng, config.images, least=2) - 1].tolist()
    asked = int(rng.integers(len(order)))
    shown = [Picture(views[k], "reference" if n == asked else "distractor") for n, k in enumerate(order)]
    subject = shown[asked].scene.names[0]
    pictures = [Picture(source, "source"), *shown]
    return _draft(rng, "region", pictures, subject, "part_of", 1, [1], hidden=False, k=asked + 2)


_MAKERS = (
    common_object, difference, group_grounding, refer, region, object_tracking, odd_one_out, counting, multi_target,
    none, view_difference, multi_view, reasoning, correspondence, companion, companion_pair,
)  # fmt: skip
TASKS: dict[str, Make] = {make.__name__: make for make in _MAKERS} | {
    "companion_twice": partial(companion, questions="companion_twice", here=2, elsewhere=1)
}
