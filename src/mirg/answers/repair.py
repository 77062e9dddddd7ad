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

    None if they are too long to be repaired, their brackets do not match, or not even a part of one is complete.
    """
    out, stack = ["["], list[str]()
    complete, closing = 0, ""  # pieces of the last complete part, and the brackets that close it
    done = end = start  # of the pieces that were taken, of the values that are complete
    comma = False  # a comma that is written if something follows it
    for count, match in enumerate(_PIECE.finditer(source, start)):
        kind, piece, between = match.lastgroup or "", match[0], source[done : match.start()]
        outside = not stack and end > start
        if kind == "unended" or (outside and (kind not in ("open", "comma") or between.strip())):
            break
        if (comma and (kind not in ("close", "comment") or between.strip())) or (outside and kind == "open"):
            out.append(",")
            comma = False
        out.append(ascii_forms(between))
        done = match.end()
        if kind == "open":
            stack.append(_OPEN[piece])
            out.append(stack[-1])
        elif kind == "close":
            if not stack or stack.pop() != _CLOSE[piece]:
                return None
            out.append(_CLOSES[_CLOSE[piece]])
            comma = False
            end = end if stack else done
        elif kind == "comma":
            comma = bool(stack)
        else:
            out.append(_written(kind, piece, bool(_KEY_FOLLOWS.match(source, done))))
        if count > MOST_PIECES or len(stack) > DEEPEST:
            return None
        if kind in ("close", "comma", "list"):
            complete, closing = len(out), "".join(_CLOSES[bracket] for bracket in reversed(stack))
    if not complete:
        return None
    return Repaired(f"{''.join(out[:complete])}{closing}]", len(source) if stack else end, bool(stack))


def _written(kind: str, piece: str, is_key: bool) -> str:
    """A piece between brackets and commas as JSON."""
    if kind == "single":  # its escapes stay
        inner = piece[1:-1].replace("\\'", "'")
        return '"' + re.sub(r'(\\.)|"', lambda found: found[1] or '\\"', inner, flags=re.DOTALL) + '"'
    if kind == "curly":
        return json.dumps(piece[1:-1])
    if kind == "comment":
        return ""
    if kind == "word":
        return _LITERALS.get(piece) or (f'"{piece}"' if is_key else piece)
    return piece
