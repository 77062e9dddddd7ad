"""gt/gt.txt in every layout that is written: what its columns mean, and what is refused because it is not clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.importing import imported, pictures
from mirg.data.importers import video_tracks
from mirg.data.importers.raw import ImportOptions, Outcome, RawSample, Refusal

STEPS = range(1, 5)


def mot(root: Path, lines: list[str], labels: str | None = None, names: list[str] | None = None) -> Path:
    """A film of frames of 100 x 80 pixels, four unless they are named."""
    pictures(root / "img1", names or [f"{k:06d}.jpg" for k in STEPS])
    (root / "gt").mkdir()
    (root / "gt" / "gt.txt").write_text("".join(f"{line}\n" for line in lines))
    if labels is not None:
        (root / "gt" / "labels.txt").write_bytes(labels.encode())
    return root


def read(root: Path) -> list[Outcome]:
    options = ImportOptions(root=str(root), stride=1, frames=4)
    return [outcome for row in video_tracks.read(root, options) for outcome in video_tracks.convert(row.value, options)]


def track(rest: str, key: int = 1) -> list[str]:
    """The lines of one object that moves by ten pixels per frame; ``rest`` follows the box."""
    return [f"{k},{key},{10 * k},9,20,16{rest.replace('K', str(k))}" for k in STEPS]


@pytest.mark.parametrize(
    ("rest", "labels", "label", "left", "why"),
    [
        (",1,1,1.0", None, "pedestrian", 0.19, "MOT17: the class table, pixels from 1"),
        (",1,3,0.5", None, "car", 0.19, "half visible"),
        (",1,1,1.0", "forklift\npallet\n", "forklift", 0.2, "CVAT: labels.txt, pixels from 0"),
        (",1,3,1.0", "\ufefffork\r\npallet\r\nhelmet\r\n", "helmet", 0.2, "byte order mark and CRLF"),
        (",1,2,0.86,-1", "forklift\nhand pallet\n", "hand pallet", 0.2, "CVAT with a tenth column"),
        (",1,8,1", "\n" * 7 + "tram\n", "tram", 0.2, "class 8 is a distractor in MOT only"),
        (",1,-1,1.0", "forklift\n", "", 0.2, "CVAT: no class"),
        (",1,-1,-1,-1", None, "", 0.19, "MOT15 without world coordinates"),
        (",1,3.K,4.2,0", None, "", 0.19, "MOT15: x of the world, which is no car"),
        (",1,-8.1,-3.1,0", None, "", 0.19, "MOT15: negative"),
        (",1,K,K,0", None, "", 0.19, "MOT15: whole numbers, one of which is beyond any visible share"),
        (",1,-1,-1", None, "", 0.19, "no class in nine columns"),
        (",1", None, "", 0.19, "seven columns"),
        ("", None, "", 0.19, "six columns"),
    ],
)
def test_what_the_columns_mean(
    tmp_path: Path, rest: str, labels: str | None, label: str, left: float, why: str
) -> None:
    root = mot(tmp_path / "film", track(rest), labels)
    _, (sample,) = imported("video-tracks", root, tmp_path / "out", root, stride=1, frames=4)
    assert [t.label for t in sample.targets] == [label] * 3, why
    assert sample.targets[0].image == 2 and sample.targets[0].box[0] == pytest.approx(left, abs=1e-9), why
    assert sample.meta["subject"] == (label or "object") and ("unnamed" in sample.meta) == (not label)


def test_classes_that_are_no_objects(tmp_path: Path) -> None:
    """Distractors and the like, what does not count and what is hidden, by MOT's numbers and by CVAT's names."""
    rests = (",1,1,1", ",1,8,1", ",1,12,1", ",1,13,1", ",0,1,1", ",1,1,0.05", ",0,99,1")
    lines = [line for key, rest in enumerate(rests, 1) for line in track(rest, key)]
    assert [found.meta["track"] for found in read(mot(tmp_path / "a", lines)) if isinstance(found, RawSample)] == ["1"]
    labels = "pedestrian\nperson_on_vehicle\ndistractor\noccluder_on_ground\n"
    lines = [line for key in (1, 2, 3, 4) for line in track(f",1,{key},1", key)]
    found = [one.meta["subject"] for one in read(mot(tmp_path / "b", lines, labels)) if isinstance(one, RawSample)]
    assert found == ["pedestrian", "person_on_vehicle"]


def test_an_object_of_two_classes_gets_no_name(tmp_path: Path) -> None:
    lines = track(",1,1,1")
    lines[2] = lines[2].replace(",1,1,1", ",1,2,1")
    (found,) = read(mot(tmp_path / "film", lines))
    assert isinstance(found, RawSample) and found.targets[0].label == ""
    assert found.meta["unnamed"] == "its lines do not agree on one class: pedestrian, person on a vehicle"


@pytest.mark.parametrize(
    ("lines", "labels", "reason", "why"),
    [
        (track(",1,10,1"), "a\nb\n", "class 10 is not in gt/labels.txt (2 names)", "beyond the last line"),
        (track(",1,2,1"), "a\n\nc\n", "class 2 is not in gt/labels.txt", "an empty line names nothing"),
        (track(",1,0,1"), "a\n", "class 0 is not in gt/labels.txt", "lines count from 1"),
        (track(",1,27,1"), None, "class 27 is not in MOT's table, and there is no gt/labels.txt", "another table"),
        (track(",1,0,1"), None, "class 0 is not in MOT's table", "counted from 0, so 1 is no pedestrian"),
        (track(",1,1,1,0"), None, "may be world coordinates", "ten columns that could be either"),
        (track(",1,0,0,2"), None, "category, truncation and occlusion (VisDrone)", "an ignored region of VisDrone"),
        (track(",1,2.5,1"), None, "not class and visibility of MOT16", "half a class"),
        (track(",1,1,7"), None, "not class and visibility of MOT16", "visible seven times"),
        (track(",1,3.2,4.1,0"), "a\nb\nc\n", "not class and visibility of gt/labels.txt", "world, and labels"),
        ([*track(",1,1,1"), "4,2,1,1,9,9,1,1,1,1"], None, "line 5 has 10 columns, line 1 has 9", "two layouts"),
        (track(",1,1"), None, "is not frame,id", "eight columns"),
        (track(",1,1,nan"), None, "holds NaN", "NaN"),
        ([line.replace(",1,", ",-1,", 1) for line in track(",1,1,1")], None, "not a frame and a track", "detections"),
        (["1.5,1,1,1,9,9,1,1,1"], None, "not a frame and a track", "half a frame"),
        (["1,1,1,1,-9,9,1,1,1"], None, "are not a size", "a negative width"),
        (["0,1,1,1,9,9,1,1,1"], None, "frame 0 has no image", "lines from 0, files from 1"),
        (["1,1,1,1,9,9,1,1,1", "5,1,1,1,9,9,1,1,1"], None, "frame 5 has no image", "a frame too many"),
        (["1,1,50,40,90,70,1,1,1", "2,1,50,40,90,70,1,1,1"], None, "leave the frame as x,y,w,h", "two corners"),
        (track(",0.9K,-1,-1,-1"), None, "line 1: column 7 is 0.91, not 0 or 1: these are predictions", "ByteTrack"),
        (track(",0.87"), None, "column 7 is 0.87", "a confidence in seven columns"),
        (track(",0.9,1,1.0", 2), "dog\n", "column 7 is 0.9", "a confidence beside the labels of CVAT"),
        ([*track(",1,1,1"), *track(",0.5,1,1", 2)], None, "line 5: column 7 is 0.5", "one line of a tracker"),
        (track(",-1,-1,-1,-1"), None, "column 7 is -1", "a tracker that writes no confidence"),
        (track(",87.5,-1,-1,-1"), None, "column 7 is 87.5", "percent"),
        ([f"{k},1,0.{k},0.1,0.2,0.2,1,1,1" for k in STEPS], None, "all 4 boxes are fractions, not pixels", "of YOLO"),
    ],
)
def test_refused(tmp_path: Path, lines: list[str], labels: str | None, reason: str, why: str) -> None:
    (found,) = read(mot(tmp_path / "film", lines, labels))
    assert isinstance(found, Refusal) and reason in found.reason, f"{why}: {found}"


def test_frames_get_the_boxes_of_their_number(tmp_path: Path) -> None:
    """The lines name frames by number, in any order; files count from 0, and one is missing in between."""
    names = [f"cam1_frame_{k}.jpg" for k in (0, 1, 3, 10)]
    lines = [f"{k},7,{4 * k + 1},1,20,16,1,1,1" for k in (10, 3, 0, 1)]
    (found,) = read(mot(tmp_path / "film", lines, names=names))
    assert isinstance(found, RawSample)
    frames = [image.frame for image in found.images]
    assert frames == [0, 1, 3, 10]
    assert [box.numbers[0] for box in found.targets] == [4.0 * frame for frame in frames[1:] if frame is not None]


def test_a_frame_of_which_no_line_tells_anything_is_left_out(tmp_path: Path) -> None:
    """Frames 2 and 3 were not annotated, as every other frame of TAO; in frame 4 a line of another object stands."""
    names = [f"{k:06d}.jpg" for k in (1, 2, 3, 4, 5)]
    lines = ["1,7,5,1,20,16,1,1,1", "4,8,5,1,20,16,0,1,1", "5,7,9,1,20,16,1,1,1"]
    (found,) = read(mot(tmp_path / "film", lines, names=names))
    assert isinstance(found, RawSample)
    assert [image.frame for image in found.images] == [1, 4, 5]
    assert [target.image for target in found.targets] == [3]


def test_files_from_0_and_lines_that_may_count_from_1(tmp_path: Path) -> None:
    """Four files, 0 to 3, and lines of frames 1 to 3: nobody can know whether line 1 is file 1 or the first file."""
    (found,) = read(mot(tmp_path / "film", track(",1,1,1")[:3], names=[f"{k}.jpg" for k in range(4)]))
    assert isinstance(found, Refusal) and "count frames from 0" in found.reason


def test_seqinfo_names_the_folder_and_the_size(tmp_path: Path) -> None:
    root = mot(tmp_path / "film", track(",1,1,1"))
    (root / "img1").rename(root / "rgb")
    (root / "seqinfo.ini").write_text("\ufeff[Sequence]\r\nimDir=rgb\r\nimWidth=100\r\nimHeight=80\r\n")
    (found,) = read(root)
    assert isinstance(found, RawSample) and (found.images[0].width, found.images[0].height) == (100, 80)
