"""A run of the builders: the same files for any number of workers, images in the right folders, and reasons."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from fakes.annotated import KINDS, rewritten, write_objects
from fakes.commands import invoke
from mirg.data.compose.bench import Draft
from mirg.data.compose.build import REPORT_FILE, ComposeReport, compose
from mirg.data.compose.pool import Pool, cell_of, read_pool
from mirg.data.compose.questions import SHIPPED
from mirg.data.compose.recipe import ComposeRecipe
from mirg.data.compose.worker import Made, Workshop, turns
from mirg.errors import ConfigError, DataError
from mirg.executors import executor
from mirg.geometry import Box
from mirg.samples import DatasetFolder, DatasetWriter, Sample
from mirg.storage import folder_manifest
from mirg.trajectories.build import build_dataset


def changed(recipe: ComposeRecipe, **values: object) -> ComposeRecipe:
    return ComposeRecipe.model_validate({**recipe.model_dump(), **values})


def test_every_sample_asked_for_is_made_and_counted(composed, recipe: ComposeRecipe) -> None:
    report, dataset, samples = composed
    assert report.n_samples == len(samples) == recipe.n and not report.short
    assert dict(report.tasks) == recipe.quotas() == dataset.card.tasks
    stored = json.loads((dataset.root / REPORT_FILE).read_text())
    assert stored["samples"] == recipe.n and stored["recipe"] == recipe.model_dump(mode="json")
    assert {k: v for k, v in stored.items() if k != "recipe"} == report.as_dict()


def test_both_languages_are_asked_in_by_weight(composed) -> None:
    report, _, samples = composed
    assert report.languages["en"] > report.languages["de"] > 0.2 * len(samples)
    assert any("Objekt" in sample.question for sample in samples if sample.meta["language"] == "de")


def test_trajectories_of_every_task_verify(composed, tmp_path: Path) -> None:
    """By the same steps as `mirg trajectories build`, images that lie elsewhere included."""
    report, dataset, _ = composed
    found = build_dataset(dataset, tmp_path / "out")
    for task, count in report.tasks.items():
        assert found.tasks[task] >= 0.95 * count, [row for row in found.refused if row.task == task]


def test_answers_are_spread_over_images_and_cells(composed) -> None:
    report, _, samples = composed
    assert sum(report.cells) == sum(len(sample.targets) for sample in samples)
    assert min(report.cells) > 0.5 * sum(report.cells) / 9
    for task, first in (("group_grounding", 1), ("refer", 2), ("correspondence", 2)):
        numbers = {sample.targets[0].image for sample in samples if sample.task == task}
        assert numbers >= {first, first + 1, first + 2}
        assert any(s.targets[0].image == len(s.images) for s in samples if s.task == task), "also in the last image"
    counts = report.image_numbers["common_object"]
    assert max(counts.values()) <= 2.5 * min(counts[1], counts[2])


def test_turns_fill_the_square_evenly() -> None:
    boxes = [[0] * 9 for _ in range(4)]
    for k in range(3600):
        turn, cell = turns(3, "refer", k)
        boxes[int(4 * turn)][int(9 * cell)] += 1
    assert min(min(row) for row in boxes) > 90 and max(max(row) for row in boxes) < 110, "100 each"


def test_images_as_they_are_stay_where_they_are(composed, source: DatasetFolder) -> None:
    _, dataset, samples = composed
    refs = [ref for sample in samples for ref in sample.images]
    assert any(ref.path.startswith("@") for ref in refs)
    assert set(dataset.roots.declared.values()) == {source.root.resolve()}
    known = {ref.sha256: ref for sample in source.read() for ref in sample.images}
    for ref in refs:
        if ref.path.startswith("@"):
            assert ref.size == known[ref.sha256].size and ref.caption == known[ref.sha256].caption
            assert ref.objects == known[ref.sha256].objects, "all that is annotated there, unchanged"
    stored = [ref for ref in refs if not ref.path.startswith("@")]
    assert stored and max(max(ref.size) for ref in stored) <= 160 and all(ref.caption is None for ref in stored)


def test_the_image_set_is_the_image_that_the_answer_lies_in(composed) -> None:
    """Whatever other images are shown: one set for each photograph, by whose name edited images are stored too."""
    _, _, samples = composed
    sets: dict[str, set[object]] = {}
    for sample in samples:
        number = min((target.image for target in sample.targets), default=1)
        name = Path(sample.images[number - 1].path).stem.partition("~")[0]
        sets.setdefault(name, set()).add(sample.meta["image_set"])
    assert {len(found) for found in sets.values()} == {1} and len(set.union(*sets.values())) == len(sets) > 20


def test_copies_make_a_dataset_that_stands_alone(recipe: ComposeRecipe, tmp_path: Path) -> None:
    source = write_objects(tmp_path / "source", 30, side=96)
    small = changed(recipe, source=str(source.root), n=24)
    compose(small, tmp_path / "out", copy=True)
    source.root.rename(tmp_path / "gone")
    dataset = DatasetFolder.open(tmp_path / "out")
    assert not dataset.card.roots and dataset.verify() == []
    assert len(list(dataset.read(images="decode"))) == 24


def test_the_same_files_for_one_and_for_two_workers(recipe: ComposeRecipe, tmp_path: Path) -> None:
    """The processes are started afresh, so each has another hash seed."""
    small = changed(recipe, n=48, max_uses=9)
    compose(small, tmp_path / "one")
    with executor("processes", 2) as pool:
        compose(small, tmp_path / "two", executor=pool)
    one = folder_manifest(tmp_path / "one")
    assert len(one) > 20 and one == folder_manifest(tmp_path / "two")


def test_another_seed_gives_other_samples(composed, recipe: ComposeRecipe, tmp_path: Path) -> None:
    _, dataset, _ = composed
    compose(changed(recipe, seed=1, n=48), tmp_path / "out")
    other = DatasetFolder.open(tmp_path / "out")
    ids = {sample.id for sample in dataset.read()}
    assert ids.isdisjoint(sample.id for sample in other.read())
    assert {s.question for s in dataset.read()} != {s.question for s in other.read()}


def test_a_larger_run_begins_with_the_smaller_one(recipe: ComposeRecipe, composed, tmp_path: Path) -> None:
    """A sample is a function only of its task and number: the rest of the recipe does not change it."""
    _, _, samples = composed
    few = changed(recipe, n=12, weights={"refer": 1.0, "none": 1.0})
    compose(few, tmp_path / "out")
    rows = {sample.id: sample for sample in samples}
    again = [sample for sample in DatasetFolder.open(tmp_path / "out").read() if sample.task == "refer"]
    assert [(s.question, s.targets) for s in again] == [(rows[s.id].question, rows[s.id].targets) for s in again]


def test_splits_share_no_image(recipe: ComposeRecipe, source: DatasetFolder, tmp_path: Path) -> None:
    origin = {ref.path.split("/")[-1]: ref.sha256 for sample in source.read() for ref in sample.images}
    seen = []
    for split in ("train", "test"):
        report = compose(changed(recipe, split=split, test_share=0.5, n=48), tmp_path / split)
        names = {
            ref.path.split("/")[-1].split("~")[0].removesuffix(".png") + ".png"
            for sample in DatasetFolder.open(tmp_path / split).read()
            for ref in sample.images
        }
        assert names <= set(origin) and len(report.pool) + report.pool.n_other_split == len(source)
        seen.append(names)
    assert seen[0] and seen[1] and not seen[0] & seen[1]


def test_no_image_is_used_too_often_and_what_is_short_is_said(recipe: ComposeRecipe, tmp_path: Path) -> None:
    few = changed(recipe, n=80, max_uses=2, weights={"group_grounding": 1.0})
    report = compose(few, tmp_path / "out")
    assert max(report.uses.values()) == 2 and 20 < report.n_samples < 80
    assert report.short == {"group_grounding": 80 - report.n_samples}
    assert report.drops["group_grounding"]["an image was used max_uses times already"] > 0


def test_without_shuffling_the_answer_is_in_the_first_candidate(recipe: ComposeRecipe, tmp_path: Path) -> None:
    plain = changed(recipe, n=16, shuffle=False, weights={"group_grounding": 1.0, "refer": 1.0})
    compose(plain, tmp_path / "out")
    found = {(s.task, s.targets[0].image) for s in DatasetFolder.open(tmp_path / "out").read()}
    assert found == {("group_grounding", 1), ("refer", 2)}


def test_images_that_cannot_be_opened_are_counted_and_passed_over(recipe: ComposeRecipe, tmp_path: Path) -> None:
    source = write_objects(tmp_path / "source", 40, side=96)
    for k in range(0, 40, 2):
        (source.root / "images" / f"image-{k}.png").write_bytes(b"no image")
    report = compose(changed(recipe, source=str(source.root), n=24, weights={"region": 1.0}), tmp_path / "out")
    assert report.n_samples == 24
    assert report.drops["region"]["an image cannot be opened"] >= len(report.unreadable) > 3
    assert all("is not an image" in line and "image-" in line for line in report.unreadable)


def unmeasured(row: dict) -> dict:
    return {
        **row,
        "images": [{k: v for k, v in r.items() if k not in ("width", "height", "sha256")} for r in row["images"]],
    }


def test_rows_imported_without_a_look_at_the_files_get_their_sizes(recipe: ComposeRecipe, tmp_path: Path) -> None:
    source = rewritten(write_objects(tmp_path / "source", 30, side=96), unmeasured)
    compose(changed(recipe, source=str(source.root), n=24), tmp_path / "out")
    for sample in DatasetFolder.open(tmp_path / "out").read(images="decode"):
        assert all(ref.measured for ref in sample.images)


def all_alike(row: dict) -> dict:
    return {**row, "images": [{**r, "objects": [{**n, "label": "x"} for n in r["objects"]]} for r in row["images"]]}


def one_each(row: dict) -> dict:
    number = row["id"]
    return {
        **row,
        "images": [{**r, "objects": [{**r["objects"][0], "label": f"thing {number}"}]} for r in row["images"]],
    }


@pytest.mark.parametrize(
    ("why", "change", "task", "words"),
    [
        ("every image holds the label", all_alike, "group_grounding", "too few images without the asked label"),
        ("no label twice", one_each, "common_object", "no label occurs exactly once in . images"),
        ("no label twice", one_each, "correspondence", "no label occurs exactly once in 2 images"),
        ("no label twice", one_each, "counting", "no label that one image holds more of"),
        ("no label twice", one_each, "multi_target", "no second image with this label"),
    ],
)
def test_an_impossible_task_is_an_error_that_says_why_and_leaves_nothing(
    why: str, change: Callable[[dict], dict], task: str, words: str, recipe: ComposeRecipe, tmp_path: Path
) -> None:
    source = rewritten(write_objects(tmp_path / "source", 12, side=96), change)
    small = changed(recipe, source=str(source.root), n=10, weights={"region": 1.0, task: 1.0})
    with pytest.raises(DataError, match=f"task {task} is impossible with these images: .*{words}") as caught:
        compose(small, tmp_path / "out")
    assert f"weights.{task}=0" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_questions_are_checked_before_any_work(recipe: ComposeRecipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no questions in 'fr'"):
        compose(changed(recipe, source=str(tmp_path / "nowhere"), languages={"fr": 1}), tmp_path / "out")


mirg = partial(invoke, "data", "compose")


def test_the_command(source: DatasetFolder, tmp_path: Path) -> None:
    args = ("compose/objects", tmp_path / "out", "-s", f"source={source.root}", "-s", "split=all", "-s", "n=40")
    dry = mirg(*args, "--dry-run")
    assert dry.exit_code == 0 and not (tmp_path / "out").exists()
    printed = yaml.safe_load(dry.stdout)
    assert printed["n"] == 40 and printed["weights"]["group_grounding"] == 1.5
    done = mirg(*args)
    assert done.exit_code == 0, done.output
    assert "40 samples (common_object" in done.stdout and "rows from the top" in done.stdout
    assert mirg(*args).exit_code == 2, "an existing dataset is refused"
    over = mirg("compose/objects", source.root, "-s", f"source={source.root}", "--overwrite")
    assert over.exit_code == 2 and "which is read from" in over.output and (source.root / "samples.jsonl").is_file()
    again = mirg(*args, "--overwrite", "--json", "--copy", "--executor", "local")
    report = json.loads(again.stdout)
    assert report["samples"] == 40 and report["positions"]["cell"] and report["pool"]["images"] == len(source)


@pytest.mark.parametrize(
    ("why", "args", "words"),
    [
        ("no recipe", ("nowhere", "out"), "no recipe 'nowhere'"),
        ("an unknown key", ("compose/objects", "out", "-s", "sied=1"), "did you mean side"),
        ("no dataset", ("compose/objects", "out", "-s", "source=nowhere"), "nowhere is not a folder"),
        ("an unknown executor", ("compose/objects", "out", "--executor", "threads"), "Invalid value for '--executor'"),
    ],
)
def test_the_command_says_what_is_wrong(
    why: str, args: tuple[str, ...], words: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = mirg(*args)
    assert result.exit_code == 2 and words in result.stderr, result.output
    assert not (tmp_path / "out").exists()


def test_a_source_without_object_notes(recipe: ComposeRecipe, tmp_path: Path, write_png) -> None:
    with DatasetWriter(tmp_path / "plain", name="plain") as writer:
        from PIL import Image

        ref = writer.add_image(Image.new("RGB", (64, 64)), "a")
        writer.add(Sample(id="a", task="t", images=(ref,), question="?"))
    with pytest.raises(DataError, match="no image of .* has object notes") as caught:
        compose(changed(recipe, source=str(tmp_path / "plain")), tmp_path / "out")
    assert "mirg data photos" in caught.value.hint


def drafts(task: str, look: Callable[[Draft], object]) -> Callable[[Any], list[object]]:
    """What ``look`` finds in the drafts of a task."""

    def found(case: Any) -> list[object]:
        shop = Workshop(case.recipe, case.source, read_pool(case.source, case.recipe))
        return [look(made.draft) for k in range(18) if (made := shop.make(task, k)).draft]

    return found


def one(look: Callable[[Made], object], task: str = "difference") -> Callable[[Any], object]:
    return lambda case: look(Workshop(case.recipe, case.source, read_pool(case.source, case.recipe)).make(task, 1))


def pool(case: Any) -> Pool:
    return read_pool(case.source, case.recipe)


def report(look: Callable[[ComposeReport], object]) -> Callable[[Any], object]:
    return lambda case: look(compose(case.recipe, case.out, overwrite=True))


def ids(case: Any) -> set[str]:
    compose(case.recipe, case.out, overwrite=True)
    return {sample.id.rsplit("-", 2)[0] for sample in DatasetFolder.open(case.out).read()}


def kin(draft: Draft) -> bool:
    """Whether every distractor holds a label of the supercategory of the subject."""
    held = [{note.label for note in image.notes} for image in draft.images if image.role == "distractor"]
    return all(any(KINDS[label] == KINDS[draft.subject] for label in labels) for labels in held)


def sides(task: str) -> Callable[[Any], object]:
    """The long edges of the images that are stored, close-ups left out."""
    stored = drafts(task, lambda draft: [image.pixels for image in draft.images if image.role != "reference"])
    return lambda case: {max(pixels.size) for images in stored(case) for pixels in images if pixels}  # type: ignore[attr-defined]


def aimed(case: Any) -> int:
    """How many of 18 answers lie in the cell whose turn it is."""
    shop = Workshop(case.recipe, case.source, read_pool(case.source, case.recipe))
    cells = [int(9 * turns(case.recipe.seed, "refer", k)[1]) for k in range(18)]
    made = [shop.make("refer", k).draft for k in range(18)]
    return sum(
        draft is not None and cell_of(draft.targets[0].box) == cell for draft, cell in zip(made, cells, strict=True)
    )


def area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


# Key, value, what is found, what is expected there (else the value). ``OTHER`` is a dataset, ``FILE`` holds questions.
KEYS: list[tuple[Any, ...]] = [
    ("source", "OTHER", report(lambda made: len(made.pool)), 9),
    ("n", 5, report(lambda made: (made.n_asked, made.n_samples)), (5, 5)),
    ("seed", 3, ids, {"composed-all-3"}),
    ("seed", 3, lambda case: drafts("group_grounding", lambda draft: draft.sources)(case)[:3] == case.plain, False),
    ("split", "test", ids, {"composed-test-0"}),
    ("split", "test", lambda case: len(pool(case)) + pool(case).n_other_split == 80 > 2 * len(pool(case)), True),
    ("test_share", 0.9, lambda case: len(pool(case)) > 60, True),
    ("group_by", "meta.scene", lambda case: len(pool(case).rejected), 1),
    ("weights", {"refer": 1.0, "none": 3.0}, report(lambda made: dict(made.tasks)), {"refer": 1, "none": 3}),
    ("images", (4, 4), lambda case: set(drafts("group_grounding", lambda draft: len(draft.images))(case)), {4}),
    ("frames", (5, 5), lambda case: set(drafts("object_tracking", lambda draft: len(draft.images))(case)), {5}),
    ("distractors", "same_category", lambda case: all(drafts("group_grounding", kin)(case)), True),
    ("alterations", ("moved",), lambda case: set(drafts("difference", lambda draft: draft.meta["alteration"])(case)),
     {"moved"}),
    ("alterations", ("added",), lambda case: set(drafts("difference", lambda draft: len(draft.sources))(case)), {2}),
    ("shuffle", False, lambda case: set(drafts("group_grounding", lambda draft: draft.targets[0].image)(case)), {1}),
    ("balance", False, lambda case: aimed(case) > 9, False),
    ("target_area", (0.05, 0.07), lambda case: {0.05 < area(box) < 0.07 for box in drafts("group_grounding",
     lambda draft: draft.targets[0].box)(case)}, {True}),
    ("target_area", (0.05, 0.07), lambda case: {0.0499 < area(box) < 0.0701 for box in drafts("object_tracking",
     lambda draft: draft.targets[0].box)(case)}, {True}),
    ("max_objects", 1, lambda case: {len(image.things) for image in pool(case).images}, {1}),
    ("max_uses", 1, report(lambda made: max(made.uses.values()))),
    ("side", 64, sides("difference"), {64}),
    ("side", 64, sides("refer"), {64}),
    ("languages", {"de": 1.0}, one(lambda made: made.language), "de"),
    ("questions", {"en": "FILE"}, one(lambda made: made.question.startswith("My own: ")), True),
    ("min_change", 0.9, one(lambda made: made.drops["the alteration can hardly be seen"] > 3), True),
    ("tries", 2, one(lambda made: made.drops.total())),
]  # fmt: skip
# Without which a key has no effect.
BESIDE: dict[str, dict[str, object]] = {"test_share": {"split": "test"}, "tries": {"min_change": 0.9}}


@pytest.mark.parametrize("row", KEYS, ids=[row[0] for row in KEYS])
def test_a_key_arrives(row: tuple[Any, ...], source: DatasetFolder, tmp_path: Path) -> None:
    """With another value something else is composed than with the default."""
    key, value, found, *expected = row
    base = {"source": str(source.root), "n": 4, "weights": {"group_grounding": 1.0}, **BESIDE.get(key, {})}
    if key == "max_uses":
        base |= {"n": 30}
    if key == "source":
        value = str(write_objects(tmp_path / "other", 9, side=96).root)
    if key == "questions":
        english = yaml.safe_load((SHIPPED / "en.yaml").read_text())
        own = {kind: [f"My own: {text}" for text in texts] for kind, texts in english["templates"].items()}
        (tmp_path / "own.yaml").write_text(yaml.safe_dump({"templates": own}))
        value = {"en": str(tmp_path / "own.yaml")}
    if key == "group_by":
        scene = {"meta": {"scene": "yard"}}
        other = rewritten(write_objects(tmp_path / "other", 9, side=96), lambda r: r if r["id"] == "o1" else r | scene)
        base, source = base | {"source": str(other.root)}, other
    case = SimpleNamespace(source=source, out=tmp_path / "out", recipe=ComposeRecipe.model_validate(base))
    case.plain = drafts("group_grounding", lambda draft: draft.sources)(case)[:3]
    results = []
    for more in ({}, {key: value}):
        case.recipe = ComposeRecipe.model_validate(base | more)
        results.append(found(case))
    assert results[1] == (expected[0] if expected else value) != results[0]


def test_every_key_has_a_row() -> None:
    assert ComposeRecipe.model_fields.keys() == {row[0] for row in KEYS}
