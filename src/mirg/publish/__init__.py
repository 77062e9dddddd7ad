"""What leaves this machine: model cards, and pushing models and datasets to a hub."""
