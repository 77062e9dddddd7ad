"""Training: perception (eyesight for a tiny model), SFT on trajectories, image-aware GRPO."""
