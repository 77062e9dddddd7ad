"""Trackers: transformers' own integrations, which get the rows of ``metrics.jsonl`` and some rollouts as images.

The integrations are the callbacks of ``transformers.integrations``. They are called from here instead of by the
Trainer, for three reasons: a tracker that fails must not end a run, what they upload must hold no secret, and every row
of ``metrics.jsonl`` must reach them, also those that the Trainer does not log. Their configuration is the recipe and
the model's configuration, without keys, credentials and absolute paths; what trackers collect by themselves about the
machine (command, working folder, git remote, environment, output) is switched off.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerControl, TrainerState, TrainingArguments

from mirg.answers.markup import cited
from mirg.console import logger
from mirg.errors import ConfigError, StorageError
from mirg.publish.redact import public, without_secrets
from mirg.report.data import Mark
from mirg.report.draw import draw_sample
from mirg.storage import read_json, write_json_atomic
from mirg.training.recipe import RunConfig
from mirg.training.run import Rollout, RunFolder, is_main_process

if TYPE_CHECKING:
    from PIL.Image import Image

PROJECT = "mirg"
FOLDER, IDS = "trackers", "trackers.json"
ROLLOUTS = 4  # of a step that are shown
WIDEST = 1600  # pixels of the picture of a rollout
LONGEST = 4000  # characters of its text
FAILURES = 3  # in a row, after which a tracker gets nothing more

Shown = list[tuple["Image", str]]


def require_trackers(names: Sequence[str] | None) -> None:
    """ConfigError if a tracker is not installed. A folder of its name, which trackers write, is no package."""
    for name in names or ():
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise ConfigError(f"report_to names {name}, which is not installed", hint=f"pip install {name}")


@contextmanager
def tracked(recipe: RunConfig, run: RunFolder, trainer: Any) -> Iterator[None]:
    """Report a run to the trackers of its recipe during the block; only the main process does."""
    if not recipe.report_to or not is_main_process():
        yield
        return
    trackers = Trackers(recipe, run, trainer.accelerator.unwrap_model(trainer.model))
    run.listeners.append(trackers.log)
    rollouts = getattr(trainer, "rollouts", None)
    if rollouts is not None:
        rollouts.listener = trackers.show
    failed = True
    try:
        yield
        failed = False
    finally:
        run.listeners.remove(trackers.log)
        trackers.close(failed)


class Trackers:
    """The trackers of a run that is open. No method raises what a tracker raises: it is a warning."""

    def __init__(self, recipe: RunConfig, run: RunFolder, model: Any) -> None:
        self.run = run
        self.ids = _ids(run.path / IDS)
        config = public(recipe.model_dump(mode="json", exclude={"stage"})) | {"stage": run.stage}
        self.arguments = PublicArguments(config, f"{run.path.resolve().name}-{self.ids['id'][:6]}")
        self.model = PublicModel(public(model.config.to_dict()), model.num_parameters())
        self._variables = variables(run, self.ids)
        self._callbacks: dict[str, Any] = {}
        self._failures: dict[str, int] = {}
        for name in recipe.report_to or ():
            self._open(name)

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        """Report a row of ``metrics.jsonl``.

        All integrations but MLflow's show ``eval_…`` as ``eval/…`` and other metrics below ``train/``.
        """
        values = {name: value for name, value in row.items() if isinstance(value, int | float)}
        renamed = {re.sub("^eval/", "eval_", name): value for name, value in values.items()}

        def report(name: str, callback: Any) -> None:
            self._call(callback.on_log, step, logs=dict(values if name == "mlflow" else renamed))

        self._all(report)

    def show(self, step: int, rollouts: Sequence[Rollout]) -> None:
        """Report some of the ``rollouts`` of a step as images with their boxes, texts and rewards."""
        some = rollouts[:: max(len(rollouts) // ROLLOUTS, 1)][:ROLLOUTS]
        shown: Shown = [(picture(one), caption(one)) for one in some if one.images]
        if shown:
            self._all(lambda name, callback: SHOW[name](callback, step, shown))

    def close(self, failed: bool) -> None:
        """End the run of every tracker; ``failed`` is noted where a tracker can."""
        self._all(lambda name, callback: self._end(name, callback, failed))

    def _open(self, name: str) -> None:
        from transformers.integrations.integration_utils import get_reporting_integration_callbacks

        def begin() -> None:
            (kind,) = get_reporting_integration_callbacks([name])
            callback = kind()
            if name == "swanlab":  # its newer versions raise an error if the integration asks whether there is a run
                project = os.environ.get("SWANLAB_PROJ_NAME", PROJECT)
                settings = {"project": project, "experiment_name": self.arguments.run_name}
                importlib.import_module(name).init(**settings, id=self.ids["id"], resume="allow")
            self._call(callback.on_train_begin, 0)
            self._callbacks[name] = callback

        if self._guarded(name, begin) and name == "mlflow":  # which chooses the id itself
            self.ids["mlflow"] = importlib.import_module("mlflow").active_run().info.run_id
            write_json_atomic(self.run.path / IDS, self.ids)

    def _call(self, event: Callable[..., Any], step: int, **more: Any) -> None:
        event(self.arguments, TrainerState(global_step=step), TrainerControl(), model=self.model, **more)

    def _end(self, name: str, callback: Any, failed: bool) -> None:
        if name == "mlflow" and failed:
            importlib.import_module(name).end_run("FAILED")
        self._call(callback.on_train_end, 0)
        # These integrations leave their run open, and the next stage in this process would continue it.
        if name == "wandb":
            importlib.import_module(name).finish(exit_code=int(failed))
        elif name == "swanlab":
            importlib.import_module(name).finish(*(["crashed"] if failed else []))

    def _all(self, action: Callable[[str, Any], None]) -> None:
        for name, callback in list(self._callbacks.items()):
            if not self._guarded(name, lambda name=name, callback=callback: action(name, callback)):
                self._failures[name] = self._failures.get(name, 0) + 1
                if self._failures[name] == FAILURES:
                    logger.warning("%s failed %d times in a row and gets nothing more", name, FAILURES)
                    del self._callbacks[name]
            else:
                self._failures[name] = 0

    def _guarded(self, name: str, action: Callable[[], None]) -> bool:
        """Whether ``action`` succeeded, with the environment variables of the trackers."""
        try:
            with _environment(self._variables):
                action()
        except Exception as error:  # a tracker may raise anything, and the run must continue
            logger.warning("%s: %s; the run continues, and %s is its record", name, error, "metrics.jsonl")
            return False
        return True


class PublicArguments:
    """What an integration sees instead of the TrainingArguments: the recipe as configuration, and defaults."""

    project = PROJECT

    def __init__(self, config: dict[str, Any], name: str) -> None:
        self._config = config
        self.run_name = name
        self.output_dir = ""

    def to_dict(self) -> dict[str, Any]:
        """The configuration that is uploaded."""
        return dict(self._config)

    def to_json_string(self) -> str:
        """The same as JSON."""
        return json.dumps(self._config, indent=2)

    def __getattr__(self, name: str) -> Any:
        return getattr(TrainingArguments, name)


class PublicModel:
    """What an integration sees instead of the model: its configuration and its number of parameters."""

    def __init__(self, config: dict[str, Any], parameters: int) -> None:
        self.config = PublicArguments(config, "")
        self._parameters = parameters

    def num_parameters(self) -> int:
        """The number of weights."""
        return self._parameters


# What may be uploaded.


def variables(run: RunFolder, ids: Mapping[str, str]) -> dict[str, str]:
    """Environment variables for the trackers: places that the user may choose, and what they must not collect."""
    folder = run.path.resolve() / FOLDER
    usual = {
        "WANDB_PROJECT": PROJECT,
        "WANDB_DIR": str(folder),
        "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard"),
        "SWANLAB_LOG_DIR": str(folder / "swanlab"),
        "MLFLOW_EXPERIMENT_NAME": PROJECT,
        "MLFLOW_FLATTEN_PARAMS": "TRUE",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # of 7, which take four minutes without a network
    }
    fixed = {
        "WANDB_RUN_ID": ids["id"],
        "WANDB_RESUME": "allow",
        "WANDB_CONSOLE": "off",
        "WANDB_DISABLE_CODE": "true",
        "WANDB_DISABLE_GIT": "true",
        "WANDB_X_DISABLE_META": "true",
        "WANDB_X_SAVE_REQUIREMENTS": "false",
        "WANDB_LOG_MODEL": "false",  # would upload checkpoints
        "WANDB_WATCH": "false",
        "SWANLAB_TERMINAL_PROXY_TYPE": "none",
        **{f"SWANLAB_PROBE_{what}": "false" for what in ("RUNTIME", "REQUIREMENTS", "GIT", "SWANLAB")},
        "HF_MLFLOW_LOG_ARTIFACTS": "FALSE",
        "MLFLOW_RUN_CONTEXT": json.dumps({"mlflow.source.name": PROJECT, "mlflow.source.git.repoURL": ""}),
        **({"MLFLOW_RUN_ID": ids["mlflow"]} if "mlflow" in ids else {}),
    }
    (folder / "swanlab").mkdir(parents=True, exist_ok=True)
    return {name: value for name, value in usual.items() if name not in os.environ} | fixed


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _ids(file: Path) -> dict[str, str]:
    """The ids under which the trackers know the run, so that it is continued there, or new ones."""
    try:
        found = read_json(file) if file.is_file() else None
    except StorageError as error:
        logger.warning("%s; the trackers begin another run", error)
        found = None
    if isinstance(found, dict) and re.fullmatch("[0-9a-f]{21}", str(found.get("id"))):
        return {str(name): str(value) for name, value in found.items()}
    made = {"id": uuid.uuid4().hex[:21]}  # the length that SwanLab requires
    write_json_atomic(file, made)
    return made


# Rollouts as images. transformers' integrations report numbers only.


def picture(rollout: Rollout) -> Image:
    """All images of a rollout in a row, with the true, the predicted and the given boxes."""
    sample = rollout.sample
    drawn = draw_sample(
        rollout.images,
        true=[Mark(target.image, target.box, target.label) for target in sample.targets],
        predicted=[Mark(box.image, box.box) for box in rollout.score.reading.boxes],
        given=[Mark(image, box) for image, box in cited(sample.question)],
    )
    drawn.thumbnail((WIDEST, WIDEST))
    return drawn


def caption(rollout: Rollout) -> str:
    """Rewards, question, completion, and the reasons for rewards that are not full."""
    line = rollout.line
    numbers = ", ".join(f"{k} {v:.2f}" for k, v in line.items() if isinstance(v, float) and k != "step")
    reasons = "".join(f"\n{part}: {why}" for part, why in line["reasons"].items())
    text = f"{line['id']}: {numbers}\n{rollout.sample.question}\n{line['completion']}{reasons}"
    return without_secrets(text[:LONGEST])


def _to_wandb(callback: Any, step: int, shown: Shown) -> None:
    import wandb

    images = [wandb.Image(image, caption=text) for image, text in shown]
    wandb.log({"rollouts": images, "train/global_step": step})


def _to_trackio(callback: Any, step: int, shown: Shown) -> None:
    import trackio

    images = {f"rollouts/{k}": trackio.Image(image, caption=text) for k, (image, text) in enumerate(shown)}
    trackio.log({**images, "train/global_step": step})


def _to_tensorboard(callback: Any, step: int, shown: Shown) -> None:
    import numpy as np

    for k, (image, text) in enumerate(shown):
        callback.tb_writer.add_image(f"rollouts/{k}", np.asarray(image), step, dataformats="HWC")
        callback.tb_writer.add_text(f"rollouts/{k}", text.replace("\n", "  \n"), step)


def _to_mlflow(callback: Any, step: int, shown: Shown) -> None:
    import mlflow

    for k, (image, text) in enumerate(shown):
        mlflow.log_image(image, artifact_file=f"rollouts/step-{step:06d}-{k}.png")
        mlflow.log_text(text, f"rollouts/step-{step:06d}-{k}.txt")


def _to_swanlab(callback: Any, step: int, shown: Shown) -> None:
    import swanlab

    swanlab.log({"rollouts": [swanlab.Image(image, caption=text) for image, text in shown]}, step=step)


SHOW: dict[str, Callable[[Any, int, Shown], None]] = {
    "wandb": _to_wandb,
    "trackio": _to_trackio,
    "tensorboard": _to_tensorboard,
    "mlflow": _to_mlflow,
    "swanlab": _to_swanlab,
}
