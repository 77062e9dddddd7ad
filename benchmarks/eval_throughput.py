"""Evaluation against the loop of published scripts: one sample at a time through ``model.generate``.

Three figures, each with its alternative or its limit:

* answers to samples of mirg-mini by the local engine, against one ``generate`` call for each sample with the same
  model, the same prompts and the same numbers (float32, greedy); the texts must be equal. All ways are measured in
  every round, in alternating order, in seconds and in seconds of the processor, which other programs disturb less; the
  ratio is that of the latter. One of the ways evaluates into a folder: it also opens the images, scores the answers
  and writes the records, and its batches are cut before they are sorted by length;
* responses that the reader and the scorer handle per second on one core;
* requests that are at an endpoint at the same time, of those that may be, if every reply takes a fixed time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from teacher_throughput import Server  # noqa: E402

from fakes.faulty_api import Settings  # noqa: E402
from mirg.answers.prompts import messages  # noqa: E402
from mirg.engines.base import Generation, Request  # noqa: E402
from mirg.engines.limits import Limits  # noqa: E402
from mirg.engines.remote import EndpointEngine  # noqa: E402
from mirg.engines.transformers import TransformersEngine  # noqa: E402
from mirg.evaluation.records import load_records, make_record  # noqa: E402
from mirg.evaluation.runner import Plan, evaluate, select  # noqa: E402
from mirg.families import FAMILIES  # noqa: E402
from mirg.models.load import LoadedModel, forbidden_tokens, load_model  # noqa: E402
from mirg.samples import DatasetFolder, Sample  # noqa: E402
from research.mini import write_mini  # noqa: E402


def requests(data: DatasetFolder, samples: Sequence[Sample], loaded: LoadedModel) -> list[Request]:
    """The prompts of an evaluation without instructions."""
    return [
        Request(
            sample.id,
            messages(sample, loaded.family, loaded.limits, "none"),
            [data.open_image(ref, sample.id) for ref in sample.images],
        )
        for sample in samples
    ]


def one_at_a_time(loaded: LoadedModel, asked: Sequence[Request], most: int) -> list[str]:
    """What published evaluation scripts do: processor and ``generate`` for each sample."""
    forbidden = sorted(forbidden_tokens(loaded.tokenizer, loaded.family))
    texts = []
    for request in asked:
        prompt = loaded.processor.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        inputs = loaded.processor(text=[prompt], images=request.images, return_tensors="pt")
        with torch.inference_mode():
            ids = loaded.model.generate(**inputs, max_new_tokens=most, do_sample=False, suppress_tokens=forbidden)
        texts.append(loaded.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


def local(model: str, count: int, batches: Sequence[int], most: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Seconds of every way in every round, medians of their ratios to the loop, and how many texts are equal."""
    data = write_mini(folder / "mini", per_cell=-(-count // 30))
    plain, loaded = load_model(model, dtype="float32"), load_model(model, dtype="float32")
    engine = TransformersEngine(loaded)
    plan = Plan(Generation(max_new_tokens=most, batch_size=max(batches)), instructions="none", limit=count)
    samples = select(data.read(), plan)
    asked = requests(data, samples, loaded)
    tokens: list[int] = []

    def generate(batch: int) -> list[str]:
        made = engine.generate(asked, replace(plan.generation, batch_size=batch))
        tokens[:] = [one.tokens for one in made]
        return [one.text for one in made]

    def whole() -> list[str]:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            evaluate(engine, data, out, plan)
            return [record.completion for record in load_records(out)]

    ways: dict[str, Callable[[], list[str]]] = {f"batches of {k}": partial(generate, k) for k in batches}
    ways |= {"loop": lambda: one_at_a_time(plain, asked, most), "evaluation": whole}
    one_at_a_time(plain, asked[:2], most)
    generate(max(batches))
    wall, processor, said = ({name: [] for name in ways} for _ in range(3))
    for number in range(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            begin = time.perf_counter(), time.process_time()
            said[name] = ways[name]()
            wall[name].append(time.perf_counter() - begin[0])
            processor[name].append(time.process_time() - begin[1])
    return {
        "ratios": {name: _ratios(processor["loop"], own) for name, own in processor.items() if name != "loop"},
        "ratios_of_wall_time": {name: _ratios(wall["loop"], own) for name, own in wall.items() if name != "loop"},
        "samples": len(samples), "rounds": rounds, "tokens": sum(tokens),
        "equal_texts": sum(len(set(texts)) == 1 for texts in zip(*said.values(), strict=True)),
        "processor_seconds": processor, "seconds": wall,
    }  # fmt: skip


def _ratios(loop: Sequence[float], own: Sequence[float]) -> dict[str, float]:
    found = [a / b for a, b in zip(loop, own, strict=True)]
    return {"median": statistics.median(found), "least": min(found), "most": max(found)}


def reader(count: int) -> dict[str, Any]:
    """Responses per second that become scored records, on one core; the median of five rounds."""
    from fakes import teacher

    with tempfile.TemporaryDirectory() as name:
        samples = list(teacher.dataset(Path(name) / "data", 50, size=(64, 48)).read())
    text = "<think>Image-1 shows a red ring. Image-2 shows two.</think><answer>Image-2: (250,500),(750,1000)</answer>"
    rates = []
    for _ in range(5):
        start = time.process_time()
        for k in range(count):
            make_record(samples[k % len(samples)], text, family=FAMILIES["qwen3-vl"])
        rates.append(count / (time.process_time() - start))
    return {"responses_per_s": statistics.median(rates), "spread": [min(rates), max(rates)], "n": count}


def endpoint(count: int, concurrency: int, latency: float, folder: Path) -> dict[str, Any]:
    """The average number of requests at the server, as a share of those that may be there."""
    from fakes import teacher

    data = teacher.dataset(folder / "served", count, size=(160, 120))
    server = Server(Settings(latency=latency, default="none"), folder)
    engine = EndpointEngine(server.url, "m", FAMILIES["qwen3-vl"], requests=Limits(concurrency=concurrency))
    try:
        start = time.perf_counter()
        evaluate(engine, data, folder / "evaluation", Plan())
        seconds = time.perf_counter() - start
    finally:
        counts = server.stop()
    busy = counts["busy_seconds"] / (counts["last"] - counts["first"]) / concurrency
    return {
        "busy": busy, "busy_whole_run": count * latency / seconds / concurrency, "requests": count,
        "concurrency": concurrency, "latency_s": latency, "seconds": seconds, "most": counts["most_in_flight"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mirg-tiny", help="a run folder, a model folder, or mirg-tiny")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--quick", action="store_true", help="30 samples in one round, 640 requests")
    parser.add_argument("--json", type=Path, default=None)
    told = parser.parse_args()
    count, asked, rounds = (30, 640, 1) if told.quick else (told.samples, 1920, told.rounds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = {
            "local": local(told.model, count, told.batch_sizes, told.max_new_tokens, rounds, folder),
            "reader": reader(2_000 if told.quick else 20_000),
            "endpoint": endpoint(asked, 32, 1.0, folder),
        }
    result |= {
        "wanted": {"local": 4.0, "responses_per_s": 20_000, "busy": 0.95},
        "machine": {"load_average": os.getloadavg()[0], "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, **_versions()},
    }
    first, second, third = result["local"], result["reader"], result["endpoint"]
    for name, ratio in first["ratios"].items():
        print(f"{name}: {ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f}) times as fast as the loop")
    print(
        f"{first['equal_texts']} of {first['samples']} texts equal, {first['tokens']} tokens\n"
        f"reader and scorer: {second['responses_per_s']:,.0f} responses per second and core\n"
        f"endpoint: {100 * third['busy']:.1f} % of {third['concurrency']} places busy"
    )
    if told.json:
        told.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("transformers", "openai", "mirg")}


if __name__ == "__main__":
    main()
