"""The training loop of one stage, one step at a time, and the checkpoint from which any step can continue."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mirg.models.load import load_model
from mirg.storage import read_json, seal_folder, write_json_atomic
from research.perception.eyes import Eyes, config_of, eyes_of, save_eyes
from research.perception.optimise import Curriculum, Optimiser, autocast
from research.perception.recipe import PerceptionRecipe
from research.perception.stages import Stage

HEAD_FILE, OPTIMISER_FILE, STATE_FILE = "head.safetensors", "optimiser.safetensors", "state.json"


class Loop:
    """The steps of ``stage``: ``done`` of them are behind."""

    def __init__(self, stage: Stage, eyes: Eyes, recipe: PerceptionRecipe) -> None:
        self.stage, self.eyes, self.recipe = stage, eyes, recipe
        self.optimiser = Optimiser(stage.modules(eyes), stage.steps, stage.learning_rate)
        self.curriculum = Curriculum(stage.levels, stage.goal)
        eyes.model.train()

    @property
    def done(self) -> int:
        """Steps so far."""
        return self.optimiser.done

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.done >= self.stage.steps

    def step(self) -> dict[str, Any]:
        """One update on a fresh batch; returns what to log about it."""
        rng = np.random.default_rng((self.recipe.seed, self.stage.salt, self.done, self.curriculum.level))
        batch = self.stage.batch(rng, self.curriculum)
        with autocast(self.recipe.dtype):
            loss, measured = self.stage.loss(self.eyes, batch)
        norm = self.optimiser.step(loss)
        self.eyes.compose()
        self.curriculum.update(self.stage.accuracy(measured))
        return {"loss": loss.item(), "grad_norm": norm, **measured, "level": self.curriculum.level}

    def save(self, folder: Path) -> None:
        """Write all of it into ``folder``, complete once sealed. What lay there before goes."""
        from safetensors.torch import save_file

        shutil.rmtree(folder, ignore_errors=True)
        save_eyes(self.eyes, folder)
        save_file({k: v.contiguous() for k, v in self.eyes.readers.state_dict().items()}, folder / HEAD_FILE)
        save_file({k: v.contiguous() for k, v in self.optimiser.state().items()}, folder / OPTIMISER_FILE)
        curriculum = {"level": self.curriculum.level, "accuracy": self.curriculum.accuracy}
        write_json_atomic(folder / STATE_FILE, {"stage": self.stage.name, "done": self.done, **curriculum})
        seal_folder(folder)

    @classmethod
    def load(cls, folder: Path, stages: Sequence[Stage], recipe: PerceptionRecipe) -> Loop:
        """The loop as :meth:`save` found it."""
        from safetensors.torch import load_file

        loaded = load_model(str(folder), device="cpu")  # where new eyes are, on any machine
        eyes = eyes_of(loaded.model, loaded.processor, config_of(recipe), recipe)
        eyes.readers.load_state_dict(load_file(folder / HEAD_FILE))
        state: Any = read_json(folder / STATE_FILE)
        loop = cls(next(stage for stage in stages if stage.name == state["stage"]), eyes, recipe)
        loop.optimiser.restore(load_file(folder / OPTIMISER_FILE), state["done"])
        loop.curriculum.level, loop.curriculum.accuracy = state["level"], state["accuracy"]
        return loop
