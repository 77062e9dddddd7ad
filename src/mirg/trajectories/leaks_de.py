"""Signs in German that a chain was written by someone who had been shown the truth (see ``leaks``)."""

from __future__ import annotations

import re

_TRUTH = (
    r"(?:antwort|lösung|box|boxen|rahmen|begrenzungsrahmen|koordinaten|beschriftung|beschriftungen"
    r"|angabe|angaben"
    r"|position|notiz|notizen|daten|musterlösung|rolle|rollen|objektliste|information|informationen)"
)
_FILE = (
    r"(?:angaben?|daten|notizen?|metadaten|datensatz|beschriftung|beschriftungen|vorgaben?|lösung"
    r"|musterlösung|objektliste"
    r"|anweisungen?|unterlagen|informationen|liste|systemnachricht|datei|antwort|koordinaten)"
)

_PATTERNS: tuple[tuple[str, str], ...] = (
    ("names the ground truth", r"grundwahrheit\w*|ground ?truth"),
    ("names an annotation", r"annot(?:ation|ationen|iert|ierte|ierten|iertes|ierter|ieren)\w*"),
    ("names a record", r"metadaten|datensatz\w*|musterlösung\w*|objektliste\w*|distraktor\w*"),
    ("names private notes", r"(?:die|meine|meinen|den|privaten|diesen) notizen"),
    (
        "names a hidden answer",
        rf"(?:geheime|vertrauliche|verborgene|wahre|tatsächliche|hinterlegte"
        rf"|erwartete)[nmrs]? {_TRUTH}",
    ),
    (
        "says that it was given",
        rf"(?:vorgegebene|gegebene|mitgelieferte|mitgeteilte|bereitgestellte"
        rf"|verratene)[nmrs]? {_TRUTH}",
    ),
    (
        "says that it was given",
        rf"{_TRUTH} (?:\w+ ){{0,4}}(?:vorgegeben|mitgeteilt|mitgegeben"
        rf"|bereitgestellt|verraten|bekannt)",
    ),
    (
        "says that the writer was told",
        r"(?:mir|uns) (?:\w+ ){0,4}(?:gesagt|mitgeteilt|gegeben|verraten"
        r"|gezeigt|genannt|vorgegeben)",
    ),
    (
        "appeals to a record",
        rf"(?:laut|gemäß|nach|aus|in|entsprechend) (?:den |der |dem |meinen |diesen "
        rf"|mein |meine )?(?:\w+ )?{_FILE}",
    ),
    (
        "appeals to a record",
        r"als (?:ziel|zielbild|kandidat|antwort|richtig|lösung) (?:markiert"
        r"|gekennzeichnet|angegeben|vermerkt|aufgeführt)",
    ),
    (
        "knows beforehand",
        r"(?:ich|wir) (?:weiß|wissen) (?:\w+ ){0,3}(?:bereits|schon|dass)|(?:bereits"
        r"|schon|im voraus|vorab) bekannt|vorab|im voraus",
    ),
    ("knows beforehand", rf"bekannte[nmrs]? {_TRUTH}"),
    (
        "checks against the truth",
        rf"(?:stimmt|passt|deckt sich) (?:\w+ )?(?:mit|zu) (?:der |den "
        rf"|dem )?(?:\w+ )?{_TRUTH}",
    ),
    (
        "plays ignorant",
        r"(?:tue|tun|täte|tu) (?:ich |wir )?(?:\w+ )?(?:so )?als|so (?:zu )?tun als"
        r"|als (?:ob|wüsste|hätte|würde) (?:ich|wir)",
    ),
    (
        "plays ignorant",
        r"nicht (?:verraten|erwähnen|preisgeben|offenlegen)"
        r"|ohne (?:\w+ ){0,4}(?:zu verraten|zu erwähnen|preiszugeben|zu nennen)",
    ),
    ("argues from the answer", r"rückwärts|zu (?:rechtfertigen|begründen)"),
)
# Case folding, which the words have gone through, writes ss for sharp s.
GERMAN = tuple((what, re.compile(rf"\b(?:{pattern})\b".replace("ß", "ss"))) for what, pattern in _PATTERNS)
