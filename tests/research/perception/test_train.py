"""The stages end to end, a few steps each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakes.tiny import WORLD
from fakes.training import assert_same_run, die_in, rows
from mirg.data.scenes.objects import split_name
from mirg.models.load import fast_dtype, load_model, model_facts
from mirg.storage import SEAL_FILE
from research.perception import loop as loop_module
from research.perception.eyes import config_of, new_eyes
from research.perception.loop import Loop
from research.perception.optimise import Curriculum, autocast
from research.perception.recipe import PerceptionRecipe
from research.perception.stages import Stage, _sized, stages_of
from research.perception.train import train_perception

SIZES = {"width": 32, "layers": 2, "heads": 2, "kv_heads": 2, "mlp": 64, "vision_width": 32, "vision_layers": 2}
SMALL = {"vision_heads": 2, "vision_mlp": 64}
NAMES = {"vision": "vision", "point": "point", "lookup": "look-up", "locate": "locate"}


@pytest.fixture(scope="module")
def recipe() -> Callable[..., PerceptionRecipe]:
    """``recipe(**keys)``: four steps of each stage on a tiny model."""

    def make(**keys: object) -> PerceptionRecipe:
        stages = {name: 4 for name in PerceptionRecipe.model_fields if name.endswith("_steps")}
        common = {"tiny": SIZES | SMALL, "world": WORLD, "vision_batch": 4, "batch_size": 2, "log_every": 1, **stages}
        return PerceptionRecipe.model_validate(common | {"dtype": "float32"} | keys)

    return make


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, recipe: Callable[..., PerceptionRecipe]) -> Path:
    """A run that nothing stopped."""
    out = tmp_path_factory.mktemp("perception") / "whole"
    assert train_perception(recipe(), out) == out / "model"
    return out


@pytest.mark.slow
def test_all_stages_and_the_same_again(tmp_path: Path, whole: Path, recipe: Callable[..., PerceptionRecipe]) -> None:
    made = whole / "model"
    metrics = rows(whole / "metrics.jsonl")
    total = sum(getattr(recipe(), name) for name in PerceptionRecipe.model_fields if name.endswith("_steps"))
    assert [row["step"] for row in metrics] == list(range(1, total + 1))
    assert all(row["stage"] == "perception" and row["loss"] > 0 for row in metrics)
    assert json.loads((made / "mirg.json").read_text())["steps"] == total
    loaded = load_model(str(whole))
    assert (loaded.family.name, loaded.instructions) == ("mirg-tiny", "none"), "evaluate and ground need no flag"
    assert model_facts(str(made))["family"] == loaded.family.name
    assert not (made / "head.safetensors").exists(), "what vision was read with is thrown away"
    train_perception(recipe(), tmp_path / "two")
    assert_same_run(whole, tmp_path / "two")


def stages(recipe: PerceptionRecipe) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages_of(recipe)}


def batch(name: str, recipe: PerceptionRecipe) -> Any:
    return stages(recipe)[name].batch(np.random.default_rng(0), Curriculum(1, 0.5))


def words(recipe: PerceptionRecipe) -> int:
    return len(new_eyes(recipe).processor.tokenizer)


# key, value, what is found, what is expected there (else the value)
KEYS: list[tuple[Any, ...]] = [
    *((f"{key}_steps", 7, lambda r, name=name: stages(r)[name].steps) for key, name in NAMES.items()),
    ("vision_learning_rate", 0.5, lambda r: stages(r)["vision"].learning_rate),
    ("learning_rate", 0.25, lambda r: {stages(r)[name].learning_rate for name in list(NAMES.values())[1:]}, {0.25}),
    ("vision_batch", 5, lambda r: len(batch("vision", r))),
    ("batch_size", 3, lambda r: [len(batch(name, r)) for name in ("locate", "point", "look-up")], [3, 6, 9]),
    ("small_last", True, lambda r: stages(r)["vision"].levels, 4),
    ("small_last", True, lambda r: _sized(r, 0, 4).object_side[0] > r.world.object_side[0]),
    ("exercises", ("name", "which"), lambda r: stages(r)["locate"].batch.args[1]),  # type: ignore[attr-defined]
    ("tiny", SIZES | SMALL | {"width": 64}, lambda r: new_eyes(r).model.config.text_config.hidden_size, 64),
    ("world", WORLD.model_copy(update={"side": 64}), lambda r: config_of(r).image_side, 64),
    ("seed", 5, lambda r: config_of(r).seed),
    ("tasks", ("odd_one_out",), lambda r: words(r) < words(r.model_copy(update={"tasks": None})), True),
    ("composed_names", True, lambda r: new_eyes(r).composed is not None),
    *((key, None, None) for key in ("log_every", "save_every", "threads", "dtype")),  # see the test below
]


@pytest.mark.parametrize("row", KEYS, ids=[row[0] for row in KEYS])
def test_a_key_arrives(row: tuple[Any, ...], recipe: Callable[..., PerceptionRecipe]) -> None:
    key, value, found, *expected = row
    if found is not None:
        assert getattr(recipe(), key) != value, "the row would prove nothing"
        assert found(recipe(**{key: value})) == (expected[0] if expected else value)


def test_every_key_has_a_row() -> None:
    assert PerceptionRecipe.model_fields.keys() - {row[0] for row in KEYS} == {"stage"}


def test_keys_of_the_loop_arrive(
    tmp_path: Path, recipe: Callable[..., PerceptionRecipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    dtypes: list[str] = []
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(loop_module, "autocast", lambda dtype: dtypes.append(dtype) or autocast("float32"))
    short = {"vision_steps": 4, "point_steps": 0, "lookup_steps": 0, "locate_steps": 0}
    train_perception(recipe(**short, log_every=3, save_every=3, threads=2, dtype="bfloat16"), tmp_path)
    assert [row["step"] for row in rows(tmp_path / "metrics.jsonl")] == [1, 4]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"checkpoint-3", "checkpoint-4"}
    assert dtypes == ["bfloat16"] * 4 and threads == [2]


@pytest.mark.slow
def test_another_seed_is_another_model(tmp_path: Path, recipe: Callable[..., PerceptionRecipe]) -> None:
    short = {name: 0 for name in PerceptionRecipe.model_fields if name.endswith("_steps")} | {"vision_steps": 1}
    models = [load_model(str(train_perception(recipe(seed=s, **short), tmp_path / str(s)))).model for s in (0, 1)]
    assert any(not torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


@pytest.mark.parametrize(
    ("every", "step"),
    [
        pytest.param(250, 8, id="between stages", marks=pytest.mark.slow),
        pytest.param(3, 7, id="inside"),
        pytest.param(1, 14, id="late", marks=pytest.mark.slow),
    ],
)
def test_stopped_and_started_again(
    every: int,
    step: int,
    tmp_path: Path,
    whole: Path,
    recipe: Callable[..., PerceptionRecipe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights, optimiser, curriculum and the scenes to come are those of a run that nothing stopped."""
    save = Loop.save

    def stop(loop: Loop, folder: Path) -> None:
        save(loop, folder)
        if folder.name == f"checkpoint-{step}":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            train_perception(recipe(save_every=every), tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "model").exists()
    train_perception(recipe(save_every=every), tmp_path / "stopped")
    assert_same_run(whole, tmp_path / "stopped")


def test_the_curriculum_goes_on_where_it_was(recipe: Callable[..., PerceptionRecipe], tmp_path: Path) -> None:
    (stage, *_) = stages_of(recipe())
    loop = Loop(stage, new_eyes(recipe()), recipe())
    loop.curriculum.level, loop.curriculum.accuracy = 1, 0.4
    loop.save(tmp_path)
    found = Loop.load(tmp_path, [stage], recipe())
    assert (found.curriculum.level, found.curriculum.accuracy, found.done) == (1, 0.4, 0)


def test_names_stay_sums_of_colour_and_shape(recipe: Callable[..., PerceptionRecipe]) -> None:
    """A pair that training never saw has the vector that its two words make."""
    wide = WORLD.model_copy(update={"shapes": "all", "pairs": "seen"})
    made = recipe(world=wide, composed_names=True)
    (stage, *_) = stages_of(made)
    loop = Loop(stage, new_eyes(made), made)
    before = loop.eyes.embedding.detach().clone()
    loop.step()
    rows = {name: loop.eyes.head.name_ids[k] for name, k in loop.eyes.index.items()}
    vector = {name: loop.eyes.embedding[row].detach() for name, row in rows.items()}
    assert not torch.equal(before[list(rows.values())], torch.stack(list(vector.values()))), "they are trained"
    unseen = set(wide.vocabulary) - set(wide.names)
    assert unseen
    for name in unseen:
        colour, shape = split_name(name)
        other, another = next(
            (c, s) for c, s in map(split_name, wide.names)
            if f"{colour} {s}" in wide.names and f"{c} {shape}" in wide.names
        )  # fmt: skip
        parallelogram = vector[f"{colour} {another}"] + vector[f"{other} {shape}"] - vector[f"{other} {another}"]
        torch.testing.assert_close(vector[name], parallelogram, atol=1e-5, rtol=1e-4)


def in_the_head(die: Callable[[], None]) -> None:
    """Write half of the second stage's readers, then die."""
    import safetensors.torch as library

    save = library.save_file

    def half(tensors: Any, file: Path) -> None:
        save(tensors, file)
        if file.parent.name == "checkpoint-8":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
            die()

    library.save_file = half  # type: ignore[assignment]


def before_the_manifest(die: Callable[[], None]) -> None:
    """Die when all files of the second stage are written and nothing says so yet."""
    seal = loop_module.seal_folder
    loop_module.seal_folder = lambda folder: die() if folder.name == "checkpoint-8" else seal(folder)


@pytest.mark.slow
@pytest.mark.parametrize("death", [in_the_head, before_the_manifest])
def test_killed_inside_a_save(
    death: Callable[..., None],
    tmp_path: Path,
    whole: Path,
    recipe: Callable[..., PerceptionRecipe],
    caplog: pytest.LogCaptureFixture,
) -> None:
    die_in(lambda: train_perception(recipe(), tmp_path / "killed"), death)
    train_perception(recipe(), tmp_path / "killed")
    assert "checkpoint-8 is not used: it has no manifest" in caplog.text
    assert_same_run(whole, tmp_path / "killed")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("head.safetensors", "checkpoint-16 is not used: head.safetensors is damaged"),
        ("optimiser.safetensors", "checkpoint-16 is not used: optimiser.safetensors is damaged"),
        ("model.safetensors", "checkpoint-16 is not used: model.safetensors is damaged"),
        (SEAL_FILE, "checkpoint-16 is not used"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(
    name: str,
    said: str,
    tmp_path: Path,
    whole: Path,
    recipe: Callable[..., PerceptionRecipe],
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(whole, tmp_path / "hurt")
    shutil.rmtree(tmp_path / "hurt" / "model")
    file = tmp_path / "hurt" / "checkpoints" / "checkpoint-16" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    train_perception(recipe(), tmp_path / "hurt")
    assert said in caplog.text
    assert_same_run(whole, tmp_path / "hurt")


@pytest.mark.slow
@pytest.mark.skipif(fast_dtype("cpu") != "bfloat16", reason="this CPU emulates bfloat16: a minute for this test")
def test_bfloat16_products_learn_to_name(tmp_path: Path, recipe: Callable[..., PerceptionRecipe]) -> None:
    """One stage, long enough to see that its loss falls."""
    none = {name: 0 for name in PerceptionRecipe.model_fields if name.endswith("_steps")}
    train_perception(recipe(**none | {"vision_steps": 40, "vision_batch": 16}, dtype="bfloat16"), tmp_path)
    losses = [row["loss"] for row in rows(tmp_path / "metrics.jsonl")]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
