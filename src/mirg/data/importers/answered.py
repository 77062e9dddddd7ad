"""Boxes of a written answer and the images they lie in, by the names that answer and question give to images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from mirg.answers.image_names import Name, ascii_forms
from mirg.answers.json_style import box_order
from mirg.answers.languages import LETTERS, OTHER_NOUNS
from mirg.answers.places import UNCLEAR, Span, agree, images_of, key_before, unread_place
from mirg.data.importers.frames import FrameName
from mirg.data.importers.raw import Numbers, RawBox, Text
from mirg.data.importers.rows import Refused
from mirg.data.importers.texts import BOX, LONGEST_KEPT, REFERRED, VALUE, image_names, numbers_of, plain, referred
from mirg.frames import swapped

_ABSENT = re.compile(r"\b(?:not|no|none|absent|out of)\b|没有|不", re.IGNORECASE)

_CLAUSE = re.compile(r"[.?!\n。？！]")
_LOCATES = re.compile(
    r"\b(?:locat\w+|find\w*|where|identify|recogni[sz]e|detect|point|mark|box|coordinates)\b.*"
    r"\b(?:in|on|within|from)\s+(?:the\s+)?$",
    re.IGNORECASE,
)
_OF = re.compile(
    r"\b(?:of|from|(?:shown|seen|marked|depicted|highlighted|given|boxed|circled) (?:in|on|by)|like|as)\s+(?:the\s+)?$",
    re.IGNORECASE,
)
# The image of the only name is not the one that is asked about: "Image-1 shows a mug. Find it in the other image."
_ANOTHER = re.compile(
    r"\b(?:other|another|remaining|different|next|previous|following|preceding|later|earlier|subsequent|"
    r"andere\w{0,2}|otra|autre|outra|altra) (?:\w{1,12} )?"
    r"(?:images?|pictures?|photos?|frames?|ones?|bild\w{0,2}|im[aá]gen?(?:es)?|fotos?|imagem|immagine)\b"
    r"|\bother of the|其他|其它|另[一外]|別の|다른",
    re.IGNORECASE,
)
# Around a name: what is asked about lies in its image, or the image heads the question ("Image-2: where is the mug?").
_PLACE_BEFORE = re.compile(
    r"(?:^|[\s(,'\"])(?:in|on|at|within|inside|across|of|from|search|scan|examine|inspect|analy[sz]e|"
    r"im|am|auf|en|dans|sur|em|na|no|nella|nello|sulla|sul|nel|op|di|pada|dalam|в|во|на)\s"
    r"(?:(?:the|der|dem|den|das|die|la|le|el|il|lo|de|het|o|a)\s)?(?:l['’])?[\"'(\[<*]{0,2}$|(?:nell|sull)['’]$|[在从從於]\s?$",
    re.IGNORECASE,
)
_PLACE_AFTER = re.compile(
    r"[\"'>\])*]{0,2}\s{0,2}[:\-–—|]|\s?(?:[中里裡内內上]|で|に|の中|の上|から|에서|에|속|안)|'s\b"
)
# Before a name: something is not there, or the image is another one that is described by this one.
_EXCLUDED = re.compile(
    r"(?:\b(?:not|never|no longer|missing|absent)|n't)\s"
    r"(?:(?:visible|present|shown|seen|found|located|there|be|appear\w*|exist\w*)\s){0,2}(?:in|from|on|within)\s(?:the\s)?$"
    r"|\b(?:except|excluding|besides|without|unlike|ignor(?:e|ing|ed)|skip(?:ping|ped)?|"
    r"other than|apart from|instead of|based on|according to|not)\s(?:for\s|in\s|of\s)?(?:the\s)?$"
    r"|\b(?:after|before|next to|following|preceding)\s(?:the\s)?$"
    r"|\b(?:who|that|which)\s(?:appear(?:s|ed)?|occurs?|(?:is|are|was|were)\s(?:shown|seen|depicted|displayed|marked))\s"
    r"(?:in|on)\s(?:the\s)?$"
    r"|(?:(?:^|[.?!,;\n]\s?)given\s|\b(?:based on|using|same as|similar to|identical to|matches|that match|"
    r"matching the|like the|correspond(?:s|ing)? to|counterpart (?:of|to))\s)(?:[^\s.?!,;:]{1,20}\s){0,6}"
    r"(?:in|on|of|from)\s(?:the\s)?$"
    r"|(?:不在|不是|除了?|没在)\s?$",
    re.IGNORECASE,
)
# Parts of words without which the two patterns for the words before a name find nothing.
_EXCLUDING_PARTS = """
    not n't never longer missing absent except exclud beside without unlike ignor skip than apart instead after before
    next following preceding who that which given based according using same similar identical match like correspond
    counterpart
"""
_EXCLUDING = _EXCLUDING_PARTS.split()
_DESCRIBING = ["who", "that", "which", "marked", "highlighted", "shown", "circled", "enclosed", "outlined", "indicated"]
# "the mug that is in Image-1" says which mug is meant, if another image is named as well.
_RELATIVE = re.compile(
    r"\b(?:(?:who|that|which)\s(?:\w{1,12}\s){1,3}|(?:marked|highlighted|shown|circled|enclosed|outlined|indicated)\s(?:\w{1,12}\s){0,6})"
    r"(?:in|on|from)\s(?:the\s)?$",
    re.IGNORECASE,
)
_UNLESS = ("unless", "otherwise", "if not")
_SEPARATE = re.compile(r"[.?!\n,;:。？！]|\b(?:and|or|then)\b", re.IGNORECASE)
_ADDS = re.compile(r"\s{0,3}(?:and|or|then|as well as)\b", re.IGNORECASE)
_ELSEWHERE = re.compile(r"\b(?:also|else|elsewhere|again|too|counterparts?)\b|也|还|還|다시", re.IGNORECASE)
_SHOWS = re.compile(
    r"\s{0,3}(?:shows|depicts|displays|contains|features|presents|zeigt|muestra|montre|显示|展示|是|里有|中有|的"
    r"|is (?:a|an|the|your|our) (?:\w{1,12} )?(?:reference|query|template|example|exemplar|prompt|crop|close-?up)\b)"
)
# The order of four numbers, if a text states it.
_Y_FIRST = re.compile(
    r"\by_?(?:1|0|min)\W{1,4}x_?(?:1|0|min)\W{1,4}y_?(?:2|1|max)\W{1,4}x_?(?:2|1|max)\b"
    r"|\btop\W{1,4}left\W{1,4}bottom\W{1,4}right\b|\byxyx\b",
    re.IGNORECASE,
)
_X_FIRST = re.compile(
    r"\bx_?(?:1|0|min)\W{1,4}y_?(?:1|0|min)\W{1,4}x_?(?:2|1|max)\W{1,4}y_?(?:2|1|max)\b"
    r"|\bleft\W{1,4}top\W{1,4}right\W{1,4}bottom\b|\bxyxy\b",
    re.IGNORECASE,
)
_WITH_SIZES = re.compile(
    r"\bc?x?_?c?ywh\b|\b(?:c|cent(?:er|re)[_ ])?x(?:_?(?:min|1|c|cent(?:er|re)))?\W{1,4}"
    r"(?:c|cent(?:er|re)[_ ])?y(?:_?(?:min|1|c|cent(?:er|re)))?\W{1,4}(?:box[_ ])?w(?:idth)?\W{1,4}"
    r"(?:box[_ ])?h(?:eight)?\b"
    r"|\b(?:left\W{1,4}top|top\W{1,4}left|upper\W{1,4}left|cent(?:er|re))(?:\s(?:corner|point))?\W{1,4}"
    r"(?:(?:and|plus|with|then|followed|by|the|its|size|dimensions)\W{1,2}){0,5}"
    r"width\W{1,4}(?:and\W)?(?:the\s)?height\b|(?:左上角|中心).{0,8}宽.{0,3}高",
    re.IGNORECASE,
)
# Places of PaliGemma and Florence, Kosmos-2, MiniGPT and Molmo, and numbers with their names.
_OTHER_PLACE = re.compile(r"<loc_?\d|<patch_index_\d|\{<\d|<points?\b|\b[xy]_?(?:1|min)?\W{1,4}-?\d", re.IGNORECASE)
_WRITE_NAMES = "write Image-N: in front of every box"
# [[], [[1, 2, 3, 4]], []]: what may be one list for each image.
_PER_IMAGE = re.compile(r"\[\s{0,8}\]|\[\s{0,8}\[\s{0,8}\[[^\[\],]{1,24},[^\[\],]{1,24},[^\[\],]{1,24},", re.ASCII)
_NOUN = r"(?:images?|pictures?|photos?|frames?|pics?|shots?|panels?|views?)"
# Words of a language of which the names of images are not read.
_OTHER_LANGUAGE = re.compile(rf"[^\W\d_{LETTERS}]|\b(?:{'|'.join(OTHER_NOUNS)})", re.IGNORECASE)
_ASCII_NOUNS = tuple(noun for noun in OTHER_NOUNS if noun.isascii())
# Beside a box without a name: a number in any script, or words for one of several images, for several, or for none.
_MAY_NAME = re.compile(
    r"\d|[①-⑳]|\b(?:latter|former|both|each|(?:first|second|third|fourth|fifth|last|left|right|other|next|previous|upper|lower|top|"
    rf"bottom|middle)(?:most|[- ]hand)?\s(?:one|of|{_NOUN})|"
    rf"(?:both|each|every|all|several|neither|either)\s(?:\w+\s){{0,2}}{_NOUN}|(?:not|no|none)\s(?:\w+\s){{0,3}}{_NOUN}|{_NOUN}\s(?-i:[IVX]{{2,4}}))\b|第|前者|后者|後者"
    r"|[左右上下前后後中][边邊侧側方]?的?[图圖张張]|[左右][侧側边邊]|[后後前上下另每各两兩几]一?[张張幅](?=[图圖照相画，。：:,、中里裡上都的\s(\[]|$)"
    rf"|其他|其它|另[一外]|别的图|{_OTHER_LANGUAGE.pattern}",
    re.IGNORECASE,
)


def in_another_language(text: str) -> bool:
    """Whether a text may name images in a language whose names are not read."""
    if text.isascii():  # every letter is read, so that only the nouns are left; a look at each costs a tenth
        low = text.lower()
        if not any(noun in low for noun in _ASCII_NOUNS):
            return False
    return bool(_OTHER_LANGUAGE.search(text))


def stated_order(text: str) -> str:
    """The order of the numbers of a box as ``text`` states it: "yx", "xy", or "" if it does not.

    Refused if it states a form with width and height, or two orders.
    """
    if _WITH_SIZES.search(text):
        raise Refused("answer", "has boxes that are stated to hold a width and a height", "write [x1, y1, x2, y2]")
    y_first, x_first = bool(_Y_FIRST.search(text)), bool(_X_FIRST.search(text))
    if y_first and x_first:
        raise Refused("answer", "is stated to have two orders of coordinates", "write [x1, y1, x2, y2]")
    return "yx" if y_first else "xy" if x_first else ""


def in_order(numbers: Numbers, key: str | None, stated: str) -> Numbers:
    """``numbers`` as [x1, y1, x2, y2], by the key before them and by the order that the texts state.

    Refused if the key is known for another form, or key and statement disagree.
    """
    order = box_order(key) if key else None
    if order is None:
        return swapped(numbers) if stated == "yx" else numbers
    if not order.known:
        raise Refused("answer", f"has a box in an unknown form under the key {key!r}", "write [x1, y1, x2, y2]")
    if stated == ("xy" if order.yx else "yx"):
        raise Refused("answer", f"has a box under {key!r}, whose order of coordinates is not the one that is stated")
    return swapped(numbers) if order.yx else numbers


class Found(NamedTuple):
    """A box of an answer; ``image`` as the answer names it, None if it names no image."""

    box: RawBox  # its image is 0
    image: int | None


def boxes_of(
    answer: str,
    images: int,
    *,
    frame: FrameName | None = "relative_1000",
    pattern: re.Pattern[str] = BOX,
    stated: str = "",
) -> list[Found]:
    """The boxes of an answer, each with the name that goes with it ("Image-2: (…),(…)", "(…),(…) in the third image").

    ``stated``: the order of the coordinates as the texts state it (:func:`stated_order`). Refused if it names an image
    that is not there or has no box, unless it says that the object is not in it; if several images are named beside
    one box; and if it holds something like a box that was not read.
    """
    text = ascii_forms(answer)
    matches = list(pattern.finditer(text))
    if not matches:
        _places(answer, images, pattern)
        return []
    # Most answers of a file differ only in their numbers, on which the images of the boxes do not depend.
    parts: list[str] = []
    end = 0
    for match in matches:
        parts += [answer[end : match.start()], VALUE.sub("0", match[0])]
        end = match.end()
    try:
        places = _places("".join([*parts, answer[end:]]), images, pattern)
    except Refused:
        places = _read_places(answer, images, pattern)  # so that the reason quotes what is there
    return [
        Found(RawBox(0, in_order(numbers_of(match), place.key, stated), place.label, frame), place.image)
        for match, place in zip(matches, places, strict=True)
    ]


class _Place(NamedTuple):
    """What the text around a box says of it: its image, its label, and the key whose value it is."""

    image: int | None
    label: str
    key: str | None


def _places(answer: str, images: int, pattern: re.Pattern[str]) -> tuple[_Place, ...]:
    kept = len(answer) <= LONGEST_KEPT
    return (_kept_places if kept else _read_places)(answer, images, pattern)


def _read_places(answer: str, images: int, pattern: re.Pattern[str]) -> tuple[_Place, ...]:
    """The place of every box of an answer. Refused as :func:`boxes_of` says."""
    text = ascii_forms(answer)
    names = image_names(text, images)
    labels = referred(answer)
    spans = [match.span() for match in pattern.finditer(text)]
    unread = unread_place(text, spans)
    if unread is None and not spans and (other := _OTHER_PLACE.search(text)):
        unread = text[other.start() : other.start() + 40]
    if unread is not None:
        raise Refused("answer", f"holds a box that was not understood: {unread!r}", "boxes are [x1, y1, x2, y2]")
    found: list[_Place] = []
    kept: set[int] = set()
    unnamed = False
    for (start, _), name in zip(spans, _placed(text, spans, names, images), strict=True):
        unnamed = unnamed or name is None
        if name is not None:
            kept.add(name.start)
        label = next((phrase for end, phrase in reversed(labels) if end <= start), "")
        found.append(_Place(name.number if name else None, label, key_before(text, start)))
    if unnamed and images > 1 and (_MAY_NAME.search(_without(text, spans)) or _PER_IMAGE.search(text)):
        raise Refused("answer", "may name an image in a way that is not understood", _WRITE_NAMES)
    _check_names(text, names, kept, images)
    return tuple(found)


_kept_places = lru_cache(maxsize=4096)(_read_places)


def image_around(before: str, after: str, images: int) -> int | None:
    """The image that the text around a block of JSON names for it; None if it names none. Refused if several."""
    text = ascii_forms(f"{before} [] {after}")
    start = len(before) + 1
    (name,) = _placed(text, [(start, start + 2)], image_names(text, images), images)
    if name is None and images > 1 and _MAY_NAME.search(text):
        raise Refused("answer", "may name an image in a way that is not understood", _WRITE_NAMES)
    return name.number if name else None


def _placed(text: str, spans: list[Span], names: Sequence[Name], images: int) -> list[Name | None]:
    """The name of every box. Refused if several are named beside one."""
    places = images_of(text, spans, names)
    if names and spans and not any(places):  # "(…),(…) shows it best in the second image"
        places = [names[0] if agree(names) else UNCLEAR] * len(spans)
    if images > 1 and any(place is UNCLEAR for place in places):
        raise Refused("answer", "names several images beside one box", _WRITE_NAMES)
    return [None if place is UNCLEAR else place for place in places]


def _without(text: str, spans: Sequence[Span]) -> str:
    """``text`` without its boxes and without the names of objects."""
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    rest = " ".join(text[end:start] for end, start in zip(ends, starts, strict=True))
    return REFERRED.sub(" ", rest)


def _check_names(answer: str, names: Sequence[Name], kept: set[int], images: int) -> None:
    for k, name in enumerate(names):
        if not 1 <= name.number <= images:
            raise Refused("answer", f"Image-{name.number} does not exist, there are {images} images")
        end = names[k + 1].start if k + 1 < len(names) else len(answer)
        keyed = answer[name.end : name.end + 1] == ":"
        if keyed and name.start not in kept and not _ABSENT.search(answer, name.end, end):
            raise Refused("answer", f"Image-{name.number} is named without a box")


def placed(found: list[Found], images: int, asked: int | None, label: str = "") -> tuple[RawBox, ...]:
    """The boxes in their images: the named one, else that of the question (``asked``), else the only image.

    Refused if there is no box, or if nothing says which image a box lies in.
    """
    if not found:
        raise Refused("answer", "holds no box", "only questions that ask for boxes can be used")
    if len({item.image is None for item in found}) > 1:
        raise Refused("answer", "some of its boxes have an image and some have none")
    default = asked or (1 if images == 1 else None)
    boxes = []
    for item in found:
        image = item.image or default
        if image is None:
            raise Refused("answer", f"does not say which of the {images} images it speaks of")
        boxes.append(item.box._replace(image=image, label=item.box.label or label))
    if len(set(boxes)) < len(boxes):
        raise Refused("answer", "the same box occurs twice")
    return tuple(boxes)


def named_in(question: str, images: int) -> tuple[Name, ...]:
    """Every image that a plain question names. Refused if it names one that is not there."""
    names = image_names(question, images)
    for name in names:
        if not 1 <= name.number <= images:
            raise Refused("question", f"Image-{name.number} does not exist, there are {images} images")
    return names


@lru_cache(maxsize=64)  # questions of one row are often the same
def asked_image(question: str, images: int) -> int | None:
    """The image that a plain question asks about; None if it names no image, or several in the same way.

    If it names several, it is the image in which something is to be found: "where is the dog of Image-1 in Image-2".
    The result is None for a question in a language whose names of images are not read. Refused if it names an image
    that does not exist.
    """
    names = named_in(question, images)
    if names and images > 1 and in_another_language(question):
        return None  # it may name another image in words that are not understood
    if len({name.number for name in names}) == 1:
        return names[0].number if images == 1 or _asks_about(question, names) else None
    starts = [0, *(name.end for name in names)]
    places = [
        name
        for name, start in zip(names, starts, strict=False)
        if _LOCATES.search(_CLAUSE.split(question[start : name.start])[-1])
        and not _excluded(question, name)
        and not _described(question, name)
    ]
    if not places:
        return _place_of_all(question, names)
    place = places[-1]  # "where does the mug in image 1 locate in image 2?"
    others = [name for name in names if name.number != place.number]
    low = question.lower()
    clear = not any(word in low for word in _UNLESS) and all(
        _only_refers(question, place, name, name in places) for name in others
    )
    return place.number if clear else None


def _only_refers(question: str, place: Name, name: Name, searched: bool) -> bool:
    """Whether a question that asks about ``place`` names another image only to say which object is meant.

    It is in another sentence or clause, or is what something is "of" or "shown in". ``searched``: something is to
    be found in it as well, which means the same only within one clause.
    """
    first, second = sorted((place, name))
    between = question[first.end : second.start]
    if searched:
        return not _SEPARATE.search(between)
    before = max(0, name.start - 40)
    if _excluded(question, name) or _OF.search(question, before, name.start):
        return True
    if _SHOWS.match(question, name.end) or _described(question, name):
        return True
    pieces = re.split(r"[,;:]", between)
    return bool(_CLAUSE.search(between)) or (len(pieces) > 1 and not _ADDS.match(pieces[-1]))


def _described(question: str, name: Name) -> bool:
    """Whether the words before a name only say which object is meant: "the mug that is in", "marked by a box in"."""
    before = question[max(0, name.start - 80) : name.start].lower()
    return any(part in before for part in _DESCRIBING) and bool(_RELATIVE.search(before))


def _excluded(question: str, name: Name) -> bool:
    """Whether the words before a name exclude its image; the pattern is tried if one of its words is there."""
    before = question[max(0, name.start - 90) : name.start].lower()
    may = not before.isascii() or any(part in before for part in _EXCLUDING)
    return may and bool(_EXCLUDED.search(before))


def _asks_about(question: str, names: Sequence[Name]) -> bool:
    """Whether a question asks about the only image it names, and does not just say what to look for elsewhere."""
    if _ANOTHER.search(question) or any(_excluded(question, name) for name in names):
        return False
    starts = [0, *(name.end for name in names)]
    if any(
        _LOCATES.search(_CLAUSE.split(question[start : name.start])[-1])
        for name, start in zip(names, starts, strict=False)
    ):
        return True
    shown = all(
        _SHOWS.match(question, name.end) or _OF.search(question, max(0, name.start - 40), name.start) for name in names
    )
    placed_in = any(
        _PLACE_BEFORE.search(question, max(0, name.start - 40), name.start) or _PLACE_AFTER.match(question, name.end)
        for name in names
    )
    return placed_in and not shown and not _ELSEWHERE.search(question)


def _place_of_all(question: str, names: Sequence[Name]) -> int | None:
    """The last name of a sentence if the others only say what to look for: "find the mug of Image-1 in Image-2"."""
    last = names[-1] if names else None
    if last is None:
        return None
    start = max((end.end() for end in _CLAUSE.finditer(question, 0, last.start)), default=0)
    others = [name for name in names[:-1] if name.start >= start]
    referred_to = all(_OF.search(question, max(0, name.start - 40), name.start) for name in others)
    clear = len(others) == len(names) - 1 and bool(others) and referred_to and not _excluded(question, last)
    return last.number if clear and _LOCATES.search(question[start : last.start]) else None


def is_hidden(question: str, images: int, targets: Sequence[RawBox]) -> bool:
    """Whether a plain question leaves open which images hold the answer: some do, and it does not name them."""
    named = {name.number for name in image_names(question, images)}
    holding = {box.image for box in targets}
    return images > 1 and not holding <= named and len(holding) < images


def marked_up(
    text: str,
    images: int,
    field: str,
    *,
    default: int | None = None,
    frame: FrameName | None = "relative_1000",
    pattern: re.Pattern[str] = BOX,
    stated: str = "",
) -> Text:
    """``text`` with its boxes, each in the image named with it, else in ``default`` or the only one.

    Refused if a box has no image, because its numbers would have no meaning.
    """
    clean = plain(text)
    fallback = default or (1 if images == 1 else None)
    forms = ascii_forms(clean)
    matches = list(pattern.finditer(forms))
    if not matches:
        return (clean,)
    spans = [match.span() for match in matches]
    parts: list[str | RawBox] = []
    end = 0
    for match, name in zip(matches, images_of(forms, spans, image_names(forms, images)), strict=True):
        number = fallback if name is None or name is UNCLEAR else name.number
        if name is UNCLEAR and images > 1:
            raise Refused(field, "names several images beside one box", _WRITE_NAMES)
        if number is None:
            raise Refused(field, f"does not say which of the {images} images a box lies in")
        if not 1 <= number <= images:
            raise Refused(field, f"Image-{number} does not exist, there are {images} images")
        numbers = in_order(numbers_of(match), key_before(forms, match.start()), stated)
        parts += [clean[end : match.start()], RawBox(number, numbers, frame=frame)]
        end = match.end()
    return (*parts, clean[end:])
