"""A judge is made of real images, kept beside its model, and says whether the model obeys."""

from augmentor.judging.limits import Clock, JudgingStopped, Limits
from augmentor.judging.making import Made, make_judge
from augmentor.judging.measuring import measure_obedience, obedience_of
from augmentor.judging.reading import Looks
from augmentor.judging.runs import ASKED_SECONDS, judge_model, judge_run, keep_judge, model_looks

__all__ = [
    "ASKED_SECONDS",
    "Clock",
    "JudgingStopped",
    "Limits",
    "Looks",
    "Made",
    "judge_model",
    "judge_run",
    "keep_judge",
    "make_judge",
    "measure_obedience",
    "model_looks",
    "obedience_of",
]
