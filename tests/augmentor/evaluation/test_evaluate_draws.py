"""What batches are drawn: how much from where, how often what is rare, and always the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from augmentor.evaluation.arms import Augmentation, Pool, batches, evened, jitter, mixed
from augmentor.judge.data import LabelledImages, joint_rarity


def images(count: int, code: int, *, channels: int = 3) -> LabelledImages:
    """Images whose number is their grey level and their second label."""
    pixels = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, channels, 8, 8).clone()
    return LabelledImages(images=pixels, codes=torch.tensor([(code, number) for number in range(count)]))


def drawn(*pools: Pool, steps: int, size: int, augment: Augmentation | None = None) -> list[tuple[int, int]]:
    made = batches(pools, steps=steps, batch_size=size, seed=0, flip=True, augment=augment)
    codes = [codes for _, codes in made]
    assert all(len(each) == size for each in codes)
    return [(int(code), int(number)) for each in codes for code, number in each]


def test_every_image_comes_up_once_before_any_comes_again() -> None:
    found = drawn(Pool(data=images(10, 0), share=1.0), steps=6, size=5)
    for start in range(0, 30, 10):
        assert sorted(number for _, number in found[start : start + 10]) == list(range(10))
    assert found[:10] != found[10:20]


def test_pools_are_mixed_in_their_shares() -> None:
    real, synthetic = mixed(images(30, 0), images(60, 1))
    counts = Counter(code for code, _ in drawn(real, synthetic, steps=30, size=10))
    assert counts == {0: 100, 1: 200}
    half = mixed(images(30, 0), images(60, 1), ratio=0.5)
    assert Counter(code for code, _ in drawn(*half, steps=7, size=3)) == {0: 14, 1: 7}


def test_oversampling_shows_all_combinations_alike() -> None:
    codes = np.array([(0, 0)] * 90 + [(0, 1)] * 9 + [(1, -1)])
    weights = joint_rarity(codes)
    assert np.allclose([weights[:90].sum(), weights[90:99].sum(), weights[99]], 1 / 3)
    pool = Pool(data=images(100, 0), share=1.0, weights=weights)
    rare = Counter(number for _, number in drawn(pool, steps=60, size=10))[99]
    assert 150 < rare < 250


def test_synthetic_images_are_oversampled_with_the_real_ones() -> None:
    # 90 and 9 real images of two values, 1 and 20 synthetic ones: each value comes up half of the time.
    real, synthetic = (
        LabelledImages(
            images=torch.zeros(zeros + ones, 3, 8, 8, dtype=torch.uint8),
            codes=torch.tensor([[0]] * zeros + [[1]] * ones),
        )
        for zeros, ones in ((90, 9), (1, 20))
    )
    first, second = evened(real, synthetic, attributes=[0])
    assert first.weights is not None
    assert second.weights is not None
    assert first.share + second.share == pytest.approx(1)
    real_weights, made_weights = first.share * first.weights, second.share * second.weights
    assert real_weights[:90].sum() + made_weights[0] == pytest.approx(0.5)
    assert np.allclose([*real_weights[90:], *made_weights[1:]], 0.5 / 29)


def test_batches_are_the_same_again_and_leave_the_global_generator_alone() -> None:
    pool = Pool(data=images(20, 0), share=1.0)
    state = torch.get_rng_state()

    def made(seed: int) -> torch.Tensor:
        found = batches([pool], steps=3, batch_size=8, seed=seed, flip=True, augment="trivial")
        return torch.cat([images for images, _ in found])

    first, other = made(0), made(1)
    torch.rand(1)
    assert torch.equal(first, made(0))
    assert not torch.equal(first, other)
    torch.set_rng_state(state)


@pytest.mark.parametrize("augment", ["trivial", "geometric"])
def test_grey_images_are_augmented_too(augment: Augmentation) -> None:
    pool = Pool(data=images(20, 0, channels=1), share=1.0)
    ((drawn, _),) = batches([pool], steps=1, batch_size=64, seed=0, flip=False, augment=augment)
    assert drawn.shape == (64, 1, 8, 8)
    assert drawn.dtype == torch.uint8


def test_geometric_augmentation_moves_what_is_there_and_changes_no_colour() -> None:
    picture = torch.full((1, 3, 32, 32), 40, dtype=torch.uint8)
    picture[..., 12:20, 12:20] = torch.tensor([200, 100, 40], dtype=torch.uint8)[:, None, None]
    pool = Pool(data=LabelledImages(images=picture, codes=torch.zeros(1, 1, dtype=torch.int64)), share=1.0)
    ((drawn, _),) = batches([pool], steps=1, batch_size=64, seed=0, flip=False, augment="geometric")
    assert len(torch.unique(drawn, dim=0)) > 32
    assert (drawn[..., 0, 0] == 40).all()  # edges are repeated, not black
    for channel, colour in enumerate((200, 100, 40)):
        values = drawn[:, channel]
        assert 40 <= int(values.min()) <= int(values.max()) <= colour
    centres = [torch.nonzero(each[0] > 150).double().mean(dim=0) for each in drawn]
    assert float(torch.stack(centres).std(dim=0).min()) > 0.5
    sizes = torch.tensor([float((each[0] > 150).sum()) for each in drawn])
    assert 30 < float(sizes.min()) < 64 < float(sizes.max()) < 110


def test_jitter_shifts_by_a_sixteenth_and_repeats_the_edges() -> None:
    picture = torch.arange(32 * 32).view(1, 1, 32, 32).expand(200, -1, -1, -1)
    random = np.random.default_rng(0)
    moved = jitter(picture, random, flip=False)
    shifts = {(int(m[0, 16, 16]) // 32 - 16, int(m[0, 16, 16]) % 32 - 16) for m in moved}
    assert shifts == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    for m in moved[:20]:
        y, x = int(m[0, 16, 16]) // 32 - 16, int(m[0, 16, 16]) % 32 - 16
        assert int(m[0, 0, 0]) == max(0, y) * 32 + max(0, x)
    turned = jitter(picture, random, flip=True)
    assert 60 < sum(int(m[0, 16, 8]) > int(m[0, 16, 24]) for m in turned) < 140
