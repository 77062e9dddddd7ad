"""Batches of samples, and what each stored row depends on: it is used again only if none of it has changed.

The run key covers model fingerprint, numerics (number type and kind of device), family and pixel limits, generation
settings (batch size included: the numerics of a batch depend on its shape), instructions, reward configuration and
reader version. A sample key adds the prompt, the content of every image and the truth; a row's key adds all samples of
its batch. Image files are hashed, and decoded only for samples that are asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from mirg.answers.prompts import Instructions, messages
from mirg.answers.read import READER_VERSION
from mirg.engines.base import Completion, Engine, Generation, Request, instructions_of
from mirg.errors import EngineError, ImageError, MirgError
from mirg.executors import chunks
from mirg.families import Family, PixelLimits
from mirg.images import image_digest
from mirg.rewards import RewardConfig
from mirg.samples import DatasetFolder, ImageRef, Sample, refuse_for_family

RECORD_VERSION = "mirg.records/1"

# Names are stored for people; moving a model or a dataset changes no score, so they are part of no key.
NAMES = frozenset({"model", "dataset"})


class PromptForm(NamedTuple):
    """How samples are asked. ``name`` is part of the settings of an evaluation; ``write`` makes the chat messages.

    A part of the message is as :func:`mirg.answers.prompts.messages` writes it, with one image part for each image of
    the sample, in its order.
    """

    name: str
    write: Callable[[Sample, Family, PixelLimits | None, Instructions], list[dict[str, Any]]]


def run_settings(
    engine: Engine,
    dataset: DatasetFolder,
    generation: Generation,
    instructions: Instructions | None,
    rewards: RewardConfig,
) -> dict[str, Any]:
    """Everything but the samples, as plain data: stored beside the records and compared before they are used again."""
    return {
        "records": RECORD_VERSION,
        "reader": READER_VERSION,
        "model": engine.name,
        "fingerprint": engine.fingerprint,
        "numerics": getattr(engine, "numerics", None),
        "family": engine.family.name,
        "limits": None if engine.limits is None else asdict(engine.limits),
        "generation": asdict(generation),
        "instructions": instructions_of(engine, instructions),
        "rewards": rewards.model_dump(mode="json"),
        "dataset": dataset.card.name,
        "dataset_digest": dataset.card.digest,
    }


@dataclass(frozen=True)
class Batch:
    """Samples that are asked together, with the ``keys`` of their rows (32 hexadecimal digits) by sample id.

    ``prompts`` has the messages of each sample by its id, or the error that prevents them. ``generation`` has the seed
    of the batch.
    """

    dataset: DatasetFolder
    samples: Sequence[Sample]
    prompts: dict[str, list[dict[str, Any]] | MirgError]
    keys: dict[str, str]
    generation: Generation

    def open(self, sample: Sample) -> Request | MirgError:
        """The request about ``sample`` with decoded images, or the error that prevents it."""
        prompt = self.prompts[sample.id]
        if isinstance(prompt, MirgError):
            return prompt
        try:
            images = [self.dataset.open_image(ref, sample.id) for ref in sample.images]
        except ImageError as error:
            return error
        return Request(sample_id=sample.id, messages=prompt, images=images)


def batches(
    engine: Engine,
    dataset: DatasetFolder,
    samples: Iterable[Sample],
    generation: Generation,
    settings: dict[str, Any],
    prompt_form: PromptForm | None = None,
) -> Iterator[Batch]:
    """Cut ``samples`` into batches of ``generation.batch_size``; ``settings`` is :func:`run_settings`, or more."""
    write = prompt_form.write if prompt_form else messages
    known: dict[str, str] = {}  # a file is read once, however many samples show it
    shared = {name: value for name, value in settings.items() if name not in NAMES}
    for number, batch in enumerate(chunks(samples, generation.batch_size)):
        prompts: dict[str, list[dict[str, Any]] | MirgError] = {}
        digests: list[str] = []
        for sample in batch:
            try:
                refuse_for_family(sample, engine.family, engine.limits)
                prompt = write(sample, engine.family, engine.limits, settings["instructions"])
                prompts[sample.id] = prompt
            except MirgError as error:
                prompt, prompts[sample.id] = None, error
            images = [_image_digest(dataset, ref, known) for ref in sample.images]
            digests.append(_digest([sample.model_dump(mode="json"), prompt, images]))
        whole = _digest([shared, digests])
        keys = {sample_id: _digest([whole, sample_id])[:32] for sample_id in prompts}
        yield Batch(dataset, batch, prompts, keys, replace(generation, seed=_batch_seed(generation.seed, number)))


def complete(engine: Engine, requests: Sequence[Request], generation: Generation) -> Sequence[Completion]:
    """One completion for each request; EngineError if the engine returns another number of them."""
    completions = engine.generate(requests, generation)
    if len(completions) != len(requests):
        raise EngineError(f"{engine.name} gave {len(completions)} completions for {len(requests)} requests")
    return completions


def _digest(value: object) -> str:
    """SHA-256 of ``value`` as canonical JSON, 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _image_digest(dataset: DatasetFolder, ref: ImageRef, known: dict[str, str]) -> str:
    """SHA-256 of the image's file; ``unreadable`` if it cannot be read."""
    if ref.path not in known:
        try:
            known[ref.path] = image_digest(dataset.image_path(ref))
        except ImageError:
            known[ref.path] = "unreadable"
    return known[ref.path]


def _batch_seed(seed: int, batch: int) -> int:
    """The sampling seed of batch number ``batch``: a pure function, so resuming needs no generator state."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:4], "big") >> 1
