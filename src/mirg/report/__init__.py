"""The pages of mirg, each one HTML file with tables, charts and images; and boxes drawn on images.

Nothing here depends on evaluation or training. Pages are built from plain dataclasses (``report.data``,
``report.pages``, ``report.sheet``), which the rooms that have something to show fill.
"""
