"""Training: SFT on trajectories, and image-aware GRPO."""

from __future__ import annotations

import logging
import os


def quiet_libraries() -> None:
    """Keep the progress bars and advice of the libraries out of a run's log; their warnings and errors stay."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Torch's threads wait for each other actively, and stall when another program takes one of few cores; not waiting
    # actively at all made a step 1.7 times slower. So: a short active wait. Read when torch is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    import datasets
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    for name in ("accelerate", "httpx", "trl"):
        logging.getLogger(name).setLevel(logging.ERROR)
