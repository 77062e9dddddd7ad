"""Answers in every spelling that people report, with the truth that they were written from.

Nothing here uses the package's own writer or reader: a :class:`Truth` is drawn, then spelled by a template. A spelling
is (how images are named) x (structure) x (damage); each is written from 0 and from 1, and in every frame.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

Box = tuple[float, float, float, float]
Numbers = tuple[float, float, float, float]

# Names of files and sizes (width, height): none is square, no two are alike.
PICTURES = {
    "mug_7.png": (640, 480),
    "shelf.png": (800, 600),
    "hall/3.png": (480, 720),
    "yard.png": (1280, 720),
    "9_night.png": (300, 500),
}
FRAMES = ("relative_1000", "pixels", "fraction")


@dataclass(frozen=True)
class Truth:
    """Images of a row and the boxes to find: (image from 1, box in fractions)."""

    images: tuple[str, ...]
    targets: tuple[tuple[int, Box], ...]

    @property
    def image(self) -> int:
        """The image of the first target."""
        return self.targets[0][0]

    def step(self, frame: str, image: int) -> tuple[float, float]:
        """One quantisation step per axis, in fractions."""
        width, height = PICTURES[self.images[image - 1]]
        return {"relative_1000": (1e-3, 1e-3), "pixels": (1 / width, 1 / height), "fraction": (1e-4, 1e-4)}[frame]


class Row(NamedTuple):
    """A row to import; ``targets`` None: it is ambiguous and has to be refused."""

    spelling: str
    question: str
    answer: str
    truth: Truth
    refused: bool


def draw(rng: random.Random, *, one_image: bool = False) -> Truth:
    """A truth whose targets are in one image, mostly not the first."""
    count = 1 if one_image else rng.choice((2, 2, 3, 4, 5))
    images = tuple(rng.sample(sorted(PICTURES), count))
    image = 1 if one_image or rng.random() < 0.1 else rng.randint(2, count)
    boxes: set[Box] = set()
    for _ in range(rng.choice((1, 1, 2, 3))):
        x1, y1 = rng.uniform(0.02, 0.5), rng.uniform(0.02, 0.5)
        boxes.add((x1, y1, x1 + rng.uniform(0.1, 0.45), y1 + rng.uniform(0.1, 0.45)))
    return Truth(images, tuple((image, box) for box in sorted(boxes)))


def numbers(truth: Truth, frame: str) -> list[Numbers]:
    """The boxes of a truth as a file has them."""
    found: list[Numbers] = []
    for image, (x1, y1, x2, y2) in truth.targets:
        width, height = PICTURES[truth.images[image - 1]]
        if frame == "fraction":
            found.append((round(x1, 4), round(y1, 4), round(x2, 4), round(y2, 4)))
        else:
            w, h = (1000, 1000) if frame == "relative_1000" else (width, height)
            found.append((round(x1 * w), round(y1 * h), round(x2 * w), round(y2 * h)))
    return found


# --- names: (n from 1, what the file counts from) -> text. Ordinals take no notice of the second. --------------------

_EN = ("first", "second", "third", "fourth", "fifth")
_ES = ("primera", "segunda", "tercera", "cuarta", "quinta")
_FR = ("première", "deuxième", "troisième", "quatrième", "cinquième")
_DE = ("ersten", "zweiten", "dritten", "vierten", "fünften")
_RU = ("первом", "втором", "третьем", "четвёртом", "пятом")
_CARDINALS = ("one", "two", "three", "four", "five")
_KO = ("첫", "두", "세", "네", "다섯")
_ZH = "一二三四五"
_SUFFIX = ("1st", "2nd", "3rd", "4th", "5th")

Name = Callable[[int, int], str]


def _counted(template: str) -> Name:
    return lambda n, first: template.format(n - 1 + first)


def _wide(template: str) -> Name:
    return lambda n, first: template.format(chr(0xFF10 + n - 1 + first))


def _ranked(template: str, words: tuple[str, ...] | str) -> Name:
    return lambda n, first: template.format(words[n - 1])


NAMES: dict[str, Name] = {
    "Image-2": _counted("Image-{}"), "image 2": _counted("image {}"), "Image2": _counted("Image{}"),
    "Picture 2": _counted("Picture {}"), "photo 2": _counted("photo {}"), "Image #2": _counted("Image #{}"),
    "image no. 2": _counted("image no. {}"), "[Image 2]": _counted("[Image {}]"), "<image 2>": _counted("<image {}>"),
    "<img2>": _counted("<img{}>"), "IMAGE_2": _counted("IMAGE_{}"), "frame 2": _counted("frame {}"),
    "the second image": _ranked("the {} image", _EN), "the 2nd picture": _ranked("the {} picture", _SUFFIX),
    "image two": lambda n, first: f"image {_CARDINALS[n - 1]}" if first else f"Image-{n - 1}",
    "图2": _counted("图{}"), "图片2": _counted("图片{}"), "图像 2": _counted("图像 {}"),
    "第2张图": _ranked("第{}张图", "12345"),
    "第二张图片": _ranked("第{}张图片", _ZH), "第二幅图像": _ranked("第{}幅图像", _ZH), "圖2": _counted("圖{}"),
    "图２": _wide("图{}"), "Image－２": _wide("Image－{}"),
    "画像2": _counted("画像{}"),
    "2枚目の画像": _ranked("{}枚目の画像", "12345"), 
    "二枚目の画像": _ranked("{}枚目の画像", _ZH),
    "이미지 2": _counted("이미지 {}"), "두 번째 이미지": _ranked("{} 번째 이미지", _KO), "사진 2": _counted("사진 {}"),
    "imagen 2": _counted("imagen {}"), "la segunda imagen": _ranked("la {} imagen", _ES),
    "l'image 2": _counted("l'image {}"), "la deuxième image": _ranked("la {} image", _FR),
    "Bild 2": _counted("Bild {}"), "im zweiten Bild": _ranked("im {} Bild", _DE),
    "изображение 2": _counted("изображение {}"),
    "на втором изображении": _ranked("на {} изображении", _RU), "immagine 2": _counted("immagine {}"),
}  # fmt: skip

# How a name stands with its boxes: {name}, {boxes}.
TEXTS = {
    "name: boxes": "{name}: {boxes}",
    "name (wide colon)": "{name}：{boxes}",
    "sentence. boxes": "The mug is in {name}. {boxes}",
    "sentence with boxes": "The mug in {name} is at {boxes}.",
    "boxes in name": "{boxes} in {name}",
    "touching": "杯子在{name}中，位置为{boxes}。",
    "two lines": "Found it.\n\n{name}\n{boxes}\n",
    "after a reference": "It looks like the one in {other}, and {name} is where it is: {boxes}",
}

BOXES: dict[str, Callable[[Numbers], str]] = {
    "(,),(,)": lambda b: "({},{}),({},{})".format(*b),
    "[,,,]": lambda b: "[{}, {}, {}, {}]".format(*b),
    "[[,,,]]": lambda b: "[[{},{},{},{}]]".format(*b),
    "qwen": lambda b: "<|box_start|>({},{}),({},{})<|box_end|>".format(*b),
    "internvl": lambda b: "<box>[[{}, {}, {}, {}]]</box>".format(*b),
    "round": lambda b: "({}, {}, {}, {})".format(*b),
    "wide": lambda b: "（{}，{}），（{}，{}）".format(*b),
    "loose": lambda b: "[ {} , {} , {} , {} ]".format(*b),
}

# --- JSON -----------------------------------------------------------------------------------------------------------

IMAGE_KEYS = (
    "image",
    "image_id",
    "image_index",
    "img_idx",
    "imageIndex",
    "image_number",
    "img",
    "Image",
    "图片",
    "img-id",
)
VALUES: dict[str, Name | Callable[[int, int], Any]] = {
    "2": lambda n, first: n - 1 + first,
    '"2"': lambda n, first: str(n - 1 + first),
    '"Image-2"': _counted("Image-{}"),
    '"image 2"': _counted("image {}"),
    '"second"': _ranked("{}", _EN),
    '"图2"': _counted("图{}"),
    '"the second image"': _ranked("the {} image", _EN),
}
BOX_KEYS = ("bbox_2d", "bbox", "bbox_2D", "box", "coordinates", "bounding_box")
JSON_DAMAGE: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "plain": lambda rows: json.dumps(rows, ensure_ascii=False),
    "indented": lambda rows: json.dumps(rows, indent=2),
    "fence": lambda rows: f"```json\n{json.dumps(rows)}\n```",
    "prose and fence": lambda rows: f"Here it is, the mug stands on a shelf:\n```json\n{json.dumps(rows)}\n```\nDone.",
    "prose": lambda rows: f"The result: {json.dumps(rows)}",
    "trailing commas": lambda rows: json.dumps(rows).replace("]}", "],}").replace("}]", "},]"),
    "Python repr": lambda rows: repr(rows),
    "Python tuples": lambda rows: repr([{k: tuple(v) if type(v) is list else v for k, v in r.items()} for r in rows]),
    "JSON lines": lambda rows: "\n".join(json.dumps(row) for row in rows),
    "one object": lambda rows: json.dumps(rows[0]) if len(rows) == 1 else json.dumps(rows),
    "wrapped": lambda rows: json.dumps({"objects": rows}),
    "wrapped twice": lambda rows: json.dumps({"answer": {"detections": rows}, "count": len(rows)}),
    "nested lists": lambda rows: json.dumps([rows]),
    "nested box": lambda rows: json.dumps([{k: [v] if isinstance(v, list) else v for k, v in r.items()} for r in rows]),
    "keys without quotes": lambda rows: _unquoted(rows),
    "curly quotes": lambda rows: _curly(rows),
    "comments": lambda rows: json.dumps(rows, indent=1).replace("{\n", "{ // the mug\n"),
    "wide punctuation": lambda rows: json.dumps(rows, ensure_ascii=False).replace(", ", "，").replace(": ", "："),
}  # fmt: skip


def _unquoted(rows: list[dict[str, Any]]) -> str:
    parts = ["{" + ", ".join(f"{k}: {json.dumps(v)}" for k, v in row.items()) + "}" for row in rows]
    return f"[{', '.join(parts)}]"


def _curly(rows: list[dict[str, Any]]) -> str:
    pieces = json.dumps(rows, ensure_ascii=False).split('"')
    return "".join(piece if k == 0 else ("“", "”")[(k - 1) % 2] + piece for k, piece in enumerate(pieces))


ASKS = (
    "Where is the mug?",
    "{other} shows a mug. Find the same mug in the other pictures.",
    "The mug of {other} is also somewhere else. Give its box.",
    "请找出杯子。",
)


class Maker:
    """Rows of one file: what its images are counted from (``first``), and the frame of its boxes."""

    def __init__(self, rng: random.Random, first: int, frame: str) -> None:
        self.rng, self.first, self.frame = rng, first, frame

    def rows(self, count: int) -> list[Row]:
        """``count`` rows, which go through all spellings in order; about one in six has to be refused."""
        makers = [*self._texts(), *self._jsons(), *self._specials(), *self._ambiguous()]
        return [makers[k % len(makers)]() for k in range(count)]

    def _question(self, truth: Truth) -> str:
        other = self.rng.choice([k for k in range(1, len(truth.images) + 1) if k != truth.image] or [1])
        asked = self.rng.choice(ASKS).format(other=NAMES["Image-2"](other, self.first))
        return "<image>\n" * len(truth.images) + asked

    def _row(self, spelling: str, truth: Truth, answer: str, *, question: str = "", refused: bool = False) -> Row:
        return Row(spelling, question or self._question(truth), answer, truth, refused)

    def _texts(self) -> Iterator[Callable[[], Row]]:
        templates, boxes = list(TEXTS), list(BOXES)
        for k, name in enumerate(NAMES):
            for shift in range(4):
                template, box = templates[(k + 3 * shift) % len(templates)], boxes[(k // 3 + shift) % len(boxes)]
                yield partial(self._text, name, template, box)

    def _text(self, name: str, template: str, box: str) -> Row:
        truth = draw(self.rng)
        other = self.rng.choice([k for k in range(1, len(truth.images) + 1) if k != truth.image])
        boxes = ", ".join(BOXES[box](b) for b in numbers(truth, self.frame))
        answer = TEXTS[template].format(
            name=NAMES[name](truth.image, self.first), boxes=boxes, other=NAMES["Image-2"](other, self.first)
        )
        return self._row(f"{name} | {template} | {box}", truth, answer)

    def _jsons(self) -> Iterator[Callable[[], Row]]:
        values = list(VALUES)
        for k, damage in enumerate(JSON_DAMAGE):
            for shift in range(4):
                key = IMAGE_KEYS[(k + 3 * shift) % len(IMAGE_KEYS)]
                held = BOX_KEYS[(2 * k + shift) % len(BOX_KEYS)]
                value = values[(k + 2 * shift) % len(values)]
                yield partial(self._json, damage, key, held, value)

    def _objects(self, truth: Truth, key: str, held: str, value: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for b in numbers(truth, self.frame):
            parts = [(key, VALUES[value](truth.image, self.first)), (held, list(b)), ("label", "mug")]
            self.rng.shuffle(parts)
            rows.append(dict(parts))
        return rows

    def _json(self, damage: str, key: str, held: str, value: str) -> Row:
        truth = draw(self.rng)
        if (damage == "keys without quotes" and not key.isidentifier()) or (damage != "plain" and not key.isascii()):
            key = "image"
        answer = JSON_DAMAGE[damage](self._objects(truth, key, held, value))
        return self._row(f"JSON | {damage} | {key}={value} | {held}", truth, answer)

    def _specials(self) -> Iterator[Callable[[], Row]]:
        yield self._gemini
        yield self._gemini_stated
        yield self._file_name
        yield self._file_name_in_words
        yield self._image_keys
        yield self._lists_of_boxes
        yield self._corners
        yield self._one_image
        yield self._asked
        yield self._thinks
        yield self._many

    def _turned(self, truth: Truth) -> list[list[float]]:
        return [[b[1], b[0], b[3], b[2]] for b in numbers(truth, self.frame)]

    def _gemini(self) -> Row:
        truth = draw(self.rng)
        image = truth.image - 1 + self.first
        answer = json.dumps([{"box_2d": b, "label": "mug", "image": image} for b in self._turned(truth)])
        return self._row("Gemini's box_2d", truth, f"```json\n{answer}\n```")

    def _gemini_stated(self) -> Row:
        truth = draw(self.rng)
        question = self._question(truth) + " Answer with [ymin, xmin, ymax, xmax]."
        name = NAMES["Image-2"](truth.image, self.first)
        answer = "\n".join(f"{name}: {b}" for b in self._turned(truth))
        return self._row("the question states [ymin, xmin, ymax, xmax]", truth, answer, question=question)

    def _file_name(self) -> Row:
        truth = draw(self.rng)
        path = truth.images[truth.image - 1].rpartition("/")[2]
        rows = [{"image": path, "bbox_2d": list(b)} for b in numbers(truth, self.frame)]
        return self._row('JSON | "image": "b.png"', truth, json.dumps(rows))

    def _file_name_in_words(self) -> Row:
        truth = draw(self.rng)
        path = truth.images[truth.image - 1]
        boxes = ", ".join(map(BOXES["[,,,]"], numbers(truth, self.frame)))
        return self._row("b.png: boxes", truth, f"{path}: {boxes}")

    def _image_keys(self) -> Row:
        truth = draw(self.rng)
        boxes = [list(b) for b in numbers(truth, self.frame)]
        answer = {
            f"Image-{k - 1 + self.first}": boxes if k == truth.image else [] for k in range(1, len(truth.images) + 1)
        }
        return self._row('JSON | {"Image-2": [[...]]}', truth, json.dumps(answer))

    def _lists_of_boxes(self) -> Row:
        truth = draw(self.rng)
        boxes = [list(b) for b in numbers(truth, self.frame)]
        answer = {"image": truth.image - 1 + self.first, "bboxes": boxes, "labels": ["mug"] * len(boxes)}
        return self._row("JSON | bboxes", truth, json.dumps(answer))

    def _corners(self) -> Row:
        truth = draw(self.rng)
        image = truth.image - 1 + self.first
        rows = [
            {"image": image, **dict(zip(("x1", "y1", "x2", "y2"), b, strict=True))} for b in numbers(truth, self.frame)
        ]
        return self._row("JSON | x1, y1, x2, y2", truth, json.dumps(rows))

    def _one_image(self) -> Row:
        truth = draw(self.rng, one_image=True)
        spelled = BOXES[self.rng.choice(list(BOXES))]
        answer = " ".join(map(spelled, numbers(truth, self.frame)))
        return self._row("one image, no name", truth, answer, question="<image>\nWhere is the mug?")

    def _asked(self) -> Row:
        truth = draw(self.rng)
        name = NAMES["Image-2"](truth.image, self.first)
        question = "<image>\n" * len(truth.images) + f"Where is the mug in {name}?"
        answer = json.dumps([{"bbox_2d": list(b)} for b in numbers(truth, self.frame)])
        return self._row("the question names the image", truth, answer, question=question)

    def _thinks(self) -> Row:
        truth = draw(self.rng)
        name, b = NAMES["Image-2"](truth.image, self.first), numbers(truth, self.frame)
        boxes = "".join(f"{name}: {BOXES['(,),(,)'](one)}\n" for one in b)
        thinking = f"{name} shows the mug at {BOXES['[,,,]'](b[0])}."
        return self._row("thinking", truth, f"<think>{thinking}</think><answer>{boxes}</answer>")

    def _many(self) -> Row:
        truth = draw(self.rng)
        image, (x1, y1, x2, y2) = truth.targets[0]
        targets = tuple((image, (x1, y1 + k / 1000, x2, y2 + k / 1000)) for k in range(0, 40, 2))
        truth = Truth(truth.images, targets)
        return self._row("20 boxes", truth, json.dumps(self._objects(truth, "image", "bbox_2d", "2")) + "\n")

    # --- rows that have to be refused -----------------------------------------------------------------------------

    def _ambiguous(self) -> Iterator[Callable[[], Row]]:
        for spelling, make in AMBIGUOUS.items():
            yield partial(self._refused, spelling, make)

    def _refused(self, spelling: str, make: Callable[[Maker, Truth, Numbers], str]) -> Row:
        truth = draw(self.rng)
        answer = make(self, truth, numbers(truth, self.frame)[0])
        return self._row(f"ambiguous: {spelling}", truth, answer, refused=True)

    def named(self, n: int) -> str:
        """An image by the name that every file of this format has."""
        return NAMES["Image-2"](n, self.first)

    def value(self, n: int) -> int:
        """The number of an image as this file counts."""
        return n - 1 + self.first


def _dumps(maker: Maker, truth: Truth, **more: Any) -> str:
    return json.dumps([{"image": maker.value(truth.image), **more}])


AMBIGUOUS: dict[str, Callable[[Maker, Truth, Numbers], str]] = {
    "no image is named": lambda m, t, b: BOXES["(,),(,)"](b),
    "no image in the JSON": lambda m, t, b: json.dumps([{"bbox_2d": list(b)}]),
    "two images beside a box": lambda m, t, b: (
        f"Look at {m.named(2)} and then at {m.named(1)}, the mug is at {BOXES['[,,,]'](b)}."
    ),
    "an image that is denied": lambda m, t, b: f"It is not in {m.named(2)}. {BOXES['[,,,]'](b)}",
    "an image that is compared with": lambda m, t, b: f"It looks like the one in {m.named(2)}: {BOXES['[,,,]'](b)}",
    "two images, one of them denied at the end": lambda m, t, b: (
        f"The mug is in {m.named(2)} and not in {m.named(1)}. {BOXES['[,,,]'](b)}"
    ),
    "the last but one": lambda m, t, b: f"the second to last image: {BOXES['[,,,]'](b)}",
    "from the right": lambda m, t, b: f"the second image from the right: {BOXES['[,,,]'](b)}",
    "倒数第二张": lambda m, t, b: f"倒数第二张图：{BOXES['[,,,]'](b)}",
    "a key that may number anything": lambda m, t, b: json.dumps([{"idx": m.value(2), "bbox_2d": list(b)}]),
    "two images in a list": lambda m, t, b: f"Images {m.value(1)} and {m.value(2)} show it: {BOXES['[,,,]'](b)}",
    "an unknown form of a name": lambda m, t, b: f"In image two-ish: {BOXES['[,,,]'](b)}",
    "a letter": lambda m, t, b: f"Image B: {BOXES['[,,,]'](b)}",
    "an unknown language": lambda m, t, b: f"Kuva 2: {BOXES['[,,,]'](b)}",
    "a range": lambda m, t, b: f"Image 1-2: {BOXES['[,,,]'](b)}",
    "a file of another row": lambda m, t, b: json.dumps([{"image": "elsewhere.png", "bbox_2d": list(b)}]),
    "a file of another row in words": lambda m, t, b: f"elsewhere.png: {BOXES['[,,,]'](b)}",
    "an unknown key of an image": lambda m, t, b: json.dumps([{"image_slot": 2, "bbox_2d": list(b)}]),
    "a number beyond the images": lambda m, t, b: f"Image-9: {BOXES['[,,,]'](b)}",
    "a number beyond the images in JSON": lambda m, t, b: json.dumps([{"image": 9, "bbox_2d": list(b)}]),
    "half a number": lambda m, t, b: json.dumps([{"image": 1.5, "bbox_2d": list(b)}]),
    "two keys that disagree": lambda m, t, b: _dumps(m, t, image_id=m.value(t.image % len(t.images) + 1), bbox=list(b)),
    "x, y, width, height by key": lambda m, t, b: _dumps(m, t, bbox_xywh=list(b)),
    "x, y, width, height by words": lambda m, t, b: f"{m.named(t.image)}: {BOXES['[,,,]'](b)} (x, y, width, height)",
    "x, y, width, height by format": lambda m, t, b: _dumps(m, t, bbox=list(b), bbox_format="xywh"),
    "a polygon": lambda m, t, b: _dumps(m, t, points=[[b[0], b[1]], [b[2], b[1]], [b[2], b[3]], [b[0], b[3]]]),
    "a centre": lambda m, t, b: _dumps(m, t, center=[b[0], b[1]], size=[b[2], b[3]]),
    "two boxes that differ": lambda m, t, b: _dumps(m, t, bbox=list(b), bbox_2d=[v / 2 for v in b]),
    "a key twice": lambda m, t, b: _dumps(m, t, bbox_2d=list(b)).replace('"image"', '"bbox_2d": [0, 0, 1, 1], "image"'),
    "three numbers": lambda m, t, b: _dumps(m, t, bbox_2d=list(b[:3])),
    "five numbers": lambda m, t, b: f"{m.named(t.image)}: [{b[0]}, {b[1]}, {b[2]}, {b[3]}, 0.5], {BOXES['[,,,]'](b)}",
    "cut in JSON": lambda m, t, b: (_dumps(m, t, bbox_2d=list(b))[:-1] + ", " + _dumps(m, t, bbox_2d=list(b))[1:])[:-9],
    "cut in a text": lambda m, t, b: f"{m.named(t.image)}: {BOXES['(,),(,)'](b)}\n{m.named(t.image)}: ({b[0]},{b[1]}",
    "JSON that is broken": lambda m, t, b: _dumps(m, t, bbox_2d=list(b)).replace('"bbox_2d": [', '"bbox_2d": ]['),
    "an order that contradicts the key": lambda m, t, b: _dumps(m, t, bbox_2d=list(b)) + " as [y1, x1, y2, x2]",
    "a number and an ordinal": lambda m, t, b: f"The first image ({m.named(2)}): {BOXES['[,,,]'](b)}",
}  # fmt: skip
