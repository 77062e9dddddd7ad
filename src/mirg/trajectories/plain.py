"""The plain voice of the rules: the same facts as :mod:`mirg.trajectories.writer`, in sentences, images first.

The image level says what each image shows as far as the question needs it, how the images relate, and which image
therefore holds the target; the object level says where in it. A statement is true of the annotation or of the truth;
an image without annotation is not described. The sentences are in ``plain.yaml``, several for each statement. Which of
them a chain holds depends on the sample's id and a seed only.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from string import Formatter

from mirg.answers import ordinals
from mirg.answers.markup import box_markup
from mirg.answers.markup import cited as boxes_in
from mirg.geometry import Box
from mirg.samples.coverage import CROWD, IGNORE, INCOMPLETE, label_key
from mirg.samples.schema import ImageRef, ObjectNote, Sample, Target, Trajectory
from mirg.text_files import parse_yaml
from mirg.trajectories.chain import mentioned, prose_of
from mirg.trajectories.english import Name, listed, number, sentence
from mirg.trajectories.writer import ordered, subject

WRITER = "rules-plain/1"
DESCRIBED = 4  # images that are described one by one; of more, only what sets some of them apart is said
NAMED_ONE_BY_ONE = 3  # images in a list; more are "images 1, 2, 4 and 5"
KINDS_LISTED = 3  # kinds of objects that the description of an image lists
IN_WORDS = 0.3  # share of the chains that say "the second image" where they speak of images
CONCLUDES = 0.7  # share of the chains that say which image is left, if the description tells it already
LARGE, WIDE = 0.55, 0.7  # area and side of a box from which it is in no single part of the image
UNNAMED = ("", "object", "patch", "region")  # labels that say nothing about an object
STAND_INS = {("part_of", "patch"): "part", ("part_of", "object"): "part", ("changed_object", "object"): "difference"}
STEP = 0.05  # of the image, from which an object has moved


def build_plain(sample: Sample, seed: int = 0) -> Trajectory:
    """The trajectory of ``sample`` in the plain voice; another ``seed`` gives another wording of the same facts."""
    return Trajectory(thinking=write_plain(sample, seed), answer=ordered(sample.targets), writer=WRITER)


def write_plain(sample: Sample, seed: int = 0) -> str:
    """The reasoning of ``sample`` in English, with box markup; a pure function of the sample and the seed."""
    voice = Voice(sample, seed)
    compare = IMAGE_LEVEL.get(sample.task, BY_RELATION.get(sample.relation, search))
    (compare if sample.targets and len(sample.images) > 1 else search)(voice)
    for image, targets in groupby(ordered(sample.targets), key=lambda target: target.image):
        voice.place(image, list(targets))
    return " ".join(voice.said)


@cache
def _sentences() -> dict[str, list[tuple[str, frozenset[str]]]]:
    """The variants of each statement with the names of their slots."""
    table = parse_yaml(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    assert isinstance(table, dict)
    return {kind: [(text, _slots(text)) for text in texts] for kind, texts in table.items()}


def _slots(text: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(text) if name)


class Voice:
    """The chain of one sample while it is written: :attr:`said` are its sentences."""

    def __init__(self, sample: Sample, seed: int) -> None:
        self.sample, self.said = sample, list[str]()
        self.rng = random.Random(f"{seed} {sample.id}")
        self.label = subject(sample)
        self.is_named = label_key(self.label) not in UNNAMED
        unnamed = self.label if self.label == "patch" else "object"
        self.name = Name(self.label if self.is_named else STAND_INS.get((sample.relation, unnamed), unnamed))
        self.numbers = range(1, len(sample.images) + 1)
        self.in_words = len(self.numbers) <= len(ordinals.WORDS) and self.rng.random() < IN_WORDS
        self._used: Counter[str] = Counter()

    def say(self, *kinds: str, name: Name | None = None, **slots: str) -> None:
        """Add one sentence of ``kinds``: a variant whose slots are known, and that was used least in this chain."""
        known = _forms(name or self.name) | slots
        fitting = [text for kind in kinds for text, needs in _sentences()[kind] if needs <= known.keys()]
        least = min(self._used[text] for text in fitting)
        text = self.rng.choice([text for text in fitting if self._used[text] == least])
        self._used[text] += 1
        self.said.append(sentence(text.format(**known)))

    def sometimes(self, share: float = CONCLUDES) -> bool:
        """Whether an optional sentence is said."""
        return self.rng.random() < share

    def image(self, k: int) -> str:
        """``Image-2`` or ``the second image``."""
        if len(self.numbers) == 1:
            return "the image"
        return f"the {ordinals.WORDS[k - 1]} image" if self.in_words else f"Image-{k}"

    def images(self, numbers: Sequence[int]) -> dict[str, str]:
        """The slots {images} and of the verbs that agree with them."""
        if len(numbers) == 1:
            name = self.image(numbers[0])
            return {"images": name, "image": name, "show": "shows", "do": "does", "have": "has"}
        if self.in_words or len(numbers) > NAMED_ONE_BY_ONE:
            names = f"images {listed([str(k) for k in numbers])}"
        else:
            names = listed([f"Image-{k}" for k in numbers])
        return {"images": names, "show": "show", "do": "do", "have": "have", "each": "each"}

    def ref(self, k: int) -> ImageRef:
        """Image ``k``, from 1."""
        return self.sample.images[k - 1]

    def notes(self, k: int) -> list[ObjectNote]:
        """The single objects of image ``k`` that have a name, from left to right."""
        found = (note for note in self.ref(k).objects if note.label and not Name(note.label).is_long)
        single = (note for note in found if not any(note.attributes.get(mark) for mark in (CROWD, IGNORE)))
        return sorted(single, key=lambda note: note.box)

    def called(self, k: int, label: str) -> list[ObjectNote]:
        """The objects of image ``k`` called ``label``."""
        return [note for note in self.notes(k) if label_key(note.label) == label_key(label)]

    def holds(self, k: int) -> bool:
        """Whether image ``k`` shows the subject, by the truth or by its annotation."""
        return k in self.sample.target_images or bool(self.called(k, self.label))

    def lacks(self, k: int, label: str | None = None) -> bool:
        """Whether image ``k`` is known not to show ``label`` (the subject): its annotation or the truth says so."""
        key, image = label_key(label or self.label), self.ref(k)
        if any(label_key(note.label) == key for note in image.objects) or (label is None and self.holds(k)):
            return False
        noted = bool(image.objects) and not self.sample.meta.get(INCOMPLETE)
        return noted or (label is None and (self.sample.image_hidden or not self.sample.targets))

    def objects(self, k: int, most: int = KINDS_LISTED, *, in_order: bool = False) -> str:
        """What image ``k`` shows: "a red ring, two blue crosses and other objects".

        The subject comes first, or it is listed at its place from left to right (``in_order``).
        """
        counts = Counter(note.label for note in self.notes(k))
        first = sorted(counts, key=lambda label: label_key(label) != label_key(self.label))
        chosen = [label for label in counts if label in first[:most]] if in_order else first[:most]
        return _listing(chosen, counts, more=len(counts) > most)

    def place(self, image: int, targets: list[Target]) -> None:
        """Say where the targets of one image are."""
        # The answer names images by their number, and so does the object level.
        here = {"image": f"Image-{image}" if len(self.numbers) > 1 else "the image"}
        by_label: dict[str, list[Box]] = {}
        for target in targets:
            by_label.setdefault(target.label or self.label, []).append(target.box)
        for label, boxes in by_label.items():
            name = self.name if label == self.label else Name(label)
            if len(boxes) > 1:
                marks = listed([box_markup(image, box) for box in boxes])
                count = f"{number(len(boxes))} of them" if name.is_long else name.counted(len(boxes))
                self.say("boxes", name=name, **here, boxes=marks, count=count)
                continue
            (x1, y1, x2, y2), markup = boxes[0], box_markup(image, boxes[0])
            if (x2 - x1) * (y2 - y1) >= LARGE:
                self.say("box_large", name=name, **here, box=markup)
            elif max(x2 - x1, y2 - y1) >= WIDE:
                self.say("box", name=name, **here, box=markup)
            else:
                self.say("box", name=name, **here, box=markup, where=part_of_image(boxes[0]))


def _listing(labels: Iterable[str], counts: Mapping[str, int], *, more: bool = False) -> str:
    words = [Name(label).counted(counts.get(label, 1)) for label in labels]
    return listed([*words, *(["other objects"] if more else [])])


def _kinds(labels: Iterable[str]) -> str:
    """Labels without their numbers: "a red ring, a blue cross and other objects"."""
    kinds = [*dict.fromkeys(labels)]
    return _listing(kinds[:KINDS_LISTED], {}, more=len(kinds) > KINDS_LISTED)


def _forms(name: Name) -> dict[str, str]:
    """The slots of an object's name and of the verbs that agree with it."""
    verbs = {"is": ("is", "are"), "has": ("has", "have"), "lies": ("lies", "lie")}
    verbs |= {f"{verb}s": (f"{verb}s", verb) for verb in ("take", "fill", "move")}
    forms = {"a": name.a, "any": name.any, "the": name.the, "no": name.no}
    if not (name.is_long or name.determined):
        forms["many"] = name.many
    if not name.is_plural:
        forms["one"] = name.a
    return forms | {slot: pair[name.is_plural] for slot, pair in verbs.items()}


def part_of_image(box: Box) -> str:
    """The part of the image in which the centre of ``box`` lies, on a grid of three by three: "in the upper left"."""
    x, y = (min(int(3 * (a + b) / 2), 2) for a, b in ((box[0], box[2]), (box[1], box[3])))
    if x == 1:
        return ("at the top", "in the middle", "at the bottom")[y]
    side = ("left", "", "right")[x]
    return f"on the {side}" if y == 1 else f"in the {('upper', '', 'lower')[y]} {side}"


def direction(start: Box, end: Box) -> str | None:
    """The direction in which a centre has moved, or None if it has hardly moved."""
    dx, dy = (end[k] + end[k + 2] - start[k] - start[k + 2] for k in (0, 1))  # twice the step of the centre
    if max(abs(dx), abs(dy)) < 2 * STEP:
        return None
    side, height = "right" if dx > 0 else "left", "lower" if dy > 0 else "upper"
    if abs(dx) > 2.5 * abs(dy):
        return f"to the {side}"
    return ("down" if dy > 0 else "up") if abs(dy) > 2.5 * abs(dx) else f"to the {height} {side}"


_EVERY = re.compile(r"\b(?:all|every|each)\b", re.IGNORECASE)

# --- what several tasks share ----------------------------------------------------------------------------------------


def search(voice: Voice) -> None:
    """The object is named, and has to be found in one image, in several, or in none."""
    sample = voice.sample
    named = set(mentioned(prose_of(sample.question)))
    if sample.targets and (sample.target_images <= named or len(voice.numbers) == 1):
        _in_named_image(voice)
        return
    if voice.name.is_long:
        voice.say("look")
    else:
        every = len(sample.targets) > 1 or _EVERY.search(sample.question)
        voice.say("asks_every" if every and "many" in _forms(voice.name) else "asks_one")
        if voice.sometimes(0.4) and len(voice.numbers) <= DESCRIBED:
            voice.say("look")
    _look_through(voice, list(voice.numbers))


def _in_named_image(voice: Voice) -> None:
    asked = sorted(voice.sample.target_images)
    if len(voice.numbers) > 1:
        voice.say("asks_images" if len(asked) > 1 else "asks_image", **voice.images(asked))
    for k in asked[:DESCRIBED]:
        if voice.notes(k):
            voice.say("shows_it", image=voice.image(k), list=voice.objects(k))


def _look_through(voice: Voice, among: list[int], sought: Name | None = None) -> None:
    """What the images ``among`` show of the subject, called ``sought``, and which of them is left."""
    if not voice.is_named and voice.sample.targets:
        voice.say("found_again", **voice.images(sorted(voice.sample.target_images)))
        return
    held = [k for k in among if voice.holds(k)]
    rest = [k for k in among if k not in held]
    noted, lacking = any(voice.notes(k) for k in among), all(map(voice.lacks, rest))
    if noted and len(among) <= DESCRIBED:
        _each(voice, among, sought)
    elif noted and lacking and len(rest) > 1 and len(held) < DESCRIBED:
        _each(voice, held, sought)
        kinds = _kinds(note.label for k in rest for note in voice.notes(k))
        voice.say("rest_lacks" if held else "all_lack", name=sought, n=number(len(rest)), list=kinds)
    elif held:
        every = len(among) == len(voice.numbers) and lacking and bool(rest)
        voice.say("only_show" if every else "some_show", name=sought, n=number(len(among)), **voice.images(held))
        if every:
            return
    _conclude(voice, among, sought is None)


def _each(voice: Voice, among: Sequence[int], sought: Name | None) -> None:
    """A sentence for every image with annotation, in order, and one for the others that are known to lack it."""
    for k in among:
        kind = "lacks" if voice.lacks(k) else "shows_it" if voice.holds(k) else "shows"
        if voice.notes(k):
            voice.say(kind, name=sought, image=voice.image(k), list=voice.objects(k))
        elif voice.holds(k):
            voice.say("some_show", name=sought, **voice.images([k]))
    if lacking := [k for k in among if not voice.notes(k) and voice.lacks(k)]:
        voice.say("lacks_all", name=sought, **voice.images(lacking))


def _conclude(voice: Voice, among: Sequence[int], by_name: bool) -> None:
    targets = sorted(voice.sample.target_images)
    if not targets:
        voice.say("so_none")
    elif len(targets) > 1:
        if voice.sometimes():
            voice.say("so_many", **voice.images(targets))
    elif all(voice.lacks(k) for k in among if k not in targets):
        if voice.sometimes():
            voice.say(*("so_one", "so_only")[: 1 + by_name], image=voice.image(targets[0]))
    else:
        voice.say("so_one", image=voice.image(targets[0]))


def _others(voice: Voice, *shown: int) -> list[int]:
    """The images in which an object of the images ``shown`` is to be found again."""
    return [k for k in voice.numbers if k not in shown or k in voice.sample.target_images]


def _marked(voice: Voice) -> int | None:
    """The image in which the question points at a box."""
    return next((image for image, _ in boxes_in(voice.sample.question)), None)


def _text(voice: Voice, key: str) -> str | None:
    value = voice.sample.meta.get(key)
    return value if isinstance(value, str) and value else None


def _name_marked(voice: Voice, image: int, label: str | None = None) -> None:
    named = label is not None or (voice.is_named and voice.holds(image))
    if named:
        voice.say("marked", name=Name(label) if label else None, image=voice.image(image))
    else:
        voice.say("marked_unknown", image=voice.image(image))


# --- tasks -----------------------------------------------------------------------------------------------------------


def difference(voice: Voice) -> None:
    """Images that agree but for one object, which only one of them shows or which has changed."""
    if len(voice.sample.target_images) > 1:
        search(voice)
        return
    holder, pair = min(voice.sample.target_images), len(voice.numbers) == 2
    others, image = [k for k in voice.numbers if k != holder], voice.image(holder)
    changed = any(voice.called(k, voice.label) for k in others)
    if not voice.is_named or not (changed or all(map(voice.lacks, others))):
        voice.say("same_scene" if pair else "same_scene_all")
        voice.say("altered" if voice.label == "patch" else "differ", image=image)
        return
    voice.say("compare" if pair else "look")
    same = [note.label for note in voice.notes(holder) if all(voice.called(k, note.label) for k in others)]
    same = [label for label in same if label_key(label) != label_key(voice.label)]
    if same:
        voice.say("same" if pair else "same_all", list=_kinds(same))
    if changed:
        how = {"moved": "moved", "recoloured": "recoloured"}.get(_text(voice, "alteration") or "", "changed")
        voice.say(how if pair else "changed_in_one")
        voice.say("asked_in", image=image)
    else:
        rest = "image does not show" if pair else "images do not show"
        voice.say("only_one" if same else "only_one_alone", image=image, rest=rest)


def odd_one_out(voice: Voice) -> None:
    """One image shows another object than the rest."""
    if len(voice.sample.target_images) != 1 or not any(voice.notes(k) for k in voice.numbers):
        search(voice)
        return
    (odd,) = voice.sample.target_images
    shown = {k: voice.objects(k) for k in voice.numbers if k != odd and voice.notes(k)}
    for what in dict.fromkeys(shown.values()):
        voice.say("each_shows", list=what, **voice.images([k for k in shown if shown[k] == what]))
    if voice.notes(odd):
        voice.say("instead", image=voice.image(odd), list=voice.objects(odd))
    voice.say("odd", image=voice.image(odd))


def refer(voice: Voice) -> None:
    """Another image shows what a reference shows."""
    references = [k for k in voice.numbers if voice.ref(k).role == "reference"] or [1]
    reference = references[0]
    if reference in voice.sample.target_images:
        search(voice)
    elif voice.sample.relation == "part_of" or voice.label == "patch":
        voice.say("part_of_one", ref=voice.image(reference))
        voice.say("part_found", image=voice.image(min(voice.sample.target_images)))
    elif voice.is_named and voice.holds(reference):
        voice.say("reference", image=voice.image(reference))
        voice.say("find_again")
        _look_through(voice, _others(voice, reference))
    else:
        voice.say("find_unknown", image=voice.image(reference))
        _look_through(voice, _others(voice, reference))


def region(voice: Voice) -> None:
    """One image is cut out of another, in which its place is to be found."""
    source = min(voice.sample.target_images)
    cut = _cut_out(voice, source)
    if cut is None:
        search(voice)
        return
    if voice.is_named and voice.holds(cut):
        voice.say("reference", image=voice.image(cut))
    voice.say("cut_out", ref=voice.image(cut), image=voice.image(source))


_REGION = re.compile(rf"\b({ordinals.ANY}) region\b", re.IGNORECASE)


def _cut_out(voice: Voice, source: int) -> int | None:
    """The image that the question says is a part of ``source``: "Image-3", or "the second region" after the source."""
    asked, question = voice.sample.meta.get("asked_image"), prose_of(voice.sample.question)
    if isinstance(asked, int):
        return asked
    if region_named := _REGION.search(question):
        found = [ordinals.number(region_named[1]) + 1]
    else:
        found = [k for k in mentioned(question) if k != source]
    return next((k for k in found if k in voice.numbers), None)


def tracking(voice: Voice) -> None:
    """An object that is marked in one frame, in another frame."""
    marked, (asked, *more) = _marked(voice), sorted(voice.sample.target_images)
    voice.say("frames", n=number(len(voice.numbers)))
    if marked is not None and marked != asked:
        _name_marked(voice, marked)
    if more:
        voice.say("asks_images", **voice.images([asked, *more]))
    elif voice.notes(asked):
        voice.say("shows_it", image=voice.image(asked), list=voice.objects(asked))
    else:
        voice.say("asked_frame", image=voice.image(asked))
    if marked is not None and marked != asked and len(voice.sample.targets) == 1:
        way = direction(boxes_in(voice.sample.question)[0][1], voice.sample.targets[0].box)
        names = {"ref": voice.image(marked), "image": voice.image(asked)}
        voice.say("motion", way=way, **names) if way else voice.say("no_motion", **names)


def multi_view(voice: Voice) -> None:
    """An object that is marked in one view of a place, in another view."""
    marked = _marked(voice) or 1
    if marked in voice.sample.target_images:
        search(voice)
        return
    if "view" in voice.sample.question:
        voice.say("views")
    _name_marked(voice, marked)
    _look_through(voice, _others(voice, marked))


def correspondence(voice: Voice) -> None:
    """The counterpart of a marked object: of the same kind, perhaps with another name."""
    marked, reference = _marked(voice) or 1, _text(voice, "reference")
    if marked in voice.sample.target_images:
        search(voice)
        return
    _name_marked(voice, marked, reference)
    kind = _shared_words(reference, voice.name.bare) if reference else ""
    sought = Name(f"another {kind}") if kind else None
    if sought:
        voice.say("counterpart", name=sought)
    _look_through(voice, _others(voice, marked), sought)


def _shared_words(one: str, other: str) -> str:
    """The words with which both names end: "ring" of "red ring" and "blue ring"."""
    pairs = zip(reversed(one.split()), reversed(other.split()), strict=False)
    shared = []
    for a, b in pairs:
        if a.casefold() != b.casefold():
            break
        shared.insert(0, a)
    return " ".join(shared)


def same_instance(voice: Voice) -> None:
    """The very object that is marked; other images may show objects of the same name."""
    marked = _marked(voice) or 1
    if marked in voice.sample.target_images:
        search(voice)
        return
    _name_marked(voice, marked)
    others = _others(voice, marked)
    alike, targets = [k for k in others if voice.holds(k)], sorted(voice.sample.target_images)
    if len(alike) <= len(targets):
        _look_through(voice, others)
        return
    voice.say("alike", **voice.images(alike))
    voice.say("again_same", image=listed([voice.image(k) for k in targets]))


def common_object(voice: Voice) -> None:
    """What all images show; the question names the image to answer for."""
    shown = [k for k in voice.numbers if voice.called(k, voice.label)]
    every = len(shown) == len(voice.numbers)
    first = shown if len(shown) <= DESCRIBED else shown[: DESCRIBED - 1]
    if every:
        for k in first:
            voice.say("shows", image=voice.image(k), list=voice.objects(k, in_order=True))
        if len(first) < len(shown):
            voice.say("rest_too", n=number(len(shown) - len(first)))
    voice.say(*(("shared", "so_shared") if every else ("shared" if voice.is_named else "shared_unknown",)))
    voice.say("asked_in", image=listed([voice.image(k) for k in sorted(voice.sample.target_images)]))


def counting(voice: Voice) -> None:
    """The image with the most objects, of one kind or of all."""
    counted = _text(voice, "counted")
    counts = [len(voice.called(k, counted) if counted else voice.notes(k)) for k in voice.numbers]
    most = 1 + counts.index(max(counts))
    if not max(counts) or label_key(counted or voice.label) != label_key(voice.label):
        search(voice)
        return
    voice.say("count_of" if counted and not voice.name.is_long else "count_all")
    groups = [[k for k in voice.numbers if counts[k - 1] == n] for n in dict.fromkeys(counts)]
    words = [(voice.images(group), number(counts[group[0] - 1])) for group in groups]
    said = [f"{images['images']} {images['show']} {n.replace('no', 'none')}" for images, n in words]
    voice.say("counts", counts=listed(said))
    voice.say("most", image=voice.image(most))
    if not counted:
        voice.say("most_holds")


def companion(voice: Voice) -> None:
    """Every image may show the object; the one that is meant also shows another one, ``meta["mark"]``."""
    mark, targets = _text(voice, "mark"), sorted(voice.sample.target_images)
    if mark is None or len(targets) != 1:
        search(voice)
        return
    twice = voice.sample.task == "companion_twice"
    what = Name(mark).counted(2) if twice else listed([Name(part).a for part in mark.split(" and the ")])
    voice.say("mark_of", mark=what)
    if len(voice.numbers) <= DESCRIBED:
        for k in voice.numbers:
            if voice.notes(k):
                voice.say("shows", image=voice.image(k), list=voice.objects(k, most=KINDS_LISTED + 1))
    elif all(map(voice.holds, voice.numbers)):
        voice.say("all_show")
    voice.say("marks", mark=what, image=voice.image(targets[0]))
    if voice.sometimes():
        voice.say("meant", image=voice.image(targets[0]))


def reasoning(voice: Voice) -> None:
    """Two objects together, the largest of its kind, or what references have in common."""
    beside, compared = _text(voice, "beside"), _text(voice, "compared")
    references = [k for k in voice.numbers if voice.ref(k).role == "reference" and voice.notes(k)]
    if beside and len(voice.sample.target_images) == 1:
        _both(voice, beside)
    elif label_key(compared or "") == label_key(voice.label) and len(voice.sample.target_images) == 1:
        _largest(voice)
    elif references and not voice.sample.target_images & set(references):
        for k in references:
            voice.say("shows", image=voice.image(k), list=voice.objects(k))
        _combined(voice, references)
        _look_through(voice, _others(voice, *references))
    else:
        search(voice)


def _combined(voice: Voice, references: Sequence[int]) -> None:
    """The object that has the first word of one reference and the last word of another: colour and shape."""
    names, words = [[note.label for note in voice.notes(k)] for k in references], voice.name.bare.split()
    if [len(found) for found in names] == [1, 1] and len(words) == 2:
        (first,), (second,) = names
        if first.split()[0] == words[0] and second.split()[-1] == words[-1]:
            voice.say("combined", ref=voice.image(references[0]), ref2=voice.image(references[1]))
            return
    voice.say("combined_other")


def _both(voice: Voice, beside: str) -> None:
    (holder,), other = voice.sample.target_images, Name(beside)
    voice.say("both_of", other=other.a)
    found: dict[tuple[bool, bool], list[int]] = {}
    for k in voice.numbers:
        if k != holder and voice.notes(k):
            found.setdefault((voice.holds(k), bool(voice.called(k, beside))), []).append(k)
    for (one, two), numbers in found.items():
        if one == two:
            voice.say("neither", **voice.images(numbers))
        else:
            has, lacking = (voice.name, other) if one else (other, voice.name)
            voice.say("one_of", has_it=has.a, has_no=lacking.no, **voice.images(numbers))
    voice.say("both", image=voice.image(holder), other=other.a)
    if voice.sometimes():
        voice.say("only_both", image=voice.image(holder))


def _largest(voice: Voice) -> None:
    (holder,) = voice.sample.target_images
    voice.say("size_of")
    shares: list[str] = []
    for k in voice.numbers:
        areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (note.box for note in voice.called(k, voice.label))]
        shares += [f"{100 * max(areas):.0f} % of {voice.image(k)}"] if areas else []
    if shares:
        voice.say("sizes", sizes=listed(shares))
    if lacking := [k for k in voice.numbers if voice.lacks(k)]:
        voice.say("lacks_all", **voice.images(lacking))
    voice.say("largest", image=voice.image(holder))


IMAGE_LEVEL: dict[str, Callable[[Voice], None]] = {
    "common_object": common_object,
    "companion": companion,
    "companion_pair": companion,
    "companion_twice": companion,
    "correspondence": correspondence,
    "counting": counting,
    "diff": difference,
    "difference": difference,
    "multi_view": multi_view,
    "object_tracking": tracking,
    "odd_one_out": odd_one_out,
    "reasoning": reasoning,
    "refer": refer,
    "refer_grounding": refer,
    "region": region,
    "same_instance": same_instance,
    "view_diff": difference,
    "view_difference": difference,
}
# For tasks of other names.
BY_RELATION: dict[str, Callable[[Voice], None]] = {
    "changed_object": difference,
    "corresponds_to": correspondence,
    "part_of": region,
}
