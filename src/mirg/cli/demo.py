"""``mirg demo``: the whole of MIRG-RL on this machine, from data to a report.

Data → verified trajectories → perception → SFT → image-aware GRPO → evaluation → report. Every step is kept in the
output folder and is skipped when it is there already, so a demo that was stopped goes on where it was.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field

from mirg.cli.evaluate import show_comparison
from mirg.console import log_to_console, logger, say
from mirg.storage import write_json_atomic

MODELS = (("base", "perception"), ("sft", "sft"), ("rl", "grpo"))


class DemoRecipe(BaseModel):
    """How much the demo makes, and the recipes of its stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train_samples: int = Field(default=4000, ge=1)
    rl_samples: int = Field(default=3000, ge=1)
    test_samples: int = Field(default=900, ge=1)
    seed: int = 0
    perception: str = "tiny/perception"
    sft: str = "tiny/sft"
    grpo: str = "tiny/grpo"
    max_new_tokens: int = Field(default=160, ge=16)
    batch_size: int = Field(default=100, ge=1)


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder of the demo; the same command again goes on where it stopped.")
    ] = Path("runs/demo"),
    photos: Annotated[
        Path | None, typer.Option(help="A folder of photographs to train and test on, instead of scenes.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Sizes and stage recipes.")] = "tiny/demo",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="Override a key: -s test_samples=300, or of a stage: -s sft.steps=50"),
    ] = None,
) -> None:
    """Data, verified trajectories, perception, SFT, image-aware GRPO, evaluation and a report."""
    from mirg.training.quiet import quiet_libraries
    from mirg.training.recipe import load_recipe

    log_to_console()
    quiet_libraries()
    own, stages = _split(overrides or [])
    plan = load_recipe(DemoRecipe, recipe, own)
    clock = _Clock(out / "demo.json")
    with clock("data"):
        _make_data(plan, out, photos, stages)
    for stage, inputs in (
        ("perception", {}),
        ("sft", {"model": "perception", "data": "data/train"}),
        ("grpo", {"model": "sft", "data": "data/rl"}),
    ):
        with clock(stage):
            _train(plan, stage, out, {key: str(out / where) for key, where in inputs.items()}, stages[stage])
    for name, run in MODELS:
        with clock(f"evaluate {name}"):
            _evaluate(plan, out / run, out / "data/test", out / "eval" / name)
    _show(out)


def _split(overrides: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Overrides of the demo itself, and those of each stage (``sft.steps=50``)."""
    stages: dict[str, list[str]] = {"perception": [], "sft": [], "grpo": []}
    own = []
    for override in overrides:
        stage, dot, rest = override.partition(".")
        (stages[stage] if dot and stage in stages else own).append(rest if dot and stage in stages else override)
    return own, stages


def _make_data(plan: DemoRecipe, out: Path, photos: Path | None, stages: dict[str, list[str]]) -> None:
    from mirg.samples import DatasetFolder
    from mirg.training.recipe import PerceptionRecipe, load_recipe
    from mirg.trajectories.build import build_dataset

    world = load_recipe(PerceptionRecipe, plan.perception, stages["perception"]).world
    counts = {"train": plan.train_samples, "rl": plan.rl_samples, "test": plan.test_samples}
    for split, count in counts.items():
        folder = out / "data" / split
        plain = out / "data" / "annotated" if split == "train" else folder
        if (folder / "card.json").is_file():
            continue
        if photos is None:
            from mirg.scenes.generate import write_scenes

            write_scenes(plain, count, split=split, seed=plan.seed, config=world, overwrite=True)
        else:
            _photo_samples(photos, plain, count, split, plan.seed, world.side)
        if split == "train":
            report = build_dataset(DatasetFolder.open(plain), folder, overwrite=True, family="mirg-tiny")
            logger.info("trajectories: %d verified, %d rejected", report.n_kept, len(report.refused))
        logger.info("%s: %d samples", folder, len(DatasetFolder.open(folder)))


def _photo_samples(photos: Path, out: Path, count: int, split: str, seed: int, side: int) -> None:
    from mirg.compose.build import write_photo_samples
    from mirg.compose.config import PhotoConfig

    # RL trains on other samples of the photographs that SFT trains on; the test photographs are in neither.
    part, number = ("test", seed) if split == "test" else ("train", seed + (split == "rl"))
    config = PhotoConfig(n=count, seed=number, split=part, side=side, square=True)
    report = write_photo_samples(photos, out, config, overwrite=True)
    for rejection in report.rejected:
        logger.warning("photograph not used: %s: %s", rejection.file, rejection.reason)


def _train(plan: DemoRecipe, stage: str, out: Path, inputs: dict[str, str], overrides: list[str]) -> None:
    from mirg.cli.train import train
    from mirg.training.recipe import GrpoRecipe, PerceptionRecipe, SftRecipe, load_recipe

    kinds: dict[str, Any] = {"perception": PerceptionRecipe, "sft": SftRecipe, "grpo": GrpoRecipe}
    given = [f"{key}={value}" for key, value in inputs.items()]
    train(load_recipe(kinds[stage], getattr(plan, stage), [*given, *overrides]), out / stage)


def _evaluate(plan: DemoRecipe, model: Path, data: Path, out: Path) -> None:
    from mirg.engines.base import Generation
    from mirg.engines.load import load_engine
    from mirg.evaluation.runner import Plan, evaluate
    from mirg.samples import DatasetFolder

    if (out / "summary.json").is_file():
        return
    generation = Generation(max_new_tokens=plan.max_new_tokens, batch_size=plan.batch_size)
    summary = evaluate(
        load_engine(str(model)), DatasetFolder.open(data), out, Plan(generation=generation, instructions="none")
    )
    logger.info("%s: %d samples", out, summary["n"])


def _show(out: Path) -> None:
    from mirg.evaluation.compare import compare, load_evaluations
    from mirg.evaluation.pages import report_from_run

    result = compare(load_evaluations([out / "eval" / name for name, _ in MODELS]))
    write_json_atomic(out / "comparison.json", result)
    show_comparison(result)
    say(f"report: {report_from_run(out)}")


class _Clock:
    """Keeps how long each step took in ``demo.json``; a step that is repeated because it was stopped adds up."""

    def __init__(self, path: Path) -> None:
        from mirg.storage import read_json

        self.path = path
        old = read_json(path) if path.is_file() else {}
        self.times: dict[str, float] = dict(old.get("seconds", {})) if isinstance(old, dict) else {}
        self._step, self._began = "", 0.0

    def __call__(self, step: str) -> _Clock:
        self._step = step
        return self

    def __enter__(self) -> None:
        logger.info("— %s", self._step)
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        spent = self.times.get(self._step, 0.0) + time.monotonic() - self._began
        self.times[self._step] = round(spent, 1)
        write_json_atomic(self.path, {"seconds": self.times})
