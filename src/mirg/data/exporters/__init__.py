"""Datasets in the formats that other trainers and tools read."""
