"""Every family does what training and evaluation need, with a tiny random model of its real class.

The rows are those of ``fakes.families.FAMILY_MODELS``. What a family cannot do follows from the family or the model.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from fakes.families import FAMILY_MODELS, NEED_TORCHVISION
from fakes.tiny import read_data, write_data
from fakes.training import as_trl, first_batch, loss_and_gradients, losses_by_sample, make_trainer, rows
from fakes.trees import looking, noise, one_by_one
from mirg.answers.looks import LookBudget
from mirg.answers.prompts import messages, write_completion
from mirg.answers.read import read
from mirg.engines.base import Generation, Request
from mirg.engines.looking import shown_as
from mirg.engines.transformers import TransformersEngine
from mirg.errors import EngineError
from mirg.frames import extent, input_size
from mirg.models.load import LoadedModel, forbidden_tokens, load_model
from mirg.models.packing import enable_packed_forward, other_attention, pack, score_packed
from mirg.models.processors import has_torchvision
from mirg.models.prompts import Prompt, encode, further_turn, opening, render, taught
from mirg.models.sampling import Sampling, complete, complete_by_generate
from mirg.rewards.total import RewardConfig, score
from mirg.samples import Target
from mirg.training import quiet_libraries
from mirg.training.data import EARLIER, image_tokens, sft_rows
from mirg.training.grpo import PlainGRPOTrainer
from mirg.training.memory import estimate
from mirg.training.recipe import GrpoRecipe, PromptConfig, SftRecipe

SNAPSHOTS = Path(__file__).parent / "prompts"
SIZES = tuple((40 + 17 * k, 150 - 9 * k) for k in range(12))  # (width, height), wide and high ones, all different
# Other tests of every day go through the first three, and the others differ little from a row that stays.
RARE = ("qwen2-vl", "qwen2.5-vl", "qwen3-vl", "qwen3.5-moe", "glm-4.5v", "internvl3.5", "gemma-4-e2b")
NAMES = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in RARE)) for name in FAMILY_MODELS]
)
Folder = Callable[[str], Path]
Loaded = Callable[[str], LoadedModel]


@pytest.fixture(scope="session")
def folder(shared: Callable[..., Path]) -> Folder:
    """The model folder of a row, written once."""
    quiet_libraries()

    def written(name: str) -> Path:
        if name in NEED_TORCHVISION and not has_torchvision():
            pytest.skip("the image processor needs torchvision")
        return shared(f"family-{name}", FAMILY_MODELS[name])

    return written


@pytest.fixture(scope="session")
def load(folder: Folder) -> Loaded:
    """The model of a row, loaded once. A test that changes it takes a :func:`copied` one."""
    return cache(lambda name: load_model(str(folder(name))))


def copied(loaded: LoadedModel) -> LoadedModel:
    return replace(loaded, model=copy.deepcopy(loaded.model))


def question(n: int) -> list[dict[str, Any]]:
    """A user's message about ``n`` labelled images."""
    parts: list[dict[str, Any]] = []
    for k in range(n):
        parts += [{"type": "text", "text": f"Image-{k + 1}: "}, {"type": "image", "text": None}]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "Find the red ring. " * (1 + n % 3)}]}]


def asked(model: LoadedModel, n: int) -> Prompt:
    """A prompt about ``n`` images of different sizes."""
    images = [noise(size, k) for k, size in enumerate(SIZES[:n])]
    return encode(model.processor, question(n), images, f"{n} images")


@NAMES
def test_the_text_between_two_turns_is_that_of_the_template(name: str, load: Loaded) -> None:
    """Also if the first turn ends inside its thinking, with a look: an engine may write the whole conversation."""
    processor: Any = load(name).processor
    between = further_turn(processor, shown_as("Image-1a"), "s")
    assert between.text.startswith(processor.tokenizer.eos_token) and between.text.count(processor.image_token) == 1
    assert between.opened == opening(processor) and between.text.endswith(between.opened)
    question = {"role": "user", "content": [{"type": "text", "text": "Where?"}]}
    said = {"role": "assistant", "content": [{"type": "text", "text": "<think>Closer. <look>Image-1</look>"}]}
    whole = render(processor, [question, said, shown_as("Image-1a")], 1, "s")
    assert whole.text.endswith(f"Closer. <look>Image-1</look>{between.text}")


@NAMES
def test_prompts_are_those_of_the_snapshot(name: str, load: Loaded) -> None:
    """The text that the chat template makes of a sample with two images, up to where the answer begins."""
    loaded = load(name)
    assert render(loaded.processor, question(2), 2, "two").text == (SNAPSHOTS / f"{name}.txt").read_text()


@NAMES
@pytest.mark.parametrize("numbers", [(1, 12), pytest.param(range(1, 13), marks=pytest.mark.slow)], ids=["two", "all"])
def test_there_are_as_many_placeholders_as_features(numbers: Sequence[int], name: str, load: Loaded) -> None:
    """Prompts of 1 to 12 images: as many tokens as mirg counts, and the model takes them."""
    loaded = load(name)
    for n in numbers:
        shown = asked(loaded, n)
        counted = [image_tokens(size, loaded) for size in SIZES[:n]]
        assert list(shown.ids).count(loaded.processor.image_token_id) == sum(counted), n  # type: ignore[attr-defined]
    with torch.no_grad():
        assert one_by_one(loaded, [shown], [[[30, 31]]]).isfinite().all()  # type: ignore[possibly-undefined]


@NAMES
@pytest.mark.parametrize("n", [30, pytest.param(5000, marks=pytest.mark.slow)])
def test_boxes_come_back_and_images_cost_what_the_processor_says(n: int, name: str, load: Loaded) -> None:
    """Boxes in the second of two images of random sizes: written as the family writes them, and read again."""
    loaded, draw = load(name), random.Random(7)
    processor: Any = loaded.processor
    for _ in range(n):
        first, size = [(round(20 * 150 ** draw.random()), round(20 * 150 ** draw.random())) for _ in range(2)]
        a, b, c, d = (draw.random() for _ in range(4))
        box = (min(a, b), min(c, d), max(a, b) + 0.01, max(c, d) + 0.01)
        box = tuple(min(v, 1.0) for v in box)
        target = Target(image=2, box=box, label="red ring")
        text = write_completion("It is there.", [target], [first, size], loaded.family, limits=loaded.limits)
        found = read(text, [first, size], loaded.family, loaded.limits)
        assert (found.format_score, len(found.boxes), found.boxes[0].image) == (1.0, 1, 2), text
        edges = extent(size, loaded.family, loaded.limits) * 2
        step = 0.001 if loaded.family.box_frame == "fraction" else loaded.family.step
        assert all(abs(u - v) <= step / e for u, v, e in zip(found.boxes[0].box, box, edges, strict=True)), text
        assert visual_tokens(processor, size) == image_tokens(size, loaded), size


def visual_tokens(processor: Any, size: tuple[int, int]) -> int:
    """What transformers' own arithmetic says about an image of ``size`` (width, height)."""
    width, height = size
    images = processor.image_processor
    if hasattr(images, "max_image_size"):  # SmolVLM: tiles, rows and columns; 0 tiles are one
        return max(images.get_number_of_image_patches(height, width)[0], 1) * processor.image_seq_len
    if hasattr(images, "downsample_factor"):  # LFM2-VL: tiles and the whole
        names = ("downsample_factor", "encoder_patch_size", "max_image_tokens", "max_pixels_tolerance")
        most = {name: getattr(images, name) for name in names}
        large = images._is_image_too_large(height, width, **most)
        tiles = images._get_grid_layout(height, width, images.min_tiles, images.max_tiles, images.tile_size)[4]
        del most["max_pixels_tolerance"]
        size = images.smart_resize(height, width, min_image_tokens=images.min_image_tokens, **most)
        of_tile, of_whole = processor._get_image_num_tokens(size[::-1])
        return large * tiles * of_tile + of_whole
    made = processor._get_num_multimodal_tokens(image_sizes=[(height, width)])
    if hasattr(images, "max_patches"):  # InternVL counts the two tokens around an image, too
        return made["num_image_patches"][0] * processor.image_seq_length
    return made["num_image_tokens"][0]


@NAMES
def test_images_are_resized_as_mirg_says(name: str, load: Loaded) -> None:
    loaded = load(name)
    processor: Any = loaded.processor
    made = processor.image_processor([noise(size, 0) for size in SIZES])
    if "image_grid_thw" in made:  # a family without grids is held by the number of its tokens
        patch = processor.image_processor.patch_size
        seen = [(int(columns) * patch, int(high) * patch) for _, high, columns in made["image_grid_thw"]]
        assert seen == [input_size(size, loaded.family, loaded.limits) for size in SIZES]


@NAMES
def test_a_packed_group_has_the_scores_and_gradients_of_its_completions(name: str, load: Loaded) -> None:
    """In float32, with images that are shown in some completions; a model that cannot be packed is refused.

    Scores agree to 1e-5. Gradients agree to 1e-5 on most processors; with AMX, rounding leaves up to 1.5e-5 in norms of
    the vision tower of GLM.
    """
    loaded = copied(load(name))
    model: Any = loaded.model
    assert other_attention(model) == loaded.family.unpacked, "what `mirg models` says of the family"
    if other_attention(model):
        with pytest.raises(EngineError, match="layers"):
            enable_packed_forward(model)
        return
    shown, groups = [asked(loaded, n) for n in (2, 3, 1)], looking(loaded, ((0, 2, 1), (0,), (1, 0)))
    slow = one_by_one(loaded, shown, groups)
    weights = torch.randn(len(slow), generator=torch.Generator().manual_seed(1))
    (slow * weights).sum().backward()
    theirs = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    enable_packed_forward(model)
    scores, _ = score_packed(model, pack(model, shown, groups))
    torch.testing.assert_close(scores, slow, atol=1e-5, rtol=0)
    (scores * weights).sum().backward()
    ours = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    assert ours.keys() == theirs.keys()
    for key, grad in theirs.items():
        assert (ours[key] - grad).norm() <= 2e-5 * grad.norm() + 1e-6, key


@NAMES
def test_the_engine_completes(name: str, data: Path, load: Loaded) -> None:
    """Greedy completions do not depend on the batch; packed sampling gives the tokens of ``generate``."""
    engine = TransformersEngine(copied(load(name)))
    loaded = engine.loaded
    requests = [Request(s.id, messages(s, engine.family, engine.limits, "none"), im) for s, im in read_data(data)[:3]]
    short = Generation(max_new_tokens=5)
    together = engine.generate(requests, short)
    assert [engine.generate([one], short)[0] for one in requests] == together
    assert all(said.tokens or said.finish == "stop" for said in together)
    if not other_attention(loaded.model):
        barred = forbidden_tokens(loaded.tokenizer, loaded.family)
        settings, shown = Sampling(5, [], barred, temperature=0), [asked(loaded, n) for n in (1, 3)]
        drawn = complete(loaded.model, shown, (1, 1), settings)
        assert complete_by_generate(loaded.model, shown, (1, 1), settings) == drawn


# Training.


def sft(folder: Path, data: Path, **keys: Any) -> SftRecipe:
    common = {"model": str(folder), "data": str(data), "steps": 1, "batch_size": 2, "prompt": {"instructions": "none"}}
    return SftRecipe.model_validate(common | {"optim": {"learning_rate": 1e-2, "warmup_steps": 0}} | keys)


@NAMES
def test_the_estimate_knows_the_weights(name: str, data: Path, folder: Folder, load: Loaded) -> None:
    loaded = load(name)
    found = estimate(sft(folder(name), data))
    assert found.weights.base == found.weights.trained == sum(p.numel() for p in loaded.model.parameters())
    assert found.peak >= 4 * 4 * found.weights.base  # weights, gradients and two averages in float32


@NAMES
@pytest.mark.parametrize("switch", [None, True, False])
def test_every_template_can_be_taught_both_ways(name: str, switch: bool | None, data: Path, load: Loaded) -> None:
    """The prompt is what rollouts and evaluations show, and the turn ends with the token that stops a completion."""
    loaded = load(name)
    processor: Any = loaded.processor
    if switch is not None and "enable_thinking" not in str(processor.chat_template):
        return
    sample, _ = read_data(data)[0]
    prompt = messages(sample, loaded.family, loaded.limits, "none")
    answer = write_completion("Target: red ring.", sample.targets, sample.sizes, loaded.family, limits=loaded.limits)
    shown, learnt = taught(processor, prompt, answer, len(sample.images), sample.id, thinking=switch)
    begun = opening(processor, switch)
    whole = begun + learnt
    assert shown == render(processor, prompt, len(sample.images), sample.id, thinking=switch).text
    end = loaded.tokenizer.eos_token
    assert whole.rstrip().endswith(f"</answer>{end}")
    assert whole.count("<think>") == whole.count("</think>") == 1
    assert ("red ring." in learnt) is ("</think>" not in begun)
    assert (
        score(whole.rstrip().removesuffix(end), sample, loaded.family, RewardConfig(), loaded.limits).format.value
        == 1.0
    )


@NAMES
@pytest.mark.slow
def test_adapters_are_trained_merged_and_loaded_again(name: str, data: Path, folder: Folder, tmp_path: Path) -> None:
    """A step of SFT with LoRA; the run loads as one model, which is saved and loaded with equal weights."""
    from mirg.training.sft import train_sft

    keys = {"lora": {"rank": 4}, "freeze_vision": True}
    outcome = train_sft(sft(folder(name), data, **keys), tmp_path / "run")
    assert outcome.step == 1
    row = rows(tmp_path / "run" / "metrics.jsonl")[0]
    assert 0 < row["loss"] < 20 and row["grad_norm"] > 0
    base, merged = load_model(str(folder(name))), load_model(str(tmp_path / "run"))
    before, after = base.model.state_dict(), merged.model.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert any("language_model" in key or "text_model" in key for key in changed)
    assert not [key for key in changed if "visual" in key or "vision" in key], "the vision tower is frozen"
    merged.model.save_pretrained(tmp_path / "merged")
    merged.processor.save_pretrained(tmp_path / "merged")
    again = load_model(str(tmp_path / "merged"))
    assert {key for key, value in again.model.state_dict().items() if not torch.equal(value, after[key])} == set()
    assert (again.family, again.limits) == (base.family, base.limits)
    assert asked(again, 2).ids == asked(base, 2).ids


@NAMES
@pytest.mark.slow
def test_sft_trains_all_weights_on_what_the_template_leaves_to_the_model(
    name: str, data: Path, folder: Folder, tmp_path: Path
) -> None:
    """Also the vision tower; the target is a turn with format reward 1 once the template's beginning is before it."""
    from mirg.training import launch
    from mirg.training.run import RunFolder
    from mirg.training.sft import make_trainer as make_sft

    recipe = sft(folder(name), data)
    loaded = launch.prepare_model(recipe)
    prepared = sft_rows(recipe.data, loaded, recipe.prompt, recipe.max_tokens)
    trainer = make_sft(recipe, RunFolder(tmp_path, "sft"), loaded, prepared, 1)
    samples = {sample.id: (sample, images) for sample, images in read_data(data)}
    batch = next(iter(trainer.get_train_dataloader()))
    for sample_id, ids, labels in zip(batch["sample_ids"], batch["input_ids"], batch["labels"], strict=True):
        sample, images = samples[sample_id]
        shown = encode(loaded.processor, messages(sample, loaded.family, loaded.limits, "none"), images, sample_id)
        begin = len(shown.ids)
        assert ids[:begin].tolist() == list(shown.ids) and (labels[:begin] == -100).all()
        target = labels[begin:][labels[begin:] != -100]
        text = shown.opened + loaded.tokenizer.decode(target, skip_special_tokens=False)
        found = score(text, sample, loaded.family, RewardConfig(), loaded.limits)
        assert (found.format.value, found.object.value) == (1.0, pytest.approx(1.0, abs=0.2)), text
    before = {key: p.detach().clone() for key, p in loaded.model.named_parameters()}
    trainer.train()
    moved = {key for key, p in loaded.model.named_parameters() if not torch.equal(p, before[key])}
    assert any("visual" in key or "vision" in key for key in moved) and any(
        "layers" in key and "vis" not in key for key in moved
    )


@NAMES
def test_sft_on_looks_has_the_loss_of_a_row_for_each_turn(
    name: str, load: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, data = copied(load(name)), str(write_data(tmp_path / "data", 3, looks=2))  # a pass changes a model of GLM
    told = (data, loaded, PromptConfig(), 8192, LookBudget(max_looks=2, crop_pixels=8192))
    whole = sft_rows(*told)
    assert [len(row[EARLIER]) for row in whole.rows] == [0, 1, 2]
    lost = losses_by_sample(loaded, whole)
    monkeypatch.setattr("mirg.training.data.turn_spans", lambda *_: [])
    by_turn = sft_rows(*told)
    assert len(by_turn) == 6
    assert lost == pytest.approx(losses_by_sample(loaded, by_turn), rel=1e-5)


@NAMES
@pytest.mark.slow
def test_a_step_of_grpo(name: str, data: Path, folder: Folder, tmp_path: Path) -> None:
    """Packed if the model allows it, and then equal to TRL's own step; else without packing."""
    from mirg.training.grpo import train_grpo

    (tmp_path / "reward.py").write_text("def score(text, sample):\n    return len(text) % 5 / 4\n")
    packed = not other_attention(load_model(str(folder(name))).model)
    recipe = GrpoRecipe.model_validate(
        {
            **{"model": str(folder(name)), "data": str(data), "steps": 1, "packed": packed, "max_new_tokens": 8},
            **{"prompts_per_step": 2, "group_size": 3, "prompt": {"instructions": "none"}},
            "reward": {"function": f"{tmp_path / 'reward.py'}:score"},
            "optim": {"learning_rate": 1e-3, "warmup_steps": 0},
        }
    )
    assert train_grpo(recipe, tmp_path / "run").step == 1
    row = rows(tmp_path / "run" / "metrics.jsonl")[0]
    assert row["rewards/score/std"] > 0 and row["grad_norm"] > 0
    if packed:
        trainer = make_trainer(recipe, tmp_path / "again")
        batch = first_batch(trainer)
        loss, ours = loss_and_gradients(trainer, batch)
        theirs_batch = as_trl(trainer, batch)
        trainer.__class__ = PlainGRPOTrainer
        expected, theirs = loss_and_gradients(trainer, theirs_batch)
        assert loss == pytest.approx(expected, abs=1e-5)
        for key, grad in theirs.items():
            assert (ours[key] - grad).norm() <= 1e-5 * grad.norm() + 1e-6, key
