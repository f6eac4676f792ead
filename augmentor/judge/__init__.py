"""The judge: a classifier of real images, its calibration, thresholds and gate; measures of translations."""

from augmentor.judge.cheap_methods import cheap_translations, true_pairs
from augmentor.judge.checkpoint_score import AttributeScore, ScoreSample, TranslationScore
from augmentor.judge.classifier import (
    BATCH_SIZES,
    Judge,
    NetworkKind,
    kind_for,
    likeliest,
    read_resnet18,
    train_judge,
)
from augmentor.judge.data import InputSettings, LabelledImages, judge_split, rarity_weights, read_images
from augmentor.judge.distances import (
    TORCHMETRICS,
    DomainDistance,
    DomainDistances,
    FeatureDistance,
    FeatureSet,
    domain_distances,
    frechet_and_kernel,
    mean_known,
)
from augmentor.judge.gate import DeviceJudge, Judgement, RejectedThumbnails
from augmentor.judge.limits import JudgingStopped, Limits
from augmentor.judge.measures import (
    TargetShares,
    TruthError,
    change_outside,
    changed_attributes,
    detail_ratio,
    errors_by_change,
    hue_introduced,
    kinds_of_change,
    mask_share,
    mean_differences,
    target_shares,
)
from augmentor.judge.report import AttributeAccuracy, JudgeReport, balanced_accuracy, share_right
from augmentor.judge.run import JudgeRequest, judge_manifest, judge_model, judge_of_training, judge_run
from augmentor.judge.stored import KeptJudge, open_judge
from augmentor.judge.target_accuracy import AttributeTargetAccuracy, Level, TargetAccuracy, read_target_accuracy
from augmentor.judge.thresholds import Offers, Thresholds
from augmentor.judge.translation_judge import (
    GateMode,
    GateSettings,
    TranslationJudge,
    Unchecked,
    find_translation_judge,
)
from augmentor.judge.translations import (
    TranslationAccuracy,
    changed_targets,
    judge_translations,
    requested_targets,
)

__all__ = [
    "BATCH_SIZES",
    "TORCHMETRICS",
    "AttributeAccuracy",
    "AttributeScore",
    "AttributeTargetAccuracy",
    "DeviceJudge",
    "DomainDistance",
    "DomainDistances",
    "FeatureDistance",
    "FeatureSet",
    "GateMode",
    "GateSettings",
    "InputSettings",
    "Judge",
    "JudgeReport",
    "JudgeRequest",
    "Judgement",
    "JudgingStopped",
    "KeptJudge",
    "LabelledImages",
    "Level",
    "Limits",
    "NetworkKind",
    "Offers",
    "RejectedThumbnails",
    "ScoreSample",
    "TargetAccuracy",
    "TargetShares",
    "Thresholds",
    "TranslationAccuracy",
    "TranslationJudge",
    "TranslationScore",
    "TruthError",
    "Unchecked",
    "balanced_accuracy",
    "change_outside",
    "changed_attributes",
    "changed_targets",
    "cheap_translations",
    "detail_ratio",
    "domain_distances",
    "errors_by_change",
    "find_translation_judge",
    "frechet_and_kernel",
    "hue_introduced",
    "judge_manifest",
    "judge_model",
    "judge_of_training",
    "judge_run",
    "judge_split",
    "judge_translations",
    "kind_for",
    "kinds_of_change",
    "likeliest",
    "mask_share",
    "mean_differences",
    "mean_known",
    "open_judge",
    "rarity_weights",
    "read_images",
    "read_resnet18",
    "read_target_accuracy",
    "requested_targets",
    "share_right",
    "target_shares",
    "train_judge",
    "true_pairs",
]
