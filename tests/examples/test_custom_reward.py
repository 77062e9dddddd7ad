from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fakes.training import assert_same_run, rows
from mirg.cli.main import app
from mirg.data.scenes.generate import iter_samples


@pytest.fixture(scope="module")
def example(load_script: Callable[[str], ModuleType]) -> Any:
    return load_script("examples/custom_reward.py")


@pytest.mark.parametrize(
    ("completion", "share", "why"),
    [
        ("<think>Image-1: no. Image-2: yes.</think><answer>none</answer>", 1.0, "both are there"),
        (
            "<think>Image-1: yes, Image-1.</think><answer>Image-2: (0,0),(9,9)</answer>",
            0.5,
            "the answer does not count",
        ),
        ("<think>Image-12</think>", 0.0, "another image than Image-1"),
        ("Image-1 Image-2", 0.0, "no thinking"),
        ("", 0.0, "nothing"),
    ],
)
def test_the_reward(example: Any, completion: str, share: float, why: str) -> None:
    sample, _ = next(iter_samples(["difference"], 1, split="validation"))
    assert example.looks_at_every_image(completion, sample) == share, why


def test_it_runs_from_the_command_line_and_from_a_recipe(
    repository: Path, folders: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    """Both ways to name it, and the same run."""
    runner, name = CliRunner(), f"{repository / 'examples' / 'custom_reward.py'}:looks_at_every_image"
    common = {"model": str(folders["qwen3_vl"]), "data": str(data), "steps": 1, "max_new_tokens": 8, "group_size": 2}
    common |= {"prompts_per_step": 1, "log_rollouts_every": 1, "prompt": {"instructions": "none"}}
    written = tmp_path / "recipe.yaml"
    written.write_text(yaml.safe_dump(common | {"reward": {"function": name, "function_weight": 0.25}}))
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump(common))
    flags = ["-s", f"reward.function={name}", "-s", "reward.function_weight=0.25"]
    for out, arguments in (("one", [str(written)]), ("two", [str(plain), *flags])):
        done = runner.invoke(app, ["grpo", *arguments, "-o", str(tmp_path / out)])
        assert done.exit_code == 0, done.output
        (metrics,) = rows(tmp_path / out / "metrics.jsonl")
        assert "rewards/looks_at_every_image/mean" in metrics
        for row in rows(tmp_path / out / "rollouts.jsonl"):
            assert 0 <= row["looks_at_every_image"] <= 1
            parts = 0.1 * row["format"] + 0.4 * row["image"] + 0.5 * row["object"]
            assert row["total"] == pytest.approx(parts + 0.25 * row["looks_at_every_image"])
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_it_runs(example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example.main(steps=1, max_new_tokens=8)
    out = capsys.readouterr().out
    assert "step 1: format" in out and "looks_at_every_image" in out


def test_every_example_is_in_the_readme(repository: Path) -> None:
    folder = repository / "examples"
    text = (folder / "README.md").read_text(encoding="utf-8")
    for path in folder.glob("*.py"):
        assert f"({path.name})" in text, path.name
        assert (repository / "tests" / "examples" / f"test_{path.name}").is_file(), f"{path.name} is run by no test"
