"""Signs, in English and German, that a chain was written by someone who had been shown the truth.

A teacher is given the annotation and asked to reason without it; a student trained on "according to the annotation …"
learns to invent annotations. Patterns are matched on plain words (``mirg.trajectories.chain``): lower case, an image as
``imgN`` (``qimg`` if the question names it), a label of the sample as ``thing``. The labels and the box of the question
may be spoken of. Gaps hold a bounded number of words, so the time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from mirg.trajectories.chain import THING, Sentence, image_words

BOX = r"(?:bounding ?box(?:es)?|box(?:es)?|bbox(?:es)?|coordinates?|coords)"
_TRUTH = rf"(?:answers?|solutions?|{BOX}|annotations?|labels?|captions?|roles?|object lists?|notes|responses?)"
_FACTS = r"(?:information|info|details?|facts?|data|knowledge|lists?|notes?|context|material)"
_GIVEN = (
    r"(?:provided|given|supplied|revealed|disclosed|told|handed|furnished|made available|shared|passed|listed|received"
    r"|stated|written|indicated|specified|shown to (?:me|us))"
)
_DETERMINERS = (
    r"(?:(?:the|these|this|those|a|an|all|of|only|just|several|some|many|various|different|both|two|three|four|five|six"
    r"|first|second|reference|cropped|small|same|with|one|set|pair|series|\d{1,3}) ){0,4}"
)
_SHOWN = (
    rf"{_DETERMINERS}(?:img\d{{1,9}}|qimg|images?|pictures?|photos?|photographs?|frames?|question|query|crops?|scenes?"
    r"|views?|task|descriptions?|phrase|sentence|expression|reference object)"
)
_SAYS = (
    r"(?:says?|said|tells?|told|states?|stated|gives?|gave|given|indicates?|indicated|confirms?|confirmed|reveals?"
    r"|revealed|lists?|listed|names?|named|mentions?|mentioned|places?|placed|puts?|specif(?:y|ies|ied)|provided?"
    r"|provides|supplie[ds]|settles?|makes? (?:it )?clear)"
)
_RECORD = r"(?:metadata|json|data ?(?:set|base)|hints?|system (?:prompt|message)|system|prompt|instructions?)"
_FILE = (
    rf"(?:{_RECORD}|labels?|records?|data|files?|answers?|solutions?|notes?|truth|input|key|object lists?|captions?"
    r"|roles?)"
)
_BEING = r"(?:that|which|i|we|you|had|has|have|is|are|was|were|been|being|already|also|only|me|to me)"
_I_AM = r"(?:have|had|has|ve|was|were|am|are|m|re|been|being|already|also|just)"
_EQUALS = (
    r"(?:match(?:es|ing)?|agree(?:s|ing)? with|fits?|confirmed by|verified against|check(?:ed|ing)? against|compar"
    r"(?:ed?|ing) (?:with|to|against)|consistent with|in line with|corresponds? (?:to|with)|coincides? with)"
)
_BY_QUESTION = r"(?! (?:in|by|as|below|above|img|qimg)\b)"
_ONE = r"(?:the |its |an? |that |this |my |your |these |those |their )?"
_SOURCE = (
    r"(?:according to|as per|per|based on|going by|judging (?:by|from)|relying on|thanks to|consulting|drawing on"
    r"|checking(?: against| with)?)"
)
_IN_SOURCE = r"(?:from|in|by|using|looking at|as stated in|as indicated in|as noted in|given|with)"
_SOUGHT = rf"(?:{BOX}|answers?|solutions?|targets?|labels?|results?|outputs?|images?)"
_TARGET = r"(?:target|answer|candidate|distractor|correct|right|solution|match|img\d{1,9})"
_REASONING = r"(?:reasoning|thinking|chain|explanation|thoughts?|solution|argument)"
_MUST = r"(?:need|needs|have|has|had|must|should|want|ought|going|try|trying|supposed|asked|am|meant)"
_GET_TO = r"(?:arrive at|reach|end (?:up )?(?:with|at|in|on)|lead to|get to|come to|conclude with|result in)"
_GERMAN_TRUTH = (
    r"(?:antwort|lösung|box|boxen|rahmen|begrenzungsrahmen|koordinaten|beschriftung|beschriftungen|angabe|angaben"
    r"|position|notiz|notizen|daten|musterlösung|rolle|rollen|objektliste|information|informationen)"
)
_GERMAN_FILE = (
    r"(?:angaben?|daten|notizen?|metadaten|datensatz|beschriftung|beschriftungen|vorgaben?|lösung|musterlösung"
    r"|objektliste|anweisungen?|unterlagen|informationen|liste|systemnachricht|datei|antwort|koordinaten)"
)


def _table(text: str) -> Iterator[tuple[str, str]]:
    """(what, pattern) of a table: what is said to be wrong, and under it one pattern a line, continued further in."""
    what = ""
    for line in text.strip("\n").replace("\n    ", "").split("\n"):
        if line.startswith("  "):
            yield what, line.strip()
        else:
            what = line


def _compiled(text: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    # Case folding, which the words have gone through, writes ss for sharp s.
    return tuple((what, re.compile(rf"\b(?:{pattern})\b".replace("ß", "ss"))) for what, pattern in _table(text))


# The German patterns follow the English ones.
LEAKS = _compiled(rf"""
names the ground truth
  ground ?truths?|gts?|the truth
names an annotation
  annotat(?:ion|ions|ed|or|ors|e|es|ing)
names a record
  metadata|data ?(?:set|base)s?|json|distractors?|the sample|training example
  (?:the|this|input|provided|given|supplied|label(?:l)?ed|reference|training|my|raw) data
  (?:object|answer) lists?|(?:given|provided|supplied) lists?
  lists? of (?:the )?(?:objects|boxes|answers) (?:i|we|for|{_GIVEN}|{_SAYS})
  captions? (?:of|for|{_SAYS}|{_GIVEN})
names private notes
  (?:the|my|these|those|private|given|provided|object level|image level|level) notes
names a reference answer
  (?:reference|gold|golden|oracle|model|official|expected|intended) {_TRUTH}
  (?:expected|intended|desired) (?:{_SOUGHT}|outcome|one)|answer keys?|the key {_SAYS}
  (?:teacher|annotator|author|expert) s (?:\w+ )?(?:{_FACTS}|{_TRUTH})
  according to the reference(?! (?:images?|img|qimg|object|crop|picture|photo|view|frame|in|box))
names a hidden answer
  (?:hidden|secret|privileged|true|correct) (?:{BOX}|labels?|information|notes?|knowledge)
  (?:privileged|confidential|secret|inside|private|prior|extra|additional|background|side) {_FACTS}
  (?:true|actual|real|official|verified|precomputed|pre computed|stored) (?:{BOX}|answers?|targets?|labels?|image)
  (?:true|verified|official|stored|precomputed|pre computed) (?:locations?|positions?|place)
names a hint
  (?:the|this|that|given|provided|my|your) hints?(?! of)
says that it was given
  {_GIVEN} (?:with )?{_ONE}(?:\w+ )?{_TRUTH}{_BY_QUESTION}
  (?:provided|supplied|received|private) {_ONE}(?:\w+ )?{_FACTS}{_BY_QUESTION}
  {_TRUTH} (?:{_BEING} ){{0,4}}{_GIVEN}{_BY_QUESTION}
  answers? (?:is|was|are|were|has been) (?:\w+ )?{_GIVEN} as
  {_FACTS} (?:{_BEING} ){{0,4}}(?:provided|supplied|handed|told|received|got|given){_BY_QUESTION}
  {_TRUTH} (?:that |which )?(?:came with|comes with|i (?:have|got|received))
  access to {_ONE}(?:\w+ )?(?:{_TRUTH}|{_FACTS}|truth)
says that the writer was told
  (?:i|we) (?:{_I_AM} ){{1,4}}(?:told|given|shown|provided|informed|supplied|handed|instructed|made aware|briefed)
    (?! (?:with )?{_SHOWN})(?! to (?:find|locate|point|identify|track|detect|compare|look for|answer|search|use|say))
  (?:was|were|been|got) (?:shown|told|given|revealed) to (?:me|us)
  the (?:user|teacher|author) (?:has |had |already |also )*{_SAYS}(?! (?:me |us |with )?{_SHOWN})(?! to)
appeals to a record
  as (?:stated|indicated|noted|given|listed|written) in {_ONE}(?:\w+ )?{_FILE}
  {_SOURCE} {_ONE}(?:\w+ )?(?:{_FILE}|{BOX} listed){_BY_QUESTION}
  {_IN_SOURCE} {_ONE}(?:\w+ )?(?:metadata|hints?|system (?:prompt|message)|solutions?|{BOX} listed)\b(?! of)
  (?:metadata|json|data|hints?|system|labels?|records?|files?|answers?|roles?) (?:also |only |already )?(?:says?|said
    |tells?|states?|stated|indicates?|indicated|confirms?|reveals?|lists?|names?|mentions?|places?)
  (?:prompt|instructions?|brief|document|sheet|system|response|key|file) (?:\w+ )?(?:{_SAYS}|has|have
    |contains?) (?:\w+ ){{0,8}}img\d{{1,9}}
  (?:prompt|instructions?|brief|document|sheet|system) (?:\w+ )?{_SAYS} that (?:the )?(?:{THING}|it|target|answer) (?:is
    |lies)
  system (?:prompt|message) (?:{_SAYS}|has|contains|shows)|the file with
  (?:records?|labels?|entry|entries|files?|captions?) (?:of|for|with) (?:the |this |that |these )?(?:{BOX}|img\d{{1,9}}
    |answers?|targets?|objects?|images?)|entry (?:has|{_SAYS})
  as (?:{_BEING} ){{0,2}}(?:given|provided|supplied|specified|disclosed|told)\b{_BY_QUESTION}
  (?:marked|tagged|label(?:l)?ed|flagged|listed|specified|designated|recorded|registered|given|stated|declared|stored
    |revealed|disclosed|indicated|written|noted) (?:as|to be|as being|as holding|to hold|as having) (?:the |a |an )?
    (?:\w+ )?{_TARGET}
  (?:listed|recorded|registered|specified|stored) (?:for|under|in|at|with) (?:the )?img\d{{1,9}}
  (?:been|is|was|are|were) (?:specified|recorded|registered|disclosed|stipulated) (?:that|as|for|to)
appeals to a role
  (?:the|its|a|given|distractor|candidate|reference) roles? (?:of|is|as|says?|given) (?:\w+ ){{0,2}}(?:img\d{{1,9}}
    |candidate|source|frame)
  role of (?:the )?(?:img\d{{1,9}}|an? (?:candidate|reference|source|frame)|candidate)|given roles?|(?:the
    |a) candidate role
  relation (?:is )?(?:given|provided|stated|specified)|given relation
knows beforehand
  (?:already|beforehand) know|known? (?:beforehand|in advance|already)|already known|beforehand|in advance
  know(?:ing)? (?:the |its )?(?:\w+ )?{_TRUTH}|known (?:\w+ )?(?:{_TRUTH}|targets?|locations?)
  known to (?:be (?:in|on) img|lie in|hold the|contain the)|known that (?:it|img\d{{1,9}}|the (?:target|answer|{THING}))
  know(?:ing)? (?:that )?(?:it|img\d{{1,9}}|the (?:\w+ )?(?:target|answer|object|one|{THING})) (?:is|must|lies
    |has) (?:in|inside|on|right|correct)
  (?:{_TRUTH}|target|one) (?:is|was|has been) (?:known|revealed|disclosed)\b(?! (?:from|by))
checks against the truth
  {_EQUALS} (?:the )?(?:\w+ )?(?:{_TRUTH}|truth|expected (?!position|location|place|direction|motion|size)\w+)
  supposed to be (?:in |the |on )?(?:img\d|answer|target|correct|right)
plays ignorant
  pretend\w*|(?:as (?:if|though)|like) (?:i|we) (?:do not|did not|had not|have not|don t|didn t|hadn t|haven t|never|
    (?:had |have )?(?:found|discovered|figured|worked|derived|solved))
  as (?:if|though) (?:\w+ ){{1,5}}(?:unknown|not known|not seen|not given|not shown|not told)
  without (?:revealing|mentioning|referring to|disclosing|giving away|betraying|leaking|saying that)
  (?:i|we) (?:\w+ ){{0,3}}(?:not|never|t|avoid) (?:\w+ ){{0,3}}(?:reveal(?:ing)?|disclos(?:e|ing)|leak(?:ing)?|admit
    |betray|giv(?:e|ing) away)
  (?:i|we) (?:\w+ )?(?:should|shouldn|must|mustn|may|shall|am|m|are|re) (?:not|never|t) (?:\w+ ){{0,4}}(?:mention|say
    |tell|write|state|refer|speak|talk)
argues from the answer
  (?:work|reason|start|go|argue)\w* back(?:wards?)? from|backwards? from (?:the )?(?:answer|box|solution)
  to justify|rationali[sz]\w+|reverse engineer\w*
  to (?:make|let) (?:this|it|that) (?:all )?(?:look|seem|appear|sound) (?:as|like|natural|honest|genuine|plausible|real
    |right)
  explain(?:ing)? (?:the |my |a )?(?:thought process|reasoning|steps)|reasoning behind
  (?:my|the|this) {_REASONING} (?:should|must|has to|needs to|ought to|have to|will have to)
  {_MUST} (?:to )?(?:\w+ )?{_GET_TO} (?:the )?(?:\w+ )?(?:answer|box|q?img(?:\d{{1,9}})?)
names the ground truth
  grundwahrheit\w*|ground ?truth
names an annotation
  annot(?:ation|ationen|iert|ierte|ierten|iertes|ierter|ieren)\w*
names a record
  metadaten|datensatz\w*|musterlösung\w*|objektliste\w*|distraktor\w*
names private notes
  (?:die|meine|meinen|den|privaten|diesen) notizen
names a hidden answer
  (?:geheime|vertrauliche|verborgene|wahre|tatsächliche|hinterlegte|erwartete)[nmrs]? {_GERMAN_TRUTH}
says that it was given
  (?:vorgegebene|gegebene|mitgelieferte|mitgeteilte|bereitgestellte|verratene)[nmrs]? {_GERMAN_TRUTH}
  {_GERMAN_TRUTH} (?:\w+ ){{0,4}}(?:vorgegeben|mitgeteilt|mitgegeben|bereitgestellt|verraten|bekannt)
says that the writer was told
  (?:mir|uns) (?:\w+ ){{0,4}}(?:gesagt|mitgeteilt|gegeben|verraten|gezeigt|genannt|vorgegeben)
appeals to a record
  (?:laut|gemäß|nach|aus|in|entsprechend) (?:den |der |dem |meinen |diesen |mein |meine )?(?:\w+ )?{_GERMAN_FILE}
  als (?:ziel|zielbild|kandidat|antwort|richtig|lösung) (?:markiert|gekennzeichnet|angegeben|vermerkt|aufgeführt)
knows beforehand
  (?:ich|wir) (?:weiß|wissen) (?:\w+ ){{0,3}}(?:bereits|schon|dass)|(?:bereits|schon|im voraus|vorab) bekannt|vorab
    |im voraus
  bekannte[nmrs]? {_GERMAN_TRUTH}
checks against the truth
  (?:stimmt|passt|deckt sich) (?:\w+ )?(?:mit|zu) (?:der |den |dem )?(?:\w+ )?{_GERMAN_TRUTH}
plays ignorant
  (?:tue|tun|täte|tu) (?:ich |wir )?(?:\w+ )?(?:so )?als|so (?:zu )?tun als|als (?:ob|wüsste|hätte|würde) (?:ich|wir)
  nicht (?:verraten|erwähnen|preisgeben|offenlegen)|ohne (?:\w+ ){{0,4}}(?:zu verraten|zu erwähnen|preiszugeben
    |zu nennen)
argues from the answer
  rückwärts|zu (?:rechtfertigen|begründen)
""")
# Words that have no place in a chain about what can be seen, wherever they stand; what is harmless is taken out first.
SUSPECTS = _compiled(rf"""
speaks of given information
  information|infos?|data|briefings?|confidential|privileged|secret(?:ly)?|notes
  provided|supplied|received|(?:was|were|been|am|had) (?:\w+ )?handed|furnished|disclosed|documented|official(?:ly)?
  (?:i|we) (?:was|were|am|are|have been|had been|ve been) (?:\w+ )?(?:given|shown|told)
  given (?:targets?|positions?|locations?|places?|{_TRUTH})|solutions? (?:sheet|key|file|{_SAYS})|solutions?
  (?:they|somebody|someone|who|it|which|that) (?:had |has |have )?told (?:me|us)|told that|says? here|(?:was|were
    |been) told
  (?:the|its|these|those|provided|given) labels?|label lists?|labell?ed (?:box|data|image|region|object)
  (?:answer|box|target|position|location) (?:which |that )?(?:i|we) (?:already |now )?(?:have|had|got|know|hold)
  recorded (?:as|in img|position|location|place|box|answer)|as recorded|records? (?:has|have|had)|target lists?
  (?<!in )truth|my (?:instructions?|orders|files?|records?|sheet|list)|by design
knows beforehand
  (?:i|we) (?:am|m|are|re|was|were) (?:\w+ )?aware of
  (?:i|we) (?:\w+ ){{0,3}}knew|(?:i|we) (?:happen to |already |do |just )know
  expected|(?:i|we) know (?:it|that it|where|which|that img|the (?:answer|target|box|place))
plays ignorant
  hid(?:e|ing) (?:that|the fact|it|this|my|what)|(?:i|we) (?:will|shall|would) not (?:mention|say|tell|reveal)
  (?:act|acting|behave|write|reason|look|search|argue)(?:ing)? (?:as if|as though|like) (?:i|we)
appeals to a record
  (?:marked|tagged|flagged|label(?:l)?ed|designated|chosen|declared) (?:\w+ ){{0,3}}as (?:the |a )?(?:\w+ )?{_TARGET}
  (?:i|we) (?:simply |just )?trust|(?:my|our) sources?|on (?:file|record)|attached (?:list|note|file|to)
  as (?:listed|recorded|stated|indicated|noted|specified|supplied)(?! (?:above|before|earlier|in|by))
says that it was given
  (?:i|we) (?:already |do |now )?have (?:the |its |an? )?(?:{_TRUTH}|truth|target)
  told (?:me|us)|let in on|according to what|(?:from )?what (?:i|we) (?:have|had|was|were|got) (?!seen|described|found
    |noted|looked|observed|so|just|learnt|learned|listed)\w+
""")
_HARMLESS = rf"""
  (?:provided|supplied|received) {_SHOWN}
  (?:images?|pictures?|photos?|question|task|descriptions?|phrase|sentence|crops?) (?:that (?:is|are|was
    |were) |i was |we were )?(?:provided|supplied|given|received)
  (?:as |are |is |was )?(?:provided|given|told|stated|specified|described|asked|named|mentioned) (?:in
    |by) (?:the |this )?(?:question|query|task|description|user s question)
  (?:i|we) (?:was|were|am|are|have been|had been|ve been) (?:\w+ )?(?:given|shown) (?:with )?{_SHOWN}
  (?:no|any|enough|more|further|visual|useful|new|this|such|the same) (?:\w+ )?information
  information (?:in|from|of|about) (?:the |this |each )?(?:img\d{{1,9}}|qimg|images?|question|scene|picture|photo)
  (?:as|than|to be|was|is|are|would be|be) expected
  expected (?:position|location|place|size|direction|motion|colou?r|shape|path|spot)|labels? (?:on|upon|reads?)
  solution (?:is|lies|must|to)|provided that|told apart|told by|told from|data ?points?
  (?:i|we) (?:was|were|am|are) told to (?:find|locate|point|identify|track|detect|compare|look for|answer|search)
"""
HARMLESS = re.compile(rf"\b(?:{'|'.join(pattern for _, pattern in _table(_HARMLESS))})\b")

# A box that the question points at may be spoken of: "the given box of Image-1", "the object in the marked box".
_POINTED_AT = re.compile(
    r"\b(?:(?:given|provided|specified|reference|marked|highlighted|indicated|the|a) ){1,3}(?:bounding )?"
    r"(?:box|coordinates|region|location)(?: \w+)? (?:in|of|from|for) (?:the )?qimg\b"
    rf"|\b(?:in|at|inside|within|by|of) the (?:given|provided|specified|reference|marked) {BOX}\b"
)
_IMAGE = re.compile(r"\bimg(\d{1,9})\b")


def leak(
    parts: Sequence[Sentence],
    things: re.Pattern[str] | None = None,
    named: Collection[int] = (),
    box_named: bool = False,
) -> str | None:
    """What gives away that the writer knew the truth, or None.

    ``things`` are the labels of the sample, ``named`` the images that its question names, ``box_named`` says whether
    the question points at a box.
    """
    texts: dict[str, None] = {}
    for sentence in parts:
        words = image_words(sentence.prose, things)
        words = _IMAGE.sub(lambda found: "qimg" if int(found[1]) in named else found[0], words)
        texts[_POINTED_AT.sub(THING, words) if box_named else words] = None
    # No pattern matches a line break: all sentences at once are searched in a fraction of the time.
    if _found("\n".join(texts)) is None:
        return None
    return next((found for found in map(_found, texts) if found), None)


def _found(text: str) -> str | None:
    for patterns, words in ((LEAKS, text), (SUSPECTS, HARMLESS.sub(" ", text))):
        for what, pattern in patterns:
            if found := pattern.search(words):
                return f"{what}: {found.group().strip()!r}"
    return None
