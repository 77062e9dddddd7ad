"""Names whose vectors stay sums of two words, so that a pair of colour and shape that was never seen has one, too."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch

from mirg.data.scenes.objects import split_name


class ComposedNames:
    """The name rows of a word embedding, held to ``vector(colour) + vector(shape)``.

    After a free update the two vectors are the least-squares fit to the rows of the ``seen`` names (a projection); the
    rows of the others follow from it. They are ordinary parameters again once :meth:`apply` is called no more.
    """

    def __init__(self, names: Sequence[str], ids: Sequence[int], seen: Collection[str]) -> None:
        """``names[k]`` is the token ``ids[k]``; every colour and shape is part of a ``seen`` name."""
        words = sorted({word for name in names for word in split_name(name)})
        parts = np.array([[word in split_name(name) for word in words] for name in names], dtype=np.float64)
        rows = [k for k, name in enumerate(names) if name in set(seen)]
        fit = parts @ np.linalg.pinv(parts[rows])
        self._fit = torch.from_numpy(fit.astype(np.float32))  # names x seen names
        self._ids = torch.tensor(list(ids))
        self._seen = self._ids[rows]

    @torch.no_grad()
    def apply(self, embedding: torch.Tensor) -> None:
        """Change the name rows of ``embedding`` (vocabulary, width) to sums."""
        embedding[self._ids] = self._fit @ embedding[self._seen]
