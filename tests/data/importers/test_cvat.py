"""CVAT XML 1.1: shapes of images, attributes, and tracks of videos with the files of their frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.annotation_tools import refusal, run, write
from fakes.importing import imported, pictures

SIZE = (100, 80)
CORNERS = 'xtl="10.00" ytl="8.00" xbr="50.50" ybr="80.00"'
LABELS = "<labels>" + "".join(f"<label><name>{n}</name></label>" for n in ("dog", "cat", "bird")) + "</labels>"


def images(*shapes: str, name: str = "a.jpg", size: str = 'width="100" height="80"') -> str:
    body = "".join(shapes)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task>{LABELS}</task></meta>'
        f'<image id="0" name="{name}" {size}>{body}</image></annotations>'
    )


def box(*, occluded: int = 0, attributes: str = "", inside: str = "") -> str:
    return f'<box label="dog" occluded="{occluded}" {CORNERS} z_order="0"{attributes}>{inside}</box>'


def test_images(tmp_path: Path) -> None:
    root = pictures(tmp_path / "task" / "images", ["cam 1/a.jpg"], SIZE)
    inside = '<attribute name="colour">dark red</attribute><attribute name="parked">false</attribute>'
    shapes = (
        box(occluded=1, inside=inside),
        '<polygon label="cat" occluded="0" points="60.00,40.00;100.00,60.00;80.00,80.00" z_order="0"></polygon>',
        '<mask label="bird" occluded="0" rle="3, 9" left="90" top="0" width="10" height="8" z_order="0"></mask>',
        '<tag label="outdoor" source="manual"></tag>',
    )
    xml = write(tmp_path / "task", {"annotations.xml": images(*shapes, name="cam 1/a.jpg")}) / "annotations.xml"
    _, (sample,) = imported("cvat", xml, tmp_path / "out", root)
    assert [(o.label, o.box, o.attributes) for o in sample.images[0].objects] == [
        ("dog", (0.1, 0.1, 0.505, 1.0), {"colour": "dark red", "parked": False, "occluded": True}),
        ("cat", (0.6, 0.5, 1.0, 1.0), {"shape": "polygon"}),
        ("bird", (0.9, 0.0, 1.0, 0.1), {"shape": "mask"}),
    ]
    assert sample.id == "cvat-cam 1/a.jpg" and sample.images[0].path == "@images/cam 1/a.jpg"
    assert run("cvat", xml.parent, root)[1].keys() == {sample.id}, "the folder of the export is taken, too"


@pytest.mark.parametrize(
    ("xml", "files", "reason", "why"),
    [
        (images(box(attributes=' rotation="30.00"')), ["a.jpg"], "is rotated: 'dog', 30.00 degrees", "a rotated box"),
        (images('<ellipse label="dog" cx="9" cy="9" rx="2" ry="3"/>'), ["a.jpg"], "drawn as ellipse", "an ellipse"),
        (images('<cuboid label="dog" xtl1="9"/>'), ["a.jpg"], "drawn as cuboid", "a cuboid"),
        (images('<skeleton label="dog"><points label="1"/></skeleton>'), ["a.jpg"], "drawn as skeleton", "a skeleton"),
        (images('<polygon label="dog" points="1,2;3,x;5,6"/>'), ["a.jpg"], "without points in numbers", "a letter"),
        (images('<box label="dog" xtl="9" ytl="8" xbr="5" ybr="80"/>'), ["a.jpg"], "without area", "inverted"),
        (images('<box label="dog" xtl="5" ytl="80" xbr="9" ybr="8"/>'), ["a.jpg"], "without area", "upside down"),
        (images('<box label="dog" xtl="9" ytl="8" xbr="nan" ybr="8"/>'), ["a.jpg"], "that are not numbers", "nan"),
        (images('<box xtl="9" ytl="8" xbr="19" ybr="80"/>'), ["a.jpg"], "shape without a label", "no label"),
        (images(box(), size='width="80" height="100"'), ["a.jpg"], "the row says 80 x 100", "sides exchanged"),
        (images(box(), name="x/a.jpg"), ["y/a.jpg"], "fits no file", "another folder"),
        (images(box()), ["x/a.jpg", "y/a.jpg"], "fits more than one file", "two that fit"),
        (images(), ["a.jpg"], "nothing says that it was annotated", "an image without shapes"),
        (images(box())[:-30], ["a.jpg"], "is not XML, or was cut off", "cut off"),
        ("<!DOCTYPE a []>" + images(box()).split("?>")[1], ["a.jpg"], "document type", "entities"),
        ("<annotation><object/></annotation>", ["a.jpg"], "is not CVAT XML", "Pascal VOC"),
    ],
)
def test_refused(tmp_path: Path, xml: str, files: list[str], reason: str, why: str) -> None:
    root = pictures(tmp_path / "images", files, SIZE)
    assert reason in refusal("cvat", write(tmp_path, {"a.xml": xml}) / "a.xml", root), why


def test_a_frame_without_a_suffix(tmp_path: Path) -> None:
    """Images of a video task are called frame_000005, and exported as frame_000005.PNG."""
    root = pictures(tmp_path / "images", ["frame_000005.png", "frame_000006.png"], SIZE)
    xml = write(tmp_path, {"a.xml": images(box(), name="frame_000005")}) / "a.xml"
    assert run("cvat", xml, root)[1]["cvat-frame_000005"].images[0].path == "@images/frame_000005.png"


def video(*tracks: str, start: int = 0, stop: int = 3, step: str = "", task: str = "task") -> str:
    told = f"<size>4</size><mode>interpolation</mode><start_frame>{start}</start_frame><stop_frame>{stop}</stop_frame>"
    told += f"<frame_filter>{step}</frame_filter>{LABELS}"
    told += "<original_size><width>100</width><height>80</height></original_size>"
    return f"<annotations><version>1.1</version><meta><{task}>{told}</{task}></meta>{''.join(tracks)}</annotations>"


def track(key: int, label: str, *boxes: tuple[int, int, str]) -> str:
    """(frame, left edge in pixels, more attributes) of every box; 20 wide, 40 high."""
    body = "".join(
        f'<box frame="{f}" keyframe="1" outside="{int("outside" in more)}" occluded="0" xtl="{x}.00" ytl="8.00" '
        f'xbr="{x + 20}.00" ybr="48.00" z_order="0">{more.replace("outside", "")}</box>'
        for f, x, more in boxes
    )
    return f'<track id="{key}" label="{label}" source="manual">{body}</track>'


def frames(root: Path, numbers: range, name: str = "frame_{:06d}.jpg") -> Path:
    return pictures(root, [name.format(k) for k in numbers], SIZE)


def test_tracks(tmp_path: Path) -> None:
    """Two tracks; one leaves the film in frame 2 and comes back in frame 3, the other one ends in frame 3."""
    root = frames(tmp_path / "film" / "images", range(5))
    dog = track(0, "dog", (0, 0, ""), (1, 10, ""), (2, 20, "outside"), (3, 30, ""), (4, 40, ""))
    cat = track(5, "cat", (1, 50, ""), (2, 60, ""), (3, 70, "outside"))
    xml = write(tmp_path / "film", {"annotations.xml": video(dog, cat, stop=4)}) / "annotations.xml"
    _, samples = run("cvat", xml, tmp_path / "film")
    assert not any("incomplete" in sample.meta for sample in samples.values())
    seen = {
        sample.images[0].frame: [(o.label, o.box[0], o.attributes["instance_id"]) for o in sample.images[0].objects]
        for sample in samples.values()
    }
    assert seen == {
        0: [("dog", 0.0, "0")],
        1: [("dog", 0.1, "0"), ("cat", 0.5, "5")],
        2: [("cat", 0.6, "5")],
        3: [("dog", 0.3, "0")],
        4: [("dog", 0.4, "0")],
    }
    assert all(s.images[0].path.endswith(f"frame_{s.images[0].frame:06d}.jpg") for s in samples.values())
    assert len({s.image_set for s in samples.values()}) == 1, "frames of one film belong together"
    scopes = {o.attributes["instance_scope"] for s in samples.values() for o in s.images[0].objects}
    assert len(scopes) == 1, "a track is the same object in its own film only"
    assert root.is_dir()


def test_a_part_of_a_film_in_steps(tmp_path: Path) -> None:
    """Every fifth frame from frame 10 on: the numbers are those of the film."""
    root = pictures(tmp_path / "images", [f"frame_{k:06d}.jpg" for k in (10, 15, 20)], SIZE)
    dog = track(0, "dog", (10, 0, ""), (15, 10, ""), (20, 20, ""))
    xml = write(tmp_path, {"a.xml": video(dog, start=10, stop=20, step="step=5")}) / "a.xml"
    samples = run("cvat", xml, root)[1].values()
    assert {s.images[0].frame: s.targets[0].box[0] for s in samples} == {10: 0.0, 15: 0.1, 20: 0.2}


def test_between_two_boxes_nobody_knows_where_it_is(tmp_path: Path) -> None:
    """The dog has no box in frame 1: only cats can be asked for in the frame, and it is not complete."""
    root = frames(tmp_path / "images", range(4))
    gone = (3, 40, 'outside="1"')
    tracks = (
        track(0, "dog", (0, 0, ""), (2, 20, ""), gone),
        track(1, "cat", (0, 40, ""), (1, 40, ""), (2, 40, ""), gone),
    )
    report, samples = run("cvat", write(tmp_path, {"a.xml": video(*tracks)}) / "a.xml", root)
    first = {s.images[0].frame: s for s in samples.values()}[1]
    assert first.question == "Point to every cat." and first.meta["incomplete"] == ["refused_box"]
    assert [row.reason for row in report.first] == ["track without a box in a frame between two of its boxes: 0, 'dog'"]


def test_a_track_without_an_end_goes_on(tmp_path: Path) -> None:
    """CVAT ends a track with a box that is outside. The dog may still be in frame 2, so only cats can be asked for."""
    root = frames(tmp_path / "images", range(4))
    tracks = track(0, "dog", (0, 0, ""), (1, 20, "")), track(1, "cat", (2, 40, ""), (3, 40, 'outside="1"'))
    report, samples = run("cvat", write(tmp_path, {"a.xml": video(*tracks)}) / "a.xml", root)
    found = {s.images[0].frame: s for s in samples.values()}
    assert sorted(found) == [0, 1, 2] and "incomplete" not in found[1].meta
    assert found[2].question == "Point to every cat." and found[2].meta["incomplete"] == ["refused_box"]
    reason = "track without a box, and without the end of the track: 0, 'dog'"
    assert [(row.reason, row.row) for row in report.first] == [(reason, 3), (reason, 4)]


@pytest.mark.parametrize(
    ("tag", "attribute", "reason"),
    [
        ('label="dog"', "ignore", "every object is a crowd or an ignored region"),
        ('label="DontCare"', "", "region that nobody annotated in the image"),
    ],
)
def test_regions_are_no_objects(tmp_path: Path, tag: str, attribute: str, reason: str) -> None:
    root = pictures(tmp_path / "images", ["a.jpg"], SIZE)
    more = f'<attribute name="{attribute}">true</attribute>' if attribute else ""
    image = f'<image id="0" name="a.jpg" width="{SIZE[0]}" height="{SIZE[1]}">'
    xml = f'<annotations>{image}<box {tag} xtl="1" ytl="2" xbr="30" ybr="40">{more}</box></image></annotations>'
    assert reason in refusal("cvat", write(tmp_path, {"a.xml": xml}) / "a.xml", root)


@pytest.mark.parametrize(
    ("xml", "names", "reason", "why"),
    [
        (video(track(0, "dog", (0, 0, ""))), [f"{k}.jpg" for k in range(1, 5)], "frame 0 has no image", "from 1"),
        (video(track(0, "dog", (2, 0, ""))), [f"{k}.jpg" for k in range(1, 5)], "frame 0 has no image", "unseen"),
        (video(track(0, "dog", (0, 0, ""))), ["0.jpg", "1.jpg", "3.jpg", "4.jpg"], "frame 2 has no image", "a gap"),
        (video(track(0, "dog", (7, 0, ""))), [f"{k}.jpg" for k in range(4)], "about frames 0 to 7", "too few"),
        (video(track(0, "dog", (0, 0, ""))), ["a/0.jpg", "b/0.jpg"], "2 folders below", "two films"),
        (video(track(0, "dog", (0, 0, ""))), ["x.jpg", "y.jpg"], "frame names are not alike", "no numbers"),
        (
            video(track(0, "dog", (0, 0, ""), (0, 9, ""))),
            [f"{k}.jpg" for k in range(4)],
            "track with two boxes in one frame",
            "twice",
        ),
        (
            video(track(0, "dog", (0, 0, "")).replace("<track", '<track task_id="1"'), track(1, "dog", (0, 0, ""))),
            ["0.jpg"],
            "tracks of several tasks",
            "a project",
        ),
    ],
)
def test_refused_films(tmp_path: Path, xml: str, names: list[str], reason: str, why: str) -> None:
    root = pictures(tmp_path / "frames", names, SIZE)
    assert reason in refusal("cvat", write(tmp_path, {"a.xml": xml}) / "a.xml", root), why
