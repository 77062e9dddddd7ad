"""Where a chain concludes: for which image, and whether it does so before it has looked at any.

Matched on :func:`~mirg.trajectories.chain.image_words`. Gaps hold at most a few words of a short list, so the time is
linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mirg.trajectories.chain import THING, Sentence, image_words, mentioned

_ANSWER = r"(?:answer|solution|conclusion|result|choice|winner|antwort|lösung|ergebnis)"
_RIGHT = r"(?:correct|right|wanted|richtige) (?:image|picture|one|answer|place|choice|bild)"
_KEY = rf"(?:{_ANSWER}|{_RIGHT})"
_THING_SOUGHT = rf"(?:target|match|object|item|counterpart|odd one|one|image|picture|place|fit|it|{THING}|ziel|es)"
_SOUGHT = (
    r"(?:asked for|wanted|sought|we want|i want|we need|needed|to pick|to choose|in question|we are after|gesucht\w*)"
)
_SURELY = (
    r"(?:(?:clearly|obviously|definitely|surely|certainly|indeed|therefore|thus|hence|then|only|just|also|most likely"
    r"|undoubtedly|without doubt|klar|offensichtlich|also|daher) )"
)
_IS = (
    r"(?:is|are|was|must be|should be|would be|will be|has to be|can only be|lies|sits|appears|can be found|can be seen"
    r"|is found|is located|is visible|is shown|is seen|must lie|ist|liegt|muss|befindet sich)"
)
_IN = (
    r"(?:(?:clearly |found |located |visible |shown |to be found |obviously )?(?:in|inside|on|within|im|in dem|auf) )?"
)
_THE = r"(?:the |das |dem |that of )?"
_IMG = r"img(\d{1,9})\b(?! (?:or|nor|oder)\b)"
_CHOOSE = (
    r"(?:choose|pick|select|take|go with|go for|settle on|settle for|decide on|decide for|opt for|wähle|wählen|nehme)"
)
_RIGHT_ONE = rf"(?:(?:final |best |only )?(?:{_KEY}|(?:correct|right)(?=$| because| since| as| and)))"


def _compiled(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(map(re.compile, patterns))


# Of the answer: the answer is (that it is in) Image-2, answer: Image-2, Image-2 is the right one, I choose Image-2.
_OF_ANSWER = _compiled(
    rf"\b{_KEY} {_SURELY}?{_IS} {_SURELY}?(?:that )?(?:it {_IS} )?{_SURELY}?{_IN}{_THE}{_IMG}",
    rf"\b(?:answer|solution|choice|antwort|looking for|searching for) {_THE}{_IMG}",
    rf"\b{_IMG} it is\b",
    rf"^(?:so|thus|then|also) {_IMG}$",
    rf"\b{_IMG} {_SURELY}?{_IS} {_SURELY}?(?:the |our |my |das )?{_RIGHT_ONE}\b",
    rf"\b(?:i|we|ich|wir) {_SURELY}?(?:will )?{_CHOOSE} {_THE}{_IMG}",
    rf"\bmakes? {_THE}{_IMG} the (?:{_KEY}|one|target|match|only)\b",
)
# About the target, which a question may place itself: the target is in Image-2, Image-2 is the match.
_OF_TARGET = _compiled(
    rf"\b{_THING_SOUGHT} (?:out )?{_SOUGHT} {_SURELY}?{_IS} {_SURELY}?{_IN}{_THE}{_IMG}",
    rf"\b(?:target|match|counterpart|odd one(?: out)?|best fit|ziel) {_SURELY}?{_IS} {_SURELY}?{_IN}{_THE}{_IMG}",
    rf"\b{_IMG} {_SURELY}?{_IS} {_SURELY}?(?:the |our |das )?(?:target|match|odd one|{_THING_SOUGHT} {_SOUGHT})\b",
    rf"\b{_IMG} {_SURELY}?{_IS} {_SURELY}?(?:the |das )?(?:one|it)\b(?! (?:\w+))",
)
_WEAK = _compiled(
    rf"\b{_THING_SOUGHT} {_SURELY}?{_IS} {_SURELY}?{_IN}{_THE}{_IMG}",
    rf"\b{_IMG} {_SURELY}?(?:is where|ist da wo|has what|holds what|shows what|contains what|has the one)\b",
    rf"\b{_IMG} {_SURELY}?(?:holds|contains|has|shows|hat|enthält) (?:the |das |den |die )(?:{THING}"
    r"|target|object|answer|match)\b",
    r"\b(?:therefore|hence|thus|undoubtedly|without (?:a )?doubt|conclude|conclusion|it follows|consequently"
    r"|as a result|of course|needless to say|daher|folglich)\b",
)
_SPEAKS_OF_THE_ANSWER = re.compile(
    rf"\b(?:answer|conclusion|solution|antwort|lösung) {_IS}\b(?! (?:an?|one|some|not|ein|eine)\b)"
    r"|^(?:the |my |die )?(?:final answer|endgültige antwort)\b|^(?:answer|solution|antwort)\b"
)
_PLACES = re.compile(r"(?:target|ziel) (?:is|lies|sits|ist|liegt)\b")
_SUPPOSES = re.compile(r"\b(?:if|whether|unless|maybe|perhaps|could|might|suppose|assume|wenn|ob|falls|vielleicht)\b")
# A first sentence about an image that says what it shows; "found: ring Image-2" is a look-up's form.
_DESCRIBES = re.compile(
    r"\bimg\d{1,9} (?:\w{1,20} ){0,3}(?:shows?|contains?|depicts?|features?|displays?|presents?|holds?|has|have"
    r"|includes?|is an?|zeigt|enthält|hat|yes|no)\b"
    r"|^(?:\d{1,2} )?(?:the |das |im |in |in the |auf |on )?img\d{1,9}\b(?! (?:it is|is)\b)"
    r"|^(?:found|first|looking|starting|start|beginning|comparing|between|from|let|i look|i see|i start|i begin"
    r"|we see)\b"
    r"|\bimg\d{1,9} (?:there|we|i|one|you|the|a|an)\b"
)
_ABOUT_ITSELF = re.compile(r"^(?:first |now |so |ok |okay |zuerst )?(?:i|we|let|ich|wir)\b")


@dataclass(frozen=True)
class Conclusion:
    """The chain decides for image ``number``; ``words`` say how.

    ``certain`` is False for "the target is in Image-1", which also says where a question places it.
    """

    number: int
    words: str
    certain: bool


def conclusions(words: str) -> list[Conclusion]:
    """Every image that a sentence decides for, in plain words of the kind "the answer is img2"."""
    if "img" not in words or _SUPPOSES.search(words):
        return []
    return [
        Conclusion(int(found[1]), found[0], not _PLACES.match(found[0]))
        for patterns in (_OF_ANSWER, _OF_TARGET)
        for pattern in patterns
        for found in pattern.finditer(words)
    ]


def conclusion_first(
    parts: Sequence[Sentence],
    things: re.Pattern[str] | None = None,
    named: Collection[int] = (),
    targets: Collection[int] = (),
) -> str | None:
    """The first sentence that concludes before any statement about the images was made, or None.

    ``things`` are the labels of the sample, ``named`` the images that its question names: a statement about their place
    is not a conclusion. ``targets`` are the images with a target: a chain that begins with one of them describes it.
    """
    for sentence in parts:
        words = image_words(sentence.prose, things)
        numbers = set(mentioned(sentence.prose))
        patterns = _OF_ANSWER if numbers <= set(named) else (*_OF_ANSWER, *_OF_TARGET, *_WEAK)
        if (
            _SPEAKS_OF_THE_ANSWER.search(words)
            or ("img" in words and any(pattern.search(words) for pattern in patterns))
            or (numbers and numbers <= set(targets) - set(named) and not _DESCRIBES.search(words))
        ):
            return f"concludes before it looks at the images: {sentence.prose[:80]!r}"
        if numbers or (sentence.is_image_level and not _ABOUT_ITSELF.match(words)):
            return None
    return None
