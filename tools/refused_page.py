"""Write docs/how-to/refused.md, the page "What is refused, and why", from the table of reasons.

    python tools/refused_page.py

A test compares the page with what this writes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mirg.data.importers.match_refusals import Reason, reasons

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "how-to" / "refused.md"
HEAD = """\
# What is refused, and why

<!-- Written by tools/refused_page.py from src/mirg/data/importers/refusals.yaml: change the table there. -->

A row is accepted only if its images and boxes follow from what it says. If a row names an image or uses a frame that
was not understood, it is refused: a sample that silently points to the wrong image or the wrong box would do more harm
than a sample that is missing. Nothing is repaired by a guess.

`mirg data import` and `mirg data check` count every row: rows read = accepted + rejected. A row can hold questions or
objects of which some are used and others are not; each refusal of these has its own entry. `rejected.jsonl` in the
folder that an import writes lists them, one JSON object per line:

| field | meaning |
|---|---|
| `file`, `row` | the file, and the number of the row in it, from 1 |
| `id` | the id of the sample, if it is known |
| `field` | the field of the row that is the cause, for example `images.1` or `answer` |
| `reason` | one of the texts below |
| `hint` | what to do about this case |

`mirg data import --json` counts the refusals by their text under `reasons`. In the tables, `…` marks the part
that differs from row to row: a number, a name, a box.
"""
FILES = """
The following reasons stop an import before a dataset is written, because they concern all of its rows.
"""


def page() -> str:
    """The text of the page."""
    rows = "".join(section(title, group) for title, group in reasons("rows").items())
    files = "".join(section(title, group, FILES) for title, group in reasons("files").items())
    return HEAD + rows + files


def section(title: str, group: list[Reason], about: str = "") -> str:
    """One group as a table."""
    head = f"\n## {title}\n{about}\n| the report says | why it is refused | what to do |\n|---|---|---|\n"
    return head + "".join(
        f"| {_says(reason)} | {_cell(reason.meaning)} | {_cell(reason.remedy)} |\n" for reason in group
    )


def _says(reason: Reason) -> str:
    return "<br>".join(f"`{_cell(text)}`" for text in reason.says)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
