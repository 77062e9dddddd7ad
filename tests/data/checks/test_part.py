"""The report does not depend on who works on the rows: not on processes, not on where chunks begin."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mirg as package
from fakes.datasets import BOX, edit_rows, picture, row, write_rows
from mirg.data import rows as rows_module
from mirg.data.checks.histograms import Histograms
from mirg.data.checks.problems import Log
from mirg.data.checks.run import CheckConfig, Look, check_dataset
from mirg.data.rows import chunks_of
from mirg.errors import StorageError
from mirg.executors import Executor, ExecutorName, executor
from mirg.families import QWEN3_VL, QWEN25_VL
from mirg.samples import DatasetFolder, ImageRef, Sample

TOKENIZER = Path(package.__file__).parent / "models" / "mirg-tiny" / "tokenizer.json"
LOOKS: tuple[Look, ...] = ("none", "header", "hash", "decode")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Ahead:
    """Maps as processes do, several items before the first result, without the time that they take."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], *, chunk: int = 1) -> Iterator[Result]:
        return iter([function(item) for item in items])


def report(folder: DatasetFolder, config: CheckConfig, run: Executor | None = None) -> str:
    return json.dumps(check_dataset(folder, config, executor=run).as_dict())


@pytest.fixture
def chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of three rows."""
    monkeypatch.setattr(rows_module, "CHUNK_ROWS", 3)


@pytest.fixture
def everything(tmp_path: Path) -> DatasetFolder:
    """Every kind of finding, ids that come again in the same and in other chunks, a torn last line."""
    wide = {"targets": [{"image": 1, "box": (0, 0, 1, 1), "label": "x"}]}
    tiny = {"targets": [{"image": 1, "box": (0, 0, 0.001, 0.5)}, {"image": 1, "box": BOX}, {"image": 1, "box": BOX}]}
    rows = [row(f"s{k}", [k % 7, k % 7 + 1], question=f"{k % 5}?", task=f"t{k % 4}") for k in range(24)]
    rows += [row("wide", [1], **wide), row("tiny", [2], **tiny)]
    rows += [row("a", [1, 2], question="Twin?"), row("b", [1, 2], question="Twin?")]
    rows += [row("c", [2, 1], question="Twin?"), row("d", [1, 2], question="Twin?", targets=[])]
    folder = write_rows(tmp_path / "data", rows)
    picture(99).save(folder.root / "images" / "p5.png")
    (folder.root / "images" / "copy.png").write_bytes((folder.root / "images" / "p2.png").read_bytes())
    broken = folder.root / "images" / "p6.png"
    broken.write_bytes(broken.read_bytes()[:300])

    def spoil(values: list[dict[str, Any]]) -> None:
        values[1]["images"][0].update(path="images/none.png")
        values[7].update(id="s1")  # free where the row above is refused for its image
        values[2].update(id="s0")  # in the same chunk
        values[8].update(id="s3", question="<image>")
        values[9].update(id="s4")
        values[9]["images"][1].update(path="images/none.png")  # two reasons, of which the id is said
        values[10].update(question="Image-9?")
        values[11].pop("question")
        values[14]["images"][0].update(width=9000, height=10)
        values[16]["images"][0].update(path="images/copy.png")
        values[17]["images"][0].pop("width")
        values[17]["images"][0].pop("height")
        values[18]["images"][0].pop("sha256")

    edit_rows(folder, spoil)
    file = folder.root / "samples.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:5], "", "no json", *lines[5:], '{"id": "cut']))
    return DatasetFolder.open(folder.root)


@pytest.fixture
def configs(tmp_path: Path) -> list[CheckConfig]:
    bench = write_rows(tmp_path / "bench", [row("b", [2, 50]), row("c", [51, 3])])
    other = write_rows(tmp_path / "other", [row("o", [2, 4])])
    first = bench.root / "images" / "p50.png"
    picture(4).resize((50, 38)).save(first)
    edit_rows(bench, lambda rows: rows[0]["images"][1].update(width=50, height=38, sha256=None))
    families, against = (QWEN25_VL, QWEN3_VL), (bench.root, other.root)
    plain = [CheckConfig(look=look, listed=2) for look in LOOKS]
    full = CheckConfig(families=families, against=against, max_tokens=205, tokenizer=TOKENIZER)
    return [*plain, full, CheckConfig(look="hash", against=against, near=None, families=families)]


def test_the_dataset_has_it_all(everything: DatasetFolder, configs: list[CheckConfig], chunked: None) -> None:
    """Else the tests below compare little."""
    found = check_dataset(everything, configs[4], executor=Ahead())
    assert set(found.rejections.counts) == {"line", "id", "images", "question"}
    assert set(found.warnings.counts) == {
        "tiny_box", "whole_image_box", "repeated_box", "long_box", "duplicate", "conflicting_targets", "reordered",
        "copied_file", "too_long", "changed_rows",
    }  # fmt: skip
    assert {shared.dataset for shared in found.shared} == {"bench", "other"}
    assert {shared.bits is None for shared in found.shared} == {True, False}
    refused = {rejection.row: rejection.field for rejection in found.rejections.kept}
    # Of the four rows whose id comes twice, one comes after a row that was refused for its image.
    assert refused[2] == "images.0" and refused[3] == refused[11] == refused[12] == "id" and 10 not in refused


@pytest.mark.parametrize("size", [1, 3, 4, 1000])
def test_where_chunks_begin(
    everything: DatasetFolder, configs: list[CheckConfig], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [report(everything, config) for config in configs]
    monkeypatch.setattr(rows_module, "CHUNK_ROWS", size)
    for config, text in zip(configs, expected, strict=True):
        assert report(everything, config) == report(everything, config, Ahead()) == text, config


@pytest.mark.parametrize(
    ("name", "workers"),
    [("processes", 1), ("processes", 2), pytest.param("ray", 2, marks=pytest.mark.slow)],
)
def test_who_works_on_the_rows(
    everything: DatasetFolder, configs: list[CheckConfig], chunked: None, name: ExecutorName, workers: int
) -> None:
    if name == "ray":
        pytest.importorskip("ray.data")
    with executor(name, workers) as run:
        for config in configs:
            assert report(everything, config, run) == report(everything, config), config


def test_files_are_not_looked_at_again_where_ids_repeat(
    tmp_path: Path, chunked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that is checked again takes what is known of its images from the process that looked."""
    rows = [row(f"s{k}", [k]) for k in range(9)]
    folder = edit_rows(write_rows(tmp_path / "d", rows), lambda values: values[7].update(id="s0"))
    opened: list[str] = []
    find = DatasetFolder.image_path

    def counted(self: DatasetFolder, ref: ImageRef, sample_id: str | None = None) -> Path:
        opened.append(ref.path)
        return find(self, ref, sample_id)

    monkeypatch.setattr(DatasetFolder, "image_path", counted)
    check_dataset(folder, CheckConfig())
    here = opened.copy()
    opened.clear()
    check_dataset(folder, CheckConfig(), executor=Ahead())
    assert set(Counter(opened).values()) == set(Counter(here).values()) == {2}, "decoded, and its digest"


def line(name: str, task: str, question: str, side: int) -> str:
    images = [{"path": "a.png", "width": side, "height": side}]
    fields = {"id": name, "task": task, "question": question, "images": images}
    return json.dumps(fields | {"targets": [{"image": 1, "box": BOX}]})


LINES = st.sampled_from(["{}", "null", "", "no json", '{"id": "a"}']) | st.builds(
    line, st.sampled_from("abcdef"), st.sampled_from("xyz"), st.sampled_from(["?", "<image>", "\ud800"]), st.just(50)
)


@settings(max_examples=40)
@given(lines=st.lists(LINES, max_size=12), size=st.integers(1, 5))
def test_any_lines_in_any_chunks(tmp_path_factory: pytest.TempPathFactory, lines: list[str], size: int) -> None:
    root = tmp_path_factory.mktemp("any")
    (root / "samples.jsonl").write_text("".join(text + "\n" for text in lines))
    (root / "card.json").write_text(json.dumps({"name": "any", "n_samples": 9, "n_images": 1, "digest": "0"}))
    folder, config = DatasetFolder.open(root), CheckConfig(look="none", families=(QWEN3_VL,), listed=2)
    expected = report(folder, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "CHUNK_ROWS", size)
        assert report(folder, config, Ahead()) == expected


@given(rows=st.lists(st.sampled_from("abcdefg"), max_size=15), cut=st.integers(0, 15))
def test_tasks_beyond_the_limit_are_those_that_come_last(rows: list[str], cut: int) -> None:
    def added(found: Histograms, tasks: list[str]) -> Histograms:
        for task in tasks:
            fields = {"id": "s", "task": task, "question": "?", "images": [{"path": "a"}]}
            found.add(Sample.model_validate({**fields, "targets": [{"image": 1, "box": BOX}]}))
        return found

    joined = added(Histograms(3), rows[:cut])
    joined.join(added(Histograms(None), rows[cut:]))
    assert joined.as_dict() == added(Histograms(3), rows).as_dict()


@given(st.lists(st.sampled_from("abc"), max_size=15), st.integers(0, 15), st.integers(0, 3))
def test_logs_joined_are_one_log(kinds: list[str], cut: int, most: int) -> None:
    def log(entries: list[tuple[str, int]]) -> Log[tuple[str, int]]:
        made: Log[tuple[str, int]] = Log(most)
        for entry in entries:
            made.add(entry[0], entry)
        return made

    entries = [(kind, k) for k, kind in enumerate(kinds)]
    joined, whole = log(entries[:cut]), log(entries)
    joined.join(log(entries[cut:]), lambda entry: entry[0])
    assert joined.kept == whole.kept and list(joined.counts.items()) == list(whole.counts.items())


def test_long_lines_make_short_chunks(everything: DatasetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by bytes, whatever a row holds."""
    monkeypatch.setattr(rows_module, "CHUNK_BYTES", 1000)
    chunks = list(chunks_of(everything))
    assert len(chunks) > 5 and all(len(chunk) > 1 for chunk in chunks[:-1])
    assert all(sum(len(text) for _, text in chunk[:-1]) < 1000 for chunk in chunks)
    lines = (everything.root / "samples.jsonl").read_bytes().splitlines(keepends=True)
    assert [row for chunk in chunks for row in chunk] == [row for row in enumerate(lines, 1) if row[1].strip()]


def test_a_file_that_goes_away(everything: DatasetFolder) -> None:
    (everything.root / "samples.jsonl").unlink()
    with pytest.raises(StorageError, match="cannot read"):
        check_dataset(everything, CheckConfig())
