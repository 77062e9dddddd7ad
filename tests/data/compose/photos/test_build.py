"""Samples out of photographs: the true boxes are correct, nothing is ambiguous, the same seed gives the same."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakes.photographs import folder_of_photographs, photograph
from mirg.answers.markup import cited
from mirg.data.compose.photos.alter import difference
from mirg.data.compose.photos.blend import blended
from mirg.data.compose.photos.build import REJECTED_FILE, PhotoReport, write_photo_samples
from mirg.data.compose.photos.places import draw_place, find_place, views
from mirg.data.compose.photos.pool import PHOTO_TASKS, Found, PhotoConfig, PhotoPool, find_photos
from mirg.data.compose.pixels import as_pixels, corners, fraction_box, remove
from mirg.errors import DataError, MirgError
from mirg.evaluation.records import make_record
from mirg.families import FAMILIES
from mirg.geometry import iou
from mirg.samples import DatasetFolder, Sample
from mirg.trajectories.checks import failures, verify
from mirg.trajectories.plain import build_plain
from mirg.trajectories.writer import build

N = 64


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_photographs(tmp_path_factory.mktemp("photos"), 9)


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PhotoReport, DatasetFolder, list[Sample]]:
    out = tmp_path_factory.mktemp("out") / "data"
    report = write_photo_samples(photos, out, PhotoConfig(n=N, side=160))
    dataset = DatasetFolder.open(out)
    return report, dataset, list(dataset.read(images="decode"))


def pixels_of(dataset: DatasetFolder, sample: Sample, number: int) -> np.ndarray:
    return as_pixels(dataset.open_image(sample.images[number - 1]))


def cut_out(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (round(v * s) for v, s in zip(box, (width, height) * 2, strict=True))
    return image[y1:y2, x1:x2]


def test_every_sample_asked_for_is_made_and_counted(made) -> None:
    report, dataset, samples = made
    assert report.n_asked == N == report.n_samples + report.n_not_made
    assert len(samples) == report.n_samples >= 0.9 * N
    assert dataset.card.tasks == report.tasks and set(report.tasks) == set(PHOTO_TASKS)
    assert dataset.verify() == []
    assert (dataset.root / REJECTED_FILE).read_text() == ""


def test_region_crops_are_the_pixels_at_their_boxes(made) -> None:
    _, dataset, samples = made
    for sample in (s for s in samples if s.task == "region"):
        (target,) = sample.targets
        photo = pixels_of(dataset, sample, 1)
        asked = [k for k, image in enumerate(sample.images, 1) if image.role == "reference"]
        assert asked == [sample.meta["asked_image"]] and f"Image-{asked[0]}" in sample.question
        np.testing.assert_array_equal(cut_out(photo, target.box), pixels_of(dataset, sample, asked[0]))
        boxes = [note.box for note in sample.images[0].objects]
        assert len(boxes) == len(sample.images) - 1 and target.box == boxes[asked[0] - 2]
        assert all(iou(a, b) <= 0.1 for a in boxes for b in boxes if a is not b), "crops of distinct places"
        assert not sample.image_hidden and target.image == 1


def test_refer_points_into_the_photograph_that_the_crop_is_of(made) -> None:
    _, dataset, samples = made
    for sample in (s for s in samples if s.task == "refer"):
        (target,) = sample.targets
        crop = pixels_of(dataset, sample, 1)
        np.testing.assert_array_equal(cut_out(pixels_of(dataset, sample, target.image), target.box), crop)
        assert target.image > 1 and sample.image_hidden
        assert len({image.path for image in sample.images}) == len(sample.images), "candidates are several photographs"
        assert [bool(image.objects) for image in sample.images[1:]].count(True) == 1


def test_difference_is_inside_the_box_and_nowhere_else(made) -> None:
    _, dataset, samples = made
    kinds = set()
    for sample in (s for s in samples if s.task == "difference"):
        (target,) = sample.targets
        changed, original = pixels_of(dataset, sample, target.image), pixels_of(dataset, sample, 3 - target.image)
        gap = np.abs(changed - original)
        inside = np.zeros(gap.shape[:2], dtype=bool)
        cut_out(inside, target.box)[:] = True
        assert not gap[~inside].any()
        assert np.sqrt((gap[inside] ** 2).mean()) >= 0.1 - 1e-9
        assert sample.image_hidden
        kinds.add(sample.meta["alteration"])
    assert kinds == {"paste", "remove"}


def test_the_answer_is_in_several_of_the_images_that_it_can_be_in(made) -> None:
    _, _, samples = made
    for task, numbers in (
        ("difference", {1, 2}), ("refer", {2, 3, 4}), ("region", {1}), ("view_difference", {1, 2}),
        ("object_tracking", {2, 3, 4}), ("multi_target", {2, 3, 4}), ("odd_one_out", {1, 2, 3, 4}),
    ):  # fmt: skip
        found = {t.image for s in samples if s.task == task for t in s.targets}
        assert found <= numbers and (len(found) > 1 or task == "region")


def test_the_image_set_is_the_photograph_that_the_answer_lies_in(made) -> None:
    """Crops of one photograph are other files; an interval that took them for independent would be too short."""
    report, _, samples = made
    tasks: dict[str, set[str]] = {}
    for sample in samples:
        first = next((k for k, image in enumerate(sample.images) if image.role != "reference"), 0)
        holder = min((target.image - 1 for target in sample.targets), default=first)
        assert sample.image_set == sample.meta["photos"][holder]
        tasks.setdefault(sample.image_set, set()).add(sample.task)
    assert 1 < len(tasks) <= len(report.found.photos), "as many independent units as photographs, at most"
    assert max(map(len, tasks.values())) > 3, "tasks about one photograph share its set"
    records = [make_record(sample, "", family=FAMILIES["qwen3-vl"]) for sample in samples]
    assert {record.image_set for record in records} == set(tasks)


def test_rule_written_trajectories_pass_their_checks(made) -> None:
    _, _, samples = made
    for sample in samples:
        for trajectory in (build(sample), build_plain(sample)):
            assert not failures(verify(sample, trajectory))


def test_the_same_seed_gives_the_same_files_and_another_seed_others(photos: Path, tmp_path: Path) -> None:
    digests = []
    for k, seed in enumerate((0, 0, 1)):
        write_photo_samples(photos, tmp_path / str(k), PhotoConfig(n=8, side=96, seed=seed))
        digests.append(DatasetFolder.open(tmp_path / str(k)).card.digest)
    assert digests[0] == digests[1] != digests[2]


def likeness(piece: np.ndarray, other: np.ndarray) -> float:
    """Correlation of the middles of two pieces of any size, after a common light."""
    planes = []
    for pixels in (piece, other):
        image = Image.fromarray((255 * pixels).astype(np.uint8)).convert("L").resize((24, 24))
        planes.append(np.asarray(image, dtype=float)[6:18, 6:18])
    return float(np.corrcoef(planes[0].ravel(), planes[1].ravel())[0, 1])


def test_a_tracked_patch_is_seen_at_its_box_in_every_image(made) -> None:
    _, dataset, samples = made
    found, alike = [s for s in samples if s.task == "object_tracking"], []
    for sample in found:
        ((image, box),) = cited(sample.question)
        piece = cut_out(pixels_of(dataset, sample, image), box)
        assert image == 1 and not sample.image_hidden and all(target.image > 1 for target in sample.targets)
        for target in sample.targets:
            alike.append(likeness(piece, cut_out(pixels_of(dataset, sample, target.image), target.box)))
        assert len(set(sample.meta["photos"])) == len(sample.images), "every image has another background"
    assert min(alike) > 0.3 and np.mean(alike) > 0.8
    assert {len(s.targets) > 1 for s in found} == {True, False}, "one image, or all of them"


def test_every_copy_of_a_crop_is_a_target(made) -> None:
    _, dataset, samples = made
    found, alike = [s for s in samples if s.task == "multi_target"], []
    for sample in found:
        crop = pixels_of(dataset, sample, 1)
        assert 2 <= len(sample.targets) <= 4 and sample.images[0].role == "reference"
        for target in sample.targets:
            alike.append(likeness(crop, cut_out(pixels_of(dataset, sample, target.image), target.box)))
        boxes = [(target.image, target.box) for target in sample.targets]
        assert all(iou(a, b) == 0 for i, a in boxes for j, b in boxes if i == j and a is not b)
    assert any(len(s.target_images) > 1 for s in found)
    assert min(alike) > 0.3 and np.mean(alike) > 0.8


def test_half_of_the_questions_about_none_have_a_target(made) -> None:
    _, dataset, samples = made
    found = [s for s in samples if s.task == "none_of_them"]
    kinds = Counter((s.images[0].role == "reference", bool(s.targets)) for s in found)
    assert {part for part, _ in kinds} == {true for _, true in kinds} == {True, False}
    for sample in found:
        if sample.images[0].role != "reference":
            equal = np.array_equal(pixels_of(dataset, sample, 1), pixels_of(dataset, sample, 2))
            assert equal == (not sample.targets)
        elif sample.targets:
            (target,) = sample.targets
            piece = cut_out(pixels_of(dataset, sample, target.image), target.box)
            np.testing.assert_array_equal(piece, pixels_of(dataset, sample, 1))
        else:
            assert sample.meta["photos"][0] not in sample.meta["photos"][1:]


@pytest.mark.parametrize("task", ["view_difference", "odd_one_out"])
def test_views_differ_in_their_windows_and_one_of_them_has_the_patch(made, task: str) -> None:
    _, _, samples = made
    for sample in (s for s in samples if s.task == task):
        assert len(sample.images) == 2 if task == "view_difference" else len(sample.images) >= 3
        assert len({image.sha256 for image in sample.images}) == len(sample.images)
        assert len(set(sample.meta["photos"])) == 1
        assert [k for k, image in enumerate(sample.images, 1) if image.objects] == [sample.targets[0].image]


def test_the_box_in_a_view_is_where_the_view_shows_the_place() -> None:
    """A place that is painted, in a photograph that is not square."""
    image, place = photograph(3, (400, 240)), (150, 60, 90, 70)
    image.paste((255, 0, 255), corners(place))
    for seed in range(8):
        chosen = views(random.Random(seed), image.size, place, 3)
        assert chosen is not None and len({view.window for view in chosen}) == 3
        for view in chosen:
            pixels = as_pixels(view.render(image))
            box = view.box(fraction_box(place, image.size))
            painted = np.argwhere((pixels[..., 0] > 0.8) & (pixels[..., 1] < 0.2) & (pixels[..., 2] > 0.8))
            (y1, x1), (y2, x2) = painted.min(axis=0), painted.max(axis=0) + 1
            height, width = pixels.shape[:2]
            assert (x1, y1, x2, y2) == pytest.approx(
                [v * s for v, s in zip(box, (width, height) * 2, strict=True)], abs=2
            )


@pytest.mark.parametrize("size", [(60, 40), (5, 9), (2, 1), (33, 80)])
def test_blending_changes_the_place_only_and_shows_the_piece_in_its_middle(size: tuple[int, int]) -> None:
    photo, place = photograph(1, (200, 120)), (50, 20, *size)
    piece = photograph(2, size)
    result = as_pixels(blended(random.Random(0), photo, piece, place))
    before, outside = as_pixels(photo), np.ones((120, 200), dtype=bool)
    outside[20 : 20 + size[1], 50 : 50 + size[0]] = False
    np.testing.assert_array_equal(result[outside], before[outside])
    if min(size) > 30:
        inside = result[20 : 20 + size[1], 50 : 50 + size[0]]
        assert likeness(inside, as_pixels(piece)) > 0.8 > abs(likeness(inside, before[~outside].reshape(inside.shape)))


def test_train_and_test_share_no_photograph(made, photos: Path, tmp_path: Path) -> None:
    _, _, train = made
    write_photo_samples(photos, tmp_path / "test", PhotoConfig(n=12, side=160, split="test"))
    test = list(DatasetFolder.open(tmp_path / "test").read())
    sources = [{digest for sample in part for digest in sample.meta["photos"]} for part in (train, test)]
    assert sources[0] and sources[1] and not sources[0] & sources[1]
    files = [{image.sha256 for sample in part for image in sample.images} for part in (train, test)]
    assert not files[0] & files[1]


def test_two_photographs_are_enough_and_refer_is_left_out(tmp_path: Path) -> None:
    root = folder_of_photographs(tmp_path / "two", 2)
    for split in ("train", "test"):
        report = write_photo_samples(root, tmp_path / split, PhotoConfig(n=8, side=96, split=split))
        assert set(report.tasks) <= set(PHOTO_TASKS) - {"refer", "object_tracking", "multi_target"}
        assert {"region", "difference"} <= set(report.tasks) and len(report.found.photos) == 1


def flat(folder: Path) -> Path:
    folder.mkdir()
    for tone in (10, 200):
        Image.new("RGB", (200, 150), (tone, tone, tone)).save(folder / f"{tone}.png")
    return folder


@pytest.mark.parametrize(
    ("why", "make", "config", "words"),
    [
        ("flat photographs", flat, PhotoConfig(n=3, tasks=("region",)), "distinguishable from the rest"),
        ("one photograph", lambda p: folder_of_photographs(p, 1), PhotoConfig(n=3, tasks=("refer",)), "photograph"),
    ],
)
def test_photographs_that_give_no_sample_are_an_error_and_leave_nothing(
    tmp_path: Path, why: str, make, config: PhotoConfig, words: str
) -> None:
    root = make(tmp_path / "in")
    with pytest.raises(DataError, match=words):
        write_photo_samples(root, tmp_path / "out", config)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_place_that_another_photograph_shows_too_is_not_unique(tmp_path: Path) -> None:
    root = folder_of_photographs(tmp_path, 1)
    with Image.open(next(root.rglob("*.png"))) as image:
        image.putpixel((0, 0), (1, 2, 3))
        image.save(root / "nearly the same.png")
    config = PhotoConfig(test_share=0, side=160)
    pool = PhotoPool(find_photos(root, config).photos, config)
    assert find_place(random.Random(0), pool, 0) and not find_place(random.Random(0), pool, 0, others=[1])


def test_a_piece_of_the_same_photograph_is_of_another_place(tmp_path: Path, monkeypatch) -> None:
    config, taken = PhotoConfig(test_share=0, side=160), []
    pool = PhotoPool(find_photos(folder_of_photographs(tmp_path, 1), config).photos, config)
    monkeypatch.setattr("mirg.data.compose.photos.alter.similar_place", lambda *given: taken.append(given[-1]))
    for seed in range(9):
        difference(random.Random(seed), pool)
    assert taken and all(taken), "the place that is pasted is not pasted over"


def test_out_inside_the_photographs_is_refused(photos: Path) -> None:
    with pytest.raises(DataError, match="is inside"):
        write_photo_samples(photos, photos / "out", PhotoConfig(n=1))


def test_rejected_files_are_kept_beside_the_samples(tmp_path: Path) -> None:
    root = folder_of_photographs(tmp_path / "in", 3)
    (root / "bad.jpg").write_bytes(b"no")
    report = write_photo_samples(root, tmp_path / "out", PhotoConfig(n=3, side=96))
    rows = [json.loads(line) for line in (tmp_path / "out" / REJECTED_FILE).read_text().splitlines()]
    assert [row["file"] for row in rows] == ["bad.jpg"] and len(report.rejected) == 1


@pytest.mark.parametrize("place", [(0, 0, 20, 20), (30, 10, 20, 15), (44, 28, 20, 20), (0, 0, 64, 20)])
def test_removal_fills_from_the_border(place: tuple[int, int, int, int]) -> None:
    ramp = np.tile(np.linspace(0, 255, 64)[None, :, None], (48, 1, 3)).round().astype(np.uint8)
    spoilt = ramp.copy()
    x, y, width, height = place
    spoilt[y : y + height, x : x + width] = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    filled = np.asarray(remove(Image.fromarray(spoilt), place))
    inside = filled[y : y + height, x : x + width].astype(int)
    assert inside.std() <= ramp.std() + 1, "what was there is gone"
    outside = np.ones((48, 64), dtype=bool)
    outside[y : y + height, x : x + width] = False
    np.testing.assert_array_equal(filled[outside], spoilt[outside])


def written(case: Any) -> list[Sample]:
    write_photo_samples(case.photos, case.out, case.config, overwrite=True)
    return list(DatasetFolder.open(case.out).read())


def found_in(case: Any) -> Found:
    return find_photos(case.photos, case.config)


def names(case: Any) -> set[str]:
    return {photo.name for photo in found_in(case).photos}


def place(case: Any) -> object:
    pool = PhotoPool(found_in(case).photos, case.config)
    return find_place(case.rng, pool, 0)


def sides(case: Any) -> list[float]:
    """Widths and heights of drawn places, as shares of a photograph that is not square."""
    drawn = [draw_place(case.rng, (2000, 1000), case.config) for _ in range(60)]
    return [value for _, _, width, height in drawn for value in (width / 2000, height / 1000)]


def refused(case: Any) -> str:
    try:
        return str(found_in(case).rejected)
    except DataError as error:
        return error.message


def by_name(case: Any) -> str:
    """Why no sample about a thing with a name can be made."""
    case.config = case.config.model_copy(update={"tasks": ("group_grounding",)})
    with pytest.raises(MirgError) as problem:
        written(case)
    return problem.value.message


class Counting(random.Random):
    """Counts the numbers that are drawn."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.n = 0

    def uniform(self, a: float, b: float) -> float:
        self.n += 1
        return super().uniform(a, b)


# Key, value, what is found, what is expected there (else the value).
SMALL = {"n": 6, "side": 96}
KEYS: list[tuple[Any, ...]] = [
    ("n", 4, lambda case: len(written(case))),
    ("seed", 1, lambda case: {sample.id.split("-")[2] for sample in written(case)}, {"1"}),
    ("seed", 1, lambda case: [t.box for s in written(case) for t in s.targets] == case.plain, False),
    ("split", "test", lambda case: {sample.id.split("-")[1] for sample in written(case)}, {"test"}),
    ("test_share", 0.0, lambda case: len(names(case)), 9),
    ("tasks", ("refer",), lambda case: {sample.task for sample in written(case)}, {"refer"}),
    ("side", 64, lambda case: max(max(ref.size) for sample in written(case) for ref in sample.images)),
    ("square", True, lambda case: {ref.size for sample in written(case) for ref in sample.images}, {(96, 96)}),
    ("max_images", 2, lambda case: max(len(sample.images) for sample in written(case))),
    ("max_photos", 4, lambda case: found_in(case).n_unused, 5),
    ("max_megapixels", 0.05, lambda case: "too large" in refused(case), True),
    ("smallest", 0.4, lambda case: min(sides(case)) > 0.395, True),
    ("largest", 0.25, lambda case: max(sides(case)) < 0.255, True),
    ("min_contrast", 9.0, lambda case: place(case) is None, True),
    ("min_edges", 9.0, lambda case: place(case) is None, True),
    ("max_correlation", -1.0, lambda case: place(case) is None, True),
    ("min_distance", 9.0, lambda case: place(case) is None, True),
    ("min_change", 9.0, lambda case: difference(case.rng, PhotoPool(found_in(case).photos, case.config)) is None,
     True),
    ("cutouts", "nowhere", lambda case: "nowhere holds no PNG" in by_name(case), True),
    ("boxes", "nowhere.json", lambda case: "nowhere.json" in by_name(case), True),
    ("tries", 3, lambda case: (place(case), case.rng.n // 2), (None, 3)),
]  # fmt: skip


@pytest.mark.parametrize("row", KEYS, ids=[row[0] for row in KEYS])
def test_a_key_arrives(row: tuple[Any, ...], photos: Path, tmp_path: Path) -> None:
    """With another value something else is made than with the default."""
    key, value, found, *expected = row
    beside = SMALL | ({"min_contrast": 9.0} if key == "tries" else {})
    case = SimpleNamespace(photos=photos, out=tmp_path / "out", config=PhotoConfig.model_validate(SMALL))
    case.plain = [target.box for sample in written(case) for target in sample.targets] if key == "seed" else []
    results = []
    for more in ({}, {key: value}):
        case.rng, case.config = Counting(0), PhotoConfig.model_validate(beside | more)
        results.append(found(case))
    assert results[1] == (expected[0] if expected else value) != results[0]


def test_every_key_has_a_row() -> None:
    assert PhotoConfig.model_fields.keys() == {row[0] for row in KEYS}
