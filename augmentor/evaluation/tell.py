"""From what classifiers said to what people read: every arm, every group, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from augmentor.evaluation.arms import Arm, main_arm
from augmentor.evaluation.distances import Distances
from augmentor.evaluation.material import Material
from augmentor.evaluation.metrics import Group, Measured, TestSet
from augmentor.evaluation.result import ArmResult, Evaluation, GroupResult, SeedResult, WorstGroup
from augmentor.evaluation.runs import Said
from augmentor.evaluation.verdict import conclude
from augmentor.storage import Json
from stargan.labels import LabelSpace


def tell(
    material: Material,
    *,
    arms: Sequence[Arm],
    sweep: Sequence[Arm],
    said: Mapping[str, Sequence[Said]],
    seeds: int,
    distances: Distances,
    skipped: Mapping[str, str],
    settings: Mapping[str, Json],
) -> Evaluation:
    """Return everything that was found, without notes.

    Args:
        material: what was evaluated.
        arms: in the order in which they are shown.
        sweep: the output's arm at other ratios.
        said: per arm, what each of its classifiers sees.
        seeds: classifiers of each arm.
        distances: of features of images.
        skipped: arm -> why it is not there.
        settings: what was asked for.
    """
    space, changed = material.output.space, material.changed
    test = TestSet(material.test.codes.numpy(), material.test_units, counting=changed, space=space, seeds=seeds)
    val = TestSet(
        material.val.codes.numpy(),
        np.arange(len(material.val), dtype=np.intp),
        counting=changed,
        space=space,
        seeds=seeds,
    )
    measured = {arm.name: test.measure([each.test for each in said[arm.name]]) for arm in (*arms, *sweep)}
    names = [_group_name(group, changed, space) for group in test.groups]

    def result(arm: Arm) -> ArmResult:
        some = len(material.val) > 0
        validation = val.measure([each.val for each in said[arm.name]]).balanced if some else math.nan
        return _arm_result(arm, measured[arm.name], names=names, validation=validation, space=space)

    results, swept = [result(arm) for arm in arms], [result(arm) for arm in sweep]
    return Evaluation(
        fingerprint=material.output.fingerprint,
        manifest=material.manifest.path.name,
        settings=settings,
        attributes=[space.names[a] for a in changed],
        counts={
            "train": len(material.train),
            "val": len(material.val),
            "test": len(material.test),
            "test_units": test.unit_count,
            "kept": len(material.kept),
            "rejected": len(material.rejected.rows),
            "unreadable": material.unreadable,
        },
        arms=results,
        skipped=skipped,
        sweep=swept,
        groups=[
            GroupResult(
                name=names[number],
                domain={space.names[a]: space.attributes[a].values[code] for a, code in _pairs(group, changed)},
                test_images=group.images,
                train_real=_count(material.train.codes, group, changed),
                train_synthetic=_count(material.kept.codes, group, changed),
                accuracy={arm.name: measured[arm.name].interval(f"group {number}") for arm in arms},
            )
            for number, group in enumerate(test.groups)
        ],
        verdict=conclude(
            main_arm(material),
            {arm.name: measured[arm.name] for arm in arms},
            results=results,
            sweep=swept,
            distances=distances,
            units=test.unit_count,
            seeds=seeds,
        ),
        distances=distances,
        notes=(),
    )


def _arm_result(
    arm: Arm, measured: Measured, *, names: Sequence[str], validation: float, space: LabelSpace
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


def _ratio(arm: Arm, shares: Sequence[float]) -> float | None:
    if arm.name == "synthetic":
        return None
    return shares[1] / shares[0] if len(shares) > 1 else 0.0


def _pairs(group: Group, changed: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(changed, group.codes, strict=True))


def _group_name(group: Group, changed: Sequence[int], space: LabelSpace) -> str:
    return ", ".join(f"{space.names[a]}={space.attributes[a].values[code]}" for a, code in _pairs(group, changed))


def _count(codes: Tensor, group: Group, changed: Sequence[int]) -> int:
    shown: NDArray[np.integer] = codes[:, list(changed)].numpy()
    return int((shown == group.codes).all(axis=1).sum())
