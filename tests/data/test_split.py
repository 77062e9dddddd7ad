"""Parts share no image and no image set, and rows added elsewhere move nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirg.data.split import Groups, parse_parts, part_of, write_split
from mirg.errors import ConfigError, DataError
from mirg.samples import DatasetCard, DatasetFolder, ImageRef, Sample, write_card
from mirg.samples.grouping import parse_group_by

Make = Callable[..., DatasetFolder]
HALVES = {"a": 0.5, "b": 0.5}


def sample(name: str, images: list[tuple[int, bool]], named: str | None = None) -> Sample:
    """A sample about images by number, with or without digests."""
    refs = tuple(
        ImageRef(path=f"images/{k}.png", sha256=f"{k:064d}" if hashed else None) for k, hashed in images
    )  # fmt: skip
    meta = {"image_set": named} if named else {}
    return Sample(id=name, task="t", question="?", images=refs, meta=meta)


def nowhere() -> DatasetFolder:
    """A folder that need not exist: groups look at no file."""
    return DatasetFolder(Path("nowhere"), DatasetCard(name="d", n_samples=0, n_images=0, digest=""))


def grouped(samples: list[Sample]) -> Groups:
    groups = Groups(nowhere())
    for one in samples:
        groups.add(one)
    return groups


refs = st.lists(st.tuples(st.integers(0, 14), st.booleans()), min_size=1, max_size=3)
rows = st.lists(st.tuples(refs, st.sampled_from([None, None, "x", "y"])), min_size=1, max_size=14)


def keys(one: Sample) -> set[str]:
    return {ref.path for ref in one.images} | {f"set {one.image_set}"}


@given(drawn=rows)
def test_groups_are_the_connected_components(drawn) -> None:
    """Against the slow way: join what overlaps until nothing does."""
    samples = [sample(f"s{k}", images, named) for k, (images, named) in enumerate(drawn)]
    groups = grouped(samples)
    slow: list[tuple[set[str], set[int]]] = []
    for number, one in enumerate(samples):
        seen, members = keys(one), {number}
        for other in [g for g in slow if g[0] & seen]:
            slow.remove(other)
            seen, members = seen | other[0], members | other[1]
        slow.append((seen, members))
    found: dict[int, set[int]] = {}
    for number in range(len(samples)):
        found.setdefault(groups.labels[number], set()).add(number)
    assert sorted(map(sorted, found.values())) == sorted(sorted(members) for _, members in slow)


@settings(max_examples=50)
@given(drawn=rows, more=rows, seed=st.integers(0, 99))
def test_rows_added_elsewhere_move_nothing(drawn, more, seed: int) -> None:
    """Elsewhere: about other images and sets. Also in front, so nothing hangs on the order."""
    samples = [sample(f"s{k}", images, named) for k, (images, named) in enumerate(drawn)]
    added = [
        sample(f"m{k}", [(100 + n, h) for n, h in images], f"other {named}" if named else None)
        for k, (images, named) in enumerate(more)
    ]
    alone, together = grouped(samples), grouped([*added, *samples])
    for number in range(len(samples)):
        name = together.names[len(added) + number]
        assert name == alone.names[number]
        assert part_of(name, HALVES, seed) == part_of(alone.names[number], HALVES, seed)


def test_a_digest_and_a_place_are_one_image() -> None:
    """The second row has no digest, the third another place for the same bytes."""
    third = sample("c", [(5, True)]).model_copy(
        update={"images": (ImageRef(path="images/copy.png", sha256=f"{5:064d}"),)}
    )
    groups = grouped([sample("a", [(5, True)]), sample("b", [(5, False)]), third])
    assert groups.labels[0] == groups.labels[1] == groups.labels[2]


@pytest.mark.parametrize(
    ("paths", "together", "why"),
    [
        (("images/a.png", "images/../images/a.png"), True, "one place in two spellings"),
        (("@one/a.png", "@two/sub/../a.png"), True, "two names of one root"),
        (("@one/a.png", "images/a.png"), False, "two folders"),
    ],
)
def test_places(tmp_path: Path, paths: tuple[str, str], together: bool, why: str) -> None:
    roots = {"one": str(tmp_path / "photos"), "two": str(tmp_path / "photos")}
    card = DatasetCard(name="d", n_samples=0, n_images=0, digest="", roots=roots)
    groups = Groups(DatasetFolder(tmp_path / "d", card))
    for k, path in enumerate(paths):
        groups.add(Sample(id=str(k), task="t", question="?", images=(ImageRef(path=path),)))
    assert (groups.labels[0] == groups.labels[1]) is together, why


def test_the_name_of_a_group_does_not_depend_on_the_order_of_its_samples() -> None:
    """The third sample joins the sets of the first two by their images."""
    paths = {"x": ("1.png",), "y": ("2.png",), "z": ("2.png", "1.png"), "other": ("3.png",)}
    samples = [
        Sample(
            id=name,
            task="t",
            question="?",
            images=tuple(ImageRef(path=path) for path in found),
            meta={"image_set": name},
        )
        for name, found in paths.items()
    ]
    names = set()
    for order in permutations(samples):
        groups = grouped(list(order))
        names.add(tuple(groups.names[order.index(one)] for one in samples))
    ((x, y, z, other),) = names
    assert x == y == z != other


@pytest.fixture
def source(dataset: Make) -> DatasetFolder:
    """Forty pairs of samples; both of a pair share an image. One pair is joined by the name of its set only."""
    pairs = [{"images": (3 * k, 3 * k + j)} for k in range(39) for j in (1, 2)]
    named = [{"images": (200 + k,), "meta": {"image_set": "photo"}} for k in range(2)]
    return dataset("source", [*pairs, *named])


def parts_of(out: Path) -> dict[str, str]:
    parts = sorted(part for part in out.iterdir() if part.is_dir())
    return {s.id: part.name for part in parts for s in DatasetFolder.open(part).read(images="decode")}


@pytest.mark.parametrize("copy", [False, True])
def test_parts_share_no_image(source: DatasetFolder, tmp_path: Path, copy: bool) -> None:
    report = write_split(source, tmp_path / "out", {"train": 0.7, "val": 0.3}, seed=1, copy=copy)
    where = parts_of(tmp_path / "out")
    assert len(where) == report.n_kept == 80 and set(where.values()) == {"train", "val"}
    images: dict[str, str] = {}
    for s in source:
        for key in (*(ref.sha256 or "" for ref in s.images), s.image_set):
            assert images.setdefault(key, where[s.id]) == where[s.id]
    assert report.groups.total() == 40 and report.largest_group == 2 and not report.warnings
    assert 0.5 < report.kept["train"] / 80 < 0.9


def test_seeds_differ_and_repeat(source: DatasetFolder, tmp_path: Path) -> None:
    made = []
    for k, seed in enumerate((0, 0, 1)):
        write_split(source, tmp_path / f"out{k}", HALVES, seed=seed)
        made.append(parts_of(tmp_path / f"out{k}"))
    assert made[0] == made[1] != made[2]


def test_cards_say_what_made_them(source: DatasetFolder, tmp_path: Path) -> None:
    write_split(source, tmp_path / "out", HALVES, seed=3)
    card = DatasetFolder.open(tmp_path / "out" / "a").card
    assert card.name == "source-a" and card.seed == 3 and "mirg data split" in card.created_by
    assert "'a' of a split" in card.description


def test_a_group_that_is_too_large_is_said(dataset: Make, tmp_path: Path) -> None:
    folder = dataset("d", [{"images": (0, k)} for k in range(1, 9)])
    report = write_split(folder, tmp_path / "out", {"train": 0.8, "test": 0.2})
    assert report.largest_group == 8 and sorted(report.kept.values()) in ([8], [0, 8])
    assert any("8 of 8 samples are connected" in w and "'test' (0.2)" in w for w in report.warnings)
    assert any("is empty" in w for w in report.warnings)
    assert report.as_dict()["parts"]["train"]["asked"] == 0.8


def test_broken_rows_are_counted(source: DatasetFolder, tmp_path: Path) -> None:
    with (source.root / "samples.jsonl").open("a") as stream:
        stream.write('{"id": "bad"}\n')
    write_card(source.root, name="source")
    report = write_split(DatasetFolder.open(source.root), tmp_path / "out", HALVES)
    assert report.n_kept == 80 and [r.row for r in report.rejections] == [81]
    assert (tmp_path / "out" / "rejected.jsonl").is_file()


def test_whole_or_not_at_all(source: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise DataError("the disk is gone")

    monkeypatch.setattr("mirg.samples.writer.write_json_atomic", fails)
    with pytest.raises(DataError, match="disk"):
        write_split(source, tmp_path / "out", HALVES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def scenes(dataset: Make, unnamed: int = 0) -> DatasetFolder:
    """Twelve scenes of four cameras; no two samples share an image."""
    rows = [
        {"id": f"s{scene}-{camera}", "images": (10 * scene + camera,), "meta": {"scene": f"scene {scene}"}}
        for scene in range(12)
        for camera in range(4)
    ]
    return dataset("scenes", rows + [{"id": f"u{k}", "images": (200 + k,)} for k in range(unnamed)])


def test_cameras_of_one_scene_stay_together(dataset: Make, tmp_path: Path) -> None:
    source, by = scenes(dataset), parse_group_by("meta.scene")
    report = write_split(source, tmp_path / "out", HALVES, seed=3, by=by)
    where = parts_of(tmp_path / "out")
    assert len(where) == 48 and set(where.values()) == {"a", "b"} and report.groups.total() == 12
    assert all(len({where[f"s{scene}-{camera}"] for camera in range(4)}) == 1 for scene in range(12))
    divided = write_split(source, tmp_path / "plain", HALVES, seed=3)
    assert divided.groups.total() == 48, "without the key every camera is a group"


def test_more_cameras_do_not_move_a_scene(dataset: Make, tmp_path: Path) -> None:
    by = parse_group_by("meta.scene")
    few = dataset("few", [{"id": f"s{k}", "images": (k,), "meta": {"scene": f"{k}"}} for k in range(20)])
    more = [{"id": f"t{k}", "images": (100 + k,), "meta": {"scene": f"{k}"}} for k in range(20)]
    both = dataset("both", [*more, *({"id": s.id, "images": (k,), "meta": s.meta} for k, s in enumerate(few))])
    for name, source in (("one", few), ("two", both)):
        write_split(source, tmp_path / name, HALVES, by=by)
    one, two = parts_of(tmp_path / "one"), parts_of(tmp_path / "two")
    assert all(one[f"s{k}"] == two[f"s{k}"] == two[f"t{k}"] for k in range(20))


def test_a_sample_without_a_group_is_refused_or_kept(dataset: Make, tmp_path: Path) -> None:
    source, by = scenes(dataset, unnamed=3), parse_group_by("meta.scene")
    report = write_split(source, tmp_path / "out", HALVES, by=by)
    assert report.n_kept == 48 and [row.id for row in report.rejections] == ["u0", "u1", "u2"]
    assert report.rejections[0].reason == "no group: meta.scene is missing" and report.rejections[0].row == 49
    assert not {"u0", "u1", "u2"} & set(parts_of(tmp_path / "out"))
    kept = write_split(source, tmp_path / "kept", HALVES, by=by, keep_ungrouped=True)
    assert kept.n_kept == 51 and kept.ungrouped == 3 and not kept.rejections
    with pytest.raises(DataError, match="no group: meta.other is missing") as caught:
        write_split(source, tmp_path / "none", HALVES, by=parse_group_by("meta.other"))
    assert "--group-by" in caught.value.hint and not (tmp_path / "none").exists()


def test_a_sample_that_is_kept_without_a_group_joins_those_of_its_other_images(tmp_path: Path) -> None:
    """An edited copy lies elsewhere; the original beside it is of scene a."""
    groups = Groups(nowhere(), parse_group_by("scenes/*/"))
    rows = [("scenes/a/1.png",), ("scenes/a/2.png", "images/edited.png"), ("images/other.png",)]
    for number, paths in enumerate(rows):
        images = tuple(ImageRef(path=path) for path in paths)
        groups.add(Sample(id=str(number), task="t", question="?", images=images), ungrouped=True)
    assert groups.labels[0] == groups.labels[1] != groups.labels[2]


def names_of(by: str, *rows: tuple[str, ...]) -> list[int]:
    """The names of the groups of samples, each a scene ("" for none) and the paths of its images."""
    groups = Groups(nowhere(), parse_group_by(by))
    for number, (scene, *paths) in enumerate(rows):
        meta = {"image_set": f"set {number}"} | ({"scene": scene} if scene else {})
        images = tuple(ImageRef(path=path) for path in paths)
        groups.add(Sample(id=str(number), task="t", question="?", images=images, meta=meta), ungrouped=True)
    return groups.names


def test_samples_without_a_group_do_not_rename_the_scene_that_they_join() -> None:
    scene, stray = ("a", "1.png"), ("", "1.png")
    assert set(names_of("meta.scene", scene, *[stray] * 9)) == set(names_of("meta.scene", scene))


@pytest.mark.parametrize(("one", "two"), [("a", "b"), ("b", "a")])
def test_joined_scenes_keep_their_name_whatever_else_is_of_one_of_them(one: str, two: str) -> None:
    few = [("", f"scenes/{one}/1.png", f"scenes/{two}/1.png"), ("", f"scenes/{one}/2.png")]
    assert names_of("scenes/*/", *few)[0] == names_of("scenes/*/", *few, ("", f"scenes/{two}/3.png"))[0]


def test_an_image_joins_two_scenes(dataset: Make, tmp_path: Path) -> None:
    """Sample m shows an image of each scene: the two cannot be divided any more."""
    rows = [{"images": (k,), "meta": {"scene": str(k % 2)}} for k in range(6)]
    rows += [{"id": "m", "images": (0, 1), "meta": {"scene": "0"}}, {"images": (50,), "meta": {"scene": "2"}}]
    report = write_split(dataset("d", rows), tmp_path / "out", HALVES, by=parse_group_by("meta.scene"))
    assert report.groups.total() == 2 and report.largest_group == 7


def test_nothing_to_split(dataset: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable sample"):
        write_split(dataset("d", []), tmp_path / "out", HALVES)


NO_PARTS = ["", "train", "train=0", "train=-1,val=2", "train=nan", "train=inf", "a=1,a=1", "../up=1", "=1"]


@pytest.mark.parametrize("text", NO_PARTS)
def test_bad_parts(text: str) -> None:
    with pytest.raises(ConfigError, match="is no part"):
        parse_parts(text)


@given(shares=st.lists(st.floats(0.01, 9), min_size=1, max_size=5), name=st.integers(0, 2**64 - 1))
def test_every_group_has_a_part(shares: list[float], name: int) -> None:
    parts = parse_parts(",".join(f"p{k}={share}" for k, share in enumerate(shares)))
    assert sum(parts.values()) == pytest.approx(1)
    assert part_of(name, parts, 0) in parts


def test_the_shares_are_met_by_many_groups() -> None:
    """10,000 groups; each share within five standard deviations."""
    shares = parse_parts("train=0.8,val=0.1,test=0.1")
    found = [part_of(name, shares, 0) for name in range(10_000)]
    for part, share in shares.items():
        assert abs(found.count(part) - 10_000 * share) < 5 * (10_000 * share * (1 - share)) ** 0.5
