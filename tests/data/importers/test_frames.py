"""Which frame boxes are in: what one box tells, what many tell, and when to refuse."""

from __future__ import annotations

import math
import random
from collections import Counter
from contextlib import nullcontext
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.data.importers.evidence import Evidence
from mirg.data.importers.frames import FrameName, Resized, possible, to_fractions
from mirg.errors import DataError
from mirg.families import family
from mirg.frames import input_size, to_frame
from mirg.geometry import iou

SIZE = (640, 480)


@pytest.mark.parametrize(
    ("numbers", "size", "frames", "why"),
    [
        ((0.1, 0.2, 0.5, 0.9), SIZE, {"fraction"}, "decimals within 0-1"),
        ((0, 0, 1, 1), SIZE, {"fraction", "relative_1000", "pixels"}, "the whole image, or one pixel"),
        ((10, 20, 300, 400), SIZE, {"relative_1000", "pixels"}, "fits both"),
        ((10, 20, 700, 400), SIZE, {"relative_1000"}, "wider than the image"),
        ((700, 20, 10, 400), SIZE, {"relative_1000"}, "wider, with its corners exchanged"),
        ((10, 20, 700, 400), None, {"relative_1000", "pixels"}, "of an image of unknown size"),
        ((10, 20, 1500, 1200), (2000, 1500), {"pixels"}, "beyond 1000"),
        ((10, 20, 640.7, 480), SIZE, {"relative_1000", "pixels"}, "rounding at the edge"),
        ((10, 20, 1500, 1200), SIZE, set(), "nothing holds it"),
        ((-50, 20, 300, 400), SIZE, set(), "negative"),
        ((math.nan, 20, 300, 400), SIZE, set(), "not a number"),
    ],
)
def test_possible(numbers: tuple[float, ...], size: tuple[int, int] | None, frames: set[str], why: str) -> None:
    assert possible(numbers, size) == frames, why


@given(
    st.tuples(st.floats(0, 0.6), st.floats(0, 0.6), st.floats(0.1, 0.4), st.floats(0.1, 0.4)),
    st.tuples(st.integers(64, 4000), st.integers(64, 4000)),
    st.sampled_from(["fraction", "relative_1000", "pixels", "resized_pixels"]),
)
def test_there_and_back(corner: tuple[float, ...], size: tuple[int, int], frame: FrameName) -> None:
    """A box written in a frame comes back: exactly but for the rounding of the frame."""
    box = (corner[0], corner[1], corner[0] + corner[2], corner[1] + corner[3])
    width, height = size
    numbers = {
        "fraction": box,
        "relative_1000": tuple(round(1000 * v) for v in box),
        "pixels": (box[0] * width, box[1] * height, box[2] * width, box[3] * height),
    }
    if frame == "resized_pixels":
        numbers[frame] = to_frame(box, size, family("qwen2.5-vl"))
    found = to_fractions(numbers[frame], size, frame, input_size(size, family("qwen2.5-vl")))
    assert iou(found, box) > 0.85


@pytest.mark.parametrize(
    ("numbers", "frame", "box"),
    [
        ((0, 0, 640.9, 480.5), "pixels", (0, 0, 1, 1)),
        ((-0.5, 0, 320, 240), "pixels", (0, 0, 0.5, 0.5)),
        ((0, 0, 1001, 1000), "relative_1000", (0, 0, 1, 1)),
        ((0, 0, 1.02, 1), "fraction", (0, 0, 1.02, 1)),
        ((0, 0, 650, 480), "pixels", (0, 0, 650 / 640, 1)),
    ],
)
def test_edges_are_clipped_within_one_unit(
    numbers: tuple[float, ...], frame: FrameName, box: tuple[float, ...]
) -> None:
    assert to_fractions(numbers, SIZE, frame) == pytest.approx(box)


def test_pixels_need_a_size() -> None:
    with pytest.raises(DataError, match="size of the image"):
        to_fractions((1, 2, 3, 4), None, "pixels")


def evidence(*groups: tuple[str, int]) -> Evidence:
    """So many boxes of each frame, over images of 300 to 2,000 pixels a side, in random order."""
    rng = random.Random(0)
    frames = [frame for frame, count in groups for _ in range(count)]
    rng.shuffle(frames)
    made = Evidence()
    for row, frame in enumerate(frames, 1):
        size = (rng.randint(300, 2000), rng.randint(300, 2000))
        x, y, w, h = rng.random() * 0.6, rng.random() * 0.6, rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.4)
        box = (x, y, x + w, y + h)
        numbers = {
            "fraction": box,
            "relative_1000": tuple(float(round(1000 * v)) for v in box),
            "pixels": tuple(round(v * side, 1) for v, side in zip(box, size * 2, strict=True)),
        }[frame]
        made.add(possible(numbers, size), f"rows.json:{row}", numbers)
    return made


@pytest.mark.parametrize("frame", ["fraction", "relative_1000", "pixels"])
@pytest.mark.parametrize("count", [40, 2000])
def test_one_frame_is_found(frame: FrameName, count: int) -> None:
    made = evidence((frame, count))
    assert made.settle("rows.json") == frame
    made.contradict(frame, "rows.json", final=True)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("others", list(permutations(("fraction", "relative_1000", "pixels"), 2)))
def test_mixed_frames_are_refused(share: float, others: tuple[FrameName, FrameName]) -> None:
    most, few = others
    made = evidence((most, round(1000 * (1 - share))), (few, round(1000 * share)))
    few_fit = others == ("pixels", "relative_1000") and share < 0.05  # most of their boxes lie in the images as pixels
    with nullcontext() if few_fit else pytest.raises(DataError, match="rows.json"):
        made.contradict(most, "rows.json", final=True)
    if share > 0.05:
        with pytest.raises(DataError, match="mixed frames"):
            made.settle("rows.json")


def test_a_wrong_frame_is_refused_early_with_the_guess() -> None:
    with pytest.raises(DataError, match=r"not fractions.*all fit 0-1000.*--frame relative_1000"):
        evidence(("relative_1000", 250)).contradict("fraction", "rows.json", final=False)
    evidence(("relative_1000", 20)).contradict("fraction", "rows.json", final=False)  # too few to tell


def test_a_tenth_of_wrong_boxes_is_refused_at_the_end() -> None:
    """The rest of the file may make them few; a fifth is refused at once."""
    made = evidence(("fraction", 270), ("pixels", 30))
    made.contradict("fraction", "rows.json", final=False)
    for refused, final in ((made, True), (evidence(("fraction", 220), ("pixels", 80)), False)):
        with pytest.raises(DataError, match=r"are not fractions \(0-1\); the frames are mixed"):
            refused.contradict("fraction", "rows.json", final=final)


@pytest.mark.parametrize(("strays", "taken"), [("relative_1000", False), ("pixels", True)])
def test_only_boxes_of_a_possible_frame_speak_against_resized_pixels(strays: FrameName, taken: bool) -> None:
    """All boxes fill the smaller image, but for 15 of 10,000. Those that are no pixels of the original are faults."""
    smaller = Resized("qwen2.5-vl", max_pixels=1_000_000)
    made = Evidence(Counter({frozenset({"pixels", smaller.key}): 9_985, frozenset({strays}): 15}))
    made.gains["pixels", smaller.key], made.differing["pixels", smaller.key] = 9_000.0, 9_985  # type: ignore[assignment]
    made.examples = dict.fromkeys(made.counts, ("rows.json:1", (10.0, 20.0, 300.0, 400.0)))
    with nullcontext() if taken else pytest.raises(DataError, match=r"may be pixels or pixels of the resized image"):
        assert made.settle("rows.json", [smaller]) == "pixels"


def test_what_fits_two_frames_is_refused_with_a_guess() -> None:
    made = Evidence()
    for row in range(100):
        made.add(possible((10, 20, 300, 400), None), f"rows.json:{row}", (10, 20, 300, 400))
    with pytest.raises(DataError, match=r"0-1000 or pixels; the best guess is 0-1000 \(set it with --frame"):
        made.settle("rows.json")


def test_a_few_broken_boxes_are_no_mixture() -> None:
    """MIG-Bench has two boxes in 4,295 that leave the image: they are refused one by one."""
    made = evidence(("fraction", 4000))
    for row in (34, 703):
        made.add(possible((0.3, 0.2, 1.05, 0.5), None), f"rows.json:{row}", (0.3, 0.2, 1.05, 0.5))
    assert made.settle("rows.json") == "fraction"
    made.contradict("fraction", "rows.json", final=True)


def test_nothing_to_go_by() -> None:
    assert Evidence().settle("rows.json") == "fraction"


def test_the_example_of_a_kind_is_the_first_box_of_all_parts() -> None:
    parts, kind = [Evidence(), Evidence()], frozenset({"pixels"})
    for part, row in zip(parts, ("row 1", "row 9"), strict=True):
        part.add(kind, row, (10, 20, 300, 400))
    parts[0].join(parts[1])
    assert parts[0].examples[kind][0] == "row 1" and parts[0].counts[kind] == 2
