"""Reading which option an answer chooses, or which number it gives: total on any text, and never a guess.

Only the answer is read, never the thinking. The rules are tried in order, from nothing but a letter to a letter inside
a sentence; the first rule that finds something decides. If it finds several options, the answer is unreadable. The
published scripts differ: that of MuirBench, taken from MMMU, chooses an option at random if it finds none, and takes
the last one if it finds several.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from mirg.answers.blocks import split

CHOICE_READER = "mirg.choice/1"  # part of the key of stored rows: changes if some completion would be read differently

UNFINISHED = "the thinking never ends and no answer follows"
MOST_CHARACTERS = 20_000  # of an answer that are read, from its end: longer ones come from a loop

_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_NUMBER = re.compile(rf"(?<![\w.])-?\d+(?:\.\d+)?(?![\w%]|\.\d)|\b(?:{'|'.join(_WORDS)})\b", re.IGNORECASE)
_MARKUP = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|boxed)\b|[*`$\\{}\"“”]|(?<!\w)'|'(?!\w)")
# "The correct answer is: …", "Answer - …", "Final answer\n…"; "答案是" is Chinese for it.
_STATED = re.compile(
    r"(?:\b(?:answer|choice|option)\b|答案)[ \t]*(?:(?P<is>\b(?:is|would be|should be)\b|是|为)[ \t]*:?|:|=|-|\n)\s*"
    r"(?:(?:option|choice|letter)\b\s*)?",
    re.IGNORECASE,
)
_OR = re.compile(r"\s*(?:\bor\b|\band\b|\bto\b|[&/,–-])\s*", re.IGNORECASE)
# A capital letter that is a word; "A" and "I" before other words are not, except in "A is", "A or B", "A because".
_LONE_LETTER = re.compile(r"(?<![\w'])([B-HJ-Z]|[AI](?!\s+(?!(?:is|or|and|because|since|as)\b)[a-z]))(?![\w'])")
_VERB = re.compile(r"[)\].,:;]?\s+(?:is|are|was|were|does|do|can|cannot|would|seems|shows)\b")
_NEGATED = re.compile(
    r"\bnot\s+(?:(?:the\s+)?(?:option|choice)\s+)?(?:[(\[][A-Za-z][)\]]|[A-Z]\b)"
)  # "not (A)", "not A"
_IMAGE_NAME = re.compile(r"\bimages?[ -]?\d+", re.IGNORECASE)
_NAMED = re.compile(r"[(\[]([A-Za-z])[)\]]|\b(?:[Oo]ption|[Cc]hoice)\s+[(\[]?([A-Z])\b")  # "(B)", "option B"
_LETTER = re.compile(r"[a-z]").fullmatch
_NONE_OF_THEM = re.compile(r"none of the (?:choices|options|above)\b")


class ChoiceReading(NamedTuple):
    """``said`` is the letter or the number that was read, or None with the reason in ``failure``."""

    said: str | None
    failure: str | None
    thinking: str = ""


def read_choice(text: str, options: Mapping[str, str]) -> ChoiceReading:
    """The letter of the option that a completion chooses.

    ``options`` has the text of every option by its capital letter; a text may be empty if the option is an image. True
    or false is ``{"T": "True", "F": "False"}``. Read are a letter (``B``, ``(b)``, ``B.``, ``Answer: B``,
    ``\\boxed{B}``), and the text of an option.
    """
    texts = {letter: key for letter, option in options.items() if (key := _plain(option))}
    # A text that several options share, or that is itself a letter, says nothing that the letter does not say better.
    texts = {letter: key for letter, key in texts.items() if [*texts.values()].count(key) == 1 and not _LETTER(key)}
    rules: tuple[Callable[[str], Iterable[str]], ...] = (
        lambda said: _alone(said, options, texts),
        lambda said: _stated(said, options, texts),
        lambda said: _at_start(said, options, texts, article=True),
        lambda said: (letter for m in _NAMED.finditer(said) if (letter := (m[1] or m[2]).upper()) in options),
        lambda said: _mentioned(_plain(said), texts),
        lambda said: (m[1] for m in _LONE_LETTER.finditer(said) if m[1] in options),
    )
    return _read(text, rules, "option")


def read_number(text: str) -> ChoiceReading:
    """The number that a completion gives, in digits or as an English word up to twenty; ``said`` is in digits.

    A number that names an image ("in image 2") does not count.
    """
    rules: tuple[Callable[[str], Iterable[str]], ...] = (
        _stated_number,
        lambda said: map(_digits, _NUMBER.findall(said)),
    )
    return _read(_IMAGE_NAME.sub(" ", text), rules, "number")


def _read(text: str, rules: Iterable[Callable[[str], Iterable[str]]], what: str) -> ChoiceReading:
    blocks = split(text)
    if blocks.answer is None:
        return ChoiceReading(None, UNFINISHED, blocks.thinking)
    answer = unicodedata.normalize("NFKC", blocks.answer[-MOST_CHARACTERS:])
    boxed = answer.rfind("\\boxed{")
    if boxed >= 0:
        answer = answer[boxed:].partition("}")[0]
    said = _NEGATED.sub(" ", _MARKUP.sub(" ", answer)).strip()
    if not said:
        return ChoiceReading(None, "the answer is empty", blocks.thinking)
    for rule in rules:
        found = sorted(set(rule(said)))
        if len(found) == 1:
            return ChoiceReading(found[0], None, blocks.thinking)
        if found:
            return ChoiceReading(None, f"the answer names several {what}s: {', '.join(found)}", blocks.thinking)
    return ChoiceReading(None, f"the answer names no {what}", blocks.thinking)


def _alone(said: str, options: Mapping[str, str], texts: Mapping[str, str]) -> list[str]:
    """The answer is nothing but a letter, or nothing but the text of an option."""
    letter = said.strip(" \t\n()[].,:;!")
    if len(letter) == 1 and letter.upper() in options:
        return [letter.upper()]
    plain = _plain(said)
    return [letter for letter, text in texts.items() if text == plain]


def _statement(said: str) -> tuple[str, bool]:
    """What follows the last "the answer is", and whether it is the rest of a sentence; "" without a statement."""
    last = [*_STATED.finditer(said)][-1:]
    return (said[last[0].end() :], last[0]["is"] is not None) if last else ("", False)


def _stated(said: str, options: Mapping[str, str], texts: Mapping[str, str]) -> list[str]:
    rest, sentence = _statement(said)
    return _at_start(rest, options, texts, article=not sentence)


def _stated_number(said: str) -> list[str]:
    """The first number of a statement; both of "2 or 3"."""
    rest, _ = _statement(said)
    first = _NUMBER.search(rest)
    if first is None:
        return []
    more = _OR.match(rest, first.end())
    second = _NUMBER.match(rest, more.end()) if more else None
    return [_digits(match[0]) for match in (first, second) if match]


def _at_start(said: str, options: Mapping[str, str], texts: Mapping[str, str], *, article: bool) -> list[str]:
    """The option with which a text begins: its letter, then an end of word, or its text; both of "A or B".

    ``article``: an "A" or "I" before a word is taken for the English word.
    """
    plain = _plain(said[:2_000])
    named = sorted((letter for letter, text in texts.items() if _begins(plain, text)), key=lambda key: -len(texts[key]))
    if named:
        rest = plain[len(texts[named[0]]) :].removeprefix(" or ").removeprefix(" and ")
        return [named[0], *(letter for letter, text in texts.items() if letter != named[0] and _begins(rest, text))]
    match = re.match(r"[(\[]?(?P<letter>[A-Za-z])(?P<after>[)\].:,;]|\s|$)", said)
    if match is None or match["letter"].upper() not in options:
        return []
    if article and _VERB.match(said, match.end("letter")):
        return []  # "A is wrong, B is right"
    more = re.compile(rf"[)\].,;]?{_OR.pattern}[(\[]?([A-Z])\b").match(said, match.end("letter"))
    others = [more[1]] if more and more[1] in options else []
    bare = match["after"].isspace() or match["after"] in ("", ",")
    if bare and not others and (match["letter"].islower() or (article and not _LONE_LETTER.match(said))):
        return []
    return [match["letter"].upper(), *others]


def _mentioned(plain: str, texts: Mapping[str, str]) -> list[str]:
    """The options whose texts are in the answer and not negated; longer ones first: "two dogs" is not also "dogs"."""
    found = []
    left = f" {plain} "
    for letter, text in sorted(texts.items(), key=lambda item: -len(item[1])):
        left = left.replace(f" not {text} ", " | ")
        if f" {text} " in left:
            found.append(letter)
            left = left.replace(f" {text} ", " | ")
    return found


def _digits(number: str) -> str:
    """``3`` for ``3.0``, ``03`` and ``Three``."""
    if number.lower() in _WORDS:
        return str(_WORDS.index(number.lower()))
    whole, _, rest = number.lstrip("-").partition(".")
    rest = rest.rstrip("0")
    return ("-" if number.startswith("-") else "") + (whole.lstrip("0") or "0") + (f".{rest}" if rest else "")


def _begins(text: str, start: str) -> bool:
    return text == start or text.startswith(f"{start} ")


def _plain(text: str) -> str:
    """Words in lower case with single spaces between them; every way to say "none of the choices" is the same."""
    plain = " ".join(re.findall(r"\w+(?:[.'/]\w+)*|[<>=+-]", unicodedata.normalize("NFKC", text).casefold()))
    return _NONE_OF_THEM.sub("none of the choices", plain).replace(
        "none of the choices provided", "none of the choices"
    )
