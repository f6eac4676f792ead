"""A judge is made of real images, kept beside its model, and says whether the model obeys."""

from augmentor.judging.asked import JudgeRequest, JudgeResult, judge_manifest
from augmentor.judging.limits import Clock, JudgingStopped, Limits
from augmentor.judging.making import Made, make_judge
from augmentor.judging.measuring import measure_obedience, obedience_of
from augmentor.judging.reading import Looks
from augmentor.judging.runs import ASKED_SECONDS, judge_model, judge_run, model_looks

__all__ = [
    "ASKED_SECONDS",
    "Clock",
    "JudgeRequest",
    "JudgeResult",
    "JudgingStopped",
    "Limits",
    "Looks",
    "Made",
    "judge_manifest",
    "judge_model",
    "judge_run",
    "make_judge",
    "measure_obedience",
    "model_looks",
    "obedience_of",
]
