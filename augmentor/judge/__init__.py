"""The judge.

A classifier of real images, its calibration and thresholds, the gate, and the measured target accuracy of a
model.
"""

from augmentor.judge.asked import JudgeRequest, judge_manifest
from augmentor.judge.classifier import Judge, LabelledImages, train_judge
from augmentor.judge.gating import GateMode, GateSettings, TranslationJudge, find_translation_judge
from augmentor.judge.judgement import DeviceJudge, Judgement, RejectedThumbnails
from augmentor.judge.limits import Limits
from augmentor.judge.measures import balanced_accuracy, rarity_weights, share_right
from augmentor.judge.obedience import AttributeTargetAccuracy, Level, TargetAccuracy, read_target_accuracy
from augmentor.judge.report import AttributeAccuracy, JudgeReport
from augmentor.judge.runs import judge_model, judge_run
from augmentor.judge.stored import KeptJudge, open_judge
from augmentor.judge.thresholds import Thresholds
from augmentor.judge.translations import (
    TranslationAccuracy,
    changed_targets,
    judge_translations,
    read_images,
    requested_targets,
)
from augmentor.judge.yardstick import Offers

__all__ = [
    "AttributeAccuracy",
    "AttributeTargetAccuracy",
    "DeviceJudge",
    "GateMode",
    "GateSettings",
    "Judge",
    "JudgeReport",
    "JudgeRequest",
    "Judgement",
    "KeptJudge",
    "LabelledImages",
    "Level",
    "Limits",
    "Offers",
    "RejectedThumbnails",
    "TargetAccuracy",
    "Thresholds",
    "TranslationAccuracy",
    "TranslationJudge",
    "balanced_accuracy",
    "changed_targets",
    "find_translation_judge",
    "judge_manifest",
    "judge_model",
    "judge_run",
    "judge_translations",
    "open_judge",
    "rarity_weights",
    "read_images",
    "read_target_accuracy",
    "requested_targets",
    "share_right",
    "train_judge",
]
