"""Incomplete annotation: no composed sample claims that something is absent, single or all there is, unless it is.

The truth is a complete dataset. Its annotation is exported to COCO, parts of it are removed in the ways in which real
files lack them, and what is composed of the rest is compared with the truth.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from fakes.annotated import SHAPES, rewritten, write_objects
from mirg.cli.main import app
from mirg.data.compose.build import ComposeReport, compose
from mirg.data.compose.pool import PoolImage, Thing, read_pool
from mirg.data.compose.recipe import TASK_NAMES, ComposeRecipe
from mirg.data.exporters.build import export_dataset, make_plan
from mirg.data.filter import Criteria, write_filtered
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import import_dataset
from mirg.data.mix import write_mix
from mirg.data.split import write_split
from mirg.samples import DatasetFolder, DatasetWriter, ImageRef, ObjectNote, Sample
from mirg.samples.coverage import Coverage

Doc = dict[str, Any]
Truth = dict[str, Counter[str]]
SEARCHES = ("group_grounding", "correspondence", "none", "refer")
ABSENCE = (*SEARCHES, "multi_target", "counting", "common_object", "reasoning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    return write_objects(tmp_path_factory.mktemp("whole") / "data", 90, side=96)


@pytest.fixture(scope="module")
def truth(whole: DatasetFolder) -> Truth:
    return {
        str(sample.images[0].sha256): Counter(note.label for note in sample.images[0].objects)
        for sample in whole.read()
    }


@pytest.fixture(scope="module")
def annotations(whole: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The whole annotation as COCO's JSON."""
    out = tmp_path_factory.mktemp("exported") / "coco"
    export_dataset(whole, make_plan(whole, out), "coco")
    return (out / "annotations.json").read_text()


def imported(whole: DatasetFolder, value: Doc, out: Path) -> DatasetFolder:
    for row in (*value["images"], *value["annotations"]):  # only the files of other people
        for key in ("sample_id", "vocabulary", "kind"):
            row.pop(key, None)
    file = out.parent / f"{out.name}.json"
    file.write_text(json.dumps(value))
    import_dataset("coco", file, out, ImportOptions(root=str(whole.root)))
    return DatasetFolder.open(out)


def composed(
    source: DatasetFolder, out: Path, tasks: tuple[str, ...], n: int = 80, **settings: Any
) -> tuple[ComposeReport, list[Sample]]:
    recipe = ComposeRecipe(source=str(source.root), n=n, side=96, weights=dict.fromkeys(tasks, 1.0), **settings)
    report = compose(recipe, out)
    assert report.n_samples >= 0.6 * n and set(report.tasks) == set(tasks)
    return report, list(DatasetFolder.open(out).read(images="header"))


def wrong(sample: Sample, truth: Truth) -> str | None:
    """What a sample claims against the truth, or None. Edited images, and tasks in which all are, are left out."""
    if sample.task not in ABSENCE:
        return None
    held = [truth.get(str(image.sha256)) for image in sample.images]
    asked, targets = str(sample.meta["subject"]), Counter(target.image for target in sample.targets)
    counts = {k: found[asked] for k, found in enumerate(held, 1) if found is not None}
    start = 2 if sample.task == "correspondence" else 1
    if sample.task in SEARCHES:
        found = {k: n for k, n in counts.items() if k >= start and sample.images[k - 1].role != "reference" and n}
        expected = {k: n for k, n in targets.items() if k in counts}
        return None if found == expected else f"{asked} is in {found}, said to be in {expected}"
    if sample.task == "multi_target":
        return None if {k: n for k, n in counts.items() if n} == dict(targets) else "not all are targets"
    if sample.task == "counting":
        (best,) = targets
        rivals = [n for k, n in counts.items() if k != best]
        return None if counts[best] == targets[best] > max(rivals) else f"{counts} of {asked}, {targets} said"
    if sample.task == "common_object":
        shared = set.intersection(*(set(found) for found in held if found is not None))
        return None if shared == {asked} and set(counts.values()) == {1} else f"all share {shared}"
    beside = sample.meta.get("beside")
    if isinstance(beside, str):
        both = [k for k, found in enumerate(held, 1) if found and found[asked] and found[beside]]
        return None if both == list(targets) else f"both are in {both}"
    return None if max(counts.values()) == 1 else "one of several is compared"


def spoilt(text: str) -> Doc:
    """Every fifth picture has a crowd, a refused box, an ignored region, or is listed twice with a part each."""
    value = json.loads(text)
    by_image: dict[int, list[Doc]] = {image["id"]: [] for image in value["images"]}
    for row in value["annotations"]:
        by_image[row["image_id"]].append(row)
    for image_id, rows in by_image.items():
        if len(rows) < 2:
            continue
        first = rows[0]
        if image_id % 5 == 0:
            first["iscrowd"] = 1
            value["annotations"].remove(rows[1])  # it is in the crowd region of another category's picture
        elif image_id % 5 == 1:
            first["bbox"] = [1, 2, math.nan, 4]
        elif image_id % 5 == 2:
            first["ignore"] = 1
            value["annotations"].remove(rows[1])
        elif image_id % 5 == 3:
            entry = next(image for image in value["images"] if image["id"] == image_id)
            again = {**entry, "id": 1000 + image_id, "file_name": entry["file_name"].replace("/images/", "/./images/")}
            value["images"].append(again)
            first["image_id"] = again["id"]
    return value


def regions_of(source: DatasetFolder) -> set[str]:
    """The images in which objects may be missing."""
    return {
        str(sample.images[0].sha256)
        for sample in source.read()
        if "incomplete" in sample.meta
        or any({"iscrowd", "ignore"} & set(note.attributes) for note in sample.images[0].objects)
    }


def test_nothing_is_claimed_that_incomplete_images_do_not_support(
    whole: DatasetFolder, truth: Truth, annotations: str, tmp_path: Path
) -> None:
    source = imported(whole, spoilt(annotations), tmp_path / "coco")
    report, samples = composed(source, tmp_path / "out", TASK_NAMES, n=130)
    assert [f"{sample.id}: {problem}" for sample in samples if (problem := wrong(sample, truth))] == []
    regions = regions_of(source)
    shown = {image.sha256 for sample in samples if sample.task != "same_instance" for image in sample.images}
    assert len(regions) > 15 and not shown & regions
    assert report.pool.incomplete["images"] == len(regions)
    assert set(report.pool.incomplete) == {"images", "crowd", "ignored_region", "refused_box"}
    assert report.as_dict()["pool"]["incomplete"] == report.pool.incomplete
    twice = [sample for sample in source.read() if int(sample.id.removeprefix("coco-")) % 5 == 3]
    assert shown & {sample.images[0].sha256 for sample in twice}, "listed twice, they have all their notes"


def test_the_oracle_sees_what_would_be_claimed_otherwise(
    whole: DatasetFolder, truth: Truth, annotations: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = imported(whole, spoilt(annotations), tmp_path / "coco")
    monkeypatch.setattr(PoolImage, "complete", lambda image, key: True)
    _, samples = composed(source, tmp_path / "out", ABSENCE)
    assert sum(wrong(sample, truth) is not None for sample in samples) > 5


def test_the_command_reports_images_and_tasks_that_were_left_out(
    whole: DatasetFolder, annotations: str, tmp_path: Path
) -> None:
    value = spoilt(annotations)
    for row in value["annotations"]:
        row.pop("attributes")
    source = imported(whole, value, tmp_path / "coco")
    args = ["data", "compose", "compose/objects", str(tmp_path / "out"), "-s", f"source={source.root}", "-s", "n=26"]
    result = CliRunner().invoke(app, [*args, "-s", "split=all"])
    assert result.exit_code == 0, result.output
    n = len(regions_of(source))
    assert f"{n} of {len(source)} images are not completely annotated; never used where absence" in result.stdout
    assert "same_instance: left out, no object has the same instance_id in two images" in result.stdout
    alone = CliRunner().invoke(app, [*args[:3], str(tmp_path / "no"), *args[4:], "-s", "weights={same_instance: 1}"])
    assert alone.exit_code == 2 and "no object has the same instance_id" in alone.stderr


def test_what_is_known_survives_filter_split_mix_and_another_export(
    whole: DatasetFolder, annotations: str, tmp_path: Path
) -> None:
    recipe = ComposeRecipe(source="unused")
    source = imported(whole, spoilt(annotations), tmp_path / "coco")
    before = read_pool(source, recipe)
    write_filtered(source, tmp_path / "filtered", Criteria())
    write_split(DatasetFolder.open(tmp_path / "filtered"), tmp_path / "parts", {"train": 0.5, "test": 0.5})
    parts = {name: (DatasetFolder.open(tmp_path / "parts" / name), 1) for name in ("train", "test")}
    n = sum(len(part) for part, _ in parts.values())
    write_mix({k: (part, len(part)) for k, (part, _) in parts.items()}, tmp_path / "mixed", n)
    filtered = DatasetFolder.open(tmp_path / "mixed")
    assert filtered.card.n_samples == len(before)
    export_dataset(filtered, make_plan(filtered, tmp_path / "exported"), "coco")
    again = tmp_path / "again"
    options = ImportOptions(root=str(whole.root))
    import_dataset("coco", tmp_path / "exported" / "annotations.json", again, options)
    for dataset in (filtered, DatasetFolder.open(again)):
        after = read_pool(dataset, recipe)
        assert after.incomplete == before.incomplete
        assert [i.key for i in after.images] == [i.key for i in before.images]
        assert [i.reasons for i in after.images] == [i.reasons for i in before.images]
        assert after.instances.keys() == before.instances.keys()


def federated(text: str) -> Doc:
    """As LVIS: a picture is annotated for some labels; of every third label, half of the objects have no box."""
    value = json.loads(text)
    names = {row["id"]: row["name"] for row in value["categories"]}
    rows, value["annotations"] = value["annotations"], []
    held: dict[int, set[int]] = {image["id"]: set() for image in value["images"]}
    for k, row in enumerate(rows):
        held[row["image_id"]].add(row["category_id"])
        # The first object of a picture stays, another one of a third of the labels is left out.
        if (SHAPES.index(names[row["category_id"]]) + row["image_id"]) % 3 or k % 2:
            value["annotations"].append(row)
    for image in value["images"]:
        kept = {row["category_id"] for row in value["annotations"] if row["image_id"] == image["id"]}
        absent = sorted(set(names) - held[image["id"]])
        image["neg_category_ids"] = absent[: 1 + len(absent) // 2]
        lost = Counter(r["category_id"] for r in rows if r["image_id"] == image["id"])
        lost.subtract(r["category_id"] for r in value["annotations"] if r["image_id"] == image["id"])
        image["not_exhaustive_category_ids"] = [c for c in kept if lost[c]]
    return value


def test_federated_annotation(whole: DatasetFolder, truth: Truth, annotations: str, tmp_path: Path) -> None:
    source = imported(whole, federated(annotations), tmp_path / "coco")
    report, samples = composed(source, tmp_path / "out", (*SEARCHES, "multi_target"), n=50)
    assert [f"{sample.id}: {problem}" for sample in samples if (problem := wrong(sample, truth))] == []
    assert report.pool.incomplete == {"images": len(report.pool), "some_categories": len(report.pool)}
    listed = {str(sample.images[0].sha256): set(sample.meta["categories"]) for sample in source.read()}
    for sample in samples:
        if sample.task == "none":
            assert all(sample.meta["subject"] in listed[str(image.sha256)] for image in sample.images)
        assert isinstance(sample.meta["categories"], list), "what holds for all images of the sample is carried on"


def test_what_two_rows_say_about_one_image_adds_up(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "d", name="d") as writer:
        ref = writer.add_image(Image.new("RGB", (50, 40)), "x")
        ref = ref.model_copy(update={"objects": (ObjectNote(label="cup", box=(0.1, 0.1, 0.5, 0.5)),)})
        for key, said in (("categories", ["dog"]), ("vocabulary", "v")):
            meta = {"annotated": True, key: said}
            writer.add(Sample(id=key, task="t", question="?", images=(ref,), meta=meta))
    (image,) = read_pool(DatasetFolder.open(tmp_path / "d"), ComposeRecipe(source="x")).images
    assert image.known == {"dog", "cup"}


def of_labels(text: str, labels: tuple[str, ...]) -> Doc:
    value = json.loads(text)
    value["categories"] = [row for row in value["categories"] if row["name"] in labels]
    kept = {row["id"] for row in value["categories"]}
    value["annotations"] = [row for row in value["annotations"] if row["category_id"] in kept]
    return value


def test_two_files_that_were_annotated_for_other_categories(
    whole: DatasetFolder, truth: Truth, annotations: str, tmp_path: Path
) -> None:
    """A picture of the first file may show any label of the second one: it is no picture without it."""
    parts = []
    for k, labels in enumerate((SHAPES[:6], SHAPES[4:])):
        value = of_labels(annotations, labels)
        value["images"] = value["images"][k::2]
        ids = {image["id"] for image in value["images"]}
        value["annotations"] = [row for row in value["annotations"] if row["image_id"] in ids]
        parts.append(imported(whole, value, tmp_path / f"part{k}"))
    write_mix({f"part{k}": (part, 1) for k, part in enumerate(parts)}, tmp_path / "mixed")
    source = DatasetFolder.open(tmp_path / "mixed")
    tasks = ("group_grounding", "correspondence", "none", "multi_target", "common_object", "counting")
    report, samples = composed(source, tmp_path / "out", tasks)
    assert [f"{sample.id}: {problem}" for sample in samples if (problem := wrong(sample, truth))] == []
    assert report.pool.incomplete == {"images": len(report.pool), "some_categories": len(report.pool)}


def thing(label: str, box: tuple[float, float, float, float] = (0.1, 0.1, 0.4, 0.4), **attributes: Any) -> Thing:
    note = ObjectNote(label=label, box=box, attributes=attributes)
    return Thing(note, label, bool(attributes.get("iscrowd")))


@pytest.mark.parametrize(
    ("why", "notes", "coverage", "known", "complete", "lacks"),
    [
        ("nothing is said: all is annotated", [thing("dog")], {}, None, {"dog", "cat"}, {"cat"}),
        ("a crowd of dogs", [thing("dog", iscrowd=1)], {}, None, set(), set()),
        ("an ignored region", [thing("dog"), thing("", ignore=1)], {}, None, set(), set()),
        ("a refused box", [thing("dog")], {"incomplete": frozenset(["refused_box"])}, None, set(), set()),
        ("annotated for dogs", [thing("dog")], {}, frozenset(["dog"]), {"dog"}, set()),
        ("annotated for cats, and a dog", [thing("dog")], {}, frozenset(["cat"]), {"cat"}, {"cat"}),
        ("a photograph without objects", [], {"annotated": True}, frozenset(["dog"]), {"dog"}, {"dog"}),
    ],
)
def test_what_an_image_is_complete_for(
    why: str, notes: list[Thing], coverage: dict, known: frozenset[str] | None, complete: set[str], lacks: set[str]
) -> None:
    image = PoolImage("a", ImageRef(path="a.png"), tuple(notes), "a", Coverage(**coverage), known)
    assert {key for key in ("dog", "cat") if image.complete(key)} == complete
    assert {key for key in ("dog", "cat") if image.lacks(key)} == lacks


def test_a_photograph_without_objects_lacks_what_others_of_its_vocabulary_hold(tmp_path: Path) -> None:
    meta = {"annotated": True, "vocabulary": "first file"}
    source = rewritten(write_objects(tmp_path / "data", 6, side=96), emptied(range(3), meta))

    def one_of_each(row: Doc) -> Doc:
        return {**row, "meta": {**row.get("meta", {}), **({"vocabulary": "first file"} if row["id"] == "o3" else {})}}

    pool = read_pool(rewritten(source, one_of_each), ComposeRecipe(source="unused"))
    held = {key for image in pool.images if image.coverage.vocabularies for key in image.by_label}
    empty = [image for image in pool.images if not image.things]
    assert len(empty) == 3 and held
    for image in empty:
        assert {key for key in SHAPES if image.lacks(key)} == held


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, Coverage()),
        ({"incomplete": ["crowd"]}, Coverage(frozenset(["crowd"]))),
        ({"incomplete": "crowd"}, Coverage(frozenset(["not_said"]))),
        ({"incomplete": [1]}, Coverage(frozenset(["not_said"]))),
        ({"categories": [" Dog "], "vocabulary": "v"}, Coverage(categories=frozenset(["dog"]))),
        ({"categories": {"dog": 1}}, Coverage(frozenset(["not_said"]))),
        ({"vocabulary": "v"}, Coverage(vocabularies=frozenset(["v"]))),
        ({"annotated": True}, Coverage()),
        ({"annotated": True, "categories": []}, Coverage(categories=frozenset(), annotated=True)),
        ({"annotated": "yes", "categories": []}, Coverage(categories=frozenset())),
    ],
)
def test_meta_data(meta: dict, expected: Coverage) -> None:
    sample = Sample(id="a", task="t", images=(ImageRef(path="a.png"),), question="?", meta=meta)
    assert Coverage.of(sample) == expected


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [(None, None, None), (None, ["dog"], ["dog"]), (["cat"], ["dog"], ["cat", "dog"]), ([], None, [])],
)
def test_joined_coverage_has_the_categories_of_both(one, other, both) -> None:
    first, second, expected = (Coverage(categories=None if v is None else frozenset(v)) for v in (one, other, both))
    assert first.joined(second) == expected == second.joined(first)


def emptied(numbers: range, meta: dict[str, Any]) -> Callable[[Doc], Doc]:
    """Rows of the given numbers lose their objects and get other meta data."""

    def change(row: Doc) -> Doc:
        if int(row["id"][1:]) not in numbers:
            return row
        return {
            **row,
            "meta": meta,
            "images": [{k: v for k, v in ref.items() if k != "objects"} for ref in row["images"]],
        }

    return change


def test_annotated_photographs_without_objects_are_used_as_images_without_a_label(tmp_path: Path) -> None:
    meta = {"annotated": True, "categories": list(SHAPES[:5])}
    source = rewritten(write_objects(tmp_path / "data", 60, side=96), emptied(range(30), meta))
    recipe = ComposeRecipe(source="unused")
    pool = read_pool(source, recipe)
    assert len(pool) == 60 and pool.n_unnoted == 0
    tasks = ("none", "group_grounding", "reasoning", "difference", "object_tracking")
    report, samples = composed(source, tmp_path / "out", tasks, n=100, distractors="random")
    empty = {image.key for image in pool.images if not image.things}
    uses = Counter(s.task for s in samples for image in s.images if image.sha256 in empty)
    assert uses["none"] > 5 and uses["group_grounding"] > 5 and not uses["difference"]
    for sample in samples:
        if any(image.sha256 in empty for image in sample.images):
            assert sample.meta["subject"] in SHAPES[:5]
    assert report.pool.incomplete == {"images": 30, "some_categories": 30}
    unsaid = rewritten(write_objects(tmp_path / "unsaid", 60, side=96), emptied(range(30), {"annotated": True}))
    assert read_pool(unsaid, recipe).n_unnoted == 30, "annotated for which categories?"
