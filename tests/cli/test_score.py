from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes.migbench import ROWS, revised_rows, write_annotations, write_responses

Mirg = Callable[..., Any]
WHOLE = "(0,0),(999,999)"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    annotations = write_annotations(tmp_path / "a.json")
    return annotations, write_responses(tmp_path / "r.jsonl", dict.fromkeys(range(len(ROWS)), WHOLE))


def test_both_protocols(mirg: Mirg, files: tuple[Path, Path], tmp_path: Path) -> None:
    out, summary = tmp_path / "new" / "scores.jsonl", tmp_path / "new" / "summary.json"
    result = mirg("score", "migbench", *files, "--protocol", "both", "--out", out, "--summary", summary)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(len(ROWS)))
    assert set(rows[0]) == {"index", "task", "official", "strict"} and set(rows[0]["official"]) == {"iou"}
    assert rows[0]["strict"] == {"iou": 0.0, "image_ok": False, "failure": "no image named"}
    table = json.loads(summary.read_text())
    assert table["official"]["mean"]["acc@0.5"] >= table["strict"]["mean"]["acc@0.5"] == 0.0
    assert "mean of tasks" in result.output and "Static" in result.output
    assert "3 defects" in result.output and "no image named" in result.output


def test_what_does_not_compare_with_published_rows_is_said(mirg: Mirg, tmp_path: Path) -> None:
    annotations = write_annotations(tmp_path / "a.json", [ROWS[1][0]])
    responses = write_responses(tmp_path / "r.jsonl", {0: WHOLE})
    plain, changed = (
        mirg("score", "migbench", annotations, responses, *more) for more in ((), ("--stretch", "migician"))
    )
    assert "the mean is over 1 of 10 tasks" in plain.stderr and "stretch" not in plain.output
    assert "official with the stretch of migician" in changed.output and "stretched as migician's" in changed.output
    assert "strict with the stretch" not in changed.output


@pytest.mark.parametrize(("protocol", "other"), [("official", "strict"), ("strict", "official")])
def test_one_protocol(mirg: Mirg, files: tuple[Path, Path], tmp_path: Path, protocol: str, other: str) -> None:
    out = tmp_path / "scores.jsonl"
    result = mirg("score", "migbench", *files, "--protocol", protocol, "--out", out)
    assert result.exit_code == 0
    first = json.loads(out.read_text().splitlines()[0])
    assert protocol in first and other not in first


def test_what_is_missing_or_broken_is_said(mirg: Mirg, files: tuple[Path, Path], tmp_path: Path) -> None:
    responses = tmp_path / "some.jsonl"
    responses.write_text(f"{json.dumps({'index': 3, 'response': WHOLE})}\n{{broken\n")
    result = mirg("score", "migbench", files[0], responses)
    assert result.exit_code == 0
    assert f"{len(ROWS) - 1} items have no response" in result.stderr
    assert "1 broken" in result.stderr and "row 2" in result.stderr


def test_versions_differences_and_published_rows(mirg: Mirg, tmp_path: Path) -> None:
    rows = [row for row, _ in revised_rows()]
    annotations = write_annotations(tmp_path / "a.json", rows)
    right = {k: "({},{}),({},{})".format(*row["answer"]) for k, row in enumerate(rows)}
    good, poor = write_responses(tmp_path / "g.jsonl", right), write_responses(tmp_path / "p.jsonl", {0: right[0]})
    summary = tmp_path / "s.json"
    result = mirg("score", "migbench", annotations, good, "--against", poor, "--protocol", "all", "--summary", summary)
    assert result.exit_code == 0, result.output
    assert "MIG-Bench (revised), strict-box" in result.output and "UniVG-R1" in result.output
    assert "InternVL2" not in result.output, "rows of the original version are in no table of the revised one"
    found = json.loads(summary.read_text())
    (against,) = found["against"]
    own = found["official"]["mean"]["acc@0.5"]
    assert against["responses"] == str(poor) and 0 < against["official"]["mean"]["mean"] < own
    other = mirg("score", "migbench", annotations, good, "--version", "original")
    assert other.exit_code == 2 and "REVISED" in other.stderr


def test_pixels_of_resized_images_need_the_images(mirg: Mirg, tmp_path: Path) -> None:
    """Qwen2.5-VL's numbers are pixels of the resized image, here half as wide and half as high."""
    row = dict(ROWS[1][0], answer=[0.1, 0.2, 0.5, 0.6])
    annotations = write_annotations(tmp_path / "a.json", [row])
    text = '[{"image": 2, "bbox_2d": [56, 56, 280, 168]}]'
    responses = write_responses(tmp_path / "r.jsonl", {0: text})
    arguments = ["score", "migbench", annotations, responses, "--family", "qwen2.5-vl", "--max-pixels", 560 * 280]
    absent = mirg(*arguments, "--root", tmp_path)
    assert absent.exit_code == 2 and "2 of 2 images" in absent.stderr
    for name, size in zip(row["images"], [(400, 300), (1120, 560)], strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(tmp_path / name)
    for root in (tmp_path, tmp_path / "MIG-Bench"):
        out = tmp_path / f"{root.name}.jsonl"
        assert mirg(*arguments, "--root", root, "--out", out).exit_code == 0
        scored = json.loads(out.read_text())
        assert (scored["official"]["iou"], scored["strict"]["iou"]) == (pytest.approx(1.0), pytest.approx(1.0))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.json", "r.jsonl"], "absent.json"),
        (["a.json", "absent.jsonl"], "absent.jsonl"),
        (["r.jsonl", "a.json"], "r.jsonl"),
        (["a.json", "r.jsonl", "--protocol", "kind"], "unknown protocol"),
        (["a.json", "r.jsonl", "--family", "qwen3"], "qwen3-vl"),
        (["a.json", "r.jsonl", "--family", "qwen2.5-vl"], "pixels"),
        (["a.json", "r.jsonl", "--out", "a.json/scores.jsonl"], "a.json/scores.jsonl"),
        (["a.json", "r.jsonl", "--summary", "/dev/null/s.json"], "/dev/null/s.json"),
    ],
)
def test_errors(
    mirg: Mirg, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(files[0].parent)
    result = mirg("score", "migbench", *arguments)
    assert result.exit_code == 2
    assert "error:" in result.stderr and says in result.stderr


def test_control_sequences_of_a_response_do_not_reach_the_screen(
    mirg: Mirg, files: tuple[Path, Path], tmp_path: Path
) -> None:
    responses = write_responses(tmp_path / "evil.jsonl", {0: "\x1b]0;owned\x07 \x1b[2J", 1: "\x1b[31m(1,2)"})
    result = mirg("score", "migbench", files[0], responses)
    assert result.exit_code == 0 and "\x1b" not in result.output
