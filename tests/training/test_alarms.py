"""What a step's completions say about the run, and the reward of the ground truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fakes.training import rows
from fakes.uneven import COMPLETION, LIMITS, SAMPLE
from mirg.answers import write_completion
from mirg.errors import ConfigError
from mirg.evaluation.pages import report_from_run
from mirg.families import FAMILIES, QWEN2_VL, QWEN3_VL, QWEN25_VL, Family
from mirg.rewards.trl import reward_functions
from mirg.samples import DatasetFolder
from mirg.training.alarms import StepAlarms, check_ground_truth
from mirg.training.grpo import train_grpo
from mirg.training.recipe import GrpoRecipe
from mirg.training.run import RunFolder

GROUPS, SIZE = 5, 2
WRONG = "<think>a</think><answer>Image-1: (0,0),(1,1)</answer>"
LIMIT = 40


def alarms(out: Path, family: Family = QWEN25_VL, **keys: Any) -> StepAlarms:
    recipe = GrpoRecipe.model_validate(
        {"model": "m", "data": "d", "group_size": SIZE, "max_new_tokens": LIMIT, "temperature": 0.5} | keys
    )
    loaded: Any = SimpleNamespace(family=family, limits=LIMITS)
    return StepAlarms(RunFolder(out, "grpo"), recipe, loaded, reward_functions(recipe.reward, family, LIMITS))


def look(watch: StepAlarms, texts: list[str], step: int = 0, length: int = 7) -> None:
    """One step of ``texts``, each as long as ``length`` tokens."""
    samples = [SAMPLE] * len(texts)
    functions = watch._rewards.functions
    rewards = torch.tensor([function(completions=texts, sample=samples) for function in functions]).T
    watch.look(step, samples, texts, [length] * len(texts), rewards)


def truth(family: Family) -> str:
    return write_completion("a", SAMPLE.targets, SAMPLE.sizes, family, limits=LIMITS)


def varied(texts: list[str]) -> list[str]:
    """Texts that differ without changing what they earn."""
    return [text.replace("<think>", f"<think>{k} ") for k, text in enumerate(texts)]


ALL = GROUPS * SIZE
UNOPENED = truth(QWEN25_VL).replace("<think>", "")
CASES: list[tuple[str, str, list[str], Family, int, list[str]]] = [
    ("fine", "", [COMPLETION, WRONG] * GROUPS, QWEN25_VL, 7, []),
    ("some cannot be read", "", ["?", COMPLETION] * GROUPS, QWEN25_VL, 7, []),
    ("cut off", "unreadable", ["<think>I look"] * ALL, QWEN25_VL, LIMIT, ["truncated"]),
    ("form not known", "unreadable", ["a red ring"] * ALL, QWEN25_VL, 7, ["form_not_known"]),
    ("template", "unreadable", [UNOPENED] * ALL, QWEN25_VL, 7, ["template_opens_thinking"]),
    ("family", "no_signal", varied([truth(QWEN25_VL)] * ALL), QWEN3_VL, 7, ["wrong_family"]),
    ("too easy", "no_signal", varied([COMPLETION] * ALL), QWEN25_VL, 7, ["too_easy"]),
    ("too hard", "no_signal", varied([WRONG] * ALL), QWEN25_VL, 7, ["too_hard"]),
    ("all alike", "no_signal", [WRONG] * ALL, QWEN25_VL, 7, ["same_completions"]),
    ("one group differs", "no_signal", varied([WRONG] * 9 + [COMPLETION]), QWEN25_VL, 7, ["too_hard"]),
]


@pytest.mark.parametrize(
    ("alarm", "texts", "family", "length", "causes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_cause_is_in_the_step(
    alarm: str, texts: list[str], family: Family, length: int, causes: list[str], tmp_path: Path
) -> None:
    look(alarms(tmp_path, family), texts, step=3, length=length)
    found = rows(tmp_path / "alarms.jsonl") if causes else []
    assert [(row["step"], row["alarm"], row["causes"]) for row in found] == ([(4, alarm, causes)] if causes else [])
    assert bool(causes) == (tmp_path / "alarms.jsonl").exists()


def test_it_is_said_once_and_again_if_it_lasts(tmp_path: Path) -> None:
    watch = alarms(tmp_path)
    for step in range(45):
        look(watch, ["?"] * ALL, step)
        look(watch, [COMPLETION, WRONG] * GROUPS, step)
    assert [(row["step"], row["times"]) for row in rows(tmp_path / "alarms.jsonl")] == [
        (1, 1), (10, 10), (20, 20), (40, 40),
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text('{"step": 45, "loss": 1.0}\n')
    html = report_from_run(tmp_path).read_text()
    assert "step 40: 10 of 10 completions cannot be read" in html and "in 40 steps so far" in html
    assert "step 20" not in html


def test_two_completions_say_nothing(tmp_path: Path) -> None:
    look(alarms(tmp_path), ["?"] * 2)
    assert not (tmp_path / "alarms.jsonl").exists()


def test_a_run_raises_alarms(tmp_path: Path, grpo_recipe: Callable[..., Any], folders: dict[str, Path]) -> None:
    """The random model knows no form."""
    train_grpo(grpo_recipe(model=str(folders["qwen3_vl"]), steps=1, max_new_tokens=8), tmp_path)
    (row,) = rows(tmp_path / "alarms.jsonl")
    assert (row["step"], row["causes"]) == (1, ["truncated"])


# The ground truth.


class Ids:
    """A tokenizer of characters; ``lost`` is a special token that decoding leaves out."""

    def __init__(self, lost: str = "\0") -> None:
        self.lost = lost

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "".join(map(chr, ids)).replace(self.lost, "")


def ask(family: Family, tokenizer: Ids, reward: dict[str, Any] | None = None, opened: str = "", **keys: Any) -> None:
    import datasets

    recipe = GrpoRecipe.model_validate({"model": "m", "data": "d", "reward": reward or {}} | keys)
    functions = reward_functions(recipe.reward, family, LIMITS, recipe.reward.plugins(), opened=opened)
    loaded: Any = SimpleNamespace(family=family, limits=LIMITS, tokenizer=tokenizer)
    table = datasets.Dataset.from_list([{"record": SAMPLE.model_dump_json(), "images": ["none.png"]}] * 3)
    prepared: Any = SimpleNamespace(rows=table, __len__=lambda: 3)
    check_ground_truth(recipe, loaded, functions, Rows(prepared.rows), [2, 0])


class Rows:
    """Prepared rows without lengths."""

    def __init__(self, table: Any) -> None:
        self.rows = table

    def __len__(self) -> int:
        return len(self.rows)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
@pytest.mark.parametrize("arm", ["dual", "gated", "object_only", "additive"])
def test_the_truth_earns_all_that_its_numbers_can(family: Family, arm: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mirg")
    ask(family, Ids(), {"arm": arm}, max_new_tokens=9999)
    assert [record.message for record in caplog.records] == ["the ground truth of 3 samples gets the full reward"]


def test_a_token_that_is_lost_in_decoding_is_found_before_training() -> None:
    with pytest.raises(ConfigError, match="ground truth of sample uneven does not get the full reward"):
        ask(QWEN2_VL, Ids(lost="<answer>"))


def test_an_answer_that_does_not_fit_is_said(caplog: pytest.LogCaptureFixture) -> None:
    ask(QWEN25_VL, Ids(), max_new_tokens=20)
    assert "3 of 3 samples have an answer that fills max_new_tokens = 20 without any thinking" in caplog.text


def test_a_plugin_may_declare_what_the_truth_earns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that does not may count other things than the truth: a warning. One that is below what it says is refused."""
    file = tmp_path / "mine.py"
    values = {"score": 0.25, "two": 2, "less": 1.5}
    functions = "".join(f"def {name}(text, sample):\n    return {value}\n" for name, value in values.items())
    file.write_text(f"{functions}two.maximum = less.maximum = 2\n")
    ask(QWEN25_VL, Ids(), {"function": f"{file}:score"}, health={"ground_truth": 1})
    assert f"1 of 1 samples get less than 1 for the ground truth from {file}:score" in caplog.text
    caplog.clear()
    ask(QWEN25_VL, Ids(), {"function": f"{file}:two"}, max_new_tokens=9999)
    assert not caplog.records
    with pytest.raises(ConfigError, match=r"gives 1.5 for the ground truth .* less than its maximum 2"):
        ask(QWEN25_VL, Ids(), {"function": f"{file}:less"})
    ask(QWEN25_VL, Ids(), {"function": f"{file}:less"}, health={"ground_truth": 0})


@pytest.mark.parametrize("opened", ["", "<think>"])
def test_a_plugin_is_given_the_whole_truth_once(opened: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The chat template may write the beginning of an answer."""
    file = tmp_path / "mine.py"
    file.write_text("def score(text, sample):\n    return float(text.startswith('<think></think><answer>'))\n")
    ask(QWEN25_VL, Ids(), {"function": f"{file}:score"}, opened, max_new_tokens=9999)
    assert not caplog.records


def test_a_dataset_that_cannot_be_rewarded_stops_before_training(
    tmp_path: Path, grpo_recipe: Callable[..., Any], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirg.training.alarms.write_completion", lambda *_, **__: WRONG)
    with pytest.raises(ConfigError, match="does not get the full reward"):
        train_grpo(grpo_recipe(data=str(data)), tmp_path / "run")
    assert len(DatasetFolder.open(data)) and not (tmp_path / "run" / "metrics.jsonl").exists()
