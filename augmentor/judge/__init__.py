"""The judge: a classifier of real images, its calibration, thresholds and gate, and the target accuracy."""

from augmentor.judge.classifier import Judge, likeliest, train_classifier, train_judge
from augmentor.judge.data import LabelledImages, rarity_weights, read_images
from augmentor.judge.gate import DeviceJudge, Judgement, RejectedThumbnails
from augmentor.judge.limits import Limits
from augmentor.judge.report import AttributeAccuracy, JudgeReport, balanced_accuracy, share_right
from augmentor.judge.run import JudgeRequest, judge_manifest, judge_model, judge_run
from augmentor.judge.stored import KeptJudge, open_judge
from augmentor.judge.target_accuracy import AttributeTargetAccuracy, Level, TargetAccuracy, read_target_accuracy
from augmentor.judge.thresholds import Offers, Thresholds
from augmentor.judge.translation_judge import GateMode, GateSettings, TranslationJudge, find_translation_judge
from augmentor.judge.translations import (
    TranslationAccuracy,
    changed_targets,
    judge_translations,
    requested_targets,
)

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
    "likeliest",
    "open_judge",
    "rarity_weights",
    "read_images",
    "read_target_accuracy",
    "requested_targets",
    "share_right",
    "train_classifier",
    "train_judge",
]
