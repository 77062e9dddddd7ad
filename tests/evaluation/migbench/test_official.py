"""The official protocol against an independent, slow reading of its description, bit for bit."""

from __future__ import annotations

import random
import struct

import pytest

from mirg.evaluation.migbench.official import extract_box, overlap, score_response

TRUTH = (0.1, 0.2, 0.5, 0.6)


# --- the oracle: no regular expressions, one character at a time ----------------------------------------------------


class _Scan:
    """Walks one candidate from ``at``; every step either moves on or sets ``failed``."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at, self.failed = text, at, False
        self.numbers: list[str] = []

    def literal(self, wanted: str) -> _Scan:
        if not self.text.startswith(wanted, self.at):
            self.failed = True
        self.at += len(wanted)
        return self

    def blanks(self, least: int) -> _Scan:
        start = self.at
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        self.failed |= self.at - start < least
        return self

    def _digits(self) -> str:
        start = self.at
        while self.at < len(self.text) and self.text[self.at].isdecimal():
            self.at += 1
        self.failed |= start == self.at
        return self.text[start : self.at]

    def integer(self) -> _Scan:
        self.numbers.append(self._digits())
        return self

    def decimal(self) -> _Scan:
        whole = self._digits()
        self.literal(".")
        self.numbers.append(f"{whole}.{self._digits()}")
        return self


def _pairs_of_integers(s: _Scan) -> _Scan:
    s.literal("(").integer().literal(",").blanks(0).integer().literal(")")
    s.literal(",").blanks(0)
    return s.literal("(").integer().literal(",").blanks(0).integer().literal(")")


def _pairs_of_decimals(s: _Scan) -> _Scan:
    s.literal("(").decimal().literal(",").decimal().literal("),(")
    return s.decimal().literal(",").decimal().literal(")")


def _list(s: _Scan, opening: str, closing: str, *, decimals: bool) -> _Scan:
    s.literal(opening)
    for k in range(4):
        if k:
            s.literal(",").blanks(0)
        s = s.decimal() if decimals else s.integer()
        if s.failed:
            return s
    return s.literal(closing)


def _tagged(s: _Scan) -> _Scan:
    s.literal("<box>").integer()
    for _ in range(3):
        s.blanks(1).integer()
    return s.literal("</box>")


SPELLINGS = (
    _pairs_of_integers,
    lambda s: _list(s, "[", "]", decimals=True),
    _pairs_of_decimals,
    lambda s: _list(s, "(", ")", decimals=True),
    lambda s: _list(s, "[", "]", decimals=False),
    _tagged,
)


def oracle_box(text: str) -> tuple[float, ...] | None:
    for spelling in SPELLINGS:
        found, at = [], 0
        while at < len(text):
            if text[at] not in "([<":  # no spelling starts with anything else
                at += 1
                continue
            scan = _Scan(text, at)
            spelling(scan)
            if scan.failed:
                at += 1
            else:
                found.append([float(number) for number in scan.numbers])
                at = scan.at
        if found:
            alone = len(found) == 1
            return tuple(v / 1000 if (v >= 1 if alone else v > 1) else v for v in found[0])
    return None


def oracle_iou(true: tuple[float, ...], box: tuple[float, ...]) -> float:
    width = min(true[2], box[2]) - max(true[0], box[0])
    height = min(true[3], box[3]) - max(true[1], box[1])
    if width < 0 or height < 0:
        return 0.0
    both = width * height
    one = (true[2] - true[0]) * (true[3] - true[1])
    other = (box[2] - box[0]) * (box[3] - box[1])
    either = one + other - both
    if either == 0:
        return 0.0
    value = both / either
    return value if abs(value) < float("inf") else 0.0


# --- what responses are made of -------------------------------------------------------------------------------------

_BLANKS = ("", "", "", " ", "  ", "\n", "\t", "\u00a0", "\u2003")
_NUMBERS = ("0", "1", "5", "999", "1000", "0.5", "0.123", "1.0", "12.5", ".5", "5.", "-3", "+4", "٣", "1e3", "007", "²")
_SHAPES = (
    "({0},{b}{1}),{b}({2},{b}{3})",
    "[{0},{b}{1},{b}{2},{b}{3}]",
    "({0},{b}{1},{b}{2},{b}{3})",
    "<box>{0} {1}{b} {2} {3}</box>",
    "[[{0},{b}{1},{b}{2},{b}{3}]]",
    "<|box_start|>({0},{1}),({2},{3})<|box_end|>",
    "[{0},{1},{2}]",
    "({0} ,{1}),({2},{3})",
    "Image-2: ({0},{1}),({2},{3})",
)


def _response(rng: random.Random) -> str:
    parts = []
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        kind = rng.random()
        pool = _NUMBERS if kind < 0.3 else [str(rng.randint(0, 1100)) for _ in range(4)]
        if kind > 0.6:
            pool = [f"{rng.random() * rng.choice((1, 1, 2)):.{rng.randint(1, 6)}f}" for _ in range(4)]
        numbers = [rng.choice(pool) for _ in range(4)]
        if rng.random() < 0.6:
            numbers.sort(key=lambda t: float(t) if t.replace(".", "").isascii() and t[0].isdigit() else 0.0)
        shape = rng.choice(_SHAPES).replace("{b}", rng.choice(_BLANKS))
        parts.append(rng.choice(("", "the box is ", "<think>", "</think><answer>", "\n")) + shape.format(*numbers))
    text = " ".join(parts)
    if text and rng.random() < 0.25:  # a mutation
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(("", "(", ")", "[", ",", " ", "9", ".", "<")) + text[at + rng.randint(0, 2) :]
    return text


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)


def test_bit_for_bit_like_the_oracle_on_20_000_fuzzed_responses() -> None:
    rng = random.Random(20)
    boxes = [TRUTH, (0.0, 0.0, 1.0, 1.0), (0.5, 0.6, 0.2, 0.9), (0.319, 0.186, 1.048, 0.535), (0.3, 0.3, 0.3, 0.3)]
    read = overlapping = 0
    for _ in range(20_000):
        response, truth = _response(rng), rng.choice(boxes)
        expected = oracle_box(response)
        box = extract_box(response)
        assert (box is None) == (expected is None), response
        if box is not None and expected is not None:
            assert [_bits(v) for v in box] == [_bits(v) for v in expected], response
        value = score_response(response, truth)
        assert _bits(value) == _bits(0.0 if expected is None else oracle_iou(truth, expected)), response
        read += box is not None
        overlapping += value > 0
    assert read > 8_000 and overlapping > 1_000  # the fuzz reaches what it is meant to reach


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
    import time

    start = time.perf_counter()
    for unit in ("(1,", "[0.1, ", "(12,34),", "<box>1 ", "(((((", "1" * 50, "(1,\u2003\u2003"):
        score_response(unit * 10_000, TRUTH)
    assert time.perf_counter() - start < 2.0
