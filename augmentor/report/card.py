"""The data set card: README.md as Hugging Face shows it, and croissant.json."""

from __future__ import annotations

from augmentor.report.evaluation import EvaluationView
from augmentor.report.output import Output
from augmentor.report.survey import Survey


def write_card(output: Output, found: Survey, evaluation: EvaluationView | None) -> None:
    """Write the card."""
    del output, found, evaluation
