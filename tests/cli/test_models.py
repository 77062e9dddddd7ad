"""``mirg models``: what the table and the lines about one model say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.families import FAMILY_MODELS
from mirg.families import FAMILIES

Mirg = Callable[..., Any]


def test_all_families_are_listed_with_what_works(mirg: Mirg) -> None:
    shown = mirg("models")
    assert shown.exit_code == 0
    lines = {words[0]: line for line in shown.stdout.splitlines() if (words := line.split())}
    for family in FAMILIES.values():
        assert all(kind in lines[family.name] for kind in family.model_types)
    assert "load by name: mirg-tiny, mirg-tiny-photo." in shown.stdout
    assert "no: linear_attention" in lines["qwen3.5"] and "evaluation, rollouts" in lines["glm-v"]
    assert "y1, x1, y2, x2" in lines["gemma-4"] and "pixels of the resized image" in lines["qwen2.5-vl"]
    rows = {row["family"]: row for row in json.loads(mirg("models", "--json").stdout)}
    assert rows.keys() == FAMILIES.keys()
    assert [rows[name]["grpo_packed"] for name in ("qwen3-vl", "qwen3.5", "internvl")] == [True, False, True]
    assert [rows[name]["vllm_rollouts"] for name in ("qwen3-vl", "qwen3.5", "internvl")] == [True, False, False]


@pytest.mark.parametrize(
    ("name", "facts", "lines"),
    [
        (
            "qwen3.5",
            {"family": "qwen3.5", "opened": "<think>\n", "thinking_switch": True, "grpo_packed": False},
            [
                "GRPO with packed groups: no, because of its linear_attention layers",
                "begins every answer with '<think>",
            ],
        ),
        (
            "glm-4.1v",
            {"family": "glm-v", "end_of_turn": "<|user|>", "thinking_switch": False, "grpo_packed": True},
            ["an answer ends with <|user|>", "has no switch", "GRPO rollouts by vLLM: yes"],
        ),
        (
            "internvl3",
            {"family": "internvl", "vllm": False, "own_engine": True},
            [
                "evaluation by vLLM in this process: no; an endpoint works",
                "Image-2: <box>[[250,500,750,1000]]</box>",
            ],
        ),
    ],
)
def test_what_holds_for_one_model(
    name: str, facts: dict[str, Any], lines: list[str], mirg: Mirg, shared: Callable[..., Path]
) -> None:
    folder = shared(f"family-{name}", FAMILY_MODELS[name])
    found = json.loads(mirg("models", folder, "--json").stdout)
    assert facts.items() <= found.items()
    shown = mirg("models", folder).stdout
    assert all(line in shown for line in lines), shown


def test_a_family_that_is_named_wins(mirg: Mirg) -> None:
    shown = mirg("models", "mirg-tiny", "--family", "qwen2.5-vl")
    assert shown.stdout.startswith("mirg-tiny: family qwen2.5-vl (Qwen3VLForConditionalGeneration")


def test_a_model_of_no_family_and_a_name_that_is_not_here(mirg: Mirg, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "molmo2"}')
    unknown, absent = mirg("models", tmp_path), mirg("models", "nobody/nothing")
    assert unknown.exit_code and "no family of models of the type 'molmo2'" in unknown.stderr
    assert "docs/how-to/models.md" in unknown.stderr
    assert absent.exit_code and "hf download nobody/nothing" in absent.stderr
