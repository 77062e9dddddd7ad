"""Rollouts by vLLM through TRL's own VLLMGeneration, over a fake that is right and fakes that are wrong on purpose."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl.generation.vllm_generation import VLLMGeneration

from fakes.training import favour, first_batch, loss_and_gradients, make_trainer, rows, weights
from fakes.vllm import Engine, install
from mirg.errors import EngineError
from mirg.models.load import load_model
from mirg.models.prompts import Prompt
from mirg.models.sampling import Sampling
from mirg.training import vllm
from mirg.training.grpo import train_grpo
from mirg.training.recipe import RolloutConfig
from mirg.training.vllm import moved_images, own_logs, verdict

Make = Callable[..., Any]
MODES = ("server", "colocate")
SLOW = pytest.mark.slow


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, grpo_recipe: Make) -> Make:
    """``start(mode, *faults, **keys)``: engine and trainer; what is served at first is not what is trained."""

    def make(mode: str, *faults: str, kind: str = "qwen3_vl", **keys: Any) -> tuple[Engine, Any]:
        small = {"rollouts": {"backend": "vllm", "mode": mode}, "max_new_tokens": 12, "group_size": 2}
        recipe = grpo_recipe(kind, **small | keys)
        engine = install(monkeypatch, Engine(recipe.model, faults), mode)
        with torch.no_grad():
            for weight in engine.model.parameters():
                weight.mul_(1.3)
        return engine, make_trainer(recipe, tmp_path)

    return make


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("qwen3_vl", "server"),
        pytest.param("qwen3_vl", "colocate", marks=SLOW),
        pytest.param("qwen2_5_vl", "server", marks=SLOW),
        pytest.param("qwen2_5_vl", "colocate", marks=SLOW),
    ],
)
def test_what_vllm_draws_is_scored_alike(kind: str, mode: str, start: Make) -> None:
    """Its log-probabilities, from a plain forward pass, are those of the packed update to 1e-5."""
    engine, trainer = start(mode, kind=kind)
    made = first_batch(trainer)
    batch = made.columns
    assert engine.calls[:3] == ["weights", "/reset_prefix_cache", "/reset_encoder_cache"]
    assert engine.calls.count("weights") == 1
    mask = batch["completion_mask"].bool()
    said = set(batch["completion_ids"][mask].tolist())
    assert said and not said & set(trainer.sampling.forbidden)
    # TRL's correction compares with the unmodified model, which may also say what rollouts may not.
    assert (batch["old_per_token_logps"] <= batch["sampling_per_token_logps"] + 1e-5)[mask].all()
    prompt, ids = made.prompts[0], batch["completion_ids"][0][mask[0]].tolist()
    own, _ = own_logs(trainer.model, prompt, [ids], trainer.sampling)
    assert torch.allclose(own, batch["sampling_per_token_logps"][0][mask[0]], atol=1e-5)


@pytest.mark.parametrize(
    ("fault", "message", "why"),
    [
        pytest.param("swapped images", "every image in its place is unknown", "even by a blind model", marks=SLOW),
        pytest.param("first slot", "every image in its place is unknown", "the same", marks=SLOW),
        ("stale weights", "nats a token off the model's, 0.1 are allowed", "the served model is not the trained one"),
        pytest.param("own temperature", "nats a token off the model's", "it draws at 1.5, asked for 0.6", marks=SLOW),
        pytest.param(
            "raw logs", "without temperature .* --logprobs-mode processed_logprobs", "vLLM's own default", marks=SLOW
        ),
    ],
)
def test_a_faulty_backend_is_refused(fault: str, message: str, why: str, start: Make) -> None:
    _, trainer = start("server", fault)
    with pytest.raises(EngineError, match=message):
        first_batch(trainer)
    assert not trainer._metrics["train"]["reward"], f"refused before anything is trained on: {why}"


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        pytest.param(("swapped images",), "nats a token off the model's, 0.1 are allowed", marks=SLOW),
        (("first slot",), "nats a token off the model's, 0.1 are allowed"),
        pytest.param(("swapped images", "bfloat16"), "nats a token off the model's, 0.1 are allowed", marks=SLOW),
        pytest.param(("bfloat16",), "", marks=SLOW),
        pytest.param((), "", marks=SLOW),
    ],
)
def test_a_model_that_looks_at_its_images_tells(
    faults: tuple[str, ...], message: str, start: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The model that ships: in bfloat16 it is hundredths off in float32, with its images in another order, a nat."""
    _, trainer = start("server", *faults, model="mirg-tiny")
    with caplog.at_level("INFO"), pytest.raises(EngineError, match=message) if message else nullcontext():
        first_batch(trainer)
    assert ("vLLM agrees with the model" in caplog.text) == (not message)


@SLOW
@pytest.mark.parametrize("mode", MODES)
def test_no_forbidden_token_is_drawn_or_accepted(mode: str, start: Make) -> None:
    """Both engines find one by far the likeliest; the one that follows logit_bias says something else."""
    for faults in ((), ("deaf to logit_bias",)):
        engine, trainer = start(mode, *faults)
        token = engine.processor.tokenizer.convert_tokens_to_ids("<|vision_end|>")
        favour(engine.model, token, 40.0)  # vLLM's logit_bias ends at -100
        if faults:
            with pytest.raises(EngineError, match=f"vLLM drew token {token}, which is forbidden"):
                first_batch(trainer)
        else:
            assert not (first_batch(trainer).columns["completion_ids"] == token).any()


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("server", r"images of sample .* are \[36, 36.* tokens to vLLM and \[9, 9"),
        pytest.param(
            "colocate",
            r"vLLM used another prompt for sample .* images of \[36, 36.* trainer has .* \[9, 9",
            marks=SLOW,
        ),
    ],
)
def test_other_pixel_limits_are_refused(mode: str, message: str, start: Make) -> None:
    _, trainer = start(mode, "pixel limits")
    with pytest.raises(EngineError, match=message):
        first_batch(trainer)


def test_expanded_placeholders_would_put_all_images_in_the_first_place(
    start: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL issue 6294, as TRL's own trainer has it in colocate mode: 9 cells become 3 * 9 and the 6 that are left."""
    monkeypatch.setattr(vllm, "collapsed", lambda ids, token: list(ids))
    _, trainer = start("colocate")
    with pytest.raises(EngineError, match=r"another prompt .* images of \[33, 9, 9\].* trainer has .* \[9, 9"):
        first_batch(trainer)


def test_each_prompt_is_compared_with_its_own_images_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of a pair has the images of the first in another order, and the first those of the second."""
    model = SimpleNamespace(training=False, eval=lambda: None, train=lambda on: None, device="cpu")
    trainer = SimpleNamespace(accelerator=SimpleNamespace(device="cpu", autocast=nullcontext))
    monkeypatch.setattr(vllm, "generating_model", lambda _: nullcontext(model))
    monkeypatch.setattr(vllm, "own_logs", lambda _, prompt, *__: (torch.tensor([float(*prompt.ids)]), torch.zeros(1)))
    prompts = [Prompt([-n]) for n in (1, 2, 4, 8)]
    drawn = [vllm.Drawn([[0]], [[float(*prompt.ids)]]) for prompt in prompts]
    found = vllm.distances(trainer, prompts, drawn, Sampling(1, [4]))
    assert found.tolist() == [4, 0, 1 + 2 + 4 + 8, 2 * (2 - 1) + 2 * (8 - 4)]


@pytest.mark.parametrize(
    ("off", "raw", "moved", "message", "why"),
    [
        (0.02, 0.4, 0.5, "", "rounding, and images that matter"),
        (1e-7, 1e-7, 0.004, "", "a small difference is clear if nothing else differs"),
        (0.2, 0.3, 0.9, "0.2 nats a token off", "too far"),
        (float("nan"), 0.3, 0.9, "nan nats", "nothing to go by"),
        (0.2, 0.01, 0.9, "without temperature they are 0.01 off", "raw log-probabilities"),
        (0.06, 0.3, 0.15, "mixes up which image is which", "as far as half the images' order"),
        (0.02, 0.3, 0.03, "is unknown", "the model hardly looks at its images"),
    ],
)
def test_verdicts(off: float, raw: float, moved: float, message: str, why: str) -> None:
    problem = verdict(off, raw, moved, RolloutConfig())
    assert (problem is not None) == bool(message), why
    assert message in str(problem)
    lenient = verdict(off, raw, moved, RolloutConfig(check_order=False))
    assert (lenient is None) == (off <= 0.1), why


@pytest.mark.parametrize("mode", ["colocate", pytest.param("server", marks=SLOW)])
def test_images_are_forgotten_once_a_step(mode: str, start: Make) -> None:
    """After the weights of the step have been sent, and only then."""
    engine, trainer = start(mode)
    batches = iter(trainer.get_train_dataloader())
    for step in (0, 0, 1):
        trainer.state.global_step = step
        trainer.roll_out(next(batches))
    relevant = [call for call in engine.calls if call in ("weights", "/reset_encoder_cache")]
    assert relevant == ["weights", "/reset_encoder_cache"] * 2


def test_a_prompt_with_another_token_is_another_prompt() -> None:
    """Also if both have the same length."""
    generation = SimpleNamespace(mode="server", generate=lambda **_: ([[1, 9, 3]], [[4]], [[[0.0]]], None))
    trainer = SimpleNamespace(
        vllm_generation=generation, processing_class=SimpleNamespace(image_token_id=9), num_generations=1
    )
    rollouts = vllm.VllmRollouts(RolloutConfig(), Sampling(1, [4]))
    with pytest.raises(EngineError, match="another prompt for sample a"):
        rollouts._draw(trainer, [{"id": "a", "images": []}], [Prompt([1, 2, 3])], [1], 1)


def test_images_are_moved_by_one_place() -> None:
    row = {"id": "a", "images": [1, 2, 3]}
    assert moved_images(row) == {"id": "a", "images": [3, 1, 2]}
    assert row["images"] == [1, 2, 3]


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "low rank": {"lora": {"rank": 4}, "beta": 0.3},
    "vespo": {"loss": "vespo"},
}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("low rank", "colocate"),
        *(pytest.param(name, "server", marks=SLOW) for name in SETTINGS),
    ],
)
def test_the_update_is_that_of_our_own_rollouts(name: str, mode: str, start: Make) -> None:
    """For the same completions: loss and gradients but for the weights of TRL's correction, which are near 1."""
    _, trainer = start(mode, **SETTINGS[name])
    batch = first_batch(trainer)
    batch.columns["advantages"] = torch.tensor([1.0, -0.5, 0.0, 2.0])
    ratios = batch.columns["importance_sampling_ratio"]
    assert ratios.min() > 0.5 and ratios.max() <= 1 + 1e-4, "suppressed tokens make completions likelier when drawn"
    batch.columns["importance_sampling_ratio"] = torch.ones_like(ratios)
    loss, grads = loss_and_gradients(trainer, batch)
    trainer.use_vllm = False
    kept = batch.columns.keys() - {"importance_sampling_ratio", "old_per_token_logps", "sampling_per_token_logps"}
    batch.columns = {key: batch.columns[key] for key in kept}
    expected, ours = loss_and_gradients(trainer, batch)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert grads.keys() == ours.keys() and any(grad.any() for grad in ours.values())
    for key, grad in ours.items():
        assert (grads[key] - grad).norm() <= 1e-4 * grad.norm() + 1e-7, key


@pytest.mark.parametrize("mode", ["server", pytest.param("colocate", marks=SLOW)])
def test_a_run_through_vllm(mode: str, tmp_path: Path, grpo_recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step's rollouts are generated with that step's weights, adapters merged, and the run ends with a model."""
    recipe = grpo_recipe(rollouts={"backend": "vllm", "mode": mode}, lora={"rank": 4}, micro_batch=4)
    engine = install(monkeypatch, Engine(recipe.model), mode)
    before = copy.deepcopy(engine.model.state_dict())
    assert train_grpo(recipe, tmp_path / "run").step == 2
    assert engine.calls.count("weights") == engine.calls.count("/reset_encoder_cache") == 2
    assert any(not torch.equal(value, before[key]) for key, value in engine.model.state_dict().items())
    metrics = rows(tmp_path / "run" / "metrics.jsonl")
    assert all(row["sampling/sampling_logp_difference/mean"] < 0.05 for row in metrics)
    assert max(row["reward_std"] for row in metrics) > 0
    assert weights(tmp_path / "run")


@SLOW
def test_adapters_are_checked_as_they_are_sent(start: Make) -> None:
    """The model that scores has its adapters beside the weights; the one that is sent has them merged in."""
    _, trainer = start("server", lora={"rank": 4})
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    first_batch(trainer)


def test_a_sleeping_engine_gets_its_weights_back_before_each_call(
    tmp_path: Path, grpo_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One GPU: after each call vLLM's memory is free, and what it read of the model is the run's own folder."""
    limits = {"min_pixels": 48 * 48, "max_pixels": 96 * 96}
    recipe = grpo_recipe(
        rollouts={"backend": "vllm", "mode": "colocate", "sleep": True}, steps=1, group_size=2, max_new_tokens=12,
        prompt={"instructions": "none", **limits},
    )  # fmt: skip
    engine = install(monkeypatch, Engine(recipe.model), "colocate")
    size = engine.processor.image_processor.size
    size["shortest_edge"], size["longest_edge"] = limits.values()
    assert train_grpo(recipe, tmp_path / "run").step == 1
    assert engine.llm is not None and engine.llm.asleep == {"weights", "kv_cache"}
    # At the start, after the check and after the rollouts; the weights were sent for each of the two calls.
    assert [call for call in engine.calls if call in ("sleep", "weights")] == ["sleep", *["weights", "sleep"] * 2]
    given = engine.llm.settings
    assert given["model"] == str(tmp_path / "run" / "vllm")
    assert 12 < given["max_model_len"] < 1000, "the longest prompt and completion, not what the model could read"
    read = load_model(given["model"])
    assert (read.limits.min_pixels, read.limits.max_pixels) == tuple(limits.values())
    weights_of = tmp_path / "run" / "vllm" / "model.safetensors"
    assert (
        weights_of.is_symlink() and weights_of.resolve() == (Path(recipe.model) / "model/model.safetensors").resolve()
    )
    assert load_model(recipe.model).limits != read.limits, "the model that the run starts from is unchanged"


def test_the_base_under_adapters_stays_as_it_is(start: Make) -> None:
    """TRL's own transfer leaves rounding errors of bfloat16 in it; what is sent is the same sum."""
    engine, trainer = start("server", lora={"rank": 4}, dtype="bfloat16")
    model = trainer.model
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    theirs = dict(VLLMGeneration._iter_named_params(trainer.vllm_generation))
    theirs = {name: weight.float().clone() for name, weight in theirs.items()}
    drifted = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert drifted, "TRL's way changes no weight any more: send_merged_copies may go"
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(before[name])
    for _ in range(3):
        ours = {name: weight.clone() for name, weight in trainer.vllm_generation._iter_named_params()}
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert ours.keys() == theirs.keys() == dict(engine.model.named_parameters()).keys()
    assert any("base_layer" in name for name in before), "no weight has adapters"
