"""Every option of every command arrives at the function that does the work.

A command runs with all its options at once, until the last of the functions named here is called; what these were given
is compared with what was typed. An option without a row fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import click
import pytest
from typer.testing import CliRunner

from fakes.engines import ScriptedEngine
from fakes.uneven import write_uneven
from mirg.cli.main import COMMANDS, app, load
from mirg.samples import DatasetFolder

ENGINE = ScriptedEngine(lambda request, settings: "")
RESULTS: dict[str, Any] = {  # what the functions give back that are not the last
    "variants": [],
    "load_engine": ENGINE,
    "check_packages": None,
    "executor": nullcontext("pool"),
    "listen": SimpleNamespace(getsockname=lambda: ("127.0.0.1", 1)),
    "create_app": "app",
    "load_annotations": SimpleNamespace(items=(), revised=True),
    "image_sizes": [],
    "frame_of": SimpleNamespace(family=None, limits=None, sizes=()),
    "load_cells": [],
    "_samples": [],
    "ledger_at": "ledger",
    "status_of": "status",
    "Leakage": SimpleNamespace(ungrouped=0),
}
FILES = {
    "sft.yaml": "model: m\ndata: d\nbatch_size: 3\n",
    "grpo.yaml": "model: m\ndata: d\ngroup_size: 3\n",
    "demo.yaml": "test_samples: 3\n",
    "study.yaml": "rl_steps: 3\nmodel: m\ntrain: d\ntest: d\n",
    "compose.yaml": "source: s\nn: 3\n",
    "world.yaml": "world: {side: 123}\n",
    "labels.yaml": "rename: {cat: dog}\n",
    "metric.py": "def size(record, sample):\n    return 1.0\n",
}
GENERATION = """
    batch_size 3 .plan.generation.batch_size | max_new_tokens 77 .plan.generation.max_new_tokens
    temperature 0.5 .plan.generation.temperature | seed 9 .plan.generation.seed
    instructions short .plan.instructions | overwrite - .plan.overwrite
    family qwen2-vl load_engine.family | device cpu load_engine.device | dtype float16 load_engine.dtype
"""
REMOTE = """
    endpoint http://h:1/v1 load_engine.remote.url | key_env NAME load_engine.remote.key_env
    concurrency 3 load_engine.remote.concurrency | max_pixels 50000 load_engine.remote.max_pixels
    thinking off load_engine.thinking=False
"""
OFFLINE = """
    engine vllm load_engine.offline.new_tokens=77 | max_new_tokens 77 load_engine.offline.new_tokens
    instructions short load_engine.offline.instructions
    vllm enforce_eager=true load_engine.offline.arguments.enforce_eager=True
"""
TRAINING = "output TMP/run train.output | overrides seed=9 train.recipe.seed=9"
# Command; functions below ``mirg``, the last of which ends it; "parameter value where[=what is there]", where a point
# at the beginning is the last function.
TABLE: list[tuple[str, str, str]] = [
    ("evaluate", "evaluation.variants.variants engines.load.load_engine evaluation.runner.evaluate", GENERATION + """
        permute - variants.permute | distractors 2 variants.distractors | rescale 0.5 variants.rescale
        model m load_engine.model | dataset DATA .dataset | out TMP/e .out
        limit 1 .plan.limit | tasks refer .plan.tasks | draws 3 .plan.draws
        metrics TMP/metric.py:size .plan.metrics""" + REMOTE),
    ("evaluate", "engines.load.load_engine evaluation.runner.evaluate", """
        model m load_engine.model | dataset DATA .dataset | out TMP/e .out
        looks 2 .plan.look.max_looks | crop_pixels 5000 .plan.look.crop_pixels"""),
    ("evaluate", "engines.load.load_engine evaluation.runner.evaluate", OFFLINE + """
        model m load_engine.model | dataset DATA .dataset | out TMP/e .out | dtype float16 load_engine.dtype
        limit 1 .plan.limit | engine vllm .plan.generation.batch_size=256"""),
    ("evaluate", "evaluation.benches.open_bench", """
        model m .plan.limit=None | bench b .name | root TMP .root | annotations TMP/a .options.annotations
        prompts published .options.prompts | mode all .options.mode | against TMP/e .options.against
        out TMP/e .plan.overwrite=False"""),
    ("compare", "evaluation.compare.load_evaluations", "folders a,b .folders"),
    ("compare", "evaluation.compare.load_evaluations", "folders a,b .folders=a,b,c | others c .folders.2"),
    ("ground", "engines.load.load_engine engines.ask.ask", """
        images PICTURE .names | model m load_engine.model | question where? .question
        family qwen2-vl load_engine.family | device cpu load_engine.device | instructions short .instructions
        max_new_tokens 77 .settings.max_new_tokens""" + REMOTE),
    ("ground", "engines.load.load_engine engines.ask.ask", OFFLINE + """
        images PICTURE .names | model m load_engine.model | question where? load_engine.offline.samples.0.question"""),
    ("ground", "engines.load.load_engine engines.ask.ask", """
        images PICTURE .names | model m load_engine.model | question where? .question
        looks 2 .look.max_looks | crop_pixels 5000 .look.crop_pixels"""),
    ("serve", "serve.server.listen engines.load.load_engine serve.server.create_app serve.server.make_server", """
        model m load_engine.model | port 8123 listen.port | name n create_app.name
        max_new_tokens 77 create_app.limits.new_tokens | max_prompt_tokens 78 create_app.limits.prompt_tokens
        max_images 3 create_app.limits.images | max_megapixels 2 create_app.limits.image_pixels=2000000
        max_megapixels 2 create_app.limits.pixels=4000000 | max_body_mib 5 create_app.limits.body_bytes=5242880
        queue 4 .limits.queue | timeout 9 create_app.limits.answer_seconds | batch_size 5 create_app.limits.batch
        max_pixels 50000 load_engine.limits.max_pixels | max_pixels 50000 load_engine.limits.min_pixels=3136
        looks 2 create_app.look.max_looks | crop_pixels 5000 create_app.look.crop_pixels
        family qwen2-vl load_engine.family | device cpu load_engine.device | dtype float16 load_engine.dtype"""),
    ("app", "cli.app.check_packages serve.server.listen engines.load.load_engine cli.app.run_page", """
        model m load_engine.model | save TMP/kept .save | port 8123 listen.port
        max_new_tokens 77 .limits.new_tokens | max_megapixels 2 .limits.image_pixels=2000000
        max_megapixels 2 .limits.pixels=4000000 | timeout 9 .limits.answer_seconds
        instructions short .models.0.instructions
        looks 2 .models.0.look.max_looks | crop_pixels 5000 .models.0.look.crop_pixels
        family qwen2-vl load_engine.family | device cpu load_engine.device | dtype float16 load_engine.dtype"""),
    ("app", "cli.app.check_packages serve.server.listen engines.load.load_engine cli.app.run_page",
        "against n load_engine.model | model m .models.1.name=scripted"),
    ("app", "cli.app.check_packages serve.server.listen engines.load.load_engine cli.app.run_page", """
        model http://h:1/v1#x load_engine.model=x | model http://h:1/v1#x load_engine.remote.url=http://h:1/v1
        key_env NAME load_engine.remote.key_env | save k .save=k"""),
    ("merge", "cli.publish._samples models.merge.merge_adapters", """
        run r .name | out o .out | data DATA _samples.data | max_new_tokens 7 .max_new_tokens
        device cpu .device"""),
    ("push", "publish.push.pack_parcel", "folder f .folder | repo a/b .repo | public - .public"),
    ("score migbench",
        "cli.score.load_annotations cli.score.image_sizes cli.score.frame_of cli.score.score_file", """
        annotations TMP/a load_annotations.path | responses TMP/r .path
        version revised load_annotations.revised=True | root TMP/i image_sizes.root
        stretch migician .frame.stretch=True
        protocol strict .chosen | family internvl .frame.family.name
        min_pixels 7 .frame.limits.min_pixels | max_pixels 50000 .frame.limits.max_pixels"""),
    ("doctor", "cli.doctor.disk_state", "disk d .folder"),
    ("report", "evaluation.pages.report_from_run", """
        run r .run | out o .out | data d .data | n 30 .samples | megabytes 3.5 .megabytes"""),
    ("report", "evaluation.watch.watch", """
        run r .run | out o .out | data d .data | watch - .seconds=5.0
        n 30 .samples | megabytes 3.5 .megabytes"""),
    ("study", "study.results.load_cells study.run.run_study", """
        out TMP/s .out | recipe TMP/study.yaml .plan.rl_steps=3 | model m .plan.model | train d .plan.train
        rl r .plan.rl | test t .plan.test | overrides seeds=[4] .plan.seeds=4
        elsewhere o load_cells.files | jobs 3 .jobs"""),
    ("study", "study.data.split_dataset", "data DATA .data | out TMP/s .out | model m .data.stem=data"),
    ("demo", "cli.demo._make_data", """
        out TMP/d .out | photos TMP/p .photos | recipe TMP/demo.yaml .plan.test_samples=3
        overrides seed=9 .plan.seed=9"""),
    ("models", "models.load.load_skeleton", "name m .name | family qwen2-vl .family_name"),
    ("sft", "cli.train.train", f"recipe TMP/sft.yaml .recipe.batch_size=3 | {TRAINING}"),
    ("grpo", "cli.train.train", f"recipe TMP/grpo.yaml .recipe.group_size=3 | {TRAINING}"),
    ("data unpack", "data.importers.archives.unpack", """
        archives a,b .archives | out o .out | keep_good - .keep_good
        strip_absolute - .strip_absolute | max_members 5 .limits.members
        max_gib 2 .limits.total_bytes=2147483648 | overwrite - .overwrite"""),
    ("data import", "executors.executor data.importers.run.import_dataset", """
        kind sharegpt .kind | path TMP/rows .path | out o .out
        root TMP/r .options.root | strip /raw .options.strip
        frame resized_pixels .options.frame | family qwen2.5-vl .options.family
        exif ignore .options.exif | min_pixels 3137 .options.min_pixels
        max_pixels 784001 .options.max_pixels | trainer verl .options.trainer
        look decode .options.look | copy - .copy
        columns question=text .options.columns | labels TMP/labels.yaml .options.labels.rename=cat=dog
        meta image_set=film .options.meta | negatives keep .options.negatives
        split test .options.split | stride 3 .options.stride
        frames 4 .options.frames | image_index_from 0 .options.image_index_from
        limit 5 .limit | executor processes executor.name | workers 2 executor.workers
        workers 2 .executor=pool | overwrite - .overwrite"""),
    ("data compose", "executors.executor data.compose.build.compose", """
        recipe TMP/compose.yaml .recipe.n=3 | out o .out | overrides seed=9 .recipe.seed=9
        copy - .copy | executor processes executor.name | workers 2 executor.workers
        workers 2 .executor=pool | overwrite - .overwrite"""),
    ("data difficulty", "engines.load.load_engine evaluation.pass_rates.write_difficulty",
        GENERATION + """
        dataset DATA .dataset | out TMP/o .out | model m load_engine.model
        k 3 .k | copy - .plan.copy""" + REMOTE),
    ("data difficulty", "engines.load.load_engine evaluation.pass_rates.write_difficulty", OFFLINE + """
        dataset DATA .dataset | out TMP/o .out | model m load_engine.model"""),
    ("data scenes", "data.scenes.generate.write_scenes", """
        out o .out | n 5 .n | split rl .split | seed 9 .seed
        difficulty hard .config.clutter=12 | tasks refer,region .tasks | overwrite - .overwrite"""),
    ("data scenes", "data.scenes.generate.write_scenes", "out o .out | world TMP/world.yaml .config.side=123"),
    ("data photos", "data.compose.photos.build.write_photo_samples", """
        folder f .folder | out o .out | n 5 .config.n
        seed 9 .config.seed | split test .config.split
        test_share 0.5 .config.test_share | tasks refer,region .config.tasks
        cutouts f .config.cutouts | boxes f.json .config.boxes
        side 99 .config.side | square - .config.square
        max_images 3 .config.max_images | max_photos 44 .config.max_photos
        max_megapixels 2 .config.max_megapixels | overwrite - .overwrite"""),
    ("data check", "executors.executor data.checks.run.check_dataset", """
        dataset DATA .folder | against DATA .config.against | look hash .config.look
        family qwen2-vl,glm-v .config.families | max_pixels 99999 .config.max_pixels
        tokenizer t .config.tokenizer | max_tokens 77 .config.max_tokens
        near 3 .config.near | min_side 0.1 .config.boxes.min_side
        min_box_pixels 7 .config.boxes.min_pixels | max_area 0.5 .config.boxes.max_area
        max_ratio 8 .config.boxes.max_ratio | executor processes executor.name | workers 2 executor.workers
        workers 2 .executor=pool"""),
    ("data show", "data.checks.sheet.show", """
        dataset DATA .folder | out o .out | n 5 .n | task refer .task | seed 9 .seed
        megabytes 2 .budget=2000000"""),
    ("data split", "data.split.write_split", """
        dataset DATA .source | out o .out | parts a=0.25,b=0.75 .shares
        seed 9 .seed | group_by meta.scene .by.text | ungrouped keep .keep_ungrouped=True
        copy - .copy | overwrite - .overwrite"""),
    ("data mix", "data.mix.write_mix", """
        parts DATA=2 .parts.data=DATA,2 | out o .out | n 5 .n | seed 9 .seed
        epoch 3 .epoch | copy - .copy | overwrite - .overwrite"""),
    ("data filter", "executors.executor data.checks.leakage.Leakage data.filter.write_filtered", """
        dataset DATA .source | out o .out | task a,b .criteria.tasks
        not_task c,d .criteria.not_tasks | where_source e,f .criteria.sources
        min_images 2 .criteria.min_images | max_images 3 .criteria.max_images
        min_size 0.1 .criteria.min_size | max_size 0.9 .criteria.max_size
        max_tokens 77 .criteria.max_tokens | family qwen2-vl .criteria.family
        min_pixels 3137 .criteria.min_pixels | max_pixels 9999 .criteria.max_pixels
        hidden_only - .criteria.hidden_only | has_trajectory - .criteria.has_trajectory
        pass_rate 0.1,0.9 .criteria.pass_rate | reward_std 0.2,0.8 .criteria.reward_std
        keep_unrated - .criteria.keep_unrated | without_leakage DATA Leakage.benchmarks.0.folder
        near 3 Leakage.near | group_by meta.scene Leakage.by.text | workers 2 executor.workers
        workers 2 executor.name=processes | look header .look | limit 1 .limit
        seed 9 .seed | copy - .copy | overwrite - .overwrite
        near 3 .leakage.ungrouped=0"""),
    ("data export", "data.exporters.build.export_dataset", """
        dataset DATA .source | out o .plan.out | to trl .to
        family qwen2-vl .plan.family.name | max_pixels 9999 .plan.max_pixels
        min_pixels 3137 .plan.min_pixels | instructions short .plan.instructions
        style json .plan.style | objects - .plan.objects | relative - .relative
        looks 2 .plan.look.max_looks | crop_pixels 5000 .plan.look.crop_pixels
        copy - .copy | look decode .look | overwrite - .overwrite"""),
    ("trajectories filter", "engines.load.load_engine evaluation.blind.write_helpful", GENERATION + REMOTE + """
        dataset DATA .dataset | out TMP/o .out | student m load_engine.model
        gain_right 0.3 .least.was_right | gain_wrong 0.4 .least.was_wrong
        copy - .plan.copy"""),
    ("trajectories filter", "engines.load.load_engine evaluation.blind.write_helpful", OFFLINE + """
        dataset DATA .dataset | out TMP/o .out | student m load_engine.model"""),
    ("trajectories status",
        "trajectories.teacher.ledger.ledger_at trajectories.teacher.status.status_of "
        "cli.trajectories._write_page",
        "ledger l ledger_at.path | page p .page | dataset d .dataset"),
    ("trajectories merge", "trajectories.teacher.ledger.ledger_at trajectories.teacher.shards.merge",
        "into i .into | sources s ledger_at.path"),
    ("trajectories build", "cli.trajectories._build_by_teacher", """
        dataset DATA .source | out o .out | writer teacher .told.json=False
        recipe r .told.recipe | overrides a=1 .told.overrides
        ledger l .told.ledger | shard 1/2 .told.shard
        executor_name processes .told.executor | workers 2 .told.workers
        offline - .told.offline | dry_run - .told.dry_run
        checks my.py:f .told.checks | overwrite - .told.overwrite"""),
    ("trajectories build", "trajectories.build.build_dataset", """
        dataset DATA .src | out o .out | writer object-level .writer | voice terse .voice | seed 5 .seed
        checks my.py:f .config.checks | overwrite - .overwrite"""),
    ("trajectories build", "trajectories.build.build_dataset", "dataset DATA .src | out o .out | looks 2 .looks"),
    ("trajectories check", "trajectories.build.check_dataset", "dataset DATA .src | checks my.py:f .config.checks"),
]  # fmt: skip
# What only changes what is printed, written at the end or given as exit code, and the file of its tests.
SEEN_AT_THE_END = {
    "json": "test_data_*.py, test_measured.py",
    "as_json": "test_evaluate.py, test_ground.py, test_models.py",
    "compare out": "test_evaluate.py",
    "doctor test": "test_doctor.py",
    "ground out": "test_ground.py",
    "merge evaluation": "tests/publish/test_card.py",
    "push yes": "tests/publish/test_push.py",
    "score migbench against": "test_score.py",
    "score migbench out": "test_score.py",
    "score migbench summary": "test_score.py",
    "schema out": "test_schema.py",
    "schema kind": "test_schema.py",
    "sft dry_run": "tests/training/test_recipes.py",
    "study dry_run": "tests/study/test_before.py",
    "sft speed_from": "tests/training/test_plan.py",
    "grpo speed_from": "tests/training/test_plan.py",
    "study show": "tests/research/study/test_study.py",
    "grpo dry_run": "tests/training/test_recipes.py",
    "data compose dry_run": "tests/data/compose/test_build.py",
    "data check allow_leakage": "test_data_check.py",
    "data check strict": "test_data_check.py",
    "data check page": "test_data_check.py",
}


class Stop(Exception):
    """The function that does the work was reached."""


class Row(NamedTuple):
    name: str
    value: str
    where: str
    there: str


def rows(text: str, last: str = "") -> list[Row]:
    parts = [part.split() for line in text.splitlines() for part in line.split("|") if part.strip()]
    found = []
    for name, value, place in parts:
        where, equals, there = place.partition("=")
        where = f"{last}{where}" if where.startswith(".") else where
        found.append(Row(name, value, where, there if equals else {"-": "True"}.get(value, value)))
    return found


def every_command() -> Iterator[tuple[str, click.Command]]:
    def below(command: Any, name: str) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(command)
        inner = command.list_commands(context) if hasattr(command, "list_commands") else []
        for one in inner:
            yield from below(command.get_command(context, one), f"{name} {one}")
        if not inner:
            yield name, command

    for name in COMMANDS:
        yield from below(load(name), name)


EVERY = list(every_command())


def words(value: Any) -> str:
    """A value as a user types it."""
    if isinstance(value, DatasetFolder):
        return str(value.root)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Mapping):
        return ",".join(f"{key}={words(one)}" for key, one in value.items())
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return ",".join(map(words, value))
    return str(getattr(value, "name", value)) if hasattr(value, "box_frame") else str(value)


def follow(value: Any, where: str) -> Any:
    for step in where.split("."):
        if isinstance(value, Mapping):
            value = value[step]
        else:
            value = value[int(step)] if step.isdigit() else getattr(value, step)
    return value


def recorder(calls: dict[str, Any], function: Callable[..., Any], name: str, *, last: bool) -> Callable[..., Any]:
    signature = inspect.signature(function)

    def call(*args: Any, **keywords: Any) -> Any:
        bound = signature.bind(*args, **keywords)
        bound.apply_defaults()
        calls[name] = bound.arguments
        if last:
            raise Stop
        return RESULTS[name]

    return call


def typed(command: click.Command, given: dict[str, str]) -> list[str]:
    """The words of a command line."""
    line: list[str] = []
    for parameter in command.params:
        if parameter.name not in given:
            continue
        value = given[parameter.name]
        if parameter.param_type_name == "argument":
            line += value.split(",") if parameter.nargs == -1 else [value]
        else:
            line += [parameter.opts[0]] if value == "-" else [parameter.opts[0], value]
    return line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset and the files that are named in the table."""
    root = tmp_path_factory.mktemp("wiring")
    write_uneven(root / "data")
    for name, text in FILES.items():
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(("name", "functions", "text"), TABLE, ids=[f"{name}" for name, _, _ in TABLE])
def test_every_option_arrives(
    name: str, functions: str, text: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def placed(word: str) -> str:
        word = word.replace("PICTURE", str(next((folder / "data" / "images").iterdir())))
        return word.replace("DATA", str(folder / "data")).replace("TMP", str(folder))

    monkeypatch.chdir(tmp_path)
    table = rows(text, functions.rpartition(".")[2])
    calls: dict[str, Any] = {}
    paths = functions.split()
    for path in paths:
        module, _, function = f"mirg.{path}".rpartition(".")
        original = getattr(__import__(module, fromlist=[function]), function)
        monkeypatch.setattr(f"mirg.{path}", recorder(calls, original, function, last=path == paths[-1]))
    line = typed(dict(EVERY)[name], {row.name: placed(row.value) for row in table})
    result = CliRunner().invoke(app, [*name.split(), *line])
    assert isinstance(result.exception, Stop), result.output or result.exception
    for row in table:
        found, there = words(follow(calls, row.where)), placed(row.there)
        assert found == there or number(found) == number(there), row


def number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


@pytest.mark.parametrize(("name", "command"), EVERY, ids=[name for name, _ in EVERY])
def test_no_option_is_missing(name: str, command: click.Command) -> None:
    known = {row.name for one, _, text in TABLE if one == name for row in rows(text)}
    left = {str(one.name) for one in command.params} - known
    assert {option for option in left if not {option, f"{name} {option}"} & SEEN_AT_THE_END.keys()} == set()
