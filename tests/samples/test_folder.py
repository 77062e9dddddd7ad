"""Promises 12 and 26: every row is accepted or rejected with a reason; image paths stay inside the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mirg.data.checks.run import check_dataset
from mirg.errors import DataError, ImageError
from mirg.samples import DatasetFolder, DatasetWriter, ImageRef, Rejection, Sample, Target, Trajectory, write_card
from mirg.samples.card import readme_text
from mirg.samples.folder import parse_row
from mirg.samples.ids import TextSet
from mirg.samples.roots import resolve_inside
from mirg.storage import parse_line

BOX = (0.1, 0.2, 0.3, 0.4)


def make_sample(name: str, refs: list[ImageRef], **changes: object) -> Sample:
    fields: dict[str, object] = {
        "id": name,
        "task": "refer",
        "question": "Where?",
        "images": tuple(refs),
        "targets": (Target(image=len(refs), box=BOX, label="ring"),),
        **changes,
    }
    return Sample.model_validate(fields)


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFolder:
    """Four samples over three images, one of them shared, one without targets."""
    with DatasetWriter(tmp_path / "data", name="four", description="d", created_by="test", seed=7) as writer:
        refs = [writer.add_image(Image.new("RGB", (20 + i, 30), (i, 0, 0)), f"picture {i}") for i in range(3)]
        for i in range(3):
            trajectory = Trajectory(thinking="é <box image=1>0.1,0.2,0.3,0.4</box>", answer=(), writer="rule")
            writer.add(make_sample(f"s-{i}", [refs[i], refs[(i + 1) % 3]], trajectory=trajectory, meta={"i": i}))
        writer.add(make_sample("s-none", refs[:2], task="none", targets=()))
    return DatasetFolder.open(tmp_path / "data")


def rows_of(dataset: DatasetFolder) -> list[str]:
    return (dataset.root / "samples.jsonl").read_text(encoding="utf-8").splitlines()


def with_rows(dataset: DatasetFolder, rows: list[str]) -> DatasetFolder:
    (dataset.root / "samples.jsonl").write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    return DatasetFolder.open(dataset.root)


def read_all(dataset: DatasetFolder, **options: object) -> tuple[list[Sample], list[Rejection]]:
    rejected: list[Rejection] = []
    return list(dataset.read(rejected.append, **options)), rejected  # type: ignore[arg-type]


# --- writing ----------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(dataset: DatasetFolder) -> None:
    samples, rejected = read_all(dataset, images="decode")
    assert [s.id for s in samples] == ["s-0", "s-1", "s-2", "s-none"]
    assert rejected == []
    assert samples[1].trajectory is not None and samples[1].trajectory.thinking.startswith("é")
    assert samples[2].meta == {"i": 2}
    card = dataset.card
    assert (card.name, card.n_samples, card.n_images, card.seed) == ("four", 4, 3, 7)
    assert card.tasks == {"none": 1, "refer": 3}
    assert len(dataset) == len(list(dataset)) == 4
    assert dataset.verify() == []
    readme = (dataset.root / "README.md").read_text()
    assert readme.startswith("# four\n\nd\n") and "4 samples, 3 images" in readme and "`test`, seed 7." in readme
    assert "Made by" not in readme_text(card.model_copy(update={"created_by": ""}))
    assert "Made by `test`.\n" in readme_text(card.model_copy(update={"seed": None}))
    changes = {"license": "CC0", "roots": {"b": "../b", "a": "../a"}, "tasks": {"b": 3, "a": 1}}
    full = readme_text(card.model_copy(update=changes))
    assert "is a file below `../a`. `@b/` in a row is a file below `../b`. Licence: CC0.\n" in full
    assert "| a | 1 |\n| b | 3 |\n" in full
    assert "Made by `test`, seed 0." in readme_text(card.model_copy(update={"seed": 0}))
    assert dataset.open_image(samples[0].images[1]).getpixel((0, 0)) == (1, 0, 0)


def test_the_same_calls_give_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        with DatasetWriter(tmp_path / name, name="same") as writer:
            writer.add(make_sample("s", [writer.add_image(Image.new("RGB", (9, 9)), "x")]))
        digests.append(DatasetFolder.open(tmp_path / name).card.digest)
    assert digests[0] == digests[1]


def test_equal_pixels_are_stored_once_and_names_never_clash(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "d", name="d") as writer:
        first = writer.add_image(Image.new("RGB", (9, 9), "red"), "../../etc/passwd")
        again = writer.add_image(Image.new("RGB", (9, 9), "red"), "other")
        second = writer.add_image(Image.new("RGB", (9, 9), "blue"), "../../etc/passwd")
        upper = writer.add_image(Image.new("RGB", (9, 9), "green"), "ETC-PASSWD")
    assert first == again
    paths = [first.path, second.path, upper.path]
    assert paths == ["images/etc-passwd.png", "images/etc-passwd~1.png", "images/ETC-PASSWD~2.png"]
    stored = sorted((tmp_path / "d" / "images").iterdir())
    assert [f"images/{p.name}" for p in stored] == sorted(paths)


def test_files_are_copied_byte_for_byte(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.JPG", format="JPEG", exif=exif)
    with DatasetWriter(tmp_path / "d", name="d") as writer:
        ref = writer.add_file(tmp_path / "photo.JPG", "photo")
        (tmp_path / "page.jpg").write_text("<html>")
        with pytest.raises(ImageError, match=r"page\.jpg"):
            writer.add_file(tmp_path / "page.jpg", "page")
        with pytest.raises(ImageError, match=r"sample s7: image .*photo\.JPG is .* pixels, the row says 7 x 5"):
            writer.add_file(tmp_path / "photo.JPG", "other", size=(7, 5), sample_id="s7")
    assert (ref.path, ref.size) == ("images/photo.jpg", (20, 30))
    assert (tmp_path / "d" / ref.path).read_bytes() == (tmp_path / "photo.JPG").read_bytes()


def test_a_dataset_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), DatasetWriter(tmp_path / "d", name="d") as writer:
        writer.add(make_sample("s", [writer.add_image(Image.new("RGB", (9, 9)), "x")]))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_existing_data_is_not_touched(dataset: DatasetFolder) -> None:
    before = dataset.card
    with pytest.raises(DataError, match="exists already"), DatasetWriter(dataset.root, name="other"):
        pytest.fail("must not be entered")
    assert DatasetFolder.open(dataset.root).card == before
    with DatasetWriter(dataset.root, name="other", overwrite=True):
        pass
    assert DatasetFolder.open(dataset.root).card.name == "other"


def test_unwritable_output_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"), DatasetWriter(tmp_path / "file" / "d", name="d"):
        pytest.fail("must not be entered")


def test_the_writer_refuses_what_a_reader_would(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "d", name="d") as writer:
        ref = writer.add_image(Image.new("RGB", (9, 9)), "x")
        writer.add(make_sample("s", [ref]))
        with pytest.raises(DataError, match="s was written already"):
            writer.add(make_sample("s", [ref]))
        with pytest.raises(DataError, match=r"elsewhere\.png is not in this dataset"):
            writer.add(make_sample("t", [ImageRef(path="elsewhere.png", width=9, height=9)]))
    with pytest.raises(DataError, match="with"):
        writer.add(make_sample("u", [ref]))
    assert len(DatasetFolder.open(tmp_path / "d")) == 1


# --- opening ----------------------------------------------------------------------------------------------------------


def test_not_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        DatasetFolder.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"samples\.jsonl is missing"):
        DatasetFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "valid dictionary"),
        ('{"schema_version": "mirg.samples/99"}', "mirg.samples/99"),
        ('{"name": "x"}', "n_samples"),
    ],
)
def test_bad_cards(dataset: DatasetFolder, text: str, reason: str) -> None:
    (dataset.root / "card.json").write_text(text)
    with pytest.raises(DataError, match=reason):
        DatasetFolder.open(dataset.root)


def test_rows_by_hand_get_a_card(tmp_path: Path) -> None:
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
    row = {"id": "1", "task": "u", "question": "q", "images": [{"path": "a.png", "width": 9, "height": 8}]}
    rows = [json.dumps(row), "{broken", '{"id": "2"}', json.dumps(row | {"id": "3", "task": "t"})]
    (tmp_path / "samples.jsonl").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match="write_card"):
        DatasetFolder.open(tmp_path)
    card = write_card(tmp_path, name="mine")
    assert (card.n_samples, card.n_images, list(card.tasks.items())) == (4, 1, [("t", 1), ("u", 1)])
    samples, rejected = read_all(DatasetFolder.open(tmp_path), images="decode")
    assert ([s.id for s in samples], [r.row for r in rejected]) == (["1", "3"], [2, 3])
    with DatasetWriter(tmp_path / "again", name="again") as writer:
        root = f"@{writer.add_root('here', tmp_path)}"
        for sample in samples:
            (ref,) = sample.images
            writer.add(sample.model_copy(update={"images": (ref.model_copy(update={"path": f"{root}/{ref.path}"}),)}))
    assert list(DatasetFolder.open(tmp_path / "again").card.tasks) == ["t", "u"]
    with pytest.raises(DataError, match="nowhere"):
        write_card(tmp_path / "nowhere", name="x")


# --- broken rows ------------------------------------------------------------------------------------------------------

BROKEN: list[tuple[str, str, str]] = [
    ("{", "line", "half a row"),
    ("<html>", "line", "not JSON"),
    ("[" * 100_000, "line", "nested beyond reason"),
    ("null", "row", "not an object"),
    ('{"id": "x", "task": "t", "question": "q", "images": [{"path": "\\ud800"}]}', "line", "half a pair in a path"),
    (
        '{"id": "x", "task": "t", "question": "q", "images": [{"path": "a"}], "meta": {"\\udc80": 1}}',
        "line",
        "in a key",
    ),
    ("{}", "id", "nothing in it"),
    ('{"id": "x", "task": "t", "question": "q", "images": []}', "images", "no images"),
    ('{"id": 5, "task": "t", "question": "q", "images": []}', "id", "an id that is no text"),
    ('{"id": "x", "task": "t", "images": [{"path": "a"}], "mine": 1}', "question", "the first of two problems"),
]


def test_every_broken_row_is_reported_and_the_rest_is_read(dataset: DatasetFolder) -> None:
    good = rows_of(dataset)
    outside = json.loads(good[0]) | {"id": "x", "targets": [{"image": 1, "box": [0, 0, 2, 1]}]}
    table = [*BROKEN, (json.dumps(outside), "targets.0.box", "a box outside its image"), (good[0], "id", "used before")]
    mixed = with_rows(dataset, [*good, *(row for row, _, _ in table)])
    samples, rejected = read_all(mixed)
    assert [s.id for s in samples] == ["s-0", "s-1", "s-2", "s-none"]
    assert len(samples) + len(rejected) == len(good) + len(table)
    for rejection, (_, field, why), row in zip(rejected, table, range(5, 99), strict=False):
        assert (rejection.row, rejection.field) == (row, field), why
        assert rejection.reason and rejection.hint and rejection.file.endswith("samples.jsonl")
    assert rejected[-2].id == "x" and "outside" in rejected[-2].reason
    assert "samples.jsonl:15 (sample x): targets.0.box: " in str(rejected[-2])
    assert [row.hint for row in rejected if row.field == "question"] == [
        "see docs/concepts/samples.md for the fields of a sample"
    ]
    with pytest.raises(DataError, match=r"samples\.jsonl:5: line: "):
        list(mixed.read())


@settings(max_examples=100)
@given(st.data())
def test_rows_read_are_accepted_plus_rejected(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever bytes are changed, inserted or cut out: no exception, no row lost, no sample changed unseen."""
    row = make_sample("s", [ImageRef(path="a.png", width=9, height=8)]).model_dump_json()
    lines = [row.replace('"s"', f'"s-{i}"', 1).encode() for i in range(3)]
    victim = data.draw(st.integers(0, 2))
    start = data.draw(st.integers(0, len(lines[victim])))
    end = data.draw(st.integers(start, min(start + 5, len(lines[victim]))))
    patch = data.draw(st.binary(max_size=4)).replace(b"\n", b"?")
    lines[victim] = lines[victim][:start] + patch + lines[victim][end:]
    root = tmp_path_factory.mktemp("fuzz")
    (root / "samples.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    write_card(root, name="fuzz")
    samples, rejected = read_all(DatasetFolder.open(root))
    assert len(samples) + len(rejected) == sum(bool(line.strip()) for line in lines)
    untouched = {f"s-{i}" for i in range(3) if i != victim}
    assert untouched <= {s.id for s in samples} | {r.id for r in rejected if r.field == "id"}
    for line in lines:
        by_value = repr(parse_row("f", 1, parse_line(line), TextSet()))  # as text: NaN is not equal to itself
        assert repr(parse_row("f", 1, line, TextSet())) == by_value, "a line means what the value in it means"


def test_a_file_cut_in_the_middle_says_so(dataset: DatasetFolder) -> None:
    file = dataset.root / "samples.jsonl"
    file.write_bytes(file.read_bytes()[:-10])
    samples, rejected = read_all(DatasetFolder.open(dataset.root))
    assert len(samples) == 3
    assert rejected[0].row == 4 and "cut off" in rejected[0].reason and "write it again" in rejected[0].hint
    assert any("digest differs" in problem for problem in dataset.verify())


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: data.rindex(b"\n", 0, -1) + 1],  # whole rows are lost
        lambda data: data.replace(b'"question"', b'"question" ', 1),
    ],
)
def test_rows_that_are_not_those_of_the_card_are_said(dataset: DatasetFolder, change, caplog) -> None:
    """Every row can be read, and yet something was lost or changed. It is said once, whoever reads."""
    assert not dataset.changed
    file = dataset.root / "samples.jsonl"
    file.write_bytes(change(file.read_bytes()))
    changed = DatasetFolder.open(dataset.root)
    for _ in range(2):
        assert not read_all(changed)[1]
    assert caplog.text.count(f"{file} is not the file that card.json describes") == 1
    assert "changed_rows" in check_dataset(changed).warnings.counts
    write_card(dataset.root, name="mine")
    assert not DatasetFolder.open(dataset.root).changed


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", ["header", "decode"])
def test_bad_images_reject_their_samples_only(dataset: DatasetFolder, check: str) -> None:
    """Missing, truncated, of another size: each named once per sample that needs it, the others are read."""
    image = dataset.root / next(iter(dataset)).images[0].path
    whole = image.read_bytes()
    for damage, reason in ((None, "does not exist"), (whole[:-30], "damaged"), (b"<html>", "not an image")):
        image.unlink(missing_ok=True)
        if damage is not None:
            image.write_bytes(damage)
        samples, rejected = read_all(dataset, images=check)
        if check == "header" and reason == "damaged":
            assert rejected == []  # a header cannot know
            continue
        assert [s.id for s in samples] == ["s-1"]
        assert [(r.id, r.field) for r in rejected] == [("s-0", "images.0"), ("s-2", "images.1"), ("s-none", "images.0")]
        assert all(reason in r.reason and r.hint for r in rejected)
    Image.new("RGB", (5, 5)).save(image)
    samples, rejected = read_all(dataset, images=check)
    assert "5 x 5" in rejected[0].reason and "20 x 30" in rejected[0].reason


@pytest.mark.parametrize("check", ["header", "decode"])
def test_a_wrong_size_in_one_row_refuses_no_other_row(dataset: DatasetFolder, check: str) -> None:
    """A file is inspected once. Every row is compared with it by its own size, and is given the size if it has none."""
    (first, *_), file = list(dataset), dataset.root / "samples.jsonl"
    sizes = [(9, 9), first.images[0].size, (0, 0), (9, 9)]
    rows = []
    for k, (width, height) in enumerate(sizes):
        ref = first.images[0].model_copy(update={"width": width, "height": height})
        rows.append(first.model_copy(update={"id": f"row-{k}", "images": (ref, *first.images[1:])}))
    file.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    samples, rejected = read_all(dataset, images=check)
    assert [(s.id, s.images[0].size) for s in samples] == [("row-1", sizes[1]), ("row-2", sizes[1])]
    assert [(r.id, "9 x 9" in r.reason) for r in rejected] == [("row-0", True), ("row-3", True)]


def test_another_picture_of_the_same_size_is_found_by_its_digest(dataset: DatasetFolder) -> None:
    ref = next(iter(dataset)).images[0]
    Image.new("RGB", ref.size, "white").save(dataset.root / ref.path)
    assert any("s-0" in problem and "digest" in problem for problem in dataset.verify())


def test_opening_names_the_sample(dataset: DatasetFolder) -> None:
    ref = ImageRef(path="images/none.png", width=9, height=9)
    with pytest.raises(ImageError, match=r"sample s-9: image .*none\.png does not exist"):
        dataset.open_image(ref, sample_id="s-9")
    with pytest.raises(ImageError, match=r"sample s-9: .* outside"):
        dataset.open_image(ImageRef(path="../x.png", width=9, height=9), sample_id="s-9")
    true = next(iter(dataset)).images[0]
    with pytest.raises(ImageError, match=r"sample s-9: .* the row says 9 x 9"):
        dataset.open_image(true.model_copy(update={"width": 9, "height": 9}), sample_id="s-9")


ESCAPES = [
    ("../secret.png", "dot-dot"),
    ("images/../../secret.png", "dot-dot in the middle"),
    ("{outside}/secret.png", "absolute"),
    ("images/link.png", "a link to a file outside"),
    ("images/linked/secret.png", "a link to a folder outside"),
    ("../data-sibling/secret.png", "a sibling folder with the same prefix"),
    ("http://127.0.0.1/x.png", "a URL"),
    ("file:///etc/passwd", "a URL of a file"),
    ("images/a\0.png", "a NUL"),
]


@pytest.mark.parametrize(("path", "why"), ESCAPES, ids=[why for _, why in ESCAPES])
def test_paths_stay_inside(dataset: DatasetFolder, path: str, why: str) -> None:
    outside = dataset.root.parent
    Image.new("RGB", (9, 9)).save(outside / "secret.png")
    (outside / "data-sibling").mkdir()
    Image.new("RGB", (9, 9)).save(outside / "data-sibling" / "secret.png")
    (dataset.root / "images" / "link.png").symlink_to(outside / "secret.png")
    (dataset.root / "images" / "linked").symlink_to(outside, target_is_directory=True)
    ref = ImageRef(path=path.format(outside=outside), width=9, height=9)
    for call in (dataset.image_path, dataset.open_image):
        with pytest.raises(ImageError):
            call(ref)
    bad = with_rows(dataset, [make_sample("bad", [ref]).model_dump_json()])
    assert read_all(bad, images="header")[0] == [], why


def test_a_link_that_leads_outside_is_named(dataset: DatasetFolder, photos: Path) -> None:
    with pytest.raises(ImageError) as caught:
        resolve_inside(photos, "link.png")
    with pytest.raises(ImageError, match=r"image \.\./secret\.png lies outside"):
        resolve_inside(photos, "../secret.png")
    target = photos.parent / "secret.png"
    assert caught.value.message == f"image link.png is a link to {target}, which lies outside {photos}"
    assert f"--root ({photos.parent})" in (caught.value.hint or "")


def test_a_name_that_no_file_system_holds_is_one_rejected_row(dataset: DatasetFolder) -> None:
    row = {"id": "x", "task": "t", "question": "q", "images": [{"path": "images/" + "x" * 5000}]}
    samples, rejected = read_all(with_rows(dataset, [json.dumps(row), *rows_of(dataset)]), images="header")
    assert len(samples) == 4 and "is not a usable path" in rejected[0].reason


def test_a_circle_of_links_is_no_image(dataset: DatasetFolder) -> None:
    (dataset.root / "images" / "circle").symlink_to(dataset.root / "images" / "circle")
    ref = ImageRef(path="images/circle/x.png", width=9, height=9)
    with pytest.raises(ImageError):
        dataset.open_image(ref)
    bad = with_rows(dataset, [make_sample("bad", [ref]).model_dump_json()])
    assert read_all(bad, images="header")[0] == []


def with_root(dataset: DatasetFolder, folder: str) -> DatasetFolder:
    """The dataset with a root called photos declared in its card."""
    card = dataset.card.model_copy(update={"roots": {"photos": folder}})
    (dataset.root / "card.json").write_text(card.model_dump_json(), encoding="utf-8")
    return DatasetFolder.open(dataset.root)


@pytest.fixture
def photos(dataset: DatasetFolder) -> Path:
    folder = dataset.root.parent / "photos"
    (folder / "below").mkdir(parents=True)
    for name in ("a.png", "below/b.png", "../secret.png"):
        Image.new("RGB", (9, 7)).save(folder / name)
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    return folder


@pytest.mark.parametrize("spelling", ["absolute", "relative"])
def test_declared_roots(dataset: DatasetFolder, photos: Path, spelling: str) -> None:
    rooted = with_root(dataset, str(photos) if spelling == "absolute" else "../photos")
    for path in ("@photos/a.png", "@photos/below/b.png", "@photos/below/../a.png"):
        assert rooted.open_image(ImageRef(path=path)).size == (9, 7)
    for path in ("@photos/../secret.png", "@photos/link.png", "@other/a.png", "@photos", "@photos//etc/passwd"):
        with pytest.raises(ImageError):
            rooted.image_path(ImageRef(path=path))


def test_the_whole_file_system_is_no_root(dataset: DatasetFolder) -> None:
    with pytest.raises(DataError, match="every file"):
        with_root(dataset, "/")


def test_unknown_sizes_are_filled_in(dataset: DatasetFolder, photos: Path) -> None:
    row = make_sample("s", [ImageRef(path="@photos/a.png")])
    rooted = with_root(with_rows(dataset, [row.model_dump_json(exclude_defaults=True)]), str(photos))
    with pytest.raises(DataError, match="not known"):
        _ = next(rooted.read()).sizes
    assert next(rooted.read(images="header")).sizes == [(9, 7)]


def test_a_writer_refers_to_roots(tmp_path: Path, photos: Path) -> None:
    with DatasetWriter(photos.parent / "referring", name="referring") as writer:
        assert writer.add_root("my photos", photos) == "my-photos"
        assert writer.add_root("my photos", photos) == "my-photos"
        assert writer.add_root("my photos", photos / "below") == "my-photos-2"
        writer.add_root("again", photos)
        writer.add(make_sample("a", [ImageRef(path="@my-photos/a.png"), ImageRef(path="@my-photos-2/b.png")]))
        with pytest.raises(DataError, match="not in this dataset"):
            writer.add(make_sample("b", [ImageRef(path="@other/a.png")]))
        with pytest.raises(DataError, match="not a folder"):
            writer.add_root("none", photos / "missing")
    made = DatasetFolder.open(photos.parent / "referring")
    roots = {"again": "../photos", "my-photos": "../photos", "my-photos-2": "../photos/below"}
    assert list(made.card.roots.items()) == list(roots.items()), "in the order of their names"
    assert made.card.n_images == 2
    assert next(made.read(images="decode")).sizes == [(9, 7), (9, 7)]


def test_links_inside_the_folder_are_fine(dataset: DatasetFolder) -> None:
    ref = next(iter(dataset)).images[0]
    (dataset.root / "images" / "alias.png").symlink_to(dataset.root / ref.path)
    alias = ref.model_copy(update={"path": "images/alias.png"})
    assert dataset.open_image(alias).tobytes() == dataset.open_image(ref).tobytes()


# --- for trainers -----------------------------------------------------------------------------------------------------


def test_to_hf(dataset: DatasetFolder) -> None:
    image = dataset.root / list(dataset)[2].images[0].path
    image.write_bytes(image.read_bytes()[:-30])
    rejected: list[Rejection] = []
    table = dataset.to_hf(rejected.append)
    assert table.column_names == ["id", "task", "question", "images", "record"]
    assert table["id"] == ["s-0", "s-none"] or list(table["id"]) == ["s-0", "s-none"]
    assert [r.id for r in rejected] == ["s-1", "s-2"]
    row = table[0]
    assert [picture.size for picture in row["images"]] == [(20, 30), (21, 30)]
    assert all(picture.mode == "RGB" for picture in row["images"])
    assert Sample.model_validate_json(row["record"]) == next(iter(dataset))
    with pytest.raises(DataError, match="s-1"):
        dataset.to_hf()
