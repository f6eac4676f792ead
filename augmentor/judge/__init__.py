"""The judge.

A classifier of real images, its calibration and thresholds, the gate, and the measured target accuracy of a
model.
"""

from augmentor.judge.asked import JudgeRequest, judge_manifest
from augmentor.judge.classifier import Judge, LabelledImages, train_judge
from augmentor.judge.gating import Demands, GateMode, Judging, find_judging
from augmentor.judge.judgement import Judgement, Judges, Shown
from augmentor.judge.limits import Limits
from augmentor.judge.measures import balanced_accuracy, rarity_weights, share_right
from augmentor.judge.obedience import Level, Obedience, read_obedience
from augmentor.judge.runs import judge_model, judge_run
from augmentor.judge.stored import KeptJudge, open_judge
from augmentor.judge.thresholds import Thresholds
from augmentor.judge.translations import Verdict, asked_for, judge_translations, read_images, requested

__all__ = [
    "Demands",
    "GateMode",
    "Judge",
    "JudgeRequest",
    "Judgement",
    "Judges",
    "Judging",
    "KeptJudge",
    "LabelledImages",
    "Level",
    "Limits",
    "Obedience",
    "Shown",
    "Thresholds",
    "Verdict",
    "asked_for",
    "balanced_accuracy",
    "find_judging",
    "judge_manifest",
    "judge_model",
    "judge_run",
    "judge_translations",
    "open_judge",
    "rarity_weights",
    "read_images",
    "read_obedience",
    "requested",
    "share_right",
    "train_judge",
]
