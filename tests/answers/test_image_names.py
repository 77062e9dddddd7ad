"""Every spelling of an image's name has one number, or is not understood, or is no name at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.answers.image_keys import is_image_key, name_of_value
from mirg.answers.image_names import LAST, UNKNOWN, ascii_forms, names_in


@pytest.mark.parametrize(
    ("text", "numbers", "why"),
    [
        ("请在Image-2中找到", [2], "a name may touch letters of a script without blanks"),
        ("my_image-2 and Imagery 2", [], "but not Latin letters"),
        ("İ im Image-2", [2], "a letter whose lower case is two characters"),
        ("图2和图片3", [2, 3], "Chinese"),
        ("第二张图，第2张图片，第十二张照片，第二十一张图", [2, 2, 12, 21], "Chinese ordinals"),
        ("第二张桌子", [UNKNOWN], "the measure word of a table, too"),
        ("图片一共有三张，地图2", [], "altogether; a map"),
        ("画像2と2枚目の画像", [2, 2], "Japanese"),
        ("이미지 2에서, 두 번째 이미지", [2, 2], "Korean"),
        ("la segunda imagen, imagen 3", [2, 3], "Spanish"),
        ("l'image 2, la deuxième image, la 3e image", [2, 2, 3], "French"),
        ("im zweiten Bild, Bild 3, das 2. Bild", [2, 3, 2], "German"),
        ("на втором изображении, изображение 3", [2, 3], "Russian"),
        ("Image－２：", [2], "full-width digits"),
        ("Image‑2", [2], "a hyphen that does not break"),
        ("<image 2>, [Image 3], <|image_1|>", [2, 3, 1], "tags"),
        ("image no. 2, photo #3, Picture number 4", [2, 3, 4], "with a word for the number"),
        ("images 1, 2 and 3", [1, 2, 3], "a list"),
        ("the first and third images", [1, 3], "a list of ordinals"),
        ("the first two images, every second image", [], "a count, a rhythm"),
        ('{"img_idx": "0", "image_id": 3}', [0, 3], "keys"),
        ("image: 0.5", [], "half an image is no name"),
        ("in the photo 2 dogs", [UNKNOWN], "the number may belong to the dogs"),
        ("in this photo 2 dogs", [], "the number belongs to the dogs"),
        ("image two-ish, Image-2.5, Image 1-3, Image B", [UNKNOWN] * 4, "seen and not understood"),
        ("Image II, Picture IV", [UNKNOWN] * 2, "Roman numerals"),
        ("image two", [2], "a cardinal"),
        ("the last image, 最后一张图", [LAST, LAST], "the last"),
        ("the second to last image, 倒数第二张图", [UNKNOWN, UNKNOWN], "counted from the end"),
        ("the second image from the right", [UNKNOWN], "counted from an edge"),
        ("b.png and photos/image_2.jpg", [UNKNOWN, UNKNOWN], "file names: only the importer knows them"),
    ],
)
def test_names(text: str, numbers: list[int], why: str) -> None:
    assert [name.number for name in names_in(text)] == numbers, why


@pytest.mark.parametrize(
    ("value", "number", "ordinal"),
    [
        (2, 2, False), (2.0, 2, False), ("2", 2, False), (" Image-2 ", 2, False), ("image 2", 2, False),
        ("second", 2, True), ("the second image", 2, True), ("2nd", 2, True), ("图2", 2, False), ("第二张", 2, True),
        ("<image 2>", 2, False), (True, UNKNOWN, False), ([2], UNKNOWN, False), (-1, UNKNOWN, False),
        (1.5, UNKNOWN, False), ("2 of 3", UNKNOWN, False), ("Image 2 (right)", UNKNOWN, False),
        ("b.png", UNKNOWN, False),
    ],
)  # fmt: skip
def test_values(value: object, number: int, ordinal: bool) -> None:
    name = name_of_value(value)
    assert name is not None and (name.number, name.ordinal) == (number, ordinal)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        *((key, True) for key in ("image", "image_id", "Image Index", "img-idx", "imageIndex", "图片", "frame")),
        *((key, None) for key in ("image_slot", "source_image", "in_image", "images_of")),
        *((key, False) for key in ("id", "label", "image_width", "image_size", "bbox_2d", "score")),
    ],
)
def test_keys(key: str, expected: bool | None) -> None:
    assert is_image_key(key) is expected


@given(st.text() | st.text(alphabet="imageIMAGE图第二张-_ #:=12ndthsofromlast。.（）"))
def test_any_text_has_names_in_order(text: str) -> None:
    names = names_in(text)
    assert all(0 <= name.start < name.end <= len(text) for name in names)
    assert [name.start for name in names] == sorted(name.start for name in names)
    assert len(ascii_forms(text)) == len(text)
