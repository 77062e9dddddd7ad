"""The procedural world: an unlimited number of scenes with exact boxes (``docs/concepts/scenes.md``)."""

from __future__ import annotations
