"""``mirg demo``: the whole of MIRG-RL on this machine, from data to a report.

Data → verified trajectories → SFT → pass rates → image-aware GRPO → evaluation → report, from a tiny model that ships
with mirg or from any other. The output folder keeps every finished step, so a demo that was stopped continues there.
A folder that was made with other settings is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field

from mirg.cli.evaluate import show_comparison
from mirg.config import load_recipe
from mirg.console import log_to_console, logger, say, warn
from mirg.data.compose.photos.pool import PHOTOGRAPHS, Found, PhotoConfig, PhotoPool, find_photos
from mirg.data.scenes.world import WorldConfig, load_world
from mirg.engines.base import Generation
from mirg.errors import ConfigError
from mirg.families import MIRG_TINY, MIRG_TINY_PHOTO
from mirg.samples import DatasetFolder
from mirg.storage import atomic_folder, read_json, write_json_atomic
from mirg.training.recipe import PARTIALLY_SOLVED, GrpoRecipe, RlAnswers, SftRecipe

PLAN, CLOCK = "plan", "seconds"  # keys of demo.json
FEW_PHOTOS = 60  # fewer are accepted, with a sentence about what to expect


class DemoRecipe(BaseModel):
    """How much the demo makes, and the recipes of its stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train_samples: int = Field(default=4000, ge=1)
    rl_samples: int = Field(default=3000, ge=1)
    rl_answers: RlAnswers = 0
    test_samples: int = Field(default=900, ge=1)
    seed: int = 0
    base: str = Field(default=MIRG_TINY.name, description="The model that SFT starts from.")
    tasks: tuple[str, ...] | None = Field(default=None, description="Tasks of the samples; None: all.")
    world: str | WorldConfig = Field(
        default="tiny/world", description="A world, or the recipe or YAML file whose world the scenes are of."
    )
    photo: PhotoConfig = Field(
        default=PhotoConfig(side=256),
        description="How samples are composed of photographs; the demo sets n, seed and split.",
    )
    shown_samples: int = Field(
        default=36,
        ge=0,
        description="Samples of the photographs that ship with mirg, for the page of a demo on scenes; 0: none.",
    )
    sft: str = "tiny/sft"
    grpo: str = "tiny/grpo"
    max_new_tokens: int = Field(default=160, ge=16)
    batch_size: int = Field(default=100, ge=1)


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo; the same command continues a stopped demo.")] = Path(
        "runs/demo"
    ),
    photos: Annotated[
        Path | None, typer.Option(help="A folder of photographs to train and test on, instead of scenes.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Sizes and stage recipes; tiny/demo, with photographs tiny-photo/demo.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="Override a key: -s test_samples=300, or of a stage: -s sft.steps=50"),
    ] = None,
) -> None:
    """Data, verified trajectories, SFT, image-aware GRPO, evaluation and a report."""
    from mirg.evaluation.compare import compare, load_evaluations
    from mirg.evaluation.pages import report_from_run
    from mirg.training import quiet_libraries

    log_to_console()
    quiet_libraries()
    given = _split(overrides or [])
    plan = load_recipe(DemoRecipe, recipe or ("tiny-photo/demo" if photos else "tiny/demo"), given[""])
    clock = partial(_clock, out / "demo.json")
    _note_settings(out / "demo.json", plan, photos)
    with clock("data"):
        _make_data(plan, out, photos)
    with clock("sft"):
        _train(plan, "sft", out, [f"model={plan.base}", f"data={out / 'data/train'}", *given["sft"]])
    prompts, sometimes = out / "data/rl", ()
    if plan.rl_answers:
        with clock("pass rates"):
            prompts = _rate(plan, out)
            sometimes = PARTIALLY_SOLVED if _enough_to_learn_from(plan, prompts, given["grpo"]) else ()
    with clock("grpo"):
        _train(plan, "grpo", out, [f"model={out / 'sft'}", f"data={prompts}", *sometimes, *given["grpo"]])
    models = {"base": plan.base, "sft": str(out / "sft"), "rl": str(out / "grpo")}
    for name, model in models.items():
        with clock(f"evaluate {name}"):
            _evaluate(plan, model, out / "data/test", out / "eval" / name)
    result = compare(load_evaluations([out / "eval" / name for name in models]))
    write_json_atomic(out / "comparison.json", result)
    if photos is None and plan.shown_samples:
        with clock("photographs"):
            _show_photographs(plan, out)
    show_comparison(result)
    say(f"report: {report_from_run(out)}")


def _split(overrides: list[str]) -> dict[str, list[str]]:
    """Overrides of the demo itself (under ""), and those of each stage (``sft.steps=50``)."""
    found: dict[str, list[str]] = {"": [], "sft": [], "grpo": []}
    for override in overrides:
        stage, dot, rest = override.partition(".")
        own = not dot or stage not in ("sft", "grpo")
        found["" if own else stage].append(override if own else rest)
    return found


def _make_data(plan: DemoRecipe, out: Path, photos: Path | None) -> None:
    from mirg.data.compose.photos.build import write_photo_samples
    from mirg.data.scenes.generate import write_scenes
    from mirg.trajectories.build import build_dataset

    world = load_world(plan.world) if isinstance(plan.world, str) else plan.world
    if photos is not None:
        photos = _small_copies(plan.photo, photos, out / "data" / "photographs")
    counts = {"train": plan.train_samples, "rl": plan.rl_samples, "test": plan.test_samples}
    for split, count in counts.items():
        folder = out / "data" / split
        plain = out / "data" / "annotated" if split == "train" else folder
        if (folder / "card.json").is_file():
            continue
        if photos is None:
            write_scenes(plain, count, split=split, seed=plan.seed, tasks=plan.tasks, config=world, overwrite=True)
        else:
            # RL trains on other samples of the photographs that SFT trains on; the test photographs are in neither.
            part, number = ("test", plan.seed) if split == "test" else ("train", plan.seed + (split == "rl"))
            config = plan.photo.model_copy(update={"n": count, "seed": number, "split": part})
            made = write_photo_samples(photos, plain, config, overwrite=True)
            if split == "train":
                _warn_of_few(made.found)
        if split == "train":
            report = build_dataset(DatasetFolder.open(plain), folder, overwrite=True, family=MIRG_TINY.name)
            logger.info("trajectories: %d verified, %d rejected", report.n_kept, report.n_rejected)
        logger.info("%s: %d samples", folder, len(DatasetFolder.open(folder)))


def _small_copies(config: PhotoConfig, photos: Path, copies: Path) -> Path:
    """The folder ``copies`` with every readable photograph, at most twice as large as samples show it.

    Three datasets are made from it, and each decodes every file twice. Files that cannot be used are named.
    """
    if copies.is_dir():
        return copies
    if copies.resolve().is_relative_to(photos.resolve()):
        raise ConfigError(f"the output folder is inside {photos}", hint="choose an --out outside of the photographs")
    found = find_photos(photos, config.model_copy(update={"split": "test", "test_share": 1.0}))
    for rejection in found.rejected:
        logger.warning("photograph not used: %s: %s", rejection.file, rejection.reason)
    pool = PhotoPool(found.photos, config.model_copy(update={"side": 2 * config.side, "square": False}))
    with atomic_folder(copies) as part:
        for index, photo in enumerate(found.photos):
            pool.image(index).save(part / f"{photo.digest[:16]}.png", compress_level=1)
    return copies


def _warn_of_few(found: Found) -> None:
    """Say what to expect if there are fewer photographs than :data:`FEW_PHOTOS`; ``found`` is of the train split."""
    tested = found.n_readable - len(found.photos)
    if found.n_readable < FEW_PHOTOS:
        warn(
            f"{found.n_readable} photographs, {tested} of them for testing: expect a lower accuracy and intervals of up"
            f" to ±{98 / max(tested, 1) ** 0.5:.0f} points; use {FEW_PHOTOS} photographs or more"
        )


def _show_photographs(plan: DemoRecipe, out: Path) -> None:
    """What mirg-tiny-photo, as it ships, answers about photographs that ship with mirg: a part of the page.

    The samples are composed as those of the demo on photographs.
    """
    from mirg.data.compose.photos.build import write_photo_samples
    from mirg.evaluation.page_photos import ANSWERS, DATA

    if not (out / DATA / "card.json").is_file():
        composed = load_recipe(DemoRecipe, "tiny-photo/demo").photo
        all_of_them = {"n": plan.shown_samples, "seed": plan.seed, "split": "test", "test_share": 1.0}
        config = composed.model_copy(update=all_of_them)
        write_photo_samples(PHOTOGRAPHS, out / DATA, config, overwrite=True)
    _evaluate(plan, MIRG_TINY_PHOTO, out / DATA, out / ANSWERS)


def _train(plan: DemoRecipe, stage: str, out: Path, overrides: list[str]) -> None:
    from mirg.cli.train import train

    kinds: dict[str, Any] = {"sft": SftRecipe, "grpo": GrpoRecipe}
    train(load_recipe(kinds[stage], getattr(plan, stage), overrides), out / stage)


def _rate(plan: DemoRecipe, out: Path) -> Path:
    """The RL samples with the share of the SFT model's answers that are right: GRPO learns from neither 0 nor 1."""
    from mirg.engines.load import load_engine
    from mirg.evaluation.measure import MeasurePlan
    from mirg.evaluation.pass_rates import write_difficulty

    rated = out / "data/rated"
    # At temperature 1, whatever GRPO's is: a wider net, where samples are few.
    if not (rated / "card.json").is_file():
        generation = Generation(plan.max_new_tokens, temperature=1.0, seed=plan.seed, batch_size=plan.batch_size)
        engine, asked = load_engine(str(out / "sft")), DatasetFolder.open(out / "data/rl")
        report = write_difficulty(engine, asked, rated, plan.rl_answers, MeasurePlan(generation, overwrite=True))
        logger.info("%s: %s", rated, ", ".join(f"{count} {word} right" for word, count in report.kept.most_common()))
    return rated


def _enough_to_learn_from(plan: DemoRecipe, rated: Path, overrides: list[str]) -> bool:
    """Whether a GRPO step can be filled with samples that are right sometimes; if not, a warning says what is done."""
    needed = load_recipe(GrpoRecipe, plan.grpo, overrides).prompts_per_step
    rates: list[Any] = [sample.meta["pass_rate"] for sample in DatasetFolder.open(rated)]
    found = sum(0 < rate < 1 for rate in rates)
    if found < needed:
        warn(
            f"{found} of {len(rates)} RL samples are right sometimes, and a step takes {needed}: GRPO trains on all of"
            " them, and learns little"
        )
    return found >= needed


def _evaluate(plan: DemoRecipe, model: str, data: Path, out: Path) -> None:
    from mirg.engines.load import load_engine
    from mirg.evaluation.runner import Plan, evaluate

    if (out / "summary.json").is_file():
        return
    generation = Generation(max_new_tokens=plan.max_new_tokens, batch_size=plan.batch_size)
    summary = evaluate(load_engine(model), DatasetFolder.open(data), out, Plan(generation=generation))
    logger.info("%s: %d samples", out, summary["n"])


def _note_settings(path: Path, plan: DemoRecipe, photos: Path | None) -> None:
    """Begin ``demo.json``, which holds the settings of the folder and how long each step took.

    ConfigError if it is there and holds other settings.
    """
    wanted = {"photos": str(photos.resolve()) if photos else None} | plan.model_dump(mode="json")
    if not path.is_file():
        write_json_atomic(path, {PLAN: wanted, CLOCK: {}})
        return
    written = read_json(path)
    kept = written.get(PLAN) if isinstance(written, dict) else None
    if not isinstance(kept, dict):
        raise ConfigError(f"{path} does not say how it was made", hint="choose another --out")
    for key, value in wanted.items():
        if kept.get(key) != value:
            raise ConfigError(
                f"{path.parent} holds a demo with {key} = {kept.get(key)}, now it is {value}",
                hint="choose another --out, or remove the folder",
            )


@contextmanager
def _clock(path: Path, step: str) -> Iterator[None]:
    """Time one step; its seconds are written when it ends, however it ends. Those of a repeated step add up."""
    logger.info("— %s", step)
    began = time.monotonic()
    try:
        yield
    finally:
        notes: dict[str, Any] = read_json(path)  # type: ignore[assignment]
        seconds = notes.setdefault(CLOCK, {})
        seconds[step] = round(seconds.get(step, 0.0) + time.monotonic() - began, 1)
        write_json_atomic(path, notes)
