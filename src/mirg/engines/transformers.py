"""Text generation with transformers: batched, images first come in the order of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mirg.engines.base import Completion, Generation, Request
from mirg.errors import EngineError
from mirg.models.load import LoadedModel, fingerprint, forbidden_tokens

if TYPE_CHECKING:
    import torch

    from mirg.frames import Family, PixelLimits


class TransformersEngine:
    """An :class:`mirg.engines.base.Engine` over a loaded model; completions come back in the order of the requests."""

    def __init__(self, loaded: LoadedModel) -> None:
        """``loaded`` is used as it is; its model should be in evaluation mode."""
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
        inputs = self._inputs(requests)
        sampling: dict[str, Any] = {"do_sample": False}
        if settings.temperature > 0:
            # Temperature alone: top-p and top-k would make the sampled distribution another than the model's.
            sampling = {"do_sample": True, "temperature": settings.temperature, "top_k": 0, "top_p": 1.0}
        model: Any = self.loaded.model
        output = model.generate(
            **inputs, max_new_tokens=settings.max_new_tokens, suppress_tokens=self._forbidden, **sampling
        )
        return [self._completion(row) for row in output[:, inputs["input_ids"].shape[1] :]]

    def _inputs(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        processor: Any = self.loaded.processor
        texts = [self._text(request) for request in requests]
        images = [image for request in requests for image in request.images]
        try:
            batch = processor(text=texts, images=images or None, padding=True, return_tensors="pt")
        except (ValueError, IndexError) as error:
            ids = ", ".join(request.sample_id for request in requests)
            raise EngineError(f"the processor refused one of {ids}: {error}") from error
        return {key: value.to(self.loaded.model.device) for key, value in batch.items()}

    def _text(self, request: Request) -> str:
        """The prompt; EngineError where its images would be counted against those of its neighbours in a batch."""
        processor: Any = self.loaded.processor
        text = processor.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        shown = text.count(processor.image_token)
        if shown != len(request.images):
            raise EngineError(
                f"sample {request.sample_id}: {shown} image placeholders for {len(request.images)} images",
                hint="the question holds an image token, or an image is missing",
            )
        return text

    def _completion(self, row: torch.Tensor) -> Completion:
        tokenizer = self.loaded.tokenizer
        stops = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        ids = row.tolist()
        end = next((k for k, token in enumerate(ids) if token in stops), None)
        kept = ids if end is None else ids[:end]
        text = tokenizer.decode(kept, skip_special_tokens=True)
        return Completion(text=text, tokens=len(kept), finish="length" if end is None else "stop")
