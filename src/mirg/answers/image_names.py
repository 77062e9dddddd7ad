"""The one reader of image names: words, tags and JSON keys of many spellings become a number, or "not understood".

:func:`names_in` finds the names in a text, :func:`name_of_value` reads those of JSON objects. A number is given as
written: whether a source counts from 0 or from 1 is not known here. Ordinals ("the first image") always count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple

from mirg.answers.languages import (
    CARDINALS,
    CJK_DIGITS,
    CJK_NOUNS,
    CYRILLIC_NOUNS,
    CYRILLIC_ORDINALS,
    FOLLOWERS,
    KOREAN_ORDINALS,
    LAST_WORDS,
    LATIN_NOUNS,
    NOT_AN_IMAGE,
    ORDINALS,
    PLURALS,
)

LAST = -1  # the number of "the last image"
UNKNOWN = -2  # the number of a name that was not understood
IMAGE_CAP = 999_999_999  # larger numbers are read as this one, which no sample has


class Name(NamedTuple):
    """A name of an image as written in ``text[start:end]``.

    ``number`` is :data:`UNKNOWN` if the name was not understood, :data:`LAST` for "the last image". ``ordinal``: it is
    an ordinal in words ("the third image"), not a number that may count from 0. ``digits`` is where the number is.
    ``keyed``: it is the value of a key, as in ``"image": 2``. ``file``: the name is a file name.
    """

    start: int
    end: int
    number: int
    ordinal: bool = False
    digits: tuple[int, int] = (0, 0)
    keyed: bool = False
    file: str = ""


# --- characters ------------------------------------------------------------------------------------------------------

# One character for one: places in a text stay what they are. The full-width forms of ASCII, dashes and blanks.
_ASCII_FORMS = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2212), "-"),
    **dict.fromkeys((0x00A0, 0x2009, 0x202F, 0x3000), " "),
    0x3001: ",",
}


def ascii_forms(text: str) -> str:
    """``text`` with full-width brackets, digits, commas and colons as their ASCII forms; its length is unchanged."""
    return text if text.isascii() else text.translate(_ASCII_FORMS)


# --- patterns --------------------------------------------------------------------------------------------------------

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = rf"[^\W{_CJK}]"  # a letter or digit, but of no script that writes words without blanks between them
_NOUN = rf"(?:{'|'.join(sorted((*LATIN_NOUNS, *CYRILLIC_NOUNS, *PLURALS), key=len, reverse=True))})"
_CJK_NOUN = rf"(?:{'|'.join(CJK_NOUNS)})"
_ANY_NOUN = rf"(?:{_NOUN}|{_CJK_NOUN})"
_SUFFIX = r"(?:[-_ ]?(?:idx|id|index|number|num|no|nr))?"
_COUNT = r"(?:(?:number|num|no|nr|número|numéro|nummer|номер)\.?|n[º°.]|№)"
_NUMERAL = rf"(?:[0-9]{{1,20}}|[{CJK_DIGITS}十]{{1,3}})"
_LIST = r"[ ]{0,2}(?:,[ ]?(?:and|or)|[,;&/]|and|or|und|oder|et|ou|y|o|e|и)[ ]{1,2}"

# Where a name may begin, in lower case: only there are the longer patterns tried.
_ANCHOR = (
    "ima|img|imá|imma|pic|pho|fra|fot|bild|afb|gamb|изобр|картин|фото|сним|第|枚目|番目|つ目|번째|最|마지막|"
    + "|".join(CJK_NOUNS)
)
_VALUE = (
    rf"""{_SUFFIX}["']?\s{{0,3}}[:=]\s{{0,3}}["']?(?:{_ANY_NOUN}[-_ #]{{0,2}})?"""
    r"""(?P<value>[0-9]{1,20})(?![0-9]|\.[0-9])["']?(?!\s{0,2},\s{0,2}[0-9])"""
)
_AFTER_NOUN = rf"""
      (?P<many>s?[ ][0-9]{{1,9}}
         (?:{_LIST}(?:the[ ])?(?:{_NOUN}[-_ #]{{0,2}})?[0-9]{{1,9}}){{1,63}}(?!{_WORD}|[.,][0-9]))
    | (?P<counted>(?P<between>[ ]?{_COUNT}[ ]?|[-_ #]{{0,2}})
         (?:(?P<number>[0-9]{{1,20}})|(?P<cardinal>{"|".join(CARDINALS)})(?![a-z]))
         (?P<tail>{_WORD}|[.,][0-9]|-[^\W{_CJK}])?)
    | (?P<letter>[ ](?-i:[A-HJ-Z]|[IVX]{{2,4}})(?![\w'])(?![ ](?-i:[a-z])))
    | (?P<keyed>{_VALUE})
    | (?P<bare>(?P<plural>s)?(?!{_WORD}))
"""
_TOUCHING = rf"""
      (?P<keyed>{_CJK_NOUN}{_VALUE})
    | (?P<after>{_CJK_NOUN}[-_ #]{{0,2}}(?P<numeral>{_NUMERAL}|[A-H](?![A-Za-z]))(?P<cjktail>[A-Za-z]|[.-][0-9])?)
    | (?P<cjk>第[ ]?(?P<th>{_NUMERAL})[ ]?(?P<measure>[张張幅副个個枚帧幀]?)[ ]?(?P<cjkof>{_CJK_NOUN}?))
    | (?P<japanese>(?P<counter>枚目|番目|つ目)(?:の(?P<jpof>{_CJK_NOUN}))?)
    | (?P<korean>번째[ ]?{_CJK_NOUN})
    | (?P<cjklast>(?:最后|最後)(?:一|の)?[张張幅枚个個]?{_CJK_NOUN}|마지막[ ]?{_CJK_NOUN})
    | (?P<cjkfirst>最初の{_CJK_NOUN})
"""


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """A long pattern, compiled when the first text is read: importing this module must not take the time."""
    return re.compile(pattern, re.VERBOSE if pattern is _ANCHOR else re.VERBOSE | re.IGNORECASE)


_DIGIT_ORDINAL = re.compile(
    r"([0-9]{1,9})(?:st|nd|rd|th|\.?[ªº]|e|è?me|eme|re|ère|-?(?:я|й|е|ю|ое|ом|ой|ую|ая))", re.IGNORECASE
)
_FROM_AN_END = re.compile(r"\s{1,2}(?:from|counting|to|before|after)\b")
_NEXT_WORD = re.compile(rf"[ ]{{1,2}}([^\W\d_{_CJK}]+)")
_DIGITS = re.compile(r"[0-9]+")
_NUMERAL_BEFORE = re.compile(rf"(?:{_NUMERAL})[ ]?$")
_KOREAN_BEFORE = re.compile(rf"({'|'.join(KOREAN_ORDINALS)}|[0-9]{{1,9}})[ ]?$")
_FILE = re.compile(r"\.(?:png|jpe?g|jfif|webp|bmp|gif|tiff?|heic|avif)(?![\w/.])", re.IGNORECASE)
_FILE_ENDS = " \t\n\"'`<>()[]{},;:|="
_IS_CJK = re.compile(f"[{_CJK}]")
_IS_WORD = re.compile(_WORD)
# "this photo 2 dogs": the number counts what follows.
_DETERMINERS = frozenset(("this", "each", "every", "per", "either", "any", "no", "one", "a", "an"))
_JOINS = frozenset(("and", "or", "und", "oder", "et", "ou", "y", "o", "e", "и", "&"))
_ARTICLES = frozenset(("the", "la", "le", "das", "der", "die", "el"))
_TOUCHES = frozenset("中里裡内內的上下和与與是有为為显顯示,.:;!?()[]。」「にでのはがをへとも、")
_ENGLISH = frozenset(("image", "picture", "photo", "frame", "img"))
_MEASURES = frozenset("张張只隻個个條条位名人头頭匹辆輛台件枚本册幅副种種개명마")


@lru_cache(maxsize=256)  # the same question is read in several ways
def names_in(text: str) -> tuple[Name, ...]:
    """Every name of an image in ``text``, in order. Never raises; the time is linear in the length."""
    plain = ascii_forms(text)
    low = plain.lower()
    if len(low) != len(plain):  # a letter whose lower case is two characters would move the places
        low = "".join(c.lower() if len(c.lower()) == 1 else c for c in plain)
    found: list[Name] = list(_files(plain)) if "." in plain else []
    taken = [(name.start, name.end) for name in found]
    end = 0
    for anchor in _compiled(_ANCHOR).finditer(low):
        start = anchor.start()
        if start >= end and not any(s <= start < e for s, e in taken):
            names = _read(plain, low, start)
            found += names
            end = max(end, *(name.end for name in names)) if names else end
    return tuple(sorted(found))


def _files(text: str) -> list[Name]:
    """File names of pictures; which image they are is for a caller who knows the files of the row."""
    found: list[Name] = []
    for match in _FILE.finditer(text):
        piece = text[max(0, match.start() - 200) : match.start()]
        start = match.start() - len(piece) + max(piece.rfind(c) for c in _FILE_ENDS) + 1
        if start < match.start():
            found.append(Name(start, match.end(), UNKNOWN, file=text[start : match.end()]))
    return found


def _read(text: str, low: str, start: int) -> list[Name]:
    """The names that begin at an anchor, or end in it ("the second image")."""
    touching = text[start] >= "\u3040"
    if not touching and start and text[start - 1] != " " and _IS_WORD.match(text, start - 1):
        return []
    noun = None if touching else _compiled(_NOUN).match(text, start)
    match = (
        _compiled(_TOUCHING).match(text, start) if touching else noun and _compiled(_AFTER_NOUN).match(text, noun.end())
    )
    if not match:
        return []
    kind = match.lastgroup or ""
    if kind == "keyed":
        start -= bool(start) and text[start - 1] in "\"'"
        return [Name(start, match.end(), capped(match["value"]), False, match.span("value"), keyed=True)]
    if noun is None:
        return _TOUCHING_READERS[kind](match, text)
    if kind == "many":
        spans = [(*d.span(), d[0]) for d in _DIGITS.finditer(text, start, match.end())]
        return [Name(s, e, capped(digits), False, (s, e)) for s, e, digits in spans]
    if kind == "letter":
        known = noun[0][0].isupper() and noun[0].lower() in _ENGLISH
        return [Name(start, match.end(), UNKNOWN)] if known else []
    return _counted(match, text, low, noun) if kind == "counted" else _bare(match, low, noun)


def _counted(match: re.Match[str], text: str, low: str, named: re.Match[str]) -> list[Name]:
    """``image 2``, ``Image-2``, ``photo no. 2``, ``image two``: the number, unless it belongs to what follows."""
    start, end, noun = named.start(), match.end(), named[0]
    number, cardinal, between = match["number"], match["cardinal"], match["between"]
    if noun.lower() in PLURALS:
        return []
    if match["tail"] or between in (" -", "--"):
        return [Name(start, end, UNKNOWN)]
    if not between.strip() and (between or cardinal):  # no dash, "#" or "no." makes it a name
        if _word_before(low, start)[0] in _DETERMINERS:
            return []
        word = _NEXT_WORD.match(text, end)
        certain = number and noun[0].isupper() and noun.lower() in _ENGLISH
        if word and not certain and word[1].lower() not in FOLLOWERS:
            return [] if cardinal else [Name(start, end, UNKNOWN)]
    if cardinal:
        return [Name(start, end, 1 + CARDINALS.index(cardinal.lower()), False, match.span("cardinal"))]
    return [Name(start, end, capped(number), False, match.span("number"))]


def _bare(match: re.Match[str], low: str, named: re.Match[str]) -> list[Name]:
    """``the second image``, ``the first and third images``: the ordinals before a noun."""
    start, end = named.start(), match.end()
    word, at = _word_before(low, start)
    if word not in ORDINALS and word not in LAST_WORDS and word.isascii() and word.isalpha():
        return []  # nearly always: "the image", "all images"
    plural = match["plural"] or named[0].lower() in PLURALS
    joint, joint_at = _word_before(low, at)
    if word in LAST_WORDS or word.startswith("последн"):
        counted = joint in ("to", "but") or ordinal(joint) > 0
        return [] if plural else [Name(at, end, UNKNOWN if counted else LAST, True)]
    number = ordinal(word, named[0].lower())
    if not number or joint in _DETERMINERS or joint == "last":
        return []
    found = [Name(at, end, UNKNOWN if _FROM_AN_END.match(low, end) else number, True)]
    while len(found) < 64:
        if joint in _ARTICLES:
            joint, joint_at = _word_before(low, joint_at)
        comma = joint.endswith(",")
        word, at = (joint, joint_at) if comma else _word_before(low, joint_at)
        number = ordinal(word.rstrip(","), "")
        if not (comma or joint in _JOINS) or not number:
            break
        found.insert(0, Name(at, at + len(word.rstrip(",")), number, True))
        joint, joint_at = _word_before(low, at)
    return [] if len(found) == 1 and plural else found


def _word_before(low: str, start: int) -> tuple[str, int]:
    """(the word that ends before ``start``, its start); blanks between are passed over."""
    piece = low[max(0, start - 26) : start]
    words = piece.replace("(", " ").replace("[", " ").replace('"', " ").replace("'", " ").split()
    if not words or not piece[-1].isspace() or piece[-3:].isspace():
        return "", start
    return words[-1], start - len(piece) + piece.rindex(words[-1])


def _chinese(match: re.Match[str], text: str) -> list[Name]:
    """第二张图; 第二张 without a noun if no other noun follows (第二张桌子 is a table)."""
    start, end = match.span()
    if text[max(0, start - 2) : start] in ("倒数", "倒數", "最后", "最後"):
        return [Name(start, end, UNKNOWN, True)]
    if match["cjkof"]:
        return [Name(start, end, numeral(match["th"]), True)]
    if match["measure"] not in tuple("张張幅枚帧幀"):
        return []
    return [Name(start, end, UNKNOWN if _continues(text[end : end + 1]) else numeral(match["th"]), True)]


def _continues(following: str) -> bool:
    return bool(following) and following not in _TOUCHES and bool(_IS_CJK.match(following))


def _japanese(match: re.Match[str], text: str) -> list[Name]:
    start, end = match.span()
    before = _NUMERAL_BEFORE.search(text, max(0, start - 8), start)
    if not before:
        return []
    number = UNKNOWN if text[: before.start()].endswith("から") else numeral(before[0].strip())
    if match["jpof"] or (match["counter"] == "枚目" and not text.startswith("の", end)):
        return [Name(before.start(), end, number, True)]
    return [Name(before.start(), end, UNKNOWN)] if match["counter"] == "枚目" else []


def _korean(match: re.Match[str], text: str) -> list[Name]:
    before = _KOREAN_BEFORE.search(text, max(0, match.start() - 10), match.start())
    if not before:
        return []
    return [Name(before.start(), match.end(), KOREAN_ORDINALS.get(before[1]) or capped(before[1]), True)]


def _after(match: re.Match[str], text: str) -> list[Name]:
    """图2, 图片2, 画像2, 이미지 2, 图二."""
    start, end = match.span()
    written, following = match["numeral"], text[match.end() : match.end() + 1]
    if start and text[start - 1] in NOT_AN_IMAGE:
        return []
    digits = written.isascii() and written.isdigit()
    if match["cjktail"] or (written.isascii() and not digits) or (following and following in _MEASURES):
        return [Name(start, end, UNKNOWN)]
    if not digits and _continues(following):  # 图片一共 is "the pictures altogether"
        return []
    return [Name(start, end, numeral(written), False, match.span("numeral"))]


_TOUCHING_READERS: dict[str, Callable[[re.Match[str], str], list[Name]]] = {
    "after": _after,
    "cjk": _chinese,
    "japanese": _japanese,
    "korean": _korean,
    "cjklast": lambda match, text: [Name(*match.span(), LAST, True)],
    "cjkfirst": lambda match, text: [Name(*match.span(), 1, True)],
}


def capped(digits: str) -> int:
    """The number of ASCII digits, at most :data:`IMAGE_CAP`."""
    return int(digits) if len(digits) <= 9 else IMAGE_CAP


def numeral(written: str) -> int:
    """The number of ASCII digits or of a Chinese numeral up to 99; else :data:`UNKNOWN`.

    >>> numeral("12"), numeral("十二"), numeral("二十"), numeral("二三")
    (12, 12, 20, -2)
    """
    if written.isascii():
        return capped(written)
    tens, ten, ones = written.rpartition("十")
    if (len(tens) > 1 or len(ones) > 1) or "十" in tens:
        return UNKNOWN
    high = (CJK_DIGITS.index(tens) + 1 if tens else 1) if ten else 0
    return 10 * high + (CJK_DIGITS.index(ones) + 1 if ones else 0)


def ordinal(word: str, noun: str = "") -> int:
    """The number of an ordinal in lower-case Latin or Cyrillic letters, or of digits with an ending; else 0.

    >>> ordinal("second"), ordinal("2nd"), ordinal("zweites"), ordinal("втором"), ordinal("2.", "bild"), ordinal("2")
    (2, 2, 2, 2, 2, 0)
    """
    if word in ORDINALS:
        return ORDINALS[word]
    if word.isascii() and not word[:1].isdigit():
        return 0
    digits = _DIGIT_ORDINAL.fullmatch(word)
    if digits:
        return int(digits[1])
    if noun and word[:-1].isdigit() and word.endswith(".") and noun.startswith(("bild", "foto")) and len(word) < 10:
        return int(word[:-1])
    stem = next((stem for stem in CYRILLIC_ORDINALS if word.startswith(stem)), None) if word > "а" else None
    return CYRILLIC_ORDINALS[stem] if stem and len(word) - len(stem) < 5 else 0


# --- keys and values of JSON objects ----------------------------------------------------------------------------------

_KEY_NOUNS = "image|img|picture|pic|photo|frame|imagen|bild|图片|图像|图|圖|画像|이미지|изображение"
_KEY = re.compile(
    rf"(?:{_KEY_NOUNS})(?:id|idx|index|number|num|no|nr|name|path|file|filename|ref)?|(?:file|filename)", re.IGNORECASE
)
_LOOKS_LIKE_ONE = re.compile(rf"(?:{_KEY_NOUNS})|.*(?:image|img|picture|photo)", re.IGNORECASE)
_ABOUT_AN_IMAGE = re.compile(
    r"(?:image|img|picture|photo|frame)?(?:width|height|w|h|size|sizes|shape|caption|description|type|format|url|quality|resolution)$",
    re.IGNORECASE,
)
_BOX_WORD = r"(?:bbox_2d|b?boxes|b?box|coordinates)"
_WITH_BOX = re.compile(rf"(?:{_BOX_WORD}[-_ ](?:in[-_ ]|of[-_ ])?)?(.{{3,30}}?)(?:[-_ ]{_BOX_WORD})?", re.IGNORECASE)


@lru_cache(maxsize=1024)
def folded(key: str) -> str:
    """A key without case, blanks, dashes and underscores: ``Image_Index`` is ``imageindex``."""
    return re.sub(r"[-_\s.#:]", "", ascii_forms(key)).lower()


@lru_cache(maxsize=1024)
def is_image_key(key: str) -> bool | None:
    """Whether a key of a JSON object says which image a box lies in; None if it looks like one and is not known."""
    plain = folded(key)
    if _KEY.fullmatch(plain):
        return True
    if _ABOUT_AN_IMAGE.fullmatch(plain) or not _LOOKS_LIKE_ONE.match(plain):
        return False
    return None


@lru_cache(maxsize=1024)
def image_in_key(key: str) -> str:
    """``key`` as a plain name if it names one image and says nothing but that it holds boxes: "image_1" of
    ``image_1_bbox``, ``bbox_image_1`` and ``boxes_in_image_1``, "first image" of ``first_image``. Else ``key``.
    """
    found = _WITH_BOX.fullmatch(key)
    bare = found[1] if found else key
    names = [name for name in (key, bare, bare.replace("_", " ")) if names_in(name)]
    return next((name for name in names if _name_of_text(name).number != UNKNOWN), key)


def name_of_value(value: object) -> Name | None:
    """The name in a JSON value: 2, 2.0, "2", "Image-2", "second", "图2", "b.png"; None for null.

    The name of a value that is not understood has the number :data:`UNKNOWN`.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return Name(0, 0, UNKNOWN)
    if isinstance(value, int | float):
        whole = 0 <= value <= IMAGE_CAP and value == int(value)
        return Name(0, 0, int(value) if whole else UNKNOWN)
    return _name_of_text(ascii_forms(value).strip()) if isinstance(value, str) else Name(0, 0, UNKNOWN)


def _name_of_text(text: str) -> Name:
    if text.isascii() and text.isdigit():
        return Name(0, 0, capped(text))
    number = ordinal(text.lower().removeprefix("the "))
    if number:
        return Name(0, 0, number, True)
    inner = text.strip("<>[]|() ")
    found = names_in(inner)
    if len(found) == 1 and found[0].end == len(inner) and not inner[: found[0].start].lower().strip(" the"):
        return found[0]
    return Name(0, 0, UNKNOWN, file=text if "." in text else "")
