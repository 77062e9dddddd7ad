"""mirg-tiny, the model that ships with mirg, is what its recipe and its digests say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from mirg.config import load_recipe
from mirg.data.scenes.world import load_world
from mirg.models.load import SHIPPED, load_model, resolve_model
from mirg.storage import SEAL_FILE, seal_problems
from research.perception.eyes import new_eyes
from research.perception.loop import Loop
from research.perception.recipe import RECIPE, PerceptionRecipe
from research.perception.stages import stages_of

LARGEST = 15 * 10**6


def test_the_files_are_those_that_were_made() -> None:
    assert seal_problems(SHIPPED) == []
    sealed = {"README.md", SEAL_FILE, *json.loads((SHIPPED / SEAL_FILE).read_text())}
    assert {path.name for path in SHIPPED.iterdir()} == sealed
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < LARGEST


def test_the_recipe_is_the_one_that_ships() -> None:
    kept = PerceptionRecipe.model_validate(yaml.safe_load((SHIPPED / "recipe.yaml").read_text()))
    assert kept == load_recipe(PerceptionRecipe, RECIPE)
    assert kept.world == load_world("tiny/world"), "the scenes of the demo are of the world that the model has seen"
    steps = [json.loads(line)["step"] for line in (SHIPPED / "log.jsonl").read_text().splitlines()]
    last = kept.vision_steps + kept.point_steps + kept.lookup_steps + kept.locate_steps
    assert steps == sorted(steps) and last - steps[-1] < kept.log_every


def test_it_loads_by_name_unless_a_folder_has_that_name(tmp_path: Path, monkeypatch) -> None:
    loaded = load_model("mirg-tiny")
    assert (loaded.family.name, loaded.instructions) == ("mirg-tiny", "none")
    assert {str(p.dtype) for p in loaded.model.parameters()} == {"torch.float32"}, "kept in bfloat16, used in float32"
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mirg-tiny"
    mine.mkdir()
    (mine / "config.json").write_text("{}")
    assert resolve_model("mirg-tiny") == "mirg-tiny"


@pytest.mark.slow
@pytest.mark.parametrize("logged_rows", [1, 2])
def test_its_first_steps_are_made_again(logged_rows: int) -> None:
    """The recipe still gives the losses of the log, to the last bit on a processor like the one that made it.

    Another processor or another number of threads adds up in another order: there, bfloat16 leaves a percent.
    """
    recipe = load_recipe(PerceptionRecipe, RECIPE)
    logged = [json.loads(line) for line in (SHIPPED / "log.jsonl").read_text().splitlines()[:logged_rows]]
    loop = Loop(stages_of(recipe)[0], new_eyes(recipe), recipe)
    made = {}
    while loop.done < max(logged[-1]["step"], 2):
        values = loop.step()
        made[loop.done] = values
    for row in logged:
        for name in ("loss", "grad_norm", "vision/side_error"):
            assert made[row["step"]][name] == pytest.approx(row[name], rel=0.01 if row["step"] == 1 else 0.1), name
    again = Loop(stages_of(recipe)[0], new_eyes(recipe), recipe)
    for step in (1, 2):
        assert again.step() == made[step], "the same machine gives the same bits"
