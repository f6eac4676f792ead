"""DiffAugment: each distortion with known amounts, then what is drawn and that gradients flow."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from stargan.diffaugment import POLICIES, Policy, cut_out, diff_augment, recolour, shift


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distinct(values: Tensor) -> list[float]:
    return sorted(set(values.flatten().tolist()))


def test_recolour_by_hand() -> None:
    # Two pixels of three channels: (0.6, 0, 0) and (0, 0, 0.6).
    images = torch.tensor([[[[0.6, 0.0]], [[0.0, 0.0]], [[0.0, 0.6]]]])
    once, two, half = torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([0.5])
    none = torch.tensor([0.0])

    def values(distorted: Tensor) -> list[float]:
        return cast(list[float], distorted.flatten().tolist())

    brighter = recolour(images, brightness=torch.tensor([0.25]), saturation=once, contrast=once)
    assert values(brighter) == pytest.approx([0.85, 0.25, 0.25, 0.25, 0.25, 0.85])
    # Each pixel's grey is 0.2: 0.2 + 2 * 0.4 = 1 and 0.2 - 2 * 0.2 = -0.2.
    richer = recolour(images, brightness=none, saturation=two, contrast=once)
    assert values(richer) == pytest.approx([1, -0.2, -0.2, -0.2, -0.2, 1])
    # The image's mean is 0.2 too: 0.2 + 0.4 / 2 = 0.4 and 0.2 - 0.2 / 2 = 0.1.
    flatter = recolour(images, brightness=none, saturation=once, contrast=half)
    assert values(flatter) == pytest.approx([0.4, 0.1, 0.1, 0.1, 0.1, 0.4])
    # In a row: + 0.25; grey 0.45 + 2 * (x - 0.45) = 1.25 or 0.05; mean 0.45 + (x - 0.45) / 2 = 0.85 or 0.25.
    everything = recolour(images, brightness=torch.tensor([0.25]), saturation=two, contrast=half)
    assert values(everything) == pytest.approx([0.85, 0.25, 0.25, 0.25, 0.25, 0.85])


def test_recolour_takes_one_amount_per_image() -> None:
    images = torch.zeros(2, 3, 2, 2)
    ones = torch.ones(2)
    distorted = recolour(images, brightness=torch.tensor([0.5, -0.5]), saturation=ones, contrast=ones)
    assert torch.equal(distorted, torch.tensor([0.5, -0.5]).view(2, 1, 1, 1).expand(2, 3, 2, 2))


def test_no_saturation_is_grey_and_one_channel_has_none() -> None:
    zero, one = torch.tensor([0.0]), torch.tensor([1.0])
    images = torch.rand(1, 3, 4, 4, generator=seeded())
    grey = recolour(images, brightness=zero, saturation=zero, contrast=one)
    torch.testing.assert_close(grey, images.mean(dim=1, keepdim=True).expand(1, 3, 4, 4))
    assert images[:, 0].ne(images[:, 1]).any()
    single = images[:, :1]
    torch.testing.assert_close(recolour(single, brightness=zero, saturation=zero, contrast=one), single)


def test_shift_moves_pixels_and_fills_with_zero() -> None:
    images = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]]).repeat(4, 2, 1, 1)
    down, right = torch.tensor([0, 1, -1, 0]), torch.tensor([0, 0, 1, -2])
    moved = shift(images, down=down, right=right)
    expected = [
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
        [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]],
        [[0.0, 4.0, 5.0], [0.0, 0.0, 0.0]],
        [[3.0, 0.0, 0.0], [6.0, 0.0, 0.0]],
    ]
    for number, image in enumerate(expected):
        for channel in range(2):
            assert moved[number, channel].tolist() == image


def test_shift_past_the_border_leaves_nothing() -> None:
    images = torch.ones(2, 1, 3, 3)
    assert not shift(images, down=torch.tensor([3, 0]), right=torch.tensor([0, -3])).any()


def test_cut_out_is_clipped_at_the_borders() -> None:
    images = torch.ones(3, 2, 4, 6)
    cut = cut_out(images, top=torch.tensor([1, -1, 3]), left=torch.tensor([2, -2, 5]), height=2, width=3)
    expected = torch.ones(3, 4, 6)
    expected[0, 1:3, 2:5] = 0
    expected[1, :1, :1] = 0
    expected[2, 3:, 5:] = 0
    for channel in range(2):
        assert torch.equal(cut[:, channel], expected)


def test_an_empty_policy_is_the_identity() -> None:
    images = torch.randn(2, 3, 8, 8, generator=seeded())
    assert torch.equal(diff_augment(images, policy=(), generator=seeded()), images)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'colour', only color, translation, cutout$"):
        diff_augment(torch.zeros(1, 3, 8, 8), policy=(cast(Policy, "colour"),), generator=seeded())


@pytest.mark.parametrize("shape", [(3, 3, 8, 8), (2, 1, 7, 5), (1, 4, 28, 28), (1, 3, 1, 1), (2, 2, 2, 3)])
def test_every_shape_stays_as_it_is(shape: tuple[int, int, int, int]) -> None:
    images = torch.randn(shape, generator=seeded())
    distorted = diff_augment(images, policy=POLICIES, generator=seeded(1))
    assert distorted.shape == images.shape
    assert distorted.dtype == images.dtype
    assert not torch.equal(distorted, images)


def test_color_covers_its_ranges_and_no_more() -> None:
    # A grey image shows the brightness; it has neither saturation nor contrast.
    brightness = diff_augment(torch.zeros(4000, 3, 1, 1), policy=("color",), generator=seeded())[:, 0, 0, 0]
    assert -0.5 <= brightness.min() < -0.49
    assert 0.49 < brightness.max() <= 0.5
    assert abs(brightness.mean()) < 0.02
    # One channel of -1 and 1 about the mean 0: its spread is the contrast.
    pair = torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2).repeat(4000, 1, 1, 1)
    spread = diff_augment(pair, policy=("color",), generator=seeded()).diff(dim=3).flatten() / 2
    assert 0.5 <= spread.min() < 0.51
    assert 1.49 < spread.max() <= 1.5
    # Two channels of -1 and 1: their spread is saturation times contrast, at most 2 * 1.5, on average 1.
    spread = (
        diff_augment(pair.view(4000, 2, 1, 1), policy=("color",), generator=seeded()).diff(dim=1).flatten() / 2
    )
    assert -1e-6 <= spread.min() < 0.05
    assert 2.8 < spread.max() <= 3
    assert abs(spread.mean() - 1) < 0.05


def test_translation_reaches_an_eighth_each_way() -> None:
    # A single lit pixel of 16 x 24 tells how far its image went: at most 2 rows and 3 columns.
    images = torch.zeros(2000, 1, 16, 24)
    images[:, :, 8, 12] = 1
    moved = diff_augment(images, policy=("translation",), generator=seeded())
    assert torch.equal(moved.sum(dim=(1, 2, 3)), torch.ones(2000))
    _, _, rows, columns = moved.nonzero(as_tuple=True)
    assert distinct(rows - 8) == [-2, -1, 0, 1, 2]
    assert distinct(columns - 12) == [-3, -2, -1, 0, 1, 2, 3]
    # Uniform: each of the 35 places is expected 57 times.
    assert torch.bincount((rows - 6) * 7 + (columns - 9)).min() > 25


def test_cutout_empties_a_quarter_or_what_of_it_lies_inside() -> None:
    images = torch.ones(2000, 2, 8, 12)
    cut = diff_augment(images, policy=("cutout",), generator=seeded())
    assert torch.equal(cut[:, 0], cut[:, 1])
    gone = cut[:, 0] == 0
    heights, widths = gone.any(dim=2).sum(dim=1), gone.any(dim=1).sum(dim=1)
    # A full box, 4 x 6 of 8 x 12 pixels, or a piece of it; centred on a corner it keeps half of each side.
    assert torch.equal(gone.sum(dim=(1, 2)), heights * widths)
    assert distinct(heights) == [2, 3, 4]
    assert distinct(widths) == [3, 4, 5, 6]
    assert (gone.float().mean(dim=(1, 2)) == 0.25).any()
    # Rows: 9 centres, of which 0 and 8 keep 2 rows, 1 and 7 keep 3: the mean is (5 * 4 + 2 * 3 + 2 * 2) / 9.
    assert heights.float().mean().item() == pytest.approx(30 / 9, abs=0.06)


def test_the_same_state_distorts_real_and_fake_alike() -> None:
    real, fake = torch.rand(4, 3, 16, 16, generator=seeded(1)), torch.zeros(4, 3, 16, 16)
    distorted, following = [], []
    for images in (real, real.clone(), real.double(), fake):
        generator = seeded(7)
        distorted.append(diff_augment(images, policy=POLICIES, generator=generator).float())
        following.append(torch.rand(3, generator=generator))
    assert torch.equal(distorted[0], distorted[1])
    torch.testing.assert_close(distorted[0], distorted[2])
    # The stream goes on at the same place, whatever the values and the type were.
    assert all(torch.equal(following[0], draws) for draws in following)
    # Other values: the box and the move are the same, seen where ones are left.
    moved = [
        diff_augment(images, policy=("translation", "cutout"), generator=seeded(7))
        for images in (real + 1, fake + 1)
    ]
    assert torch.equal(moved[0] == 0, moved[1] == 0)
    other = diff_augment(fake + 1, policy=("translation", "cutout"), generator=seeded(8))
    assert not torch.equal(moved[1], other)


def test_each_image_gets_its_own_draw_and_none_touches_the_global_state() -> None:
    before = torch.random.get_rng_state()
    images = torch.rand(1, 3, 16, 16, generator=seeded()).repeat(2, 1, 1, 1)
    for policy in POLICIES:
        first, second = diff_augment(images, policy=(policy,), generator=seeded(1))
        assert not torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_gradients_flow_to_what_is_left() -> None:
    images = torch.rand(3, 2, 8, 8, generator=seeded(), requires_grad=True)
    moved = diff_augment(images, policy=("translation", "cutout"), generator=seeded(2))
    moved.sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    # A pixel counts once if it is still to be seen, not at all if it moved out or was cut out.
    assert distinct(images.grad) == [0, 1]
    assert images.grad.sum().item() == (moved != 0).sum().item()


def test_gradients_agree_with_finite_differences() -> None:
    images = torch.rand(2, 3, 5, 4, dtype=torch.float64, generator=seeded(), requires_grad=True)

    def distort(batch: Tensor) -> Tensor:
        return diff_augment(batch, policy=POLICIES, generator=seeded(3)).square()

    assert torch.autograd.gradcheck(distort, (images,))
    # R1 and the gradient penalty differentiate twice.
    assert torch.autograd.gradgradcheck(distort, (images,))
