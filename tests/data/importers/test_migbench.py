from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from fakes.importing import only
from fakes.migbench import ROWS, annotation_rows, revised_rows, write_annotations
from mirg.data.importers.migbench import PAPER_NAMES, Item, load_annotations, target_images
from mirg.errors import DataError, StorageError


@pytest.mark.parametrize(("row", "images"), ROWS, ids=[f"{i}-{row['task']}" for i, (row, _) in enumerate(ROWS)])
def test_the_target_image_is_derived(row: dict[str, object], images: tuple[int, ...]) -> None:
    found = target_images(
        str(row["task"]),
        len(list(row["images"])),
        str(row["question"]),
        str(row["additional_info"]),  # type: ignore[call-overload]
    )
    assert found == images


@pytest.mark.parametrize(
    ("task", "n", "question", "info", "why"),
    [
        ("object_tracking", 6, "please locate it in the 7th image.", "", "there is no seventh image"),
        ("common_object", 3, "Locate this object.", "", "no image is said"),
        ("group_grounding", 3, "a cup in the second image", "(1,2),(3,4)", "GG has its truth in additional_info"),
        ("group_grounding", 3, "a cup", "It is in the fourth image.", "there is no fourth image"),
        ("reasoning", 1, "in the second image", "", "there is one image"),
        ("reasoning", 2, "Use Image-2. Find it in the first image.", "", "the task's answer lies in the second image"),
        ("diff", 2, "their difference in the 3th image.", "", "there is no third image"),
        ("diff", 2, "what Image-1 and Image-2 differ in", "", "two images are named"),
        ("region", 3, "locate the 3th region picture in the source image.", "", "there are two crops"),
        ("group_grounding", 3, "a cup", "It is in the first image or in the third image.", "two images are named"),
    ],
)
def test_an_image_that_is_not_told_is_not_guessed(task: str, n: int, question: str, info: str, why: str) -> None:
    assert target_images(task, n, question, info) == (), why


@pytest.mark.parametrize(
    ("question", "images"),
    [
        ("Compare these two images and give me their difference. ", (1, 2)),
        ("Give me the coordinates of their difference in the 1th image. ", (1,)),
        ("Give me the coordinates of their difference in the 2th image.", (2,)),
        ("In the first image, mark what differs.", (1,)),
        ("Mark in Image-2 what differs.", (2,)),
        ("Mark in Image-2 what differs: Image-2 was edited.", (2,)),
    ],
)
def test_a_static_question_that_names_an_image_has_one_target_image(question: str, images: tuple[int, ...]) -> None:
    assert target_images("diff", 2, question, "") == images


def test_the_revised_version_has_its_own_images_and_defects(tmp_path: Path) -> None:
    rows = revised_rows()
    annotations = load_annotations(write_annotations(tmp_path / "r.json", [row for row, _ in rows]), revised=True)
    for item, (row, images) in zip(annotations.items, rows, strict=True):
        assert item.targets == images
        assert item.answer == tuple(v / 1000 for v in row["answer"])
        assert item.image_hidden == (item.task == "group_grounding")
    assert {(d.index, d.kind) for d in annotations.defects} == {
        (5, "inverted_box"),
        (12, "outside_image"),
        (13, "duplicate"),
    }


def test_defects_are_reported_and_nothing_is_dropped(tmp_path: Path) -> None:
    annotations = load_annotations(write_annotations(tmp_path / "a.json"))
    assert len(annotations.items) == len(ROWS)
    assert [item.index for item in annotations.items] == list(range(len(ROWS)))
    found = {(defect.index, defect.kind) for defect in annotations.defects}
    assert found == {(3, "inverted_box"), (10, "outside_image"), (11, "duplicate")}
    assert {item.task for item in annotations.items} == set(PAPER_NAMES)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": "unheard_of"}, "task is 'unheard_of'"),
        ({"images": []}, "images"),
        ({"images": [1]}, "images"),
        ({"question": None}, "question"),
        ({"answer": [0.1, 0.2, 0.3]}, "four finite numbers"),
        ({"answer": [0.1, 0.2, 0.3, "0.4"]}, "four finite numbers"),
        ({"answer": [0.1, 0.2, float("nan"), 0.4]}, "four finite numbers"),
        ({"answer": [True, 0.2, 0.3, 0.4]}, "four finite numbers"),
    ],
)
def test_a_row_of_another_schema_is_named(tmp_path: Path, change: dict[str, object], says: str) -> None:
    rows = annotation_rows()
    rows[4] = {**rows[4], **change}
    with pytest.raises(DataError, match="item 4") as caught:
        load_annotations(write_annotations(tmp_path / "a.json", rows))
    assert says in caught.value.message


def test_files_that_are_no_annotations(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for text in ("{}", "[]", "[1]", '"x"'):
        file.write_text(text)
        with pytest.raises(DataError):
            load_annotations(file)
    file.write_text("[{")
    with pytest.raises(StorageError):
        load_annotations(file)
    with pytest.raises(StorageError):
        load_annotations(tmp_path / "missing.json")


def test_the_revised_version_is_refused(tmp_path: Path) -> None:
    rows = [{**row, "answer": [int(1000 * v) for v in row["answer"]]} for row in annotation_rows()]
    with pytest.raises(DataError, match="REVISED"):
        load_annotations(write_annotations(tmp_path / "a.json", rows))


@pytest.fixture
def real_file(repository: Path) -> Path:
    file = repository.parent / "shared" / "data" / "mig_bench" / "MIG_data.json"
    if not file.is_file():
        pytest.skip("MIG-Bench's MIG_data.json is not beside the repository (it is not part of it)")
    return file


def test_the_published_file(real_file: Path) -> None:
    annotations = load_annotations(real_file)
    counts = Counter(item.task for item in annotations.items)
    assert counts == {
        "diff": 528,
        "view_diff": 94,
        "common_object": 816,
        "object_tracking": 550,
        "multi_view": 288,
        "region": 1203,
        "refer_grounding": 99,
        "group_grounding": 499,
        "reasoning": 101,
        "correspondence": 117,
    }
    by_kind = {kind: [d.index for d in annotations.defects if d.kind == kind] for kind in ("inverted_box", "duplicate")}
    assert by_kind == {"inverted_box": [7, 105, 126, 163, 512], "duplicate": [2094, 2095]}
    assert [d.index for d in annotations.defects if d.kind == "outside_image"] == [34, 703]
    assert len(annotations.defects) == 9  # so every item's target image is known
    later = [item for item in annotations.items if item.task in ("object_tracking", "multi_view")]
    assert all(item.targets[0] >= 2 for item in later)
    hidden = Counter(item.targets for item in annotations.items if item.task == "group_grounding")
    assert hidden == {(1,): 127, (2,): 128, (3,): 127, (4,): 77, (5,): 40}
    assert json.dumps(annotations.items[0].answer) == "[0.321, 0.096, 0.999, 0.724]"


def test_the_published_revised_file(repository: Path) -> None:
    file = repository.parent / "shared" / "data" / "mig_bench_revised" / "revised_MIG_bench.json"
    if not file.is_file():
        pytest.skip("the revised MIG-Bench is not beside the repository (it is not part of it)")
    annotations = load_annotations(file, revised=True)
    assert [(d.index, d.kind) for d in annotations.defects] == [(1551, "duplicate"), (1552, "duplicate")]
    by_task = {
        task: Counter(item.targets for item in annotations.items if item.task == task)
        for task in ("diff", "group_grounding", "region", "reasoning", "common_object")
    }
    assert by_task == {
        "diff": {(1,): 274, (2,): 254},
        "group_grounding": {(1,): 126, (2,): 125, (3,): 122, (4,): 75, (5,): 37},
        "region": {(1,): 1203},
        "reasoning": {(2,): 97},
        "common_object": {(1,): 201, (2,): 201, (3,): 201, (4,): 155, (5,): 57},
    }
    assert Counter(item.task for item in annotations.items if item.image_hidden) == {"group_grounding": 485}
    assert annotations.items[0].answer == (0.024, 0.093, 0.999, 0.91)


def test_both_versions_point_to_the_same_images(repository: Path) -> None:
    """The questions that both versions share are about the same image; Static is named in the revised version only."""
    shared = repository.parent / "shared" / "data"
    files = (shared / "mig_bench" / "MIG_data.json", shared / "mig_bench_revised" / "revised_MIG_bench.json")
    if not all(file.is_file() for file in files):
        pytest.skip("the two versions of MIG-Bench are not beside the repository (they are not part of it)")
    original, revised = (load_annotations(file, revised=k == 1).items for k, file in enumerate(files))
    known = {(item.task, *(path.removeprefix("./") for path in item.images), item.question): item for item in original}
    same = [
        (known[key].targets, item.targets)
        for item in revised
        if (key := (item.task, *item.images, item.question)) in known
    ]
    assert len(same) > 3500 and all(before == after for before, after in same)


@pytest.mark.parametrize(
    ("task", "roles"),
    [("object_tracking", "rff"), ("region", "srr"), ("multi_view", "rcc"), ("group_grounding", "ccc")],
)
def test_the_roles_of_the_images(task: str, roles: str) -> None:
    sample = only("migbench", (Item(0, task, ("a.png",) * 3, "?", (0.1, 0.2, 0.5, 0.6), "", (2,)), None, False))
    assert "".join(image.role[0] for image in sample.images) == roles


def test_the_phrase_that_a_question_refers_to_is_its_subject() -> None:
    question = "Find the region: <|object_ref_start|>a cup on  a table<|object_ref_end|>."
    sample = only(
        "migbench", (Item(0, "group_grounding", ("a.png",) * 3, question, (0.1, 0.2, 0.5, 0.6), "", (2,)), None, False)
    )
    assert sample.meta["subject"] == "a cup on a table" and "object_ref" not in sample.question
