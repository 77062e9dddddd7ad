"""The same object in several images: which annotation identifies it, and which images are known not to show it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.importing import pictures
from mirg.answers.markup import cited
from mirg.data.compose.build import compose
from mirg.data.compose.pool import Pool, PoolImage, Thing, read_pool
from mirg.data.compose.recipe import ComposeRecipe
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import import_dataset
from mirg.data.mix import write_mix
from mirg.errors import DataError
from mirg.samples import DatasetFolder, ImageRef, ObjectNote
from mirg.samples.coverage import Coverage
from mirg.trajectories.build import build_dataset

LEFT, RIGHT = (0.1, 0.1, 0.4, 0.4), (0.6, 0.6, 0.9, 0.9)
ANNA = ("", "anna", "person")


def person(name: str | None, box: tuple = LEFT, label: str = "person", scope: str = "", **more: Any) -> Thing:
    attributes = {**({"instance_id": name} if name else {}), **({"instance_scope": scope} if scope else {}), **more}
    note = ObjectNote(label=label, box=box, attributes=attributes)
    return Thing(note, label, bool(attributes.get("iscrowd")))


def image(name: str, *things: Thing, **coverage: Any) -> PoolImage:
    return PoolImage(name, ImageRef(path=f"{name}.png"), things, name, Coverage(**coverage))


@pytest.mark.parametrize(
    ("why", "things", "coverage", "lacks"),
    [
        ("another person", [person("ben")], {}, True),
        ("nobody", [person(None, label="car")], {}, True),
        ("the same person", [person("ben"), person("anna", RIGHT)], {}, False),
        ("a person who is not identified", [person("ben"), person(None, RIGHT)], {}, False),
        ("a person of another film, who may be the same one", [person("7", scope="film 2")], {}, False),
        ("another film without persons", [person("7", label="car", scope="film 2")], {}, True),
        ("the id under another label", [person("ben"), person("anna", RIGHT, "rider")], {}, False),
        ("a crowd of persons", [person("ben", iscrowd=1)], {}, False),
        ("a box was refused", [person("ben")], {"incomplete": frozenset(["refused_box"])}, False),
    ],
)
def test_an_image_that_is_known_not_to_show_an_object(why: str, things: list, coverage: dict, lacks: bool) -> None:
    assert image("a", *things, **coverage).lacks_instance(ANNA) is lacks


@pytest.mark.parametrize(
    ("why", "first", "second", "found"),
    [
        ("once in each", [person("anna")], [person("anna", RIGHT), person("ben")], True),
        ("twice in the second", [person("anna")], [person("anna", RIGHT), person("anna")], False),
        ("twice, under two labels", [person("anna")], [person("anna", RIGHT), person("anna", LEFT, "face")], False),
        ("in one only", [person("anna")], [person("ben")], False),
        ("without a name", [person(None)], [person(None)], False),
        ("an id of two labels, as numbers per image", [person("anna")], [person("anna", label="car")], False),
        ("tracks of two films", [person("anna", scope="f1")], [person("anna", scope="f2")], False),
        ("a crowd", [person("anna")], [person("anna", iscrowd=1)], False),
        ("an image with a crowd of others: the object is there all the same", [person("anna")],
         [person("anna", RIGHT), person("x", label="car", iscrowd=1)], True),
    ],
)  # fmt: skip
def test_objects_that_two_images_show(why: str, first: list, second: list, found: bool) -> None:
    pool = Pool([image("a", *first), image("b", *second)], (0.01, 0.5))
    assert (ANNA in pool.instances) is found and bool(pool.instances) is found
    if found:
        other = image("c", person("anna", label="car"))
        assert not Pool([*pool.images, other], (0.01, 0.5)).instances, "an id of two labels"
        assert pool.instances[ANNA] == [(0, 0), (1, 0)]
        cells = [cell for cell in pool.instance_cells if cell]
        assert sorted(spot for cell in cells for spot in cell[ANNA]) == [(0, 0), (1, 0)]


PLACES = ([10, 8, 30, 40], [60, 30, 30, 40])
# Who is seen by each camera, from left to right; Cy is in one image only.
CAMERAS = {"hall.png": ("anna", "ben"), "door.png": ("ben", "cy"), "yard.png": ("dora", "anna"), "lift.png": ("dora",)}


def cameras(
    key: str, numbers: dict[str, int] | None = None, images: tuple[str, ...] = tuple(CAMERAS)
) -> dict[str, Any]:
    """COCO with an identity per person under ``key`` of the annotation, or of its attributes ("attributes.key")."""
    rows = []
    for k, name in enumerate(images):
        for place, who in zip(PLACES, CAMERAS[name], strict=False):
            who = numbers[who] if numbers else who
            given = {"attributes": {key.split(".")[1]: who}} if "." in key else {key: who}
            rows.append({"id": len(rows), "image_id": k, "category_id": 1, "bbox": place, **given})
    listed = [{"id": k, "file_name": name, "width": 100, "height": 80} for k, name in enumerate(images)]
    return {"images": listed, "annotations": rows, "categories": [{"id": 1, "name": "person"}]}


def imported(tmp_path: Path, name: str, value: dict[str, Any]) -> DatasetFolder:
    root = pictures(tmp_path / "images", list(CAMERAS))
    file = tmp_path / f"{name}.json"
    file.write_text(json.dumps(value))
    import_dataset("coco", file, tmp_path / name, ImportOptions(root=str(root)))
    return DatasetFolder.open(tmp_path / name)


NUMBERS = {"anna": 1, "ben": 2, "cy": 3, "dora": 4}


@pytest.mark.parametrize(
    ("key", "numbers"),
    [("identity", None), ("instance_id", NUMBERS), ("attributes.track_id", NUMBERS), ("attributes.person_id", None)],
)
def test_the_same_person_before_another_camera(tmp_path: Path, key: str, numbers: dict[str, int] | None) -> None:
    source = imported(tmp_path, "cameras", cameras(key, numbers))
    names = {str(numbers[who]) if numbers else who: who for who in NUMBERS}
    recipe = ComposeRecipe(source=str(source.root), n=20, images=(3, 3), weights={"same_instance": 1.0})
    report = compose(recipe, tmp_path / "out")
    samples = list(DatasetFolder.open(tmp_path / "out").read(images="decode"))
    assert len(samples) == report.n_samples == 20
    for sample in samples:
        who = names[str(sample.meta["instance"])]
        seen = [CAMERAS[ref.path.rpartition("/")[2]] for ref in sample.images]
        (target,) = sample.targets
        ((first, box),) = cited(sample.question)
        assert [k for k, found in enumerate(seen, 1) if who in found] == sorted([1, target.image]) and first == 1
        for k, found in ((1, box), (target.image, target.box)):
            x, y, width, height = PLACES[seen[k - 1].index(who)]
            assert found == pytest.approx((x / 100, y / 80, (x + width) / 100, (y + height) / 80))
        assert sample.relation == "same_object" and sample.image_hidden and who != "cy"
    assert {names[str(sample.meta["instance"])] for sample in samples} == {"anna", "ben", "dora"}
    built = build_dataset(DatasetFolder.open(tmp_path / "out"), tmp_path / "reasoned", voice="terse")
    assert built.n_kept == 20
    stored = next(iter(DatasetFolder.open(tmp_path / "reasoned")))
    assert stored.trajectory is not None and "Alike: Image-2, Image-3." in stored.trajectory.thinking
    assert any("instance_id" in note.attributes for ref in stored.images for note in ref.objects), "kept to the end"


def mixed(tmp_path: Path, key: str) -> Pool:
    parts = {}
    for name, images in (("a", ("hall.png", "door.png")), ("b", ("yard.png", "lift.png"))):
        parts[name] = (imported(tmp_path, name, cameras(key, NUMBERS, images)), 1)
    write_mix(parts, tmp_path / "mixed")
    return read_pool(DatasetFolder.open(tmp_path / "mixed"), ComposeRecipe(source="unused"))


def test_numbers_of_tracks_hold_in_one_file_and_identities_in_all(tmp_path: Path) -> None:
    tracks = mixed(tmp_path / "t", "track_id")
    assert sorted(identity[1] for identity in tracks.instances) == ["2", "4"]
    persons = mixed(tmp_path / "p", "person_id")
    assert sorted(identity[1] for identity in persons.instances) == ["1", "2", "4"]
    (scope,) = {identity[0] for identity in tracks.instances if identity[1] == "2"}
    lacking = [image for image in tracks.images if image.lacks_instance((scope, "2", "person"))]
    assert not lacking, "whoever is in the other file may be the same person"


def test_an_ambiguous_pair_is_impossible_and_says_why(tmp_path: Path) -> None:
    """Two images, and both show the object: there is no image that is known not to show it."""
    source = imported(tmp_path, "two", cameras("identity", images=("hall.png", "yard.png")))
    recipe = ComposeRecipe(source=str(source.root), n=4, weights={"same_instance": 1.0})
    with pytest.raises(DataError, match="too few images that are known not to show this object"):
        compose(recipe, tmp_path / "out")
