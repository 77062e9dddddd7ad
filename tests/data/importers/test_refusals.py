"""The table of reasons: every text with which the code refuses has an entry, and every entry has such a text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from fakes.refusing import ANY, Found, file_refusals, row_refusals
from fakes.speed import takes_at_most
from mirg.data.importers.match_refusals import is_case, kind_of, reasons
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import import_dataset
from mirg.errors import first_problem
from mirg.samples import Sample

# Reasons that other code made, and that are collected there.
HANDED_ON = {
    ("images.py", "_decoder_words(error, stream.read(64))"),
    ("images.py", "error.message"),  # of storage.digest_file: "cannot read FILE"
    ("samples/folder.py", "reason"),  # of the schema
    ("data/importers/annotated.py", "thing.reason"),
    ("data/importers/coco.py", "problem"),
    ("data/importers/coco.py", "problem[1]"),
    ("data/importers/coco.py", "value['unlisted']"),
    ("data/importers/coco_file.py", "not_listed(note.category, 'categories', self.categories)"),
    ("data/importers/conversations.py", "found.problem"),
    ("data/importers/conversations.py", "reason"),
    ("data/importers/finish.py", "error.message"),
    ("data/importers/finish.py", "first_problem(error)"),
    ("data/importers/finish.py", "refused.refusal[:3]"),
    ("data/importers/hf.py", "question.problem"),
    ("data/importers/run.py", "error.message"),
    ("data/importers/run.py", "reason"),
    ("data/importers/look.py", "error.message.replace(f'{self.root}{os.sep}', '')"),
    ("data/importers/look.py", "found.message"),
    ("data/importers/migbench.py", "defect.detail"),
    ("data/importers/rows.py", "reason"),
    ("data/importers/rows.py", "value.reason"),
    ("data/importers/univg.py", "question.problem"),
    ("data/importers/video_tracks.py", "error.message"),
}
# The same, with other words around them.
WRAPPED = {
    f"image {ANY} {ANY}",
    f"image {ANY} image {ANY} {ANY}",
    f"image {ANY}: {ANY}",
    f"sample {ANY}: {ANY}",
    f"{ANY} (line {ANY})",
}
ROW = {"id": "a", "task": "t", "images": [{"path": "a.png"}], "question": "?"}
TARGET = {"image": 1, "box": [0.1, 0.1, 0.2, 0.2]}
# What the library of the schema says, by rows that it refuses.
BROKEN_ROWS = (
    {"id": "a"},
    {**ROW, "colour": "red"},
    {**ROW, "task": 7},
    {**ROW, "question": ""},
    {**ROW, "images": []},
    {**ROW, "images": [{"path": "a.png", "width": 3}]},
    {**ROW, "targets": [{**TARGET, "box": [0.5, 0.1, 0.2, 0.2]}], "colour": "red"},
    {**ROW, "targets": [{**TARGET, "image": 2}]},
)


def of_schema(row: dict) -> str:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate_json(json.dumps(row))
    return first_problem(caught.value)[1]


def texts(refusals: Iterable[Found]) -> dict[str, str]:
    """Text and place of every refusal that the trees tell."""
    return {found.text: found.where for found in refusals if found.text and found.text not in WRAPPED}


ROWS, FILES = (
    [says for group in reasons(part).values() for reason in group for says in reason.says] for part in ("rows", "files")
)


def without_entry(found: dict[str, str], listed: list[str]) -> list[str]:
    return [f"{at}: {text!r}" for text, at in found.items() if not any(is_case(text, says) for says in listed)]


def without_text(found: Iterable[str], listed: list[str]) -> list[str]:
    return [says for says in listed if not any(is_case(text, says) for text in found)]


def test_every_refusal_of_a_row_has_an_entry_and_every_entry_a_refusal() -> None:
    found = texts(row_refusals()) | {of_schema(row): f"row {k}" for k, row in enumerate(BROKEN_ROWS)}
    assert len(found) > 200
    assert not without_entry(found, ROWS), "add them to src/mirg/data/importers/refusals.yaml"
    assert not without_text(found, ROWS), "nothing says this any more"


def test_every_refusal_of_a_file_has_an_entry_and_every_entry_a_refusal() -> None:
    found = texts(file_refusals())
    assert len(found) > 40
    assert not without_entry(found, FILES), "add them to src/mirg/data/importers/refusals.yaml"
    assert not without_text(found, FILES), "nothing says this any more"


def test_reasons_that_no_tree_shows_are_made_by_code_that_is_collected() -> None:
    unseen = {(found.where.split(":")[0], found.code) for found in row_refusals() if found.text is None}
    assert unseen - HANDED_ON == set(), "write the text in the call that refuses, so that it can be collected"
    assert HANDED_ON - unseen == set()


def test_no_text_is_listed_twice() -> None:
    assert len({*ROWS, *FILES}) == len(ROWS) + len(FILES)


@pytest.mark.parametrize("group", [*reasons("rows"), *reasons("files")])
def test_entries_are_sentences(group: str) -> None:
    for reason in (reasons("rows") | reasons("files"))[group]:
        for words in (reason.meaning, reason.remedy):
            assert words.endswith(".") and "  " not in words and len(words.split()) >= 3, words


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # the more exact text wins over one that would match as well
        ("task has 3 annotations: it cannot be known which one is right", "task has … annotations: it cannot be known"),
        ("image a b.png is damaged: it\nis cut off", "image … is damaged: …"),
        ("Image-9 does not exist, there are 2 images", "Image-… does not exist, there are … images"),
        (
            "image 2 does not exist, counted from 0, there are 2 images",
            "image … does not exist, counted from …, there are … images",
        ),
        (
            "class is not in the names: 2, d.yaml has 2, counted from 0 (line 1)",
            "class is not in the names: …, … has …",
        ),
        ("sample a: b: image 2.png does not exist", "image … does not exist"),
        ("image 2 does not exist", "image … does not exist"),
        ("is missing", "is missing"),
        ("is missing: this is not a task of Label Studio", "is missing: this is not a task of Label Studio"),
    ],
)
def test_kind_is_the_most_exact_text(text: str, kind: str) -> None:
    found = kind_of(text)
    assert found and found.startswith(kind)


@pytest.mark.parametrize(
    ("text", "says", "fits"),
    [
        ("a b", "a b", True),
        ("a bc", "a b", False),
        ("ab", "a…b", True),
        ("a", "a…a", False),  # its beginning is not its end, too
        ("x, y and z", "…, … and …", True),
        ("x and y, z", "…, … and …", False),
        ("image a does not exist does not exist", "image … does not exist", True),
        ("image a is 3 x 4 pixels, the row says 5", "image … is … x … pixels, the row says … x …", False),
    ],
)
def test_what_varies_is_anything_between_the_words(text: str, says: str, fits: bool) -> None:
    assert is_case(text, says) == fits


def test_a_long_text_costs_no_more_than_its_length() -> None:
    text = " is x x pixels, of 3 boxes has" * 30_000
    assert kind_of(text) is None
    assert takes_at_most(2.0, lambda: kind_of(text))


def test_unknown_reasons_have_no_entry() -> None:
    assert kind_of("is of a colour that nobody likes") is None and kind_of("") is None


def test_report_counts_refusals_by_entry(tmp_path: Path) -> None:
    """Names of labels and images do not make separate reasons."""
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>2</xmax><ymax>9</ymax></bndbox></object>"
        for name in ("dog", "cat 7", "big owl")
    )
    good = "<object><name>cow</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    Image.new("RGB", (30, 20), "#336699").save(tmp_path / "a.png")
    size = "<size><width>30</width><height>20</height></size>"
    (tmp_path / "a.xml").write_text(f"<annotation><filename>a.png</filename>{size}{objects}{good}</annotation>")
    report = import_dataset("voc", tmp_path / "a.xml", tmp_path / "out", ImportOptions(root=str(tmp_path)))
    assert report.as_dict()["reasons"] == {"objects: object without area: …": 3}


def test_the_page_is_written_from_the_table(load_script) -> None:
    tool = load_script("tools/refused_page.py")
    text = tool.PAGE.read_text(encoding="utf-8")
    assert text == tool.page(), "run python tools/refused_page.py"
    assert all(f"`{says}`" in text for says in (*ROWS, *FILES))
