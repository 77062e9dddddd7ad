"""Multi-image reasoning and grounding: trajectories, SFT, image-aware GRPO and evaluation.

Importing this package is cheap: nothing here imports torch (see ``docs/design/0001-layout.md``).
"""

__version__ = "0.1.0"
