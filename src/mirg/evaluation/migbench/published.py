"""Published results on MIG-Bench: Acc@0.5 in percent, in the order of ``PAPER_NAMES``, and the mean of the tasks.

The two versions have other labels and questions, so that their rows are never in one table.
"""

from __future__ import annotations

from typing import NamedTuple

from mirg.evaluation.migbench.official import Version


class Published(NamedTuple):
    """One row of a paper. ``tasks`` is empty if only the mean was published."""

    model: str
    tasks: tuple[float, ...]
    mean: float
    source: str


_MIGICIAN = "arXiv 2501.05767"
_UNIVG = "arXiv 2505.14231"
_THINKER = "MG-Thinker"

PUBLISHED: dict[Version, tuple[Published, ...]] = {
    "original": (
        Published("human", (99.50, 97.87, 98.00, 100.00, 96.88, 100.00, 98.99, 91.06, 92.08, 97.44), 97.18, _MIGICIAN),
        Published(
            "Qwen2-VL-72B", (46.12, 46.81, 64.46, 26.73, 22.57, 18.62, 33.33, 62.53, 50.50, 17.09), 38.88, _MIGICIAN
        ),
        Published(
            "InternVL2-76B", (15.91, 10.64, 36.40, 30.73, 20.83, 5.74, 46.46, 41.28, 32.67, 26.50), 26.72, _MIGICIAN
        ),
        Published(
            "Qwen2-VL-7B", (27.84, 38.30, 19.36, 20.73, 11.81, 25.95, 23.23, 58.52, 48.51, 11.97), 28.62, _MIGICIAN
        ),
        Published("InternVL2-8B", (6.92, 7.45, 25.49, 20.73, 9.72, 3.49, 28.28, 30.26, 17.82, 9.40), 15.96, _MIGICIAN),
        Published(
            "Migician (7B)", (65.15, 46.81, 84.19, 70.73, 60.07, 74.31, 76.77, 66.53, 59.41, 34.19), 63.82, _MIGICIAN
        ),
        Published("MIRG-RL (7B)", (), 64.82, "arXiv 2509.21788, abstract"),
    ),
    "revised": (
        Published("Qwen2-VL-7B", (29.92, 36.17, 43.07, 14.55, 9.38, 15.54, 29.29, 63.51, 44.33, 16.24), 30.20, _UNIVG),
        Published(
            "Qwen3-VL-8B", (29.36, 24.47, 58.83, 28.00, 17.36, 23.44, 33.33, 70.93, 32.99, 10.25), 32.90, _THINKER
        ),
        Published(
            "Migician (7B)", (70.64, 45.74, 72.76, 67.82, 60.07, 72.57, 75.76, 84.12, 52.58, 33.33), 63.54, _UNIVG
        ),
        Published(
            "UniVG-R1 (7B)", (71.97, 58.51, 93.13, 76.36, 66.32, 81.71, 82.83, 88.04, 62.89, 44.44), 72.64, _UNIVG
        ),
        Published(
            "MG-Thinker (7B)", (78.98, 62.77, 93.01, 82.55, 66.67, 88.78, 86.87, 88.25, 72.16, 47.01), 76.71, _THINKER
        ),
    ),
}
