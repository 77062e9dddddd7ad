"""One report: rows = accepted + rejected for every error, the same on every run, bounded lists with full counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.datasets import BOX, edit_rows, picture, row, write_rows
from mirg.data.checks.run import CheckConfig, Look, check_dataset
from mirg.errors import DataError
from mirg.families import QWEN3_VL, QWEN25_VL
from mirg.samples import DatasetFolder

ROWS = [row(f"s{k}", [k, k + 1], task="refer" if k % 2 else "none") for k in range(6)]


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFolder:
    return write_rows(tmp_path / "data", ROWS)


def test_a_good_dataset(dataset: DatasetFolder) -> None:
    report = check_dataset(dataset)
    assert (report.rows, report.accepted, report.rejected, report.warnings.total) == (6, 6, 0, 0)
    assert report.histograms.counts == {"none": 3, "refer": 3} and report.lengths == [] and report.shared == []


Spoil = Callable[[list[dict[str, Any]]], object]
SPOILT: list[tuple[str, Spoil, str, bool]] = [
    ("a placeholder in the question", lambda rows: rows[1].update(question="<image>"), "question", True),
    ("an image that is not there", lambda rows: rows[1].update(question="Image-5?"), "question", True),
    ("a row without its question", lambda rows: rows[1].pop("question"), "question", True),
    ("an id twice", lambda rows: rows[1].update(id="s0"), "id", True),
    ("another digest", lambda rows: rows[1]["images"][1].update(sha256="0" * 64), "images", False),
    ("another size", lambda rows: rows[1]["images"][1].update(width=7), "images", False),
    ("a missing file", lambda rows: rows[1]["images"][1].update(path="images/x.png"), "images", False),
]


@pytest.mark.parametrize(("why", "spoil", "kind", "in_row"), SPOILT, ids=[s[0].replace(" ", "_") for s in SPOILT])
def test_one_spoilt_row(dataset: DatasetFolder, why: str, spoil: Spoil, kind: str, in_row: bool) -> None:
    """``in_row``: seen without a look at the files."""
    spoilt = edit_rows(dataset, spoil)
    looks: tuple[Look, ...] = ("none", "header", "hash", "decode")
    for look in looks:
        report = check_dataset(spoilt, CheckConfig(look=look))
        digest_only = why == "another digest" and look == "header"
        rejected = 1 if in_row or (look != "none" and not digest_only) else 0
        assert (report.rows, report.rejected, report.accepted) == (6, rejected, 6 - rejected), (why, look)
        for rejection in report.rejections.kept:
            assert (
                rejection.row == 2 and rejection.reason and rejection.hint and rejection.file.endswith("samples.jsonl")
            )
        assert dict(report.rejections.counts) == ({kind: 1} if rejected else {})


def test_a_file_that_was_replaced_by_one_of_the_same_size(dataset: DatasetFolder) -> None:
    picture(99).save(dataset.root / "images" / "p3.png")
    for look, rejected in (("header", 0), ("hash", 2), ("decode", 2)):
        report = check_dataset(dataset, CheckConfig(look=look))  # type: ignore[arg-type]
        assert report.rejected == rejected, look
        assert all("is not the file that the row describes" in r.reason for r in report.rejections.kept)


def test_upper_and_lower_case_are_one_digest(dataset: DatasetFolder) -> None:
    edit_rows(dataset, lambda rows: [image.update(sha256=image["sha256"].upper()) for image in rows[1]["images"]])
    assert check_dataset(DatasetFolder.open(dataset.root)).rejected == 0


def test_warnings_are_counted_and_name_their_row(tmp_path: Path) -> None:
    folder = write_rows(
        tmp_path / "d",
        [
            row("a", [1, 2], question="?"),
            row("tiny", [3], targets=[{"image": 1, "box": (0, 0, 0.005, 0.5)}]),
            row("twin", [1, 2], question="?"),
            row("turned", [2, 1], question="?"),
            row("other", [1, 2], question="?", targets=[]),
        ],
    )
    report = check_dataset(folder)
    found = [(f.kind, f.row, f.id) for f in report.warnings.kept]
    assert found == [
        ("tiny_box", 2, "tiny"),
        ("long_box", 2, "tiny"),
        ("duplicate", 3, "twin"),
        ("reordered", 4, "turned"),
        ("conflicting_targets", 5, "other"),
    ]
    assert all(f.hint and f.level == "warning" for f in report.warnings.kept)
    assert "row 1 (sample a)" in report.warnings.kept[2].reason
    assert report.accepted == 5, "a warning rejects nothing"


def test_two_spellings_of_a_label_are_a_warning(tmp_path: Path) -> None:
    """Labels of notes, and of the targets of a sample without notes."""
    notes = [[{"objects": [{"label": label, "box": BOX}]}] for label in ("dog", "dog", "Dog")]
    rows = [row(f"r{k}", [k], refs=refs, targets=[]) for k, refs in enumerate(notes, 1)]
    rows.append(row("r4", [4], targets=[{"image": 1, "box": BOX, "label": "DOG_"}]))
    report = check_dataset(write_rows(tmp_path / "d", rows), CheckConfig(look="none"))
    (found,) = [finding for finding in report.warnings.kept if finding.kind == "label_spelling"]
    assert found.reason == "labels 'dog' (2), 'DOG_' (1), 'Dog' (1) seem to be one label"
    assert found.row == 3 and "--labels" in found.hint and report.accepted == 4


def test_the_same_file_under_two_names(dataset: DatasetFolder) -> None:
    copy = dataset.root / "images" / "copy.png"
    copy.write_bytes((dataset.root / "images" / "p2.png").read_bytes())
    changed = edit_rows(dataset, lambda rows: rows[4]["images"][0].update(path="images/copy.png", sha256=None))
    assert check_dataset(changed, CheckConfig(look="none")).warnings.total == 0, "the row says no digest"
    for told in (None, "row"):
        if told:
            digest = json.loads((dataset.root / "samples.jsonl").read_text().splitlines()[1])["images"][1]["sha256"]
            changed = edit_rows(changed, lambda rows, d=digest: rows[4]["images"][0].update(sha256=d))
        report = check_dataset(changed, CheckConfig(look="none" if told else "hash"))
        kinds = {f.kind: f for f in report.warnings.kept}
        assert "images/copy.png holds what images/p2.png (sample s1) holds" in kinds["copied_file"].reason or (
            "images/p4.png" in kinds["copied_file"].reason
        )


def test_lists_are_bounded_and_counts_are_not(tmp_path: Path) -> None:
    rows = [row(f"s{k}", [1], question="?", targets=[{"image": 1, "box": (0, 0, 1, 1)}]) for k in range(9)]
    folder = write_rows(tmp_path / "d", rows)
    broken = edit_rows(folder, lambda values: [value.update(question="<image>") for value in values[5:]])
    report = check_dataset(broken, CheckConfig(listed=2))
    assert (report.rejected, len(report.rejections.kept)) == (4, 2)
    assert dict(report.warnings.counts) == {"whole_image_box": 5, "duplicate": 4}
    assert [(f.kind, f.row) for f in report.warnings.kept] == [
        ("whole_image_box", 1), ("whole_image_box", 2), ("duplicate", 2), ("duplicate", 3),
    ]  # fmt: skip
    assert report.as_dict()["warned"] == 9 and report.as_dict()["rejected"] == 4


def test_lengths_of_several_families_with_a_limit(dataset: DatasetFolder) -> None:
    config = CheckConfig(families=(QWEN25_VL, QWEN3_VL), max_tokens=210, look="none")
    report = check_dataset(dataset, config)
    assert [summary["family"] for summary in report.lengths] == ["qwen2.5-vl", "qwen3-vl"]
    assert [summary["samples"] for summary in report.lengths] == [6, 6]
    too_long = sum(summary["too_long"] for summary in report.lengths)
    assert too_long == report.warnings.counts["too_long"] > 0


def test_an_image_that_a_family_refuses_is_a_warning(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "d", [row("s", [1])])
    long = edit_rows(folder, lambda rows: rows[0]["images"][0].update(width=6000, height=10))
    report = check_dataset(long, CheckConfig(look="none", families=(QWEN3_VL,)))
    assert report.accepted == 1 and report.warnings.counts["not_for_family"] == 1
    (refused,) = [finding for finding in report.warnings.kept if finding.kind == "not_for_family"]
    assert refused.reason.startswith("qwen3-vl: ") and "too long" in refused.reason


def test_against_benchmarks(dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = write_rows(tmp_path / "bench", [row("b", [50, 4]), row("c", [1])], name="the bench")
    edit_rows(bench, lambda rows: rows[1].pop("question"))
    report = check_dataset(dataset, CheckConfig(against=(bench.root,), look="none"))
    (shared,) = report.shared
    assert (shared.train.sample_id, shared.benchmark.sample_id, shared.dataset) == ("s3", "b", "the bench")
    assert report.against_rejected == 1 and report.against == ["the bench"] and not report.compared_by_look
    assert check_dataset(dataset, CheckConfig(against=(bench.root,))).compared_by_look
    assert not check_dataset(dataset, CheckConfig(against=(bench.root,), near=None)).compared_by_look
    with pytest.raises(DataError):
        check_dataset(dataset, CheckConfig(against=(tmp_path / "nowhere",)))
    distances: list[int] = []
    monkeypatch.setattr("mirg.data.checks.run.alike", lambda *args: distances.append(args[3]) or [])
    check_dataset(dataset, CheckConfig(against=(bench.root,), near=3))
    assert distances == [3]


def test_rejected_rows_leak_nothing(dataset: DatasetFolder, tmp_path: Path) -> None:
    """An image that only rejected rows use is not trained on."""
    bench = write_rows(tmp_path / "bench", [row("b", [0])])
    spoilt = edit_rows(dataset, lambda rows: rows[0].update(question="<image>"))
    assert check_dataset(spoilt, CheckConfig(against=(bench.root,))).shared == []


def line(name: str, question: str, image: int, side: int) -> str:
    images = [{"path": "a.png", "width": side, "height": side}]
    fields = {"id": name, "task": "t", "question": question, "images": images}
    return json.dumps(fields | {"targets": [{"image": image, "box": BOX}]})


QUESTIONS = ("?", "<image>", "Image-2", "\ud800")
LINES = st.sampled_from(["{}", "[]", "null", '{"id": 3}', "not json", '"\\ud800"']) | st.builds(
    line, st.sampled_from("ab"), st.sampled_from(QUESTIONS), st.sampled_from([1, 2]), st.sampled_from([0, 9])
)


@settings(max_examples=40)
@given(st.lists(LINES, max_size=8))
def test_rows_are_accepted_plus_rejected(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    """Promise 12, for any content of the file."""
    root = tmp_path_factory.mktemp("any")
    (root / "samples.jsonl").write_text("".join(line + "\n" for line in lines))
    (root / "card.json").write_text(json.dumps({"name": "any", "n_samples": len(lines), "n_images": 1, "digest": "0"}))
    report = check_dataset(DatasetFolder.open(root), CheckConfig(look="none", families=(QWEN3_VL,)))
    assert report.rows == len(lines) == report.accepted + report.rejected
    assert [r.row for r in report.rejections.kept] == sorted({r.row for r in report.rejections.kept})
    json.dumps(report.as_dict(), allow_nan=False)


def test_the_report_does_not_depend_on_the_seed_of_hashes(tmp_path: Path) -> None:
    rows = [row(f"s{k}", [k % 5, 7], question=f"{k % 4}?") for k in range(30)]
    folder = write_rows(tmp_path / "d", rows)
    code = (
        "import json, sys; from mirg.samples import DatasetFolder; from mirg.data.checks.run import *;"
        "r = check_dataset(DatasetFolder.open(sys.argv[1]), CheckConfig(look='none', listed=3));"
        "sys.stdout.write(json.dumps(r.as_dict()))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, str(folder.root)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1 and '"duplicate": 10' in outputs.pop()
