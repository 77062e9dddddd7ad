"""Text generation with a model of transformers, in batches; each prompt is encoded separately with its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mirg.answers.blocks import forbid_vision
from mirg.engines.base import Completion, Generation, Request
from mirg.errors import AnswerError, DataError, EngineError
from mirg.models.load import LoadedModel, fingerprint, forbidden_tokens
from mirg.models.packing import enable_packed_forward
from mirg.models.prompts import Prompt, encode_all
from mirg.models.sampling import Sampling, complete

if TYPE_CHECKING:
    from mirg.families import Family, PixelLimits

# Prompt tokens of one forward pass: on a CPU, activations of more do not fit its caches; elsewhere it bounds memory.
PREFILL = {"cpu": 1024}
PREFILL_ELSEWHERE = 16_384


class TransformersEngine:
    """An :class:`mirg.engines.base.Engine` over a loaded model; completions come back in the order of the requests."""

    def __init__(self, loaded: LoadedModel) -> None:
        """``loaded`` is not copied; its model should be in evaluation mode."""
        enable_packed_forward(loaded.model)
        self.loaded = loaded
        self.name = loaded.path
        self.family: Family = loaded.family
        self.limits: PixelLimits | None = loaded.limits
        self.fingerprint = fingerprint(loaded.path)
        self.numerics = f"{loaded.model.dtype} on {loaded.model.device.type}".removeprefix("torch.")
        self.instructions = loaded.instructions
        self._forbidden = forbidden_tokens(loaded.tokenizer, loaded.family)

    def generate(self, requests: Sequence[Request], settings: Generation) -> list[Completion]:
        """Complete every request. Sampling is a pure function of ``settings.seed`` and the requests of one call."""
        return [completion for (completion,) in self.sample(requests, settings, 1)]

    def sample(self, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
        """``n`` completions of every request, each prompt encoded once; ``settings.batch_size`` counts prompts.

        A pure function of the seed, the requests of the call, and ``n``.
        """
        import torch

        # Neighbours of like length waste little padding; the original order is restored at the end.
        sizes = [(len(one.images), len(str(one.messages)) + len(one.prefix)) for one in requests]
        order = sorted(range(len(requests)), key=sizes.__getitem__)
        done: dict[int, list[Completion]] = {}
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(settings.seed)
            for start in range(0, len(order), settings.batch_size):
                chunk = order[start : start + settings.batch_size]
                done |= zip(chunk, self._batch([requests[k] for k in chunk], settings, n), strict=True)
        return [done[k] for k in range(len(requests))]

    def _batch(self, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
        prompts = self._prompts(requests)
        sampling = Sampling(
            settings.max_new_tokens,
            stops=[self.loaded.tokenizer.eos_token_id],
            forbidden=self._forbidden,
            temperature=settings.temperature,
            prefill=PREFILL.get(self.loaded.model.device.type, PREFILL_ELSEWHERE),
        )
        groups = zip(prompts, complete(self.loaded.model, prompts, [n] * len(prompts), sampling), strict=True)
        return [[self._completion(ids, len(prompt.ids)) for ids in said] for prompt, said in groups]

    def _prompts(self, requests: Sequence[Request]) -> list[Prompt]:
        try:
            asked = [(request.messages, request.images, request.sample_id) for request in requests]
            prompts = encode_all(self.loaded.processor, asked)
            return [self._begun(prompt, request) for prompt, request in zip(prompts, requests, strict=True)]
        except (AnswerError, DataError) as error:
            raise EngineError(error.message, hint=error.hint) from error
        except (ValueError, IndexError) as error:
            raise EngineError(str(error), hint="the processor refused it") from error

    def _begun(self, prompt: Prompt, request: Request) -> Prompt:
        """``prompt`` with the beginning of the answer, tokenized separately: the text after it begins a new token."""
        if not request.prefix:
            return prompt
        forbid_vision(request.prefix, self.family, f"sample {request.sample_id}: the beginning of the answer")
        prefix = self.loaded.tokenizer(request.prefix, add_special_tokens=False)["input_ids"]
        return replace(prompt, ids=[*prompt.ids, *prefix])

    def _completion(self, ids: list[int], prompt_tokens: int) -> Completion:
        tokenizer = self.loaded.tokenizer
        ended = ids[-1:] == [tokenizer.eos_token_id]
        kept = ids[:-1] if ended else ids
        text = tokenizer.decode(kept, skip_special_tokens=True)
        return Completion(text, len(kept), "stop" if ended else "length", prompt_tokens)
