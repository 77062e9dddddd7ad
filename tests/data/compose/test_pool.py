"""The pool: which images there are, what may be asked for in them, and who is in which split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.annotated import KINDS, rewritten, write_film, write_objects
from mirg.data.compose.pool import Pool, PoolImage, Thing, cell_of, in_split, read_pool
from mirg.data.compose.recipe import ComposeRecipe
from mirg.errors import DataError
from mirg.geometry import Box
from mirg.samples import DatasetFolder, ImageRef, ObjectNote

RECIPE = ComposeRecipe(source="unused")


def image(name: str, *notes: tuple[str, Box] | tuple[str, Box, dict]) -> PoolImage:
    things = []
    for label, box, *rest in notes:
        attributes = rest[0] if rest else {}
        note = ObjectNote(label=label, box=box, attributes=attributes)
        things.append(Thing(note, " ".join(label.casefold().split()), bool(attributes.get("iscrowd"))))
    return PoolImage(name, ImageRef(path=f"{name}.png"), tuple(things), name)


def pool_of(*images: PoolImage) -> Pool:
    return Pool(list(images), RECIPE.target_area)


LEFT, RIGHT, NEARLY_LEFT = (0.1, 0.1, 0.4, 0.4), (0.6, 0.6, 0.9, 0.9), (0.11, 0.1, 0.41, 0.41)
TINY, HUGE = (0.1, 0.1, 0.15, 0.15), (0.0, 0.0, 1.0, 0.9)


@pytest.mark.parametrize(
    ("why", "notes", "single", "countable"),
    [
        ("one object", [("dog", LEFT)], True, True),
        ("beside another label", [("dog", LEFT), ("cat", RIGHT)], True, True),
        ("two of them", [("dog", LEFT), ("dog", RIGHT)], False, True),
        ("two that differ in case and blanks", [("dog", LEFT), (" Dog ", RIGHT)], False, True),
        ("one of them annotated twice", [("dog", LEFT), ("dog", NEARLY_LEFT)], False, False),
        ("a crowd", [("dog", LEFT, {"iscrowd": 1})], False, False),
        ("one and a crowd", [("dog", LEFT), ("dog", RIGHT, {"iscrowd": True})], False, False),
        ("no crowd, and it says so", [("dog", LEFT, {"iscrowd": 0})], True, True),
        ("too small to ask for", [("dog", TINY)], False, True),
        ("too large to ask for", [("dog", HUGE)], False, True),
    ],
)
def test_what_may_be_asked_for(why: str, notes: list, single: bool, countable: bool) -> None:
    pool = pool_of(image("a", *notes))
    assert (pool.single(0, "dog") is not None) is single
    assert pool.images[0].countable("dog") is countable
    assert ("dog" in pool.singles) is single
    assert "dog" in pool.holders, "it is never used as an image without a dog"


def test_an_object_without_label_is_never_asked_for() -> None:
    pool = pool_of(image("a", ("", LEFT)))
    assert pool.single(0, "") is None and not pool.singles and not pool.holders


def test_what_is_like_a_label() -> None:
    animal, seat = {"supercategory": "animal"}, {"supercategory": "seat"}
    pool = pool_of(
        image("a", ("dog", LEFT, animal), ("sofa", RIGHT, seat)),
        image("b", ("cat", LEFT, animal)),
        image("c", ("red ring", LEFT), ("blue ring", RIGHT)),
    )
    assert pool.kin["dog"] == ["cat"] and pool.kin["sofa"] == []
    assert pool.kin["red ring"] == ["blue ring"], "without a supercategory the last word of a label is one"
    assert pool.together["dog"] == ["sofa"] and pool.together["cat"] == []


@pytest.mark.parametrize(
    ("box", "cell"),
    [
        ((0.0, 0.0, 0.2, 0.2), 0),
        ((0.4, 0.4, 0.6, 0.6), 4),
        ((0.8, 0.0, 1.0, 0.2), 2),
        ((0.9, 0.9, 1.0, 1.0), 8),
        ((0.0, 0.0, 1.0, 1.0), 4),
        ((0.999, 0.0, 1.0, 0.1), 2),
    ],
)
def test_cells(box: Box, cell: int) -> None:
    assert cell_of(box) == cell


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=30, unique=True), st.floats(0.05, 0.95))
def test_a_family_is_in_exactly_one_split_whatever_else_there_is(families: list[str], share: float) -> None:
    recipes = [RECIPE.model_copy(update={"split": split, "test_share": share}) for split in ("train", "test", "all")]
    for family in families:
        assert [in_split(family, recipe) for recipe in recipes].count(True) == 2, "all, and one of the two"


def test_splits_follow_the_share() -> None:
    recipe = RECIPE.model_copy(update={"split": "test", "test_share": 0.25})
    assert 430 < sum(in_split(f"image {k}", recipe) for k in range(2000)) < 570


@pytest.mark.parametrize(("share", "split", "other"), [(1, "test", "train"), (0, "train", "test")])
def test_a_whole_source_for_one_split(tmp_path: Path, share: float, split: str, other: str) -> None:
    source = write_objects(tmp_path / "s", 5, side=96)
    recipe = ComposeRecipe.model_validate({"source": str(source.root), "split": split, "test_share": share})
    assert len(read_pool(source, recipe)) == 5
    with pytest.raises(ValueError, match=f"leaves no image for the split {other}"):
        ComposeRecipe.model_validate({"source": "s", "split": other, "test_share": share})


def test_an_image_that_many_rows_use_is_taken_once_with_its_fullest_notes(tmp_path: Path) -> None:
    source = write_objects(tmp_path / "s", 4, side=96)
    before = read_pool(source, RECIPE)

    def twice(row: dict) -> dict:
        short = [{**ref, "objects": ref["objects"][:1]} for ref in row["images"]]
        return {**row, "images": [*short, *row["images"]], "meta": {}}

    after = read_pool(rewritten(source, twice), RECIPE)
    assert [i.things for i in after.images] == [i.things for i in before.images]


def test_films_are_in_the_order_of_time_and_one_family(tmp_path: Path) -> None:
    pool = read_pool(write_film(tmp_path / "f", 5, films=2), RECIPE)
    assert len(pool.films) == 2
    for film in pool.films:
        assert [pool.images[i].ref.frame for i in film] == [1, 2, 3, 4, 5]
        assert len({pool.images[i].family for i in film}) == 1


def test_cameras_of_one_scene_are_one_family_and_stay_two_films(tmp_path: Path) -> None:
    """Both films show one scene: no split divides them, and their frames are not mixed."""
    source = rewritten(
        write_film(tmp_path / "f", 5, films=3),
        lambda row: {
            **row,
            "meta": row["meta"] | {"scene": "yard" if row["meta"]["image_set"] != "film 2" else "hall"},
        },
    )
    recipe = RECIPE.model_copy(update={"group_by": "meta.scene"})
    pool = read_pool(source, recipe)
    assert {image.family for image in pool.images} == {"group yard", "group hall"}
    assert [[pool.images[i].ref.frame for i in film] for film in pool.films] == [[1, 2, 3, 4, 5]] * 3


def test_images_without_a_group_are_rejected(tmp_path: Path) -> None:
    source = rewritten(
        write_objects(tmp_path / "s", 4, side=96),
        lambda row: {**row, "meta": {"scene": "yard"} if row["id"] != "o1" else {}},
    )
    pool = read_pool(source, RECIPE.model_copy(update={"group_by": "meta.scene"}))
    assert len(pool) == 3 and [(row.id, row.reason) for row in pool.rejected] == [
        ("o1", "no group: meta.scene is missing")
    ]
    with pytest.raises(ValueError, match="exactly one is needed"):
        ComposeRecipe(source="s", group_by="scene")


def no_notes(row: dict) -> dict:
    return {**row, "images": [{**ref, "objects": []} for ref in row["images"]]}


def broken(row: dict) -> dict:
    return {**row, "images": [{**ref, "width": -1} for ref in row["images"]]}


def crowded(row: dict) -> dict:
    return {**row, "images": [{**ref, "objects": ref["objects"] * 40} for ref in row["images"]]}


@pytest.mark.parametrize(
    ("why", "change", "recipe", "words"),
    [
        ("no object notes", no_notes, {}, "no image of .* has object notes: 6 images without"),
        ("broken rows", broken, {}, "no row of .* can be used; first: .*width"),
        ("rows without a group", lambda row: row, {"group_by": "meta.scene"}, "no row .*meta.scene is missing"),
        ("too many objects in every image", crowded, {}, "more than 30 objects"),
        ("nothing in the split", lambda row: row, {"split": "test", "test_share": 1e-9}, "the test split .* no image"),
    ],
)
def test_a_source_that_gives_nothing_says_why(
    tmp_path: Path, why: str, change: Callable[[dict], dict], recipe: dict, words: str
) -> None:
    source = rewritten(write_objects(tmp_path / "s", 6, side=96), change)
    with pytest.raises(DataError, match=words) as caught:
        read_pool(source, RECIPE.model_copy(update=recipe))
    assert caught.value.hint


def test_counts_of_a_mixed_source(tmp_path: Path) -> None:
    def some(row: dict) -> dict:
        return {"o0": no_notes, "o1": broken, "o2": crowded}.get(row["id"], lambda r: r)(row)

    pool = read_pool(rewritten(write_objects(tmp_path / "s", 10, side=96), some), RECIPE)
    assert (len(pool), pool.n_unnoted, len(pool.rejected), pool.n_crowded) == (7, 1, 1, 1)


def test_the_lists_agree_with_the_images(tmp_path: Path) -> None:
    source: DatasetFolder = write_objects(tmp_path / "s", 40, side=96)
    pool = read_pool(source, RECIPE)
    spots = {spot for spots in pool.singles.values() for spot in spots}
    assert spots == {spot for cell in pool.cells for spots in cell.values() for spot in spots} and len(spots) > 40
    for key, counts in pool.counted.items():
        for number, held in counts.items():
            assert all(len(pool.images[i].named(key)) == number for i in held)
    assert set(pool.kin["ring"]) <= {shape for shape, kind in KINDS.items() if kind == "round"} - {"ring"}
