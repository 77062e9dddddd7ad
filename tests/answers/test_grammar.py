"""What is read in an answer, before sizes and frames are known, and everything that is said about it."""

from __future__ import annotations

import json

import pytest

from mirg.answers.grammar import parse
from mirg.answers.json_style import MOST_LOOSE

FIELDS = ("failure", "noise", "unsafe", "tolerated", "doubtful")


@pytest.mark.parametrize(
    ("answer", "why", "boxes", "said"),
    [
        ('{"boxes": {}, "image": 2}', "an empty object is no set of boxes",
         "2: ", "noise tolerated: the key 'boxes' / unsafe: a box that is an object without its corners"),
        ('{"boxes": {"image_1": [1,2,3,4], "image_3": [5,6,7,8]}}', "boxes by image",
         "1: 1,2,3,4; 3: 5,6,7,8", "noise tolerated: the key 'boxes'"),
        ('{"boxes": {"image_1": [1,2,3,4], "left": [5,6,7,8]}}', "a key that names no image",
         "None: ", "noise tolerated: the key 'boxes' / unsafe: a box that is an object without its corners"),
        ('{"image": 2, "bbox": [1,2,3,4], "bbox_format": "xywh"}', "another form",
         "2: 1,2,3,4", "noise unsafe: the form 'xywh' of a box"),
        ('{"image": 2, "bbox": [1,2,3,4], "bbox_format": "xyxy", "type": "box"}', "the usual form",
         "2: 1,2,3,4", ""),
        ('{"image": 2, "box_2d": [1,2,3,4]}', "y first", "2: 1,2,3,4 yx", "noise tolerated: the key 'box2d'"),
        ('{"image": 2, "bbox": [1,2,3,4], "box_2d": [2,1,4,3]}', "the same box in both orders", "2: 1,2,3,4", ""),
        ('{"image": 2, "box_2d": [2,1,4,3], "xyxy": [1,2,3,4]}', "the same, y first in front",
         "2: 2,1,4,3 yx", "noise tolerated: the key 'box2d'"),
        ('{"image": 2, "bbox": [1,2,3,4], "xyxy": [1,2,3,5]}', "two boxes that differ",
         "2: ", "noise unsafe: a JSON object with two boxes that differ"),
        ('{"image": 2, "box_2d": [1,"a",3,4]}', "y first, and not four numbers",
         "2: 1,3,4 yx", "noise tolerated: the key 'box2d' / unsafe: a box of 3 numbers"),
        ('Sure: {"image": 2, "bbox": [1,2,3,4]}  ok ', "text before and behind",
         "2: 1,2,3,4", "noise: text before the JSON / around: Sure: … ok"),
        ('```json\n {"image": 2, "bbox": [1,2,3,4]} \n``` ', "a fence is no text", "2: 1,2,3,4", ""),
        ('{"objects": [{"image": 2, "bbox": [1,2,3,4], "label": "red ring"}]}', "objects under a key",
         "2: 1,2,3,4 red ring", "noise tolerated: the key 'objects'"),
        ('{"1": 5, "2": [7]}', "numbers as keys",
         "", "failure noise unsafe: numbers as keys, of images or of objects"),
        ('{"1": 5, "size": 2}', "one number as a key", "", "failure noise: a JSON object without a box"),
        ('{"images": [{"image": 2, "bbox": [1,2,3,4]}]}', "a list of objects is no name",
         "2: 1,2,3,4", "noise tolerated: the key 'images'"),
        ('{"images": [{"image": 2, "bbox": [1,2,3,4]}, 5]}', "with a value between",
         "0: 1,2,3,4", "noise unsafe: the key 'images' names an image in an unknown way / tolerated: the key 'images'"),
        ('{"images": [{"bbox": [1,2,3,4]}], "image": 2}', "a name behind a list of objects",
          "2: 1,2,3,4", "noise tolerated: the key 'images'"),
        ('{"image": " Image-2 ", "bbox": [1,2,3,4]}', "blanks around a usual value", "2: 1,2,3,4", ""),
        ('{"image": 2, "bbox": [1,2,3,4], "points": [{"x": 1, "y": 2}]}', "points say more of it", "2: 1,2,3,4",
          "noise tolerated: the key 'points'"),
        ("[]", "an empty list", "", ""),
        ("none", "the word", " in text", ""),
        ('{"image": "the second", "bbox": [1,2,3,4]}', "an ordinal as a value",
         "2: 1,2,3,4", "noise tolerated: the image 'the second' under 'image'"),
        ('{"image_index": "Image-2", "bbox": [1,2,3,4]}', "a usual key with a usual value", "2: 1,2,3,4", ""),
        ('{"img": 2, "bbox": [1,2,3,4]}', "an unusual key",
         "2: 1,2,3,4", "noise tolerated: the image '2.0' under 'img'"),
        ('{"image": "b.png", "image_id": 2, "bbox": [1,2,3,4]}', "a file beside a number", "2: 1,2,3,4 file b.png", ""),
        ('{"image": "b.png", "image_id": 2, "img": 3, "bbox": [1,2,3,4]}', "a file beside two numbers",
         "0: 1,2,3,4", "noise tolerated: the image '3.0' under 'img'"
          " / unsafe: a JSON object that names several images"),
        ('{"image": "b.png", "img": "a.png", "bbox": [1,2,3,4]}', "two files",
         "0: 1,2,3,4", "noise tolerated: the image 'a.png' under 'img'"
          " / unsafe: a JSON object that names several images"),
        ('{"image": "left", "bbox": [1,2,3,4]}', "a value that is no name and no file", "0: 1,2,3,4", ""),
        ('{"image": 2, "view": 3, "bbox": [1,2,3,4]}', "a doubtful key beside a name", "2: 1,2,3,4", ""),
        ('{"view": 3, "bbox": [1,2,3,4]}', "a doubtful key", "None: 1,2,3,4", "doubtful: view"),
        ('{"bbox": [1,2,3,4], "label": "mug in image 2"}', "a name in a label",
         "None: 1,2,3,4 mug in image 2", "doubtful: label"),
        ('{"image": 2, "bbox": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}}', "corners under a key",
         "2: 1,2,3,4", "noise tolerated: a box that is an object"),
        ('{"image": 2, "box_2d": {"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}}', "corners with names have no order",
         "2: 1,2,3,4", "noise tolerated: the key 'box2d'"),
        ('{"image": 2, "bbox": {"x1": 1, "y1": 2}}', "half the corners",
         "2: ", "noise tolerated: a box that is an object / unsafe: a box that is an object without its corners"),
        ('{"image": 2, "left": 1, "top": 2, "right": 3, "bottom": 4}', "corners of the object",
         "2: 1,2,3,4", "noise tolerated: the key 'corners'"),
        ('{"image": 2, "bbox": "1, 2, 3, 4"}', "a box in a text",
         "2: 1,2,3,4", "noise tolerated: a box that is a text"),
        ('{"image": 2, "bbox": "left half"}', "a text without numbers",
         "2: ", "noise tolerated: a box that is a text / unsafe: a box that is a text without four numbers"),
        ('{"image": 2, "bbox_xywh": [1,2,3,4]}', "a box of another form",
         "", "failure noise unsafe: the key 'bbox_xywh' holds a box in an unknown form"),
        ('{"image": 2, "bbox": [1,2,3,4], "polygon": [1,2,3,4,5,6]}', "a polygon beside a box says more of it",
         "2: 1,2,3,4", ""),
        ('{"image": 2, "bbox": [[1,2],[3,4]], "bbox": [1,2,3,4]}', "a key twice",
         "0: 1,2,3,4", "noise unsafe: a JSON object that has a key twice"),
        ('{"image_2": [1,2,3,4], "image_3": "none"}', "images as keys, one without a box",
         "2: 1,2,3,4", "noise tolerated: the key 'image_2'"),
        ('{"which image": 2, "bbox": [1,2,3,4]}', "a key that names an image in words",
         "0: 1,2,3,4", "noise unsafe: the key 'which image' names an image in an unknown way"),
        ('{"source_image": 2, "bbox": [1,2,3,4]}', "a key that names an image in an unknown way",
         "0: 1,2,3,4", "noise unsafe: the key 'source_image' names an image in an unknown way"),
        ('[{"image": 2, "bbox": [1,2,3,4]}, 5]', "a value between objects",
         "2: 1,2,3,4", "noise unsafe: a JSON value that is not an object"),
        ('[{"image": 2, "bbox": [1,2,3,4]}, {"label": "x", "points": [1, 2]}]', "an object whose place is no box",
         "2: 1,2,3,4", "noise unsafe: a JSON object without a box"),
        ('[[[{"image": 2, "bbox": [1,2,3,4]}]]]', "lists in lists", "2: 1,2,3,4", ""),
        ('{\'image\': 2, \'bbox\': [1,2,3,4,], note: "it\'s"}', "single quotes, a comma too many, a bare key",
         "2: 1,2,3,4", "noise tolerated: JSON that had to be repaired"),
        ("{'image': 2, 'bbox': [1,2,3,4], 'label': 'it\\'s'}", "an escaped quote in single quotes",
         "2: 1,2,3,4 it's", "noise tolerated: JSON that had to be repaired"),
        ('{"image": 2, "bbox": [1,2,3,4]}, {"image": 3, "bbox": [5,6,7,8]', "values side by side, the last cut off",
         "2: 1,2,3,4; 3: 5,6,7,8", "noise: the JSON is cut off / unsafe: the answer is cut off"),
        ('{"image": 2, "bbox": [1,2,3,4]} and {"image": 3, "bbox": [5,6,7,8]', "words between values, the last cut off",
         "2: 1,2,3,4", 'noise: text after the JSON / around:  … and {"image": 3, "bbox": [5,6,7,8]'),
        ("{“image”: 2, “bbox”: [1,2,3,4]} // the box", "curly quotes and a comment",
         "2: 1,2,3,4", "noise tolerated: JSON that had to be repaired / around:  … // the box"),
        ('{"image": 2, "bbox": [1,2,3,4], "label": “a "b" c”}', "quotes inside quotes",
         '2: 1,2,3,4 a "b" c', "noise tolerated: JSON that had to be repaired"),
        ('[{"image": 2, "bbox": [1,2,3,4]}, {"image": 3, "bbox": [5, 6', "cut off inside a box",
         "2: 1,2,3,4; 3: 5", "noise: the JSON is cut off / unsafe: the answer is cut off"),
        ('{"image": 2, "bbox": [1,2,3,4]}}', "a brace too many",
         "2: 1,2,3,4", "noise: text after the JSON / around:  … }"),
        ("mug (1,2),(3,4) in Image-1, pot (5,6),(7,8) in Image-2, cup (9,10),(11,12) in Image-3", "three names behind",
          "1: 1,2,3,4; 2: 5,6,7,8; 3: 9,10,11,12 in text", "noise: the text 'mug'"),
        ("It is in Image-2, NOT in Image-1: (1,2),(3,4)", "the nearer image is denied in capitals",
          "2: 1,2,3,4 in text", "noise: the text 'It'"),
        ("image: 2 and Image-3 {a mug (1,2),(3,4)}", "a key and a name outside of the braces",
          "None: 1,2,3,4 in text", "noise: the text 'image'"),
        ("{a mug (1,2),(3,4), image 2", "a name behind, and a brace that never closes",
          "None: 1,2,3,4 in text", "noise: the text '{'"),
        ("（1，2），（3，4）", "full-width signs", "None: 1,2,3,4 in text", "noise tolerated: full-width characters"),
        ("（Image-2）：（1，2），（3，4）", "full-width signs around a name",
         "2: 1,2,3,4 in text", "noise: a bracket that is not closed / tolerated: full-width characters"),
        ("Image-1: ((1,2) Image-2: (3,4),(5,6)", "a bracket that is open at the next name",
         "1: 1; 2: 3,4,5,6 in text", "noise: a box that is cut off / unsafe: the answer is cut off"),
        ("Image-1: (1,2,3 Image-2: (3,4),(5,6)", "a box that is open at the next name",
         "1: 1,2; 2: 3,4,5,6 in text", "noise: a box that is cut off / unsafe: the answer is cut off"),
        ("Image-1: (1,2),(3,", "cut off inside a box",
         "1: 1,2 in text", "noise: a box that is cut off / unsafe: the answer is cut off"),
        ("Image-1: (1,2),(3,4), (5,6)", "a box and half a box",
         "1: 1,2,3,4; 1: 5,6 in text", "noise: a box of 2 numbers"),
        ("1 2 3 4", "numbers without brackets",
         " in text", "failure: no box, and not exactly 'none': the number 1 outside brackets"),
        ("<ref>mug (1) [2]</ref> Image-2: [1,2,3,4] <ref>pot", "a label that never ends",
         "2: 1,2,3,4 in text", "noise: a label that never ends"),
        ("The mug (1,2),(3,4) in Image-2 and the pot (5,6),(7,8) in Image-3", "names behind their boxes",
         "2: 1,2,3,4; 3: 5,6,7,8 in text", "noise: the text 'The'"),
        ("In Image-2 the mug (1,2),(3,4) and the pot (5,6),(7,8)", "a name before two boxes",
         "2: 1,2,3,4; 2: 5,6,7,8 in text", "noise: the text 'In'"),
        ("mug (1,2),(3,4), (5,6),(7,8) in the second image", "a name behind a list",
         "2: 1,2,3,4; 2: 5,6,7,8 in text", "noise: the text 'mug'"),
        ("mug (1,2),(3,4) in Image-2 and (5,6),(7,8)", "a box behind a name that belongs to another",
         "2: 1,2,3,4; None: 5,6,7,8 in text", "noise: the text 'mug'"),
        ("(1,2),(3,4) and (5,6),(7,8) in the first and second image", "two boxes and two names",
         "None: 1,2,3,4; None: 5,6,7,8 in text", "noise: the text 'and'"),
        ("Image-1 shows a dog. In Image-2 the mug is at (1,2),(3,4).", "two names in two sentences",
         "None: 1,2,3,4 in text", "noise: the text 'shows'"),
        ("Image-1 and Image-2 show the mug (1,2),(3,4)", "two names for one box",
         "None: 1,2,3,4 in text", "noise: the text 'and'"),
        ("Image-1 and Image-2 show a dog; in Image-3: (1,2),(3,4)", "names of another clause",
         "3: 1,2,3,4 in text", "noise: the text 'and'"),
        ("NOT in Image-1, but in Image-2: (1,2),(3,4)", "a denied image",
         "2: 1,2,3,4 in text", "noise: the text 'NOT'"),
        ("In contrast to Image-1, unlike Image-3, it is (1,2),(3,4)", "all names denied or compared with",
         "None: 1,2,3,4 in text", "noise: the text 'In'"),
        ("as in Image-1, in Image-2 (1,2),(3,4)", "compared with an image",
         "2: 1,2,3,4 in text", "noise: the text 'as'"),
        ("the second image (Image-2): (1,2),(3,4)", "an ordinal and a number side by side",
         "2: 1,2,3,4 in text", "noise: the text 'the'"),
        ("the third image (Image-2): (1,2),(3,4)", "an ordinal and a number that differ by the count",
         "None: 1,2,3,4 in text", "noise: the text 'the'"),
        ("{the mug (1,2),(3,4), image 2} {a pot (5,6),(7,8), image 3}", "names inside braces",
         "2: 1,2,3,4; 3: 5,6,7,8 in text", "noise: the text '{'"),
        ("{a mug (1,2),(3,4)} in Image-3", "a name behind braces", "None: 1,2,3,4 in text", "noise: the text '{'"),
        ("{a mug (1,2),(3,4), image 2, image 3}", "two names inside braces",
         "None: 1,2,3,4 in text", "noise: the text '{'"),
        ("image: 2 {a mug (1,2),(3,4)} and {a pot (5,6),(7,8)}", "a key outside of the braces",
         "None: 1,2,3,4; None: 5,6,7,8 in text", "noise: the text 'image'"),
        ("{a mug (1,2),(3,4)", "a brace that never closes", "None: 1,2,3,4 in text", "noise: the text '{'"),
        ("第二张图中的杯子(1,2),(3,4)，图3中的锅(5,6),(7,8)", "Chinese names",
         "2: 1,2,3,4; 3: 5,6,7,8 in text", "noise: the text '第二张图中的杯子' / tolerated: full-width characters"),
        ("the last image has it at (1,2),(3,4)", "the last", "-1: 1,2,3,4 in text", "noise: the text 'the'"),
        ("b.png has it at (1,2),(3,4)", "a file", "0: 1,2,3,4 file b.png in text", "noise: the text 'b'"),
        ("see the mug (1,2),(3,4)", "no name at all", "None: 1,2,3,4 in text", "noise: the text 'see'"),
        ("{mug: (1,2),(3,4)} in Image-3", "braces like those of JSON",
         "", "failure noise unsafe: the JSON does not parse at character 1"),
        ("image 2 {a mug (1,2),(3,4)} with 5} image 3", "a brace that closes twice",
         "2: 1,2,3,4 in text", "noise: the text '{'"),
        ("{a mug (1,2),(3,4), image: 2}", "a key inside braces", "2: 1,2,3,4 in text", "noise: the text '{'"),
        ("[(1,2),(3,4)] unlike image 2, image 3", "a name behind that is denied",
         "None: 1,2,3,4 in text", "noise: the text 'unlike'"),
        ("It is not in the first image, it is in the third image (1,2),(3,4)", "a denied ordinal",
         "3: 1,2,3,4 in text", "noise: the text 'It'"),
        ("Image-1 has it (1,2),(3,4), like Image-2", "compared behind the box",
         "1: 1,2,3,4 in text", "noise: the text 'has'"),
        ("mug: image 1 (1,2),(3,4); image 2: (5,6),(7,8), image 3", "a name between boxes, and one left over",
         "1: 1,2,3,4; 2: 5,6,7,8 in text", "noise: the text 'mug'"),
        ("in Image-2 (1,2),(3,4) and in Image-3, Image-1", "names left over",
         "2: 1,2,3,4 in text", "noise: the text 'in'"),
        ("(1,2),(3,4) (Image-2), (5,6),(7,8) (Image-3)", "names in brackets behind their boxes",
         "2: 1,2,3,4; 3: 5,6,7,8 in text", "noise: a bracket that is not closed"),
        ("(1,2),(3,4) Image-2, (5,6),(7,8) Image-3", "names behind their boxes, without words",
         "None: 1,2,3,4; None: 5,6,7,8 in text", "noise: Image-3 is named without a box"),
        ("(1,2),(3,4)\nImage-2: (5,6),(7,8)", "a first box without a name", "None: 1,2,3,4; 2: 5,6,7,8 in text", ""),
        ("the box in image 2 [1,2,3,4], image 3 [5,6,7,8]", "alternating",
         "2: 1,2,3,4; 3: 5,6,7,8 in text", "noise: the text 'the'"),
        ('Found "image": 2, [1,2,3,4]', "a key in a sentence", "2: 1,2,3,4 in text", "noise: the text 'Found'"),
    ],
)  # fmt: skip
def test_all_that_is_read(answer: str, why: str, boxes: str, said: str) -> None:
    assert spelled(answer) == (boxes, said), why


def spelled(answer: str) -> tuple[str, str]:
    """The boxes with their images, and each sentence with the fields that hold it."""
    found = parse(answer)
    boxes = "; ".join(
        f"{box.image}: {','.join(f'{v:g}' for v in box.numbers)}{' yx' * bool(box.yx)}{box.label and f' {box.label}'}"
        f"{f' file {box.name.file}' if box.name and box.name.file else ''}"
        for box in found.boxes
    )
    said: dict[str, list[str]] = {}
    for field in FIELDS:
        if (sentence := getattr(found, field)) is not None:
            said.setdefault(sentence, []).append(field)
    if any(found.around):
        said[" … ".join(found.around)] = ["around"]
    sentences = " / ".join(f"{' '.join(fields)}: {sentence}" for sentence, fields in said.items())
    return f"{boxes}{'' if found.json else ' in text'}", sentences


BOX = '{"image": 2, "bbox": [1, 2, 3, 4]}'


@pytest.mark.parametrize(
    "answer",
    [
        f"[{'[],' * (MOST_LOOSE + 1)}{BOX}]",
        f"[{'[1],' * (MOST_LOOSE + 1)}{BOX}]",
        f"[{'{},' * (MOST_LOOSE + 1)}{BOX}]",
        '{"a": 1}' * (MOST_LOOSE + 1) + BOX,
        json.dumps([dict.fromkeys(map(str, range(MOST_LOOSE + 1)))])[:-1] + f", {BOX}]",
    ],
    ids=["empty lists", "lists of numbers", "empty objects", "objects side by side", "keys"],
)
def test_json_that_holds_few_boxes_comes_from_a_loop(answer: str) -> None:
    assert parse(answer).failure == f"more than {MOST_LOOSE} parts of the JSON that hold no box"
