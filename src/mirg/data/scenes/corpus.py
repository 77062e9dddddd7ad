"""Texts with every word of the procedural world, from which the tokenizer of the tiny model is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mirg.data.scenes.generate import Split, generate, to_sample
from mirg.data.scenes.world import MEDIUM, WorldConfig
from mirg.samples.schema import ImageRef
from mirg.trajectories.writer import write_thinking


def corpus(
    seed: int = 0,
    n: int = 1000,
    *,
    split: Split | str = "train",
    config: WorldConfig = MEDIUM,
    tasks: Sequence[str] | None = None,
) -> Iterator[str]:
    """The questions and the reasoning of ``n`` samples as texts with box markup. No image is rendered."""
    for key, draft in generate(tasks, n, split=split, seed=seed, config=config):
        refs = [ImageRef(path=f"{k}.png", width=config.side, height=config.side) for k in range(len(draft.pictures))]
        sample = to_sample(key, draft, refs)
        yield sample.question
        yield write_thinking(sample)


def names(config: WorldConfig = MEDIUM) -> list[str]:
    """Every object name, ``"red circle"`` … ``"pink moon"``, also those that a corpus does not contain."""
    return list(config.vocabulary)
