"""The procedural world: exact boxes, both annotation levels, no end of samples (``docs/concepts/scenes.md``)."""

from __future__ import annotations
