"""The answer: which differences make it, and what is said to do next."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from augmentor.evaluation.metrics import ArmMetrics, Cell, TestSet
from augmentor.evaluation.result import ArmResult, Distances, EvaluationVerdict, Pair
from augmentor.evaluation.verdict import conclude
from stargan.labels import Attribute, LabelSpace

SPACE = LabelSpace(attributes=(Attribute(name="mark"),))
N = 400
CODES = np.array([(i % 2,) for i in range(N)])


def distances(**changes: float) -> Distances:
    pair = Pair(synthetic=1.0, real=1.0)
    return Distances(
        features="evaluator", frechet=None, kernel=None, within_domain=pair, within_source=pair, nearest=pair,
        **{"copies": 0.01, "unchanged": 0.0, **changes},
    )  # fmt: skip


def said(zeros: float, ones: float) -> list[NDArray[np.int64]]:
    """What two classifiers say that recognise these shares of the images without and with a mark."""
    right = np.zeros(N, dtype=bool)
    right[0::2][: round(zeros * N / 2)] = True
    right[1::2][: round(ones * N / 2)] = True
    order = np.argsort(np.random.default_rng(0).permutation(N // 2))
    right[0::2], right[1::2] = right[0::2][order], right[1::2][order]
    each = np.where(right[:, None], CODES, 1 - CODES)
    return [each, each]


@cache
def the_test(units: int, *, filled: bool) -> TestSet:
    """Test images of so many subjects; marked ones were to be filled, or none."""
    cells: list[Cell] = [((0, 1),)] if filled else []
    return TestSet(CODES, np.arange(N) % units, counting=[0], space=SPACE, filled=cells)


def verdict(
    shares: Mapping[str, tuple[float, float]],
    *,
    units: int = N,
    filled: bool = True,
    validation: Mapping[str, float] | None = None,
    copies: float = 0.01,
    varied: Collection[str] = ("mark",),
    main: str = "gated",
) -> EvaluationVerdict:
    test = the_test(units, filled=filled)
    everything = {"real": (0.7, 0.7), "synthetic": (0.7, 0.7), **shares}
    measured = {name: test.measure([said(*each)]) for name, each in everything.items()}
    swept = {"gated 2": test.measure([said(0.7, 0.7)])} if validation else {}

    def result(name: str, each: ArmMetrics) -> ArmResult:
        return ArmResult(
            name=name, title=name, ratio={"gated": 1.0, "gated 2": 2.0}.get(name, 0.0), images=1,
            balanced=each.balanced.interval(), worst_group=None,
            attributes={"mark": each.attributes[0].interval()}, validation=(validation or {}).get(name), seeds=[],
        )  # fmt: skip

    return conclude(
        main,
        measured,
        results=[result(name, each) for name, each in measured.items()],
        sweep=[result(name, each) for name, each in swept.items()],
        distances=distances(copies=copies),
        varied=varied,
        units=test.unit_count,
        seeds=2,
    )


@pytest.mark.parametrize(
    ("shares", "word"),
    [
        ({"gated": (0.9, 0.9), "oversampled": (0.7, 0.7), "trivialaugment": (0.6, 0.6)}, "helps"),
        ({"gated": (0.9, 0.9), "oversampled": (0.6, 0.6), "trivialaugment": (0.9, 0.9)}, "no difference seen"),
        ({"gated": (0.7, 0.7), "oversampled": (0.7, 0.7), "trivialaugment": (0.71, 0.7)}, "no difference seen"),
        ({"gated": (0.7, 0.7), "oversampled": (0.9, 0.9), "trivialaugment": (0.5, 0.5)}, "hurts"),
        # What was filled is better by 20 points, all in all it is worse.
        ({"gated": (0.6, 0.62), "oversampled": (1.0, 0.4), "trivialaugment": (1.0, 0.4)}, "mixed"),
        # The worst group is better by 20 points, and so is the balanced accuracy; what was filled is not.
        ({"gated": (0.7, 0.7), "oversampled": (0.5, 0.7), "trivialaugment": (0.5, 0.7)}, "no difference seen"),
        # What was filled is better, the worst group is not.
        ({"gated": (0.7, 0.9), "oversampled": (0.7, 0.75), "trivialaugment": (0.7, 0.75)}, "helps"),
        ({"gated": (0.9, 0.6), "oversampled": (0.5, 0.9), "trivialaugment": (0.5, 0.9)}, "hurts"),
    ],
)
def test_the_word_follows_the_filled_combinations_and_every_baseline(
    shares: Mapping[str, tuple[float, float]], word: str
) -> None:
    found = verdict(shares)
    assert (found.measure, found.word) == ("filled", word)


def test_what_cannot_be_measured_leaves_the_word_to_the_next_measure() -> None:
    shares = {"gated": (0.7, 0.7), "oversampled": (0.5, 0.7), "trivialaugment": (0.5, 0.7)}
    found = verdict(shares, filled=False)
    assert (found.measure, found.word) == ("worst_group", "helps")


def test_a_secondary_measure_that_falls_is_named() -> None:
    found = verdict({"gated": (0.5, 0.8), "oversampled": (0.9, 0.8), "trivialaugment": (0.9, 0.8)})
    assert found.word == "no difference seen"
    assert "By worst-group accuracy they hurt." in found.following
    assert "By balanced accuracy they hurt." in found.following


def test_the_sentence_names_the_better_baseline_and_the_interval() -> None:
    found = verdict({"gated": (0.9, 0.9), "oversampled": (0.5, 0.9), "trivialaugment": (0.7, 0.6)})
    assert found.against == {"filled": "oversampled", "worst_group": "trivialaugment", "balanced": "oversampled"}
    assert found.sentence.startswith("No difference seen: accuracy of the filled combinations +0.0 [")
    assert "; worst-group accuracy +30.0 [" in found.sentence
    assert "balanced accuracy +20.0 [" in found.sentence
    assert {(each.measure, each.against) for each in found.differences} == {
        (measure, other)
        for measure in ("filled", "worst_group", "balanced")
        for other in ("real", "synthetic", "oversampled", "trivialaugment")
    }


def test_too_few_units_give_no_verdict() -> None:
    shares = {"gated": (1.0, 1.0), "oversampled": (0.5, 0.5), "trivialaugment": (0.5, 0.5)}
    found = verdict(shares, units=7)
    assert found.word == "no difference seen"
    assert "7 independent units" in found.following[0]
    assert math.isnan(found.smallest_gain)
    assert all(math.isnan(each.difference.low) for each in found.differences)
    assert verdict(shares, units=9).word == "helps"


def test_the_smallest_gain_is_what_such_evaluations_see() -> None:
    random = np.random.default_rng(0)

    def arm(share: float) -> list[list[NDArray[np.int64]]]:
        return [[np.where(random.random((100, 1)) < share, CODES[:100], 1 - CODES[:100]) for _ in range(4)]]

    test = TestSet(CODES[:100], np.arange(100), counting=[0], space=SPACE, filled=[((0, 1),)])
    same = [test.measure(arm(0.7)).filled - test.measure(arm(0.7)).filled for _ in range(10)]
    gain = float(np.mean([each.smallest_gain for each in same]))
    seen = [
        (test.measure(arm(0.7 + gain)).filled - test.measure(arm(0.7)).filled).interval().low > 0
        for _ in range(40)
    ]
    assert 0.6 < float(np.mean(seen)) < 0.95
    wide = verdict({"gated": (0.72, 0.7), "oversampled": (0.7, 0.72), "trivialaugment": (0.6, 0.7)}, units=11)
    assert any(f"see: {100 * wide.smallest_gain:.1f} points" in each for each in wide.following)
    # Arms that say the same have no spread: nothing goes unseen.
    alike = verdict({"gated": (0.7, 0.7), "oversampled": (0.7, 0.7), "trivialaugment": (0.7, 0.7)})
    assert alike.smallest_gain == 0
    assert any("nothing is lost" in each for each in alike.following)


def test_it_says_what_to_do_next() -> None:
    same = {"oversampled": (0.7, 0.7), "trivialaugment": (0.7, 0.7)}
    better = verdict({"gated": (0.9, 0.9), **same}, validation={"gated": 0.8, "gated 2": 0.9})
    assert better.following[0].startswith("Train on the output: ")
    assert "2 synthetic images for each real one" in better.following[1]
    # Of one value alone no translations can teach an attribute, however good they are.
    constant = verdict({"gated": (0.7, 0.7), "synthetic": (0.5, 0.5), **same}, varied=())
    assert not any("do not show it" in line for line in constant.following)
    weak = verdict({"gated": (0.7, 0.7), "synthetic": (0.5, 0.5), **same}, copies=0.3)
    assert any("recognises mark in 50.0 % of real test images, against 70.0 %" in each for each in weak.following)
    assert any(each.startswith("30.0 % of the translations lie as close") for each in weak.following)
    shares = {"gated": (0.6, 0.6), "oversampled-synthetic": (0.75, 0.75), **same}
    uneven = verdict(shares, main="oversampled-synthetic")
    assert any("as they come the output is 15.0 points worse" in each for each in uneven.following)
    assert not any("sampler" in each for each in (*better.following, *verdict(shares).following))
    alone = verdict(
        {"gated": (0.8, 0.8), "real": (0.6, 0.6), "oversampled": (0.95, 0.95), "trivialaugment": (0.7, 0.7)}
    )
    assert alone.word == "hurts"
    assert any("Against real images alone it does help" in each for each in alone.following)


def test_without_groups_the_balanced_accuracy_decides() -> None:
    codes = CODES[:12]
    test = TestSet(codes, np.arange(12), counting=[0], space=SPACE)
    measured = {
        name: test.measure([[codes]]) for name in ("real", "gated", "oversampled", "trivialaugment", "synthetic")
    }
    assert math.isnan(measured["gated"].worst.value)
    results = [
        ArmResult(
            name=name, title=name, ratio=0.0, images=1, balanced=each.balanced.interval(), worst_group=None,
            attributes={"mark": each.attributes[0].interval()}, validation=None, seeds=[],
        )
        for name, each in measured.items()
    ]  # fmt: skip
    found = conclude(
        "gated", measured, results=results, sweep=[], distances=distances(), varied=("mark",), units=12, seeds=1
    )
    assert set(found.against) == {"balanced"}
    assert "worst-group" not in found.sentence
