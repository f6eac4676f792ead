"""The HTML report of an output, its data set card, and its description in Croissant."""

from augmentor.report.page import report_path, write_report

__all__ = ["report_path", "write_report"]
