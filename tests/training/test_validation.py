"""Validation during training: it changes no step, survives a kill, stops early, and keeps the best checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import TrainerState

from fakes.families import FAMILY_MODELS
from fakes.tiny import write_data
from fakes.training import assert_same_run, die_in, weights, without_clocks
from mirg.engines.base import Generation
from mirg.engines.load import load_engine
from mirg.evaluation.runner import Plan, evaluate
from mirg.samples import DatasetFolder
from mirg.storage import read_json
from mirg.training.grpo import train_grpo
from mirg.training.run import RunFolder
from mirg.training.sft import train_sft
from mirg.training.validation import LOGGED, Validation, _own_features

Make = Callable[..., Any]
TRAIN: dict[str, Callable[[Any, Path], Any]] = {"sft": train_sft, "grpo": train_grpo}
TOKENS = 48


@pytest.fixture(scope="session")
def held(shared: Callable[..., Path]) -> Path:
    return shared("held-out", lambda folder: write_data(folder, 3, seed=7))


@pytest.fixture
def recipe(sft_recipe: Make, grpo_recipe: Make, skilled: Callable[[str], Path]) -> Make:
    """``recipe(stage, **keys)``: three steps from a model that knows the form, with a checkpoint at step 2."""

    def make(stage: str, kind: str = "qwen3_vl", **keys: Any) -> Any:
        own = {"model": str(skilled(kind))} if kind in ("qwen3_vl", "qwen2_5_vl") else {}
        return {"sft": sft_recipe, "grpo": grpo_recipe}[stage](kind, **({"steps": 3} | own | keys))

    return make


def validated(held: Path, **keys: Any) -> dict[str, Any]:
    return {"eval_data": str(held), "eval_max_new_tokens": TOKENS, "eval_batch_size": 2} | keys


def rows_of(run: Path, *, validations: bool) -> list[dict[str, Any]]:
    return [row for row in without_clocks(run / "metrics.jsonl") if ("eval/reward" in row) == validations]


KEYS: list[tuple[str, str, dict[str, Any], str]] = [  # stage, model type, keys, why
    ("sft", "qwen3_vl", {}, "all weights"),
    ("grpo", "qwen3_vl", {}, "packed groups"),
    ("sft", "qwen2_5_vl", {"lora": {"rank": 4, "dropout": 0.3}, "gradient_checkpointing": True}, "adapters"),
    ("sft", "qwen2_5_vl", {"dtype": "bfloat16", "workers": 1, "log_every": 2}, "autocast"),
    ("grpo", "qwen2_5_vl", {"freeze_vision": True, "lora": {"rank": 4}}, "kept features"),
    ("grpo", "qwen3_vl", {"packed": False}, "TRL's own step"),
]


@pytest.mark.parametrize(
    ("stage", "kind", "keys"),
    [pytest.param(*k[:3], id=f"{k[0]}: {k[3]}", marks=pytest.mark.slow) for k in KEYS],
)
def test_validation_changes_no_step_and_finds_what_evaluate_finds(
    stage: str, kind: str, keys: dict[str, Any], held: Path, recipe: Make, whole: Make, tmp_path: Path
) -> None:
    plain, run = whole(recipe(stage, kind, **keys)), whole(recipe(stage, kind, **keys, **validated(held)))
    assert rows_of(run, validations=False) == rows_of(plain, validations=False)
    ours, other = weights(run), weights(plain)
    assert ours.keys() == other.keys() and all(torch.equal(ours[name], other[name]) for name in ours)
    found = rows_of(run, validations=True)
    assert [row["step"] for row in found] == [0, 2, 3], "before the first step, at the checkpoint and at the end"
    plan = Plan(Generation(TOKENS, batch_size=2), instructions="none")
    summary = evaluate(load_engine(str(run)), DatasetFolder.open(held), tmp_path / "evaluation", plan)
    said = [json.loads(line)["completion"] for line in (run / "validation/step-3/records.jsonl").open()]
    expected = [json.loads(line)["completion"] for line in (tmp_path / "evaluation/records.jsonl").open()]
    assert said == expected or keys.get("dtype"), "the finished model answers as it did in training"
    if not keys.get("dtype"):
        overall = summary["metrics"]["overall"]
        assert {name: found[-1][f"eval/{name}"] for name in LOGGED} == {name: overall[name]["mean"] for name in LOGGED}
    if kind == "qwen3_vl":
        assert min(row["eval/parse_failures"] for row in found) < 1, "an answer that nobody can read shows nothing"


@pytest.mark.parametrize("stage", ["sft", pytest.param("grpo", marks=pytest.mark.slow)])
def test_killed_and_started_again(stage: str, held: Path, recipe: Make, whole: Make, tmp_path: Path) -> None:
    """In a validation, before its checkpoint is written."""
    settings = recipe(stage, **validated(held))
    undisturbed, killed = whole(settings), tmp_path / "killed"

    def in_the_last(die: Callable[[], None]) -> None:
        log = RunFolder.log

        def dying(self: RunFolder, step: int, values: dict[str, Any]) -> None:
            log(self, step, values)
            if step == 3 and "eval/reward" in values:
                die()

        RunFolder.log = dying  # type: ignore[method-assign]

    die_in(lambda: TRAIN[stage](settings, killed), in_the_last)
    TRAIN[stage](settings, killed)
    assert_same_run(undisturbed, killed)
    for file in undisturbed.glob("validation/step-*/*"):
        assert file.read_bytes() == (killed / file.relative_to(undisturbed)).read_bytes()


def test_a_run_that_no_longer_improves_stops_and_finishes_with_its_best_weights(
    held: Path, sft_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {0: 0.9, 1: 0.1, 2: 0.5, 3: 0.5, 4: 0.3}  # before training, it was better than ever after
    monkeypatch.setattr(Validation, "_validate", lambda self, state: scores[state.global_step])
    keys = {"steps": 9, "save_every": 1, "keep_checkpoints": 1, "patience": 2, "finish_with": "best"}
    settings, run = sft_recipe(**validated(held, **keys)), tmp_path / "run"
    outcome = train_sft(settings, run)
    assert (outcome.model, outcome.step) == (run / "model", 4), "a run that stopped early is finished"
    kept = sorted(path.name for path in (run / "checkpoints").glob("checkpoint-*"))
    assert kept == ["checkpoint-2", "checkpoint-4"], "the newest, and the best although one is kept"
    facts = read_json(run / "model" / "mirg.json")
    assert isinstance(facts, dict)
    assert {k: facts[k] for k in ("steps", "best_step", "best_joint_accuracy", "weights_of_step")} == {
        "steps": 4, "best_step": 2, "best_joint_accuracy": 0.5, "weights_of_step": 2,
    }  # fmt: skip
    best = load_file(run / "checkpoints/checkpoint-2/model.safetensors")
    made = load_file(run / "model/model.safetensors")
    assert all(torch.equal(best[name], made[name]) for name in best)
    last = load_file(run / "checkpoints/checkpoint-4/model.safetensors")
    assert any(not torch.equal(last[name], made[name]) for name in made)

    before = rows_of(run, validations=False)
    shutil.rmtree(run / "model")  # as if killed before it was written
    assert train_sft(settings, run).step == 4, "no further step is taken"
    again = load_file(run / "model/model.safetensors")
    assert all(torch.equal(again[name], made[name]) for name in made) and rows_of(run, validations=False) == before


@pytest.mark.parametrize(
    ("patience", "best", "score", "step", "over", "why"),
    [
        (None, 10, 0.5, 900, False, "no patience is set"),
        (2, None, None, 900, False, "nothing was validated"),
        (2, 10, 0.5, 20, False, "one was no better"),
        (2, 10, 0.5, 30, True, "two were no better"),
        (1, 30, 0.5, 35, False, "the last step is no multiple"),
        (2, 10, 0.0, 90, False, "the model has not learnt the form of an answer yet"),
    ],
)
def test_when_a_run_is_exhausted(
    patience: int | None,
    best: int | None,
    score: float | None,
    step: int,
    over: bool,
    why: str,
    held: Path,
    sft_recipe: Make,
) -> None:
    made = Validation.__new__(Validation)
    made.recipe = sft_recipe(**validated(held, patience=patience, save_every=10))
    assert made.exhausted(TrainerState(global_step=step, best_global_step=best, best_metric=score)) is over, why


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"patience": 2}, "patience is set without eval_data"),
        ({"finish_with": "best"}, "finish_with is set without eval_data"),
        ({"eval_data": "d", "eval_every": 30, "save_every": 20}, "eval_every = 30 is no multiple of save_every = 20"),
    ],
)
def test_what_does_not_fit_together(keys: dict[str, Any], words: str, sft_recipe: Make) -> None:
    with pytest.raises(ValidationError, match=words):
        sft_recipe(**keys)


def test_kept_features_of_the_training_stay(loaded: Any) -> None:
    from mirg.models.vision import FeatureCache

    tower, mine = loaded.model.model.visual, FeatureCache(2**20)
    mine.put("training", (torch.ones(2),))
    tower.feature_cache = mine
    try:
        with _own_features(loaded.model):
            tower.feature_cache.put("held out", (torch.ones(2),))
            assert tower.feature_cache is not mine and len(tower.feature_cache) == 0
        assert tower.feature_cache is mine and len(mine) == 1
    finally:
        del tower.feature_cache


@pytest.mark.slow
def test_a_model_that_cannot_be_packed_is_validated_by_generate(held: Path, sft_recipe: Make, tmp_path: Path) -> None:
    model = str(FAMILY_MODELS["qwen3.5"](tmp_path / "qwen35"))
    plain, run = tmp_path / "plain", tmp_path / "run"
    train_sft(sft_recipe(model=model), plain)
    train_sft(sft_recipe(model=model, **validated(held)), run)
    assert rows_of(run, validations=False) == rows_of(plain, validations=False)
    settings = read_json(run / "validation/step-3/evaluation.json")
    assert isinstance(settings, dict) and settings["numerics"].endswith("generate")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_two_processes_find_what_one_finds(stage: str, held: Path, recipe: Make, tmp_path: Path) -> None:
    import subprocess
    import sys

    from mirg.config import dump_recipe

    found = []
    for processes in (1, 2):
        each = {"batch_size": 4 // processes} if stage == "sft" else {}
        settings = recipe(stage, processes=processes, **each, **validated(held))
        file, run = tmp_path / f"{processes}.yaml", tmp_path / str(processes)
        file.write_text(dump_recipe(settings))
        launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        command = [sys.executable, "-m", *launcher, "-m", "mirg.cli.main", stage, str(file), "-o", str(run)]
        done = subprocess.run(command, check=False, timeout=300, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(rows_of(run, validations=True))
        said = [json.loads(line)["id"] for line in (run / "validation/step-0/records.jsonl").open()]
        assert len(said) == len(set(said)) == 3, "every sample once"
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5), "of the same starting model"
    assert [row["step"] for row in found[1]] == [0, 2, 3]
