"""The order of a training: epochs, targets, balance, label sets, resuming."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from augmentor.judge.data import rarity_weights
from augmentor.training.sampler import Draw, StepSampler
from augmentor.training.settings import Joint
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.loaded import draws

FloatArray = NDArray[np.float64]


@pytest.fixture
def one_binary() -> LabelSpace:
    return LabelSpace(attributes=(Attribute(name="rare"),))


# ---- the order ----


@pytest.mark.parametrize(("rows", "batch_size"), [(7, 3), (4, 4), (2, 5), (1, 2)])
def test_epochs_are_permutations(rows: int, batch_size: int) -> None:
    batches = draws(StepSampler(rows=rows, batch_size=batch_size, seed=1), 3 * rows)
    assert all(len(batch) == batch_size for batch in batches)
    flat = [draw for batch in batches for draw in batch]
    assert [draw.position for draw in flat] == list(range(len(flat)))
    epochs = [tuple(draw.row for draw in flat[start : start + rows]) for start in range(0, 3 * rows, rows)]
    assert all(sorted(epoch) == list(range(rows)) for epoch in epochs)
    if rows == 7:
        assert len(set(epochs)) == len(epochs)


@pytest.mark.parametrize(("rows", "batch_size"), [(7, 3), (4, 4), (2, 5)])
@pytest.mark.parametrize("first_step", [1, 2, 5, 11])
def test_starting_later_skips_batches(rows: int, batch_size: int, first_step: int) -> None:
    whole = draws(StepSampler(rows=rows, batch_size=batch_size, seed=1), 20)
    later = draws(StepSampler(rows=rows, batch_size=batch_size, seed=1, first_step=first_step), 20 - first_step)
    assert later == whole[first_step:]


@pytest.mark.parametrize("weights", [None, np.ones(9)])
@pytest.mark.parametrize("label_sets", [None, np.arange(9) % 3])
def test_some_rows_are_drawn_and_the_others_never(weights: FloatArray | None, label_sets: Any) -> None:
    drawn = np.isin(np.arange(9), [0, 3, 4, 7])  # none of the label set 2
    sampler = StepSampler(rows=9, batch_size=4, seed=0, drawn=drawn, label_sets=label_sets, source_weights=weights)
    rows = [draw.row for batch in draws(sampler, 30) for draw in batch]
    assert set(rows) == {0, 3, 4, 7}
    if weights is None and label_sets is None:
        assert all(rows.count(row) == 30 for row in (0, 3, 4, 7))


@pytest.mark.parametrize("settings", [{}, {"joint": "alternating"}, {"joint": "mixed"}])
def test_the_shares_of_several_processes_are_the_batches_of_one(settings: dict[str, Any]) -> None:
    if settings:
        settings = {**settings, "label_sets": np.arange(20) % 2, "target_weights": np.ones(20)}
    whole = draws(StepSampler(rows=20, batch_size=12, seed=1, first_step=3, **settings), 9)
    shares = [
        draws(StepSampler(rows=20, batch_size=12, seed=1, first_step=3, rank=rank, world_size=3, **settings), 9)
        for rank in range(3)
    ]
    assert [[len(batch) for batch in share] for share in shares] == [[4] * 9] * 3
    assert [[*one, *two, *three] for one, two, three in zip(*shares, strict=True)] == whole


def test_another_seed_is_another_order() -> None:
    first, second = (draws(StepSampler(rows=50, batch_size=50, seed=seed), 1) for seed in (0, 1))
    assert first != second


# ---- targets and balance ----


LOPSIDED = np.array([[0]] * 95 + [[1]] * 5, dtype=np.int16)
"""95 rows of one value, 5 of the other."""


def lopsided(*, source_weights: FloatArray | None = None, target_weights: FloatArray | None = None) -> StepSampler:
    return StepSampler(
        rows=100, batch_size=20, seed=3, source_weights=source_weights, target_weights=target_weights
    )


def shares(rows: Sequence[int | None]) -> tuple[float, float]:
    """The share of the rare value's rows, and of the most frequent row among them."""
    rare = [row for row in rows if row is not None and row >= 95]
    return len(rare) / len(rows), max(rare.count(row) for row in range(95, 100)) / len(rare)


def test_without_weights_the_loop_picks_the_targets() -> None:
    assert all(draw.target is None for batch in draws(lopsided(), 10) for draw in batch)


def test_drawn_targets_follow_the_labels_frequencies() -> None:
    batches = draws(lopsided(target_weights=np.ones(100)), 500)
    rare, most = shares([draw.target for batch in batches for draw in batch])
    assert rare == pytest.approx(0.05, abs=0.01)
    assert most == pytest.approx(0.2, abs=0.06)
    # The sources are still shown in epochs, and in the same order as without drawn targets.
    plain = draws(lopsided(), 500)
    assert [[draw[:2] for draw in batch] for batch in batches] == [[draw[:2] for draw in batch] for batch in plain]


def test_balanced_targets_ask_for_rare_labels_as_often(one_binary: LabelSpace) -> None:
    batches = draws(lopsided(target_weights=rarity_weights(LOPSIDED, one_binary)), 500)
    rare, most = shares([draw.target for batch in batches for draw in batch])
    assert rare == pytest.approx(0.5, abs=0.02)
    assert most == pytest.approx(0.2, abs=0.02)
    shown = [draw.row for batch in batches for draw in batch]
    assert all(shown.count(row) == 100 for row in (0, 50, 94, 95, 99))
    # Whom an image is asked to resemble does not hang on what it shows: 0.95 x 0.5 of the pairs become rare.
    changed = [draw for batch in batches for draw in batch if draw.row < 95 and (draw.target or 0) >= 95]
    assert len(changed) / 10_000 == pytest.approx(0.475, abs=0.02)


def test_balanced_sources_show_rare_labels_as_often(one_binary: LabelSpace) -> None:
    batches = draws(lopsided(source_weights=rarity_weights(LOPSIDED, one_binary)), 500)
    rare, most = shares([draw.row for batch in batches for draw in batch])
    assert rare == pytest.approx(0.5, abs=0.02)
    assert most == pytest.approx(0.2, abs=0.02)
    flat = [draw for batch in batches for draw in batch]
    assert [draw.position for draw in flat] == list(range(10_000))
    assert {draw.row for draw in flat} == set(range(100))


def test_a_row_without_weight_is_never_drawn() -> None:
    weights = np.array([0.0, 1.0, 0.0, 2.0, 0.0])
    sampler = StepSampler(rows=5, batch_size=10, seed=0, source_weights=weights, target_weights=weights)
    flat = [draw for batch in draws(sampler, 100) for draw in batch]
    assert {draw.row for draw in flat} == {draw.target for draw in flat} == {1, 3}
    assert [draw.row for draw in flat].count(3) / 1000 == pytest.approx(2 / 3, abs=0.05)


# ---- joint training ----


TWO_SETS = np.array([0] * 50 + [1] * 6)


def joint_draws(joint: Joint, batch_size: int, batches: int, **settings: Any) -> list[list[Draw]]:
    label_sets = settings.pop("label_sets", TWO_SETS)
    sampler = StepSampler(
        rows=len(label_sets), batch_size=batch_size, seed=2, joint=joint, label_sets=label_sets, **settings
    )
    return draws(sampler, batches)


def epochs_of(flat: list[Draw], label_sets: NDArray[np.int64], label_set: int) -> list[list[int]]:
    """The whole epochs of a label set, each sorted."""
    rows = [draw.row for draw in flat if label_sets[draw.row] == label_set]
    size = int((label_sets == label_set).sum())
    return [sorted(rows[start : start + size]) for start in range(0, len(rows) - size + 1, size)]


@pytest.mark.parametrize("joint", ["mixed", "alternating"])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 7])
def test_each_label_set_has_epochs_of_its_own(joint: Joint, batch_size: int) -> None:
    flat = [draw for batch in joint_draws(joint, batch_size, 240 // batch_size) for draw in batch]
    large, small = (epochs_of(flat, TWO_SETS, label_set) for label_set in (0, 1))
    assert len(large) >= 2
    assert all(epoch == list(range(50)) for epoch in large)
    assert len(small) >= 17
    assert all(epoch == list(range(50, 56)) for epoch in small)
    assert [draw.position for draw in flat] == list(range(len(flat)))


@pytest.mark.parametrize(("batch_size", "sets"), [(8, 2), (7, 2), (7, 3), (2, 2), (5, 4)])
def test_mixed_batches_hold_equally_many_of_each_label_set(batch_size: int, sets: int) -> None:
    label_sets = np.repeat(np.arange(sets), [30, 3, 9, 1][:sets])
    counts = [
        [sum(label_sets[draw.row] == label_set for draw in batch) for label_set in range(sets)]
        for batch in joint_draws("mixed", batch_size, 60, label_sets=label_sets)
    ]
    assert all(max(count) - min(count) <= 1 for count in counts)
    total = np.sum(counts, axis=0)
    assert total.max() - total.min() <= 1


@pytest.mark.parametrize(("joint", "batch_size"), [("alternating", 4), ("mixed", 1)])
@pytest.mark.parametrize("period", [2, 3, 5, 8])
def test_label_sets_take_turns_and_none_is_left_out_of_every_nth_step(
    joint: Joint, batch_size: int, period: int
) -> None:
    batches = joint_draws(joint, batch_size, 800)
    sets = [{int(TWO_SETS[draw.row]) for draw in batch} for batch in batches]
    assert all(len(found) == 1 for found in sets)
    assert all(sets[i] != sets[i + 1] for i in range(0, 800, 2))
    seen = [min(found) for found in sets[period - 1 :: period]]
    assert sum(seen) / len(seen) == pytest.approx(0.5, abs=0.2)


def test_mixed_targets_come_from_all_label_sets_and_alternating_ones_from_the_batchs_own() -> None:
    weights = np.ones(56)
    mixed = [draw for batch in joint_draws("mixed", 8, 300, target_weights=weights) for draw in batch]
    sources, targets = TWO_SETS[np.array([(draw.row, draw.target) for draw in mixed]).T]
    assert targets.mean() == pytest.approx(0.5, abs=0.04)
    assert (targets != sources).mean() == pytest.approx(0.5, abs=0.04)
    alternating = [draw for batch in joint_draws("alternating", 8, 100, target_weights=weights) for draw in batch]
    sources, targets = TWO_SETS[np.array([(draw.row, draw.target) for draw in alternating]).T]
    assert (targets == sources).all()
    assert {draw.target for draw in alternating} == set(range(56))


def test_balance_within_each_label_set() -> None:
    # In the first set row 0 weighs as much as the other 49; the second set's weights are on another scale.
    weights = np.array([49.0] + [1.0] * 49 + [500.0] + [100.0] * 5)
    flat = [draw for batch in joint_draws("mixed", 8, 500, source_weights=weights) for draw in batch]
    rows = np.array([draw.row for draw in flat])
    assert (rows < 50).mean() == 0.5
    assert (rows == 0).sum() / 2000 == pytest.approx(0.5, abs=0.04)
    assert (rows == 50).sum() / 2000 == pytest.approx(0.5, abs=0.04)


def test_one_label_set_is_as_none() -> None:
    alone = joint_draws("alternating", 7, 30, label_sets=np.full(20, 4))
    assert alone == draws(StepSampler(rows=20, batch_size=7, seed=2), 30)


# ---- resuming ----


@pytest.mark.parametrize("joint", ["mixed", "alternating"])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("first_step", [1, 6, 17])
def test_resumed_draws_are_those_of_an_undisturbed_run(
    joint: Joint, balanced: bool, batch_size: int, first_step: int
) -> None:
    weights = np.arange(1.0, 57.0)
    settings: dict[str, Any] = {"target_weights": weights, "source_weights": weights if balanced else None}
    whole = joint_draws(joint, batch_size, 25, **settings)
    later = joint_draws(joint, batch_size, 25 - first_step, first_step=first_step, **settings)
    assert later == whole[first_step:]
