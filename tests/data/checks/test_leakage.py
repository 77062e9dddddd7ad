"""Images that two datasets share, by content and by look."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from fakes.datasets import edit_rows, picture, row, write_rows
from mirg.data.checks.leakage import Digests, Holdout, Leakage, SharedImage, Use, alike, note_shared, shared_images
from mirg.executors import executor
from mirg.images import image_digest
from mirg.samples import DatasetFolder
from mirg.samples.grouping import parse_group_by


def without_digests(folder: DatasetFolder) -> DatasetFolder:
    return edit_rows(folder, lambda rows: [image.pop("sha256") for values in rows for image in values["images"]])


def test_shared_contents_are_listed_once_with_both_samples(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "a", [row("a1", [1, 2]), row("a2", [3, 2]), row("a3", [2, 4])])
    bench = write_rows(tmp_path / "b", [row("b1", [9, 4]), row("b2", [2]), row("b3", [2])])
    found = shared_images(train, bench)
    assert [(s.train.sample_id, s.train.image, s.benchmark.sample_id, s.benchmark.image) for s in found] == [
        ("a1", 2, "b2", 1),
        ("a3", 2, "b1", 2),
    ]
    assert found[0].sha256 == image_digest(train.root / found[0].train.path) and found[0].bits is None
    assert shared_images(train, write_rows(tmp_path / "c", [row("c1", [7, 8])])) == []


def test_names_do_not_matter_and_digests_are_computed_where_rows_have_none(tmp_path: Path) -> None:
    train = without_digests(write_rows(tmp_path / "a", [row("a1", [1, 2])]))
    bench = without_digests(write_rows(tmp_path / "b", [row("b1", [5, 6, 2])]))
    (bench.root / "images" / "p2.png").rename(bench.root / "images" / "other.png")
    bench = edit_rows(bench, lambda rows: rows[0]["images"][2].update(path="images/other.png"))
    (found,) = shared_images(train, bench)
    assert found.benchmark == Use("b1", 3, "images/other.png")
    known = write_rows(tmp_path / "known", [row("k1", [1, 2])])
    assert shared_images(known, bench) != []
    for one in (train, known):
        assert shared_images(one, bench, look=False) == [], "without a look there is nothing to compare"
    assert shared_images(train, write_rows(tmp_path / "c", [row("c1", [2])])) != [], "one side may have digests"


def test_upper_and_lower_case_are_one_digest(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "a", [row("a1", [1])])
    bench = edit_rows(
        write_rows(tmp_path / "b", [row("b1", [1])]),
        lambda rows: rows[0]["images"][0].update(sha256=rows[0]["images"][0]["sha256"].upper()),
    )
    assert len(shared_images(train, bench)) == 1


def test_rows_and_files_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "a", [row("a1", [1]), row("a2", [2])])
    bench = without_digests(write_rows(tmp_path / "b", [row("b1", [1]), row("b2", [2]), row("b3", [3])]))
    (bench.root / "images" / "p1.png").unlink()
    bench = edit_rows(bench, lambda rows: rows[2].pop("question"))
    index = Holdout(bench)
    assert index.rejected == 1 and [use.sample_id for use in index.by_digest.values()] == ["b2"]
    assert [found.train.sample_id for found in shared_images(train, bench)] == ["a2"]


def test_several_benchmarks_are_told_apart(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "a", [row("a1", [1, 2])])
    names = ("x", "y")
    benchmarks = [Holdout(write_rows(tmp_path / name, [row(name, [1])]), name=name) for name in names]
    shared: dict = {}
    for sample in train:
        note_shared(shared, Digests(train).uses(sample), benchmarks)
    assert [found.dataset for found in shared.values()] == ["x", "y"]
    first = str(next(iter(shared.values())))
    assert first.endswith("of sample x of x") and "Image-1 (images/p1.png) is" in first


def looks(folder: DatasetFolder) -> dict:
    uses = [use for sample in folder for use in Digests(folder, look=False).uses(sample)]
    return {use.path: (use, digest) for use, digest in uses}


def changed_copies(folder: DatasetFolder) -> DatasetFolder:
    """The same pictures in other files: half the size, as JPEG."""
    for path in (folder.root / "images").iterdir():
        image = Image.open(path).convert("RGB").resize((100, 75))
        image.save(path, "JPEG", quality=60)
    return without_digests(edit_rows(folder, lambda rows: [i.update(width=100, height=75) for i in rows[0]["images"]]))


def test_changed_copies_look_alike_and_equal_files_are_not_said_twice(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "a", [row("a1", [1, 2, 3])])
    bench = changed_copies(write_rows(tmp_path / "b", [row("b1", [2, 8])]))
    index = Holdout(bench, name="b")
    found = alike(train, looks(train), index, 4)
    assert [(s.train.sample_id, s.train.image, s.benchmark.image) for s in found] == [("a1", 2, 1)]
    assert found[0].bits is not None and found[0].bits <= 4 and "looks like" in str(found[0])
    assert shared_images(train, bench) == [], "no file is the same"
    same = Holdout(write_rows(tmp_path / "c", [row("c1", [2])]))
    assert alike(train, looks(train), same, 4) == []
    unknown = Holdout(bench, look=False, name="b")
    assert alike(train, looks(without_digests(train)), unknown, 4) == found, "no digest is not an equal one"


def test_processes_find_the_same(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "a", [row("a1", [1, 2, 3])])
    index = Holdout(changed_copies(write_rows(tmp_path / "b", [row("b1", [3, 1])])))
    with executor("processes", 2) as run:
        assert alike(train, looks(train), index, 4, run) == alike(train, looks(train), index, 4) != []


def test_an_image_that_leaves_its_folder_is_not_opened(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "outside.png")
    train = write_rows(tmp_path / "a", [row("a1", [1])])
    bench = edit_rows(
        write_rows(tmp_path / "b", [row("b1", [5])]),
        lambda rows: rows[0]["images"][0].update(path="../outside.png", sha256=None),
    )
    index = Holdout(bench)
    assert index.by_digest == {} and alike(train, looks(train), index, 4) == []


def test_json_holds_the_whole_pair() -> None:
    shared = SharedImage(Use("a", 1, "p"), Use("b", 2, "q"), None, 3, "bench")
    train, benchmark = {"sample_id": "a", "image": 1, "path": "p"}, {"sample_id": "b", "image": 2, "path": "q"}
    pair = {"train": train, "benchmark": benchmark, "sha256": None, "bits": 3, "dataset": "bench"}
    assert shared.as_dict() == pair


def left_out(train: DatasetFolder, *benchmarks: DatasetFolder, near: int | None = None, by: str = "") -> dict[str, str]:
    key = parse_group_by(by) if by else None
    held = [Holdout(folder, name=folder.root.name, by=key) for folder in benchmarks]
    leakage = Leakage(train, held, near=near, by=key)
    found = {sample.id: why for sample in train if (why := leakage.why(sample)) is not None}
    for _, field, reason in found.values():
        number = reason.partition("Image-")[2].partition(" ")[0]
        assert field == (f"images.{int(number) - 1}" if number else "group")
    return {sample_id: reason for sample_id, (_, _, reason) in found.items()}


def test_every_sample_that_uses_a_shared_image_is_left_out(tmp_path: Path) -> None:
    """The check names an image once; all samples that use it have to go, also under another name of the file."""
    train = write_rows(tmp_path / "a", [row("a1", [1, 2]), row("a2", [3, 2]), row("a3", [3]), row("a4", [5, 4])])
    bench = without_digests(write_rows(tmp_path / "b", [row("b1", [9, 2]), row("b2", [4])]))
    assert left_out(train, bench) == {
        "a1": "leakage: Image-2 (images/p2.png) is Image-2 (images/p2.png) of sample b1 of b",
        "a2": "leakage: Image-2 (images/p2.png) is Image-2 (images/p2.png) of sample b1 of b",
        "a4": "leakage: Image-2 (images/p4.png) is Image-1 (images/p4.png) of sample b2 of b",
    }
    assert left_out(without_digests(train), bench).keys() == {"a1", "a2", "a4"}
    other = write_rows(tmp_path / "c", [row("c1", [3])])
    assert left_out(train, bench, other).keys() == {"a1", "a2", "a3", "a4"}


def test_changed_copies_are_left_out_by_their_look(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "a", [row("a1", [1, 2]), row("a2", [5, 6]), row("a3", [2, 7])])
    bench = changed_copies(write_rows(tmp_path / "b", [row("b1", [2, 8])]))
    assert left_out(train, bench) == {}, "no file is the same"
    found = left_out(train, bench, near=4)
    assert found.keys() == {"a1", "a3"} and "Image-1 (images/p2.png) looks like" in found["a3"]


def test_the_rest_of_a_group_is_left_out_with_it(tmp_path: Path) -> None:
    """Scene x shares an image, scene y is in the benchmark with another camera, scene z is elsewhere."""
    scenes = {"a1": "x", "a2": "x", "a3": "y", "a4": "z", "a5": None}
    rows = [
        row(name, [k]) | ({"meta": {"scene": scene}} if scene else {})
        for k, (name, scene) in enumerate(scenes.items(), 1)
    ]
    train = write_rows(tmp_path / "a", rows)
    bench = write_rows(tmp_path / "b", [row("b1", [1]), row("b2", [30]) | {"meta": {"scene": "y"}}])
    assert left_out(train, bench).keys() == {"a1"}
    found = left_out(train, bench, by="meta.scene")
    assert found.keys() == {"a1", "a2", "a3"}
    assert found["a2"] == "leakage: its group 'x' is that of sample a1, which shares an image with a benchmark"
    assert found["a3"] == "leakage: its group 'y' is that of sample b2 of b"
    assert Leakage(train, [], by=parse_group_by("meta.scene")).ungrouped == 1
    assert Holdout(bench, by=parse_group_by("meta.scene")).ungrouped == 1 and Holdout(bench).ungrouped == 0


def test_every_group_of_a_sample_is_left_out_with_it(tmp_path: Path) -> None:
    """Its first image is in the benchmark, its second one is of a scene that another sample shows too."""
    train = write_rows(tmp_path / "a", [row("a1", [11, 21]), row("a2", [31, 22]), row("a3", [41])])
    bench = write_rows(tmp_path / "b", [row("b1", [11])])
    assert left_out(train, bench, by="images/p([0-9])").keys() == {"a1", "a2"}
