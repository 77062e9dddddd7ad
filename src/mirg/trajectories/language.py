"""The language of a chain by its most frequent words, which is enough to refuse one in another language."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

Language = Literal["en", "de"]
NAMES: dict[str, str] = {"en": "English", "de": "German"}

FEWEST_WORDS = 20  # of prose, below which nothing is said: terse chains have hardly any frequent word
FEWEST_LETTERS = 40
LEAST_EVIDENCE = 3  # words of another language
LEAST_SHARE = 0.08  # of frequent words in prose of the language asked for; usual is 0.3 to 0.5

_FREQUENT: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the of and to in a is that it was for on are as with they at be this have from or one had by but not "
        "what all were we when there an which their if do will each about how up out them then so some her would has "
        "look more see no could than other its only into over these both while shows holds contains where here i let "
        "me",
        "de": "der die das und in zu den ist nicht von mit dem des ein eine einer eines einem einen im auf für sich es "
        "auch als an am aus bei nach wie so oder aber wird werden sind war hat haben man nur noch über unter vor zum "
        "zur dass wenn ich wir sie er zeigt liegt sieht kein keine keinem keiner beide jedes alle also dort hier dann",
        "fr": "le la les de des du et un une dans est sont que qui pour pas sur avec ce cette ces il elle on au aux "
        "par plus ne se son sa ses ou mais comme tout toutes tous deux où ici voit dont nous je leur être",
        "es": "el la los las de del y en un una es son que por con para no se su sus al lo como más pero este esta "
        "estos estas todo todas todos muy ya o entre cuando hay donde yo está tiene sobre se",
        "it": "il lo la i gli le di del della dei delle e in un una è sono che per con non si su al alla da dal nel "
        "nella come più ma questo questa tutti tutte anche ed dove cosa ho ben",
        "nl": "de het een en van in is dat op te zijn met voor niet aan er om ook als dan maar bij of uit nog naar heb "
        "hebben ze je ik eerst wat zie deze dit geen alle goed",
        "pt": "o a os as de do da dos das e em um uma é são que por com para não se no na nos nas ao mais como mas "
        "este esta todas todos muito também onde eu está tem",
    }.items()
}
# Words that two languages share prove neither.
_OWN: dict[str, frozenset[str]] = {
    language: words - frozenset().union(*(w for other, w in _FREQUENT.items() if other != language))
    for language, words in _FREQUENT.items()
}
_OF_CHAINS = {
    *("image", "images", "target", "found", "box", "common", "odd", "most", "different"),
    *("nothing", "yes", "no", "none", "bild", "bilder"),
}
_WORD = re.compile(r"[^\W\d_]+")
_NOT_LATIN = re.compile("[\u0370-\u1cff\u2c00-\ua6ff\uac00-\ud7ff]")


def language_problem(prose: str, wanted: Language, known: Collection[str] = ()) -> str | None:
    """Why ``prose`` is not in the language ``wanted``, or None.

    ``known`` are words that any language may hold (labels). Nothing is said of fewer than 20 words of prose. Linear in
    the length.
    """
    every = _WORD.findall(prose.casefold())
    letters, foreign = sum(map(len, every)), len(_NOT_LATIN.findall(prose))
    if letters >= FEWEST_LETTERS and foreign > 0.3 * letters:
        return f"written in another script than {NAMES[wanted]}"
    if len(every) < FEWEST_WORDS:
        return None
    words = [word for word in every if word not in known and word not in _OF_CHAINS]
    counts = {language: sum(word in own for word in words) for language, own in _OWN.items()}
    most = max(sorted(counts), key=lambda language: counts[language])
    if counts[most] >= LEAST_EVIDENCE and counts[most] > counts[wanted]:
        name = NAMES.get(most, f"of another language ({most})")
        return f"{counts[most]} words are {name}, {counts[wanted]} are {NAMES[wanted]}"
    if len(words) < FEWEST_WORDS:
        return None
    share = sum(word in _FREQUENT[wanted] for word in words) / len(words)
    return None if share >= LEAST_SHARE else f"hardly a word is {NAMES[wanted]} ({share:.0%} of {len(words)})"
