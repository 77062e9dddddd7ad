"""The plain voice of the rules: the same facts as :mod:`mirg.trajectories.writer`, in sentences, images first.

The image level says what each image shows as far as the question needs it, how the images relate, and which image
therefore holds the target; the object level says where in it. A statement is true of the annotation or of the truth;
an image without annotation is not described. The sentences are in ``plain.yaml``, several for each statement. Which of
them a chain holds depends on the sample's id and a seed only. The language is English, that of the labels may be any.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby

from mirg.answers import ordinals
from mirg.answers.markup import cited as boxes_in
from mirg.samples.coverage import label_key
from mirg.samples.schema import Sample, Trajectory
from mirg.trajectories.chain import mentioned, prose_of
from mirg.trajectories.english import Name, listed, number
from mirg.trajectories.voice import KINDS_LISTED, Voice, direction, forms, kinds_of
from mirg.trajectories.writer import ordered

WRITER = "rules-plain/1"
DESCRIBED = 4  # images that are described one by one; of more, only what sets some of them apart is said


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


_EVERY = re.compile(r"\b(?:all|every|each)\b", re.IGNORECASE)

# --- what several tasks share ----------------------------------------------------------------------------------------


def search(voice: Voice) -> None:
    """The object is named, and has to be found in one image, in several, or in none."""
    sample = voice.sample
    if not sample.targets and voice.label == "patch":
        return _no_patch(voice)
    named = set(mentioned(prose_of(sample.question)))
    if sample.targets and (sample.target_images <= named or len(voice.numbers) == 1):
        _in_named_image(voice)
        return
    if voice.name.is_long:
        voice.say("look")
    else:
        every = len(sample.targets) > 1 or _EVERY.search(sample.question)
        voice.say("asks_every" if every and "many" in forms(voice.name) else "asks_one")
        if voice.sometimes(0.4) and len(voice.numbers) <= DESCRIBED:
            voice.say("look")
    _look_through(voice, list(voice.numbers))


def _no_patch(voice: Voice) -> None:
    """Photographs of which none holds the part that is shown, or which are equal."""
    if references := [k for k in voice.numbers if voice.ref(k).role == "reference"]:
        voice.say("find_unknown", image=voice.image(references[0]))
        voice.say("part_of_none", ref=voice.image(references[0]))
    else:
        voice.say("compare")
        voice.say("all_equal")


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
        kinds = kinds_of(note.label for k in rest for note in voice.notes(k))
        voice.say_of(sought, "rest_lacks" if held else "all_lack", n=number(len(rest)), list=kinds)
    elif held:
        every = len(among) == len(voice.numbers) and lacking and bool(rest)
        counted = {"n": number(len(among)), "others": "the other does" if len(rest) == 1 else "the others do"}
        voice.say_of(sought, "only_show" if every else "some_show", **counted, **voice.images(held))
        if every:
            return
    _conclude(voice, among, sought is None)


def _each(voice: Voice, among: Sequence[int], sought: Name | None) -> None:
    """A sentence for every image with annotation, in order, and one for the others that are known to lack it."""
    for k in among:
        kind = "lacks" if voice.lacks(k) else "shows_it" if voice.holds(k) else "shows"
        if voice.notes(k):
            voice.say_of(sought, kind, image=voice.image(k), list=voice.objects(k))
        elif voice.holds(k):
            voice.say_of(sought, "some_show", **voice.images([k]))
    if lacking := [k for k in among if not voice.notes(k) and voice.lacks(k)]:
        voice.say_of(sought, "lacks_all", **voice.images(lacking))


def _conclude(voice: Voice, among: Sequence[int], by_name: bool) -> None:
    targets = sorted(voice.sample.target_images)
    if not targets:
        voice.say("so_none")
    elif len(targets) > 1:
        if voice.sometimes():
            voice.say("so_many", **voice.images(targets))
    elif all(voice.lacks(k) for k in among if k not in targets):
        if voice.sometimes():
            only = "so_only" if len(among) == len(voice.numbers) else "so_only_other"
            voice.say("so_one", *([only] if by_name else []), image=voice.image(targets[0]))
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
        voice.say_of(Name(label) if label else None, "marked", image=voice.image(image))
    else:
        voice.say("marked_unknown", image=voice.image(image))


# --- tasks -----------------------------------------------------------------------------------------------------------


def difference(voice: Voice) -> None:
    """Images that agree but for one object, which only one of them shows or which has changed."""
    if len(voice.sample.target_images) > 1:
        return search(voice)
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
        voice.say("same" if pair else "same_all", list=kinds_of(same))
    if changed:
        how = {"moved": "moved", "recoloured": "recoloured"}.get(_text(voice, "alteration") or "", "changed")
        voice.say(how if pair else "changed_in_one")
        voice.say("asked_in", image=image)
    else:
        rest = "image does not show" if pair else "images do not show"
        voice.say("only_one" if same else "only_one_alone", image=image, rest=rest)


def odd_one_out(voice: Voice) -> None:
    """One image shows another object than the rest."""
    if voice.label == "patch":
        return difference(voice)
    if len(voice.sample.target_images) != 1 or not any(voice.notes(k) for k in voice.numbers):
        return search(voice)
    (odd,) = voice.sample.target_images
    shown = {k: voice.objects(k) for k in voice.numbers if k != odd and voice.notes(k)}
    groups = {what: [k for k in shown if shown[k] == what] for what in shown.values()}
    if len(groups) == 1 and len(shown) > DESCRIBED:
        voice.say("most_show", count=number(len(shown)), n=number(len(voice.numbers)), list=min(groups))
        groups = {}
    for what, numbers in groups.items():
        voice.say("each_shows", list=what, **voice.images(numbers))
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


def multi_target(voice: Voice) -> None:
    """Several objects of a name, or several copies of what a reference shows."""
    references = [k for k in voice.numbers if voice.ref(k).role == "reference"]
    if not references or voice.label != "patch":
        return search(voice)
    voice.say("find_unknown", image=voice.image(references[0]))
    voice.say("found_again", **voice.images(sorted(voice.sample.target_images)))


def none_of_them(voice: Voice) -> None:
    """A part of a photograph, or a difference between photographs, that might not be there."""
    (refer if voice.sample.relation == "part_of" else difference)(voice)


def region(voice: Voice) -> None:
    """One image is cut out of another, in which its place is to be found."""
    source = min(voice.sample.target_images)
    cut = _cut_out(voice, source)
    if cut is None:
        return search(voice)
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
    times = [voice.ref(k).frame for k in voice.numbers]
    known = [time for time in times if time is not None]
    if voice.label != "patch":  # a patch is seen before several backgrounds
        voice.say("frames", *(["frames_in_order"] if times == sorted(known) else []), n=number(len(voice.numbers)))
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
        return search(voice)
    if "view" in voice.sample.question:
        voice.say("views")
    _name_marked(voice, marked)
    _look_through(voice, _others(voice, marked))


def correspondence(voice: Voice) -> None:
    """The counterpart of a marked object: of the same kind, perhaps with another name."""
    marked, reference = _marked(voice) or 1, _text(voice, "reference")
    if marked in voice.sample.target_images:
        return search(voice)
    _name_marked(voice, marked, reference)
    kind = _shared_words(reference, voice.name.bare) if reference else ""
    sought = Name(f"another {kind}") if kind else None
    if sought:
        voice.say_of(sought, "counterpart")
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
        return search(voice)
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
    if every:
        voice.say("shared", "so_shared", *(["in_every"] if first == shown else []))
    else:
        voice.say("shared" if voice.is_named else "shared_unknown")
    voice.say("asked_in", image=listed([voice.image(k) for k in sorted(voice.sample.target_images)]))


def counting(voice: Voice) -> None:
    """The image with the most objects, of one kind or of all."""
    counted = _text(voice, "counted")
    counts = [len(voice.called(k, counted) if counted else voice.notes(k)) for k in voice.numbers]
    most = 1 + counts.index(max(counts))
    tied = counts.count(max(counts)) > 1
    if tied or {most} != voice.sample.target_images or label_key(counted or voice.label) != label_key(voice.label):
        return search(voice)
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
        return search(voice)
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
    elif label_key(compared or "") == label_key(voice.label) and {_largest_image(voice)} == voice.sample.target_images:
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
        if not one and not two:
            voice.say("neither", **voice.images(numbers))
        elif one != two:
            has, lacking = (voice.name, other) if one else (other, voice.name)
            voice.say("one_of", has_it=has.a, has_no=lacking.no, **voice.images(numbers))
    voice.say("both", image=voice.image(holder), other=other.a)
    if (True, True) not in found and voice.sometimes():
        voice.say("only_both", image=voice.image(holder))


def _largest(voice: Voice) -> None:
    voice.say("size_of")
    shares = {k: _share(voice, k) for k in voice.numbers if voice.called(k, voice.label)}
    voice.say("sizes", sizes=listed([f"{100 * share:.0f} % of {voice.image(k)}" for k, share in shares.items()]))
    if lacking := [k for k in voice.numbers if voice.lacks(k)]:
        voice.say("lacks_all", **voice.images(lacking))
    voice.say("largest", image=voice.image(_largest_image(voice)))


def _share(voice: Voice, k: int) -> float:
    """The share of image ``k`` that the largest object of the subject's name takes; 0 if it shows none."""
    boxes = (note.box for note in voice.called(k, voice.label))
    return max(((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes), default=0.0)


def _largest_image(voice: Voice) -> int:
    return max(voice.numbers, key=lambda k: _share(voice, k))


IMAGE_LEVEL: dict[str, Callable[[Voice], None]] = {
    "common_object": common_object,
    "companion": companion,
    "companion_pair": companion,
    "companion_twice": companion,
    "correspondence": correspondence,
    "counting": counting,
    "diff": difference,
    "difference": difference,
    "multi_target": multi_target,
    "multi_view": multi_view,
    "none_of_them": none_of_them,
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
