"""The official protocol of MIG-Bench a second time, slowly, from its description; and responses to try both on."""

from __future__ import annotations

import random

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
    """The box that the protocol of the original version scores, or None."""
    found = _spelled(text)
    alone = len(found) == 1
    return tuple(v / 1000 if (v >= 1 if alone else v > 1) else v for v in map(float, found[0])) if found else None


def oracle_revised_box(text: str) -> tuple[int, ...] | None:
    """The box that the protocol of the revised version scores, in thousandths, or None."""
    found = _spelled(text)
    kept = found[:-1] if len(found) > 1 else found
    whole = kept and all(digits.isdecimal() for digits in kept[0])
    return tuple(int(digits) for digits in kept[0]) if whole else None


def _spelled(text: str) -> list[list[str]]:
    """The numbers of every box in the first spelling that occurs."""
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
                found.append(scan.numbers)
                at = scan.at
        if found:
            return found
    return []


def oracle_iou(true: tuple[float, ...], box: tuple[float, ...]) -> float:
    """IoU in the order of operations of the description."""
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


# --- the parts of responses -----------------------------------------------------------------------------------------

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


def random_response(rng: random.Random) -> str:
    """No box, one or several, in spellings that the protocol knows, nearly knows, or not at all; a quarter mutated."""
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
