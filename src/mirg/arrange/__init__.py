"""Datasets made of datasets: split without leaks, mixed by weight, filtered."""
