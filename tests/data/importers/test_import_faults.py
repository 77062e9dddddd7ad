"""Imports of files that are wrong, of images that are elsewhere, on disks that are full, and killed at any moment."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.imports import conversation, run_import, write_case
from mirg.data.importers.evidence import Evidence
from mirg.data.importers.finish import Job, finish
from mirg.data.importers.formats import SOURCES
from mirg.data.importers.frames import possible
from mirg.data.importers.raw import ImportOptions, Row
from mirg.data.importers.run import ImportReport, import_dataset
from mirg.errors import DataError, MirgError
from mirg.samples import DatasetFolder
from mirg.storage import atomic_folder


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def hidden(folder: Path) -> list[str]:
    """What a process leaves beside an output."""
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))


def imported(rows: list[Any], folder: Path, kind: str = "mgrounding", **options: Any) -> ImportReport:
    """Import ``rows`` without a look at the images."""
    path = folder / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    settings = ImportOptions(**{"root": str(folder), "look": "none", **options})
    return import_dataset(kind, path, folder / "out", settings, overwrite=True, listed=10_000)


# -- damaged files


@pytest.fixture(scope="module")
def data() -> bytes:
    return json.dumps([conversation(k, ["a.jpg", "ä.jpg"]) for k in range(4)], ensure_ascii=False).encode()


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=40)
def test_a_file_cut_anywhere_leaves_the_old_output(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, share: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    imported([conversation(99, ["old.jpg"])], folder)
    before = content(folder / "out")
    path = folder / "rows.json"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match="rows.json"):
        import_dataset("mgrounding", path, folder / "out", ImportOptions(root=str(folder), look="none"), overwrite=True)
    assert content(folder / "out") == before
    assert set(hidden(folder)) <= {".out.looked.jsonl"}


# -- rows of any shape

WRONG = (None, True, 5, -1, 1e400, float("nan"), "", "\ud800", "\0", [], [None], [5], [[]], {}, {"a": 1}, "x" * 70_000)
BY_ROW = ("mgrounding", "univg", "sharegpt", "ms-swift")
GOOD: dict[str, Any] = {
    "mgrounding": conversation(1, ["a.jpg", "b.jpg"]),
    "univg": {
        "images": ["a.jpg", "b.jpg"], "question": "<image>\n<image>\nWhere is the lamp in Image-2?",
        "answer": "Image-2: (100,100),(500,600)",
    },
    "sharegpt": {
        "messages": [
            {"role": "user", "content": "<image><image>Where is the lamp in Image-2?"},
            {"role": "assistant", "content": "Image-2: (100,100),(500,600)"},
        ],
        "images": ["a.jpg", "b.jpg"],
    },
    "ms-swift": {
        "messages": [
            {"role": "user", "content": "<image>Where is <ref-object>?"}, {"role": "assistant", "content": "<bbox>"},
        ],
        "images": ["a.jpg"], "objects": {"ref": ["the lamp"], "bbox": [[10, 10, 50, 60]], "bbox_type": "norm1000"},
    },
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, the whole one first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """``value`` with ``new`` at ``path``."""
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


def finished(kind: str, value: Any) -> tuple[int, int]:
    """Samples and refusals of one row."""
    job = Job(kind, ImportOptions(root=os.sep + "data", look="none"), "relative_1000", "data")
    done = finish(job, Row("rows.json", 1, value))
    for refusal in done.refused:
        assert refusal.field and refusal.reason
        json.dumps(refusal).encode()
    return len(done.written), len(done.refused)


@pytest.mark.parametrize("kind", BY_ROW)
def test_a_wrong_value_in_any_place_of_a_row_is_no_crash(kind: str) -> None:
    assert finished(kind, GOOD[kind])[0] == 1, "the row itself is good"
    for place in places(GOOD[kind]):
        for wrong in WRONG:
            finished(kind, put(GOOD[kind], place, wrong))


def test_every_row_is_used_or_refused_with_its_reason(tmp_path: Path) -> None:
    good = GOOD["mgrounding"]
    rows = [put(good, place, wrong) for place in places(good) for wrong in WRONG if wrong not in (1e400,)]
    mixed = [good, *rows, {**good, "id": "last"}]
    report = imported(mixed, tmp_path)
    assert report.rows == len(mixed) == report.rows_used + report.rows_refused
    dataset = DatasetFolder.open(tmp_path / "out")
    ids = [sample.id for sample in dataset.read()]
    assert ids[0].startswith("row-1") and ids[-1].startswith("last") and len(ids) == report.samples
    refused = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").open(encoding="utf-8")]
    assert len(refused) == report.refused
    assert all(row["file"] == "rows.json" and row["row"] and row["field"] and row["reason"] for row in refused)


# -- promise 26: images inside the root only

ESCAPES = [
    ("../secret.png", "lies outside", "dot-dot"),
    ("photos/../../secret.png", "lies outside", "dot-dot behind a folder"),
    ("..\\secret.png", "lies outside", "dot-dot as Windows writes it"),
    ("{elsewhere}/secret.png", "lies outside", "absolute"),
    ("{root}-sibling/secret.png", "lies outside", "a sibling with the same prefix"),
    ("/proc/self/environ", "lies outside", "a file of the system"),
    ("http://example.org/a.png", "is a URL", "http"),
    ("https://example.org/a.png", "is a URL", "https"),
    ("file:///etc/passwd", "is a URL", "file"),
    ("data:image/png;base64,AAAA", "is a URL", "data"),
]


@pytest.mark.parametrize("look", ["none", "header", "hash", "decode"])
@pytest.mark.parametrize(("path", "reason", "why"), ESCAPES, ids=[why for *_, why in ESCAPES])
def test_paths_that_leave_the_root_are_refused(tmp_path: Path, path: str, reason: str, why: str, look: str) -> None:
    root = tmp_path / "root"
    case = write_case(root, rows=1, images=1)
    for folder in (tmp_path, tmp_path / "root-sibling"):
        folder.mkdir(exist_ok=True)
        shutil.copy(root / "photos" / "0-0.png", folder / "secret.png")
    good = json.loads(case.read_text())[0]
    bad = conversation(7, [path.format(root=root, elsewhere=tmp_path)])
    report = imported([good, bad], root, look=look)
    assert (report.rows_used, report.rows_refused) == (1, 1), why
    assert report.first[0].field == "images.0" and reason in report.first[0].reason and report.first[0].row == 2


@pytest.mark.parametrize("kind", ["file", "folder", "chain"])
def test_links_are_followed_before_a_path_is_judged(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    case = write_case(root, rows=1, images=1)
    shutil.copy(root / "photos" / "0-0.png", tmp_path / "secret.png")
    if kind == "file":
        (root / "link.png").symlink_to(tmp_path / "secret.png")
    elif kind == "folder":
        (root / "link").symlink_to(tmp_path)
    else:
        (root / "first").symlink_to(root / "second")
        (root / "second").symlink_to(tmp_path)
    path = {"file": "link.png", "folder": "link/secret.png", "chain": "first/secret.png"}[kind]
    rows = [json.loads(case.read_text())[0], conversation(7, [path])]
    report = imported(rows, root, look="hash")
    assert (report.rows_used, report.rows_refused) == (1, 1) and "lies outside" in report.first[0].reason
    # Without a look nothing is opened; whoever opens the image later refuses it.
    assert imported(rows, root, look="none").rows_used == 2
    bad: list[Any] = []
    assert len(list(DatasetFolder.open(root / "out").read(bad.append, images="header"))) == 1
    assert "lies outside" in bad[0].reason


def test_links_inside_the_root_are_good(tmp_path: Path) -> None:
    case = write_case(tmp_path, rows=1, images=1)
    (tmp_path / "link.png").symlink_to(tmp_path / "photos" / "0-0.png")
    rows = [json.loads(case.read_text())[0], conversation(7, ["link.png"])]
    assert imported(rows, tmp_path, look="hash").rows_used == 2


# -- frames of boxes


def shared(frames: dict[str, int], seed: int) -> list[dict[str, Any]]:
    """Rows of ms-swift whose boxes are in so many of each frame, in random order, over images of usual sizes."""
    draw = random.Random(seed)
    order = [frame for frame, count in frames.items() for _ in range(count)]
    draw.shuffle(order)
    rows = []
    for number, frame in enumerate(order):
        width, height = draw.randint(400, 2000), draw.randint(400, 2000)
        x, y, w, h = draw.random() * 0.6, draw.random() * 0.6, draw.uniform(0.1, 0.4), draw.uniform(0.1, 0.4)
        scale = {"fraction": (1.0, 1.0), "relative_1000": (1000, 1000), "pixels": (width, height)}[frame]
        box = [
            round(v * side, 3 if frame == "fraction" else 0)
            for v, side in zip((x, y, x + w, y + h), scale * 2, strict=True)
        ]
        rows.append({"number": number, "size": (width, height), "box": box})
    return rows


def as_sharegpt(rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The same as conversations about image files, whose sizes the import reads."""
    from PIL import Image

    (folder / "photos").mkdir(exist_ok=True)
    made = []
    for row in rows:
        name = f"photos/{row['number']}.gif"  # the smallest file of any size
        Image.new("P", row["size"]).save(folder / name)
        text = "[" + ", ".join(f"{v:g}" for v in row["box"]) + "]"
        said = [{"role": "user", "content": "<image>Where is the lamp?"}, {"role": "assistant", "content": text}]
        made.append({"messages": said, "images": [name]})
    return made


@pytest.mark.parametrize("frame", ["fraction", "relative_1000", "pixels"])
def test_one_frame_is_accepted_silently(tmp_path: Path, frame: str) -> None:
    rows = shared({frame: 60}, seed=1)
    report = imported(as_sharegpt(rows, tmp_path), tmp_path, "sharegpt", look="header")
    assert report.frame == frame and report.samples == 60 and report.refused == 0
    for row, sample in zip(rows, DatasetFolder.open(tmp_path / "out").read(), strict=True):
        side = {"fraction": (1, 1), "relative_1000": (1000, 1000), "pixels": row["size"]}[frame]
        assert sample.targets[0].box == pytest.approx(tuple(v / s for v, s in zip(row["box"], side * 2, strict=True)))


@given(
    frame=st.sampled_from(["fraction", "relative_1000", "pixels"]),
    sizes=st.lists(st.tuples(st.integers(200, 4000), st.integers(200, 4000)), min_size=30, max_size=60),
    seed=st.integers(0, 10**6),
)
def test_a_frame_is_settled_rightly_or_not_at_all(frame: str, sizes: list[tuple[int, int]], seed: int) -> None:
    draw = random.Random(seed)
    evidence = Evidence()
    for number, size in enumerate(sizes):
        x, y = draw.random() * 0.8, draw.random() * 0.8
        box = (x, y, draw.uniform(x + 0.05, 1), draw.uniform(y + 0.05, 1))
        side = {"fraction": (1.0, 1.0), "relative_1000": (1000.0, 1000.0), "pixels": size}[frame]
        digits = 4 if frame == "fraction" else 0
        numbers = tuple(round(v * s, digits) for v, s in zip(box, side * 2, strict=True))
        evidence.add(possible(numbers, size), f"rows.json:{number}", numbers)
    try:
        assert evidence.settle("rows.json") == frame
    except DataError as error:
        assert "may be" in error.message or "mixed" in error.message


# -- full disks

LIMITED = """
import json, resource, signal, sys
from pathlib import Path
from mirg.errors import MirgError
from mirg.data.importers.run import import_dataset
from mirg.data.importers.raw import ImportOptions
rows, out, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    import_dataset("mgrounding", rows, out, ImportOptions(root=str(rows.parent), look="none"), overwrite=True)
except MirgError as error:
    sys.stdout.write(json.dumps([type(error).__name__, error.message, error.hint]))
"""


@pytest.mark.parametrize("limit", [100, 5_000, 30_000])
def test_a_file_that_may_not_grow(tmp_path: Path, limit: int) -> None:
    """The system refuses a write, in the middle of the rows or at their end: one error, and the old output."""
    imported([conversation(99, ["old.jpg"])], tmp_path)
    before = content(tmp_path / "out")
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([conversation(k, ["a.jpg", "b.jpg"]) for k in range(150)]))
    command = [sys.executable, "-c", LIMITED, str(rows), str(tmp_path / "out"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kind, message, _ = json.loads(done.stdout)
    assert kind in {"DataError", "StorageError"} and "cannot write" in message
    assert content(tmp_path / "out") == before and not hidden(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A disk of 256 KiB, where the system lets a test mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if mount is None or os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted only by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("look", ["none", "header"])
def test_a_full_disk(tmp_path: Path, small_disk: Path, look: str) -> None:
    case = write_case(tmp_path / "in", rows=1, images=3)
    good = json.loads(case.read_text())[0]
    options = ImportOptions(root=str(case.parent), look=look)
    out = small_disk / "out"
    import_dataset("mgrounding", case, out, options)
    before = content(out)
    case.write_text(json.dumps([{**good, "id": f"row-{k}"} for k in range(2_000)]))
    with pytest.raises(MirgError) as caught:
        import_dataset("mgrounding", case, out, options, overwrite=True)
    assert "cannot write" in caught.value.message and caught.value.hint == "the disk is full"
    assert content(out) == before and hidden(small_disk) in ([], [".out.looked.jsonl"])


# -- killed


@pytest.mark.parametrize("moment", ["look 1", "look 5", "look 20", "look 36"])
@pytest.mark.parametrize("old", [False, True], ids=["new", "over an old one"])
def test_killed_while_looking(tmp_path: Path, moment: str, old: bool) -> None:
    case, out = write_case(tmp_path / "in"), tmp_path / "out"
    assert run_import(case, tmp_path / "whole")["code"] == 0
    if old:
        out.mkdir()
        (out / "old.txt").write_text("old")
    killed = run_import(case, out, moment)
    assert killed["code"] == -9
    assert [p.name for p in out.iterdir()] == ["old.txt"] if old else not out.exists()
    assert hidden(tmp_path), "a killed process leaves its work"
    again = run_import(case, out)
    assert again["code"] == 0, again["error"]
    # Only images of the row that was being converted are opened again.
    twice = set(killed["looks"]) & set(again["looks"])
    assert len(twice) <= 3 and len({name.partition("-")[0] for name in twice}) <= 1
    assert len(set(killed["looks"]) | set(again["looks"])) == 36
    whole = content(tmp_path / "whole")
    assert content(out)["samples.jsonl"] == whole["samples.jsonl"] and content(out).keys() == whole.keys()
    assert not hidden(tmp_path), "and the next one puts it in order"


@pytest.mark.parametrize("moment", [f"{kind} {n}" for kind in ("rename", "renamed") for n in (1, 2, 3, 4)])
def test_killed_while_the_output_is_put_in_place(tmp_path: Path, moment: str) -> None:
    """Renames: the card, the README, the old folder aside, the new one in place. The next one finds one whole."""
    case, out = write_case(tmp_path / "in", rows=2, images=1), tmp_path / "out"
    assert run_import(case, tmp_path / "whole")["code"] == 0
    whole = content(tmp_path / "whole")["samples.jsonl"]
    (out).mkdir()
    (out / "samples.jsonl").write_text("old")
    killed = run_import(case, out, moment)
    assert killed["code"] == -9
    with pytest.raises(MirgError, match="exists already"), atomic_folder(out):
        pass
    assert (out / "samples.jsonl").read_bytes() in (b"old", whole)
    assert run_import(case, out)["code"] == 0
    assert (out / "samples.jsonl").read_bytes() == whole and not hidden(tmp_path)


@pytest.mark.parametrize(
    "name", [".out.abcdefgh.txt", ".out.abc.tmp", ".out.other.abcdefgh.tmp", ".outabcdefgh.tmp", ".out.ABCDEFGH.tmp"]
)
def test_folders_of_others_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with atomic_folder(tmp_path / "out"):
        pass
    assert hidden(tmp_path) == [name]


def test_a_changed_image_is_looked_at_again_by_the_next_import(tmp_path: Path) -> None:
    """In one process too: what is known of files holds for one import."""
    from PIL import Image

    case = write_case(tmp_path, rows=1, images=1)
    options = ImportOptions(root=str(tmp_path), look="hash")
    for size in ((20, 30), (31, 21)):
        Image.new("RGB", size).save(tmp_path / "photos" / "0-0.png")
        import_dataset("mgrounding", case, tmp_path / "out", options, overwrite=True)
        (sample,) = DatasetFolder.open(tmp_path / "out").read(images="header")
        assert sample.sizes == [size]


def test_rows_looked_at_to_find_the_frame_are_in_the_journal(tmp_path: Path) -> None:
    """The first rows decide the frame; a file cut off behind them keeps the facts of their images."""
    rows = as_sharegpt(shared({"pixels": 30}, seed=3), tmp_path)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows)[:-40])
    with pytest.raises(DataError, match="row 30"):
        import_dataset("sharegpt", path, tmp_path / "out", ImportOptions(root=str(tmp_path), look="header"))
    path.write_text(json.dumps(rows))
    killed = run_import(path, tmp_path / "out", "rename 1", kind="sharegpt", look="header")
    assert killed["code"] == -9 and len(killed["looks"]) == 30
    again = run_import(path, tmp_path / "out", kind="sharegpt", look="header")
    assert again["code"] == 0 and again["looks"] == []


def test_kinds_have_rows_to_try() -> None:
    """A new kind of JSON rows belongs into these tables."""
    folders = {"hf", "coco", "video-tracks", "mc-bench", "migbench", "migbench-revised"}
    folders |= {"refcoco", "lisa", "reasonvos"}  # their own tests spoil their rows
    folders |= {"voc", "yolo", "label-studio", "cvat"}
    assert set(SOURCES) <= {*BY_ROW, *folders}
