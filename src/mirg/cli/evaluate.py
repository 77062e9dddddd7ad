"""``mirg evaluate`` and ``mirg compare``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from mirg.cli.measured import (
    CROP_PIXELS,
    AnswerInstructions,
    BatchSize,
    Concurrency,
    CropPixels,
    Device,
    Dtype,
    Endpoint,
    EngineName,
    Family,
    KeyEnv,
    Looks,
    MaxPixels,
    Thinking,
    VllmArguments,
    load_engine,
    look_budget,
    prompts_at_once,
)
from mirg.console import say, table, warn
from mirg.errors import ConfigError
from mirg.evaluation.draws import AGREEMENT, PASSED
from mirg.evaluation.mc_bench import TITLES as MC_BENCH
from mirg.evaluation.metrics import LOWER_IS_BETTER, TITLES
from mirg.storage import write_json_atomic

if TYPE_CHECKING:
    from mirg.engines.base import Engine
    from mirg.evaluation.bench import Opened
    from mirg.evaluation.runner import Plan, Progress
    from mirg.evaluation.variants import Variant
    from mirg.families import PixelLimits
    from mirg.samples import Sample

_TASK_METRIC = "joint_accuracy"
_LISTED = 5  # rejections that are printed
_THINKING = {  # how the counts of the summary are printed
    "unfinished": (warn, "never end their thinking"),
    "untagged": (warn, "have an answer without answer tags, which was read"),
    "opened_by_template": (say, "have a thinking that the chat template opened"),
    "parsed_by_server": (say, "had their thinking in a separate field of the endpoint's reply"),
}


def evaluate(
    model: Annotated[str, typer.Argument(help="A run folder, a model folder, or a model name.")],
    out: Annotated[Path, typer.Option(help="Folder of the evaluation; the same command again resumes it.")],
    dataset: Annotated[
        Path | None, typer.Argument(help="A dataset folder (samples.jsonl, images/, card.json), if not --bench.")
    ] = None,
    bench: Annotated[
        str | None, typer.Option(help="A published benchmark instead of DATASET: migbench, blink, muirbench …")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The folder of the benchmark, as downloaded; for some, a hub name.")
    ] = None,
    annotations: Annotated[Path | None, typer.Option(help="Annotations of the benchmark, if not in --root.")] = None,
    prompts: Annotated[str | None, typer.Option(help="How the benchmark is asked: mirg (default), published …")] = None,
    mode: Annotated[str | None, typer.Option(help="migbench: poll (one image per answer, default) or all.")] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Another evaluation of the benchmark, for paired differences; may be repeated."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Evaluate this many samples; tasks take turns.")] = None,
    batch_size: BatchSize = None,
    tasks: Annotated[str | None, typer.Option(help="Only these tasks, comma-separated.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest completion in tokens.")] = 512,
    temperature: Annotated[float, typer.Option(help="0 is greedy decoding.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of sampling, if temperature is not 0.")] = 0,
    draws: Annotated[int, typer.Option(min=1, help="Answers sampled to each sample: pass@k and majority.")] = 1,
    looks: Looks = 0,
    crop_pixels: CropPixels = CROP_PIXELS,
    instructions: AnswerInstructions = None,
    family: Family = None,
    device: Device = None,
    dtype: Dtype = None,
    engine: EngineName = "local",
    vllm: VllmArguments = None,
    thinking: Thinking = None,
    endpoint: Endpoint = None,
    key_env: KeyEnv = None,
    concurrency: Concurrency = 16,
    max_pixels: MaxPixels = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", help="Your own metric FILE.py:NAME, a function of record and sample; may be repeated."
        ),
    ] = None,
    permute: Annotated[
        bool, typer.Option("--permute", help="Evaluate again with the images in another order.")
    ] = False,
    distractors: Annotated[
        int | None, typer.Option(help="Evaluate again with this many images of other samples added.")
    ] = None,
    rescale: Annotated[
        float | None, typer.Option(help="Evaluate again with the images rescaled by this factor.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another evaluation in --out.")] = False,
) -> None:
    """Run a model on a dataset or a published benchmark and score it; records.jsonl and summary.json go to --out."""
    options = dict(locals())
    from mirg.engines.base import Generation
    from mirg.evaluation.benches import open_bench
    from mirg.evaluation.metrics import plugin_metrics
    from mirg.evaluation.runner import Plan
    from mirg.evaluation.variants import variants

    # Report errors that do not need the model before it is loaded.
    plan = Plan(
        Generation(max_new_tokens, temperature, seed, prompts_at_once(batch_size, engine)),
        instructions=instructions,
        limit=limit,
        tasks=tuple(part.strip() for part in (tasks or "").split(",") if part.strip()),
        metrics=tuple(metrics or ()),
        draws=draws,
        overwrite=overwrite,
        look=look_budget(looks, crop_pixels, thinking),
    )
    plugin_metrics(plan.metrics)
    given = {
        "root": root,
        "annotations": annotations,
        "prompts": prompts,
        "mode": mode,
        "against": tuple(against or ()),
    }
    changes = variants(permute, distractors, rescale)
    if (dataset is None) == (bench is None):
        raise ConfigError("give either a DATASET or --bench", hint="a dataset folder, or --bench NAME --root DIR")
    if dataset is not None and (names := [f"--{name}" for name, value in given.items() if value]):
        raise ConfigError(f"{', '.join(names)} without --bench", hint="these options belong to a published benchmark")
    if bench is not None and changes:
        hint = "import it with `mirg data import`, and evaluate that dataset"
        raise ConfigError("a published benchmark is asked with its own images in their order", hint=hint)
    work: Opened = _Dataset(dataset, plan, changes) if dataset is not None else open_bench(str(bench), plan, **given)
    # vLLM reserves memory by the sizes of the images.
    asked = load_engine(model, options, work.samples() if engine == "vllm" else (), limits=work.limits)
    try:
        summary = work.run(asked, out, plan, _progress())
    except KeyboardInterrupt:
        warn(f"stopped; finished samples are kept in {out}, the same command continues")
        raise
    work.show(summary)
    _show_extras(summary)
    _show_left_out(summary)
    say(f"written: {out}")


class _Dataset:
    """A dataset folder as what is evaluated."""

    def __init__(self, path: Path, plan: Plan, changes: Sequence[Variant]) -> None:
        from mirg.evaluation.runner import select
        from mirg.samples import DatasetFolder

        self.folder, self.plan, self.changes = DatasetFolder.open(path), plan, changes
        self.limits: Mapping[str, PixelLimits] = {}
        select(self.folder.read(lambda rejection: None), plan)

    def samples(self) -> list[Sample]:
        from mirg.evaluation.runner import select

        return select(self.folder.read(lambda rejection: None, images="header"), self.plan)

    def run(self, engine: Engine, out: Path, plan: Plan, progress: Progress | None) -> dict[str, Any]:
        from mirg.evaluation.robustness import evaluate_variants
        from mirg.evaluation.runner import evaluate as run

        summary = run(engine, self.folder, out, plan, progress)
        return summary | {"robustness": evaluate_variants(engine, self.folder, out, plan, self.changes, _progress)}

    def show(self, summary: Mapping[str, Any]) -> None:
        _show_summary(summary)
        _show_robustness(summary["robustness"])


class _SeveralAfterWith(TyperCommand):
    """``--with B1 B2 B3`` is ``--with B1 --with B2 --with B3``, also if the shell has put the names there."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the option before every name that follows it."""
        spread: list[str] = []
        after = False
        for word in args:
            after = word == "--with" or (after and not word.startswith("-"))
            spread += ["--with", word] if after and word != "--with" else [] if after else [word]
        return super().parse_args(ctx, spread)


compare_app = typer.Typer(add_completion=False)


@compare_app.command("compare", cls=_SeveralAfterWith)
def compare(
    folders: Annotated[
        list[str], typer.Argument(help="Folders of evaluations, the base first; 'eval/sft-*' in quotes is several.")
    ],
    others: Annotated[
        list[str] | None,
        typer.Option("--with", help="The other side, if FOLDERS are the seeds of one: --with B-0 B-1 B-2, or 'B-*'."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write the JSON to this file.")] = None,
) -> None:
    """Evaluations side by side: 95 % intervals, chance levels, paired differences (later minus earlier).

    With --with, the difference of two sides over items and seeds.
    """
    from mirg.evaluation.choices import bench as choices
    from mirg.evaluation.compare import compare as run
    from mirg.evaluation.compare import load_evaluations
    from mirg.evaluation.compare_seeds import compare_seeds, expand

    paths, show = expand(folders), show_comparison
    bench = choices.bench_in(paths[0])
    if bench:
        if others:
            raise ConfigError("--with compares evaluations of boxes, not of choices", hint="leave --with out")
        result, show = choices.compare_choices(paths, bench), choices.show_comparison
    elif others:
        sides = load_evaluations([*paths, *(more := expand(others))])
        result, show = compare_seeds(sides[: -len(more)], sides[-len(more) :]), _show_sides
    else:
        result = run(load_evaluations(paths))
    if out is not None:
        write_json_atomic(out, result)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        show(result)


def _show_sides(result: Mapping[str, Any]) -> None:
    first, second = result["sides"]
    rows = [
        [title, _seeds(first[metric]), _seeds(second[metric]), _signed(result["overall"][metric], metric)]
        for metric, title in TITLES.items()
    ]
    columns = ["metric", f"first, {first['seeds']} seeds", f"second, {second['seeds']} seeds", "second - first"]
    table(f"{result['n']} samples: percent, least and largest seed; points, 95 % interval; * excludes 0", columns, rows)
    parts = {**result["subsets"], **result["tasks"]}
    rows = [[name, str(block["n"]), _signed(block[_TASK_METRIC], _TASK_METRIC)] for name, block in parts.items()]
    table(f"{TITLES[_TASK_METRIC]}, second - first: points, 95 % interval", ["part", "samples", "difference"], rows)
    say("pairs: " + "; ".join(f"{pair['b']} - {pair['a']}" for pair in result["pairs"]))
    for note in result["notes"]:
        warn(note)


def _seeds(cell: Mapping[str, float]) -> str:
    return f"{100 * cell['mean']:.1f} ({100 * cell['min']:.1f} to {100 * cell['max']:.1f})"


def show_comparison(result: Mapping[str, Any]) -> None:
    """Print what :func:`mirg.evaluation.compare.compare` gives: three tables, in percent."""
    systems, chance = result["systems"], result["chance"]
    rows = [
        [title, *(_cell(system["overall"][metric]) for system in systems), _chance(chance["overall"], metric)]
        for metric, title in TITLES.items()
    ]
    rows.append(["samples", *(str(system["n"]) for system in systems), ""])
    table("All samples: percent, 95 % interval", ["metric", *(s["name"] for s in systems), "chance"], rows)
    _show_parts(result, "tasks", "task")
    _show_parts(result, "subsets", "subset")
    if result["differences"]:
        _show_differences(result["differences"])
    for system in systems:
        if system["rejected"]:
            warn(f"{system['name']}: {system['rejected']} samples could not be asked and are in no number")
    for note in result["notes"]:
        warn(note)


def _show_parts(result: Mapping[str, Any], part: str, title: str) -> None:
    systems, chance = result["systems"], result["chance"][part]
    rows = []
    for name in sorted({name for system in systems for name in system[part]}):
        blocks = [system[part].get(name) for system in systems]
        cells = [_cell(block[_TASK_METRIC]) if block else "" for block in blocks]
        count = max(block["n"] for block in blocks if block)
        rows.append([name, str(count), *cells, _chance(chance[name], _TASK_METRIC)])
    columns = [title, "samples", *(system["name"] for system in systems), "chance"]
    table(f"{TITLES[_TASK_METRIC]} by {title}: percent, 95 % interval", columns, rows)


def _show_differences(differences: list[Mapping[str, Any]]) -> None:
    metrics = ("image_accuracy", "acc_50", "mean_iou", "joint_accuracy", "parse_failures")
    rows = []
    for entry in differences:
        name = f"{entry['b']} - {entry['a']}"
        block = entry["overall"]
        cells = ["no common sample"] if block is None else [_signed(block[metric], metric) for metric in metrics]
        rows.append([name, str(entry["n"]), *cells, *[""] * (len(metrics) - len(cells))])
    columns = ["paired difference", "samples", *(TITLES[metric] for metric in metrics)]
    table("Paired differences: points, 95 % interval; * excludes 0", columns, rows)


def _cell(cell: Mapping[str, float]) -> str:
    return f"{100 * cell['mean']:.1f} [{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]"


def _number(cell: Mapping[str, float | None]) -> str:
    ends = "" if cell["low"] is None else f" [{cell['low']:.4g}, {cell['high']:.4g}]"
    return f"{cell['mean']:.4g}{ends}"


def _signed(cell: Mapping[str, float], metric: str) -> str:
    clear = cell["low"] > 0 or cell["high"] < 0
    worse = clear and (cell["mean"] < 0) != (metric in LOWER_IS_BETTER)
    mark = " * worse" if worse else " *" if clear else ""
    return f"{100 * cell['mean']:+.1f} [{100 * cell['low']:+.1f}, {100 * cell['high']:+.1f}]{mark}"


def _chance(levels: Mapping[str, Any], metric: str) -> str:
    return f"{100 * levels[metric]:.1f}" if metric in levels else ""


def _progress(variant: str = "") -> Any:
    """Print a line on standard error at intervals: done, kept from an earlier run, time left."""
    import sys
    import time

    head = f"{variant}: " if variant else ""
    start = time.monotonic()
    last = start - 5.0

    def show(done: int, total: int, kept: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 5.0 or done == total:
            last = now
            left = (now - start) / (done - kept) * (total - done) if done > kept else 0.0
            kept_text = f", {kept} kept from before" if kept else ""
            say(f"{head}evaluated {done}/{total}{kept_text}, about {left:.0f} s left", file=sys.stderr)

    return show


def _show_draws(k: int, block: Mapping[str, Any], majority: Mapping[str, Any]) -> None:
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64, 128) if size < k] + [k]
    rows = [[f"pass@{n}", *(_cell(block["pass_at_k"][metric][n - 1]) for metric in PASSED)] for n in sizes]
    rows.append(["majority answer", *(_cell(majority[metric]) for metric in PASSED)])
    table(f"{k} answers to each sample: percent, 95 % interval", ["", *(TITLES[metric] for metric in PASSED)], rows)
    say("; ".join(f"{title}: {_cell(block['agreement'][name])}" for name, title in AGREEMENT.items()))
    say("The tables are about the majority answer; draws.jsonl has the agreement for each sample.")


def _show_summary(summary: Mapping[str, Any]) -> None:
    overall, chance = summary["metrics"]["overall"], summary["chance"]["overall"]
    rows = [[title, _cell(overall[metric]), _chance(chance, metric)] for metric, title in TITLES.items()]
    table(f"{summary['n']} samples: percent, 95 % interval", ["metric", "value", "chance"], rows)
    if mc_bench := summary["metrics"].get("mc_bench"):
        rows = [[title, _cell(mc_bench["overall"][metric])] for metric, title in MC_BENCH.items()]
        table("The benchmark's own metrics: percent, 95 % interval", ["metric", "value"], rows)


def _show_looks(cost: Mapping[str, Any], by_looks: Mapping[str, Any]) -> None:
    parts = {"all": by_looks["overall"], **by_looks["tasks"]}
    metrics = ("image_accuracy", "joint_accuracy")
    rows = [[name, str(block["n"]), *(_cell(block[metric]) for metric in metrics)] for name, block in parts.items()]
    table("By number of looks: percent, 95 % interval", ["", "samples", *(TITLES[metric] for metric in metrics)], rows)
    words = f"{cost['looks']:.2f} looks, {cost['crop_tokens']:.0f} visual tokens of crops"
    say(f"per answer: {words}, {cost['completion_tokens']:.0f} tokens written")
    for reason, count in cost["refused"].items():
        say(f"{count} looks refused: {reason}")


def _show_extras(summary: Mapping[str, Any]) -> None:
    if by_looks := summary["metrics"].get("looks"):
        _show_looks(summary["looks"], by_looks)
    if several := summary.get("draws"):
        _show_draws(several["k"], several["overall"], summary["metrics"]["overall"])
    if plugins := summary["metrics"].get("plugins"):
        found = {label: cell for label, cell in plugins["overall"].items() if label not in ("n", "n_sets")}
        rows = [[label, _number(cell)] for label, cell in found.items()]
        table("Metrics of plug-ins: mean, 95 % interval", ["metric", "value"], rows)


def _show_left_out(summary: Mapping[str, Any]) -> None:
    if summary["rejected"]:
        for row in summary["rejections"][:_LISTED]:
            warn(f"{row['id'] or '(row)'} could not be asked: {row['reason']}")
        counted = "see the tables" if "bench" in summary else "and are in no number"
        warn(f"{summary['rejected']} samples could not be asked, {counted}")
    for name, (tell, words) in _THINKING.items():
        if count := summary.get("thinking", {}).get(name):
            tell(f"{count} completions {words}")
    if summary["cut_off"]:
        limit = summary["settings"]["generation"]["max_new_tokens"]
        warn(f"{summary['cut_off']} completions were cut off after {limit} tokens: raise --max-new-tokens")
    for words in summary.get("diagnostics", {}).get("findings", ()):
        say(words)


def _show_robustness(robust: Mapping[str, Any]) -> None:
    if robust["differences"]:
        _show_differences(robust["differences"])
    for note in robust["notes"]:
        warn(note)
