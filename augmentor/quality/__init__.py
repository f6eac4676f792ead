"""The judge: a classifier of real images, what it is worth, and the scores and the gate that it makes."""

from augmentor.quality.appraisal import appraise, with_realism
from augmentor.quality.calibration import calibration_error, fit_temperatures
from augmentor.quality.classifier import Judge, JudgeNetwork, LabelledImages, Seen, resnet, train_judge
from augmentor.quality.gate import Gate
from augmentor.quality.kept import KeptJudge, load_judge, open_judge, save_judge
from augmentor.quality.measures import balanced_accuracy, doubt, rarity_weights, recalls, rounded, share_right
from augmentor.quality.report import JudgedAttribute, JudgeReport
from augmentor.quality.scores import Scorer, Scores
from augmentor.quality.thresholds import Thresholds
from augmentor.quality.translations import (
    Translations,
    Verdict,
    asked_for,
    judge_translations,
    read_images,
    requested,
    translate_and_judge,
)
from augmentor.quality.yardstick import Offers, Yardstick

__all__ = [
    "Gate",
    "Judge",
    "JudgeNetwork",
    "JudgeReport",
    "JudgedAttribute",
    "KeptJudge",
    "LabelledImages",
    "Offers",
    "Scorer",
    "Scores",
    "Seen",
    "Thresholds",
    "Translations",
    "Verdict",
    "Yardstick",
    "appraise",
    "asked_for",
    "balanced_accuracy",
    "calibration_error",
    "doubt",
    "fit_temperatures",
    "judge_translations",
    "load_judge",
    "open_judge",
    "rarity_weights",
    "read_images",
    "recalls",
    "requested",
    "resnet",
    "rounded",
    "save_judge",
    "share_right",
    "train_judge",
    "translate_and_judge",
    "with_realism",
]
