"""How the stages learn: number format, optimiser, curriculum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mirg.models.load import fast_dtype

_SMOOTHING = 0.95
_WARMUP = 30  # steps


def autocast(dtype: str) -> torch.autocast:
    """Products in ``dtype`` with float32 weights; "auto" is bfloat16 where the CPU multiplies it in hardware."""
    chosen = fast_dtype("cpu") if dtype == "auto" else dtype
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=chosen == "bfloat16")


class Optimiser:
    """Muon for matrices, AdamW for the rest (Jordan et al. 2024; both from torch), with warm-up and linear decay."""

    def __init__(self, modules: Sequence[torch.nn.Module], steps: int, learning_rate: float) -> None:
        named = {id(p): (n, p) for m in modules for n, p in m.named_parameters() if p.requires_grad}
        matrices = [p for n, p in named.values() if p.ndim == 2 and "embed" not in n]
        rest = [p for n, p in named.values() if not (p.ndim == 2 and "embed" not in n)]
        self.parameters = [*matrices, *rest]
        self.steps, self.done = steps, 0
        self._rates = (10 * learning_rate, learning_rate)
        muon = torch.optim.Muon(matrices, lr=self._rates[0], momentum=0.95, weight_decay=0.01)
        adam = torch.optim.AdamW(rest, lr=self._rates[1], betas=(0.9, 0.98), weight_decay=0.01)
        self._optimisers = (muon, adam)

    def step(self, loss: torch.Tensor) -> float:
        """One update; returns the gradient norm before clipping at 1. A loss that is not finite updates nothing."""
        scale = min(1.0, (self.done + 1) / _WARMUP) * max(0.02, 1 - self.done / self.steps)
        for optimiser, rate in zip(self._optimisers, self._rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * scale
            optimiser.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, 1.0))
        if np.isfinite(norm):
            for optimiser in self._optimisers:
                optimiser.step()
        self.done += 1
        return norm

    def state(self) -> dict[str, torch.Tensor]:
        """What the updates so far have left behind, by optimiser, number of the parameter and name."""
        return {
            f"{number}.{index}.{name}": tensor
            for number, optimiser in enumerate(self._optimisers)
            for index, values in optimiser.state_dict()["state"].items()
            for name, tensor in values.items()
        }

    def restore(self, state: dict[str, torch.Tensor], done: int) -> None:
        """Continue from :meth:`state` after ``done`` steps."""
        kept: list[dict[int, dict[str, torch.Tensor]]] = [{} for _ in self._optimisers]
        for key, tensor in state.items():
            number, index, name = key.split(".", 2)
            kept[int(number)].setdefault(int(index), {})[name] = tensor
        for optimiser, values in zip(self._optimisers, kept, strict=True):
            optimiser.load_state_dict({"state": values, "param_groups": optimiser.state_dict()["param_groups"]})
        self.done = done


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
