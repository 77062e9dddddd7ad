"""Measure on a GPU what the 7B recipes need and reach, or rehearse all of it on a CPU.

    python tools/gpu_proof.py OUT [--part NAME ...] [--seconds N]
    python tools/gpu_proof.py OUT --rehearse

Each part runs in a separate process, for at most three minutes, and writes OUT/NAME.json as soon as something is
known, so that a run that is killed keeps what it measured. A part that fails records its traceback, and the next one
runs. Without ``--part`` all parts but the optional ones run, the most important first. A rehearsal runs the same code
on shrunk models, and its numbers mean nothing: tools/keep_gpu_proof.py refuses them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 180.0  # seconds of a part
LEAST = 45.0  # seconds that must be left for a part to be started
TAIL = 60  # lines of a part's output that are kept if it fails


class Report:
    """The JSON file of one part, rewritten whenever something is added."""

    def __init__(self, path: Path, **known: Any) -> None:
        self.path, self.values = path, dict(known)
        self.began = time.monotonic()

    def add(self, **values: Any) -> None:
        """Add ``values`` and write the file."""
        self.values |= values | {"seconds_of_part": round(time.monotonic() - self.began, 1)}
        work = self.path.with_suffix(".tmp")
        work.write_text(json.dumps(self.values, indent=1, default=str) + "\n")
        work.replace(self.path)


@dataclass(frozen=True)
class Job:
    """What a part is given: whether it is a rehearsal, a folder for its files, and the report of its results."""

    rehearse: bool
    folder: Path
    report: Report


def environment(job: Job) -> None:
    """The machine: GPU, driver, versions, the speed of matrix products and of copies."""
    import torch
    from shapes import ceiling

    job.report.add(nvidia_smi=_nvidia_smi(), cores=os.cpu_count(), platform=platform.platform())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    job.report.add(matmul={"dtype": str(dtype), "tflops": ceiling(device, dtype) / 1e12})
    source = torch.randn(2**30 if device == "cuda" else 2**22, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(11):
        began = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    job.report.add(copy={"gigabytes_per_second": 2 * source.nbytes / statistics.median(seconds[1:]) / 1e9})


def _nvidia_smi() -> str:
    query = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total,clocks.sm,power.limit",
        "--format=csv,noheader",
    ]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=False, timeout=20).stdout.strip()
    except FileNotFoundError:
        return "no nvidia-smi"


def sft7b(job: Job) -> None:
    """The recipe mirg-rl-7b-lora/sft; fewer micro-batches a step, which changes no peak of memory."""
    from gpu_training import Case, train

    overrides = ("accumulation=1", "batch_size=2") if job.rehearse else ("accumulation=4",)
    case = Case("sft", "mirg-rl-7b-lora/sft", "qwen2.5-vl-7b", overrides, job.rehearse, job.folder)
    train(case, steps=3, samples=8 if job.rehearse else 16, add=job.report.add)


def grpo7b(job: Job) -> None:
    """The recipe mirg-rl-7b-lora/grpo with up to 256 new tokens, from the base with fresh adapters."""
    from gpu_training import Case, train

    small = ("prompts_per_step=2", "group_size=2", "micro_batch=2")
    overrides = small if job.rehearse else ("max_new_tokens=256",)
    case = Case("grpo", "mirg-rl-7b-lora/grpo", "qwen2.5-vl-7b", overrides, job.rehearse, job.folder)
    train(case, steps=3, samples=8 if job.rehearse else 16, add=job.report.add)


def qwen3vl8b(job: Job) -> None:
    """Both stages of the same recipes on the shape of Qwen3-VL-8B, whose images also enter deeper layers."""
    from gpu_training import Case, train

    small = ("prompts_per_step=2", "group_size=2", "micro_batch=2")
    for stage, overrides, samples in (
        ("sft", ("accumulation=1", "batch_size=2"), 8),
        ("grpo", small if job.rehearse else ("max_new_tokens=128", "prompts_per_step=4"), 8),
    ):
        found: dict[str, Any] = {}

        def add(stage: str = stage, found: dict[str, Any] = found, **values: Any) -> None:
            found |= values
            job.report.add(**{stage: found})

        folder = job.folder / stage
        train(Case(stage, f"mirg-rl-7b-lora/{stage}", "qwen3-vl-8b", overrides, job.rehearse, folder), 2, samples, add)


def update3b(job: Job) -> None:
    """The packed update against TRL's on the shape of Qwen2.5-VL-3B, and two of its layers in float32."""
    _benchmark(job, "bfloat16", "packed_update", *_sized(job, "qwen2.5-vl-3b"))
    _benchmark(job, "float32_two_layers", "packed_update", *_cut(job, "qwen2.5-vl-3b"))


def update7b(job: Job) -> None:
    """The same on the shape of Qwen2.5-VL-7B, one copy of the weights for both trainers."""
    _benchmark(job, "bfloat16", "packed_update", *_sized(job, "qwen2.5-vl-7b"), "--one-copy")
    _benchmark(job, "float32_two_layers", "packed_update", *_cut(job, "qwen2.5-vl-7b"), "--one-copy")


def step3b(job: Job) -> None:
    """A whole step, rollouts and update, against TRL's on the shape of Qwen2.5-VL-3B."""
    more = () if job.rehearse else ("--repeat", "2")
    _benchmark(job, "bfloat16", "grpo_step", *_sized(job, "qwen2.5-vl-3b"), "--one-copy", *more)


def _sized(job: Job, shape: str) -> list[str]:
    """The arguments of a benchmark at full size, in bfloat16."""
    return _arguments(job, shape, prompt=4000, completion=256, repeat=3, dtype="bfloat16")


def _cut(job: Job, shape: str) -> list[str]:
    """Those of two layers in float32, whose gradients must agree to 1e-5."""
    cut = [] if job.rehearse else ["--cut", "2"]
    return [*_arguments(job, shape, prompt=1500, completion=128, repeat=2, dtype="float32"), *cut, "--no-memory"]


def _arguments(job: Job, shape: str, **sizes: Any) -> list[str]:
    more = []
    if job.rehearse:
        sizes = {"prompt": 150, "completion": 12, "group": 4, "repeat": 1, "dtype": "float32"}
        more = ["--shrunk", "--no-memory"]
    return [
        "--shape",
        shape,
        "--checkpointing",
        *(part for k, v in sizes.items() for part in (f"--{k}", str(v))),
        *more,
    ]


def _benchmark(job: Job, name: str, script: str, *arguments: str) -> None:
    """The result of a benchmark under ``name``; what it prints is kept if it fails."""
    out = job.folder / f"{name}.json"
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *arguments, "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, flush=True)
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-TAIL:]
        job.report.add(**{name: {"failed": done.returncode, "output": lines}})
        raise RuntimeError(f"{script} ended with {done.returncode}: {lines[-1] if lines else 'no output'}")
    job.report.add(**{name: json.loads(out.read_text())})


def evaluate7b(job: Job) -> None:
    """32 samples by the local engine against one call of ``generate`` for each of the first ones."""
    from gpu_evaluation import measure

    measure(job.folder, job.rehearse, job.report.add)


def study_seed(job: Job) -> None:
    """One seed of the study's SFT arm on mirg-tiny, trained and evaluated on the device."""
    toy = ("train_samples=24", "rl_samples=8", "per_cell=1", "sft_steps=2", "rl_answers=0", "batch_size=8")
    settings = ["seeds=[0]", "arms=[sft]", "dtype=float32", *(toy if job.rehearse else ())]
    out = job.folder / "study"
    command = [sys.executable, "-m", "research.study", "--out", str(out)]
    subprocess.run([*command, *(part for text in settings for part in ("-s", text))], check=True)
    found = json.loads((out / "study.json").read_text())
    job.report.add(overrides=settings, arms=found["arms"])


@dataclass(frozen=True)
class Part:
    """A function of this file, and whether it runs without being named."""

    run: Callable[[Job], None]
    optional: bool = False


# The most important first: a machine may be taken away at any time.
PARTS = {
    "environment": Part(environment),
    "grpo7b": Part(grpo7b),
    "sft7b": Part(sft7b),
    "update7b": Part(update7b),
    "update3b": Part(update3b),
    "step3b": Part(step3b),
    "evaluate7b": Part(evaluate7b),
    "qwen3vl8b": Part(qwen3vl8b),
    "study_seed": Part(study_seed, optional=True),
}


def main() -> int:
    """Run the parts; the exit status is 1 if one of them failed or was not started."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--part", nargs="+", action="extend", choices=list(PARTS), metavar="NAME", help=", ".join(PARTS)
    )
    parser.add_argument("--rehearse", action="store_true", help="shrunk models on a CPU: nothing is measured")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all parts; the rest is not started")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # the process of one part
    given = parser.parse_args()
    if not given.rehearse and not _gpu():
        parser.exit(2, "no GPU is available: nothing can be measured; --rehearse runs the same code on this CPU\n")
    given.out.mkdir(parents=True, exist_ok=True)
    names = given.part or [name for name, part in PARTS.items() if given.rehearse or not part.optional]
    if given.here:
        return _run_here(names[0], given.out, given.rehearse)
    deadline = time.monotonic() + given.seconds
    failed = [name for name in names if not _run(name, given.out, given.rehearse, deadline)]
    print(
        f"{len(names) - len(failed)} of {len(names)} parts done" + (f"; not done: {' '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _run(name: str, out: Path, rehearse: bool, deadline: float) -> bool:
    """Run one part in a separate process; False if it failed, ran out of time, or was not started."""
    limit = min(LIMIT, deadline - time.monotonic())
    if limit < LEAST and not rehearse:
        print(f"{name}: not started, {limit:.0f} s are left", flush=True)
        return False
    began = time.monotonic()
    command = [sys.executable, str(Path(__file__).resolve()), str(out), "--part", name, "--here"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, *(["--rehearse"] if rehearse else [])],
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT, env=_environment(),
        )  # fmt: skip
        try:
            status = process.wait(None if rehearse else limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        log.seek(0)
        lines = log.read().splitlines()[-TAIL:]
    seconds = time.monotonic() - began
    found = _read(out / f"{name}.json")
    if status and "error" not in found:
        why = f"stopped after {seconds:.0f} s" if status == -signal.SIGKILL else f"exit status {status}"
        known = found or {"part": name, "rehearsal": rehearse}
        Report(out / f"{name}.json", **known).add(error=why, output=lines)
    print(f"{name}: {'ok' if not status else 'failed'} in {seconds:.0f} s", flush=True)
    if status:
        print("\n".join(f"    {line}" for line in lines[-8:]), flush=True)
    return not status


def _environment() -> dict[str, str]:
    paths = [str(ROOT / "src"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1"}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _run_here(name: str, out: Path, rehearse: bool) -> int:
    """Run one part in this process and write its JSON file."""
    sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tools")]
    from case import versions

    report = Report(
        out / f"{name}.json", part=name, rehearsal=rehearse, date=datetime.now(UTC).date().isoformat(),
        command=f"python tools/gpu_proof.py OUT --part {name}", versions=versions(),
    )  # fmt: skip
    report.add()
    try:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name].run(Job(rehearse, Path(folder), report))
    except Exception:
        traceback.print_exc()
        report.add(error=traceback.format_exc().splitlines()[-TAIL:])
        return 1
    report.add(done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
