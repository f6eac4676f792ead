"""The preview grid, the HTML page over an output, and its data set card."""

from augmentor.images.preview_grid import (
    MOST_COLUMNS,
    PREVIEW_CELL,
    Assignment,
    Shown,
    preview_columns,
    preview_grid,
    read_spread,
    write_grid,
)
from augmentor.report.page import report_path, write_report

__all__ = [
    "MOST_COLUMNS",
    "PREVIEW_CELL",
    "Assignment",
    "Shown",
    "preview_columns",
    "preview_grid",
    "read_spread",
    "report_path",
    "write_grid",
    "write_report",
]
