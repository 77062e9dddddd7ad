"""Every key of a recipe reaches what it is about: the configuration objects are built from changed values and read.

Trainers are built by the real path of ``mirg sft`` and ``mirg grpo`` and stopped where training would begin. A key
without a row fails; so does a row whose value is the default.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from transformers import Trainer, TrainerState

from fakes.recipes import leaves, nested
from fakes.tiny import write_thinking
from fakes.uneven import CITED, COMPLETION, LIMITS, POINTED, SAMPLE, write_uneven
from fakes.vllm import Engine, install
from mirg.engines.load import load_engine
from mirg.errors import ConfigError, DataError, ImageError
from mirg.families import PixelLimits
from mirg.images import ImageLimits
from mirg.models.vision import VISION
from mirg.samples import DatasetFolder, DatasetWriter
from mirg.training import alarms, memory
from mirg.training.data import _Opener
from mirg.training.grpo import PlainGRPOTrainer, train_grpo
from mirg.training.health import Watch
from mirg.training.recipe import GrpoRecipe, SftRecipe
from mirg.training.sft import train_sft
from mirg.training.trainer import FiniteGuard, RunCallback, StopCallback
from mirg.training.validation import Validation

Found = Callable[[Any], object]
Row = tuple[str, object, Found] | tuple[str, object, Found, object]  # key, value, what is found, else the value itself
LEFT_OUT = {"never": (0.1, 0.3), "always": (0.9, 0.3), "alike": (0.5, 0.05), "spread": (0.5, 0.4)}
LONG = 2000
FORBIDDEN = ("image_pad", "vision_start", "im_start")
AFTER_BEST = [TrainerState(global_step=step, best_global_step=8, best_metric=0.5) for step in (16, 24)]


def callback(kind: type) -> Found:
    return lambda made: next(one for one in made.trainer.callback_handler.callbacks if type(one) is kind)


def reasons(word: str) -> Found:
    """The samples left out for a reason, in whatever order of their images."""
    return lambda made: {row["id"].partition("~")[0] for row in made.rejected if word in row["reason"]}


def prompt(made: Any) -> str:
    given = made.trainer.train_dataset[0]["prompt"]  # as text in SFT, as messages in GRPO
    return given if isinstance(given, str) else "".join(part["text"] or "" for part in given[0]["content"])


def earned(text: str, part: int) -> Found:
    """What a completion earns for its format, image or object."""
    return lambda made: made.trainer.reward_funcs[part](completions=[text], sample=[SAMPLE])[0]


def args(name: str) -> Found:
    return lambda made: getattr(made.trainer.args, name)


def lora(name: str) -> Found:
    return lambda made: getattr(made.trainer.model.peft_config["default"], name)


def reporting(to: list[Any]) -> Callable[..., Any]:
    """In the place of ``tracked``: notes what a recipe reports to."""

    def tracked(recipe: Any, run: Any, trainer: Any) -> Any:
        to.append(recipe.report_to)
        return nullcontext()

    return tracked


def plugin(text: str, sample: Any) -> float:
    """The reward of the recipe that names this file."""
    return 0.5


SHIFTED = COMPLETION.replace("308, 56, 616, 168", "308, 56, 560, 168")  # IoU 252 / 308
ELSEWHERE = COMPLETION.replace('3, "bbox_2d": [308, 56, 616, 168]', '1, "bbox_2d": [252, 77, 504, 231]')

COMMON: list[Row] = [
    ("steps", 6, args("max_steps")),
    ("steps", 6, lambda made: callback(RunCallback)(made).progress.total),
    ("seed", 7, args("seed")),
    ("seed", 7, args("data_seed")),
    ("seed", 7, lambda made: made.seeds[0]),
    ("prompt.instructions", "short", lambda made: "Answer as <think>" in prompt(made), True),
    ("prompt.min_pixels", LIMITS.min_pixels, lambda made: POINTED in prompt(made), True),
    ("prompt.max_pixels", LIMITS.max_pixels, lambda made: made.sides[2], (616, 224)),
    ("prompt.min_pixels", LIMITS.min_pixels, lambda made: made.sides[1], (112, 308)),
    ("lora.rank", 3, lora("r")),
    ("lora.alpha", 12, lora("lora_alpha")),
    ("lora.dropout", 0.125, lora("lora_dropout")),
    ("lora.target", r".*\.q_proj", lora("target_modules")),
    ("optim.learning_rate", 0.25, args("learning_rate")),
    ("optim.schedule", "linear", args("lr_scheduler_type")),
    ("optim.warmup_steps", 3, args("warmup_steps")),
    ("optim.weight_decay", 0.03, args("weight_decay")),
    ("optim.max_grad_norm", 0.7, args("max_grad_norm")),
    ("optim.beta2", 0.8, args("adam_beta2")),
    ("dtype", "bfloat16", args("bf16"), True),
    ("gradient_checkpointing", True, args("gradient_checkpointing")),
    ("freeze_vision", True, lora("exclude_modules"), rf"(.*\.)?({'|'.join(VISION)})\..*"),
    ("log_every", 3, args("logging_steps")),
    ("save_every", 4, args("save_steps")),
    ("keep_checkpoints", 5, lambda made: callback(RunCallback)(made).keep),
    ("workers", 2, args("dataloader_num_workers")),
    ("threads", 2, lambda made: made.threads),
    ("held_out", "DATA", lambda made: None, None),  # with allow_leakage; see REFUSED
    ("allow_leakage", True, lambda made: made.trainer is not None),
    ("processes", 1, lambda made: made.trainer.accelerator.num_processes),
    ("report_to", ["wandb"], lambda made: made.reported, [("wandb",)]),
    ("eval_data", "HELD", lambda made: callback(Validation)(made).dataset.root.name, "data"),
    ("eval_every", 8, lambda made: callback(Validation)(made).recipe.validated_every),
    ("eval_limit", 9, lambda made: callback(Validation)(made).plan.limit),
    ("eval_batch_size", 3, lambda made: callback(Validation)(made).plan.generation.batch_size),
    ("eval_max_new_tokens", 33, lambda made: callback(Validation)(made).plan.generation.max_new_tokens),
    ("patience", 2, lambda made: [callback(Validation)(made).exhausted(at) for at in AFTER_BEST], [False, True]),
    ("finish_with", "best", lambda made: callback(Validation)(made).recipe.finish_with),
    ("health.not_finite", "stop", lambda made: callback(FiniteGuard)(made).config.not_finite),
    ("health.in_a_row", 5, lambda made: callback(FiniteGuard)(made).config.in_a_row),
    ("health.waiting", 7, lambda made: made.watch.config.waiting),
    ("health.watchdog", 8, lambda made: made.watch.config.watchdog),
]
SFT: list[Row] = [
    *COMMON,
    ("batch_size", 3, args("per_device_train_batch_size")),
    ("accumulation", 2, args("gradient_accumulation_steps")),
    ("max_tokens", LONG, reasons(f"more than max_tokens = {LONG}"), {"long"}),
    (
        "prompt.max_pixels",
        LIMITS.max_pixels,
        lambda made: CITED in str(made.trainer.train_dataset[0]["completion"]),
        True,
    ),
]
GRPO: list[Row] = [
    *COMMON,
    ("prompts_per_step", 5, lambda made: made.trainer.args.generation_batch_size // 4),
    ("prompts_per_step", 5, lambda made: len(made.trainer.first_rows), 2),
    ("seed", 7, lambda made: made.trainer.prompt_order(made.trainer.train_dataset)._seed),
    ("group_size", 4, args("num_generations")),
    ("micro_batch", 10, args("per_device_train_batch_size")),
    ("micro_batch", 10, args("gradient_accumulation_steps"), 2),
    ("vision_cache", 7, lambda made: made.trainer.features.budget / 2**20),
    ("image_orders", 2, lambda made: len(made.trainer.train_dataset)),
    ("pass_rate.above", 0.1, reasons("pass rate 0.1 is not above 0.1"), {"never"}),
    ("pass_rate.below", 0.9, reasons("pass rate 0.9 is not below 0.9"), {"always"}),
    ("reward_std.above", 0.05, reasons("reward std 0.05 is not above 0.05"), {"alike"}),
    ("reward_std.below", 0.4, reasons("reward std 0.4 is not below 0.4"), {"spread"}),
    *(
        (f"admission.{key}", value, lambda made, key=key: getattr(made.trainer.admission, key))
        for key, value in {
            "policy": "resample", "gate": 0.01, "gate_decay": 0.9, "pool": 3, "difficulty_weight": True
        }.items()
    ),
    ("admission.pool", 3, lambda made: made.trainer.candidates),
    ("max_new_tokens", 24, args("max_completion_length")),
    ("max_new_tokens", 24, lambda made: made.trainer.sampling.max_new_tokens),
    ("temperature", 0.6, args("temperature")),
    ("temperature", 0.6, lambda made: made.trainer.sampling.temperature),
    ("temperature", 0.6, lambda made: set(made.trainer.sampling.forbidden) >= made.vision, True),
    ("temperature", 0.6, lambda made: (made.trainer.top_p, made.trainer.top_k), (1.0, 0)),
    ("temperature", 0.6, lambda made: made.trainer.model.get_base_model().score_temperature),
    ("beta", 0.3, args("beta")),
    ("beta", 0.3, lambda made: made.trainer.beta),
    ("epsilon", 0.11, lambda made: made.trainer.epsilon_low),
    ("epsilon_high", 0.37, lambda made: made.trainer.epsilon_high),
    ("iterations", 2, args("num_iterations")),
    ("iterations", 2, lambda made: callback(StopCallback)(made).every),
    ("loss", "dr_grpo", lambda made: made.trainer.loss_type),
    ("loss", "dr_grpo", args("importance_sampling_level"), "token"),
    ("scale_rewards", "batch", lambda made: made.trainer.scale_rewards),
    ("aggregation", "normalize_then_sum", args("multi_objective_aggregation")),
    ("reward.format_weight", 0.2, lambda made: made.trainer.reward_weights.tolist()[0], pytest.approx(0.1)),
    ("reward.image_weight", 0.3, lambda made: made.trainer.reward_weights.tolist()[1], pytest.approx(0.15)),
    ("reward.object_weight", 1.5, lambda made: made.trainer.reward_weights.tolist()[2], pytest.approx(0.75)),
    ("reward.arm", "additive", earned(ELSEWHERE, 2), 1.0),
    ("reward.shaping", "at", earned(COMPLETION, 2), 1.0),
    ("reward.threshold", 0.9, earned(SHIFTED, 2), 0.0),
    ("reward.partial_format", True, earned(COMPLETION.partition("<answer>")[0], 0), 0.25),
    ("reward.arm", "additive", lambda made: made.trainer.rollouts.rewards.scorer.config.arm),
    (
        "reward.function", f"{__file__}:plugin", lambda made: made.trainer.reward_func_names,
        ["format", "image", "object", "plugin"],
    ),
    ("reward.function_weight", 0.25, lambda made: made.trainer.reward_weights.tolist()[3]),
    ("log_rollouts_every", 9, lambda made: made.trainer.rollouts.every),
    ("health.alarms", False, lambda made: made.trainer.alarms is None, True),
    ("health.ground_truth", 2, lambda made: len(made.truths)),
]  # fmt: skip
# What cannot be set together with the rows above.
FAMILY: list[Row] = [
    ("prompt.family", "qwen2-vl", lambda made: "<|box_start|>(250,250),(750,500)<|box_end|>" in prompt(made), True),
    ("freeze_vision", True, lambda made: {p.requires_grad for p in made.trainer.model.model.visual.parameters()}, {0}),
]
SFT_ALONE: list[Row] = [*FAMILY, ("epochs", 2.5, args("max_steps"), 2)]  # of 6 samples, 8 a step
OWN: list[Row] = [
    *FAMILY,
    ("packed", False, lambda made: type(made.trainer) is PlainGRPOTrainer, True),
    ("packed", False, lambda made: set(made.trainer.args.generation_kwargs["suppress_tokens"]) >= made.vision, True),
    ("prompt.family", "qwen2-vl", earned("Image-3: (500,250),(1000,750)", 2), 1.0),
    ("prompts_per_step", 2, lambda made: len(made.trainer.first_rows)),
    ("epochs", 2.5, args("max_steps"), 8),  # of 6 prompts
    ("loss", "luspo", args("importance_sampling_level"), "sequence"),
]
SERVER: list[Row] = [
    ("rollouts.backend", "vllm", args("use_vllm"), True),
    ("rollouts.backend", "vllm", lambda made: set(made.trainer.vllm._sampling.forbidden) >= made.vision, True),
    ("rollouts.backend", "vllm", lambda made: set(args("generation_kwargs")(made)["logit_bias"]) > made.vision, True),
    ("rollouts.server", "http://gpu7:9000", args("vllm_server_base_url")),
    ("rollouts.group_port", 51217, args("vllm_group_port")),
    ("rollouts.timeout", 5.0, args("vllm_server_timeout")),
    ("rollouts.gpu_memory", 0.4, args("vllm_gpu_memory_utilization")),
    ("rollouts.tensor_parallel", 2, args("vllm_tensor_parallel_size")),
    ("rollouts.sleep", True, args("vllm_enable_sleep_mode")),
    ("rollouts.max_model_length", 777, args("vllm_max_model_length")),
    ("rollouts.tolerance", 0.2, lambda made: made.trainer.vllm._config.tolerance),
    ("rollouts.check_order", False, lambda made: made.trainer.vllm._config.check_order),
]  # fmt: skip
COLOCATE: list[Row] = [
    ("rollouts.backend", "vllm", args("use_vllm"), True),
    ("rollouts.mode", "colocate", args("vllm_mode")),
    ("rollouts.mode", "colocate", lambda made: made.trainer.args.vllm_max_model_length > LONG, True),
]
# With a chat template that opens the thinking, and can close it at once.
EMPTY = "<think>\n\n</think>\n\n"
SFT_THINKING: list[Row] = [("prompt.thinking", False, lambda made: prompt(made).endswith(EMPTY), True)]
GRPO_THINKING: list[Row] = [
    ("prompt.thinking", False, lambda made: made.trainer.chat_template_kwargs, {"enable_thinking": False}),
    ("prompt.thinking", False, lambda made: made.trainer.rollouts.rewards.scorer.opened, EMPTY),
]
SFT_LOOKS: list[Row] = [("look.max_looks", 2, lambda made: "at most 2 times" in prompt(made), True)]
LOOKED = "<think><look>Image-1: (0,0),(500,500)</look></think><answer>none</answer>"
GRPO_LOOKS: list[Row] = [
    ("look.max_looks", 2, lambda made: "at most 2 times" in prompt(made), True),
    ("look.max_looks", 2, lambda made: made.trainer.rollouts.rewards.scorer.looks, True),
    ("look.max_looks", 2, earned(LOOKED, 5), 0.5),  # the cost
    *(
        (f"reward.looks.{name}", 0.25 + k / 4, lambda made, k=k: made.trainer.reward_weights.tolist()[3 + k])
        for k, name in enumerate(("look_image", "look_cover", "look_cost", "look_diversity", "grounded"))
    ),
]  # fmt: skip
TABLES: dict[str, tuple[type[BaseModel], list[Row]]] = {
    "sft": (SftRecipe, SFT),
    "grpo": (GrpoRecipe, GRPO),
    "sft, by epochs": (SftRecipe, SFT_ALONE),
    "grpo, TRL's own": (GrpoRecipe, OWN),
    "grpo, vLLM server": (GrpoRecipe, SERVER),
    "grpo, vLLM colocate": (GrpoRecipe, COLOCATE),
    "sft, thinking": (SftRecipe, SFT_THINKING),
    "grpo, thinking": (GrpoRecipe, GRPO_THINKING),
    "sft, looks": (SftRecipe, SFT_LOOKS),
    "grpo, looks": (GrpoRecipe, GRPO_LOOKS),
}
# Without them no run begins; every other test of this folder has them.
NEEDED = {"model", "data", "stage"}
# What plans a run, what needs a package that is not here, and the crops of trajectories with looks: test_plan.py,
# test_sharding.py, test_quantize.py, test_look_rows.py.
ELSEWHERE = {"nodes", "gpu_gb", "sharding", "lora.quantize", "look.crop_pixels"}


def recipe_of(name: str, data: Path, model: Path) -> Any:
    kind, table = TABLES[name]
    limits = {"prompt.min_pixels": LIMITS.min_pixels, "prompt.max_pixels": LIMITS.max_pixels}
    folders = {"DATA": [str(data)], "HELD": str(data)}
    values = {key: folders.get(str(value), value) for key, value, *_ in table}
    return kind.model_validate(nested({"model": str(model), "data": str(data)} | limits | values))


@pytest.fixture(scope="module")
def data_of_wiring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uneven sample, four that measurements leave out, and one that is too long for SFT."""
    base = write_uneven(tmp_path_factory.mktemp("wiring") / "one")
    (sample,) = list(base)
    whole = {name: {"pass_rate": rate, "reward_std": spread} for name, (rate, spread) in LEFT_OUT.items()}
    with DatasetWriter(base.root.with_name("data"), name="wiring") as out:
        refs = tuple(out.add_image(base.open_image(ref), str(k)) for k, ref in enumerate(sample.images))
        kept = sample.model_copy(update={"images": refs, "meta": {"pass_rate": 0.5, "reward_std": 0.3}})
        out.add(kept)
        for name, meta in whole.items():
            out.add(kept.model_copy(update={"id": name, "meta": meta}))
        long = {"id": "long", "question": "where " * LONG, "meta": {"pass_rate": 0.5, "reward_std": 0.01}}
        out.add(kept.model_copy(update=long))
    return base.root.with_name("data")


@pytest.fixture(scope="module")
def made(data_of_wiring: Path, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """``made(name)``: what is there when the recipe with the values of a table would begin to train."""
    kept: dict[str, Any] = {}

    def build(name: str) -> Any:
        if name in kept:
            return kept[name]
        found, out = SimpleNamespace(seeds=[], reported=[], truths=[]), tmp_path_factory.mktemp("run") / "out"
        model = folders["qwen2_5_vl"]
        if "thinking" in name:
            model = write_thinking(out.with_name("model"), folders["qwen3_vl"])
        recipe = recipe_of(name, data_of_wiring, model)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "train", lambda trainer, **_: setattr(found, "trainer", trainer))
            patch.setattr("transformers.set_seed", found.seeds.append)
            patch.setattr("mirg.training.launch.require_trackers", lambda names: None)
            patch.setattr("mirg.training.launch.tracked", reporting(found.reported))
            patch.setattr(Watch, "__enter__", lambda watch: setattr(found, "watch", watch))
            patch.setattr(Watch, "__exit__", lambda *_: None)
            sampled = alarms.as_sampled
            patch.setattr(alarms, "as_sampled", lambda *given: found.truths.append(1) or sampled(*given))
            if "vLLM" in name:
                install(patch, Engine(recipe.model), recipe.rollouts.mode)
            (train_sft if name.startswith("sft") else train_grpo)(recipe, out)
            found.threads = torch.get_num_threads()
        processor: Any = found.trainer.processing_class
        grids = processor.image_processor(images=found.trainer.train_dataset[0]["images"])["image_grid_thw"]
        found.sides = [(14 * int(columns), 14 * int(rows)) for _, rows, columns in grids]
        found.rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
        found.vision = set(
            processor.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|vision_start|>", "<|im_start|>"])
        )
        kept[name] = found
        return found

    yield build
    kept.clear()


@pytest.mark.parametrize(
    ("name", "row"),
    [pytest.param(name, row, id=f"{name}-{row[0]}") for name, (_, table) in TABLES.items() for row in table],
)
def test_a_key_arrives(name: str, row: Row, made: Callable[[str], Any]) -> None:
    key, value, found, *expected = row
    assert dict(leaves(TABLES[name][0]))[key] != value, "the default: the row would prove nothing"
    assert found(made(name)) == (expected[0] if expected else value)


def test_what_every_run_has(made: Callable[[str], Any]) -> None:
    for name in ("sft", "grpo"):
        arguments = made(name).trainer.args
        assert arguments.logging_nan_inf_filter is False, "a loss that is not finite is logged unchanged"
        assert (arguments.report_to, arguments.remove_unused_columns, arguments.disable_tqdm) == ([], False, True)
    assert (made("sft").trainer.args.max_length, made("sft").trainer.args.completion_only_loss) == (None, True)


def test_rollouts_are_written_every_so_many_steps_by_the_first_process(
    made: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alarms are given the rollouts of every step of training, and none of an evaluation."""
    trainer, given = made("grpo, TRL's own").trainer, list[tuple[int, int]]()
    listening = SimpleNamespace(look=lambda step, *rollouts: given.append((step, len(rollouts[0]))))
    monkeypatch.setattr(trainer, "alarms", listening)
    shown = [{"id": "uneven", "sample": SAMPLE, "prompt": []}] * 2
    said = [[{"role": "assistant", "content": text}] for text in ("<answer>none</answer>", "hm")]
    for step, main, training in (
        (9, True, True),
        (10, True, True),
        (10, False, True),
        (19, True, False),
        (20, True, True),
    ):
        trainer.state.global_step = step
        monkeypatch.setattr("accelerate.Accelerator.is_main_process", main)
        monkeypatch.setattr(trainer.model, "training", training)
        trainer._calculate_rewards(shown, [[]] * 2, said, [[1], [2]])
    assert given == [(9, 2), (10, 2), (20, 2)]
    lines = [json.loads(line) for line in trainer.rollouts.journal.path.read_text().splitlines()]
    assert [row["step"] for row in lines] == [11, 11, 21, 21]
    assert [row["completion"] for row in lines] == ["<answer>none</answer>", "hm"] * 2


@pytest.mark.parametrize("name", ["sft", "grpo", "grpo, TRL's own"])
def test_the_estimate_of_memory_is_for_the_rows_of_the_recipe(
    name: str, data_of_wiring: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(memory, "estimate_of", lambda *given: asked.append(given))
    memory.estimate(recipe_of(name, data_of_wiring, folders["qwen2_5_vl"]))
    ((_, loaded, lengths, _),) = asked
    assert loaded.limits == LIMITS and lengths[0].images == (198, 44, 176)
    assert loaded.family.name == ("qwen2-vl" if "own" in name else "qwen2.5-vl")
    ids = [length.id for length in lengths]
    assert ids == {"sft": ["uneven", *LEFT_OUT], "grpo": ["uneven", "uneven~1"]}.get(
        name, ["uneven", *LEFT_OUT, "long"]
    )


def test_images_are_opened_within_the_limits_of_their_folder(data_of_wiring: Path) -> None:
    folder = DatasetFolder.open(data_of_wiring, limits=ImageLimits(max_pixels=999))
    with pytest.raises(ImageError, match="999 pixels"):
        _Opener(folder)({"images": [[str(path) for path in (folder.root / "images").iterdir()]]})


@pytest.mark.parametrize("limits", [None, LIMITS])
def test_the_limits_of_an_engine_are_those_of_its_processor(
    limits: PixelLimits | None, folders: dict[str, Path]
) -> None:
    engine: Any = load_engine(str(folders["qwen2_5_vl"]), limits=limits, family="qwen2-vl", dtype="bfloat16")
    assert engine.limits == (limits or PixelLimits(84 * 84, 84 * 84))
    assert (engine.family.name, engine.numerics) == ("qwen2-vl", "bfloat16 on cpu")


@pytest.mark.parametrize("kind", [SftRecipe, GrpoRecipe])
def test_every_key_has_a_row(kind: type[BaseModel]) -> None:
    rows = {key for other, table in TABLES.values() for key, *_ in table if other is kind}
    assert dict(leaves(kind)).keys() - rows - NEEDED - ELSEWHERE == set()


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ({"held_out": "DATA"}, DataError, "share 3 images"),
        ({"processes": 2}, ConfigError, "asks for 2 processes"),
        ({"prompt": {"thinking": True}}, ConfigError, "no switch for thinking"),
        ({"eval_data": "HELD"}, DataError, "share 3 images"),
        ({"report_to": ["mlflow"]}, ConfigError, "mlflow, which is not installed"),
        ({"sharding": "zero3"}, ConfigError, "needs several processes"),
        ({"lora": {"rank": 4, "quantize": "4bit"}}, ConfigError, "needs bitsandbytes"),
    ],
)
def test_what_stops_a_run(
    keys: dict[str, Any],
    error: type[Exception],
    words: str,
    data_of_wiring: Path,
    folders: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = {"model": str(folders["qwen2_5_vl"]), "data": str(data_of_wiring)}
    folders_of = {"DATA": [str(data_of_wiring)], "HELD": str(data_of_wiring)}
    keys = {key: folders_of.get(str(value), value) for key, value in keys.items()}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # neither bitsandbytes nor DeepSpeed
    for kind, train in ((SftRecipe, train_sft), (GrpoRecipe, train_grpo)):
        with pytest.raises(error, match=words):
            train(kind.model_validate(base | keys), tmp_path / kind.__name__)  # type: ignore[operator]
