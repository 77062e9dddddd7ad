"""Text generation with a model of transformers, in batches; each prompt is encoded separately with its images.

Completions share their prompt in packed rows. Models with other layers than full attention, such as Qwen3.5, are
completed by their own ``generate``; greedy completions are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from mirg.answers.blocks import forbid_vision
from mirg.engines.base import Completion, Generation, Request, Watch
from mirg.engines.look_turns import LookTurns
from mirg.engines.looking import Looked, LookEnvironment
from mirg.errors import AnswerError, ConfigError, DataError, EngineError
from mirg.models.load import LoadedModel, fingerprint, forbidden_tokens
from mirg.models.packing import enable_packed_forward, other_attention
from mirg.models.prompts import Asked, Branch, Prompt, encode_all, require_thinking_switch
from mirg.models.sampling import Sampling, complete, complete_by_generate
from mirg.models.turns import complete_in_turns, turns_by_generate

if TYPE_CHECKING:
    from typing import Any

    from mirg.families import Family, PixelLimits

T = TypeVar("T")
# Prompt tokens of one forward pass: on a CPU, activations of more do not fit its caches; elsewhere it bounds memory.
PREFILL = {"cpu": 1024}
PREFILL_ELSEWHERE = 16_384


class TransformersEngine:
    """An :class:`mirg.engines.base.Engine` over a loaded model; completions come back in the order of the requests."""

    def __init__(self, loaded: LoadedModel, *, thinking: bool | None = None) -> None:
        """``loaded`` is not copied; its model should be in evaluation mode.

        ``thinking`` as in :class:`~mirg.engines.base.Request`, for requests that leave it open; None: as the model was
        trained. ConfigError if it is chosen and the chat template has no switch.
        """
        require_thinking_switch(loaded.processor, thinking)
        self._packed = not other_attention(loaded.model)
        if self._packed:
            enable_packed_forward(loaded.model)
        self.loaded = loaded
        self.thinking = loaded.thinking if thinking is None else thinking
        self.name = loaded.path
        self.family: Family = loaded.family
        self.limits: PixelLimits | None = loaded.limits
        self.fingerprint = fingerprint(loaded.path)
        how = "" if self._packed else ", generate"
        self.numerics = f"{loaded.model.dtype} on {loaded.model.device.type}{how}".removeprefix("torch.")
        self.instructions = loaded.instructions
        self._forbidden = forbidden_tokens(loaded.tokenizer, loaded.family)

    def generate(self, requests: Sequence[Request], settings: Generation) -> list[Completion]:
        """Complete every request. Sampling is a pure function of ``settings.seed`` and the requests of one call."""
        return [completion for (completion,) in self.sample(requests, settings, 1)]

    def sample(self, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
        """``n`` completions of every request, each prompt encoded once; ``settings.batch_size`` counts prompts.

        A pure function of the seed, the requests of the call, and ``n``.
        """
        return self._ordered(requests, settings, lambda rows: self._batch([requests[k] for k in rows], settings, n))

    def complete_watched(self, request: Request, settings: Generation, watch: Watch) -> Completion:
        """The completion of :meth:`generate`; ``watch`` is given its text after every token."""
        return self._ordered([request], settings, lambda _: self._batch([request], settings, 1, watch))[0][0]

    def look(
        self, requests: Sequence[Request], environments: Sequence[LookEnvironment], settings: Generation, n: int
    ) -> list[list[Looked]]:
        """As :func:`mirg.engines.looking.looked`: a prompt is encoded once for all turns of its completions."""
        return self._ordered(
            requests,
            settings,
            lambda rows: self._looking([requests[k] for k in rows], [environments[k] for k in rows], settings, n),
        )

    def _ordered(
        self, requests: Sequence[Request], settings: Generation, work: Callable[[list[int]], list[T]]
    ) -> list[T]:
        """What ``work`` makes of the numbers of the requests, by batches."""
        import torch

        # Neighbours of like length waste little padding; the original order is restored at the end.
        sizes = [(len(one.images), len(str(one.messages)) + len(one.prefix)) for one in requests]
        order = sorted(range(len(requests)), key=sizes.__getitem__)
        done: dict[int, T] = {}
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(settings.seed)
            for start in range(0, len(order), settings.batch_size):
                chunk = order[start : start + settings.batch_size]
                done |= zip(chunk, work(chunk), strict=True)
        return [done[k] for k in range(len(requests))]

    def _batch(
        self, requests: Sequence[Request], settings: Generation, n: int, watch: Watch | None = None
    ) -> list[list[Completion]]:
        """``watch`` sees the first completion of the first prompt."""
        prompts, tokenizer = self._prompts(requests), self.loaded.tokenizer

        def tell(grown: Sequence[list[int]]) -> None:
            if watch is not None:  # half of a character is not shown
                watch(completion_of(tokenizer, grown[0], 0, prompts[0].opened).text.removesuffix("\ufffd"))

        sampling = replace(self._sampling(settings), watch=None if watch is None else tell)
        draw = complete if self._packed else complete_by_generate
        groups = zip(prompts, draw(self.loaded.model, prompts, [n] * len(prompts), sampling), strict=True)
        return [[completion_of(tokenizer, ids, len(p.ids), p.opened) for ids in said] for p, said in groups]

    def _looking(
        self, requests: Sequence[Request], environments: Sequence[LookEnvironment], settings: Generation, n: int
    ) -> list[list[Looked]]:
        prompts = self._prompts(requests)
        looks = LookTurns(self.loaded.processor, environments, prompts, self._thinking(requests[0]))
        draw = complete_in_turns if self._packed else turns_by_generate
        groups = draw(self.loaded.model, prompts, [n] * len(prompts), self._sampling(settings), looks)
        most = settings.max_new_tokens
        return [[self._looked(looks, k, prompts[k], one, most) for one in group] for k, group in enumerate(groups)]

    def _looked(self, looks: LookTurns, number: int, prompt: Prompt, branch: Branch, most: int) -> Looked:
        """A completion with its turns. A turn that ends with a look was not cut off."""
        turns, opened, begin = [], prompt.opened, len(prompt.ids)
        for own, ids in branch.runs:
            if own:
                turns.append(replace(completion_of(self.loaded.tokenizer, ids, begin, opened), finish="stop"))
                opened = looks.opened
            begin += len(ids)
        if branch.written >= most and branch.ids[-1] != self.loaded.tokenizer.eos_token_id:
            turns[-1] = replace(turns[-1], finish="length")
        return Looked(tuple(turns), tuple(looks.answers(number, branch)))

    def _sampling(self, settings: Generation) -> Sampling:
        return Sampling(
            settings.max_new_tokens,
            stops=[self.loaded.tokenizer.eos_token_id],
            forbidden=self._forbidden,
            temperature=settings.temperature,
            prefill=PREFILL.get(self.loaded.model.device.type, PREFILL_ELSEWHERE),
        )

    def _prompts(self, requests: Sequence[Request]) -> list[Prompt]:
        with refusals():
            prompts = encode_all(self.loaded.processor, [self._asked(request) for request in requests])
            return [
                replace(prompt, ids=[*prompt.ids, *prefix_tokens(self.loaded, request)])
                for prompt, request in zip(prompts, requests, strict=True)
            ]

    def _asked(self, request: Request) -> Asked:
        thinking = self._thinking(request)
        return Asked(request.messages, request.images, request.sample_id, thinking, bool(request.prefix))

    def _thinking(self, request: Request) -> bool | None:
        return self.thinking if request.thinking is None else request.thinking


@contextmanager
def refusals() -> Iterator[None]:
    """Turn the errors of writing a prompt into EngineError."""
    try:
        yield
    except (AnswerError, ConfigError, DataError) as error:
        raise EngineError(error.message, hint=error.hint) from error
    except (ValueError, IndexError) as error:
        raise EngineError(str(error), hint="the processor refused it") from error


def prefix_tokens(loaded: LoadedModel, request: Request) -> list[int]:
    """The beginning of the answer, tokenized separately, so that the text after it begins with a new token."""
    if not request.prefix:
        return []
    forbid_vision(request.prefix, loaded.family, f"sample {request.sample_id}: the beginning of the answer")
    return loaded.tokenizer(request.prefix, add_special_tokens=False)["input_ids"]


def completion_of(tokenizer: Any, ids: list[int], prompt_tokens: int, opened: str) -> Completion:
    """The completion with these token ids, after what the chat template has ``opened``."""
    ended = ids[-1:] == [tokenizer.eos_token_id]
    kept = ids[:-1] if ended else ids
    text = opened + tokenizer.decode(kept, skip_special_tokens=True)
    finish = "stop" if ended else "length"
    return Completion(text, len(kept), finish, prompt_tokens, "template" if opened else "model")
