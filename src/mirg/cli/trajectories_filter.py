"""``mirg trajectories filter``: keep the chains that help a student."""

from __future__ import annotations

from typing import Annotated

import typer

from mirg.cli import measured as shared
from mirg.cli.output import progress


def filter(
    dataset: shared.Dataset,
    out: shared.Out,
    student: Annotated[str, typer.Option("--student", help="A run folder, a model folder, or a model name.")],
    gain_right: Annotated[float, typer.Option(help="Required gain in points of IoU if the answer was right.")] = 0.10,
    gain_wrong: Annotated[float, typer.Option(help="Required gain in points of IoU if it was and stays wrong.")] = 0.20,
    temperature: Annotated[float, typer.Option(help="0 is greedy decoding.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of sampling, if temperature is not 0.")] = 0,
    batch_size: shared.BatchSize = 16,
    max_new_tokens: shared.MaxNewTokens = 512,
    instructions: shared.AnswerInstructions = None,
    family: shared.Family = None,
    device: shared.Device = None,
    dtype: shared.Dtype = None,
    copy: shared.Copy = False,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Keep a sample if its chain, put before the student's answer, turns wrong into right or raises the IoU.

    The others go to OUT/rejected.jsonl with the reason. The same command continues after an interruption.
    """
    from mirg.engines.base import Generation
    from mirg.evaluation.blind import gains, write_helpful
    from mirg.evaluation.measure import MeasurePlan, refuse_output
    from mirg.samples import DatasetFolder

    wanted = gains(gain_right, gain_wrong)
    plan = MeasurePlan(
        Generation(max_new_tokens, temperature, seed, batch_size), instructions, copy=copy, overwrite=overwrite
    )
    # Report errors that do not need the model before it is loaded.
    source = DatasetFolder.open(dataset)
    refuse_output(out, source, plan)

    from mirg.engines.load import load_engine

    engine = load_engine(student, family=family, device=device, dtype=dtype)
    with progress(quiet=json) as tell:
        report = write_helpful(engine, source, out, wanted, plan, lambda done, total: tell("answers", done, total))
    shared.print_report(report, out, as_json=json)
