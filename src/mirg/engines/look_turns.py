"""Looks of a local model: the replies of :class:`mirg.engines.looking.LookEnvironment` as token ids and image inputs.

What a model reads after a look is what its chat template writes between two turns of the assistant
(:func:`mirg.models.prompts.further_turn`), the same in rollouts, evaluations and SFT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mirg.answers.blocks import LOOK_CLOSE
from mirg.answers.looks import LookBudget, crop_size, cut_turn, joined
from mirg.engines.looking import Crop, LookEnvironment, Refusal
from mirg.errors import ImageError
from mirg.families import Family, PixelLimits
from mirg.frames import Size
from mirg.models.prompts import Branch, Prompt, encode_text, further_turn
from mirg.samples.tokens import image_tokens, mark_tokens

if TYPE_CHECKING:
    from PIL.Image import Image

_CLOSES = LOOK_CLOSE[-1]
_PROPORTIONS = 64
REFUSAL = 64  # tokens of the longest refusal, by which it may be longer than the name of a crop
_REFUSED = {"role": "user", "content": [{"type": "text", "text": "No look is left."}]}


class LookTurns:
    """The environment of :func:`mirg.models.turns.complete_in_turns` for some prompts, in their order.

    ``opened`` is the beginning of an answer that the chat template writes, as in :class:`mirg.models.prompts.Prompt`.
    """

    def __init__(
        self,
        processor: Any,
        environments: Sequence[LookEnvironment],
        prompts: Sequence[Prompt],
        thinking: bool | None = None,
    ) -> None:
        self.environments = environments
        self._processor, self._prompts, self._thinking = processor, prompts, thinking

    def pauses(self, ids: Sequence[int]) -> bool:
        """Whether a turn of these tokens has just closed its first look."""
        tokenizer = self._processor.tokenizer
        # Few tokens can close a look, so that few turns are decoded.
        if _CLOSES not in str(tokenizer.convert_ids_to_tokens(ids[-1])):
            return False
        return LOOK_CLOSE in cut_turn(tokenizer.decode(ids, skip_special_tokens=True))

    def reply(self, prompt: int, branch: Branch) -> Prompt | None:
        """The crop or the refusal that follows the last turn of ``branch``; None if the turn is final."""
        answer = self.environments[prompt].answer(self.turns(prompt, branch))
        if answer is None:
            return None
        message = answer.message
        told = further_turn(self._processor, message, "a look", thinking=self._thinking)
        end = self._processor.tokenizer.eos_token
        text = told.text
        if branch.ids[-1] == self._processor.tokenizer.eos_token_id:  # written by the model, behind its look
            text = text.removeprefix(end)
        return encode_text(self._processor, text, [answer.image] if isinstance(answer, Crop) else [], "a look")

    def turns(self, prompt: int, branch: Branch) -> list[str]:
        """The turns of the model in ``branch``, each with what the chat template wrote of it."""
        decode = self._processor.tokenizer.decode
        said = [decode(ids, skip_special_tokens=True) for own, ids in branch.runs if own]
        opened = [self._prompts[prompt].opened, *[self.opened] * (len(said) - 1)]
        return [begun + text for begun, text in zip(opened, said, strict=True)]

    def text(self, prompt: int, branch: Branch) -> str:
        """What the model wrote, as one completion without what the chat template wrote before it."""
        return joined(self.turns(prompt, branch)).removeprefix(self._prompts[prompt].opened)

    def answers(self, prompt: int, branch: Branch) -> list[Crop | Refusal]:
        """The replies in ``branch``, in order."""
        turns = self.turns(prompt, branch)
        found = (self.environments[prompt].answer(turns[:k]) for k in range(1, branch.replies + 1))
        return [answer for answer in found if answer is not None]

    def crops(self, prompt: int, branch: Branch) -> list[Image]:
        """The images that were shown in ``branch``, in order."""
        return [answer.image for answer in self.answers(prompt, branch) if isinstance(answer, Crop)]

    @cached_property
    def opened(self) -> str:
        """What the chat template writes of every turn after the first."""
        return further_turn(self._processor, _REFUSED, "a look", thinking=self._thinking).opened


def look_tokens(processor: Any, family: Family, limits: PixelLimits, budget: LookBudget) -> tuple[int, int]:
    """The most tokens of the replies to one completion: those of their text, and the visual ones of each crop."""
    if not budget.max_looks:
        return 0, 0
    message = {"role": "user", "content": [{"type": "text", "text": "Image-12a: "}, {"type": "image", "text": None}]}
    text = further_turn(processor, message, "a look").text
    crops = list(crop_sizes(family, limits, budget))
    words = len(processor.tokenizer(text, add_special_tokens=False)["input_ids"]) + REFUSAL
    marks = max((mark_tokens(size, family, limits) for size in crops), default=0)
    visual = max((image_tokens(size, family, limits) for size in crops), default=0)
    return (words + marks) * (budget.turns - 1), visual


def crop_sizes(family: Family, limits: PixelLimits, budget: LookBudget) -> Iterator[Size]:
    """How large crops of proportions from 1 : 20 to 20 : 1 are shown."""
    for k in range(-_PROPORTIONS, _PROPORTIONS + 1):
        side = 20 ** (k / (2 * _PROPORTIONS))
        try:
            yield crop_size((round(1000 * side), round(1000 / side)), family, budget, limits)
        except ImageError:
            continue
