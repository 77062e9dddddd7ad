"""The official protocol against an independent, slow reading of its description, bit for bit."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest

from fakes.official import oracle_box, oracle_iou, oracle_revised_box, random_response
from fakes.speed import takes_at_most
from mirg.data.importers.migbench import load_annotations
from mirg.evaluation.migbench.official import extract_box, overlap, score_response

TRUTH = (0.1, 0.2, 0.5, 0.6)


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)


def test_bit_for_bit_like_the_oracle_on_8_000_fuzzed_responses() -> None:
    rng = random.Random(20)
    boxes = [TRUTH, (0.0, 0.0, 1.0, 1.0), (0.5, 0.6, 0.2, 0.9), (0.319, 0.186, 1.048, 0.535), (0.3, 0.3, 0.3, 0.3)]
    read = overlapping = 0
    for _ in range(8_000):
        response, truth = random_response(rng), rng.choice(boxes)
        expected = oracle_box(response)
        box = extract_box(response)
        assert (box is None) == (expected is None), response
        if box is not None and expected is not None:
            assert [_bits(v) for v in box] == [_bits(v) for v in expected], response
        value = score_response(response, truth)
        assert _bits(value) == _bits(0.0 if expected is None else oracle_iou(truth, expected)), response
        read += box is not None
        overlapping += value > 0
        revised = oracle_revised_box(response)
        thousandths = tuple(round(1000 * v) for v in truth)
        expected_iou = 0.0 if revised is None else oracle_iou(thousandths, revised)
        assert extract_box(response, "revised") == revised, response
        assert _bits(score_response(response, truth, "revised")) == _bits(expected_iou), response
    assert read > 3_200 and overlapping > 400  # the fuzz reaches what it is meant to reach


@pytest.mark.parametrize(
    ("response", "box", "why"),
    [
        ("(100, 200),  (300,400)", (0.1, 0.2, 0.3, 0.4), "blanks after the commas"),
        ("(100,200),\n(300,400)", (0.1, 0.2, 0.3, 0.4), "a line end is a blank"),
        ("(100 ,200),(300,400)", None, "no blank before a comma"),
        ("[0.1, 0.2, 0.3, 0.4]", (0.1, 0.2, 0.3, 0.4), "decimals in square brackets"),
        ("[0.1, 0.2, 0.3, 1]", None, "decimals: a point in all four numbers"),
        ("[.1, .2, .3, .4]", None, "a decimal has digits before its point"),
        ("(0.1,0.2),(0.3,0.4)", (0.1, 0.2, 0.3, 0.4), "decimal pairs without blanks"),
        ("(0.1, 0.2),(0.3, 0.4)", None, "decimal pairs with blanks are no spelling"),
        ("(0.1, 0.2, 0.3, 0.4)", (0.1, 0.2, 0.3, 0.4), "decimals in one round bracket"),
        ("(1, 2, 3, 4)", None, "integers in one round bracket are no spelling"),
        ("[100, 200, 300, 400]", (0.1, 0.2, 0.3, 0.4), "integers in square brackets"),
        ("[[100,200,300,400]]", (0.1, 0.2, 0.3, 0.4), "nested brackets hold the plain ones"),
        ("<box>100 200 300 400</box>", (0.1, 0.2, 0.3, 0.4), "the tag with blanks"),
        ("<box>100, 200, 300, 400</box>", None, "the tag takes no commas"),
        ("(-100,200),(300,400)", None, "no sign in pairs"),
        ("[-100, 200, 300, 400]", None, "no sign in square brackets"),
        ("(0,1),(1,1000)", (0.0, 0.001, 0.001, 1.0), "one match: from 1 on divided by 1000"),
        ("(0,1),(1,1000) (5,5),(6,6)", (0.0, 1.0, 1.0, 1.0), "several matches: above 1 divided, the first counts"),
        ("[0.5, 0.5, 1.0, 2.0]", (0.5, 0.5, 0.001, 0.002), "coordinate by coordinate, whatever that makes of the box"),
        ("<think>(1,2),(3,4)</think>[500, 500, 600, 600]", (0.001, 0.002, 0.003, 0.004), "the thinking is read"),
        ("[500, 500, 600, 600] then (7,8),(9,10)", (0.007, 0.008, 0.009, 0.01), "pattern order beats text order"),
        ("Image-9: (100,200),(300,400)", (0.1, 0.2, 0.3, 0.4), "the image is not looked at"),
        ("(١٠٠,200),(300,400)", (0.1, 0.2, 0.3, 0.4), "digits are Unicode's, as in re"),
        ("(²,200),(300,400)", None, "a superscript is no digit"),
        ("", None, "nothing"),
        ("none", None, "no box"),
    ],
)
def test_which_box_is_read(response: str, box: tuple[float, ...] | None, why: str) -> None:
    assert extract_box(response) == box, why
    assert oracle_box(response) == box, "the oracle reads the description likewise"


@pytest.mark.parametrize(
    ("response", "box", "why"),
    [
        ("(0,1),(1,1000)", (0, 1, 1, 1000), "thousandths, also 1"),
        ("(1,2),(3,4) (5,6),(7,8)", (1, 2, 3, 4), "the first of two"),
        ("[1, 2, 3, 4] and [5, 6, 7, 8], [9, 9, 9, 9]", (1, 2, 3, 4), "the first of three"),
        ("[0.1, 0.2, 0.3, 0.4]", None, "decimals are no box"),
        ("[0.1, 0.2, 0.3, 0.4] [1, 2, 3, 4]", None, "and they come before integers in brackets"),
        ("nothing", None, "no box"),
    ],
)
def test_which_box_is_read_of_the_revised_version(response: str, box: tuple[int, ...] | None, why: str) -> None:
    assert extract_box(response, "revised") == box, why
    assert oracle_revised_box(response) == box, "the oracle reads the description likewise"


def test_the_stretch_of_one_published_row() -> None:
    """y1 x 1.05 and y2 x 1.10; in thousandths rounded down and at most 999. Without it nothing is changed."""
    for version, response, truth in (
        ("original", "(100,200),(500,600)", (0.1, 0.2 * 1.05, 0.5, 0.6 * 1.10)),
        ("revised", "(100,203),(500,605)", (0.1, 0.213, 0.5, 0.665)),  # 213.15, 665.5
        ("revised", "(100,990),(500,999)", (0.1, 0.9, 0.5, 0.999)),  # an empty box
    ):
        stretched = score_response(response, truth, version, stretch=True)  # type: ignore[arg-type]
        assert stretched == pytest.approx(0.0 if "990" in response else 1.0), version
        assert score_response(response, truth, version) < 0.95  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["univg-r1", "qwen2_vl"])
def test_the_iou_that_a_public_rerun_recorded(repository: Path, model: str) -> None:
    folder = repository.parent / "shared" / "data" / "mig_bench_revised"
    if not folder.is_dir():
        pytest.skip("the stored responses are not beside the repository (they are not part of it)")
    items = load_annotations(folder / "revised_MIG_bench.json", revised=True).items
    rows = [json.loads(line) for line in (folder / f"responses_{model}.jsonl").read_text().splitlines()]
    assert len(rows) == len(items) == 4276
    for row in rows:
        assert score_response(row["response"], items[row["index"]].answer, "revised") == row["recorded_iou"], row


@pytest.mark.parametrize(
    ("true", "predicted", "iou", "why"),
    [
        (TRUTH, TRUTH, 1.0, "itself"),
        ((0.0, 0.0, 0.5, 1.0), (0.25, 0.0, 0.75, 1.0), 1 / 3, "half of each"),
        ((0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), 0.0, "an edge in common is no area"),
        ((0.2, 0.2, 0.2, 0.2), (0.2, 0.2, 0.2, 0.2), 0.0, "0/0 counts as 0"),
        ((0.5, 0.6, 0.2, 0.9), (0.0, 0.0, 1.0, 1.0), 0.0, "an inverted truth can never be met"),
        (TRUTH, (0.5, 0.6, 0.1, 0.2), 0.0, "an inverted answer overlaps nothing"),
        (TRUTH, (0.0, 0.0, float("inf"), float("inf")), 0.0, "hundreds of digits"),
        ((0.0, 0.0, 0.5, 0.5), (0.0, 0.0, float("inf"), 0.0), 0.0, "infinity times 0 is not a number, and counts as 0"),
    ],
)
def test_overlap(true: tuple[float, ...], predicted: tuple[float, ...], iou: float, why: str) -> None:
    assert overlap(true, predicted) == pytest.approx(iou), why


def test_a_looping_response_costs_no_time() -> None:
    for unit in ("(1,", "[0.1, ", "(12,34),", "<box>1 ", "(((((", "1" * 50, "(1,\u2003\u2003"):
        assert takes_at_most(0.3, lambda unit=unit: score_response(unit * 10_000, TRUTH))
