"""A program to start in several processes: the command line of mirg whose completions depend on their prompts only.

Random draws differ with the number of processes, so a step of one process could not be compared with a step of two.
Here completion k of a prompt is a function of the prompt's tokens and of k, and so is its reward; all other parts of a
step are real. Packed and unpacked rollouts are replaced where the model would generate.
"""

from __future__ import annotations

import random
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

GROUP = 4  # completions of a prompt
PLAIN = range(30, 200)  # ids of words: no special token


def completion(prompt: Sequence[int], number: int, end: int, most: int) -> list[int]:
    """2 to ``most`` tokens, ``end`` among them if there is room."""
    draw = random.Random(repr((list(prompt), number)))
    words = [draw.choice(PLAIN) for _ in range(draw.randint(2, most))]
    return [*words[:-1], end] if len(words) < most else words


def score(text: str, sample: Any) -> float:
    """A plug-in reward: a digest of the text, from 0 to 1."""
    return zlib.crc32(text.encode()) / 2**32


def complete(model: Any, prompts: Sequence[Any], counts: Sequence[int], sampling: Any) -> list[list[list[int]]]:
    """In place of ``mirg.models.sampling.complete``."""
    most, end = sampling.max_new_tokens, sampling.stops[0]
    return [[completion(p.ids, k, end, most) for k in range(count)] for p, count in zip(prompts, counts, strict=True)]


def generate(model: Any, input_ids: Any, attention_mask: Any, generation_config: Any, **_: Any) -> Any:
    """In place of transformers' ``generate``: the prompts, each followed by its completion and padding."""
    import torch

    end, pad = generation_config.eos_token_id, generation_config.pad_token_id
    end = end[0] if isinstance(end, list) else end
    seen: Counter[tuple[int, ...]] = Counter()
    rows = []
    for ids, mask in zip(input_ids, attention_mask, strict=True):
        prompt = tuple(ids[mask.bool()].tolist())
        rows.append(completion(prompt, seen[prompt] % GROUP, end, generation_config.max_new_tokens))
        seen[prompt] += 1
    longest = max(map(len, rows))
    padded = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=input_ids.device)
    return torch.cat([input_ids, padded], 1)


if __name__ == "__main__":
    sys.path.pop(0)  # files beside this one have names of libraries

    from transformers import GenerationMixin

    from mirg.cli.main import app
    from mirg.training import grpo

    grpo.complete = complete
    GenerationMixin.generate = generate  # type: ignore[method-assign,assignment]
    app()
