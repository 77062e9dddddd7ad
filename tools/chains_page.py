"""Writes docs/concepts/chains.md: forty chains of the plain voice, of scenes and of samples like those of photographs.

``python tools/chains_page.py``; a test compares the page with what this tool writes.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from mirg.answers.markup import box_markup, render
from mirg.data.scenes.generate import generate, to_sample
from mirg.data.scenes.world import MEDIUM
from mirg.families import QWEN3_VL
from mirg.samples import ImageRef, ObjectNote, Relation, Role, Sample, Target
from mirg.trajectories.plain import build_plain

PAGE = Path(__file__).resolve().parent.parent / "docs" / "concepts" / "chains.md"
SEED = 29
MANY = MEDIUM.model_copy(update={"images": (12, 12), "frames": (12, 12)})
MANY_TASKS = ("common_object", "odd_one_out", "multi_target", "correspondence")

HEAD = """# What the rules write: forty chains

`mirg trajectories build DATASET OUT` writes the reasoning of a sample from its annotation, in one of two voices:

- `--voice plain`, the default: sentences as below, for models with a real language model. Each statement is drawn from
  several wordings by the id of the sample and `--seed`. The same sample and seed give the same text, byte for byte.
- `--voice terse`: the [short forms](trajectories.md) for mirg-tiny, which has a language model of 3 M parameters.
  `make demo` and the project's study use them.

Both say the same facts in the same order: what each image shows as far as the question needs it, how the images relate,
which image therefore holds the target, and where in it. Up to four images are described one by one; of more, the chain
says what the image of the target shows and what the others show instead. An image without annotation is not described,
and an object is only said to be missing if the annotation is complete or the truth of the question says so. Chains are
in English, regardless of the language of the question: labels are those of the annotation, and the answer has the same
grammar in every language.

The chains below are what a Qwen3-VL model is trained on (boxes in its frame of 0 to 1000). They come from the
[procedural world](scenes.md) and from small samples with labels of photographs whose boxes are drawn at random. Each
passes [every check](trajectories.md). `python tools/chains_page.py` writes this page.
"""

# (task, relation, question, images, targets, meta). An image is its role and the labels of its objects.
Row = tuple[str, Relation, str, list[str], list[tuple[int, str]], dict[str, Any]]
PHOTOGRAPHS: list[Row] = [
    (
        "group_grounding", "none", "Which image shows a bottle, and where in it?",
        ["chair, chair, dining table, person", "bottle, sandwich, dining table", "couch, cat", "person, umbrella"],
        [(2, "bottle")], {},
    ),
    (
        "multi_target", "same_category", "Find every person.",
        ["horse, person, person, person", "skis", "bench, person, backpack"], [(1, "person"), (3, "person")], {},
    ),
    (
        "none", "none", "Is there a tennis racket in any of the images? Point to it.",
        ["sports ball, person, person", "umbrella, person", "baseball bat, person"], [], {"subject": "tennis racket"},
    ),
    (
        "common_object", "same_category", "What do all images have in common? Mark it in Image-3.",
        ["oven, microwave, knife, knife", "oven, sink, vase, bowl", "refrigerator, person, oven"], [(3, "oven")], {},
    ),
    (
        "refer", "same_object", "Image-1 is a close-up of an object. Which other image shows this object, and where?",
        ["reference: airplane", "person, tie", "truck, airplane, person", "kite, kite, kite, person"],
        [(3, "airplane")], {},
    ),
    (
        "region", "part_of", "Image-3 is cut out of Image-1. Find its object there.",
        ["source: clock, person, spoon", "distractor: person", "reference: clock"], [(1, "clock")], {"asked_image": 3},
    ),
    (
        "difference", "changed_object", "One image has an object more than the other. Where is it?",
        ["potted plant, vase", "potted plant, vase, bottle"], [(2, "bottle")], {"alteration": "added"},
    ),
    (
        "difference", "changed_object", "Which object has changed? Mark it in Image-1.",
        ["umbrella, person, wine glass", "umbrella, person, wine glass"], [(1, "umbrella")],
        {"alteration": "recoloured", "told": True},
    ),
    (
        "view_difference", "changed_object", "Two views of one place. What was moved? Find it in Image-2.",
        ["car, traffic light", "car, traffic light"], [(2, "car")], {"alteration": "moved", "told": True},
    ),
    (
        "object_tracking", "same_object", "Where is the object at {box} of Image-1 in Image-3?",
        ["frame: skateboard, person", "frame: skateboard, person", "frame: skateboard, person, bench"],
        [(3, "skateboard")], {"marked": "skateboard", "told": True},
    ),
    (
        "correspondence", "corresponds_to", "Welches andere Bild zeigt die Art von Objekt bei {box} in Image-1?",
        ["reference: dog, frisbee", "cat, couch", "dog, person, bench"], [(3, "dog")],
        {"reference": "dog", "marked": "dog"},
    ),
    (
        "same_instance", "same_object", "Which other image shows the same person as {box} of Image-1?",
        ["reference: person, backpack", "person, handbag", "bus", "person, person, bus"], [(2, "person")],
        {"marked": "person"},
    ),
    (
        "counting", "same_category", "In which image are wine glasses most numerous? Give all boxes in it.",
        ["wine glass, person", "wine glass, wine glass, wine glass, pizza", "cup, cup"], [(2, "wine glass")],
        {"counted": "wine glass"},
    ),
    (
        "reasoning", "same_category", "Which image shows both a toilet and a potted plant? Point to the toilet in it.",
        ["toilet, sink", "potted plant, couch", "toilet, potted plant", "bed"], [(3, "toilet")],
        {"beside": "potted plant"},
    ),
    (
        "reasoning", "same_category", "In which image does the cat take up the largest share? Point to it there.",
        ["cat, remote", "book", "cat, couch"], [(3, "cat")], {"compared": "cat"},
    ),
    (
        "difference", "changed_object", "One of the two images has an altered patch. Where is it?",
        ["", "patch"], [(2, "patch")], {},
    ),
    (
        "refer", "part_of", "Image-1 is a part of one of the other images. Which image is it, and where is the part?",
        ["reference: patch", "", "patch", ""], [(3, "patch")], {},
    ),
    (
        "grounding", "none", "Find the region that this sentence describes: the man on the far right of the stage.",
        ["", "", ""], [(2, "the man on the far right of the stage")], {},
    ),
    ("detection", "none", "Point to every giraffe.", ["giraffe, giraffe, zebra"], [(1, "giraffe")], {}),
]  # fmt: skip


def photograph_samples() -> Iterator[Sample]:
    """The rows above as samples, with boxes drawn at random."""
    rng = random.Random(SEED)
    for number, (task, relation, question, images, targets, meta) in enumerate(PHOTOGRAPHS):
        refs = [_image(rng, f"{number}-{k}", text) for k, text in enumerate(images, 1)]
        found = tuple(
            Target(image=k, label=label, box=box)
            for k, label in targets
            for box in [note.box for note in refs[k - 1].objects if note.label == label] or [_box(rng)]
        )
        marked = next((note.box for note in refs[0].objects if note.label == meta.get("marked")), None)
        yield Sample(
            id=f"photographs-{number}",
            task=task,
            images=tuple(refs),
            question=question.format(box=box_markup(1, marked)) if marked else question,
            targets=found,
            relation=relation,
            image_hidden=len(refs) > 1 and not meta.get("told") and task not in ("common_object", "region"),
            meta={key: value for key, value in meta.items() if key not in ("marked", "told")},
        )


def _image(rng: random.Random, name: str, text: str) -> ImageRef:
    given, _, labels = text.rpartition(": ")
    role = cast("Role", given or "candidate")
    notes = [ObjectNote(label=label, box=_box(rng)) for label in labels.split(", ") if label]
    return ImageRef(path=f"{name}.jpg", width=640, height=480, role=role, objects=tuple(notes))


def _box(rng: random.Random) -> tuple[float, float, float, float]:
    x, y = round(rng.uniform(0, 0.6), 3), round(rng.uniform(0, 0.6), 3)
    return (x, y, round(x + rng.uniform(0.1, 0.4), 3), round(y + rng.uniform(0.1, 0.4), 3))


def scene_samples() -> Iterator[Sample]:
    """One sample of each task of the procedural world, and some with twelve images."""
    for tasks, config in ((None, MEDIUM), (MANY_TASKS, MANY)):
        count = 17 if tasks is None else len(tasks)
        for key, draft in generate(tasks, count, split="train", seed=SEED, config=config):
            refs = [ImageRef(path=f"{k}.png", width=96, height=96) for k in range(len(draft.pictures))]
            yield to_sample(key, draft, refs)


def page() -> str:
    """The text of the page."""
    parts = [HEAD]
    for title, samples in (("scenes", scene_samples()), ("labels of photographs", photograph_samples())):
        parts.append(f"\n## With {title}\n")
        parts += [_shown(sample) for sample in samples]
    return "".join(parts)


def _shown(sample: Sample) -> str:
    asked, said = (render(text, sample.sizes, QWEN3_VL) for text in (sample.question, build_plain(sample).thinking))
    count = f"{len(sample.images)} image{'s' if len(sample.images) > 1 else ''}"
    return f"\n**{sample.task}**, {count}: {asked}\n\n> {said}\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
