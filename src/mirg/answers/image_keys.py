"""Names of images in JSON objects: which keys say where a box lies, and what their values mean."""

from __future__ import annotations

import re
from functools import lru_cache

from mirg.answers.image_names import IMAGE_CAP, UNKNOWN, Name, ascii_forms, capped, names_in, ordinal

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
_BARE = re.compile(r"[0-9]{1,20}|<\|?(?:image|img)[-_ ]?[0-9]{1,20}\|?>|[A-Za-z]+", re.ASCII)


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
