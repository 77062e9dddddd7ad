"""Measuring a model: records of every sample, metrics with intervals, chance levels, comparisons, public benchmarks.

Nothing here imports torch: an engine is passed in. How each number is defined: ``docs/concepts/metrics.md``.
"""
