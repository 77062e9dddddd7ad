from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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
    text = [{"role": "assistant", "content": completion}]
    assert example.looks_at_every_image([text], [sample.model_dump_json()], prompts=None) == [share], why


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
