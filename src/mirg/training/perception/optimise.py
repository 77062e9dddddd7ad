"""How the stages learn: number format, optimiser, curriculum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

_SMOOTHING = 0.95


def autocast(dtype: str) -> torch.autocast:
    """Products in ``dtype`` with float32 weights; "auto" is bfloat16 where the CPU multiplies it in hardware."""
    fast = dtype == "bfloat16" or (dtype == "auto" and torch.cpu._is_avx512_bf16_supported())
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast)


class Optimiser:
    """Muon for matrices, AdamW for the rest (Jordan et al. 2024; both from torch), with warm-up and linear decay."""

    def __init__(self, modules: Sequence[torch.nn.Module], steps: int, learning_rate: float) -> None:
        named = {id(p): (n, p) for m in modules for n, p in m.named_parameters() if p.requires_grad}
        matrices = [p for n, p in named.values() if p.ndim == 2 and "embed" not in n]
        rest = [p for n, p in named.values() if not (p.ndim == 2 and "embed" not in n)]
        self.parameters = [*matrices, *rest]
        muon = torch.optim.Muon(matrices, lr=10 * learning_rate, momentum=0.95, weight_decay=0.01)
        adam = torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
        self._optimisers = [muon, adam]

        def scale(step: int) -> float:
            return min(1.0, (step + 1) / 30) * max(0.02, 1 - step / steps)

        self._schedules = [torch.optim.lr_scheduler.LambdaLR(o, scale) for o in self._optimisers]

    def step(self, loss: torch.Tensor) -> float:
        """One update; returns the gradient norm before clipping at 1. A loss that is not finite updates nothing."""
        for optimiser in self._optimisers:
            optimiser.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, 1.0))
        if np.isfinite(norm):
            for optimiser in self._optimisers:
                optimiser.step()
        for schedule in self._schedules:
            schedule.step()
        return norm


class Curriculum:
    """The next level once the smoothed accuracy of this one passes ``goal``."""

    def __init__(self, levels: int, goal: float) -> None:
        self.level, self.last, self.goal = 0, levels - 1, goal
        self.accuracy = 0.0

    def draw(self, rng: np.random.Generator) -> int:
        """The level of one exercise: mostly the present one, the rest from all below, so that nothing is forgotten."""
        return self.level if rng.random() < 0.75 else int(rng.integers(self.level + 1))

    def update(self, accuracy: float) -> None:
        """Take in the accuracy of one batch."""
        self.accuracy = _SMOOTHING * self.accuracy + (1 - _SMOOTHING) * accuracy
        if self.accuracy >= self.goal and self.level < self.last:
            self.level += 1
            self.accuracy = 0.0
