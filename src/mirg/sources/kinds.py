"""The formats that can be imported; a new one is one file plus one line here."""

from __future__ import annotations

from mirg.sources import coco, migbench
from mirg.sources.raw import Source

SOURCES: dict[str, Source] = {source.kind: source for source in (coco.SOURCE, migbench.SOURCE, migbench.REVISED)}
