"""Simulated evaluations: how often intervals hold the truth, verdicts are false, and a gain is seen.

python recipes/simulate_evaluations.py --evaluations 500

Test images of 12 combinations (6 x 2 labels), one to three of each subject in each. Three arms: two baselines that
recognise 50 % of the two combinations that were filled and 90 % of the others, and the output's, with or without a
gain in the filled ones. Predictions are drawn by `augmentor.evaluation.SimulatedTest`; intervals and verdicts are
`augmentor evaluate`'s own. Columns, printed as a Markdown table, in per cent of the evaluations:

- coverage: the interval of the difference to a baseline holds the true difference, for the mean of the filled
  combinations and for the worst one.
- helps, hurts: the verdict by that figure: without a gain both are false; with one, helps is the power.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np

from augmentor.evaluation import Cell, SimulatedTest, Spread, TestSet, word_of
from stargan.labels import Attribute, LabelSpace

SPACE = LabelSpace(
    attributes=(
        Attribute(name="tone", kind="categorical", values=("a", "b", "c", "d", "e", "f")),
        Attribute(name="woman"),
    )
)
FILLED: tuple[Cell, ...] = (((0, 4), (1, 1)), ((0, 5), (1, 1)))
SPREAD = Spread()
MEASURES = ("filled", "worst")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Kind of simulated evaluations; `gain` is the true one in the filled combinations.

    Each of several folds has a generator and classifiers of its own.
    """

    name: str
    gain: float = 0.0
    subjects: int = 15
    seeds: int = 6
    generators: int = 1
    folds: int = 1
    spread: Spread = SPREAD


SCENARIOS = (
    *(Scenario(name=f"{seeds} seeds", seeds=seeds) for seeds in (3, 6)),
    Scenario(name="6 seeds, seeds differ more", spread=replace(SPREAD, seed=0.06)),
    Scenario(name="6 seeds, arms differ by subject", spread=replace(SPREAD, arm=0.1)),
    Scenario(name="3 seeds, 60 subjects", seeds=3, subjects=60),
    Scenario(name="3 seeds of each of 3 generators", seeds=3, generators=3),
    Scenario(name="3 seeds, 60 subjects, 5 folds", seeds=3, subjects=60, folds=5),
    Scenario(
        name="the same, generators differ more",
        seeds=3,
        subjects=60,
        folds=5,
        spread=replace(SPREAD, generator=0.06),
    ),
    *(Scenario(name=f"{seeds} seeds, 50 to 68 %", gain=0.18, seeds=seeds) for seeds in (3, 6)),
    Scenario(name="6 seeds, seeds differ more, 50 to 68 %", gain=0.18, spread=replace(SPREAD, seed=0.06)),
)


def simulate(scenario: Scenario, random: np.random.Generator) -> dict[str, tuple[bool, str]]:
    """Return, by measure, whether an interval held the truth, and the verdict."""
    combinations = [(tone, woman) for tone in range(6) for woman in range(2)]
    counts = random.integers(1, 4, size=(scenario.subjects, len(combinations))).ravel()
    cells = np.repeat(np.tile(np.arange(len(combinations)), scenario.subjects), counts)
    units = np.repeat(np.repeat(np.arange(scenario.subjects), len(combinations)), counts)
    codes = np.array(combinations)[cells]
    folds = units % scenario.folds
    known = folds if scenario.folds > 1 else None
    test = TestSet(codes, units, counting=[0, 1], space=SPACE, filled=FILLED, folds=known)
    by_fold = cells + len(combinations) * folds
    simulated = SimulatedTest(units, by_fold, spread=scenario.spread, random=random)
    rare = [tuple(enumerate(combination)) in FILLED for combination in combinations]
    measured = [
        test.measure(np.where(right[..., None], codes, (codes + 1) % [6, 2]))
        for gain, generators, drawn in (
            # Each fold has another generator: a draw of one alone would be the one in question.
            (scenario.gain, scenario.generators, max(scenario.generators, min(scenario.folds, 2))),
            (0.0, 1, 1),
            (0.0, 1, 1),
        )
        for accuracy in [np.where(rare, 0.5 + gain, 0.9).tolist() * scenario.folds]
        for right in [simulated.right(accuracy, generators=drawn, seeds=scenario.seeds)[:generators]]
    ]
    found: dict[str, tuple[bool, str]] = {}
    for measure in MEASURES:
        differences = [measured[0].figure(measure) - other.figure(measure) for other in measured[1:]]
        first = differences[0].interval()
        found[measure] = (first.low <= scenario.gain <= first.high, word_of(differences))
    return found


def main() -> None:
    """Simulate every scenario and print the table."""
    parser = argparse.ArgumentParser(description="Simulate evaluations whose true result is known.")
    parser.add_argument("--evaluations", type=int, default=500, help="of each scenario")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| evaluations | gain | coverage | | helps | | hurts | |")
    print("|---|---|---|---|---|---|---|---|")
    print("| | | filled | worst | filled | worst | filled | worst |")
    for scenario in SCENARIOS:
        random = np.random.default_rng(options.seed)
        found = [simulate(scenario, random) for _ in range(options.evaluations)]
        held = [[each[measure][0] for each in found] for measure in MEASURES]
        said = [
            [each[measure][1] == word for each in found] for word in ("helps", "hurts") for measure in MEASURES
        ]
        cells = [f"{100 * np.mean(each):.1f}" for each in (*held, *said)]
        print(f"| {scenario.name} | {100 * scenario.gain:.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
