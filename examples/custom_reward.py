"""A custom reward together with mirg's rewards, in ``mirg grpo`` and in TRL's GRPOTrainer.

    mirg grpo tiny/grpo -o runs/grpo -s model=runs/demo/sft -s data=runs/demo/data/rl \\
        -s reward.function=examples/custom_reward.py:looks_at_every_image -s reward.function_weight=0.1
    python examples/custom_reward.py                                   # TRL, a random tiny model: shows that it runs
    python examples/custom_reward.py --model runs/demo/sft --steps 50  # TRL, the model of `make demo` after SFT

A reward is a function of the text of a completion and of the sample, so it may look at everything that is known about
the sample. Keep rewards in [0, 1], give 0 to bad text instead of raising an exception, and ask which text earns most
with least effort: a policy will find it.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from transformers import PrinterCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from mirg.answers.read import read
from mirg.data.scenes.generate import corpus, names, write_scenes
from mirg.data.scenes.world import EASY
from mirg.families import family
from mirg.models.load import LoadedModel, forbidden_tokens, load_model, wrap
from mirg.models.tiny import TinyConfig, build_tiny
from mirg.rewards import RewardConfig
from mirg.rewards.trl import plugin_reward, reward_functions
from mirg.samples import Sample
from mirg.training.data import grpo_rows
from mirg.training.recipe import PromptConfig

WEIGHT = 0.1  # beside format, image and object, which sum to 1


def looks_at_every_image(text: str, sample: Sample) -> float:
    """The share of the sample's images that the reasoning mentions: do not stop at the first likely one."""
    # The reader never raises; without a think block the thinking is "". The family matters to the boxes only.
    thinking = read(text, sample.sizes, family("qwen3-vl")).thinking
    wanted = {f"Image-{number}" for number in range(1, len(sample.images) + 1)}
    return len(wanted.intersection(re.findall(r"Image-[0-9]+", thinking))) / len(wanted)


def tiny_model() -> LoadedModel:
    """A random model that knows the words of the scenes."""
    model, processor = build_tiny(TinyConfig(width=64, layers=2), corpus=corpus(n=100), names=names())
    return wrap(model, processor, path="tiny")


def main(
    model: Annotated[str, typer.Option(help="Model folder, run folder or hub name; empty: a random tiny model.")] = "",
    steps: int = 2,
    prompts: Annotated[int, typer.Option(help="Prompts per step (P).")] = 2,
    group: Annotated[int, typer.Option(help="Completions per prompt (G).")] = 4,
    max_new_tokens: int = 48,
) -> None:
    """Train with format, image, object and one more reward, and print the mean of each."""
    loaded = load_model(model, dtype="float32") if model else tiny_model()
    own = plugin_reward(f"{__file__}:looks_at_every_image")
    rewards = reward_functions(RewardConfig(arm="dual"), loaded.family, loaded.limits, [(own, WEIGHT)])
    with tempfile.TemporaryDirectory() as folder:
        data = write_scenes(Path(folder) / "data", 4 * prompts, split="rl", config=EASY)
        rows = grpo_rows(str(data.root), loaded, PromptConfig(instructions=loaded.instructions)).rows
        arguments = GRPOConfig(
            output_dir=str(Path(folder) / "run"),
            max_steps=steps,
            per_device_train_batch_size=prompts * group,
            num_generations=group,
            max_completion_length=max_new_tokens,
            top_p=1.0,
            top_k=0,
            generation_kwargs={"suppress_tokens": forbidden_tokens(loaded.tokenizer, loaded.family)},
            reward_weights=rewards.weights,
            loss_type="dapo",
            epsilon_high=0.28,
            beta=0.0,
            learning_rate=1e-5,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            bf16=False,
            dataloader_pin_memory=False,
        )
        functions: list[Any] = list(rewards.functions)
        trainer = GRPOTrainer(
            model=loaded.model,
            reward_funcs=functions,
            args=arguments,
            train_dataset=rows,
            processing_class=loaded.processor,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    for row in trainer.state.log_history:
        means = {key.split("/")[1]: value for key, value in row.items() if key.startswith("rewards/") and "mean" in key}
        if means:
            typer.echo(f"step {row['step']}: " + ", ".join(f"{name} {value:.3f}" for name, value in means.items()))


if __name__ == "__main__":
    typer.run(main)
