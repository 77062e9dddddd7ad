"""Importing what `mirg data export` wrote gives back the same dataset, with no option but the kind of the file."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from mirg.answers import box_markup, cited, replaced
from mirg.data.exporters.build import export_dataset, make_plan
from mirg.data.exporters.plan import Plan, note_beside
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import import_dataset
from mirg.errors import ConfigError
from mirg.families import FAMILIES, RELATIVE_MAX
from mirg.frames import input_size
from mirg.geometry import Box
from mirg.samples import DatasetFolder, DatasetWriter, ImageRef, ObjectNote, Sample, Target, Trajectory

SIZES = ((800, 450), (333, 777), (1600, 1000), (640, 480), (97, 1210), (1024, 1024))
LABELS = ("", "red ring", 'the "old" mug', "Größe 環")
GRID = 8  # boxes are multiples of 1/8 with a shift: never thinner than a step of any family


class Route(NamedTuple):
    """A file of an export, and the kind that reads it."""

    to: str
    file: str
    kind: str
    whole: bool  # rows hold the whole sample, not only texts
    trajectory: bool = True
    objects: bool = False


ROUTES = {
    "llamafactory": Route("llamafactory", "sft.json", "sharegpt", False),
    "ms-swift sft": Route("ms-swift", "sft.jsonl", "ms-swift", False),
    "ms-swift sft, as a conversation": Route("ms-swift", "sft.jsonl", "sharegpt", False),
    "ms-swift sft, objects": Route("ms-swift", "sft.jsonl", "ms-swift", False, objects=True),
    "ms-swift grpo": Route("ms-swift", "grpo.jsonl", "ms-swift", True, trajectory=False),
    "ms-swift grpo, objects": Route("ms-swift", "grpo.jsonl", "ms-swift", True, trajectory=False, objects=True),
    "trl sft": Route("trl", "sft.parquet", "hf", False),
    "trl grpo": Route("trl", "grpo.parquet", "hf", True, trajectory=False),
    "verl": Route("verl", "train.parquet", "hf", True, trajectory=False),
    "easyr1": Route("easyr1", "train.parquet", "hf", True, trajectory=False),
    "parquet": Route("parquet", "samples.parquet", "hf", True),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of every size."""
    folder = tmp_path_factory.mktemp("images")
    for k, size in enumerate(SIZES * 2):
        Image.new("RGB", size, (k * 20, 90, 200)).save(folder / f"{k}.png")
    return folder


@st.composite
def box(draw: st.DrawFn) -> Box:
    """Corners of a grid, a little shifted, so that every frame has to round."""
    x1, y1 = draw(st.integers(0, GRID - 2)), draw(st.integers(0, GRID - 2))
    x2, y2 = draw(st.integers(x1 + 1, GRID - 1)), draw(st.integers(y1 + 1, GRID - 1))
    shift = draw(st.floats(0.0, 0.12))
    return ((x1 + shift) / GRID, (y1 + shift) / GRID, (x2 + shift) / GRID, (y2 + shift) / GRID)


@st.composite
def sample(draw: st.DrawFn, number: int) -> Sample:
    """One to four images of different sizes, targets in any of them or in none, and reasoning that cites boxes."""
    chosen = draw(st.lists(st.integers(0, 2 * len(SIZES) - 1), min_size=1, max_size=4, unique=True))
    n = len(chosen)
    where = draw(st.lists(st.tuples(st.integers(1, n), box(), st.sampled_from(LABELS)), max_size=4))
    spots = {(image, tuple(int(v * GRID) for v in found)): (image, found, label) for image, found, label in where}
    targets = tuple(Target(image=image, box=found, label=label) for image, found, label in spots.values())
    lines = []
    for image in draw(st.lists(st.integers(1, n), max_size=4)):
        words = draw(
            st.sampled_from(["Image-{n}: a thing at {box}.", "In Image-{n} there is one at {box}", "Not here."])
        )
        lines.append(words.format(n=image, box=box_markup(image, draw(box()))))
    like = draw(st.integers(0, n))
    reference = f" It looks like {box_markup(like, draw(box()))} in Image-{like}." if like else ""
    refs = tuple(ImageRef(path=f"@data/{k}.png", width=SIZES[k % 6][0], height=SIZES[k % 6][1]) for k in chosen)
    note = ObjectNote(label="cat", box=draw(box()), attributes={"colour": "red"})
    return Sample(
        id=f"s{number}",
        task=draw(st.sampled_from(["refer", "region"])),
        question=f"Where is thing {number}?{reference}",
        images=(refs[0].model_copy(update={"objects": (note,), "role": "reference"}), *refs[1:]),
        targets=targets,
        relation="same_object",
        image_hidden=draw(st.booleans()),
        source="tests",
        trajectory=Trajectory(
            thinking="\n".join(lines) or "Nothing to see.", answer=targets, writer="rules", checks=("parses",)
        ),
        meta={"subject": "thing", "nested": {"a": [1, 2.5, None]}},
    )


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    return [draw(sample(number)) for number in range(draw(st.integers(1, 4)))]


def written(folder: Path, rows: Sequence[Sample], images: Path) -> DatasetFolder:
    with DatasetWriter(folder, name="source") as writer:
        assert writer.add_root("data", images) == "data"
        for row in rows:
            writer.add(row)
    return DatasetFolder.open(folder)


def there_and_back(
    route: Route, rows: Sequence[Sample], images: Path, place: Path, family: str, **more: Any
) -> tuple[Plan, list[Sample]]:
    """The plan of the export, and what an import of its file makes of it."""
    plan = make_plan(written(place / "source", rows, images), place / "out", family, objects=route.objects, **more)
    report = export_dataset(DatasetFolder.open(place / "source"), plan, route.to)
    assert not report.rejections
    options = ImportOptions(root=str(images), look="header")
    found = import_dataset(route.kind, plan.out / route.file, place / "back", options)
    assert found.refused == 0, found.first
    from mirg.data.exporters.build import FORMATS

    seen = Plan(**{**plan.__dict__, "resize": FORMATS[route.to].resize})
    return seen, list(DatasetFolder.open(place / "back"))


def named(row: Sample) -> list[str]:
    return [Path(ref.path).name for ref in row.images]


def steps(row: Sample, plan: Plan) -> list[tuple[float, float]]:
    """Half a step of the family's numbers in every image, as fractions of width and height."""
    family = plan.family
    if family.box_frame != "resized_pixels":  # thousandths, or fractions with three decimals
        half = family.step / 2 / RELATIVE_MAX
        return [(half, half)] * len(row.images)
    inputs = [input_size(plan.given(size), family, plan.limits) for size in row.sizes]
    return [(0.5 / width, 0.5 / height) for width, height in inputs]


def close(one: Box, other: Box, half: tuple[float, float]) -> bool:
    return all(abs(a - b) <= limit + 1e-9 for a, b, limit in zip(one, other, half * 2, strict=True))


def same_text(text: str, expected: str, halves: list[tuple[float, float]]) -> bool:
    """The same words, and the same images and boxes in them."""
    if replaced(text, lambda image, _: f"<{image}>") != replaced(expected, lambda image, _: f"<{image}>"):
        return False
    pairs = zip(cited(text), cited(expected), strict=True)
    return all(a == b and close(one, other, halves[a - 1]) for (a, one), (b, other) in pairs)


def check_texts(route: Route, back: Sample, sent: Sample, plan: Plan) -> None:
    halves = [(0.0, 0.0)] * len(sent.images) if route.objects else steps(sent, plan)
    assert [t.image for t in back.targets] == [t.image for t in sent.targets]
    for one, other in zip(back.targets, sent.targets, strict=True):
        assert close(one.box, other.box, halves[other.image - 1])
    if (plan.style or plan.family.style) == "json":
        assert [t.label for t in back.targets] == [t.label for t in sent.targets]
    assert same_text(back.question, sent.question, halves)
    assert back.trajectory and sent.trajectory
    assert same_text(back.trajectory.thinking, sent.trajectory.thinking, halves)
    assert back.trajectory.answer == back.targets


def check_whole(route: Route, back: Sample, sent: Sample) -> None:
    same = {"images": sent.images} if route.trajectory else {"images": sent.images, "trajectory": None}
    assert back.model_copy(update=same) == sent.model_copy(update=same)
    for one, other in zip(back.images, sent.images, strict=True):
        assert one.model_copy(update={"path": other.path}) == other
    if not route.trajectory:
        assert back.trajectory is None


@pytest.mark.parametrize("name", ROUTES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    rows=samples(),
    family=st.sampled_from(sorted(name for name, one in FAMILIES.items() if one.axes == "xy")),
    style=st.sampled_from([None, "text", "json"]),
    most=st.sampled_from([None, 200_000, 784_000]),
)
def test_an_export_is_imported_again(
    images: Path, name: str, rows: list[Sample], family: str, style: Any, most: int | None
) -> None:
    """Targets, image numbers, labels, questions and reasoning: exactly, or within half a step of the family."""
    assume(not ROUTES[name].objects or FAMILIES[family].box_key == "bbox_2d")
    route = ROUTES[name]
    with tempfile.TemporaryDirectory() as place:
        plan, found = there_and_back(route, rows, images, Path(place), family, style=style, max_pixels=most)
        assert [named(row) for row in found] == [named(row) for row in rows]
        for back, sent in zip(found, rows, strict=True):
            if route.whole:
                check_whole(route, back, sent)
            else:
                check_texts(route, back, sent, plan)


CROWDS = (
    ObjectNote(label="mug", box=(0.125, 0.25, 0.5, 0.75)),
    ObjectNote(label="mug", box=(0.5, 0.25, 0.625, 0.375)),
    ObjectNote(label="cup", box=(0.0, 0.5, 1.0, 1.0), attributes={"iscrowd": 1}),
)


@settings(max_examples=5, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(st.integers(0, len(SIZES) - 1), min_size=1, max_size=4, unique=True))
def test_coco_is_imported_again(images: Path, files: list[int]) -> None:
    """Objects with their labels and crowd flags; COCO has no questions, so they are those of the import."""
    rows = []
    for k in files:
        ref = ImageRef(path=f"@data/{k}.png", width=SIZES[k][0], height=SIZES[k][1], objects=CROWDS)
        targets = tuple(Target(image=1, box=note.box, label="mug") for note in CROWDS[:2])
        rows.append(Sample(id=f"s{k}", task="t", question="Point to every mug.", images=(ref,), targets=targets))
    route = Route("coco", "annotations.json", "coco", False)
    with tempfile.TemporaryDirectory() as place:
        _, found = there_and_back(route, rows, images, Path(place), "qwen2.5-vl")
        for back, sent in zip(found, rows, strict=True):
            assert named(back) == named(sent) and len(back.targets) == 2
            assert len(back.images[0].objects) == len(CROWDS)
            for note, one in zip(back.images[0].objects, CROWDS, strict=True):
                assert note.label == one.label and close(note.box, one.box, (1e-6, 1e-6))
                assert bool(note.attributes.get("iscrowd")) == bool(one.attributes.get("iscrowd"))


ONE = Sample(
    id="one",
    task="t",
    question="Where is it?",
    images=(ImageRef(path="@data/2.png", width=1600, height=1000),),
    targets=(Target(image=1, box=(0.25, 0.25, 0.75, 0.5)),),
    trajectory=Trajectory(thinking="There.", answer=(Target(image=1, box=(0.25, 0.25, 0.75, 0.5)),), writer="rules"),
)


@pytest.fixture
def shrunk_export(images: Path, tmp_path: Path) -> Path:
    """For LLaMA-Factory and Qwen2.5-VL: boxes in pixels behind its own resizing."""
    plan = make_plan(written(tmp_path / "source", [ONE], images), tmp_path / "out", max_pixels=400_000)
    export_dataset(DatasetFolder.open(tmp_path / "source"), plan, "llamafactory")
    return plan.out / "sft.json"


@pytest.mark.parametrize(
    ("given", "says", "why"),
    [
        ({}, "", "the README.md beside the file says it"),
        ({"frame": "auto"}, "", "so that nothing has to be found out"),
        ({"frame": "resized_pixels", "family": "qwen2.5-vl", "max_pixels": 400_000}, "", "the same, said by hand"),
        ({"frame": "pixels"}, "--frame pixels contradicts", "another frame"),
        ({"family": "mimo-vl"}, "--family mimo-vl contradicts", "another family"),
        ({"family": "qwen2.5-vl", "max_pixels": 784_000}, "--max-pixels 784000 contradicts", "another limit"),
    ],
)
def test_what_an_export_says_settles_the_frame(
    images: Path, tmp_path: Path, shrunk_export: Path, given: dict[str, Any], says: str, why: str
) -> None:
    options = ImportOptions(root=str(images), **given)
    if says:
        with pytest.raises(ConfigError, match=re.escape(says)) as caught:
            import_dataset("sharegpt", shrunk_export, tmp_path / "back", options)
        assert "--trainer llamafactory" in str(caught.value) and "--max-pixels 400000" in str(caught.value), why
        return
    import_dataset("sharegpt", shrunk_export, tmp_path / "back", options)
    (back,) = DatasetFolder.open(tmp_path / "back")
    assert close(back.targets[0].box, ONE.targets[0].box, (0.5 / 812, 0.5 / 504)), why


def test_texts_with_y_first_are_not_imported_again(images: Path, tmp_path: Path) -> None:
    plan = make_plan(written(tmp_path / "source", [ONE], images), tmp_path / "out", "gemma-4")
    export_dataset(DatasetFolder.open(tmp_path / "source"), plan, "llamafactory")
    with pytest.raises(ConfigError, match="exported for gemma-4, whose boxes in running text have y first"):
        import_dataset("sharegpt", plan.out / "sft.json", tmp_path / "back", ImportOptions(root=str(images)))


def test_a_file_that_left_its_export(images: Path, tmp_path: Path, shrunk_export: Path) -> None:
    """Options can say the same. The image became 812 x 504 pixels; without a trainer it becomes 784 x 476."""
    assert note_beside(shrunk_export) and note_beside(shrunk_export.with_name("another.json")) is None
    moved = shrunk_export.rename(tmp_path / "moved.json")
    assert note_beside(moved) is None
    options = ImportOptions(
        root=str(images), frame="resized_pixels", family="qwen2.5-vl", trainer="llamafactory", max_pixels=400_000
    )
    import_dataset("sharegpt", moved, tmp_path / "back", options)
    (back,) = DatasetFolder.open(tmp_path / "back")
    assert close(back.targets[0].box, ONE.targets[0].box, (0.5 / 812, 0.5 / 504))


@pytest.mark.parametrize("text", ["", "# Rows\n", "---\nmirg_export: {}\n---\n", "---\nmirg_export: 7\n---\n", "\xff"])
def test_another_readme_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_bytes(text.encode("latin-1"))
    assert note_beside(tmp_path / "rows.json") is None
