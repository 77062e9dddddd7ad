"""The truth of composed samples, recomputed from the notes and the pixels that they carry."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from fakes.annotated import KINDS, write_film
from mirg.answers.markup import cited
from mirg.data.compose.build import compose
from mirg.data.compose.pixels import as_pixels
from mirg.data.compose.recipe import TASK_NAMES
from mirg.geometry import iou
from mirg.samples import DatasetFolder, Sample
from mirg.trajectories.checks import failures, verify
from mirg.trajectories.writer import build

HIDDEN = {
    "group_grounding",
    "refer",
    "correspondence",
    "same_instance",
    "multi_target",
    "none",
    "counting",
    "reasoning",
}


def of(samples: list[Sample], *tasks: str) -> list[Sample]:
    found = [sample for sample in samples if sample.task in tasks]
    assert len(found) >= 10
    return found


def labels(sample: Sample) -> list[Counter[str]]:
    return [Counter(note.label for note in image.objects) for image in sample.images]


def pixels_of(dataset: DatasetFolder, sample: Sample, number: int) -> np.ndarray:
    return as_pixels(dataset.open_image(sample.images[number - 1]))


def inside(shape: tuple[int, ...], *boxes: tuple[float, float, float, float]) -> np.ndarray:
    mask = np.zeros(shape[:2], dtype=bool)
    for x1, y1, x2, y2 in boxes:
        mask[round(y1 * shape[0]) : round(y2 * shape[0]), round(x1 * shape[1]) : round(x2 * shape[1])] = True
    return mask


def test_every_task_is_made_and_every_target_is_annotated(composed) -> None:
    _, dataset, samples = composed
    assert {sample.task for sample in samples} == set(TASK_NAMES) and dataset.verify() == []
    for sample in samples:
        for target in sample.targets:
            notes = [note for note in sample.images[target.image - 1].objects if note.label == target.label]
            assert any(iou(note.box, target.box) > 0.999 for note in notes), sample.id
        assert sample.meta["subject"] and sample.meta["choices"] and sample.meta["image_set"]
        assert sample.image_hidden == (sample.task in HIDDEN or sample.meta["question"].endswith("difference_one"))
        assert len({(image.path, image.frame) for image in sample.images}) == len(sample.images)


def test_a_named_object_is_in_one_image_once(composed) -> None:
    _, _, samples = composed
    for sample in of(samples, "group_grounding"):
        (target,) = sample.targets
        held = [counts[target.label] for counts in labels(sample)]
        assert sum(held) == 1 and held[target.image - 1] == 1
        roles = [image.role for image in sample.images]
        assert roles.count("candidate") == 1 and roles[target.image - 1] == "candidate"


def test_none_is_in_none(composed) -> None:
    _, _, samples = composed
    for sample in of(samples, "none"):
        assert not sample.targets and not any(counts[sample.meta["subject"]] for counts in labels(sample))


def test_every_target_of_several_is_asked_for(composed) -> None:
    _, _, samples = composed
    for sample in of(samples, "multi_target"):
        held = [counts[sample.meta["subject"]] for counts in labels(sample)]
        assert held == [sum(t.image == k for t in sample.targets) for k in range(1, len(held) + 1)]
        assert sum(bool(count) for count in held) >= 2 and 0 in held


def test_one_label_alone_is_common(composed) -> None:
    _, _, samples = composed
    for sample in of(samples, "common_object"):
        (target,) = sample.targets
        shared = set.intersection(*(set(counts) for counts in labels(sample)))
        assert shared == {target.label} and all(counts[target.label] == 1 for counts in labels(sample))
        assert f"Image-{target.image}" in sample.question


def test_the_image_with_the_most_has_the_most(composed) -> None:
    _, _, samples = composed
    for sample in of(samples, "counting"):
        held = [counts[sample.meta["counted"]] for counts in labels(sample)]
        assert held.count(max(held)) == 1 and max(held) == len(sample.targets) >= 2
        assert {t.image for t in sample.targets} == {1 + held.index(max(held))} and sorted(held)[-2] >= 1


def test_comparisons_have_one_answer(composed) -> None:
    _, _, samples = composed
    forms = set()
    for sample in of(samples, "reasoning"):
        (target,) = sample.targets
        forms.add(sample.meta["question"])
        if sample.meta["question"] == "reasoning_both":
            both = [bool(c[target.label] and c[sample.meta["beside"]]) for c in labels(sample)]
            assert both.count(True) == 1 and both[target.image - 1]
            others = [c for k, c in enumerate(labels(sample), 1) if k != target.image]
            assert any(c[target.label] or c[sample.meta["beside"]] for c in others), "one word would not do"
        else:
            areas = [
                sum((n.box[2] - n.box[0]) * (n.box[3] - n.box[1]) for n in image.objects if n.label == target.label)
                for image in sample.images
            ]
            first, second = sorted(areas, reverse=True)[:2]
            assert areas.index(first) == target.image - 1 and first >= 1.5 * second > 0
            assert all(counts[target.label] <= 1 for counts in labels(sample))
    assert forms == {"reasoning_both", "reasoning_larger"}


def test_a_marked_object_has_one_counterpart(composed) -> None:
    _, _, samples = composed
    for sample in of(samples, "correspondence"):
        (target,) = sample.targets
        ((number, box),) = cited(sample.question)
        assert number == 1 != target.image
        assert any(iou(n.box, box) > 0.999 and n.label == target.label for n in sample.images[0].objects)
        assert sum(counts[target.label] for counts in labels(sample)[1:]) == 1


def test_the_same_object_is_in_one_other_image_and_look_alikes_are_others(composed) -> None:
    _, _, samples = composed
    n_alike = 0
    for sample in of(samples, "same_instance"):
        (target,) = sample.targets
        ((number, box),) = cited(sample.question)
        assert number == 1 != target.image and sample.images[0].role == "reference"
        asked = sample.meta["instance"]
        (marked,) = [note for note in sample.images[0].objects if note.attributes["instance_id"] == asked]
        assert iou(marked.box, box) > 0.999 and marked.label == target.label
        held = [[n for n in image.objects if n.attributes["instance_id"] == asked] for image in sample.images]
        assert [len(notes) for notes in held] == [1 if k in (1, target.image) else 0 for k in range(1, len(held) + 1)]
        assert iou(held[target.image - 1][0].box, target.box) > 0.999
        n_alike += any(counts[target.label] for k, counts in enumerate(labels(sample), 1) if k not in (1, target.image))
        assert "Alike: " in build(sample).thinking
    assert n_alike >= 5, "most images that are no answer show an object of the same label"


def test_a_close_up_shows_its_object_and_no_other(composed) -> None:
    _, _, samples = composed
    for sample in of(samples, "refer", "region"):
        (target,) = sample.targets
        (asked,) = [image for image in sample.images if image.role == "reference"]
        own = [note for note in asked.objects if note.label == target.label]
        assert len(own) == 1
        for note in asked.objects:
            area = (note.box[2] - note.box[0]) * (note.box[3] - note.box[1])
            assert note is own[0] or area <= 0.15
        shown = [counts[target.label] for image, counts in zip(sample.images, labels(sample), strict=True)]
        assert shown[target.image - 1] == 1 and sum(shown) == 2, "in the close-up and in the answer"


def test_close_ups_are_of_the_pixels_at_the_target(composed) -> None:
    """The object is cut out of both images and made equally large: the same but for light and resampling."""
    from PIL import Image

    _, dataset, samples = composed
    for sample in of(samples, "refer", "region"):
        (target,) = sample.targets
        (number,) = [k for k, image in enumerate(sample.images, 1) if image.role == "reference"]
        (note,) = [n for n in sample.images[number - 1].objects if n.label == target.label]
        pair = []
        for k, box in ((number, note.box), (target.image, target.box)):
            image = dataset.open_image(sample.images[k - 1])
            x1, y1, x2, y2 = (v * s for v, s in zip(box, image.size * 2, strict=True))
            pair.append(np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR, (x1, y1, x2, y2)).convert("L")))
        assert np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1] > 0.9, sample.id


def test_alterations_are_inside_their_places_and_nowhere_else(composed) -> None:
    _, dataset, samples = composed
    kinds = Counter()
    for sample in of(samples, "difference"):
        (target,) = sample.targets
        kinds[sample.meta["alteration"]] += 1
        mine, other = pixels_of(dataset, sample, target.image), pixels_of(dataset, sample, 3 - target.image)
        gap = np.abs(mine - other).max(axis=2)
        places = [note.box for image in sample.images for note in image.objects if note.label == target.label]
        grown = [(x1 - m(x2 - x1), y1 - m(y2 - y1), x2 + m(x2 - x1), y2 + m(y2 - y1)) for x1, y1, x2, y2 in places]
        mask = inside(gap.shape, *(tuple(min(max(v, 0.0), 1.0) for v in box) for box in grown))
        assert not gap[~mask].any(), sample.id
        assert np.sqrt((gap[inside(gap.shape, target.box)] ** 2).mean()) > 0.08
        mine_labels, other_labels = labels(sample)[target.image - 1], labels(sample)[2 - target.image]
        if sample.meta["alteration"] in ("removed", "added"):
            assert mine_labels - other_labels == Counter([target.label]) and not other_labels - mine_labels
        else:
            assert mine_labels == other_labels and f"Image-{target.image}" in sample.question
    assert set(kinds) == {"removed", "added", "recoloured", "moved"}


def m(length: float) -> float:
    """The margin that is filled around a removed object, and a pixel for rounding."""
    return 0.08 * length + 0.01


def test_other_views_keep_every_object(composed) -> None:
    _, _, samples = composed
    sizes = set()
    for sample in of(samples, "view_difference"):
        counts = labels(sample)
        gone = (counts[0] - counts[1]) + (counts[1] - counts[0])
        same = sample.meta["alteration"] in ("recoloured", "moved")
        assert gone == (Counter() if same else Counter([sample.meta["subject"]]))
        sizes.add(sample.images[0].size == sample.images[1].size)
    assert sizes == {False}, "one of the two is another view"


def test_a_tracked_object_moves_on_and_keeps_its_look(composed) -> None:
    _, dataset, samples = composed
    for sample in of(samples, "object_tracking"):
        (target,) = sample.targets
        ((number, start),) = cited(sample.question)
        assert number == 1 and f"Image-{target.image}" in sample.question and target.image > 1
        assert [image.frame for image in sample.images] == list(range(1, len(sample.images) + 1))
        boxes = [[n.box for n in image.objects if n.label == target.label] for image in sample.images]
        assert all(len(found) == 1 for found in boxes) and boxes[0][0] == start
        centres = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for (b,) in boxes]
        steps = [np.hypot(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(centres)]
        assert min(steps) > 0.03 and max(steps) < 0.2
        first, later = pixels_of(dataset, sample, 1), pixels_of(dataset, sample, target.image)
        gap = np.abs(first - later).max(axis=2)
        mask = inside(gap.shape, start, target.box)
        assert not gap[~mask].any() and gap[mask].max() > 0.1


def test_frames_of_a_film_stay_in_the_order_of_time(tmp_path, recipe) -> None:
    film = write_film(tmp_path / "film", 8)
    update = {"source": str(film.root), "n": 24, "weights": {"object_tracking": 1.0}, "distractors": "random"}
    compose(recipe.model_copy(update=update), tmp_path / "out")
    samples = list(DatasetFolder.open(tmp_path / "out").read())
    real = [sample for sample in samples if not sample.meta["made"]]
    assert len(real) >= 5 and len(real) < len(samples)
    for sample in real:
        frames = [image.frame for image in sample.images]
        assert frames == sorted(frames) and len({image.path[:12] for image in sample.images}) == 1
        assert all(image.path.startswith("@") for image in sample.images), "frames are referred to"
        assert not failures(verify(sample, build(sample)))


@pytest.mark.parametrize("similarity", ["same_category", "near", "random"])
def test_distractors_are_as_like_as_asked(similarity: str, recipe, tmp_path) -> None:
    update = {"n": 40, "weights": {"group_grounding": 1.0}, "distractors": similarity}
    report = compose(recipe.model_copy(update=update), tmp_path / "out")
    assert report.n_like and report.n_unlike == 0, "this pool has enough of each sort"
    for sample in DatasetFolder.open(tmp_path / "out").read():
        subject = sample.meta["subject"]
        for counts in (c for c in labels(sample) if subject not in c):
            if similarity == "same_category":
                assert any(KINDS[label] == KINDS[subject] for label in counts)
