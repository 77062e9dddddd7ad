"""How far the object notes of an image are complete, and which objects are the same one in several images.

Importers write this down, ``mirg data compose`` and exports read it (``docs/concepts/samples.md``). The keys of
``Sample.meta`` hold for every image of the sample:

* ``incomplete``: reasons why objects may be missing, for example ``["refused_box"]``;
* ``categories``: the labels that the images were annotated for; about other labels nothing is known;
* ``vocabulary``: a name that all images share which were annotated for the same, long list of categories;
* ``annotated``: true for an image without objects that was annotated, so that it holds none of its categories.

Attributes of an object note: ``iscrowd`` and ``ignore`` mark a region that is no single object. Two notes with the same
``instance_id`` are about the same object if their ``instance_scope`` (for example, one film) is equal as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from pydantic import JsonValue

from mirg.samples.schema import ObjectNote, Sample

INCOMPLETE, CATEGORIES, VOCABULARY, ANNOTATED = "incomplete", "categories", "vocabulary", "annotated"
CROWD, IGNORE, INSTANCE, SCOPE = "iscrowd", "ignore", "instance_id", "instance_scope"
REFUSED_BOX, CROWD_REGION, IGNORED_REGION = "refused_box", "crowd", "ignored_region"
ONLY_TARGETS, UNKNOWN = "only_targets", "not_said"
# Labels that mark where nobody annotated; a label map does not change them.
REGION_NAMES = frozenset({"ignored region", "ignored regions", "ignore", "ignored", "dontcare", "don't care"})


def label_key(label: str) -> str:
    """``label`` in lower case with single spaces: labels with the same key are one label."""
    return " ".join(label.casefold().split())


def vocabulary_name(labels: Iterable[str]) -> str:
    """A name that two files share if their images are annotated for the same labels, in upper or lower case."""
    keys = sorted(set(map(label_key, labels)))
    return hashlib.sha256("\n".join(keys).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def region_reasons(notes: Iterable[ObjectNote]) -> frozenset[str]:
    """Why the notes of an image are not a complete list of its objects: it has crowds or ignored regions."""
    words = {CROWD: CROWD_REGION, IGNORE: IGNORED_REGION}
    return frozenset(words[key] for note in notes for key in words if note.attributes.get(key))


def instance_of(note: ObjectNote) -> tuple[str, str] | None:
    """(scope, id) of the object that a note is about, or None if the annotation does not identify it."""
    name, scope = note.attributes.get(INSTANCE), note.attributes.get(SCOPE, "")
    if not isinstance(name, str) or not name or not isinstance(scope, str):
        return None
    return scope, name


@dataclass(frozen=True)
class Coverage:
    """What the meta data of a sample say about the notes of its images.

    ``categories`` holds label keys, and is None if the sample has no such list. ``vocabularies`` holds one name at most
    for a sample, and several if the notes of several samples about one image were put together.
    """

    incomplete: frozenset[str] = frozenset()
    categories: frozenset[str] | None = None
    vocabularies: frozenset[str] = frozenset()
    annotated: bool = False

    @classmethod
    def of(cls, sample: Sample) -> Coverage:
        """The coverage of a sample. A value that cannot be understood makes the annotation incomplete."""
        listed, vocabulary = sample.meta.get(CATEGORIES), sample.meta.get(VOCABULARY)
        reasons = _texts(sample.meta.get(INCOMPLETE) or [])
        categories = None if listed is None else _texts(listed)
        broken = reasons is None or (listed is not None and categories is None)
        named = isinstance(vocabulary, str)
        return _shared(
            frozenset([UNKNOWN]) if broken else reasons or frozenset(),
            None if categories is None else frozenset(map(label_key, categories)),
            # A list for this image is more exact than the one of its file.
            frozenset([vocabulary] if named and vocabulary and listed is None else ()),
            sample.meta.get(ANNOTATED) is True and (listed is not None or named),
        )

    @property
    def said(self) -> bool:
        """Whether anything is known of the categories that the images were annotated for."""
        return self.categories is not None or bool(self.vocabularies)

    def joined(self, other: Coverage) -> Coverage:
        """The coverage of an image that has the notes of both: reasons and categories of either one."""
        both = (self.categories, other.categories)
        known = None if both == (None, None) else frozenset().union(*(part for part in both if part is not None))
        return Coverage(
            self.incomplete | other.incomplete, known, self.vocabularies | other.vocabularies,
            self.annotated or other.annotated,
        )  # fmt: skip


def coverage_meta(incomplete: Iterable[str], categories: Iterable[str] | None, vocabulary: str) -> dict[str, JsonValue]:
    """The keys of ``Sample.meta`` that say so; a key without information is left out."""
    reasons: list[JsonValue] = [*sorted(set(incomplete))]
    found: dict[str, JsonValue] = {INCOMPLETE: reasons} if reasons else {}
    if categories is not None:
        return {**found, CATEGORIES: [*sorted(set(categories))]}
    return {**found, VOCABULARY: vocabulary} if vocabulary else found


# Most samples of a dataset have the same coverage, and it has a hundred thousand images.
_shared = lru_cache(maxsize=256)(Coverage)


def _texts(value: JsonValue) -> frozenset[str] | None:
    """A list of texts as a set, or None if ``value`` is anything else."""
    if not isinstance(value, list):
        return None
    texts = [item for item in value if isinstance(item, str)]
    return frozenset(texts) if len(texts) == len(value) else None
