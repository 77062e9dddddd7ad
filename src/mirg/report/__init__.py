"""The report of a run: one HTML file with tables, curves and a gallery; and boxes drawn on images.

Nothing here knows evaluation or training: pages are built from the plain dataclasses of ``report.data``
(``evaluation.pages`` fills them from a run folder).
"""

from mirg.report.data import (
    Chart,
    Column,
    Example,
    Examples,
    Fact,
    Failures,
    GalleryItem,
    Group,
    GroupChart,
    Histogram,
    Interval,
    Mark,
    Matrix,
    Outcomes,
    PartLine,
    Picture,
    ReportData,
    ResultTable,
    Section,
    Series,
    Stage,
    TableRow,
    TaskRow,
    TaskTable,
)
from mirg.report.page import write_report

__all__ = [
    "Chart",
    "Column",
    "Example",
    "Examples",
    "Fact",
    "Failures",
    "GalleryItem",
    "Group",
    "GroupChart",
    "Histogram",
    "Interval",
    "Mark",
    "Matrix",
    "Outcomes",
    "PartLine",
    "Picture",
    "ReportData",
    "ResultTable",
    "Section",
    "Series",
    "Stage",
    "TableRow",
    "TaskRow",
    "TaskTable",
    "write_report",
]
