"""One of the benchmarks at several group sizes and prompt lengths, beside what counting work predicts."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from case import command

HERE = Path(__file__).parent
CASES = [(8, 1500), (4, 1500), (16, 1500), (8, 300), (8, 4000)]  # (group, prompt); the first is the headline
QUICK = [(4, 300)]


def measure(script: str, group: int, prompt: int, more: list[str]) -> dict[str, Any]:
    """The result of ``script`` in a separate process, so that no case inherits the memory of another."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        case = ["--group", str(group), "--prompt", str(prompt), "--json", str(out), *more]
        subprocess.run([sys.executable, str(HERE / f"{script}.py"), *case], check=True)
        return json.loads(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("script", choices=["packed_update", "grpo_step"])
    parser.add_argument("--quick", action="store_true", help="one small case, once")
    parser.add_argument("--json", type=Path, default=None)
    told, more = parser.parse_known_args()
    if told.quick:
        more += ["--completion", "32", "--repeat", "1", "--width", "128", "--layers", "2"]
    results = []
    for group, prompt in QUICK if told.quick else CASES:
        result = measure(told.script, group, prompt, more)
        results.append(result)
        tokens, flops = result["tokens"]["ratio"], result["flops"]["theirs"] / result["flops"]["ours"]
        case = f"G = {group}, P = {result['prompt_tokens']}"
        print(f"{case}: {result['ratio']:.2f}x; predicted by tokens {tokens:.2f}, by FLOPs {flops:.2f}", flush=True)
        if told.json:
            summary = results[0] | {"cases": results, "command": command()}
            told.json.write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
