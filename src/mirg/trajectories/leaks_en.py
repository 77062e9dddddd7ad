"""English signs that a chain was written by someone who had been shown the truth: patterns on plain words.

The words are those of ``mirg.trajectories.chain``: lower case, an image as ``imgN`` (``qimg`` where the question names
it), a label as ``thing``. Gaps hold a bounded number of words, so the time is linear in the text.
"""

from __future__ import annotations

import re

from mirg.trajectories.chain import THING

BOX = r"(?:bounding ?box(?:es)?|box(?:es)?|bbox(?:es)?|coordinates?|coords)"
_TRUTH = rf"(?:answers?|solutions?|{BOX}|annotations?|labels?|captions?|roles?|object lists?|notes|responses?)"
_FACTS = r"(?:information|info|details?|facts?|data|knowledge|lists?|notes?|context|material)"
_GIVEN = (
    r"(?:provided|given|supplied|revealed|disclosed|told|handed|furnished|made available|shared|passed"
    r"|listed|received"
    r"|stated|written|indicated|specified|shown to (?:me|us))"
)
_DETERMINERS = (
    r"(?:(?:the|these|this|those|a|an|all|of|only|just|several|some|many|various|different|both|two"
    r"|three|four|five|six"
    r"|first|second|reference|cropped|small|same|with|one|set|pair|series|\d{1,3}) ){0,4}"
)
_SHOWN = (
    rf"{_DETERMINERS}(?:img\d{{1,9}}|qimg|images?|pictures?|photos?|photographs?|frames?|question|query"
    rf"|crops?|scenes?"
    rf"|views?|task|descriptions?|phrase|sentence|expression|reference object)"
)
_SAYS = (
    r"(?:says?|said|tells?|told|states?|stated|gives?|gave|given|indicates?|indicated|confirms?"
    r"|confirmed|reveals?"
    r"|revealed|lists?|listed|names?|named|mentions?|mentioned|places?|placed|puts?|specif(?:y|ies|ied)"
    r"|provided?|provides"
    r"|supplie[ds]|settles?|makes? (?:it )?clear)"
)
_RECORD = r"(?:metadata|json|data ?(?:set|base)|hints?|system (?:prompt|message)|system|prompt|instructions?)"
_FILE = (
    rf"(?:{_RECORD}|labels?|records?|data|files?|answers?|solutions?|notes?|truth|input|key"
    r"|object lists?|captions?|roles?)"
)
_BEING = r"(?:that|which|i|we|you|had|has|have|is|are|was|were|been|being|already|also|only|me|to me)"
_I_AM = r"(?:have|had|has|ve|was|were|am|are|m|re|been|being|already|also|just)"
_EQUALS = (
    r"(?:match(?:es|ing)?|agree(?:s|ing)? with|fits?|confirmed by|verified against|check(?:ed|ing)? against"
    r"|compar(?:ed?|ing) (?:with|to|against)|consistent with|in line with|corresponds? (?:to|with)"
    r"|coincides? with)"
)
_BY_QUESTION = r"(?! (?:in|by|as|below|above|img|qimg)\b)"
_ONE = r"(?:the |its |an? |that |this |my |your |these |those |their )?"
_SOURCE = (
    r"(?:according to|as per|per|based on|going by|judging (?:by|from)|relying on|thanks to|consulting"
    r"|drawing on"
    r"|checking(?: against| with)?)"
)
_IN_SOURCE = r"(?:from|in|by|using|looking at|as stated in|as indicated in|as noted in|given|with)"
_SOUGHT = rf"(?:{BOX}|answers?|solutions?|targets?|labels?|results?|outputs?|images?)"
_TARGET = r"(?:target|answer|candidate|distractor|correct|right|solution|match|img\d{1,9})"
_REASONING = r"(?:reasoning|thinking|chain|explanation|thoughts?|solution|argument)"
_MUST = r"(?:need|needs|have|has|had|must|should|want|ought|going|try|trying|supposed|asked|am|meant)"
_GET_TO = r"(?:arrive at|reach|end (?:up )?(?:with|at|in|on)|lead to|get to|come to|conclude with|result in)"


# By what is said to be wrong.
_PATTERNS: dict[str, tuple[str, ...]] = {
    "names the ground truth": (r"ground ?truths?|gts?|the truth",),
    "names an annotation": (r"annotat(?:ion|ions|ed|or|ors|e|es|ing)",),
    "names a record": (
        r"metadata|data ?(?:set|base)s?|json|distractors?|the sample|training example",
        r"(?:the|this|input|provided|given|supplied|label(?:l)?ed|reference|training|my"
        r"|raw) data",
        r"(?:object|answer) lists?|(?:given|provided|supplied) lists?",
        rf"lists? of (?:the )?(?:objects|boxes|answers) (?:i|we|for|{_GIVEN}|{_SAYS})",
        rf"captions? (?:of|for|{_SAYS}|{_GIVEN})",
    ),
    "names private notes": (
        r"(?:the|my|these|those|private|given|provided|object level|image level"
        r"|level) notes",
    ),
    "names a reference answer": (
        rf"(?:reference|gold|golden|oracle|model|official|expected"
        rf"|intended) {_TRUTH}",
        rf"(?:expected|intended|desired) (?:{_SOUGHT}|outcome|one)|answer keys?"
        rf"|the key {_SAYS}",
        rf"(?:teacher|annotator|author|expert) s (?:\w+ )?(?:{_FACTS}|{_TRUTH})",
        r"according to the reference(?! (?:images?|img|qimg|object|crop|picture"
        r"|photo|view|frame|in|box))",
    ),
    "names a hidden answer": (
        rf"(?:hidden|secret|privileged|true|correct) (?:{BOX}|labels?|information"
        rf"|notes?|knowledge)",
        rf"(?:privileged|confidential|secret|inside|private|prior|extra|additional"
        rf"|background|side) {_FACTS}",
        rf"(?:true|actual|real|official|verified|precomputed|pre computed|stored) "
        rf"(?:{BOX}|answers?|targets?|labels?|image)",
        r"(?:true|verified|official|stored|precomputed|pre computed) (?:locations?"
        r"|positions?|place)",
    ),
    "names a hint": (r"(?:the|this|that|given|provided|my|your) hints?(?! of)",),
    "says that it was given": (
        rf"{_GIVEN} (?:with )?{_ONE}(?:\w+ )?{_TRUTH}{_BY_QUESTION}",
        rf"(?:provided|supplied|received"
        rf"|private) {_ONE}(?:\w+ )?{_FACTS}{_BY_QUESTION}",
        rf"{_TRUTH} (?:{_BEING} ){{0,4}}{_GIVEN}{_BY_QUESTION}",
        rf"answers? (?:is|was|are|were|has been) (?:\w+ )?{_GIVEN} as",
        rf"{_FACTS} (?:{_BEING} ){{0,4}}(?:provided|supplied|handed|told|received"
        rf"|got|given){_BY_QUESTION}",
        rf"{_TRUTH} (?:that |which )?(?:came with|comes with|i (?:have|got|received))",
        rf"access to {_ONE}(?:\w+ )?(?:{_TRUTH}|{_FACTS}|truth)",
    ),
    "says that the writer was told": (
        rf"(?:i|we) (?:{_I_AM} ){{1,4}}(?:told|given|shown|provided"
        rf"|informed|supplied|handed"
        rf"|instructed|made aware|briefed)(?! (?:with )?{_SHOWN})"
        r"(?! to (?:find|locate|point|identify|track|detect|compare"
        r"|look for|answer|search|use|say))",
        r"(?:was|were|been|got) (?:shown|told|given|revealed) to (?:me|us)",
        rf"the (?:user|teacher|author) (?:has |had |already "
        rf"|also )*{_SAYS}(?! (?:me |us |with )?{_SHOWN})(?! to)",
    ),
    "appeals to a record": (
        rf"as (?:stated|indicated|noted|given|listed|written) in {_ONE}(?:\w+ )?{_FILE}",
        rf"{_SOURCE} {_ONE}(?:\w+ )?(?:{_FILE}|{BOX} listed){_BY_QUESTION}",
        rf"{_IN_SOURCE} {_ONE}(?:\w+ )?(?:metadata|hints?|system (?:prompt|message)"
        rf"|solutions?|{BOX} listed)\b(?! of)",
        r"(?:metadata|json|data|hints?|system|labels?|records?|files?|answers?"
        r"|roles?) (?:also |only |already )?"
        r"(?:says?|said|tells?|states?|stated|indicates?|indicated|confirms?"
        r"|reveals?|lists?|names?|mentions?|places?)",
        rf"(?:prompt|instructions?|brief|document|sheet|system|response|key"
        rf"|file) (?:\w+ )?(?:{_SAYS}|has|have|contains?) "
        r"(?:\w+ ){0,8}img\d{1,9}",
        rf"(?:prompt|instructions?|brief|document|sheet"
        rf"|system) (?:\w+ )?{_SAYS} that (?:the )?(?:{THING}|it|target|answer) (?:is|lies)",
        rf"system (?:prompt|message) (?:{_SAYS}|has|contains|shows)|the file with",
        rf"(?:records?|labels?|entry|entries|files?|captions?) (?:of|for"
        rf"|with) (?:the |this |that |these )?"
        rf"(?:{BOX}|img\d{{1,9}}|answers?|targets?|objects?|images?)|entry (?:has"
        rf"|{_SAYS})",
        rf"as (?:{_BEING} ){{0,2}}(?:given|provided|supplied|specified|disclosed"
        rf"|told)\b{_BY_QUESTION}",
        rf"(?:marked|tagged|label(?:l)?ed|flagged|listed|specified|designated"
        rf"|recorded|registered|given|stated|declared"
        rf"|stored|revealed|disclosed|indicated|written|noted) (?:as|to be|as being"
        rf"|as holding|to hold|as having) "
        rf"(?:the |a |an )?(?:\w+ )?{_TARGET}",
        r"(?:listed|recorded|registered|specified|stored) (?:for|under|in|at"
        r"|with) (?:the )?img\d{1,9}",
        r"(?:been|is|was|are|were) (?:specified|recorded|registered|disclosed"
        r"|stipulated) (?:that|as|for|to)",
    ),
    "appeals to a role": (
        r"(?:the|its|a|given|distractor|candidate|reference) roles? (?:of|is|as|says?"
        r"|given) (?:\w+ ){0,2}(?:img\d{1,9}|candidate|source|frame)",
        r"role of (?:the )?(?:img\d{1,9}|an? (?:candidate|reference|source|frame)"
        r"|candidate)|given roles?|(?:the|a) candidate role",
        r"relation (?:is )?(?:given|provided|stated|specified)|given relation",
    ),
    "knows beforehand": (
        r"(?:already|beforehand) know|known? (?:beforehand|in advance|already)"
        r"|already known|beforehand|in advance",
        rf"know(?:ing)? (?:the |its )?(?:\w+ )?{_TRUTH}|known (?:\w+ )?(?:{_TRUTH}"
        rf"|targets?|locations?)",
        rf"known to (?:be (?:in|on) img|lie in|hold the|contain the)|known that (?:it"
        rf"|img\d{{1,9}}|the (?:target|answer|{THING}))",
        rf"know(?:ing)? (?:that )?(?:it|img\d{{1,9}}|the (?:\w+ )?(?:target|answer"
        rf"|object|one|{THING})) (?:is|must|lies|has) (?:in|inside|on|right|correct)",
        rf"(?:{_TRUTH}|target|one) (?:is|was|has been) (?:known|revealed"
        rf"|disclosed)\b(?! (?:from|by))",
    ),
    "checks against the truth": (
        rf"{_EQUALS} (?:the )?(?:\w+ )?(?:{_TRUTH}|truth|expected (?!position"
        rf"|location|place|direction|motion|size)\w+)",
        r"supposed to be (?:in |the |on )?(?:img\d|answer|target|correct|right)",
    ),
    "plays ignorant": (
        r"pretend\w*|(?:as (?:if|though)|like) (?:i|we) (?:do not|did not|had not"
        r"|have not|don t|didn t|hadn t|haven t|never"
        r"|(?:had |have )?(?:found|discovered|figured|worked|derived|solved))",
        r"as (?:if|though) (?:\w+ ){1,5}(?:unknown|not known|not seen|not given|not shown"
        r"|not told)",
        r"without (?:revealing|mentioning|referring to|disclosing|giving away|betraying"
        r"|leaking|saying that)",
        r"(?:i|we) (?:\w+ ){0,3}(?:not|never|t|avoid) (?:\w+ ){0,3}(?:reveal(?:ing)?"
        r"|disclos(?:e|ing)|leak(?:ing)?|admit|betray|giv(?:e|ing) away)",
        r"(?:i|we) (?:\w+ )?(?:should|shouldn|must|mustn|may|shall|am|m|are|re) (?:not"
        r"|never|t) (?:\w+ ){0,4}(?:mention|say|tell|write|state|refer|speak|talk)",
    ),
    "argues from the answer": (
        r"(?:work|reason|start|go|argue)\w* back(?:wards?)? from"
        r"|backwards? from (?:the )?(?:answer|box|solution)",
        r"to justify|rationali[sz]\w+|reverse engineer\w*",
        r"to (?:make|let) (?:this|it|that) (?:all )?(?:look|seem|appear"
        r"|sound) (?:as|like|natural|honest|genuine|plausible|real|right)",
        r"explain(?:ing)? (?:the |my |a )?(?:thought process|reasoning|steps)"
        r"|reasoning behind",
        rf"(?:my|the|this) {_REASONING} (?:should|must|has to|needs to|ought to"
        rf"|have to|will have to)",
        rf"{_MUST} (?:to )?(?:\w+ )?{_GET_TO} (?:the )?(?:\w+ )?(?:answer|box"
        rf"|q?img(?:\d{{1,9}})?)",
    ),
}
# Words that have no place in a chain about what can be seen, wherever they stand; what is harmless is taken out first.
_SUSPECT: dict[str, tuple[str, ...]] = {
    "speaks of given information": (
        r"information|infos?|data|briefings?|confidential|privileged"
        r"|secret(?:ly)?|notes",
        r"provided|supplied|received|(?:was|were|been|am"
        r"|had) (?:\w+ )?handed|furnished|disclosed|documented|official(?:ly)?",
        r"(?:i|we) (?:was|were|am|are|have been|had been"
        r"|ve been) (?:\w+ )?(?:given|shown|told)",
        rf"given (?:targets?|positions?|locations?|places?|{_TRUTH})"
        rf"|solutions? (?:sheet|key|file|{_SAYS})|solutions?",
        r"(?:they|somebody|someone|who|it|which|that) (?:had |has "
        r"|have )?told (?:me|us)|told that|says? here|(?:was|were|been) told",
        r"(?:the|its|these|those|provided|given) labels?|label lists?"
        r"|labell?ed (?:box|data|image|region|object)",
        r"(?:answer|box|target|position|location) (?:which |that )?(?:i"
        r"|we) (?:already |now )?(?:have|had|got|know|hold)",
        r"recorded (?:as|in img|position|location|place|box|answer)"
        r"|as recorded|records? (?:has|have|had)|target lists?",
        r"(?<!in )truth|my (?:instructions?|orders|files?|records?|sheet"
        r"|list)|by design",
    ),
    "knows beforehand": (
        r"(?:i|we) (?:am|m|are|re|was|were) (?:\w+ )?aware of",
        r"(?:i|we) (?:\w+ ){0,3}knew|(?:i|we) (?:happen to |already |do |just )know",
        r"expected|(?:i|we) know (?:it|that it|where|which|that img|the (?:answer"
        r"|target|box|place))",
    ),
    "plays ignorant": (
        r"hid(?:e|ing) (?:that|the fact|it|this|my|what)|(?:i|we) (?:will|shall"
        r"|would) not (?:mention|say|tell|reveal)",
        r"(?:act|acting|behave|write|reason|look|search|argue)(?:ing)? (?:as if|as though"
        r"|like) (?:i|we)",
    ),
    "appeals to a record": (
        rf"(?:marked|tagged|flagged|label(?:l)?ed|designated|chosen"
        rf"|declared) (?:\w+ ){{0,3}}as (?:the |a )?(?:\w+ )?{_TARGET}",
        r"(?:i|we) (?:simply |just )?trust|(?:my|our) sources?|on (?:file|record)"
        r"|attached (?:list|note|file|to)",
        r"as (?:listed|recorded|stated|indicated|noted|specified"
        r"|supplied)(?! (?:above|before|earlier|in|by))",
    ),
    "says that it was given": (
        rf"(?:i|we) (?:already |do |now )?have (?:the |its |an? )?(?:{_TRUTH}"
        rf"|truth|target)",
        r"told (?:me|us)|let in on|according to what|(?:from )?what (?:i"
        r"|we) (?:have|had|was|were|got) "
        r"(?!seen|described|found|noted|looked|observed|so|just|learnt|learned"
        r"|listed)\w+",
    ),
}
HARMLESS = re.compile(
    r"\b(?:"
    rf"(?:provided|supplied|received) {_SHOWN}"
    rf"|(?:images?|pictures?|photos?|question|task|descriptions?|phrase|sentence|crops?) (?:that (?:is"
    rf"|are|was|were) |i was |we were )?"
    r"(?:provided|supplied|given|received)"
    r"|(?:as |are |is |was )?(?:provided|given|told|stated|specified|described|asked|named"
    r"|mentioned) (?:in|by) (?:the |this )?"
    r"(?:question|query|task|description|user s question)"
    rf"|(?:i|we) (?:was|were|am|are|have been|had been|ve been) (?:\w+ )?(?:given|shown) (?:with )?{_SHOWN}"
    r"|(?:no|any|enough|more|further|visual|useful|new|this|such|the same) (?:\w+ )?information"
    r"|information (?:in|from|of|about) (?:the |this |each )?"
    r"(?:img\d{1,9}|qimg|images?|question|scene|picture|photo)"
    r"|(?:as|than|to be|was|is|are|would be|be) expected|expected (?:position|location|place|size"
    r"|direction|motion|colou?r|shape|path|spot)"
    r"|labels? (?:on|upon|reads?)|solution (?:is|lies|must|to)|provided that|told apart|told by"
    r"|told from|data ?points?"
    r"|(?:i|we) (?:was|were|am|are) told to (?:find|locate|point|identify|track|detect|compare|look for"
    r"|answer|search)"
    r")\b"
)


def _compiled(patterns: dict[str, tuple[str, ...]]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((what, re.compile(rf"\b(?:{one})\b")) for what, many in patterns.items() for one in many)


LEAKS = _compiled(_PATTERNS)
SUSPECTS = _compiled(_SUSPECT)
