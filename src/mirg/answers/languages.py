"""Words that name an image in the languages of the field: nouns, ordinals, numerals, and what may follow a number.

Data only; :mod:`mirg.answers.image_names` makes patterns of it. A language is added with its nouns and ordinals here.
"""

from __future__ import annotations

from mirg.answers import ordinals

# English, Spanish, French, German, Italian, Portuguese, Dutch, Indonesian; matched without regard to case.
LATIN_NOUNS = (
    *("image", "img", "picture", "pic", "photograph", "photo", "frame"),
    *("imagen", "fotografía", "foto", "bildes", "bilde", "bild", "immagine", "imagem", "afbeelding", "gambar"),
)
# Nouns of several images that are not made by an "s".
PLURALS = ("imágenes", "bildern", "bilder", "immagini", "imagens")
# Russian, in every case.
CYRILLIC_NOUNS = (r"изображени[еяию]м?", r"картинк(?:а|и|е|у|ой)", r"фото(?:графи[яиюей]{1,2})?", r"сним(?:ок|ка|ке)")
# Chinese and Japanese, then Korean. They touch the letters around them.
CJK_NOUNS = (
    *("图片", "图像", "圖片", "圖像", "照片", "相片", "画像", "写真", "画面", "图", "圖"),
    *("이미지", "사진", "그림"),
)
# A longer word that ends in 图 and is not a picture of the row: map, view, intention, attempt, plan, chart.
NOT_AN_IMAGE = "地视視意试試企蓝藍构構草绘繪制製"

# Stems of words for an image in languages of which the names are not read: Swedish, Danish, Finnish, Polish, Czech,
# Croatian, Hungarian, Romanian, Turkish, Vietnamese, Tagalog, Swahili, Malay, Azerbaijani.
OTHER_NOUNS = (
    *("bilden", "bildet", "bilderna", "billede", "kuva", "zdjęci", "zdjeci", "obraz", "obráz", "snímk", "snímek"),
    *("slici", "slika", "slike", "sliku", "kép", "képen", "fénykép", "imagini", "imaginea", "poza", "resim", "resmi"),
    *("görsel", "gorsel", "görüntü", "fotoğraf", "fotograf", "ảnh", "hình", "larawan", "picha", "imej", "şəkil"),
)
# Letters of the languages of which names are read: a text with others may say anything about its images.
LETTERS = "A-Za-zªµºÀ-ÖØ-öø-ÿŒœА-яЁё\u0300-\u036f\u1100-\u11ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"


def _numbered(*lines: str) -> dict[str, int]:
    """Every word of the first line is 1, of the second 2, and so on."""
    return {word: number for number, line in enumerate(lines, 1) for word in line.split()}


# The number of an ordinal, by its word in lower case.
ORDINALS = {word: number for number, word in enumerate(ordinals.WORDS, 1)} | _numbered(
    "primera primer première premier prima primeira erste ersten erster erstes erstem eerste",
    "segunda segundo deuxième seconde seconda zweite zweiten zweiter zweites zweitem tweede",
    "tercera tercer troisième terza terceira dritte dritten dritter drittes drittem derde",
    "cuarta cuarto quatrième quarta vierte vierten vierter viertes viertem vierde",
    "quinta quinto cinquième fünfte fünften fünfter fünftes fünftem vijfde",
    "sexta sexto sixième sesta sechste sechsten sechster sechstes sechstem zesde",
    "séptima septième settima sétima siebte siebten siebter siebtes siebtem zevende",
    "octava huitième ottava oitava achte achten achter achtes achtem achtste",
)
# Russian ordinals by their stem, since the ending agrees with the noun; Korean ones before 번째.
CYRILLIC_ORDINALS = _numbered("перв", "втор", "трет", "четверт четвёрт", "пят", "шест", "седьм", "восьм")
KOREAN_ORDINALS = _numbered("첫", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉", "열")
LAST_WORDS = ("last", "final", "última", "último", "dernière", "dernier", "letzte", "letzten", "letztes", "ultima")

CARDINALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
CJK_DIGITS = "一二三四五六七八九"

# What may follow "image 2" if the number belongs to the noun: "in image 2 the dog", but not "in image 2 dogs".
_FOLLOWERS = """
    a an the and or but nor of in on at to from with without within by for as than like is are was were be has have had
    do does did can could will would should may might must there it its this that these those which who whose where
    when while if so then also only not no i we you he she they find locate show shows showing shown contain contains
    containing depict depicts feature features featuring display displays include includes hold holds look looks
    appear appears match matches correspond corresponds correspondingly please here below above left right after
    before because since both between
    el la los las en con de del y o que es muestra contiene hay donde para por se un una
    le les dans avec et ou qui est montre où du des pour
    der die das den dem ein eine einen im mit und oder zeigt ist sind enthält wo von zu auf
    il lo gli che mostra contiene dove em com contém onde
    в на и или с из показан показана есть что где
"""
FOLLOWERS = frozenset(_FOLLOWERS.split())
