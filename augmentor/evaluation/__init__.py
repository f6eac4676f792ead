"""Evaluation: classifiers trained with and without the translations, compared on the real test split."""

from augmentor.evaluation.distances import Distances
from augmentor.evaluation.metrics import Interval
from augmentor.evaluation.result import ArmResult, Evaluation
from augmentor.evaluation.run import EvaluateSettings, Told, evaluate

__all__ = ["ArmResult", "Distances", "EvaluateSettings", "Evaluation", "Interval", "Told", "evaluate"]
