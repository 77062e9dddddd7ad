"""Pascal VOC as the devkit and as tools write it: where the corners count from, which image, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.annotation_tools import refusal, run, write
from fakes.importing import imported, pictures

SIZE = (100, 80)
# As VOC2007 has them: each part of a person has a separate box, inside of its object.
DEVKIT = """<annotation>
	<folder>VOC2007</folder>
	<filename>{name}</filename>
	<source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation></source>
	<size><width>100</width><height>80</height><depth>3</depth></size>
	<segmented>0</segmented>
	<object>
		<name>person</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
		<bndbox><xmin>11</xmin><ymin>9</ymin><xmax>50</xmax><ymax>80</ymax></bndbox>
		<part><name>head</name><bndbox><xmin>20</xmin><ymin>9</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></part>
	</object>
	<object>
		<name>dog</name><pose>Unspecified</pose><truncated>0</truncated><difficult>1</difficult>
		<bndbox><xmax>100</xmax><xmin>61</xmin><ymax>40</ymax><ymin>1</ymin></bndbox>
	</object>
</annotation>"""


CVAT_TURNED = (
    "</bndbox><attributes><attribute><name>rotation</name><value>30.0</value></attribute>"
    "<attribute><name>parked</name><value>true</value></attribute></attributes>"
)


def tool(name: str, corners: str = "10,8,50,80", database: str = "Unknown", label: str = "dog") -> str:
    """As LabelImg writes it."""
    words = corners.split(",")
    box = "".join(f"<{c}>{v}</{c}>" for c, v in zip(("xmin", "ymin", "xmax", "ymax"), words, strict=False))
    return (
        f"<annotation><folder>x</folder><filename>{name}</filename><path>C:\\Users\\me\\{name}</path>"
        f"<source><database>{database}</database></source>"
        "<size><width>100</width><height>80</height><depth>3</depth></size>"
        f"<object><name>{label}</name><bndbox>{box}</bndbox></object></annotation>"
    )


def test_devkit(tmp_path: Path) -> None:
    """Pixels count from 1: the box of xmin 11 and xmax 50 covers the columns 10 to 50 of 100."""
    root = tmp_path / "VOCdevkit"
    pictures(root / "VOC2007" / "JPEGImages", ["000012.jpg"], SIZE)
    write(root / "VOC2007" / "Annotations", {"000012.xml": DEVKIT.format(name="000012.jpg")})
    _, (sample,) = imported("voc", root, tmp_path / "out", root)
    assert sample.images[0].path == "@VOCdevkit/VOC2007/JPEGImages/000012.jpg"
    person, dog = sample.images[0].objects
    assert person.box == (0.1, 0.1, 0.5, 1.0) and dog.box == (0.6, 0.0, 1.0, 0.5)
    assert person.attributes == {"truncated": True, "pose": "Left"} and dog.attributes == {"difficult": True}
    assert [thing.label for thing in sample.images[0].objects] == ["person", "dog"], "parts are no objects"
    assert sample.question == f"Point to every {sample.targets[0].label}."


def test_a_list_of_the_devkit(tmp_path: Path) -> None:
    root = tmp_path / "VOC2012"
    pictures(root / "JPEGImages", ["a_1.jpg", "a_2.jpg"], SIZE)
    write(root / "Annotations", {f"{name}.xml": DEVKIT.format(name=f"{name}.jpg") for name in ("a_1", "a_2")})
    lists = {"val.txt": "a_2\n", "dog_val.txt": "a_1 -1\na_2  1\n", "bad.txt": "a_3\n"}
    folder = write(root / "ImageSets" / "Main", dict(lists))
    assert set(run("voc", folder / "val.txt", root)[1]) == {"voc-a_2"}
    write(root / "ImageSets", {"default.txt": "a_1\n"})
    assert set(run("voc", root / "ImageSets" / "default.txt", root)[1]) == {"voc-a_1"}
    assert "whether it holds one class" in refusal("voc", folder / "dog_val.txt", root)
    assert "names a_3" in refusal("voc", folder / "bad.txt", root)


@pytest.mark.parametrize(
    ("files", "left", "why"),
    [
        ({"a.xml": tool("a.jpg")}, 0.1, "LabelImg and CVAT measure from the edge"),
        ({"a.xml": tool("a.jpg", database="roboflow.com")}, 0.1, "Roboflow"),
        ({"a.xml": tool("a.jpg", database="The VOC2012 Database")}, 0.09, "the devkit"),
        ({"a.xml": tool("a.jpg", "10,8,50.5,80", "The VOC2012 Database")}, 0.09, "VOC2012 has a few decimals"),
        ({"a.xml": tool("a.jpg", database="")}, 0.09, "nothing tells: the definition of the format"),
        ({"a.xml": tool("a.jpg", "10,8.5,50,80", "")}, 0.1, "decimals"),
        ({"a.xml": tool("a.jpg", database=""), "b.xml": tool("b.jpg", "0,8,9,9", "")}, 0.1, "a single 0 settles it"),
        ({"a.xml": tool("a.jpg", database=""), "b.xml": tool("b.jpg")}, 0.09, "one tool does not speak for the other"),
    ],
)
def test_where_corners_count_from(tmp_path: Path, files: dict[str, str], left: float, why: str) -> None:
    root = pictures(tmp_path / "images", ["a.jpg", "b.jpg"], SIZE)
    _, samples = run("voc", write(tmp_path / "xml", dict(files)), root)
    assert samples["voc-a"].targets[0].box[0] == pytest.approx(left), why
    assert samples["voc-a"].targets[0].box[2:] in ((0.5, 1.0), (0.505, 1.0)), "the last pixel belongs to the box"


@pytest.mark.parametrize(
    ("name", "xml", "image", "why"),
    [
        ("a.xml", "", "a.jpg", "no filename: the name of the XML file"),
        ("a.xml", "a", "a.jpg", "a name without a suffix"),
        ("a.xml", "sub\\b c.jpg", "sub/b c.jpg", "a path of Windows, and a blank"),
        ("a.xml", "/disk/x/B.JPG", "b.jpg", "a path of another machine, in capitals"),
        ("Stra\u00dfe.xml", "Stra\u00dfe u\u0308.jpg", "Stra\u00dfe \u00fc.jpg", "decomposed letters of a Mac"),
        ("a.xml", "50 % #1 &amp; 2.jpg", "50 % #1 & 2.jpg", "signs that URLs know"),
    ],
)
def test_which_image(tmp_path: Path, name: str, xml: str, image: str, why: str) -> None:
    root = pictures(tmp_path / "images", [image, "other.jpg"], SIZE)
    _, samples = run("voc", write(tmp_path / "xml", {name: tool(xml)}), root)
    assert [sample.images[0].path for sample in samples.values()] == [f"@images/{image}"], why


EMPTY = "<annotation><filename>a.jpg</filename></annotation>"


@pytest.mark.parametrize(
    ("files", "images", "reason", "why"),
    [
        ({"a.xml": tool("c.jpg")}, ["a.jpg"], "fits no file", "an image that is not there"),
        ({"a.xml": tool("a.jpg")}, ["x/a.jpg", "y/a.jpg"], "fits x/a.jpg, y/a.jpg", "two that fit"),
        ({"a.xml": tool("train/a.jpg")}, ["test/a.jpg"], "fits no file", "the name is that of another folder"),
        ({"a.xml": tool("b.jpg")}, ["a.jpg", "b.jpg"], "and both exist", "one of both was renamed"),
        ({"a.xml": tool("c.jpg"), "b.xml": tool("c.jpg")}, ["c.jpg"], "annotated more than once", "two files"),
        ({"a.xml": tool("u/c.jpg"), "b.xml": tool("v/c.jpg")}, ["c.jpg"], "fit c.jpg", "two folders"),
        ({"a.xml": tool("a.jpg", "10,8,50")}, ["a.jpg"], "corners that are not numbers", "a corner is missing"),
        ({"a.xml": tool("a.jpg", "50,8,10,80")}, ["a.jpg"], "without area", "inverted"),
        ({"a.xml": tool("a.jpg", "10,80,50,8")}, ["a.jpg"], "without area", "inverted in height"),
        ({"a.xml": tool("a.jpg", "10,8,90,95")}, ["a.jpg"], "is outside", "beyond the edge"),
        ({"a.xml": tool("a.jpg", "0.1,0.2,0.5,0.6")}, ["a.jpg"], "can only be fractions (0-1)", "fractions"),
        ({"a.xml": tool("a.jpg", label="")}, ["a.jpg"], "object without a name", "no label"),
        ({"a.xml": EMPTY}, ["a.jpg"], "no object, and the file names no label", "annotated, and no label is known"),
        ({"a.xml": tool("a.jpg").replace(">100<", ">120<")}, ["a.jpg"], "the row says 120 x 80", "another size"),
        ({"a.xml": tool("a.jpg").replace(">100<", ">wide<")}, ["a.jpg"], "is not a size in pixels", "no size"),
        ({"a.xml": tool("a.jpg").replace("bndbox", "polygon")}, ["a.jpg"], "bndbox: 'dog' has polygon", "LabelMe"),
        ({"a.xml": tool("a.jpg").replace("</bndbox>", CVAT_TURNED)}, ["a.jpg"], "is rotated: 'dog', 30.0 deg", "CVAT"),
        ({"a.xml": tool("/disk/train/a.jpg")}, ["test/a.jpg"], "fits no file", "a path of another folder"),
        ({"a.xml": tool("a.jpg")[:-20]}, ["a.jpg"], "is not XML, or was cut off", "cut off"),
        ({"a.xml": "<annotations/>"}, ["a.jpg"], "its root is <annotations>", "another format"),
        ({"a.xml": "<a>" * 100}, ["a.jpg"], "inside each other", "nested"),
        ({}, ["a.jpg"], "holds no Pascal VOC file", "no file at all"),
    ],
)
def test_refused(tmp_path: Path, files: dict[str, str], images: list[str], reason: str, why: str) -> None:
    root = pictures(tmp_path / "images", images, SIZE)
    assert reason in refusal("voc", write(tmp_path / "xml", dict(files)), root), why


def test_a_document_type_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Entities that expand to gigabytes, and one that names a file of the machine."""
    root = pictures(tmp_path / "images", ["a.jpg"], SIZE)
    lols = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY l0 "ha">{lols}]><annotation>&l9;</annotation>'
    theft = '<!DOCTYPE annotation [<!ENTITY f SYSTEM "file:///etc/hostname">]><annotation>&f;</annotation>'
    for text in (bomb, theft, bomb.encode("utf-16")):
        assert "document type" in refusal("voc", write(tmp_path / "xml", {"a.xml": text}), root)


def test_encodings(tmp_path: Path) -> None:
    root = pictures(tmp_path / "images", ["Hund.jpg"], SIZE)
    text = tool("Hund.jpg", label="Stra\u00dfenhund")
    for data in (
        b"\xef\xbb\xbf" + text.encode(),
        f'<?xml version="1.0" encoding="iso-8859-1"?>{text}'.encode("iso-8859-1"),
        f'<?xml version="1.0" encoding="utf-16"?>{text}'.encode("utf-16"),
        text.replace("><", ">\r\n<").encode(),
    ):
        _, samples = run("voc", write(tmp_path / "xml", {"Hund.xml": data}), root)
        assert samples["voc-Hund"].targets[0].label == "Stra\u00dfenhund"


def test_attributes_of_cvat(tmp_path: Path) -> None:
    root = pictures(tmp_path / "images", ["a.jpg"], SIZE)
    xml = tool("a.jpg").replace("</bndbox>", CVAT_TURNED.replace("30.0", "0.0"))
    _, samples = run("voc", write(tmp_path / "xml", {"a.xml": xml}), root)
    assert samples["voc-a"].images[0].objects[0].attributes == {"parked": True}


def test_an_object_without_a_box_makes_the_image_incomplete(tmp_path: Path) -> None:
    """The other label can be asked for; a file without objects says that the image was annotated."""
    root = pictures(tmp_path / "images", ["a.jpg", "b.jpg"], SIZE)
    bad = tool("a.jpg").replace("<object>", "<object><name>Cat</name></object><object>", 1)
    empty = "<annotation><filename>b.jpg</filename></annotation>"
    report, samples = run("voc", write(tmp_path / "xml", {"a.xml": bad, "b.xml": empty}), root)
    assert samples["voc-a"].question == "Point to every dog." and samples["voc-a"].meta["incomplete"] == ["refused_box"]
    assert [row.reason for row in report.first] == ["object without a bndbox: 'Cat'"]
    none = samples["voc-b"]
    assert none.targets == () and none.images[0].objects == () and none.meta["annotated"] is True
    assert none.question in ("Point to every dog.", "Point to every Cat.")
    assert none.meta["vocabulary"] == samples["voc-a"].meta["vocabulary"]
