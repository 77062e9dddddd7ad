"""Samples of robustness runs: what is asked stays the same, and what is not safe is left out with a reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mirg.answers.markup import cited
from mirg.data.scenes.generate import iter_samples
from mirg.data.scenes.tasks import TASKS
from mirg.errors import ConfigError, ImageError
from mirg.evaluation.variants import Distractors, Variant, VariantFolder, permuted, rescaled, variants
from mirg.samples import DatasetFolder, DatasetWriter, ImageRef, ObjectNote, Sample, Target

SCENES = [sample for sample, _ in iter_samples(list(TASKS), 68, split="validation", seed=3)]
BOX = (0.1, 0.2, 0.5, 0.6)


def sample(name: str = "s", question: str = "Find the red cup.", n: int = 3, **fields: Any) -> Sample:
    images = tuple(ImageRef(path=f"{name}-{k}.png", width=301 + 100 * k, height=99, role="candidate") for k in range(n))
    default = {"targets": (Target(image=2, box=BOX, label="red cup"),), "image_hidden": True}
    return Sample(id=name, task="t", images=images, question=question, **(default | fields))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SCENES), st.integers(0, 5))
def test_the_truth_goes_with_its_images(original: Sample, seed: int) -> None:
    other = permuted(original, seed)
    if isinstance(other, str):
        assert any(image.role == "frame" or image.frame is not None for image in original.images), other
        return
    before, after = ([image.path for image in s.images] for s in (original, other))
    assert sorted(before) == sorted(after) and not any(a == b for a, b in zip(before, after, strict=True))
    assert {image.path: image for image in original.images} == {image.path: image for image in other.images}
    for one, two in ((original.targets, other.targets),):
        assert {(original.images[t.image - 1].path, t.box) for t in one} == {
            (other.images[t.image - 1].path, t.box) for t in two
        }
    boxes = [[(s.images[image - 1].path, box) for image, box in cited(s.question)] for s in (original, other)]
    assert boxes[0] == boxes[1] and other.id == original.id and other.image_set == original.image_set
    assert permuted(original, seed) == other


def test_seeds_and_samples_have_different_orders() -> None:
    orders = Counter()
    for seed in range(40):
        other = permuted(sample(n=4), seed)
        assert isinstance(other, Sample)
        orders[tuple(image.path for image in other.images)] += 1
    assert len(orders) == 9, "four images have nine orders in which none keeps its place"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n": 1, "targets": ()}, "one image"),
        ({"question": "Find it in the next image."}, "cannot be rewritten"),
        ({"question": "Find it in Image A."}, "cannot be rewritten"),
        ({"question": "Where is the second region picture?"}, "cannot be rewritten"),
        ({"question": "Find the second person.", "meta": {"subject": "second person"}}, None),
        ({"question": "Which of the last two images shows it?"}, "cannot be rewritten"),
    ],
)
def test_what_has_no_other_order(change: dict[str, Any], reason: str | None) -> None:
    found = permuted(sample(**change), 0)
    assert (isinstance(found, str) and reason in found) if reason else isinstance(found, Sample)


def test_words_follow_the_order() -> None:
    found = permuted(sample(question="Is the cup of the second image in Image-1?", n=2), 0)
    assert isinstance(found, Sample) and found.question == "Is the cup of the first image in Image-2?"
    assert found.targets[0].image == 1


# --- distractors -----------------------------------------------------------------------------------------------------


def test_distractors_of_scenes_never_show_what_is_asked_for() -> None:
    """The notes of a scene list every object, so the rule can be checked against what the images really show."""
    whole = Distractors(SCENES, 3, 0)
    files = {ref.path: ref for s in SCENES for ref in s.images}
    added = {s.id: found for s in SCENES if isinstance(found := whole.added(s), Sample)}
    tasks = {s.task for s in SCENES if s.id in added}
    assert {"group_grounding", "multi_target", "none", "refer", "region", "companion"} <= tasks
    assert not tasks & {"common_object", "difference", "odd_one_out", "counting", "object_tracking", "correspondence"}
    for s in SCENES:
        if found := added.get(s.id):
            new = found.images[len(s.images) :]
            assert found.images[: len(s.images)] == s.images and len({ref.path for ref in new}) == 3
            assert (found.targets, found.question, found.image_set) == (s.targets, s.question, s.image_set)
            assert all(ref.role == "distractor" for ref in new)
            shown = {note.label for ref in new for note in files[ref.path].objects}
            assert not shown & {s.meta["subject"], s.meta.get("mark")}, s.question
    assert whole.added(SCENES[0]) == Distractors(SCENES, 3, 0).added(SCENES[0])
    assert any(Distractors(SCENES, 3, 1).added(s) != added[s.id] for s in SCENES if s.id in added)


def others(*labels: str) -> list[Sample]:
    """A sample for each label, with one image that shows such an object."""
    notes = [ObjectNote(label=label, box=BOX) for label in labels]
    return [
        sample(f"o{k}", n=1, targets=()).model_copy(
            update={"images": (ImageRef(path=f"o{k}.png", width=9, height=9, objects=(note,)),)}
        )
        for k, note in enumerate(notes)
    ]


@pytest.mark.parametrize(
    ("asked", "label", "may"),
    [
        ({}, "blue ring", True),
        ({}, "red cup", False),
        ({}, "Cup", False),
        ({}, "a red cup on a table", False),
        ({}, "blue cup", True),
        ({"targets": (), "meta": {"subject": "red cup"}}, "red cup", False),
        ({"meta": {"subject": "red cup", "mark": "blue ring"}}, "blue ring", False),
    ],
)
def test_labels_that_exclude_an_image(asked: dict[str, Any], label: str, may: bool) -> None:
    mine = sample(**asked)
    found = Distractors([mine, *others(label)], 1, 0).added(mine)
    assert isinstance(found, Sample) is may and ("only 0 images" in str(found)) is not may


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question": "Which object is in every image? Point to it in Image-2.", "image_hidden": False}, "compares"),
        ({"question": "Which image has the most cups? Point to a red cup."}, "compares"),
        ({"question": "Compare these two images: find the red cup."}, "compares"),
        ({"question": "Find the red cup in the last image.", "image_hidden": False}, "compares"),
        ({"question": "Find it.", "targets": (Target(image=2, box=BOX),)}, "does not name"),
        ({"question": "What is the counterpart of Image-1's object?"}, "compares"),
        ({"question": "Find what opens it."}, "does not name"),
        ({"question": "Find what opens it.", "relation": "same_object"}, None),
        ({"question": "Find the red cup in these images."}, None),
        ({"question": "Where in Image-2 is it?", "image_hidden": False, "targets": (Target(image=2, box=BOX),)}, None),
    ],
)
def test_samples_that_take_no_distractors(change: dict[str, Any], reason: str | None) -> None:
    mine = sample(**change)
    found = Distractors([mine, *others("blue ring")], 1, 0).added(mine)
    assert (isinstance(found, str) and reason in found) if reason else isinstance(found, Sample)


def test_images_of_the_same_set_are_no_distractors() -> None:
    mine = sample(meta={"image_set": "film"})
    near = others("blue ring")[0].model_copy(update={"meta": {"image_set": "film"}})
    assert isinstance(Distractors([mine, near], 1, 0).added(mine), str)
    copy = others("blue ring")[0]
    copy = copy.model_copy(update={"images": (copy.images[0].model_copy(update={"sha256": "x"}),)})
    own = mine.model_copy(update={"images": (mine.images[0].model_copy(update={"sha256": "x"}), *mine.images[1:])})
    assert isinstance(Distractors([own, copy], 1, 0).added(own), str), "a copy of an own image"


# --- size, and the folder --------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFolder:
    with DatasetWriter(tmp_path / "data", name="d") as writer:
        for k in range(3):
            images = [writer.add_image(Image.new("RGB", (31 + k, 20), (9 * k, 5 * j, 0)), f"{k}-{j}") for j in (0, 1)]
            question = "Find it in the next image." if k == 1 else "Find the cup."
            writer.add(sample(f"s{k}", question).model_copy(update={"images": tuple(images)}))
    return DatasetFolder.open(tmp_path / "data")


def folder_of(dataset: DatasetFolder, variant: Variant) -> VariantFolder:
    rows = list(dataset.numbered())
    return VariantFolder(dataset, rows, variant, [s for _, s in rows], 0)


@pytest.mark.parametrize(("factor", "size"), [(0.5, (16, 10)), (0.01, (1, 1)), (2.0, (62, 40))])
def test_images_are_rescaled_before_anyone_sees_them(
    dataset: DatasetFolder, factor: float, size: tuple[int, int]
) -> None:
    folder = folder_of(dataset, Variant("rescale", factor))
    first = next(folder.read())
    assert first.images[0].size == size == folder.open_image(first.images[0]).size
    assert first.targets == next(dataset.read()).targets and first.image_set == next(dataset.read()).image_set
    wrong = first.images[0].model_copy(update={"width": 99})
    with pytest.raises(ImageError, match="the row says 99"):
        folder.open_image(wrong, "s0")


def test_sizes_that_are_not_known_stay_unknown(dataset: DatasetFolder) -> None:
    bare = sample().model_copy(update={"images": (ImageRef(path="a.png"), ImageRef(path="b.png"))})
    assert [ref.measured for ref in rescaled(bare, 0.5).images] == [False, False]


def test_an_image_that_becomes_too_large_is_refused(dataset: DatasetFolder) -> None:
    folder = folder_of(dataset, Variant("rescale", 8.0))
    folder.limits = folder.limits.__class__(max_pixels=1000)
    with pytest.raises(ImageError, match="more than 1,000 pixels"):
        folder.open_image(next(folder.read()).images[0])


def test_what_is_left_out_is_counted_with_its_row(dataset: DatasetFolder) -> None:
    folder = folder_of(dataset, Variant("permute"))
    rejected: list[Any] = []
    assert [s.id for s in folder.read(rejected.append)] == ["s0", "s2"]
    assert [(r.id, r.row) for r in rejected] == [("s1", 2)] and "rewritten safely" in rejected[0].reason
    assert folder.left_out_words() == [f"1 of 3 samples are left out, each because {rejected[0].reason}"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ((False, None, None), []),
        ((True, 2, 0.5), ["permute", "distractors-2", "rescale-0.5"]),
        ((False, None, 2.0), ["rescale-2"]),
    ],
)
def test_what_is_asked_for(given: tuple[bool, int | None, float | None], names: list[str]) -> None:
    assert [variant.name for variant in variants(*given)] == names


@pytest.mark.parametrize("given", [(False, 0, None), (False, 65, None), (False, None, 0.0), (False, None, 1.0)])
@pytest.mark.parametrize("nan", [False, True])
def test_numbers_out_of_range(given: tuple[bool, int | None, float | None], nan: bool) -> None:
    with pytest.raises(ConfigError):
        variants(*((False, None, float("nan")) if nan else given))
