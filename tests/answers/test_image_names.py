"""Every spelling of an image's name has one number, or is not understood, or is no name at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.answers.image_names import LAST, UNKNOWN, Name, ascii_forms, is_image_key, name_of_value, names_in


@pytest.mark.parametrize(
    ("text", "why", "names"),
    [
        ("请在Image-2中找到", "a name may touch letters of a script without blanks", "Image-2=2"),
        ("my_image-2 and Imagery 2", "but not Latin letters", ""),
        ("İ im Image-2", "a letter whose lower case is two characters", "Image-2=2"),
        ("图2图3", "names that touch", "图2=2 | 图3=3"),
        ("图2和图片3", "Chinese", "图2=2 | 图片3=3"),
        ("第二张图，第2张图片，第十二张照片，第二十一张图", "Chinese ordinals",
         "第二张图=2o | 第2张图片=2o | 第十二张照片=12o | 第二十一张图=21o"),
        ("第二张桌子", "the measure word of a table, too", "第二张=?o"),
        ("图片一共有三张，地图2", "altogether; a map", ""),
        ("画像2と2枚目の画像", "Japanese", "画像2=2 | 2枚目の画像=2o"),
        ("이미지 2에서, 두 번째 이미지", "Korean", "이미지 2=2 | 두 번째 이미지=2o"),
        ("la segunda imagen, imagen 3", "Spanish", "segunda imagen=2o | imagen 3=3"),
        ("l'image 2, la deuxième image, la 3e image", "French", "image 2=2 | deuxième image=2o | 3e image=3o"),
        ("im zweiten Bild, Bild 3, das 2. Bild", "German", "zweiten Bild=2o | Bild 3=3 | 2. Bild=2o"),
        ("на втором изображении, изображение 3", "Russian", "втором изображении=2o | изображение 3=3"),
        ("Image－２：", "full-width digits", "Image－２=2@２"),
        ("Image‑2", "a hyphen that does not break", "Image‑2=2"),
        ("<image 2>, [Image 3], <|image_1|>", "tags", "image 2=2 | Image 3=3 | image_1=1"),
        ("image no. 2, photo #3, Picture number 4", "with a word for the number",
         "image no. 2=2 | photo #3=3 | Picture number 4=4"),
        ("images 1, 2 and 3", "a list", "1=1 | 2=2 | 3=3"),
        ("the first and third images", "a list of ordinals", "first=1o | third images=3o"),
        ("the first two images, every second image", "a count, a rhythm", ""),
        ('{"img_idx": "0", "image_id": 3}', "keys", '"img_idx": "0"=0k | "image_id": 3=3k'),
        ("image: 0.5", "half an image is no name", ""),
        ("in the photo 2 dogs", "the number may belong to the dogs", "photo 2=?"),
        ("in this photo 2 dogs", "the number belongs to the dogs", ""),
        ("image two-ish, Image-2.5, Image 1-3, Image B", "seen and not understood",
         "image two-i=? | Image-2.5=? | Image 1-3=? | Image B=?"),
        ("Image II, Picture IV", "Roman numerals", "Image II=? | Picture IV=?"),
        ("image two", "a cardinal", "image two=2@two"),
        ("the last image, 最后一张图", "the last", "last image=lasto | 最后一张图=lasto"),
        ("the second to last image, 倒数第二张图", "counted from the end", "last image=?o | 第二张图=?o"),
        ("the second image from the right", "counted from an edge", "second image=?o"),
        ("b.png and photos/image_2.jpg", "file names: only the importer knows them",
         "b.png=?f | photos/image_2.jpg=?f"),
        ("see a.png, photos/image_2.jpg (图2.webp) and .png", "pictures' files, one in brackets, none without a name",
         "a.png=?f | photos/image_2.jpg=?f | 图2.webp=?f"),
        ("x.png in Image-2, image: 3 in y.JPG", "files and names in the order of the text",
         "x.png=?f | Image-2=2 | image: 3=3k | y.JPG=?f"),
        ("倒数第二张图，最后第2张", "counted from the end", "第二张图=?o | 第2张=?o"),
        ("二枚目の画, 二枚目, 左から2枚目", "a noun that is unknown; no noun; from the left",
         "二枚目=? | 二枚目=2o | 2枚目=?o"),
        ("3番目の画像, 3番目", "a counter that needs a noun", "3番目の画像=3o"),
        ("두 번째 이미지, 2번째 사진, 번째 이미지", "Korean ordinals; without a number",
         "두 번째 이미지=2o | 2번째 사진=2o"),
        ("마지막 이미지, 最初の画像, 最後の画像", "the last, the first",
         "마지막 이미지=lasto | 最初の画像=1o | 最後の画像=lasto"),
        ("2. Bild, 2. image, 12345678901. Bild", "a number with a full stop is an ordinal in German only",
         "2. Bild=2o"),
        ("the first, second, and the fourth images", "a list with commas and an article",
         "first=1o | second=2o | fourth images=4o"),
        ("the ninth, tenth picture", "a list without a conjunction", "ninth=9o | tenth picture=10o"),
        ("a second image, the last two images, no 2nd image", "no names: an article, a count", ""),
        ("the 2nd to last image, the second last image, the last but one image", "counted from the end, in three ways",
         "last image=?o | last image=?o"),
        ('image=4, \'image\': 5, "image 6": 7, image_index: [2, 3], image: 2, 3', "keys; no lists",
         "image=4=4k | 'image': 5=5k | image 6=6"),
        ("image_id: 12345678901234567890, Image-1234567890", "numbers that no sample has",
         "image_id: 12345678901234567890=999999999k@12345678901234567890 | Image-1234567890=999999999@1234567890"),
        ('图片: 2, "图": 3, 图－２，图2.5，图2x，图B，图二，图三位', "Chinese keys and numbers",
         '图片: 2=2k | "图": 3=3k | 图－２=2@２ | 图2.5=? | 图2x=? | 图B=? | 图二=2@二 | 图三=?'),
        ("image2dogs, image 2 dogs, Image 2 dogs, image 2 is, images 2, pictures one", "what follows a number",
         "image2d=? | image 2=? | Image 2=2 | image 2=2"),
        ("第[1]张图, 第2张、第3个, 第2帧", "measure words with and without a noun", "第2张=2o | 第2帧=2o"),
        ("image one dog, image one shows, picture no. two", "cardinals", "image one=1@one | picture no. two=2@two"),
        ("photo A, Photo A dog, Photo A. photos A", "letters count only after a capital", "Photo A=?"),
        ("Image 1, Image 2 or the third one", "a list of names", "1=1 | 2=2"),
        ("((the second) image, [third] photo", "a noun that is not next to its ordinal", ""),
        ("the third  image, third\timage, the\nthird image", "blanks",
         "third  image=3o | third\timage=3o | third image=3o"),
        ("последнем фото, последняя картинка, 2-я картинка, вторым снимок, второстепенном фото", "Russian forms",
         "последнем фото=lasto | последняя картинка=lasto | 2-я картинка=2o | вторым снимок=2o"),
        ("image -2, image -- 2, image - 2", "dashes", "image -2=?"),
        ("the 22nd image, the zweite foto, les deux images, 1re image, 1ère photo", "ordinals of digits",
         "22nd image=22o | zweite foto=2o | 1re image=1o | 1ère photo=1o"),
        ("extraordinarilylongwordthatisnoordinal image, abcdefghijklmnopqrstuvwxyz second image", "long words",
         "second image=2o"),
        ("images 1 and image 2, images 1; 2 & 3.5, images 4, 5.", "lists with the noun again",
         "1=1 | 2=2 | 1=1 | 2=2 | 4=4 | 5=5"),
        ("二十三枚目の写真、九十九枚目、二三枚目", "Chinese numerals in Japanese; one that is not understood",
         "二十三枚目の写真=23o | 九十九枚目=99o | 二三枚目=?o"),
        ("image_0, img3, frame_12, Frame 7, pic 4, foto 5, imagem 2, afbeelding 3, immagine 4, gambar 5", "nouns",
         "image_0=0 | img3=3 | frame_12=12 | 7=7 | 4=4 | 5=5 | 2=2 | 3=3 | 4=4 | 5=5"),
    ],
)  # fmt: skip
def test_names(text: str, why: str, names: str) -> None:
    assert " | ".join(spelled(name, text) for name in names_in(text)) == names, why


def spelled(name: Name, text: str) -> str:
    """``image two=2@two``: the number, o for an ordinal, k for the value of a key, f for a file, and where
    the number is if it is not written in digits.
    """
    written, digits = text[name.start : name.end], text[slice(*name.digits)]
    number = {LAST: "last", UNKNOWN: "?"}.get(name.number, str(name.number))
    flags = "o" * name.ordinal + "k" * name.keyed + "f" * (name.file == written)
    return f"{written}={number}{flags}" + (f"@{digits}" if digits not in ("", number) else "")


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
