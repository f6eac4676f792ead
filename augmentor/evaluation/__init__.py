"""Does it help? Classifiers of real images, with and without an output's translations, on the real test split."""

from augmentor.evaluation.result import Evaluation
from augmentor.evaluation.run import EvaluateSettings, Told, evaluate

__all__ = ["EvaluateSettings", "Evaluation", "Told", "evaluate"]
