"""Films: which frames make a sample, where an object is absent, and folders that do not fit together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

from fakes.importing import NO_FILES, imported, pictures, refused, spoiled, survives
from mirg.data.importers import video_tracks
from mirg.data.importers.raw import ImportOptions, RawSample, Refusal
from mirg.errors import DataError


def got(root: Path, boxes: list[str], *, absent: list[int] | None = None, frames: int | None = None) -> Path:
    """A GOT-10k sequence whose frames are 100 x 80 pixels."""
    pictures(root, [f"{k:08d}.jpg" for k in range(1, 1 + (len(boxes) if frames is None else frames))])
    root.mkdir(exist_ok=True)
    (root / "groundtruth.txt").write_text("".join(f"{line}\n" for line in boxes))
    if absent is not None:
        (root / "absence.label").write_text("".join(f"{int(k in absent)}\n" for k in range(len(boxes))))
    (root / "meta_info.ini").write_text("[METAINFO]\nobject_class: elephant\nresolution: (100, 80)\n")
    return root


def mot(root: Path, lines: list[str], frames: int = 4, info: str | None = "imWidth=100\nimHeight=80\n") -> Path:
    pictures(root / "img1", [f"{k:06d}.jpg" for k in range(1, frames + 1)])
    (root / "gt").mkdir()
    (root / "gt" / "gt.txt").write_text("".join(f"{line}\n" for line in lines))
    if info is not None:
        (root / "seqinfo.ini").write_text(f"[Sequence]\nname=x\n{info}")
    return root


def test_got10k(tmp_path: Path) -> None:
    """Seven frames: two samples of three, each third frame left out by the stride of two."""
    root = tmp_path / "data"
    got(root / "GOT_1", [f"{10 * k}.0,8,20,16" for k in range(12)], absent=[2, 10])
    report, (first, second) = imported("video-tracks", root, tmp_path / "out", root, stride=2, frames=3)
    assert report.frame == "pixels" and report.rows_used == 1
    assert first.id == "GOT_1-1" and second.id == "GOT_1-7"
    assert first.question == (
        "These are frames of one film. Image-1 shows an elephant at <box image=1>0.0,0.1,0.2,0.3</box>. "
        "Find it in the other images."
    )
    assert [image.frame for image in first.images] == [1, 3, 5]
    assert [image.role for image in first.images] == ["reference", "frame", "frame"]
    assert [(t.image, t.box) for t in first.targets] == [(3, (0.4, 0.1, 0.6, 0.3))], "absent in frame 3: no target"
    assert [(t.image, t.box[2]) for t in second.targets] == [(2, 1.0)], "clipped at the edge, absent in frame 11"
    assert first.relation == "same_object" and first.image_set == second.image_set == "GOT_1"


def test_mot(tmp_path: Path) -> None:
    """Objects that count: kept classes, considered, visible. Pixels count from 1."""
    root = tmp_path / "MOT17"
    lines = [f"{frame},1,{10 * frame + 1},9,20,16,1,1,1.0" for frame in (1, 2, 3, 4)]
    lines += [f"{frame},2,91,9,60,16,1,3,0.5" for frame in (1, 3, 4)]
    lines += ["1,3,1,1,20,20,0,1,1", "2,3,1,1,20,20,1,12,1", "3,3,1,1,20,20,1,1,0.01"]  # ignored, no object, hidden
    mot(root / "train" / "MOT17-02", lines)
    report, (person, car) = imported("video-tracks", root, tmp_path / "out", root, stride=1, frames=4)
    assert report.rows == 2
    assert person.id == "train/MOT17-02-1-1" and person.targets[0].label == "pedestrian"
    assert person.targets[0].box == (0.2, 0.1, 0.4, 0.3)
    assert [(t.image, t.box) for t in car.targets] == [(3, (0.9, 0.1, 1.0, 0.3)), (4, (0.9, 0.1, 1.0, 0.3))]
    assert car.meta["track"] == "2" and car.image_set == person.image_set


def test_a_sample_starts_where_the_object_is_seen(tmp_path: Path) -> None:
    root = got(tmp_path / "film", ["1,1,20,20"] * 6, absent=[0, 1])
    _, (sample,) = imported("video-tracks", root, tmp_path / "out", root, stride=1, frames=4)
    assert [image.frame for image in sample.images] == [3, 4, 5, 6] and sample.id == "film-3"


def test_lasot_and_sizes_from_the_files(tmp_path: Path) -> None:
    root = tmp_path / "cat-1"
    pictures(root / "img", [f"{k:08d}.jpg" for k in (1, 2, 3)])
    (root / "groundtruth.txt").write_text("1,1,20,20\n1,1,20,20\n90,70,20,20\n")
    (root / "out_of_view.txt").write_text("0,1,0\n")
    _, (sample,) = imported("video-tracks", root, tmp_path / "out", root, stride=1, frames=3)
    assert [(t.image, t.box) for t in sample.targets] == [(3, (0.9, 0.875, 1.0, 1.0))]
    assert sample.meta["subject"] == "object"


def read(root: Path) -> list[RawSample | Refusal]:
    options = ImportOptions(root=str(root), stride=1, frames=3)
    return [outcome for row in video_tracks.read(root, options) for outcome in video_tracks.convert(row.value, options)]


@pytest.mark.parametrize(
    ("make", "field", "reason", "why"),
    [
        (lambda at: got(at, ["1,2,3"]), "groundtruth.txt", "line 1 is not x,y,w,h", "three numbers"),
        (lambda at: got(at, ["1,2,30,40"] * 3, frames=2), "groundtruth.txt", "3 lines for 2 frames", "a frame less"),
        (lambda at: got(at, ["1,2,30,40"] * 2, frames=0), "frames", "no image files", "frames are missing"),
        (lambda at: got(at, ["1,2,30,40"] * 3, absent=[0, 1]), "boxes", "not seen in two", "one appearance"),
        (lambda at: got(at, ["nan,nan,nan,nan"] * 3), "boxes", "not seen in two", "never there"),
        (lambda at: mot(at, ["1,1,2,3"]), "gt/gt.txt", "line 1 is not", "too few numbers"),
        (lambda at: mot(at, ["9,1,1,1,20,20,1,1,1"]), "gt/gt.txt", "frame 9 has no image", "a frame too many"),
        (lambda at: mot(at, ["1,1,1,1,20,20,1,1,1"] * 2), "gt/gt.txt", "second box", "twice in one frame"),
        (lambda at: mot(at, ["1,1,1,1,20,20,0,1,1"]), "gt/gt.txt", "no visible object", "all ignored"),
    ],
)
def test_refused(tmp_path: Path, make: Callable[[Path], Path], field: str, reason: str, why: str) -> None:
    (found,) = read(make(tmp_path / "film"))
    assert isinstance(found, Refusal)
    assert found.field == field and reason in found.reason, f"{why}: {found}"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("NaN,NaN,NaN,NaN", "GOT-10k and TrackingNet"),
        ("nan\tnan\tnan\tnan", "tabs"),
        ("0,0,0,0", "LaSOT"),
        ("12,9,0,16", "no width"),
        ("-1,-1,-1,-1", "other tools"),
    ],
)
def test_lines_that_say_that_nothing_is_seen(tmp_path: Path, line: str, why: str) -> None:
    (found,) = read(got(tmp_path / "film", ["1,2,30,40", line, "5,6,30,40"]))
    assert isinstance(found, RawSample), why
    assert [(box.image, box.numbers) for box in found.targets] == [(3, (5.0, 6.0, 35.0, 46.0))], why


@pytest.mark.parametrize("line", ["NaN,2,30,40", "1,2,-30,40", "1,2,30", "1,2,30,x", "1,1,9,1,9,9,1,9", "1,,2,30"])
def test_lines_that_are_no_boxes(tmp_path: Path, line: str) -> None:
    (found,) = read(got(tmp_path / "film", ["1,2,30,40", line, "5,6,30,40"]))
    assert isinstance(found, Refusal) and "line 2" in found.reason


def test_files_of_windows_and_of_a_mac(tmp_path: Path) -> None:
    """No leading zeros, CRLF and a byte order mark, a hidden file, and frames that are covered completely."""
    root = tmp_path / "film"
    pictures(root, [f"img{k}.jpg" for k in range(8, 12)])
    (root / "._img8.jpg").touch()
    (root / "groundtruth.txt").write_bytes(b"\xef\xbb\xbf8 8 20 16\r\n9 8 20 16\r\n10 8 20 16\r\n11 8 20 16\r\n")
    (root / "cover.label").write_text("8\n0\n3\n8\n")
    (root / "meta_info.ini").write_text("\ufeff[METAINFO]\r\nobject_class: ice bear\r\nresolution: (100, 80)\r\n")
    _, (sample,) = imported("video-tracks", root, tmp_path / "out", root, stride=1, frames=4)
    assert [image.path for image in sample.images] == [f"@film/img{k}.jpg" for k in range(8, 12)]
    assert [(t.image, t.box[0], t.label) for t in sample.targets] == [(3, 0.1, "ice bear"), (4, 0.11, "ice bear")]


def test_corners_are_not_taken_for_a_size(tmp_path: Path) -> None:
    """Corners x1,y1,x2,y2 that lie inside of a frame of 100 x 80 pixels; as a size, most boxes would leave it."""
    (found,) = read(got(tmp_path / "film", ["40,30,90,70", "50,30,95,70", "10,10,20,20"]))
    assert isinstance(found, Refusal) and "2 of 3 boxes leave the frame as x,y,w,h" in found.reason


def test_flags_of_another_length(tmp_path: Path) -> None:
    root = got(tmp_path / "film", ["1,2,30,40"] * 3, absent=[])
    (root / "absence.label").write_text("0\n0\n")
    (found,) = read(root)
    assert isinstance(found, Refusal) and "2 values for 3 frames" in found.reason


def test_one_broken_film_leaves_the_others(tmp_path: Path) -> None:
    got(tmp_path / "a", ["1,2,30,40"] * 3)
    got(tmp_path / "b", ["1,2,3"])
    good, bad = read(tmp_path)
    assert isinstance(good, RawSample) and isinstance(bad, Refusal)


def test_no_film(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no sequence"):
        read(tmp_path)


@given(spoiled([{"sequence": "x", "frames": ["a.jpg"], "boxes": []}]))
def test_no_row_stops_an_import(value: object) -> None:
    survives("video-tracks", value)
    assert "not an object of a sequence" in refused("video-tracks", value, NO_FILES).reason
