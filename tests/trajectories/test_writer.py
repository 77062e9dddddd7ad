"""The rule-based writer: the exact text per task, and laws over scenes."""

from __future__ import annotations

import re

import pytest

from mirg.answers.markup import box_markup, cited
from mirg.data.compose.tasks import TASKS as COMPOSED
from mirg.data.scenes.generate import generate, to_sample
from mirg.data.scenes.tasks import TASKS
from mirg.data.scenes.world import DIFFICULTIES
from mirg.samples.schema import ImageRef, ObjectNote, Role, Sample, Target
from mirg.trajectories.writer import IMAGE_LEVEL, build, write_thinking

BOX = (0.1, 0.2, 0.3, 0.4)
LEFT = (0.0, 0.5, 0.3, 0.9)
RING, CROSS, STAR = "red ring", "blue cross", "green star"


def image(*notes: str | tuple[str, tuple[float, float, float, float]], role: Role = "candidate") -> ImageRef:
    """An image with objects: (label, box), or only a label, which is at BOX."""
    pairs = [(note, BOX) if isinstance(note, str) else note for note in notes]
    objects = tuple(ObjectNote(label=label, box=box) for label, box in pairs)
    return ImageRef(path="a.png", width=96, height=96, role=role, objects=objects)


def sample(task: str, images: list[ImageRef], targets: list[Target], asks: str = "?", **meta: str) -> Sample:
    return Sample(id="s", task=task, images=tuple(images), question=asks, targets=tuple(targets), meta=dict(meta))


def at(number: int, label: str = RING, box: tuple[float, float, float, float] = BOX) -> Target:
    return Target(image=number, box=box, label=label)


def where(number: int, label: str = RING, box: tuple[float, float, float, float] = BOX) -> str:
    return f"Box: Image-{number} {label} {box_markup(number, box)}."


LARGE = (0.0, 0.0, 0.5, 0.5)
CASES: list[tuple[Sample, str]] = [
    (  # the question names one of two images that hold it
        sample("group_grounding", [image(CROSS), image(RING), image(RING)], [at(2), at(3)], "As in Image-2?"),
        f"Target: red ring. Found: red ring Image-2, Image-3. {where(2)} {where(3)}",
    ),
    (  # the largest of each image
        sample("reasoning", [image(RING), image(RING, (RING, LARGE))], [at(2, RING, LARGE)], compared=RING),
        "Image-1: red ring 4 %. Image-2: red ring 25 %. Target: red ring. Found: red ring Image-2. "
        + where(2, RING, LARGE),
    ),
    (
        sample("group_grounding", [image(CROSS), image(RING), image(STAR)], [at(2)]),
        f"Target: red ring. Found: red ring Image-2. {where(2)}",
    ),
    (
        sample("difference", [image(RING, CROSS), image(RING)], [at(1, CROSS)]),
        f"Same: red ring. Target: blue cross. Found: blue cross Image-1. {where(1, CROSS)}",
    ),
    (  # what every image shows, each name once, from left to right as in the first
        sample(
            "difference",
            [image(RING, CROSS, RING, (STAR, LEFT)), image(STAR, RING), image(RING, STAR, CROSS)],
            [at(1, CROSS)],
        ),
        f"Same: green star, red ring. Target: blue cross. Found: blue cross Image-1. {where(1, CROSS)}",
    ),
    (  # photographs have no list of objects
        sample("difference", [image(), image()], [at(1, "patch")]),
        f"Target: patch. Found: patch Image-1. {where(1, 'patch')}",
    ),
    (
        sample("difference", [image("patch"), image()], [at(1, "patch")]),
        f"Same: nothing. Target: patch. Found: patch Image-1. {where(1, 'patch')}",
    ),
    (
        sample("odd_one_out", [image(RING), image(RING), image(CROSS)], [at(3, CROSS)]),
        "Image-1: red ring. Image-2: red ring. Image-3: blue cross. Odd: blue cross. Found: blue cross Image-3. "
        + where(3, CROSS),
    ),
    (
        sample("counting", [image(RING, CROSS), image(*[RING] + [CROSS] * 3), image(*[CROSS] * 3)], [at(2)]),
        f"Image-1: 2. Image-2: 4. Image-3: 3. Most: Image-2. Target: red ring. {where(2)}",
    ),
    (  # every image shows the ring; the cross shows which one is meant
        sample("companion", [image(RING, CROSS), image(RING, STAR), image(STAR, RING)], [at(1)], mark=CROSS),
        f"Found: blue cross Image-1. Target: red ring. {where(1)}",
    ),
    (  # both names of a pair, as in the question: each of the two is in another image too
        sample(
            "companion_pair",
            [image(RING, CROSS), image(STAR, RING), image(STAR, RING, CROSS)],
            [at(3)],
            mark=f"{CROSS} and the {STAR}",
        ),
        f"Found: blue cross and the green star Image-3. Target: red ring. {where(3)}",
    ),
    (  # a task of a user's own by that name has no mark
        sample("companion", [image(RING), image(CROSS)], [at(1)]),
        f"Target: red ring. Found: red ring Image-1. {where(1)}",
    ),
    (  # one kind of object is counted, regardless of the others
        sample(
            "counting",
            [image(RING, "Red  ring", CROSS), image(RING, CROSS, CROSS)],
            [at(1), at(1, RING, LEFT)],
            counted=RING,
        ),
        f"Image-1: 2. Image-2: 1. Most: Image-1. Target: red ring. {where(1, RING, LEFT)} {where(1)}",
    ),
    (  # without references all images are compared
        sample("reasoning", [image(RING), image(RING, CROSS)], [at(2)]),
        f"Image-1: red ring. Image-2: red ring, blue cross. Target: red ring. Found: red ring Image-2. {where(2)}",
    ),
    (
        sample("reasoning", [image(RING), image((RING, LEFT)), image(CROSS)], [at(2, RING, LEFT)], compared=RING),
        "Image-1: red ring 4 %. Image-2: red ring 12 %. Image-3: no red ring. Target: red ring. "
        f"Found: red ring Image-2. {where(2, RING, LEFT)}",
    ),
    (  # a list goes from left to right, regardless of the order of the annotation
        sample("odd_one_out", [image(RING, (CROSS, LEFT)), image(RING)], [at(1, CROSS, LEFT)]),
        "Image-1: blue cross, red ring. Image-2: red ring. Odd: blue cross. Found: blue cross Image-1. "
        + where(1, CROSS, LEFT),
    ),
    (  # a long row is counted: said one by one it would be refused as a repetition
        sample("odd_one_out", [image(*[RING] * 7, CROSS), image(*[RING] * 6)], [at(1, CROSS)]),
        f"Image-1: red ring (7), blue cross. Image-2: {', '.join([RING] * 6)}. Odd: blue cross. "
        f"Found: blue cross Image-1. {where(1, CROSS)}",
    ),
    (  # sorted by image, then from left to right
        sample("multi_target", [image(RING), image(CROSS), image(RING, RING)], [at(3), at(1), at(3, RING, LEFT)]),
        f"Target: red ring. Found: red ring Image-1, Image-3. {where(1)} {where(3, RING, LEFT)} {where(3)}",
    ),
    (
        sample("none", [image(CROSS), image(STAR)], [], subject=RING),
        "Target: red ring. Found: red ring in none of the images.",
    ),
    (
        sample("view_difference", [image(RING), image((RING, LEFT), CROSS)], [at(2, CROSS)]),
        f"Same: red ring. Target: blue cross. Found: blue cross Image-2. {where(2, CROSS)}",
    ),
    (
        sample(
            "reasoning",
            [image("red star", role="reference"), image("pink ring", role="reference"), image(CROSS), image(RING)],
            [at(4)],
        ),
        f"Target: red ring. Found: red ring Image-4. {where(4)}",  # not the names of the references: they are copied
    ),
    (  # what the question says is said again: other images may hold the same
        sample("common_object", [image(RING, CROSS), image(STAR, RING)], [at(2)], asks="Which is in both, in Image-2?"),
        f"Target: red ring. Where: Image-2. {where(2)}",
    ),
    (
        sample("region", [image(), image()], [at(1, "region")], asks="Where in the first image is what Image-2 shows?"),
        f"Target: region. Where: Image-1. {where(1, 'region')}",
    ),
    (  # the question names only the reference
        sample("refer", [image(RING), image(CROSS), image(RING)], [at(3)], asks="Which shows what Image-1 shows?"),
        f"Target: red ring. Found: red ring Image-3. {where(3)}",
    ),
    (  # other images show objects of that name; the one that is meant is found among them
        sample("same_instance", [image(RING), image(RING, CROSS), image(CROSS), image(RING)], [at(4)]),
        f"Target: red ring. Alike: Image-2, Image-4. Found: red ring Image-4. {where(4)}",
    ),
    (  # no annotation of objects: nothing is said about it
        sample("same_instance", [image(), image(), image()], [at(3)]),
        f"Target: red ring. Found: red ring Image-3. {where(3)}",
    ),
    (  # a task the writer has no line for
        sample("static_diff", [image(), image()], [at(2, "")]),
        f"Target: object. Found: object Image-2. {where(2, 'object')}",
    ),
]


@pytest.mark.parametrize(("given", "expected"), CASES, ids=[f"{k}-{case[0].task}" for k, case in enumerate(CASES)])
def test_thinking(given: Sample, expected: str) -> None:
    assert write_thinking(given) == expected


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_scenes(difficulty: str) -> None:
    assert set(IMAGE_LEVEL) <= {*TASKS, *COMPOSED}
    for key, draft in generate(None, 200, split="train", seed=1, config=DIFFICULTIES[difficulty]):
        refs = [ImageRef(path=f"{k}.png", width=96, height=96) for k in range(len(draft.pictures))]
        given = to_sample(key, draft, refs)
        trajectory = build(given)
        text = trajectory.thinking
        assert trajectory.writer == "rules/4"
        assert sorted(trajectory.answer, key=str) == sorted(given.targets, key=str)
        boxes = cited(text)
        assert len(boxes) == len(given.targets)
        for (number, box), target in zip(boxes, trajectory.answer, strict=True):
            assert number == target.image
            assert box == pytest.approx(target.box, abs=1e-3)
        assert all(1 <= int(number) <= len(given.images) for number in re.findall(r"Image-(\d+)", text))
        place = text.find("Box: Image-")
        assert place > 0 or not given.targets, "images first, then objects"
        assert len(text) < 1500
