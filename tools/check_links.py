"""Check that every relative link in Markdown, and every ``docs/…`` path named in a docstring, leads somewhere.

    python tools/check_links.py README.md docs src

Prints one line per dead link and exits with 1 if there is one. Nothing is fetched.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^(```|~~~).*?^\1\s*?$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"!?\[[^\]\n]*\]\(\s*<?([^)>\s]+)>?(?:\s+\"[^\"\n]*\")?\s*\)")
REFERENCE = re.compile(r"^\[[^\]\n]+\]:\s*<?(\S+?)>?\s*$", re.MULTILINE)
IMAGE_TAG = re.compile(r"<(?:img|source)[^>]*?\ssrc(?:set)?=\"([^\"]+)\"", re.IGNORECASE)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
IN_PYTHON = re.compile(r"\b(docs/[\w./-]+\.md)\b")
OUTSIDE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def anchors(text: str) -> set[str]:
    """The fragments that a Markdown page answers to: its headings, as GitHub spells them."""
    names: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", lambda m: m.group(1) or "", heading)
        names.add(re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-"))
    return names | set(re.findall(r"<a\s+(?:id|name)=\"([^\"]+)\"", text))


def dead_links(page: Path) -> Iterator[str]:
    """Every relative link of one Markdown page that leads nowhere."""
    text = page.read_text(encoding="utf-8")
    prose = FENCE.sub("", text)
    tags = IMAGE_TAG.findall(prose)
    prose = CODE.sub("``", prose)
    for link in [*LINK.findall(prose), *REFERENCE.findall(prose), *tags]:
        if OUTSIDE.match(link) or link.startswith("//"):
            continue
        name, _, fragment = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.is_relative_to(ROOT):
            yield f"{link}: leaves the repository"
        elif not target.exists():
            yield f"{link}: no such file"
        elif fragment and target.suffix == ".md" and fragment not in anchors(target.read_text(encoding="utf-8")):
            yield f"{link}: no such heading"


def dead_paths(module: Path) -> Iterator[str]:
    """Every page of the documentation that a Python file names and that does not exist."""
    for name in dict.fromkeys(IN_PYTHON.findall(module.read_text(encoding="utf-8"))):
        if not (ROOT / name).exists():
            yield f"{name}: no such file"


def problems(paths: list[Path]) -> Iterator[str]:
    """``file: link: reason`` for everything below ``paths``."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix not in {".md", ".py"} or not file.is_file():
                continue
            find = dead_links if file.suffix == ".md" else dead_paths
            yield from (f"{file.relative_to(ROOT)}: {problem}" for problem in find(file))


def main(arguments: list[str]) -> int:
    """Check the given files and folders; the exit status is 1 where a link is dead."""
    paths = [(ROOT / name).resolve() for name in arguments or ["README.md", "docs"]]
    missing = [path for path in paths if not path.exists()]
    found = [f"{path}: no such file" for path in missing] + list(problems([p for p in paths if p.exists()]))
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
