"""Loading the engine of a model by its name."""

from __future__ import annotations

from mirg.engines.base import Engine
from mirg.frames import PixelLimits


def load_engine(
    model: str,
    *,
    family: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    limits: PixelLimits | None = None,
) -> Engine:
    """The engine for a model folder, a run folder or a hub name. EngineError if it cannot be loaded."""
    from mirg.engines.transformers import TransformersEngine
    from mirg.models.load import load_model

    return TransformersEngine(load_model(model, family_name=family, device=device, dtype=dtype, limits=limits))
