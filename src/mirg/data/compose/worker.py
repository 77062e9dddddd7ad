"""Making one sample, as a pure function of the source, the recipe and (task, number) that any process can compute.

Each process opens the source and keeps its pool, so that it reads it once.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from mirg.data.compose.bench import Bench, Draft, Drop, Pixels
from mirg.data.compose.pool import CELLS, Pool, read_pool
from mirg.data.compose.questions import wordings
from mirg.data.compose.recipe import ComposeRecipe
from mirg.data.compose.tasks import TASKS
from mirg.errors import ImageError
from mirg.samples import DatasetFolder

# Steps of a sequence that fills the unit square evenly (Roberts 2018, the generalised golden ratio of dimension two).
_TURN, _CELL_TURN = 0.7548776662466927, 0.5698402909980532
_FREE_TRIES = 0.5  # the share of the tries after which the answer may lie in any cell


@dataclass
class Made:
    """The result for one number: a draft with its question and image sizes, or None, and why drafts were dropped.

    ``unreadable`` says what is wrong with images that cannot be opened. ``n_like`` and ``n_unlike`` count the
    distractors of the draft that are, and are not, as like as the recipe asks.
    """

    task: str
    number: int
    draft: Draft | None = None
    question: str = ""
    language: str = ""
    sizes: tuple[tuple[int, int], ...] = ()
    drops: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    n_like: int = 0
    n_unlike: int = 0


@dataclass
class Workshop:
    """The source, its pool, its pixels and the questions: what is loaded once in a process."""

    recipe: ComposeRecipe
    source: DatasetFolder
    pool: Pool

    def __post_init__(self) -> None:
        self.pixels = Pixels(self.source, self.pool, self.recipe.side)
        self.wordings = wordings(self.recipe)

    def make(self, task: str, number: int) -> Made:
        """Sample ``number`` of ``task``; every try has a separate random stream."""
        made = Made(task, number)
        recipe = self.recipe
        turn, cell_turn = turns(recipe.seed, task, number)
        for attempt in range(recipe.tries):
            rng = random.Random(f"compose:{recipe.seed}:{recipe.split}:{task}:{number}:{attempt}")
            aimed = recipe.balance and attempt < _FREE_TRIES * recipe.tries
            bench = Bench(rng, self.pool, self.pixels, recipe, turn, int(cell_turn * CELLS) if aimed else None)
            try:
                draft = TASKS[task](bench)
                sizes = tuple(
                    shown.pixels.size if shown.pixels is not None else self.pixels.size(shown.origin)
                    for shown in draft.images
                )
            except Drop as drop:
                made.drops[str(drop)] += 1
                continue
            except ImageError as error:
                made.drops["an image cannot be opened"] += 1
                made.unreadable.append(error.message)
                continue
            made.draft, made.sizes = draft, sizes
            made.n_like, made.n_unlike = bench.n_like, bench.n_unlike
            names = list(self.wordings)
            made.language = rng.choices(names, [recipe.languages[name] for name in names])[0]
            made.question = self.wordings[made.language].ask(rng, draft.kind, draft.slots)
            break
        return made


def turns(seed: int, task: str, number: int) -> tuple[float, float]:
    """Two numbers in [0, 1) that run evenly, and independently, through the samples of a task."""
    start = zlib.crc32(f"{seed}:{task}".encode()) / 2**32
    return (start + number * _TURN) % 1.0, (start + number * _CELL_TURN) % 1.0


def make_one(digest: str, recipe_json: str, item: tuple[str, int]) -> Made:
    """One item of a run; for an executor."""
    return workshop(digest, recipe_json).make(*item)


@lru_cache(maxsize=1)
def workshop(digest: str, recipe_json: str) -> Workshop:
    """The loaded source of a run; errors as of :func:`read_pool`.

    ``digest`` is that of the rows of the source: if it is another one, the source is loaded again.
    """
    recipe = ComposeRecipe.model_validate_json(recipe_json)
    source = DatasetFolder.open(recipe.source)
    return Workshop(recipe, source, read_pool(source, recipe))
