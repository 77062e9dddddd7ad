"""Looks in GRPO: the environment of a step's prompts, and how much room looks take, counted before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mirg.answers.looks import LookBudget
from mirg.console import logger
from mirg.engines.look_turns import LookTurns, look_tokens
from mirg.engines.looking import CropCache, LookEnvironment
from mirg.models.load import LoadedModel
from mirg.models.prompts import Prompt
from mirg.training.recipe import GrpoRecipe

MakeLooks = Callable[[Sequence[dict[str, Any]], Sequence[Prompt]], LookTurns]


class LookRoom(NamedTuple):
    """The most that looks add to a completion: tokens of text in all replies, and visual tokens of each crop."""

    text: int
    crops: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all replies, those of the crops included."""
        return self.text + sum(self.crops)


def look_room(budget: LookBudget, loaded: LoadedModel) -> LookRoom:
    """What a completion can hold besides what the model writes. DataError if the chat template has no second turn."""
    text, crop = look_tokens(loaded.processor, loaded.family, loaded.limits, budget)
    return LookRoom(text, (crop,) * budget.max_looks)


def counted_room(longest: int, recipe: GrpoRecipe, loaded: LoadedModel) -> int:
    """Tokens of the ``longest`` prompt with its completion and all looks; a warning if the model was made for fewer."""
    room = look_room(recipe.look, loaded).tokens
    needed = longest + recipe.max_new_tokens + room
    most = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    if room and most and needed > most:
        logger.warning(
            "the longest prompt (%d tokens), max_new_tokens = %d and up to %d tokens of looks are more than the %d"
            " tokens that the model reads: lower look.max_looks, look.crop_pixels or prompt.max_pixels",
            *(longest, recipe.max_new_tokens, room, most),
        )
    return needed


def look_turns(recipe: GrpoRecipe, loaded: LoadedModel) -> MakeLooks | None:
    """What makes the environment of rows of the dataset and their encoded prompts; None without looks.

    Crops are kept for the whole run, by the digest of their image.
    """
    if not recipe.look.max_looks:
        return None
    cache = CropCache()

    def make(rows: Sequence[dict[str, Any]], prompts: Sequence[Prompt]) -> LookTurns:
        environments = [
            LookEnvironment(row["images"], loaded.family, recipe.look, loaded.limits, _digests(row), cache)
            for row in rows
        ]
        return LookTurns(loaded.processor, environments, prompts, recipe.prompt.thinking)

    return make


def _digests(row: dict[str, Any]) -> list[str]:
    """Of the files of its images, () if one of them has none."""
    digests = [ref.sha256 for ref in row["sample"].images]
    return [digest for digest in digests if digest] if all(digests) else []
