"""Validation on a held-out dataset during training: early stopping, and which checkpoint is the best.

The model in training answers the samples of ``eval_data`` greedily, as ``mirg evaluate`` asks them, before the first
step and then every ``eval_every`` steps, before the checkpoint of that step is written. What was found is a row of
``metrics.jsonl`` with keys ``eval/…``, and ``validation/step-N`` holds the answers, a folder of ``mirg evaluate``.

Validation does not change the training: its random numbers are separate, and the model computes afterwards as before,
to the last bit. The best step so far is kept in the state of the Trainer, which every checkpoint holds.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mirg.console import logger
from mirg.engines.base import Completion, Generation, Request
from mirg.engines.looking import Looked, LookEnvironment
from mirg.engines.transformers import TransformersEngine
from mirg.errors import EngineError, MirgError
from mirg.evaluation.runner import Plan, evaluate
from mirg.models.load import LoadedModel
from mirg.models.packing import packed_forward_undone
from mirg.models.vision import FeatureCache, base_of
from mirg.rewards.total import DEFAULT
from mirg.samples import DatasetFolder
from mirg.storage import seal_problems
from mirg.training.health import ACTIVITY
from mirg.training.recipe import GrpoRecipe, RunConfig
from mirg.training.run import RunFolder
from mirg.training.vllm import generating_model

T = TypeVar("T")
SCORE = "joint_accuracy"
LOGGED = (SCORE, "image_accuracy", "acc_50", "mean_iou", "reward", "parse_failures")  # all are in the summary
FOLDER = "validation"
LIMIT, BATCH, NEW_TOKENS = 200, 8, 512  # where the recipe leaves them open


class Validation(TrainerCallback):
    """Validates a run, stops it if it no longer improves, and finishes it with the best weights, as its recipe asks.

    Every process takes part, and every process comes to the same result.
    """

    def __init__(self, recipe: RunConfig, run: RunFolder, loaded: LoadedModel, trainer: Any) -> None:
        self.recipe, self.run, self.loaded, self.trainer = recipe, run, loaded, trainer
        self.dataset = DatasetFolder.open(str(recipe.eval_data))
        longest = recipe.max_new_tokens if isinstance(recipe, GrpoRecipe) else NEW_TOKENS
        self.plan = Plan(
            Generation(recipe.eval_max_new_tokens or longest, batch_size=self._batch()),
            instructions=recipe.prompt.instructions,
            rewards=recipe.reward if isinstance(recipe, GrpoRecipe) else DEFAULT,
            limit=recipe.eval_limit or LIMIT,
            look=recipe.look,
        )

    def _batch(self) -> int:
        """The prompts that all processes answer together."""
        return (self.recipe.eval_batch_size or BATCH) * self.trainer.accelerator.num_processes

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Validate the starting model; a resumed run that had stopped early takes no further step."""
        if state.global_step == 0:
            self._validate(state)
        elif self.exhausted(state):
            control.should_training_stop = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Validate if the step is one of those, and note whether it is the best so far."""
        if state.global_step % self.recipe.validated_every and state.global_step < state.max_steps:
            return
        score = self._validate(state)
        if state.best_metric is None or score > state.best_metric:
            state.best_metric, state.best_global_step = score, state.global_step
        logger.info(
            "validation at step %d: joint accuracy %.3f, the best %.3f at step %d",
            *(state.global_step, score, state.best_metric, state.best_global_step),
        )
        if self.exhausted(state):
            control.should_training_stop = True

    def exhausted(self, state: TrainerState) -> bool:
        """Whether ``patience`` validations in a row found nothing better than the best; never while that is 0."""
        if self.recipe.patience is None or not state.best_metric or not state.best_global_step:
            return False
        every = self.recipe.validated_every
        return state.global_step // every - state.best_global_step // every >= self.recipe.patience

    def finish(self) -> dict[str, Any]:
        """Load the best weights if the recipe asks for them; what is noted beside the model about its validation."""
        state = self.trainer.state
        facts = {"best_step": state.best_global_step, f"best_{SCORE}": state.best_metric}
        if self.recipe.finish_with != "best" or state.best_global_step == state.global_step:
            return facts | {"weights_of_step": state.global_step}
        best = self.run.checkpoints / f"checkpoint-{state.best_global_step}"
        if problems := seal_problems(best):
            logger.warning("%s is damaged, so the model gets the last weights: %s", best, problems[0])
            return facts | {"weights_of_step": state.global_step}
        load_weights(self.trainer, best)
        return facts | {"weights_of_step": state.best_global_step}

    def _validate(self, state: TrainerState) -> float:
        """Log what the model reaches now, and return its joint accuracy."""
        step = state.global_step
        with ACTIVITY.doing("the validation"), self._folder(step) as out, self._engine(step) as engine:
            summary = evaluate(engine, self.dataset, out, self.plan)
        found = summary["metrics"]["overall"]
        row = {f"eval/{name}": found[name]["mean"] for name in LOGGED}
        if state.is_world_process_zero:
            self.run.log(state.global_step, row | {"eval/cut_off": summary["cut_off"] / summary["n"]})
            if summary["rejected"]:
                logger.warning("%d samples of %s could not be asked", summary["rejected"], self.dataset.root)
        return row[f"eval/{SCORE}"]

    @contextmanager
    def _folder(self, step: int) -> Iterator[Path]:
        """A new folder for the answers: in the run, or a temporary one in processes that do not write."""
        if not self.trainer.accelerator.is_main_process:
            with tempfile.TemporaryDirectory() as scratch:
                yield Path(scratch)
            return
        folder = self.run.path / FOLDER / f"step-{step}"
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that ended before its checkpoint was written
        yield folder

    @contextmanager
    def _engine(self, step: int) -> Iterator[TransformersEngine]:
        """The model in training as an engine; it is given back as it was."""
        with generating_model(self.trainer) as wrapped:
            model = wrapped.get_base_model() if hasattr(wrapped, "get_base_model") else wrapped  # adapters are in it
            training = model.training
            with packed_forward_undone(model), _own_features(model):
                model.eval()
                try:
                    engine = DealtEngine(replace(self.loaded, model=model), self.trainer.accelerator)
                    engine.name = engine.fingerprint = f"step {step}"
                    yield engine
                finally:
                    model.train(training)


class DealtEngine(TransformersEngine):
    """An engine whose requests are dealt to the processes of ``accelerator``; each gets the completions of all."""

    def __init__(self, loaded: LoadedModel, accelerator: Any) -> None:
        super().__init__(loaded)
        self._rank, self._world = accelerator.process_index, accelerator.num_processes

    def sample(self, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
        """As :meth:`TransformersEngine.sample`; EngineError in all processes if one of them fails."""
        own = requests[self._rank :: self._world]
        return self._dealt(len(requests), lambda: super(DealtEngine, self).sample(own, settings, n))

    def look(
        self, requests: Sequence[Request], environments: Sequence[LookEnvironment], settings: Generation, n: int
    ) -> list[list[Looked]]:
        """As :meth:`TransformersEngine.look`; errors as :meth:`sample`."""
        own, looked = requests[self._rank :: self._world], environments[self._rank :: self._world]
        return self._dealt(len(requests), lambda: super(DealtEngine, self).look(own, looked, settings, n))

    def _dealt(self, requests: int, work: Callable[[], list[T]]) -> list[T]:
        mine: tuple[list[T], str] = [], ""
        try:
            mine = work(), ""
        except MirgError as error:  # the others wait for this process
            mine = [], str(error)
        parts = gather_object([mine])
        if problem := next((problem for _, problem in parts if problem), None):
            raise EngineError(f"the validation failed: {problem}", hint="the last checkpoint is intact")
        return [parts[k % self._world][0][k // self._world] for k in range(requests)]


@contextmanager
def _own_features(model: Any) -> Iterator[None]:
    """Features of the images of the block are not kept: they would displace those of the training."""
    tower: Any = getattr(base_of(model), "visual", None)
    kept = getattr(tower, "feature_cache", None)
    if kept is None:
        yield
        return
    tower.feature_cache = FeatureCache(0)
    try:
        yield
    finally:
        tower.feature_cache = kept


def load_weights(trainer: Any, checkpoint: Path) -> None:
    """Give the model of ``trainer`` the weights of one of its checkpoints."""
    if trainer.is_deepspeed_enabled:
        from transformers.integrations.deepspeed import deepspeed_load_checkpoint

        whole = not hasattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config")
        deepspeed_load_checkpoint(trainer.model_wrapped, str(checkpoint), load_module_strict=whole)
    else:
        trainer._load_from_checkpoint(str(checkpoint))
