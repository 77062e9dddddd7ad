"""``mirg data difficulty``: how often a model solves each prompt of a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from mirg.cli import measured as shared
from mirg.cli.output import progress


def difficulty(
    dataset: shared.Dataset,
    out: shared.Out,
    model: Annotated[str, typer.Option("--model", help="A run folder, a model folder, or a model name.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Answers to each prompt.")] = 8,
    temperature: Annotated[float, typer.Option(help="Of sampling.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed and batch size give the same answers.")] = 0,
    batch_size: shared.BatchSize = 8,
    max_new_tokens: shared.MaxNewTokens = 512,
    instructions: shared.AnswerInstructions = None,
    family: shared.Family = None,
    device: shared.Device = None,
    dtype: shared.Dtype = None,
    endpoint: shared.Endpoint = None,
    key_env: shared.KeyEnv = None,
    concurrency: shared.Concurrency = 16,
    max_pixels: shared.MaxPixels = None,
    copy: shared.Copy = False,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Answer every prompt k times and store the share of right answers as meta.pass_rate, with meta.mean_reward.

    RL learns from what is solved sometimes: train on it with -s pass_rate.above=0 -s pass_rate.below=1. Or where some
    answers earn more than others, right or wrong (meta.reward_std): -s reward_std.above=0.1. Stopped and started again,
    the command continues.
    """
    from mirg.engines.base import Generation
    from mirg.evaluation.difficulty import check_k, write_difficulty
    from mirg.evaluation.measure import MeasurePlan, refuse_output
    from mirg.samples import DatasetFolder

    generation = Generation(max_new_tokens, temperature, seed, batch_size)
    plan = MeasurePlan(generation, instructions, copy=copy, overwrite=overwrite)
    # Errors that do not depend on the model are reported before it is loaded.
    check_k(k, generation)
    source = DatasetFolder.open(dataset)
    refuse_output(out, source, plan)

    from mirg.engines.load import load_engine

    remote = shared.remote_of(endpoint, key_env, concurrency, max_pixels)
    engine = load_engine(model, family=family, device=device, dtype=dtype, remote=remote)
    with progress(quiet=json) as tell:
        report = write_difficulty(
            engine, source, out, k, plan, lambda done, total: tell(f"{k} answers each", done, total)
        )
    shared.print_report(report, out, as_json=json, kept="samples by how often they were solved: {count} {word}")
