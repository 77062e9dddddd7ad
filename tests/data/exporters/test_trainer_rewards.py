"""Exported rows with the reward functions for other trainers give mirg's own reward, in each trainer's own way."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import yaml

from fakes.completions import WRITTEN, mutate, right_completion
from mirg.errors import ConfigError, DataError
from mirg.families import FAMILIES, Family, PixelLimits, family
from mirg.rewards import RewardConfig, score
from mirg.rewards.plugins import for_easyr1, for_ms_swift, for_verl
from mirg.samples import Sample

BOUNDS = PixelLimits(3136, 200_000)
ARM: dict[str, Any] = {"arm": "additive", "image_weight": 0.2, "shaping": "dual_threshold"}
KEYS = ("data_source", "reward_model", "extra_info")  # what verl's manager reads of a row


def parquet_rows(out: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    return parquet.read_table(out / "train.parquet").to_pylist()


def of_verl(out: Path, texts: Callable[[str], str], **settings: Any) -> Iterator[tuple[str, str, float]]:
    for row in parquet_rows(out):
        info, text = row["extra_info"], texts(row["extra_info"]["id"])
        truth = row["reward_model"]["ground_truth"]
        found = for_verl.compute_score(row["data_source"], text, truth, extra_info=info, **settings)
        assert found.keys() == {"score", "format", "image", "object"}
        yield info["id"], text, found["score"]


def of_easyr1(out: Path, texts: Callable[[str], str], **settings: Any) -> Iterator[tuple[str, str, float]]:
    """As EasyR1's manager does: a module out of the file, the settings bound once, all rows in one call."""
    spec = importlib.util.spec_from_file_location("custom_reward_fn", for_easyr1.__file__)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (module.REWARD_NAME, module.REWARD_TYPE) == ("mirg", "batch")
    rows = [(row["id"], texts(row["id"]), row["answer"]) for row in parquet_rows(out)]
    inputs = [{"response": text, "response_length": len(text), "ground_truth": truth} for _, text, truth in rows]
    for (name, text, _), found in zip(rows, partial(module.compute_score, **settings)(inputs), strict=True):
        yield name, text, found["overall"]


def of_ms_swift(out: Path, texts: Callable[[str], str], **settings: Any) -> Iterator[tuple[str, str, float]]:
    rows = [json.loads(line) for line in (out / "grpo.jsonl").read_text().splitlines()]
    said = [texts(json.loads(row["record"])["id"]) for row in rows]
    columns = {key: [row[key] for row in rows] for key in ("messages", "record", "solution")}
    kind = type("Chosen", (for_ms_swift.MirgReward,), {"settings": settings})
    for row, text, value in zip(rows, said, kind(args=None)(said, trainer_state=None, **columns), strict=True):
        yield json.loads(row["record"])["id"], text, value


class Trainer(NamedTuple):
    rewards: Callable[..., Iterator[tuple[str, str, float]]]
    limits: PixelLimits  # with which the model sees the original image, if no first step changes its size
    first: bool = False  # EasyR1 shrinks an image before the processor does


TRAINERS = {
    "verl": Trainer(of_verl, BOUNDS),
    "easyr1": Trainer(of_easyr1, BOUNDS, first=True),
    "ms-swift": Trainer(of_ms_swift, PixelLimits(3136, 200_000 // 784 * 784)),
}


def shrunk(sample: Sample) -> Sample:
    """The sample with the sizes that EasyR1 gives the processor, by arithmetic that is written out again here."""
    refs = []
    for ref in sample.images:
        width, height = ref.size
        for pixels, wrong in ((BOUNDS.max_pixels, 1), (BOUNDS.min_pixels, -1)):
            if (width * height - pixels) * wrong > 0:
                factor = (pixels / (width * height)) ** 0.5
                width, height = int(width * factor), int(height * factor)
        refs.append(ref.model_copy(update={"width": width, "height": height}))
    return sample.model_copy(update={"images": tuple(refs)})


def expected(to: str, text: str, sample: Sample, chosen: Family, settings: dict[str, Any]) -> float:
    trainer, config = TRAINERS[to], RewardConfig(**settings)
    if chosen.box_frame == "relative_1000":
        return score(text, sample, chosen, config).total
    if trainer.first:
        return score(text, shrunk(sample), chosen, config).total
    return score(text, sample, chosen, config, trainer.limits).total


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("to", TRAINERS)
def test_the_reward_is_mirgs_own(exported, samples: dict[str, Sample], to: str, name: str) -> None:
    """On the truth, on true answers to other questions, and on mutated and foreign completions."""
    chosen, rng, found = family(name), random.Random(name), []
    bounds = {"min_pixels": BOUNDS.min_pixels, "max_pixels": BOUNDS.max_pixels} if chosen.resize == "image" else {}
    out, _ = exported(to, name, look="none", **bounds)
    right = {key: right_completion(sample, chosen) for key, sample in samples.items()}

    def text(key: str) -> str:
        one = rng.choice([right[key], right[key], rng.choice(list(right.values())), rng.choice(WRITTEN)])
        return one if rng.random() < 0.5 else mutate(rng, one, rng.choice(WRITTEN))

    for settings in ({}, ARM, {"arm": "gated", "partial_format": True}):
        for key, said, value in TRAINERS[to].rewards(out, text, **settings):
            assert value == expected(to, said, samples[key], chosen, settings), (key, said)
            found.append(value)
    assert len(found) == 3 * len(samples) and len(set(found)) > 5


def test_the_parts_of_ms_swift(exported, samples: dict[str, Sample]) -> None:
    out, _ = exported("ms-swift", "qwen3-vl")
    row = json.loads((out / "grpo.jsonl").read_text().splitlines()[1])
    sample = samples[json.loads(row["record"])["id"]]
    text = right_completion(sample.model_copy(update={"targets": sample.targets[:1] * 2}), family("qwen3-vl"))
    values = [kind(args=SimpleNamespace())([text], record=[row["record"]])[0] for kind in for_ms_swift.REWARDS.values()]
    found = score(text, sample, family("qwen3-vl"))
    assert values == [found.total, *found.values] and 0 < found.object.value < 1
    assert "swift" not in sys.modules, "the table of ms-swift is touched only if it is ms-swift that loads the file"


def test_a_thinking_that_the_template_opened(exported) -> None:
    out, _ = exported("verl", "qwen3-vl")
    truth = parquet_rows(out)[1]["reward_model"]["ground_truth"]
    text = "So.</think><answer>[]</answer>"
    values = [for_verl.compute_score("", text, truth, opened=opened)["format"] for opened in ("", "<think>")]
    assert values == [0.0, 1.0]


@pytest.mark.parametrize(
    ("record", "settings", "kind", "words"),
    [
        ('{"id": 1}', {}, DataError, "a 'record' is not a sample"),
        ("PLAIN", {}, DataError, "the record of sample s does not name a model family"),
        ("TRUTH", {"arn": "dual"}, ConfigError, "the reward setting 'arn' cannot be used"),
        ("TRUTH", {"image_weight": -1.0}, ConfigError, "the reward setting 'image_weight' cannot be used"),
    ],
)
def test_what_is_refused(exported, record: str, settings: dict[str, Any], kind: type[Exception], words: str) -> None:
    sample = '{"id":"s","task":"t","images":[{"path":"a.png","width":8,"height":9}],"question":"?"}'
    out, _ = exported("verl")
    record = {"PLAIN": sample, "TRUTH": parquet_rows(out)[0]["reward_model"]["ground_truth"]}.get(record, record)
    with pytest.raises(kind, match=words):
        for_verl.compute_score("", "x", record, **settings)


# The loaders of the trainers themselves, in an environment that has one of them.


def needs(module: str) -> pytest.MarkDecorator:
    """Skip without ``module``; verl and EasyR1 are both a package called verl."""
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    return pytest.mark.skipif(not found, reason=f"{module} is not installed")


@pytest.mark.slow
@needs("verl.experimental.reward_loop")
def test_verl_loads_and_calls_it(exported, samples: dict[str, Sample], repository: Path) -> None:
    """The example's configuration, verl's own loader and its manager of rewards, on exported rows."""
    import numpy as np
    import torch
    from hydra import compose, initialize_config_dir  # type: ignore[import-not-found]
    from verl import DataProto  # type: ignore[import-not-found]
    from verl.trainer.ppo.reward import load_reward_manager  # type: ignore[import-not-found]

    out, _ = exported("verl")
    with initialize_config_dir(str(repository / "examples" / "trainers"), version_base=None):
        config = compose("verl", [f"data.train_files={out / 'train.parquet'}"])  # as main_ppo does
    assert config.reward.custom_reward_function.path.startswith("pkg://mirg.")
    tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: "".join(chr(int(i)) for i in ids))
    manager = load_reward_manager(config, tokenizer)
    for row in parquet_rows(out):
        sample = samples[row["extra_info"]["id"]]
        text = f"<think>So.</think><answer>{row['extra_info']['answer']}</answer>"
        ids = torch.tensor([[ord(c) for c in text]])
        proto = DataProto.from_dict(
            tensors={"responses": ids, "attention_mask": torch.ones_like(ids)},
            non_tensors={key: np.array([row[key]], dtype=object) for key in KEYS},
        )
        found = manager.loop.run_until_complete(manager.run_single(proto))
        limits = PixelLimits(3136, 12_845_056)
        assert found["reward_score"] == score(text, sample, family("qwen2.5-vl"), limits=limits).total > 0.85


@pytest.mark.slow
@needs("swift.rl_core")
def test_ms_swift_loads_and_calls_it(exported, samples: dict[str, Sample], repository: Path) -> None:
    """The example's plug-in, ms-swift's own reader of the rows, and its own call of rewards."""
    import torch
    from swift.dataset import load_dataset  # type: ignore[import-not-found]
    from swift.rewards import orms  # type: ignore[import-not-found]
    from swift.rl_core.data import GRPOSample  # type: ignore[import-not-found]
    from swift.rl_core.grpo_algorithm import compute_rewards_per_func  # type: ignore[import-not-found]
    from swift.utils import import_external_file  # type: ignore[import-not-found]

    out, report = exported("ms-swift")
    example = yaml.safe_load((repository / "examples" / "trainers" / "ms-swift.yaml").read_text())
    assert set(example["reward_funcs"]) <= for_ms_swift.REWARDS.keys()
    assert f"--external_plugins {for_ms_swift.__file__}" in report.settings[-1]
    import_external_file(str(for_ms_swift.__file__))
    assert for_ms_swift.REWARDS.keys() <= orms.keys()
    functions = [orms[name](args=None) for name in for_ms_swift.REWARDS]
    rows, _ = load_dataset(str(out / "grpo.jsonl"), remove_unused_columns=False)
    for row in rows:
        said = f"<think>So.</think><answer>{row['solution']}</answer>"
        taken = GRPOSample.from_row(row | {"messages": [*row["messages"], {"role": "assistant", "content": said}]})
        values = compute_rewards_per_func([taken], functions, None, torch.device("cpu"))[0].tolist()
        sample = samples[json.loads(row["record"])["id"]]
        found = score(said, sample, family("qwen2.5-vl"), limits=PixelLimits(3136, 12_845_056))
        assert values == pytest.approx([found.total, *found.values]) and found.total > 0.85


@pytest.mark.slow
@needs("swift.rl_core")
def test_the_keys_of_the_example_are_ms_swifts(repository: Path) -> None:
    import dataclasses

    from swift.arguments import RLHFArguments  # type: ignore[import-not-found]

    example = yaml.safe_load((repository / "examples" / "trainers" / "ms-swift.yaml").read_text())
    assert example.keys() <= {field.name for field in dataclasses.fields(RLHFArguments)}
    assert sum(example["reward_weights"]) == 1.0
