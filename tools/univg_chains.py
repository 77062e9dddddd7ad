"""What the checks of trajectories say about chains that a 7B model wrote: UniVG-R1's stored answers to MIG-Bench.

``python tools/univg_chains.py`` verifies the responses in ../shared/data/mig_bench_revised (``--data``), prints a table
and keeps the counts under ``univg_r1`` in docs/results/verification.json. ``--show CHECK`` prints chains that this
check refuses although their answer is right; ``--dry`` keeps nothing.

The answers are adapted to mirg's grammar, which names the image of a box and cites the box in the reasoning: the image
is that of the question (for group grounding, whose question names none, that of the truth), and one sentence with the
box of the answer is added to the reasoning. The words of the chains are as the model wrote them.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from verification_quality import KEPT, RESULT, dumped

from mirg.answers.blocks import split
from mirg.data.importers.migbench import load_annotations
from mirg.evaluation.migbench.asking import sample_of
from mirg.evaluation.migbench.official import spelled_boxes
from mirg.families import QWEN3_VL
from mirg.samples import Sample
from mirg.storage import read_json, read_jsonl
from mirg.trajectories.checks import VerifyConfig, failures, verify
from mirg.trajectories.teacher.replies import read_reply

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mig_bench_revised"
WRONG_ANSWER = {"iou", "final_image_set"}  # what these refuse is no matter of wording


class Chain(NamedTuple):
    """One stored response, its sample, and the checks that refuse it with their reasons (``reply``: unreadable)."""

    sample: Sample
    response: str
    reasons: dict[str, str]


def adapted(response: str, sample: Sample) -> str:
    """The response in mirg's grammar; see above."""
    parts = split(response)
    boxes = spelled_boxes(parts.answer or "")
    if len(boxes) != 1:
        return response
    image = min(sample.target_images)
    x1, y1, x2, y2 = boxes[0]
    box = f"({x1},{y1}),({x2},{y2})"
    return f"<think>{parts.thinking} In Image-{image}, the box is {box}.</think><answer>Image-{image}: {box}</answer>"


def chains(data: Path) -> Iterator[Chain]:
    """Every stored response, verified."""
    items = load_annotations(data / "revised_MIG_bench.json", revised=True).items
    config = VerifyConfig(language="en")
    for _, row in read_jsonl(data / "responses_univg-r1.jsonl"):
        assert isinstance(row, dict)
        item = items[row["index"]]
        anywhere = dict.fromkeys(item.images, (1000, 1000))  # the 0-1000 frame does not depend on the size
        sample = sample_of("migbench-revised", (item,), {name: name for name in item.images}, anywhere)
        read = read_reply(adapted(row["response"], sample), sample, QWEN3_VL)
        reasons = {"reply": read} if isinstance(read, str) else failures(verify(sample, read, config=config))
        yield Chain(sample, row["response"], reasons)


def counted(found: list[Chain]) -> dict[str, Any]:
    """The rates, of all chains and of those whose answer is right."""
    right = [chain for chain in found if not chain.reasons.keys() & {*WRONG_ANSWER, "reply"}]
    refused = [chain for chain in right if chain.reasons]
    checks = Counter(check for chain in found for check in chain.reasons)
    of_right = Counter(check for chain in refused for check in chain.reasons)
    return {
        "n": len(found),
        "refused": sum(bool(chain.reasons) for chain in found),
        "refused_by": dict(checks.most_common()),
        "right_answers": len(right),
        "right_refused": len(refused),
        "right_refused_share": len(refused) / max(len(right), 1),
        "right_refused_by": dict(of_right.most_common()),
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--dry", action="store_true", help="write no file")
    parser.add_argument("--show", metavar="CHECK", help="print refused chains with a right answer")
    parser.add_argument("--most", type=int, default=60, help="of the chains to print")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of chains to print")
    chosen = parser.parse_args()
    if not chosen.data.is_dir():
        sys.exit(f"there is no folder {chosen.data}: name it with --data")
    found = list(chains(chosen.data))
    if chosen.show:
        rows = [c for c in found if chosen.show in c.reasons and not c.reasons.keys() & WRONG_ANSWER]
        for chain in random.Random(chosen.seed).sample(rows, min(chosen.most, len(rows))):
            print(f"{chain.sample.id} {chain.sample.question}\n{chain.response}\n--> {chain.reasons}\n")
        return
    counts = {"command": "python tools/univg_chains.py", **counted(found)}
    print(json.dumps(counts, indent=1))
    if not chosen.dry:
        kept: Any = read_json(RESULT)
        before = kept.get(KEPT, {}).get("before")  # the checks as they were when they first met these chains
        RESULT.write_text(dumped(kept | {KEPT: counts | {"before": before}}), encoding="utf-8")


if __name__ == "__main__":
    main()
