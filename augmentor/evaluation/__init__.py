"""Evaluation: classifiers trained with and without the translations, compared on the real test split."""

from augmentor.evaluation.distances import Distances, Pair
from augmentor.evaluation.metrics import Interval
from augmentor.evaluation.result import (
    ArmDifference,
    ArmResult,
    Evaluation,
    EvaluationVerdict,
    GroupResult,
    Measure,
    Outcome,
)
from augmentor.evaluation.run import EvaluateSettings, Told, evaluate

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
    "Told",
    "evaluate",
]
