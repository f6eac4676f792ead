"""Evaluation: classifiers trained with and without the translations, compared on the real test split."""

from augmentor.evaluation.result import (
    ArmDifference,
    ArmResult,
    Distances,
    Evaluation,
    EvaluationVerdict,
    GroupResult,
    Interval,
    Measure,
    Outcome,
    Pair,
)
from augmentor.evaluation.run import EvaluateSettings, evaluate

__all__ = [
    "ArmDifference",
    "ArmResult",
    "Distances",
    "EvaluateSettings",
    "Evaluation",
    "EvaluationVerdict",
    "GroupResult",
    "Interval",
    "Measure",
    "Outcome",
    "Pair",
    "evaluate",
]
