"""Text generation with a model of transformers: batched, each prompt with its images encoded by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mirg.engines.base import Completion, Generation, Request
from mirg.errors import DataError, EngineError
from mirg.models.load import LoadedModel, fingerprint, forbidden_tokens
from mirg.models.packing import plant
from mirg.models.prompts import Prompt, encode
from mirg.models.sampling import Sampling, complete

if TYPE_CHECKING:
    from mirg.frames import Family, PixelLimits


class TransformersEngine:
    """An :class:`mirg.engines.base.Engine` over a loaded model; completions come back in the order of the requests."""

    def __init__(self, loaded: LoadedModel) -> None:
        """``loaded`` is used as it is; its model should be in evaluation mode."""
        plant(loaded.model)
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
        import torch

        # Neighbours of like length waste little padding; the original order is restored at the end.
        order = sorted(range(len(requests)), key=lambda k: (len(requests[k].images), len(str(requests[k].messages))))
        done: dict[int, Completion] = {}
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(settings.seed)
            for start in range(0, len(order), settings.batch_size):
                chunk = order[start : start + settings.batch_size]
                for k, completion in zip(chunk, self._batch([requests[k] for k in chunk], settings), strict=True):
                    done[k] = completion
        return [done[k] for k in range(len(requests))]

    def _batch(self, requests: Sequence[Request], settings: Generation) -> list[Completion]:
        prompts = [self._prompt(request) for request in requests]
        sampling = Sampling(
            settings.max_new_tokens,
            stops=[self.loaded.tokenizer.eos_token_id],
            forbidden=self._forbidden,
            temperature=settings.temperature,
        )
        said = complete(self.loaded.model, prompts, [1] * len(prompts), sampling)
        return [self._completion(ids) for (ids,) in said]

    def _prompt(self, request: Request) -> Prompt:
        try:
            return encode(self.loaded.processor, request.messages, request.images, request.sample_id)
        except (DataError, ValueError, IndexError) as error:
            hint = error.hint if isinstance(error, DataError) else "the processor refused it"
            raise EngineError(str(error), hint=hint) from error

    def _completion(self, ids: list[int]) -> Completion:
        tokenizer = self.loaded.tokenizer
        ended = ids[-1:] == [tokenizer.eos_token_id]
        kept = ids[:-1] if ended else ids
        text = tokenizer.decode(kept, skip_special_tokens=True)
        return Completion(text=text, tokens=len(kept), finish="stop" if ended else "length")
