"""Checks of a dataset as a whole: texts, boxes, lengths, copies, and images that a benchmark holds too."""
