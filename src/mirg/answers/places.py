"""Boxes inside sentences, and the image that each of them lies in by the names around it.

A name counts for a box if it stands directly behind it ("(…) in the second image"), as the only one between the box
before and this one, or directly in front of it. If several images are named there, the box is :data:`UNCLEAR`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

from mirg.answers.image_names import UNKNOWN, Name

Span = tuple[int, int]

# The image of a box beside which several are named.
UNCLEAR = Name(0, 0, UNKNOWN)

NUMBER = r"-?\d{1,6}(?:\.\d{1,16})?"
_COMMA = r"\s{0,3},\s{0,3}"
_PAIR = rf"{NUMBER}{_COMMA}{NUMBER}"
_OPEN = r"(?:<\|box_start\|>|<box>|<\|det\|>)"
_CLOSE = r"(?:<\|box_end\|>|</box>|<\|/det\|>)?"
_PAIRS = rf"\(\s{{0,3}}{_PAIR}\s{{0,3}}\)\s{{0,3}},?\s{{0,3}}\(\s{{0,3}}{_PAIR}\s{{0,3}}\)"
_FLAT = rf"\[\s{{0,8}}{_PAIR}{_COMMA}{_PAIR}\s{{0,8}}\]"
_CORNERS = rf"\[\s{{0,3}}\[{_PAIR}\]{_COMMA}\[{_PAIR}\]\s{{0,3}}\]"
_ROUND = rf"\(\s{{0,3}}{_PAIR}{_COMMA}{_PAIR}\s{{0,3}}\)"
_BARE = rf"<box>\s{{0,3}}{NUMBER}(?:[ ,]{{1,3}}{NUMBER}){{3}}\s{{0,3}}</box>"
# The Qwen2-VL spelling, and the same without its tokens. All begin with "<" or "(", for which a search looks first.
PAIRS = re.compile(rf"(?:<\|box_start\|>\(|<box>\(|<\|det\|>\(|\(){_PAIRS[2:]}{_CLOSE}", re.ASCII)
# That, and [x1, y1, x2, y2] as the JSON families and InternVL write it.
ANY_BOX = re.compile(f"{_BARE}|{_OPEN}?(?:{_PAIRS}|{_CORNERS}|{_ROUND}|\\[{_FLAT}\\]|{_FLAT}){_CLOSE}", re.ASCII)
# Anything that begins like a place and was not read as a box.
_PLACE_LIKE = re.compile(
    rf"[(\[{{<]\s{{0,3}}-?\d{{1,9}}(?:\.\d{{1,16}})?\s{{0,3}},\s{{0,3}}-?[\d.]|{_OPEN}(?!\s{{0,3}}[(\[])"
    rf"|{NUMBER}\s{{0,3}}(?:,\s{{0,3}}{NUMBER}\s{{0,3}}){{3}}",
    re.ASCII,
)
_KEY_BEFORE = re.compile(r"([\"']?)([A-Za-z_][\w-]{0,30})\1\s{0,4}[:=]\s{0,4}\[?\s{0,4}$", re.ASCII)

# --- phrases, by their meaning ----------------------------------------------------------------------------------------

SENTENCE_END = re.compile(r"[.!?\n。？！]")
# Something is not there.
NEGATION = re.compile(
    r"\b(?:not|no|none|never|without|except|unlike|neither|nor|instead|rather|absent|missing|cannot|\w+n't|"
    r"sin|ni|pas|sans|aucune?|nicht|kein\w{0,2}|ohne|non|senza|não|sem|не|нет|без)\b|没|沒|不|无|無|非|除|ない|なし|ません|없|아닌|않",
    re.IGNORECASE,
)
# An image is compared with another one: "like the one in", a few words before its name.
_COMPARING = (
    r"\b(?:like|as|than|compared\s(?:to|with)|similar\sto|(?:contrast|opposed)\sto|(?:differs?|different)\sfrom|"
    r"resembles|matches|matching|wie|como|comme)\b"
)
_COMPARES = re.compile(_COMPARING + r"(?:\s\w{1,12}){0,4}\W{0,3}$", re.IGNORECASE)
_MAY_DENY = re.compile(f"{NEGATION.pattern}|{_COMPARING}", re.IGNORECASE)
_CLAUSE_END = re.compile(rf"[,;:]|{SENTENCE_END.pattern}|\b(?:but|sondern|sino|mais|но)\b|而是|但", re.IGNORECASE)
# Between a box and a name behind it: the box lies in that image.
_BEHIND = re.compile(
    r"[\s)\]]{0,4}(?:,?\s{0,2}(?:in|of|from|on|within|inside|en|de|dans|im|auf|em|в|на)\s{1,3}"
    r"(?:(?:the|la|l'|el|dem|der|das)\s{0,2})?|[(\[]|,?在|,?位于)"
)
# Between boxes, and between names, of one list; a name of several images begins at its number: "image 1 and image 2".
_LISTED = re.compile(r"\s{0,3}(?:[,;]|and|und|y|et|和|と|,?\s{0,2}and)?\s{0,3}")
_JOINED = re.compile(
    r"\s{0,3}(?:,|&|/|和|与|と|및|,?\s{0,2}(?:and|or|und|oder|et|ou|y|o|e|и|или))\s{0,3}(?:the\s|in\s|la\s|im\s)?"
    r"(?:[^\W\d_]{1,12}[-_ #]{0,2})?"
)
# What may stand between a name and its box if another image is named before: words that say only "its box is".
_LEADS = re.compile(
    r"[\s:.,\-\u2013\u2014()\[\]\"'*`>=|]{0,6}"
    r"(?:(?:at|is|are|it|with|located|lies|found|the|its|bounding|box|bbox|coordinates|position|by|as|here|where|there|stands|"
    r"位置|坐标|在|是|为|的|处|中|位于|边界框|座標)"
    r"[\s:,\-\u2013\u2014()\[\]\"'*`>=|]{0,4}){0,8}",
    re.IGNORECASE,
)
_BESIDE = re.compile(r"\s{0,2}[(\[,:=]\s{0,2}")


def key_before(text: str, start: int) -> str | None:
    """The key whose value begins at ``text[start]``: ``"box_2d": [`` ; None if no key is there."""
    if not text[max(0, start - 10) : start].rstrip(" \t\r\n[").endswith((":", "=")):
        return None
    found = _KEY_BEFORE.search(text, max(0, start - 48), start)
    return found[2] if found else None


def unread_place(text: str, spans: Sequence[Span]) -> str | None:
    """The beginning of something like a place outside of ``spans``, the boxes that were read; None if all was read."""
    done = 0
    for start, end in (*spans, (len(text), len(text))):
        if found := _PLACE_LIKE.search(text, done, start):
            return text[found.start() : found.start() + 40]
        done = end
    return None


def images_of(text: str, spans: Sequence[Span], names: Sequence[Name]) -> list[Name | None]:
    """The name that each box at ``spans`` of ``text`` goes with: None if it has none, or :data:`UNCLEAR`."""
    starts = [name.start for name in names]
    taken: set[int] = set()  # names that stand behind their box
    found: list[Name | None] = []
    before: Name | None = None
    done = 0
    for k, (start, end) in enumerate(spans):
        following = spans[k + 1][0] if k + 1 < len(spans) else len(text)
        first, last = bisect_left(starts, done), bisect_left(starts, start)
        gap = [names[i] for i in range(first, last) if i not in taken and names[i].end <= start]
        behind = names[last] if last < len(names) and names[last].end <= following else None
        name = _in_braces(text, start, end, done, following, names, starts)
        if name is None and behind and _BEHIND.fullmatch(text, end, behind.start):
            taken.add(last)
            # "(…) and (…) in the first and second image"
            other = names[last + 1] if last + 1 < len(names) and names[last + 1].end <= following else behind
            joined = not text.startswith(":", other.end) and _JOINED.fullmatch(text, behind.end, other.start)
            name = UNCLEAR if joined and not agree([behind, other]) else behind
            # "(…), (…) in the second image": the boxes of one list, up to this one, share the name behind it.
            for n in range(k - 1, -1, -1):
                if found[n] is not None or not _LISTED.fullmatch(text, spans[n][1], spans[n + 1][0]):
                    break
                found[n] = name
            if gap and not agree([*gap, name]) and _LEADS.fullmatch(text, gap[-1].end, start):
                name = UNCLEAR
        elif name is None and gap:
            name = _nearest(text, start, gap, done)
        elif name is None:
            name = UNCLEAR if taken.intersection(range(first, last)) else before  # "(…) in Image-2 and (…)"
        found.append(name)
        before, done = name, end
    return found


def _nearest(text: str, start: int, gap: Sequence[Name], low: int) -> Name:
    """The name before a box at ``start``, of those since ``low``; not of an image that is denied or compared with."""
    meant = [name for name in gap if not _denied(text, name, low, start)]
    if not meant:
        return UNCLEAR
    if agree(meant):
        return meant[-1]
    before, nearest = meant[-2], meant[-1]
    between = text[before.end : nearest.start]
    ended = SENTENCE_END.search(text, nearest.end, start) and not SENTENCE_END.search(between)
    unclear = nearest.number == UNKNOWN or beside(text, before, nearest) or _JOINED.fullmatch(between) or ended
    return UNCLEAR if unclear or not _LEADS.fullmatch(text, nearest.end, start) else nearest


@lru_cache(maxsize=16)  # a text has several names
def _may_deny(text: str) -> bool:
    return bool(_MAY_DENY.search(text))


def _denied(text: str, name: Name, low: int, high: int) -> bool:
    """Whether the clause of a name says that it is not there ("not in Image-1"), or compares ("like in Image-1")."""
    if not _may_deny(text):
        return False
    low = max((end.end() for end in _CLAUSE_END.finditer(text, max(low, name.start - 120), name.start)), default=low)
    before = text[low : name.start]
    after = _CLAUSE_END.split(text[name.end : min(high, name.end + 120)], maxsplit=1)[0]
    return bool(NEGATION.search(before) or NEGATION.search(after) or _COMPARES.search(before))


def beside(text: str, one: Name, other: Name) -> bool:
    """Whether an ordinal and a number stand side by side for one image: "the first image (Image-1)"."""
    return one.ordinal != other.ordinal and bool(_BESIDE.fullmatch(text, one.end, other.start))


def agree(names: Sequence[Name]) -> bool:
    """Whether all of them name the same image."""
    return len({(name.number, name.file) for name in names}) == 1


def _in_braces(
    text: str, start: int, end: int, low: int, high: int, names: Sequence[Name], starts: Sequence[int]
) -> Name | None:
    """The name inside the braces around a box, as in ``{"bbox_2d": [...], "image": 2}``."""
    opening = text.rfind("{", low, start)
    closing = text.find("}", end, high)
    if opening < 0 or closing < 0 or text.find("}", opening, start) >= 0:
        return None
    inside = [names[i] for i in range(bisect_left(starts, opening), bisect_left(starts, closing))]
    if not inside:
        return UNCLEAR if any(name.keyed for name in names) else None
    return inside[0] if agree(inside) else UNCLEAR
