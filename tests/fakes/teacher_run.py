"""A teacher's run as a process that can be killed: ``python -m fakes.teacher_run DATASET LEDGER URL SETTINGS-JSON``."""

from __future__ import annotations

import json
import sys

from fakes import teacher
from mirg.samples import DatasetFolder
from mirg.trajectories.teacher.ledger import Ledger
from mirg.trajectories.teacher.run import ask_teacher


def main() -> None:
    dataset, path, url, more = sys.argv[1:]
    with Ledger(path) as ledger:
        found = ask_teacher(DatasetFolder.open(dataset), teacher.recipe(url, **json.loads(more)), ledger)
    sys.stdout.write(f"missing {found.missing}\n")


if __name__ == "__main__":
    main()
