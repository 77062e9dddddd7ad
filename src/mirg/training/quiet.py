"""Keep the libraries' progress bars and advice out of a run's log; their warnings and errors stay."""

from __future__ import annotations

import logging
import os


def quiet_libraries() -> None:
    """Turn off progress bars of transformers, datasets and the hub, and messages below warning."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads of torch that wait actively stall each other for seconds when another program takes one of few cores.
    # Read when torch is first imported; waiting passively costs some percent on an idle machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import datasets
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    for name in ("accelerate", "httpx", "trl"):
        logging.getLogger(name).setLevel(logging.ERROR)
