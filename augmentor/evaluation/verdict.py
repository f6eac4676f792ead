"""Results of each arm and group, the verdict with its intervals, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from augmentor.evaluation.arms import BASELINES, TITLES, TrainingArm, main_arm
from augmentor.evaluation.cache import Predictions
from augmentor.evaluation.data import EvaluationData
from augmentor.evaluation.metrics import ArmMetrics, LabelGroup, TestSet, difference, surely_below
from augmentor.evaluation.result import (
    ArmDifference,
    ArmResult,
    Distances,
    Evaluation,
    EvaluationVerdict,
    GroupResult,
    Interval,
    Measure,
    Outcome,
    SeedResult,
    WorstGroup,
)
from augmentor.storage import Json
from stargan.labels import LabelSpace

LEAST_UNITS = 5
"""Test units (subjects, or single images) below which there is no verdict."""

_WIDE = 0.05
_COPIES = 0.1
_FEW_SEEDS = 5

_MEASURES: Mapping[Measure, str] = {"worst_group": "worst", "balanced": "balanced"}
_NAMES: Mapping[Measure, str] = {"worst_group": "worst-group accuracy", "balanced": "balanced accuracy"}

SAME: Outcome = "no difference seen"

_OPENINGS: Mapping[Outcome, str] = {
    "helps": "The synthetic images help",
    "no difference seen": "No difference seen",
    "hurts": "The synthetic images hurt",
    "mixed": "The synthetic images help by one measure and hurt by the other",
}


def conclude(
    main: str,
    measured: Mapping[str, ArmMetrics],
    *,
    results: Sequence[ArmResult],
    sweep: Sequence[ArmResult],
    distances: Distances,
    units: int,
    seeds: int,
) -> EvaluationVerdict:
    """Compare the output's arm with what needs no generator.

    It helps by a measure only if it is above both baselines with an interval that excludes 0, so that the choice
    of the better one cannot make it look good; it hurts if it is below the better one, more surely than a single
    comparison asks for, so that this choice cannot make it look bad either.

    `measured` and `results` hold every arm but the sweep's; `units` and `seeds` are numbers of test units and of
    classifiers of each arm.
    """
    enough = units >= LEAST_UNITS
    ours = measured[main]
    differences, against, words = list[ArmDifference](), dict[Measure, str](), dict[Measure, Outcome]()
    for measure, name in _MEASURES.items():
        found = {other: difference(name, ours, arm) for other, arm in measured.items() if other != main}
        if math.isnan(found[BASELINES[0]].value):
            continue
        differences += [
            ArmDifference(measure=measure, against=other, difference=each, word=_word(each) if enough else SAME)
            for other, each in found.items()
        ]
        against[measure] = min(BASELINES, key=lambda other, found=found: found[other].value)  # type: ignore[misc]
        if not enough:
            continue
        if all(found[other].low > 0 for other in BASELINES):
            words[measure] = "helps"
        elif surely_below(name, ours, measured[against[measure]], chances=len(BASELINES)):
            words[measure] = "hurts"
    word = _joined(words.values())
    intervals = {(each.measure, each.against): each.difference for each in differences}
    parts = [
        f"{_NAMES[measure]} {_points(intervals[measure, other])} against {TITLES[other]!r}"
        for measure, other in against.items()
    ]
    verdict = EvaluationVerdict(
        word=word,
        arm=main,
        against=against,
        sentence=f"{_OPENINGS[word]}: {'; '.join(parts)}. Points of per cent, with 95 % intervals.",
        following=(),
        differences=differences,
    )
    advice = _advice(verdict, results=results, sweep=sweep, distances=distances, units=units, seeds=seeds)
    return replace(verdict, following=list(advice))


def _word(each: Interval) -> Outcome:
    return "helps" if each.low > 0 else "hurts" if each.high < 0 else SAME


def _joined(words: Iterable[Outcome]) -> Outcome:
    found = set(words) - {SAME}
    if len(found) > 1:
        return "mixed"
    return found.pop() if found else SAME


def _points(each: Interval) -> str:
    return f"{100 * each.value:+.1f} [{100 * each.low:+.1f}, {100 * each.high:+.1f}]"


def _advice(
    verdict: EvaluationVerdict,
    *,
    results: Sequence[ArmResult],
    sweep: Sequence[ArmResult],
    distances: Distances,
    units: int,
    seeds: int,
) -> Iterable[str]:
    """Yield what to do next, the most useful first."""
    word, against = verdict.word, verdict.against
    intervals = {(each.measure, each.against): each.difference for each in verdict.differences}
    if units < LEAST_UNITS:
        yield (
            f"The test split has {units} independent units (subjects, or images without a group): too few for any "
            "verdict. Put more subjects into test."
        )
    unsure = [
        TITLES[other]
        for (measure, other), each in intervals.items()
        if against.get(measure) == other and _word(each) != SAME
    ]
    if word == SAME and unsure and units >= LEAST_UNITS:
        yield (
            f"The interval against {unsure[0]!r} leaves out 0, but not surely enough for a verdict: it is one of "
            f"several comparisons. --seeds {max(_FEW_SEEDS, 2 * seeds)} would tell."
        )
    if word == "helps":
        yield "Train on the output as it is: labels.csv lists real and synthetic images together."
    arms = {arm.name: arm for arm in results}
    own = arms[verdict.arm]
    known = [arm for arm in (own, *sweep) if arm.validation is not None]
    best = max(known, key=lambda arm: arm.validation or 0.0, default=own)
    if best is not own and best.ratio is not None and own.ratio is not None:
        yield (
            f"On the val images {best.ratio:g} synthetic images for each real one do best "
            f"({_share(best.validation)}; the output as it is, with {own.ratio:.2g}, reaches "
            f"{_share(own.validation)}): draw them so when you train."
        )
    if word in ("hurts", "mixed") and ("balanced", "real") in intervals and intervals["balanced", "real"].low > 0:
        yield "Against real images alone it does help: it is the baselines without a generator that do better."
    weak = _weakest(arms)
    if word != "helps" and weak is not None:
        name, synthetic, real = weak
        yield (
            f"Trained on synthetic images alone, a classifier recognises {name} in {_share(synthetic)} of real "
            f"test images, against {_share(real)}: translations do not show it as real images do. Train the model "
            "for longer, or ask more of them (--min-agreement)."
        )
    if distances.copies > _COPIES:
        yield (
            f"{_share(distances.copies)} of the translations lie as close to a real training image as only 1 % of "
            "test images do: they add little that is new."
        )
    if distances.unchanged > _COPIES:
        yield f"{_share(distances.unchanged)} of the translations do not differ from their source: gate them out."
    widest = max((each.high - each.low) / 2 for (_, other), each in intervals.items() if other in BASELINES)
    if word == SAME and widest > _WIDE and units >= LEAST_UNITS:
        more = f"--seeds {max(_FEW_SEEDS, 2 * seeds)} and " if seeds < 2 * _FEW_SEEDS else ""
        yield (
            f"Differences below {100 * widest:.0f} points may go unseen here; {more}more test subjects show "
            "smaller ones."
        )
    elif word == SAME:
        yield "Real images, oversampled or augmented, do as well here: nothing is lost by leaving the rest out."


def _weakest(arms: Mapping[str, ArmResult]) -> tuple[str, float, float] | None:
    """Return the attribute that is furthest from its real accuracy when it is learnt from translations alone."""
    synthetic, real = arms["synthetic"].attributes, arms["real"].attributes
    gaps = {name: real[name].value - synthetic[name].value for name in synthetic}
    name = max(gaps, key=lambda name: gaps[name], default="")
    return (name, synthetic[name].value, real[name].value) if name and gaps[name] > _WIDE else None


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def summarize(
    data: EvaluationData,
    *,
    arms: Sequence[TrainingArm],
    sweep: Sequence[TrainingArm],
    predictions: Mapping[str, Sequence[Predictions]],
    seeds: int,
    distances: Distances,
    skipped: Mapping[str, str],
    settings: Mapping[str, Json],
) -> Evaluation:
    """Return the results of an evaluation; `skipped` says why an arm is not there."""
    space, changed = data.output.space, data.changed
    test = TestSet(data.test.codes.numpy(), data.test_units, counting=changed, space=space, seeds=seeds)
    val = TestSet(
        data.val.codes.numpy(),
        np.arange(len(data.val), dtype=np.intp),
        counting=changed,
        space=space,
        seeds=seeds,
    )
    measured = {arm.name: test.measure([each.test for each in predictions[arm.name]]) for arm in (*arms, *sweep)}
    names = [_group_name(group, changed, space) for group in test.groups]

    def result(arm: TrainingArm) -> ArmResult:
        some = len(data.val) > 0
        validation = val.measure([each.val for each in predictions[arm.name]]).balanced if some else math.nan
        return _arm_result(arm, measured[arm.name], names=names, validation=validation, space=space)

    results, swept = [result(arm) for arm in arms], [result(arm) for arm in sweep]
    return Evaluation(
        fingerprint=data.output.fingerprint,
        manifest=data.manifest.path.name,
        settings=settings,
        attributes=[space.names[a] for a in changed],
        counts={
            "train": len(data.train),
            "val": len(data.val),
            "test": len(data.test),
            "test_units": test.unit_count,
            "kept": len(data.kept),
            "rejected": len(data.rejected.rows),
            "unreadable": data.unreadable,
        },
        arms=results,
        skipped=skipped,
        sweep=swept,
        groups=[
            GroupResult(
                name=names[number],
                domain={space.names[a]: space.attributes[a].values[code] for a, code in _pairs(group, changed)},
                test_images=group.images,
                train_real=_count(data.train.codes, group, changed),
                train_synthetic=_count(data.kept.codes, group, changed),
                accuracy={arm.name: measured[arm.name].interval(f"group {number}") for arm in arms},
            )
            for number, group in enumerate(test.groups)
        ],
        verdict=conclude(
            main_arm(data),
            {arm.name: measured[arm.name] for arm in arms},
            results=results,
            sweep=swept,
            distances=distances,
            units=test.unit_count,
            seeds=seeds,
        ),
        distances=distances,
        notes=data.notes,
    )


def _arm_result(
    arm: TrainingArm, measured: ArmMetrics, *, names: Sequence[str], validation: float, space: LabelSpace
) -> ArmResult:
    shares = [pool.share for pool in arm.pools]
    worst = measured.worst_group
    return ArmResult(
        name=arm.name,
        title=arm.title,
        ratio=arm.ratio if arm.ratio is not None else _ratio(arm, shares),
        images=arm.images,
        balanced=measured.interval("balanced"),
        worst_group=WorstGroup(group=names[worst], accuracy=measured.interval("worst")) if worst >= 0 else None,
        attributes={
            name: measured.interval(f"attribute {a}")
            for a, name in enumerate(space.names)
            if not math.isnan(measured.attributes[a])
        },
        validation=None if math.isnan(validation) else validation,
        seeds=[
            SeedResult(seed=seed, balanced=balanced, worst_group=lowest)
            for seed, (balanced, lowest) in enumerate(measured.seeds)
        ],
    )


def _ratio(arm: TrainingArm, shares: Sequence[float]) -> float | None:
    if arm.name == "synthetic":
        return None
    return shares[1] / shares[0] if len(shares) > 1 else 0.0


def _pairs(group: LabelGroup, changed: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(changed, group.codes, strict=True))


def _group_name(group: LabelGroup, changed: Sequence[int], space: LabelSpace) -> str:
    return ", ".join(f"{space.names[a]}={space.attributes[a].values[code]}" for a, code in _pairs(group, changed))


def _count(codes: Tensor, group: LabelGroup, changed: Sequence[int]) -> int:
    shown: NDArray[np.integer] = codes[:, list(changed)].numpy()
    return int((shown == group.codes).all(axis=1).sum())
