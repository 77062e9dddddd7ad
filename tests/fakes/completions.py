"""Samples, right completions and mutated ones, all pure functions of a random generator."""

from __future__ import annotations

import random

from mirg.answers import write_completion
from mirg.families import FAMILIES, Family
from mirg.frames import to_frame
from mirg.samples.schema import ImageRef, Sample, Target

SIZES = ((72, 72), (640, 480), (1280, 720), (333, 777), (1, 1), (4000, 3000), (50, 9), (1024, 1024))
LABELS = ("", "red ring", 'a "quoted" name', "</answer>", "größe 猫", "back\\slash")


def random_box(rng: random.Random) -> tuple[float, float, float, float]:
    """A proper box in fractions, from a sliver to the whole image."""
    x1, x2 = sorted((rng.random(), rng.random()))
    y1, y2 = sorted((rng.random(), rng.random()))
    if rng.random() < 0.1:
        x1, x2 = rng.choice([(0.0, 1.0), (x1, x1 + 1e-4 if x1 < 0.99 else 1.0)])
    return (x1, y1, max(x2, x1 + 1e-9), max(y2, y1 + 1e-9))


def grid_box(rng: random.Random, size: tuple[int, int], family: Family) -> tuple[float, float, float, float]:
    """A proper box that the family can write without loss."""
    from mirg.frames import from_frame

    return from_frame(to_frame(random_box(rng), size, family), size, family)


def random_sample(rng: random.Random, family: Family | None = None, *, n_targets: int | None = None) -> Sample:
    """A sample of 1-6 images with 0-4 targets; with ``family``, its boxes are on that family's grid."""
    sizes = [rng.choice(SIZES) for _ in range(rng.randint(1, 6))]
    count = rng.choice([0, 1, 1, 1, 2, 3, 4]) if n_targets is None else n_targets
    targets = []
    for _ in range(count):
        image = rng.randint(1, len(sizes))
        box = grid_box(rng, sizes[image - 1], family) if family else random_box(rng)
        targets.append(Target(image=image, box=box, label=rng.choice(LABELS)))
    return Sample(
        id=f"s{rng.getrandbits(32)}",
        task="group_grounding",
        images=tuple(ImageRef(path=f"images/{i}.png", width=w, height=h) for i, (w, h) in enumerate(sizes)),
        question="Where is the red ring?",
        targets=tuple(targets),
    )


def right_completion(sample: Sample, family: Family, style=None) -> str:
    """What a model that knows the truth would write."""
    return write_completion("Target: red ring. Found: red ring Image-2.", sample.targets, sample.sizes, family, style)


# What models really write, right and wrong, for any prompt.
WRITTEN = (
    "<think>Image-2 shows it.</think><answer>Image-2: (40,80),(400,520)</answer><|im_end|>",
    "<think>\nImage-1: no.\n</think>\n<answer>\nImage-2: (40,80),(400,520)\nImage-3: (0,0),(1000,1000)\n</answer>",
    '```json\n[\n\t{"bbox_2d": [10, 20, 300, 400], "label": "ring", "image": 2}\n]\n```',
    '<think>x</think><answer>```json\n{"image": "Image-1", "bbox_2d": [1.5, 2, 3e2, 4]}\n```</answer>',
    "It's in the third image. <|box_start|>(316,58),(764,999)<|box_end|>",
    "<answer><|object_ref_start|>cat<|object_ref_end|>Image-1: <|box_start|>(316,58),(764,999)<|box_end|></answer>",
    "<think>a</think><answer>Image-1: <box>[[316, 58, 764, 999]]</box></answer>",
    "<think>a</think>\n<answer><|begin_of_box|>Image-2: [[1,2,300,400]]<|end_of_box|></answer><|user|>",
    "<think>none of them</think><answer>none</answer>",
    "<think></think><answer>[]</answer>",
    "<think>" + "Image-2: (40,80),(400,520). " * 40,
    "<answer>Image-9: (40,80),(400,520)</answer>",
    "Image-0: (500,500),(100,100)",
)

HOSTILE = (
    *("1e309", "-1e309", "NaN", "nan", "Infinity", "-0", "9" * 400, "0." + "0" * 300 + "1"),
    *("٣٤", "４０", "१२", "²", "\ud800", "\udfff", "\x00", "\u2028", "\u202e", "😀", "ımage-1", "İmage-2"),
    *("<|image_pad|>", "<|vision_start|>", "<IMG_CONTEXT>", "<|im_end|>", "<|box_start|>", "<box>", "</box>"),
    *("<think>", "</think>", "<answer>", "</answer>", "none", "Image-", "Image-0", "Image-1:", "Image-99999999999"),
    *("[", "]", "(", ")", "{", "}", '"', "\\", ",", ":", ".", "-", "+", "e", "\n", "\t", "```", "```json"),
    *('{"image": 1, "bbox_2d": [', '"bbox_2d": null', "null", "true", "(" * 50, "[" * 50, "<|object_ref_start|>"),
)


def mutate(rng: random.Random, text: str, other: str) -> str:
    """One to six random damages; now and then a very deep or very long text."""
    for _ in range(rng.randint(1, 6)):
        a = rng.randint(0, len(text))
        b = min(len(text), a + rng.randint(0, 12))
        kind = rng.randrange(7)
        if kind == 0:
            text = text[:a] + text[b:]
        elif kind == 1:
            text = text[:a] + rng.choice(HOSTILE) + text[b:]
        elif kind == 2:
            text = text[:a] + rng.choice(HOSTILE) + text[a:]
        elif kind == 3:
            text = text[:b] + text[a:b] * rng.randint(1, 4) + text[b:]
        elif kind == 4:
            text = text[:a] + chr(rng.choice([rng.randrange(128), rng.randrange(0x110000)])) + text[a + 1 :]
        elif kind == 5:
            text = text[:a] + other[rng.randint(0, len(other)) :]
        else:
            text = text[a:] if rng.random() < 0.3 else text[:a] if rng.random() < 0.5 else text[a:] + text[:a]
    if rng.random() < 0.001:
        opening = rng.choice("[({") * rng.choice([1000, 8000, 100_000])
        text = f"<answer>{opening}{text}" if rng.random() < 0.5 else opening + text
    return text


def mutants(seed: int, count: int):
    """``count`` triples (mutated completion, sample, family)."""
    rng = random.Random(seed)
    families = list(FAMILIES.values())
    pool = [(f, random_sample(rng, f)) for f in families for _ in range(12)]
    right = [right_completion(s, f, rng.choice(["text", "json"])) for f, s in pool]
    seeds = [*right, *WRITTEN * 3]
    for _ in range(count):
        family, sample = rng.choice(pool)
        yield mutate(rng, rng.choice(seeds), rng.choice(seeds)), sample, family
