"""Evaluation: classifiers trained with and without the translations, compared on the real test split."""

from augmentor.evaluation.arms import DEFAULT_ARMS, TITLES
from augmentor.evaluation.metrics import Cell, TestSet
from augmentor.evaluation.plan import EvaluationPlan, plan_evaluation
from augmentor.evaluation.result import ArmResult, Distances, Evaluation, GroupResult, Interval
from augmentor.evaluation.run import evaluate
from augmentor.evaluation.settings import EvaluateSettings
from augmentor.evaluation.simulation import SimulatedTest, Spread
from augmentor.evaluation.verdict import word_of

__all__ = [
    "DEFAULT_ARMS",
    "TITLES",
    "ArmResult",
    "Cell",
    "Distances",
    "EvaluateSettings",
    "Evaluation",
    "EvaluationPlan",
    "GroupResult",
    "Interval",
    "SimulatedTest",
    "Spread",
    "TestSet",
    "evaluate",
    "plan_evaluation",
    "word_of",
]
