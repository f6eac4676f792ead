"""Plans of evaluations: simulated predictions, and what they say can be seen."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from augmentor.cli.evaluate import plan_table
from augmentor.errors import OutputError
from augmentor.evaluation import SimulatedTest, Spread, TestSet, plan_evaluation
from augmentor.evaluation.plan import ACCURACY
from tests.augmentor.evaluation.conftest import SPACE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from augmentor.evaluation import EvaluationPlan
    from tests.augmentor.evaluation.conftest import Planted

REJECTED = "split,group,source_id,source_path,hue,mark,changed,reason"


def test_simulated_classifiers_have_the_accuracy_they_are_given() -> None:
    units, cells = np.repeat(np.arange(3000), 4), np.tile([0, 0, 1, 1], 3000)
    test = SimulatedTest(units, cells, spread=Spread(seed=0), random=np.random.default_rng(0))
    right = test.right([0.5, 0.9], generators=1, seeds=2)
    assert right.shape == (1, 2, 12_000)
    assert right[..., cells == 0].mean() == pytest.approx(0.5, abs=0.02)
    assert right[..., cells == 1].mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("part", ["subject", "image", "arm", "seed"])
def test_each_part_of_the_spread_is_shared_by_what_it_names(part: str) -> None:
    units, cells = np.repeat(np.arange(200), 10), np.zeros(2000, dtype=np.intp)

    def two_arms(share: float, seed: int) -> NDArray[np.bool_]:
        spread = Spread(**{**dict.fromkeys(("subject", "image", "arm", "generator", "seed"), 0.0), part: share})
        test = SimulatedTest(units, cells, spread=spread, random=np.random.default_rng(seed))
        return np.stack([test.right([0.5], generators=1, seeds=2)[0] for _ in range(2)])

    right = two_arms(0.9, 0).astype(float)
    of_subjects = right.reshape(2, 2, 200, 10).mean(axis=3)
    same_arm = float(np.corrcoef(of_subjects[0, 0], of_subjects[0, 1])[0, 1])
    other_arm = float(np.corrcoef(of_subjects[0, 0], of_subjects[1, 0])[0, 1])
    images = float(np.corrcoef(right[0, 0], right[1, 0])[0, 1])
    seeds = float(np.std([two_arms(0.9, seed).mean(axis=2) for seed in range(5)]))
    expected = {
        "subject": (same_arm > 0.9, other_arm > 0.9, images > 0.5, seeds < 0.1),
        "image": (same_arm > 0.6, other_arm > 0.6, images > 0.5, seeds < 0.1),
        "arm": (same_arm > 0.9, abs(other_arm) < 0.3, abs(images) < 0.2, seeds < 0.1),
        "seed": (abs(same_arm) < 0.3, abs(other_arm) < 0.3, abs(images) < 0.2, seeds > 0.2),
    }
    assert expected[part] == (True,) * 4


def test_several_generators_differ_and_a_single_one_is_no_chance() -> None:
    spread = Spread(subject=0, image=0, arm=0, seed=0, generator=0.9)
    units = np.arange(1000)
    test = SimulatedTest(units, np.zeros(1000, dtype=np.intp), spread=spread, random=np.random.default_rng(0))
    several = test.right([0.5], generators=6, seeds=1).mean(axis=(1, 2))
    assert several.std() > 0.2
    assert test.right([0.5], generators=1, seeds=1).mean() == pytest.approx(0.5, abs=0.06)


def planned(made: Planted) -> EvaluationPlan:
    """The plan for an output of which blue, marked images were asked for."""
    source = next(row for row in made.of("train") if row.codes == (0, 0))
    return plan_evaluation(made.manifest(), made.output("out", [made.translate(source, (2, 1))]))


def test_a_plan_says_what_these_subjects_show_and_how_many_it_takes(planted: Planted) -> None:
    planted.add(4, "train", (0, 0))
    planted.add(24, "test", (2, 1))  # two images a subject
    planted.add(20, "test", (0, 0))
    plan = planned(planted)
    assert (list(plan.filled), plan.images, plan.units) == (["hue=blue, mark=1"], 24, 12)
    gains = [each.smallest_gain for each in plan.seeds]
    needed = [each.units_needed for each in plan.seeds]
    assert [each.seeds for each in plan.seeds] == [3, 6, 12, 24]
    assert None not in gains
    assert gains == sorted(gains, reverse=True)  # type: ignore[type-var]
    # With few classifiers no number of subjects is enough: the seeds differ too much.
    assert needed[0] is None
    assert needed[2] is not None
    assert needed[3] is not None
    assert 12 < needed[3] < needed[2]
    # Evaluations with this gain see it 8 times in 10, by the very intervals of `evaluate`.
    units, cells = np.arange(24) // 2, np.zeros(24, dtype=np.intp)
    codes = np.tile([2, 1], (24, 1))
    test = TestSet(codes, units, counting=[0, 1], space=SPACE, filled=[((0, 2), (1, 1))])
    seen = []
    for seed in range(60):
        simulated = SimulatedTest(units, cells, spread=Spread(), random=np.random.default_rng(seed))
        ours, theirs = (
            test.measure(np.where(simulated.right([share], generators=1, seeds=12)[..., None], codes, 0))
            for share in (ACCURACY + (gains[2] or 0), ACCURACY)
        )
        seen.append((ours.filled - theirs.filled).interval().low > 0)
    assert 0.6 < float(np.mean(seen)) < 0.95


def test_a_plan_expects_nothing_where_few_translations_were_accepted(planted: Planted) -> None:
    planted.add(30, "train", (0, 0))
    planted.add(24, "test", (2, 1))
    sources = planted.of("train")
    made = [planted.translate(sources[0], (2, 1))]
    for number, (refused, share) in enumerate(((0, 1.0), (9, 0.1), (19, 0.05))):
        out = planted.output(f"out{number}", made, gate={"mode": "auto", "given": []})
        lines = [f"train,,{row.id},{row.id}.png,blue,1,hue mark,agreement" for row in sources[1 : 1 + refused]]
        # What passed and was too many counts as accepted; rows of other splits do not count.
        lines += [f"val,,{number},{number}.png,blue,1,hue mark,agreement" for number in range(40)]
        (out / "rejected.csv").write_text("\n".join([REJECTED, *lines]) + "\n")
        plan = plan_evaluation(planted.manifest(), out)
        assert plan.accepted[0] == pytest.approx(share)
        assert plan.to_json()["accepted"] == list(plan.accepted)
        said = [(name, round(found, 3)) for name, found in plan.doubtful]
        assert said == ([("hue=blue, mark=1", 0.05)] if share < 0.1 else [])
    surplus = [line.replace("agreement", "surplus") for line in lines]
    (out / "rejected.csv").write_text("\n".join([REJECTED, *surplus]) + "\n")
    assert plan_evaluation(planted.manifest(), out).accepted == [1.0]
    shown = io.StringIO()
    Console(file=shown, width=80).print(plan_table(plan))
    words = " ".join(shown.getvalue().split())
    assert "Expect no gain in hue=blue, mark=1: the gate accepted 5 % of its translations." in words


def test_a_plan_of_few_subjects_has_no_gain_but_the_number_it_takes(planted: Planted) -> None:
    planted.add(4, "train", (0, 0))
    planted.add(6, "test", (2, 1))
    plan = planned(planted)
    assert plan.units == 3
    assert [each.smallest_gain for each in plan.seeds] == [None] * 4
    assert (plan.seeds[-1].units_needed or 0) > 50
    assert plan.to_json()["accuracy"] == ACCURACY


def test_a_plan_without_test_images_of_what_was_filled_is_refused(planted: Planted) -> None:
    planted.add(4, "train", (0, 0))
    planted.add(8, "test", (0, 0))
    with pytest.raises(OutputError, match="no test row shows hue=blue, mark=1"):
        planned(planted)
