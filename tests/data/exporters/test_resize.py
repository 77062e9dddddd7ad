"""What trainers do to images before the processor: tables, and the arithmetic implemented a second time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.data.exporters.build import FORMATS, make_plan
from mirg.data.exporters.plan import Plan
from mirg.data.exporters.resize import llamafactory, qwen_vl_utils, shrunk
from mirg.errors import ConfigError, ImageError
from mirg.families import PixelLimits, family
from mirg.frames import input_size
from mirg.samples import DatasetCard, DatasetFolder

QWEN = family("qwen2.5-vl")
BOUNDS = PixelLimits(3136, 400_000)
sides = st.integers(14, 3000)


def plan(to: str, name: str = "qwen2.5-vl", **bounds: int) -> Plan:
    card = DatasetCard(name="d", n_samples=0, n_images=0, digest="")
    return Plan(family=family(name), out=Path("out"), card=card, resize=FORMATS[to].resize, **bounds)


def test_shrinking_first_gives_another_input() -> None:
    """The example of the module: the same limit, two inputs, so two numbers for one box."""
    assert input_size((1280, 720), QWEN, BOUNDS) == (840, 448)
    assert input_size(shrunk((1280, 720), QWEN, BOUNDS), QWEN) == (840, 476)


@pytest.mark.parametrize(
    ("size", "expected", "why"),
    [
        ((1280, 720), (843, 474), "cut to whole pixels"),
        ((100, 50), (100, 50), "between the bounds"),
        ((20, 20), (56, 56), "enlarged to the least"),
        ((1000, 400), (1000, 400), "exactly the most"),
    ],
)
def test_shrunk(size: tuple[int, int], expected: tuple[int, int], why: str) -> None:
    assert shrunk(size, QWEN, BOUNDS) == expected, why


@given(width=sides, height=sides)
def test_shrunk_keeps_bounds_and_shape(width: int, height: int) -> None:
    new = shrunk((width, height), QWEN, BOUNDS)
    assert new[0] * new[1] <= max(BOUNDS.max_pixels, width * height if width * height < BOUNDS.min_pixels else 0)
    scale = math.sqrt(new[0] * new[1] / (width * height))
    assert abs(new[0] - width * scale) <= 1 + new[0] / new[1] and abs(new[1] - height * scale) <= 1 + new[1] / new[0]


@pytest.mark.parametrize(
    ("size", "expected", "why"),
    [
        ((1280, 720), (843, 474), "as shrunk"),
        ((500, 20), (500, 28), "no side under a cell"),
        ((8000, 30), (5400, 30), "a ratio over 200 becomes 180"),
        ((30, 8000), (30, 5400), "either way"),
    ],
)
def test_llamafactory(size: tuple[int, int], expected: tuple[int, int], why: str) -> None:
    assert llamafactory(size, QWEN, BOUNDS) == expected, why


@given(width=sides, height=sides)
def test_the_processor_leaves_what_qwen_vl_utils_made(width: int, height: int) -> None:
    made = qwen_vl_utils((width, height), QWEN, BOUNDS) if max(width, height) <= 200 * min(width, height) else None
    if made is not None:
        assert made == input_size((width, height), QWEN, BOUNDS) == input_size(made, QWEN)


def test_sides_under_half_a_cell_are_refused() -> None:
    with pytest.raises(ImageError, match="too small"):
        qwen_vl_utils((13, 100), QWEN, BOUNDS)
    assert qwen_vl_utils((13, 100), family("qwen3-vl"), BOUNDS) == (13, 100), "its boxes do not hang on sizes"


@pytest.mark.parametrize(
    ("to", "bounds", "expected"),
    [
        ("llamafactory", {}, (1024, 589_824)),
        ("easyr1", {}, (262_144, 4_194_304)),
        ("easyr1", {"max_pixels": 100_000}, (100_000, 100_000)),  # its own least would be more than the most
        ("easyr1", {"min_pixels": 5_000_000}, (5_000_000, 5_000_000)),
        ("trl", {}, (3136, 12_845_056)),
        ("verl", {"max_pixels": 200_000}, (3136, 200_000)),
        ("ms-swift", {"max_pixels": 200_000}, (3136, 255 * 784)),  # it counts whole tokens
    ],
)
def test_bounds(to: str, bounds: dict[str, int], expected: tuple[int, int]) -> None:
    found = plan(to, **bounds).bounds
    assert (found.min_pixels, found.max_pixels) == expected


def test_the_processor_has_its_own_limits_where_the_trainer_resizes() -> None:
    assert plan("verl", max_pixels=200_000).limits == QWEN.limits
    assert plan("trl", max_pixels=200_000).limits == PixelLimits(3136, 200_000)


@pytest.mark.parametrize("bounds", [{"min_pixels": 0}, {"max_pixels": -5}, {"min_pixels": 9, "max_pixels": 8}])
def test_bounds_that_make_no_sense(dataset: DatasetFolder, bounds: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="pixels"):
        make_plan(dataset, "out", **bounds)
