"""Boxes in pixels of a resized image: read with the limits that are said, and never taken for another frame."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from fakes.importing import imported, pictures, write_rows
from mirg.cli.main import app
from mirg.data.importers.evidence import Evidence
from mirg.data.importers.frames import Resized, considered
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import import_dataset
from mirg.errors import ConfigError, DataError
from mirg.families import PixelLimits, family
from mirg.frames import input_size, to_frame

QWEN = family("qwen2.5-vl")
LARGE = ((2000, 1500), (1280, 720), (900, 1600), (3000, 2000))
SMALL = ((640, 480), (500, 700), (612, 612), (333, 500))
BY_784 = "--frame resized_pixels --family qwen2.5-vl --max-pixels 784000"


def boxes(count: int, frame: str, sizes: tuple[tuple[int, int], ...], **limits: int) -> list[Any]:
    """(numbers, size of the image) of boxes all over images, many of them at their edges."""
    rng = random.Random(count)
    made = []
    for _ in range(count):
        size = rng.choice(sizes)
        x, y = rng.uniform(0, 0.7), rng.uniform(0, 0.7)
        box = (x, y, min(1.0, x + rng.uniform(0.1, 0.4)), min(1.0, y + rng.uniform(0.1, 0.4)))
        if frame == "resized_pixels":
            bounds = PixelLimits(limits.get("least", 3136), limits.get("most", QWEN.limits.max_pixels))
            numbers: tuple[float, ...] = to_frame(box, size, QWEN, bounds)
        else:
            numbers = {
                "fraction": box,
                "relative_1000": tuple(float(round(v * 1000)) for v in box),
                "pixels": tuple(float(round(v * side)) for v, side in zip(box, size * 2, strict=True)),
            }[frame]
        made.append((numbers, size))
    return made


def weighed(found: list[Any], options: ImportOptions) -> Evidence:
    evidence = Evidence()
    for row, (numbers, size) in enumerate(found, 1):
        evidence.weigh(f"rows.json:{row}", numbers, size, considered(options))
    return evidence


def settled(found: list[Any], **settings: Any) -> str:
    """The frame, or the whole refusal."""
    from mirg.data.importers.frames import said

    options = ImportOptions(root=".", **settings)
    try:
        return weighed(found, options).settle("rows.json", considered(options), said(options))
    except DataError as error:
        return f"refused: {error}"


@pytest.mark.parametrize(
    ("found", "settings", "expected", "why"),
    [
        (boxes(200, "pixels", LARGE), {}, "pixels", "no resized image holds them but by its default limits"),
        (boxes(200, "relative_1000", LARGE), {}, "relative_1000", "fill 0-1000"),
        (boxes(200, "relative_1000", SMALL), {}, "relative_1000", "leave the images, resized or not"),
        (boxes(200, "fraction", LARGE), {"family": "qwen2.5-vl"}, "fraction", "nothing else has such decimals"),
        (boxes(200, "relative_1000", LARGE), {"family": "qwen3-vl"}, "relative_1000", "that family counts in it"),
        (boxes(200, "resized_pixels", LARGE, most=784_000), {}, BY_784, "would be in the upper left of the images"),
        (boxes(4, "resized_pixels", LARGE[:1], most=784_000), {}, "--frame resized_pixels", "few boxes are enough"),
        (boxes(200, "resized_pixels", LARGE, most=602_112), {}, "--max-pixels 602112", "not pixels, not 0-1000"),
        (boxes(200, "resized_pixels", SMALL), {}, "--frame resized_pixels --family qwen2.5-vl", "only a few leave it"),
        (boxes(200, "resized_pixels", SMALL, least=784_000), {}, "--min-pixels 784000", "the images were enlarged"),
        (
            boxes(200, "resized_pixels", LARGE, most=784_000),
            {"family": "qwen2.5-vl", "max_pixels": 784_000}, "resized_pixels", "said, and sure",
        ),
        (
            boxes(200, "resized_pixels", LARGE, most=784_000),
            {"family": "mimo-vl"}, "--family mimo-vl --max-pixels 784000", "the limit is not said",
        ),
        (
            boxes(5, "resized_pixels", LARGE, most=784_000),
            {"family": "qwen2.5-vl", "max_pixels": 784_000}, BY_784, "said, and too few to be sure",
        ),
        (
            boxes(200, "resized_pixels", LARGE),
            {"family": "qwen2.5-vl"}, "--frame resized_pixels --family qwen2.5-vl for the last", "hardly differ",
        ),
        (
            boxes(200, "pixels", LARGE),
            {"family": "qwen2.5-vl", "max_pixels": 784_000}, "pixels", "the resized images do not hold them",
        ),
    ],
)  # fmt: skip
def test_auto(found: list[Any], settings: dict[str, Any], expected: str, why: str) -> None:
    result = settled(found, **settings)
    assert result == expected or (expected.startswith("--") and "refused" in result and expected in result), (
        f"{why}: {result}"
    )


def test_few_boxes_in_images_of_many_sizes_are_no_proof() -> None:
    """Most images are hardly resized: no frame is much tighter, and none is ruled out."""
    sizes = ((1920, 1080), (1333, 800), (1600, 1200), (800, 1200))
    for count in range(1, 25):
        found = settled(boxes(count, "resized_pixels", sizes, most=1_605_632))
        assert "refused" in found and "--frame" in found, f"{count}: {found}"


@pytest.mark.parametrize("sizes", [LARGE, SMALL, LARGE + SMALL])
@pytest.mark.parametrize("frame", ["pixels", "relative_1000"])
def test_pixels_and_0_1000_are_not_doubted(frame: str, sizes: tuple[tuple[int, int], ...]) -> None:
    """In no file of a hundred boxes or more."""
    for more in range(30):
        found = settled(boxes(100 + more, frame, sizes))
        assert found == frame or "may be 0-1000 or pixels" in found, found
        assert "best guess is pixels of the resized" not in found


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """An image of 2000 x 1500 pixels and one of 900 x 1600."""
    root = tmp_path / "data"
    root.mkdir()
    for name, size in (("a.png", (2000, 1500)), ("b.png", (900, 1600))):
        Image.new("RGB", size, (9, 90, len(name))).save(root / name)
    return root


def rows_of(found: list[tuple[str, tuple[float, ...]]]) -> list[dict[str, Any]]:
    said = [
        [{"role": "user", "content": "<image>Where?"}, {"role": "assistant", "content": str(list(box))}]
        for _, box in found
    ]
    return [{"messages": turns, "images": [name]} for (name, _), turns in zip(found, said, strict=True)]


def test_an_import_with_limits(large: Path, tmp_path: Path) -> None:
    """By 784,000 pixels 2000 x 1500 become 1008 x 756, and 900 x 1600 become 644 x 1176 (both by hand)."""
    found = [("a.png", (252.0, 189.0, 504.0, 756.0)), ("b.png", (161.0, 0.0, 644.0, 294.0))]
    file = write_rows(tmp_path / "rows.json", rows_of(found))
    _, samples = imported(
        "sharegpt", file, tmp_path / "out", large, frame="resized_pixels", family="qwen2.5-vl", max_pixels=784_000
    )
    assert [s.targets[0].box for s in samples] == [(0.25, 0.25, 0.5, 1.0), (0.25, 0.0, 1.0, 0.25)]


def test_a_trainer_that_shrinks_first() -> None:
    """1280 x 720 under 400,000 pixels become 840 x 448 in the processor, and 840 x 476 behind LLaMA-Factory."""
    assert Resized("qwen2.5-vl", None, 400_000).sides((1280, 720)) == (840, 448)
    assert Resized("qwen2.5-vl", None, 400_000, "llamafactory").sides((1280, 720)) == (840, 476)
    assert Resized("qwen2.5-vl", None, 400_000, "trl").sides((1280, 720)) == (840, 448)
    for trainer in ("", "trl", "easyr1", "verl", "ms-swift"):
        assert Resized("qwen2.5-vl", trainer=trainer).sides((30_000, 20)) is None, "too long for the processor"


@pytest.mark.parametrize("settings", [{"max_pixels": 784_000}, {}])
def test_boxes_outside_of_the_resized_image_are_refused(large: Path, tmp_path: Path, settings: dict[str, int]) -> None:
    """Pixels of the original, which were said to be resized."""
    found = [("a.png", (1200.0 + k, 900.0, 1900.0, 1400.0 + k)) for k in range(10)]
    file = write_rows(tmp_path / "rows.json", rows_of(found))
    options = ImportOptions(root=str(large), frame="resized_pixels", family="qwen2.5-vl", **settings)
    if settings:
        with pytest.raises(DataError, match=r"10 of 10 boxes are not pixels of the resized image; all fit pixels"):
            import_dataset("sharegpt", file, tmp_path / "out", options)
    else:
        assert import_dataset("sharegpt", file, tmp_path / "out", options).samples == 10


def test_limits_that_are_not_said_are_not_assumed(large: Path, tmp_path: Path) -> None:
    """The default limits are said as well, by naming them."""
    rng = random.Random(3)
    found = []
    for _ in range(20):
        x, y = rng.uniform(0, 700), rng.uniform(0, 500)
        found.append(("a.png", (x, y, x + 300, y + 250)))
    file = write_rows(tmp_path / "rows.json", rows_of(found))
    options = ImportOptions(root=str(large), frame="resized_pixels", family="qwen2.5-vl")
    with pytest.raises(DataError, match=r"--max-pixels (784000|802816|1000000|1003520) is the best guess"):
        import_dataset("sharegpt", file, tmp_path / "out", options)
    default = options.model_copy(update={"max_pixels": QWEN.limits.max_pixels})
    assert import_dataset("sharegpt", file, tmp_path / "out", default).samples == 20


def test_pixels_that_are_said_but_leave_the_image(tmp_path: Path) -> None:
    """The advice names the frame that holds them."""
    root = pictures(tmp_path / "data", ["a.png"], (640, 480))
    found = [("a.png", (600.0, 300.0 + k, 1030.0, 400.0 + k)) for k in range(10)]
    file = write_rows(tmp_path / "rows.json", rows_of(found))
    with pytest.raises(DataError, match=r"--frame resized_pixels --family qwen2.5-vl --min-pixels \d+ sets the frame"):
        import_dataset("sharegpt", file, tmp_path / "out", ImportOptions(root=str(root), frame="pixels"))


@pytest.mark.parametrize(
    ("arguments", "says", "why"),
    [
        (["--frame", "resized_pixels"], "needs --family", "every family resizes differently"),
        (["--frame", "resized_pixels", "--family", "qwen3-vl"], "--frame relative_1000", "it counts from 0 to 1000"),
        (["--frame", "pixels", "--max-pixels", "5000"], "mean nothing for boxes in pixels", "the limits have no use"),
        (["--min-pixels", "9000", "--max-pixels", "5000", "--family", "qwen2.5-vl"], "is larger than", "turned around"),
        (["--family", "qwen"], "did you mean", "an unknown family"),
        (["--frame", "resized_pixels", "--family", "qwen2.5-vl", "--trainer", "llama"], "did you mean", "and trainer"),
    ],
)
def test_options_that_contradict(tmp_path: Path, arguments: list[str], says: str, why: str) -> None:
    root = pictures(tmp_path / "data", ["a.png"])
    write_rows(root / "rows.json", rows_of([("a.png", (1.0, 2.0, 30.0, 40.0))]))
    result = CliRunner().invoke(
        app, ["data", "import", "sharegpt", str(root / "rows.json"), str(tmp_path / "o"), *arguments]
    )
    assert result.exit_code == 2 and says in result.stderr.replace("\n", " "), f"{why}: {result.output}"


def test_sides_are_those_of_the_processor() -> None:
    for size in (*LARGE, *SMALL):
        for most in (200_704, 784_000, None):
            limits = PixelLimits(QWEN.limits.min_pixels, most or QWEN.limits.max_pixels)
            assert Resized("qwen2.5-vl", None, most).sides(size) == input_size(size, QWEN, limits)


def test_an_unknown_trainer() -> None:
    from mirg.data.importers.frames import said

    with pytest.raises(ConfigError, match="no format 'deepspeed'"):
        said(ImportOptions(root=".", family="qwen2.5-vl", trainer="deepspeed"))
