"""Every image shows the object asked for and another; the question means the one in the image that shows that twice."""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.tasks.base import Draft
from mirg.data.scenes.tasks.companion import draft
from mirg.data.scenes.world import WorldConfig

QUESTIONS = (
    "Find the {name} in the image that shows the {mark} twice.",
    "Which image shows the {mark} twice? Point to its {name}.",
)


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task."""
    return draft(rng, config, QUESTIONS, here=2, elsewhere=1)
