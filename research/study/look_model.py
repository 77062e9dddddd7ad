"""Where the arms of the study with looks start: mirg-tiny with one token for each tag of a look.

mirg-tiny has one token for each tag of the thinking and of the answer, but none for those of a look. Letter by letter
each takes six or seven tokens, and a hundred steps of SFT did not teach to spell them.
"""

from __future__ import annotations

from pathlib import Path

from mirg.answers.blocks import LOOK_CLOSE, LOOK_OPEN
from mirg.families import MIRG_TINY
from mirg.models.load import load_model
from mirg.storage import atomic_folder


def write_look_model(out: Path) -> Path:
    """Write the model folder ``out``; the vectors of the two tokens are random, and the same each time."""
    import torch
    from tokenizers import AddedToken

    loaded = load_model(MIRG_TINY.name)
    tokenizer = loaded.tokenizer
    known = len(tokenizer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in (LOOK_OPEN, LOOK_CLOSE)])
    embedding = loaded.model.resize_token_embeddings(len(tokenizer), mean_resizing=False).weight
    width = embedding.shape[1]
    with torch.no_grad():
        random = torch.randn(len(tokenizer) - known, width, generator=torch.Generator().manual_seed(0))
        embedding[known:] = random * width**-0.5  # as the others were drawn
    with atomic_folder(out) as folder:
        loaded.model.save_pretrained(folder)
        loaded.processor.save_pretrained(folder)
    return out
