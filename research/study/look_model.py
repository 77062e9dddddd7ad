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
from mirg.study.plan import LOOKS

NEAR = 0.5  # length of what distinguishes the vector of a crop from that of its image, in usual lengths of a vector


def write_look_model(out: Path) -> Path:
    """Write the model folder ``out``; the vectors of the new tokens are the same each time.

    Those of the tags are random. That of a crop lies near that of its image, so that what is read off a crop is
    attributed to its image: with random vectors, 500 steps of SFT did not teach mirg-tiny which image a crop is of.
    """
    import torch
    from tokenizers import AddedToken

    loaded = load_model(MIRG_TINY.name)
    tokenizer = loaded.tokenizer
    known = len(tokenizer)
    images = range(1, MAX_IMAGES + 1)
    parents = {crop_name(image, count): f"Image-{image}" for image in images for count in range(1, LOOKS + 1)}
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in (LOOK_OPEN, LOOK_CLOSE)])
    tokenizer.add_tokens([AddedToken(name, normalized=False, single_word=True) for name in parents])
    embedding = loaded.model.resize_token_embeddings(len(tokenizer), mean_resizing=False).weight
    width = embedding.shape[1]
    with torch.no_grad():
        random = torch.randn(len(tokenizer) - known, width, generator=torch.Generator().manual_seed(0))
        embedding[known:] = random * width**-0.5  # as the others were drawn
        for name, parent in parents.items():
            token, image = tokenizer.convert_tokens_to_ids([name, parent])
            embedding[token] = embedding[image] + NEAR * embedding[token]
    with atomic_folder(out) as folder:
        loaded.model.save_pretrained(folder)
        loaded.processor.save_pretrained(folder)
    return out
