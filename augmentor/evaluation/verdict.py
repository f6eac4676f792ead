"""Results of each arm and group, the verdict with its intervals, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from augmentor.evaluation.arms import BASELINES, EVENED, TITLES, TrainingArm, judged_arm, main_arm
from augmentor.evaluation.cache import Predictions
from augmentor.evaluation.folds import TrainedFold
from augmentor.evaluation.metrics import (
    LEAST_UNITS,
    ArmMetrics,
    Cell,
    Figure,
    LabelGroup,
    TestSet,
    shows,
    surely_below,
)
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

_WIDE = 0.05
_COPIES = 0.1
_FEW_SEEDS = 5

_MEASURES: Mapping[Measure, str] = {"filled": "filled", "worst_group": "worst", "balanced": "balanced"}
"""By importance: the first that can be measured is primary."""

_NAMES: Mapping[Measure, str] = {
    "filled": "accuracy of the filled combinations",
    "worst_group": "worst-group accuracy",
    "balanced": "balanced accuracy",
}

SAME: Outcome = "no difference seen"

_OPENINGS: Mapping[Outcome, str] = {
    "helps": "The synthetic images help",
    "no difference seen": "No difference seen",
    "hurts": "The synthetic images hurt",
    "mixed": "The synthetic images help by the first measure and hurt by another",
}


def conclude(
    main: str,
    measured: Mapping[str, ArmMetrics],
    *,
    results: Sequence[ArmResult],
    sweep: Sequence[ArmResult],
    distances: Distances,
    varied: Collection[str],
    units: int,
    seeds: int,
) -> EvaluationVerdict:
    """Compare an arm of the output with what needs no generator, by the primary measure.

    It helps if it is above every baseline with an interval that excludes 0, so that the choice of the best one
    cannot make it look good; it hurts if it is below the best one, more surely than a single comparison asks for,
    so that this choice cannot make it look bad either. What helps by the primary measure and hurts by another one
    is mixed.

    `measured` and `results` hold every arm but the sweep's; `units` and `seeds` are numbers of test units and of
    classifiers of each arm; `varied` are the attributes of which the translations have several values.
    """
    ours = measured[main]
    others = [other for other in measured if other != main]
    baselines = [other for other in BASELINES if other in measured] or ["real"]
    differences, against = list[ArmDifference](), dict[Measure, str]()
    words, gains = dict[Measure, Outcome](), dict[Measure, float]()
    for measure, name in _MEASURES.items():
        found = {other: ours.figure(name) - measured[other].figure(name) for other in others}
        if math.isnan(found[baselines[0]].value):
            continue
        intervals = {other: figure.interval() for other, figure in found.items()}
        differences += [
            ArmDifference(measure=measure, against=other, difference=each, word=_word(each))
            for other, each in intervals.items()
        ]
        best = min(baselines, key=lambda other, found=found: found[other].value)  # type: ignore[misc]
        against[measure] = best
        gains[measure] = max(found[other].smallest_gain for other in baselines)
        words[measure] = word_of([found[other] for other in baselines])
    primary: Measure = next(iter(against), "balanced")
    word = words.get(primary, SAME)
    known = {(each.measure, each.against): each.difference for each in differences}
    parts = [
        f"{_NAMES[measure]} {_points(known[measure, other])} against {TITLES[other]!r}"
        for measure, other in against.items()
    ]
    word = "mixed" if word == "helps" and "hurts" in words.values() else word
    verdict = EvaluationVerdict(
        word=word,
        arm=main,
        against=against,
        sentence=f"{_OPENINGS[word]}: {'; '.join(parts)}. Percentage points, with 95 % intervals.",
        following=(),
        differences=differences,
        measure=primary,
        smallest_gain=gains.get(primary, math.nan),
    )
    weak = _weakest({arm.name: arm for arm in results}, varied)
    advice = _advice(
        verdict, words, results=results, sweep=sweep, distances=distances, weak=weak, units=units, seeds=seeds
    )
    return replace(verdict, following=list(advice))


def word_of(differences: Sequence[Figure]) -> Outcome:
    """Return what differences to every baseline say together, as `conclude` describes."""
    if all(each.interval().low > 0 for each in differences):
        return "helps"
    lowest = min(differences, key=lambda each: each.value)
    return "hurts" if surely_below(lowest, chances=len(differences)) else SAME


def _word(each: Interval) -> Outcome:
    return "helps" if each.low > 0 else "hurts" if each.high < 0 else SAME


def _points(each: Interval) -> str:
    if math.isnan(each.low):
        return f"{100 * each.value:+.1f} (no interval)"
    return f"{100 * each.value:+.1f} [{100 * each.low:+.1f}, {100 * each.high:+.1f}]"


def _advice(
    verdict: EvaluationVerdict,
    words: Mapping[Measure, Outcome],
    *,
    results: Sequence[ArmResult],
    sweep: Sequence[ArmResult],
    distances: Distances,
    weak: tuple[str, float, float] | None,
    units: int,
    seeds: int,
) -> Iterable[str]:
    """Yield what to do next, the most useful first."""
    word, against = verdict.word, verdict.against
    intervals = {(each.measure, each.against): each.difference for each in verdict.differences}
    if math.isnan(verdict.smallest_gain):
        yield (
            f"The test split has {units} independent units (subjects, or images without a group), and fewer than "
            f"{LEAST_UNITS} that count: too few for any verdict. Put more subjects into test."
        )
    best = intervals.get((verdict.measure, against.get(verdict.measure, "")))
    if word == SAME and best is not None and _word(best) != SAME:
        yield (
            f"The interval against {TITLES[against[verdict.measure]]!r} leaves out 0, but not surely enough for a "
            f"verdict: it is one of several comparisons. --seeds {max(_FEW_SEEDS, 2 * seeds)} would tell."
        )
    if word == SAME:
        yield from (f"By {_NAMES[measure]} they hurt." for measure, each in words.items() if each == "hurts")
    if word == "helps":
        yield "Train on the output: labels.csv lists real and synthetic images together."
    arms = {arm.name: arm for arm in results}
    # The sweep draws its rows as they come, so it is compared with the arm that does.
    own = next(arms[name] for name in ("gated", "ungated", verdict.arm) if name in arms)
    as_it_is = intervals.get((verdict.measure, "gated")) or intervals.get((verdict.measure, "ungated"))
    if verdict.arm == EVENED and as_it_is is not None and as_it_is.low > 0:
        yield (
            "Whoever trains on it should draw all combinations equally often (a weighted sampler), as was done "
            f"here: with its images as they come the output is {100 * as_it_is.value:.1f} points worse."
        )
    known = [arm for arm in (own, *sweep) if arm.validation is not None]
    top = max(known, key=lambda arm: arm.validation or 0.0, default=own)
    if top is not own and top.ratio is not None and own.ratio is not None:
        yield (
            f"On the val images {top.ratio:g} synthetic images for each real one do best "
            f"({_share(top.validation)}; the output's own {own.ratio:.2g} reach "
            f"{_share(own.validation)}): draw them so when you train."
        )
    against_real = intervals.get((verdict.measure, "real"))
    if word == "hurts" and against_real is not None and against_real.low > 0:
        yield "Against real images alone it does help: it is the baselines without a generator that do better."
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
    if not math.isnan(verdict.smallest_gain):
        yield from _power(verdict, seeds=seeds)


def _power(verdict: EvaluationVerdict, *, seeds: int) -> Iterable[str]:
    """Yield what could have been seen, and what would show more."""
    unseen = verdict.word == SAME and verdict.smallest_gain > _WIDE
    more = f"--seeds {max(_FEW_SEEDS, 2 * seeds)} and " if seeds < 2 * _FEW_SEEDS else ""
    yield (
        f"The smallest gain that 80 of 100 such evaluations see: {100 * verdict.smallest_gain:.1f} points of "
        f"{_NAMES[verdict.measure]}."
        + (f" Smaller ones may go unseen; {more}more test subjects show them." if unseen else "")
    )
    if seeds == 1:
        yield "Chance between classifiers is not in the intervals, as there is one of each arm: --seeds 3."
    if verdict.word == SAME and not unseen:
        yield "Real images, oversampled or augmented, do as well: nothing is lost by leaving the rest out."


def _weakest(arms: Mapping[str, ArmResult], varied: Collection[str]) -> tuple[str, float, float] | None:
    """Return the attribute that is furthest from its real accuracy when it is learnt from translations alone.

    One of which these have a single value cannot be learnt from them, however good they are.
    """
    if "synthetic" not in arms:
        return None
    synthetic, real = arms["synthetic"].attributes, arms["real"].attributes
    gaps = {name: real[name].value - synthetic[name].value for name in synthetic if name in varied}
    name = max(gaps, key=lambda name: gaps[name], default="")
    return (name, synthetic[name].value, real[name].value) if name and gaps[name] > _WIDE else None


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def summarize(fold: TrainedFold, *, seeds: int, settings: Mapping[str, Json]) -> Evaluation:
    """Return the results of an evaluation, of one fold or of several as one."""
    data, arms, sweep, predictions = fold.data, fold.arms, fold.sweep, fold.predictions
    space, changed = data.output.space, data.changed
    test = TestSet(
        data.test.codes.numpy(),
        data.test_units,
        counting=changed,
        space=space,
        filled=data.filled,
        folds=fold.fold_of,
    )
    val = TestSet(data.val.codes.numpy(), np.arange(len(data.val), dtype=np.intp), counting=changed, space=space)
    measured = {
        arm.name: test.measure([[each.test for each in row] for row in predictions[arm.name]])
        for arm in (*arms, *sweep)
    }
    names = [cells_name(group.cells, space) for group in test.groups]

    def result(arm: TrainingArm) -> ArmResult:
        some = len(data.val) > 0
        runs = [[each.val for each in row] for row in predictions[arm.name]]
        validation = val.measure(runs).balanced.value if some else math.nan
        return _arm_result(
            arm,
            measured[arm.name],
            runs=predictions[arm.name],
            names=names,
            validation=validation,
            space=space,
        )

    results, swept = [result(arm) for arm in arms], [result(arm) for arm in sweep]
    return Evaluation(
        fingerprint=data.output.fingerprint,
        manifest=data.manifest.path.name,
        settings=settings,
        attributes=[space.names[a] for a in changed],
        counts={
            "train": round(len(data.train) / fold.folds),
            "val": len(data.val),
            "test": len(data.test),
            "test_units": test.unit_count,
            "kept": round(len(data.kept) / fold.folds),
            "rejected": round(len(data.rejected.rows) / fold.folds),
            "unreadable": round(data.unreadable / fold.folds),
            "generators": len(predictions[main_arm(data)]),
            "folds": fold.folds,
        },
        arms=results,
        skipped=fold.skipped,
        sweep=swept,
        groups=[
            _group_result(group, {arm.name: measured[arm.name].groups[number] for arm in arms}, fold)
            for number, group in enumerate(test.groups)
        ],
        filled=[
            _group_result(group, {arm.name: measured[arm.name].filled_groups[number] for arm in arms}, fold)
            for number, group in enumerate(test.filled)
        ],
        unmeasured=[
            f"{cells_name(group.cells, space)}: {group.units} subjects in test, too few for an interval"
            for group in test.unmeasured
        ],
        verdict=conclude(
            judged_arm(data, arms),
            {arm.name: measured[arm.name] for arm in arms},
            results=results,
            sweep=swept,
            distances=fold.distances,
            varied=[space.names[a] for a in changed if len(torch.unique(data.kept.codes[:, a])) > 1],
            units=test.unit_count,
            seeds=seeds,
        ),
        distances=fold.distances,
        notes=data.notes,
    )


def _group_result(group: LabelGroup, figures: Mapping[str, Figure], fold: TrainedFold) -> GroupResult:
    data, space = fold.data, fold.data.output.space
    alone = group.cells[0] if len(group.cells) == 1 else ()
    return GroupResult(
        name=cells_name(group.cells, space),
        domain={space.names[a]: space.attributes[a].values[code] for a, code in alone},
        test_images=group.images,
        test_units=group.units,
        train_real=round(_count(data.train.codes, group) / fold.folds),
        train_synthetic=round(_count(data.kept.codes, group) / fold.folds),
        accuracy={name: figure.interval() for name, figure in figures.items()},
    )


def _arm_result(
    arm: TrainingArm,
    measured: ArmMetrics,
    *,
    runs: Sequence[Sequence[Predictions]],
    names: Sequence[str],
    validation: float,
    space: LabelSpace,
) -> ArmResult:
    shares = [pool.share for pool in arm.pools]
    worst = measured.worst_group
    return ArmResult(
        name=arm.name,
        title=arm.title,
        ratio=arm.ratio if arm.ratio is not None else _ratio(arm, shares),
        images=arm.images,
        filled=None if math.isnan(measured.filled.value) else measured.filled.interval(),
        balanced=measured.balanced.interval(),
        worst_group=WorstGroup(group=names[worst], accuracy=measured.groups[worst].interval())
        if worst >= 0
        else None,
        attributes={
            name: figure.interval()
            for name, figure in zip(space.names, measured.attributes, strict=True)
            if not math.isnan(figure.value)
        },
        validation=None if math.isnan(validation) else validation,
        seeds=[
            SeedResult(
                seed=seed,
                generator=generator,
                balanced=float(measured.balanced.runs[generator, seed]),
                worst_group=float(measured.worst.runs[generator, seed]),
                steps=run.steps,
                converged=run.converged,
            )
            for generator, row in enumerate(runs)
            for seed, run in enumerate(row)
        ],
    )


def _ratio(arm: TrainingArm, shares: Sequence[float]) -> float | None:
    if arm.name == "synthetic":
        return None
    return shares[1] / shares[0] if len(shares) > 1 else 0.0


def cells_name(cells: Sequence[Cell], space: LabelSpace) -> str:
    """Return combinations of labels in words, such as "tone=dark, woman=1"."""
    return " or ".join(
        ", ".join(f"{space.names[a]}={space.attributes[a].values[code]}" for a, code in cell) for cell in cells
    )


def _count(codes: Tensor, group: LabelGroup) -> int:
    """Return how many images show one of the combinations."""
    return sum(int(shows(codes.numpy(), cell).sum()) for cell in group.cells)
