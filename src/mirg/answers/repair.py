"""JSON as models and Python write it, turned into JSON: only what has one meaning, so that nothing is guessed.

Taken: a comma before a closing bracket, strings in single or curly quotes, ``True``, ``False`` and ``None``, tuples,
keys without quotes, ``//`` comments, full-width punctuation. A value that is cut off is closed after its last complete
part.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from mirg.answers.image_names import ascii_forms

MOST_PIECES = 4_096  # strings, brackets and commas of one value; more are not repaired
DEEPEST = 64  # brackets inside each other
_NUMBER = r"-?[0-9]{1,20}(?:\.[0-9]{0,20})?"
_PIECE = re.compile(
    rf"""
      (?P<list>\[\s{{0,40}}{_NUMBER}(?:\s{{0,40}},\s{{0,40}}{_NUMBER}){{1,7}}\s{{0,40}}\])
    | (?P<double>"[^"\\]*(?:\\.[^"\\]*)*")
    | (?P<single>'[^'\\]*(?:\\.[^'\\]*)*')
    | (?P<curly>“[^”]*”|‘[^’]*’)
    | (?P<open>[\[{{(［｛（【])
    | (?P<close>[\]}})］｝）】])
    | (?P<comma>[,，、])
    | (?P<comment>//[^\n]*)
    | (?P<unended>["'“‘])
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    """,
    re.VERBOSE | re.DOTALL,
)
_OPEN = {"[": "[", "(": "[", "［": "[", "（": "[", "【": "[", "{": "{", "｛": "{"}
_CLOSES = {"[": "]", "{": "}"}
_CLOSE = {"]": "[", ")": "[", "］": "[", "）": "[", "】": "[", "}": "{", "｝": "{"}
_LITERALS = {"True": "true", "False": "false", "None": "null"}
_KEY_FOLLOWS = re.compile(r"\s{0,8}[:：]")


class Repaired(NamedTuple):
    """``text`` is a JSON list of the values if the repair was enough; they ended at ``end``; ``cut``: the last one was
    closed before its end.
    """

    text: str
    end: int
    cut: bool


def repaired(source: str, start: int) -> Repaired | None:
    """The values that begin at ``source[start]``, one after another.

    None if they are too long to be repaired, or their brackets do not match.
    """
    mender = _Mender(source, start)
    for count, match in enumerate(_PIECE.finditer(source, start)):
        if count > MOST_PIECES:
            return None
        try:
            if not mender.take(match.lastgroup or "", match):
                break
        except ValueError:
            return None
    return mender.finish()


class _Mender:
    """Pieces of JSON on their way; ``safe`` is the last complete part, and the brackets that close it."""

    def __init__(self, source: str, start: int) -> None:
        self.source, self.start = source, start
        self.out = ["["]
        self.stack: list[str] = []
        self.safe: tuple[int, str] | None = None
        self.done = self.end = start  # of the pieces that were taken, of the values that are complete
        self.comma = False  # a comma that is written if something follows it

    def take(self, kind: str, match: re.Match[str]) -> bool:
        """One piece and the text before it; False if no value continues there, ValueError if brackets do not match."""
        between, piece = self.source[self.done : match.start()], match[0]
        outside = not self.stack and self.end > self.start
        if kind == "unended" or (outside and (kind not in ("open", "comma") or between.strip())):
            return False
        if (self.comma and (kind not in ("close", "comment") or between.strip())) or (outside and kind == "open"):
            self.out.append(",")
            self.comma = False
        self.out.append(ascii_forms(between))
        self.done = match.end()
        if kind == "open":
            self._open(_OPEN[piece])
        elif kind == "close":
            self._close(_CLOSE[piece])
        elif kind == "comma":
            self._part()
            self.comma = bool(self.stack)
        else:
            self.out.append(_written(kind, piece, self.source, self.done))
            if kind == "list":
                self._part()
        return True

    def _open(self, bracket: str) -> None:
        self.stack.append(bracket)
        self.out.append(bracket)
        if len(self.stack) > DEEPEST:
            raise ValueError("brackets are nested too deeply")

    def _close(self, bracket: str) -> None:
        if not self.stack or self.stack.pop() != bracket:
            raise ValueError("brackets do not match")
        self.out.append(_CLOSES[bracket])
        self.comma = False
        self.end = self.end if self.stack else self.done
        self._part()

    def _part(self) -> None:
        self.safe = len(self.out), "".join(_CLOSES[bracket] for bracket in reversed(self.stack))

    def finish(self) -> Repaired | None:
        """The values; None if not even a part of one is complete."""
        if self.safe is None:
            return None
        cut = bool(self.stack)
        text = "".join(self.out[: self.safe[0]])
        return Repaired(f"{text}{self.safe[1]}]", len(self.source) if cut else self.end, cut)


def _written(kind: str, piece: str, source: str, end: int) -> str:
    if kind in ("list", "double"):
        return piece
    if kind == "single":
        return _quoted(piece[1:-1].replace("\\'", "'"))
    if kind == "curly":
        return json.dumps(piece[1:-1])
    if kind == "comment":
        return ""
    if piece in _LITERALS:
        return _LITERALS[piece]
    return f'"{piece}"' if _KEY_FOLLOWS.match(source, end) else piece


def _quoted(inner: str) -> str:
    """The inside of a string in single quotes, in double quotes; its escapes stay."""
    return '"' + re.sub(r'(\\.)|"', lambda found: found[1] or '\\"', inner, flags=re.DOTALL) + '"'
