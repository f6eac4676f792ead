"""Evaluation: classifiers trained with and without the translations, compared on the real test split."""

from augmentor.evaluation.result import ArmResult, Distances, Evaluation, GroupResult, Interval
from augmentor.evaluation.run import EvaluateSettings, evaluate

__all__ = ["ArmResult", "Distances", "EvaluateSettings", "Evaluation", "GroupResult", "Interval", "evaluate"]
