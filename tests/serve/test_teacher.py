"""``mirg serve`` as people start it: a model taught in minutes answers as a teacher, over HTTP, until interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from fakes.serving import as_openai
from mirg.answers.prompts import messages
from mirg.answers.read import read
from mirg.config import load_recipe
from mirg.data.scenes.generate import write_scenes
from mirg.engines.base import Generation, Request
from mirg.engines.load import load_engine
from mirg.rewards import score
from mirg.samples import DatasetFolder
from mirg.training.recipe import SftRecipe
from mirg.training.sft import train_sft
from mirg.trajectories.build import build_dataset

pytestmark = pytest.mark.slow
TASKS = ("group_grounding", "refer")
ITEMS = 30


def test_a_taught_model_is_a_teacher(tmp_path: Path) -> None:
    from mirg.cli.demo import DemoRecipe
    from mirg.data.scenes.world import load_world

    plan = load_recipe(DemoRecipe, "tiny/demo")
    world = load_world(plan.world) if isinstance(plan.world, str) else plan.world
    write_scenes(tmp_path / "plain", 600, split="train", seed=0, tasks=TASKS, config=world)
    build_dataset(DatasetFolder.open(tmp_path / "plain"), tmp_path / "train", family="mirg-tiny")
    write_scenes(tmp_path / "test", ITEMS, split="test", seed=0, tasks=TASKS, config=world)
    recipe = load_recipe(SftRecipe, "tiny/sft", [f"data={tmp_path / 'train'}", "steps=80", "threads=1"])
    train_sft(recipe, tmp_path / "run")

    command = [sys.executable, "-m", "mirg.cli.main", "serve", str(tmp_path / "run"), "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert child.stdout is not None
        name, _, address = child.stdout.readline().strip().partition(" at ")
        assert name == "run"
        client = openai.OpenAI(base_url=address, api_key="none", timeout=120)
        engine = load_engine(str(tmp_path / "run"))
        data = DatasetFolder.open(tmp_path / "test")
        kept = total = 0.0
        for sample in data:
            images = [data.open_image(ref) for ref in sample.images]
            asked = messages(sample, engine.family, engine.limits, engine.instructions)  # type: ignore[attr-defined]
            told: Any = as_openai(asked, images)
            said = client.chat.completions.create(model=name, messages=told, temperature=0, max_tokens=96)
            text = said.choices[0].message.content or ""
            (expected,) = engine.generate([Request(sample.id, asked, images)], Generation(96, batch_size=1))
            assert text == expected.text
            assert said.usage is not None and said.usage.completion_tokens == expected.tokens
            kept += read(text, sample.sizes, engine.family, engine.limits).format_score
            total += score(text, sample, engine.family, limits=engine.limits).total
        assert kept / ITEMS > 0.8 and total / ITEMS > 0.5, "it gives usable reasoning and boxes"
    finally:
        child.send_signal(signal.SIGINT)
        assert child.wait(30) in (0, 130, -signal.SIGINT)
