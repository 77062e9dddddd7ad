"""Where the arms of the study with looks start: mirg-tiny with a token for each tag of a look and each name of a crop.

mirg-tiny has one token for each tag of the thinking and of the answer and for each image, but none for what looks add.
Letter by letter, ``</look>`` takes seven tokens and ``Image-2a`` four, and a hundred steps of SFT did not teach
mirg-tiny to spell them.
"""

from __future__ import annotations

from pathlib import Path

from mirg.answers.blocks import LOOK_CLOSE, LOOK_OPEN
from mirg.answers.looks import crop_name
from mirg.families import MIRG_TINY
from mirg.models.load import load_model
from mirg.models.tiny import MAX_IMAGES
from mirg.storage import atomic_folder

LOOKS = 2  # of one answer


def write_look_model(out: Path) -> Path:
    """Write the model folder ``out``; the vectors of the new tokens are random, and the same each time."""
    import torch
    from tokenizers import AddedToken

    loaded = load_model(MIRG_TINY.name)
    tokenizer = loaded.tokenizer
    known = len(tokenizer)
    names = [crop_name(image, count) for image in range(1, MAX_IMAGES + 1) for count in range(1, LOOKS + 1)]
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in (LOOK_OPEN, LOOK_CLOSE)])
    tokenizer.add_tokens([AddedToken(name, normalized=False, single_word=True) for name in names])
    embedding = loaded.model.resize_token_embeddings(len(tokenizer), mean_resizing=False).weight
    width = embedding.shape[1]
    with torch.no_grad():
        random = torch.randn(len(tokenizer) - known, width, generator=torch.Generator().manual_seed(0))
        embedding[known:] = random * width**-0.5  # as the others were drawn
    with atomic_folder(out) as folder:
        loaded.model.save_pretrained(folder)
        loaded.processor.save_pretrained(folder)
    return out
