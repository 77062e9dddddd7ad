"""Boxes of a written answer and the images they lie in, by the names that answer and question give to images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from mirg.answers.image_names import Name, ascii_forms
from mirg.answers.json_style import box_order
from mirg.answers.languages import LETTERS, OTHER_NOUNS
from mirg.answers.places import NEGATION, SENTENCE_END, UNCLEAR, Span, agree, images_of, key_before, unread_place
from mirg.data.importers.raw import FrameName, Numbers, RawBox, Text
from mirg.data.importers.rows import Refused
from mirg.data.importers.texts import BOX, REFERRED, VALUE, image_names, numbers_of, plain, referred, with_boxes
from mirg.frames import swapped

# --- phrases of questions, by their meaning ---------------------------------------------------------------------------


def _before(*phrases: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{'|'.join(phrases)})\s+(?:the\s+)?$", re.IGNORECASE)


_WORDS = r"(?:[^\s.?!,;:]{1,20}\s)"
_SHOWN = r"(?:shown|seen|marked|depicted|highlighted|displayed|circled|enclosed|outlined|indicated|boxed|given)"
# Something is to be found in the image.
_SOUGHT = _before(
    r"\b(?:locat\w+|find\w*|where|identify|recogni[sz]e|detect|point|mark|box|coordinates)\b.*\b(?:in|on|within|from)"
)
# Something is not there, or the image is another one that is described by this one.
_EXCLUDED = re.compile(
    _before(
        r"(?:\b(?:not|never|no longer|missing|absent)|n't)\s"
        r"(?:(?:visible|present|shown|seen|found|located|there|be|appear\w*|exist\w*)\s){0,2}(?:in|from|on|within)",
        r"\b(?:except|excluding|besides|without|unlike|ignor(?:e|ing|ed)|skip(?:ping|ped)?|other than|apart from|"
        r"instead of|based on|according to|not)(?:\s(?:for|in|of))?",
        r"\b(?:after|before|next to|following|preceding)",
        rf"\b(?:who|that|which)\s(?:appear(?:s|ed)?|occurs?|(?:is|are|was|were)\s{_SHOWN})\s(?:in|on)",
        r"(?:(?:^|[.?!,;\n]\s?)given|\b(?:based on|using|same as|similar to|identical to|matches|that match|"
        rf"matching the|like the|correspond(?:s|ing)? to|counterpart (?:of|to)))\s{_WORDS}{{0,6}}(?:in|on|of|from)",
    ).pattern
    + r"|(?:不在|不是|除了?|没在)\s?$",
    re.IGNORECASE,
)
# It is said which object is meant.
_OF = _before(rf"\b(?:of|from|{_SHOWN} (?:in|on|by)|like|as)")
_RELATIVE = _before(
    rf"\b(?:(?:who|that|which)\s(?:\w{{1,12}}\s){{1,3}}|{_SHOWN}\s(?:\w{{1,12}}\s){{0,6}})(?:in|on|from)"
)
_SHOWS = re.compile(
    r"\s{0,3}(?:shows|depicts|displays|contains|features|presents|zeigt|muestra|montre|显示|展示|是|里有|中有|的"
    r"|is (?:a|an|the|your|our) (?:\w{1,12} )?(?:reference|query|template|example|exemplar|prompt|crop|close-?up)\b)"
)
# What is asked about lies in the image, or the image heads the question ("Image-2: where is the mug?").
_PLACE_BEFORE = re.compile(
    r"(?:^|[\s(,'\"])(?:in|on|at|within|inside|across|search|scan|examine|inspect|analy[sz]e|"
    r"im|am|auf|en|dans|sur|em|na|no|nella|nello|sulla|sul|nel|op|di|pada|dalam|в|во|на)\s"
    r"(?:(?:the|der|dem|den|das|die|la|le|el|il|lo|de|het|o|a)\s)?(?:l['’])?[\"'(\[<*]{0,2}$|(?:nell|sull)['’]$|[在从從於]\s?$",
    re.IGNORECASE,
)
_PLACE_AFTER = re.compile(
    r"[\"'>\])*]{0,2}\s{0,2}[:\-–—|]|\s?(?:[中里裡内內上]|で|に|の中|の上|から|에서|에|속|안)|'s\b"
)
# Another image than the only one that is named: "Image-1 shows a mug. Find it in the other image."
_ANOTHER = re.compile(
    r"\b(?:other|another|remaining|different|next|previous|following|preceding|later|earlier|subsequent|"
    r"andere\w{0,2}|otra|autre|outra|altra) (?:\w{1,12} )?"
    r"(?:images?|pictures?|photos?|frames?|ones?|bild\w{0,2}|im[aá]gen?(?:es)?|fotos?|imagem|immagine)\b"
    r"|\bother of the|其他|其它|另[一外]|別の|다른",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(r"\b(?:also|else|elsewhere|again|too|counterparts?)\b|也|还|還|다시", re.IGNORECASE)
_UNLESS = re.compile(r"unless|otherwise|if not", re.IGNORECASE)
# Between two names: separate clauses, or a part that adds the second image to the first one.
_SEPARATE = re.compile(rf"[,;:]|{SENTENCE_END.pattern}|\b(?:and|or|then)\b", re.IGNORECASE)
_ADDS = re.compile(r"\s{0,3}(?:and|or|then|as well as)\b", re.IGNORECASE)

# --- phrases of answers -----------------------------------------------------------------------------------------------

_ABSENT = re.compile(rf"\bout of\b|{NEGATION.pattern}", re.IGNORECASE)
_NOUN = r"(?:images?|pictures?|photos?|frames?|pics?|shots?|panels?|views?)"
# Words of a language of which the names of images are not read.
_OTHER_LANGUAGE = re.compile(rf"[^\W\d_{LETTERS}]|\b(?:{'|'.join(OTHER_NOUNS)})", re.IGNORECASE)
# Beside a box without a name: a number in any script, or words for one of several images, for several, or for none.
_MAY_NAME = re.compile(
    r"\d|[①-⑳]|\b(?:latter|former|both|each|(?:first|second|third|fourth|fifth|last|left|right|other|next|previous|upper|lower|top|"
    rf"bottom|middle)(?:most|[- ]hand)?\s(?:one|of|{_NOUN})|"
    rf"(?:both|each|every|all|several|neither|either)\s(?:\w+\s){{0,2}}{_NOUN}|(?:not|no|none)\s(?:\w+\s){{0,3}}{_NOUN}|{_NOUN}\s(?-i:[IVX]{{2,4}}))\b|第|前者|后者|後者"
    r"|[左右上下前后後中][边邊侧側方]?的?[图圖张張]|[左右][侧側边邊]|[后後前上下另每各两兩几]一?[张張幅](?=[图圖照相画，。：:,、中里裡上都的\s(\[]|$)"
    rf"|其他|其它|另[一外]|别的图|{_OTHER_LANGUAGE.pattern}",
    re.IGNORECASE,
)
# [[], [[1, 2, 3, 4]], []]: what may be one list for each image.
_PER_IMAGE = re.compile(r"\[\s{0,8}\]|\[\s{0,8}\[\s{0,8}\[[^\[\],]{1,24},[^\[\],]{1,24},[^\[\],]{1,24},", re.ASCII)
# Places of PaliGemma and Florence, Kosmos-2, MiniGPT and Molmo, and numbers with their names.
_OTHER_PLACE = re.compile(r"<loc_?\d|<patch_index_\d|\{<\d|<points?\b|\b[xy]_?(?:1|min)?\W{1,4}-?\d", re.IGNORECASE)
_WRITE_NAMES = "write Image-N: in front of every box"

# --- the order of four numbers, if a text states it -------------------------------------------------------------------


def _sides(*sides: str) -> str:
    return r"\b" + r"\W{1,4}".join(sides) + r"\b"


_LOW, _HIGH = r"_?(?:1|0|min)", r"_?(?:2|1|max)"
_X_FIRST = re.compile(
    rf"{_sides('x' + _LOW, 'y' + _LOW, 'x' + _HIGH, 'y' + _HIGH)}|{_sides('left', 'top', 'right', 'bottom')}|\bxyxy\b",
    re.IGNORECASE,
)
_Y_FIRST = re.compile(
    rf"{_sides('y' + _LOW, 'x' + _LOW, 'y' + _HIGH, 'x' + _HIGH)}|{_sides('top', 'left', 'bottom', 'right')}|\byxyx\b",
    re.IGNORECASE,
)
_CENTRE, _END = r"(?:c|cent(?:er|re)[_ ])?", r"(?:_?(?:min|1|c|cent(?:er|re)))?"
_WITH_SIZES = re.compile(
    rf"\bc?x?_?c?ywh\b"
    rf"|{_sides(f'{_CENTRE}x{_END}', f'{_CENTRE}y{_END}', '(?:box[_ ])?w(?:idth)?', '(?:box[_ ])?h(?:eight)?')}"
    r"|\b(?:left\W{1,4}top|top\W{1,4}left|upper\W{1,4}left|cent(?:er|re))(?:\s(?:corner|point))?\W{1,4}"
    r"(?:(?:and|plus|with|then|followed|by|the|its|size|dimensions)\W{1,2}){0,5}"
    r"width\W{1,4}(?:and\W)?(?:the\s)?height\b|(?:左上角|中心).{0,8}宽.{0,3}高",
    re.IGNORECASE,
)


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


def _in_order(numbers: Numbers, key: str | None, stated: str) -> Numbers:
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


def boxes_of(
    answer: str,
    images: int,
    *,
    frame: FrameName | None = "relative_1000",
    pattern: re.Pattern[str] = BOX,
    stated: str = "",
) -> list[RawBox]:
    """The boxes of an answer, each with the name that goes with it ("Image-2: (…),(…)", "(…),(…) in the third image").

    The image of a box is 0 if the answer does not name it. ``stated``: the order of the coordinates as the texts state
    it (:func:`stated_order`). Refused if it names an image that is not there or has no box, unless it says that the
    object is not in it; if several images are named beside one box; and if it holds something like a box that was not
    read.
    """
    text = ascii_forms(answer)
    try:
        # Most answers of a file differ only in the numbers of their boxes, on which the images do not depend.
        places = _places(pattern.sub(lambda match: VALUE.sub("0", match[0]), text), images, pattern)
    except Refused:
        places = _places.__wrapped__(text, images, pattern)  # so that the reason quotes what is there
    labels = referred(answer)
    found = []
    for match, (number, key) in zip(pattern.finditer(text), places, strict=True):
        label = next((phrase for end, phrase in reversed(labels) if end <= match.start()), "") if labels else ""
        found.append(RawBox(number, _in_order(numbers_of(match), key, stated), label, frame))
    return found


@lru_cache(maxsize=1024)
def _places(text: str, images: int, pattern: re.Pattern[str]) -> tuple[tuple[int, str | None], ...]:
    """The image of every box of an answer, 0 if it is not named, and its key. Refused as :func:`boxes_of` says."""
    names = image_names(text, images)
    spans = [match.span() for match in pattern.finditer(text)]
    unread = unread_place(text, spans)
    if unread is None and not spans and (other := _OTHER_PLACE.search(text)):
        unread = text[other.start() : other.start() + 40]
    if unread is not None:
        raise Refused("answer", f"holds a box that was not understood: {unread!r}", "boxes are [x1, y1, x2, y2]")
    placed_by = _placed(text, spans, names, images)
    words = REFERRED.sub(" ", pattern.sub(" ", text))
    if None in placed_by and images > 1 and (_MAY_NAME.search(words) or _PER_IMAGE.search(text)):
        raise Refused("answer", "may name an image in a way that is not understood", _WRITE_NAMES)
    for k, name in enumerate(names):
        if not 1 <= name.number <= images:
            raise Refused("answer", f"Image-{name.number} does not exist, there are {images} images")
        end = names[k + 1].start if k + 1 < len(names) else len(text)
        if text.startswith(":", name.end) and name not in placed_by and not _ABSENT.search(text, name.end, end):
            raise Refused("answer", f"Image-{name.number} is named without a box")
    keys = (key_before(text, start) for start, _ in spans)
    return tuple((name.number if name else 0, key) for name, key in zip(placed_by, keys, strict=True))


def image_around(before: str, after: str, images: int) -> int:
    """The image that the text around a block of JSON names for it; 0 if it names none. Refused if several."""
    text = ascii_forms(f"{before} [] {after}")
    start = len(before) + 1
    (name,) = _placed(text, [(start, start + 2)], image_names(text, images), images)
    if name is None and images > 1 and _MAY_NAME.search(text):
        raise Refused("answer", "may name an image in a way that is not understood", _WRITE_NAMES)
    return name.number if name else 0


def _placed(text: str, spans: list[Span], names: Sequence[Name], images: int) -> list[Name | None]:
    """The name of every box. Refused if several are named beside one."""
    places = images_of(text, spans, names)
    if names and spans and not any(places):  # "(…),(…) shows it best in the second image"
        places = [names[0] if agree(names) else UNCLEAR] * len(spans)
    if images > 1 and any(place is UNCLEAR for place in places):
        raise Refused("answer", "names several images beside one box", _WRITE_NAMES)
    return [None if place is UNCLEAR else place for place in places]


def placed(found: list[RawBox], images: int, asked: int | None, label: str = "") -> tuple[RawBox, ...]:
    """The boxes in their images: the named one, else that of the question (``asked``), else the only image.

    Refused if there is no box, or if nothing says which image a box lies in.
    """
    if not found:
        raise Refused("answer", "holds no box", "only questions that ask for boxes can be used")
    if len({box.image == 0 for box in found}) > 1:
        raise Refused("answer", "some of its boxes have an image and some have none")
    default = asked or (1 if images == 1 else 0)
    if not found[0].image and not default:
        raise Refused("answer", f"does not say which of the {images} images it speaks of")
    boxes = tuple(box._replace(image=box.image or default, label=box.label or label) for box in found)
    if len(set(boxes)) < len(boxes):
        raise Refused("answer", "the same box occurs twice")
    return boxes


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
    if not names or (images > 1 and _OTHER_LANGUAGE.search(question)):
        return None  # it may name another image in words that are not understood
    several = len({name.number for name in names}) > 1
    roles: list[str] = []
    start = 0
    for name in names:
        roles.append(_role(question, start, name, several))
        start = start if roles[-1] == "of" else name.end
    if not several:
        clear = not _ANOTHER.search(question) and "excluded" not in roles
        asks = "sought" in roles or ("place" in roles and not _ELSEWHERE.search(question))
        return names[0].number if images == 1 or (clear and asks) else None
    place = next((name for name, role in zip(reversed(names), reversed(roles), strict=True) if role == "sought"), None)
    if place is None or _UNLESS.search(question):
        return None
    others = [(name, role) for name, role in zip(names, roles, strict=True) if name.number != place.number]
    return place.number if all(_only_refers(question, place, name, role) for name, role in others) else None


_Role = Literal["excluded", "sought", "of", "described", "place", ""]


def _role(question: str, start: int, name: Name, several: bool) -> _Role:
    """What a question does with an image, by the words around its name; those before it begin at ``start``.

    Something is to be found in it ("sought", "place"), or it says which object is meant ("of", "described").
    """
    before = question[max(0, name.start - 90) : name.start]
    if _EXCLUDED.search(before):
        return "excluded"
    described = bool(_RELATIVE.search(before)) and several  # "the mug that is in Image-1", if another one is named
    if not described and _SOUGHT.search(SENTENCE_END.split(question[start : name.start])[-1]):
        return "sought"
    if _OF.search(before):
        return "of"
    if described or _SHOWS.match(question, name.end):
        return "described"
    return "place" if _PLACE_BEFORE.search(before) or _PLACE_AFTER.match(question, name.end) else ""


def _only_refers(question: str, place: Name, name: Name, role: str) -> bool:
    """Whether a question that asks about ``place`` names another image only to say which object is meant.

    It is in another sentence or clause, or has that role. If something is to be found in it as well, this means the
    same only within one clause.
    """
    first, second = sorted((place, name))
    between = question[first.end : second.start]
    if role == "sought":
        return not _SEPARATE.search(between)
    pieces = re.split(r"[,;:]", between)
    apart = len(pieces) > 1 and not _ADDS.match(pieces[-1])
    return role in ("excluded", "of", "described") or bool(SENTENCE_END.search(between)) or apart


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
    forms = ascii_forms(plain(text))
    spans = [match.span() for match in pattern.finditer(forms)]
    if not spans:
        return (plain(text),)
    names = iter(images_of(forms, spans, image_names(forms, images)))

    def box(match: re.Match[str]) -> RawBox:
        name = next(names)
        if name is UNCLEAR and images > 1:
            raise Refused(field, "names several images beside one box", _WRITE_NAMES)
        number = name.number if name and name is not UNCLEAR else default or (1 if images == 1 else None)
        if number is None:
            raise Refused(field, f"does not say which of the {images} images a box lies in")
        if not 1 <= number <= images:
            raise Refused(field, f"Image-{number} does not exist, there are {images} images")
        numbers = _in_order(numbers_of(match), key_before(forms, match.start()), stated)
        return RawBox(number, numbers, frame=frame)

    return with_boxes(text, box, pattern)
