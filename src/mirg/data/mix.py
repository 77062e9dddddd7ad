"""``mirg data mix``: a mixture written as a dataset of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirg.data.mixture import Mixture, Weight
from mirg.data.output import add_carried, refuse_overwriting_inputs, write_rejections
from mirg.errors import ConfigError, DataError
from mirg.samples import Carrier, DatasetFolder, DatasetWriter, Rejection


@dataclass
class MixReport:
    """What was written: samples by dataset, how many of them are repetitions, and what was rejected."""

    n_samples: int = 0
    n_again: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    drawn: Counter[str] = field(default_factory=Counter)
    rejections: list[Rejection] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        datasets = {name: {"rows": size, "samples": self.drawn[name]} for name, size in self.sizes.items()}
        return {
            "samples": self.n_samples,
            "repeated": self.n_again,
            "datasets": datasets,
            "rejected": len(self.rejections),
            "rejections": [row.model_dump() for row in self.rejections],
        }


def write_mix(
    parts: Mapping[str, tuple[DatasetFolder, Weight]],
    out: str | Path,
    n: int | None = None,
    *,
    seed: int = 0,
    epoch: int = 0,
    copy: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> MixReport:
    """Write the first ``n`` samples of the mixture (by default as many as there are rows) to ``out``, in its order.

    Images are referred to where they are, or copied. A position whose image cannot be copied is rejected and left
    out; the others stay where they are in the order. Raises ConfigError, or DataError where nothing is written.
    """
    out = Path(out)
    folders = [folder for folder, _ in parts.values()]
    refuse_overwriting_inputs(out, folders, copy=copy)
    if n is not None and n < 1:
        raise ConfigError(f"--n {n}: a mixture has at least one sample")
    report = MixReport()
    with Mixture(parts, seed=seed, epoch=epoch, on_reject=report.rejections.append) as mixture:
        report.sizes = dict(zip(mixture.names, mixture.sizes, strict=True))
        total = n or sum(mixture.sizes)
        with _writer(out, parts, seed, epoch, overwrite) as writer:
            carriers = [Carrier(folder, writer, "all" if copy else "none") for folder in folders]
            for position in range(total):
                _add(mixture, position, writer, carriers, report)
                if on_progress:
                    on_progress(position + 1, total)
            if not report.n_samples:
                first = f"; first: {report.rejections[0]}" if report.rejections else ""
                raise DataError(f"no sample of the mixture can be written{first}")
    write_rejections(out, report.rejections)
    return report


def _add(mixture: Mixture, position: int, writer: DatasetWriter, carriers: list[Carrier], report: MixReport) -> None:
    mixed = mixture[position]
    name, k = mixed.sample.id, 1
    while writer.has(name):  # a dataset may have an id that looks like one of ours
        name, k = f"{mixed.sample.id}~{k}", k + 1
    sample = mixed.sample.model_copy(update={"id": name})
    if add_carried(writer, carriers[mixed.dataset], sample, mixed.line, report.rejections):
        report.n_samples += 1
        report.n_again += mixed.again > 0
        report.drawn[mixture.names[mixed.dataset]] += 1


def _writer(
    out: Path, parts: Mapping[str, tuple[DatasetFolder, Weight]], seed: int, epoch: int, overwrite: bool
) -> DatasetWriter:
    words = ", ".join(f"{name} {weight}" for name, (_, weight) in parts.items())
    licenses = sorted({folder.card.license for folder, _ in parts.values()} - {""})
    return DatasetWriter(
        out,
        name=out.name or "mix",
        description=f"A mixture by weight: {words}; epoch {epoch}.",
        created_by=f"mirg data mix {' '.join(f'{name}={weight}' for name, (_, weight) in parts.items())}",
        seed=seed,
        license=" / ".join(licenses),
        overwrite=overwrite,
    )
