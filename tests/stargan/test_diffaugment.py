"""Augmentations of D's input: each with known amounts, what is drawn, gradients, the adaptive probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import cast

import pytest
import torch
from torch import Tensor

from stargan.diffaugment import (
    ADAPT_IMAGES,
    POLICIES,
    Policy,
    adapted_probability,
    cut_out,
    diff_augment,
    overfitting_excess,
    recolour,
    shift,
    warp,
)
from stargan.distributed import Ranks


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


def test_warp_by_hand() -> None:
    images = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]])

    def warped(image: Tensor, *, angle: float = 0, zoom: float = 1, down: float = 0, right: float = 0) -> Tensor:
        turn, size, y, x = (torch.tensor([amount], dtype=torch.float32) for amount in (angle, zoom, down, right))
        return warp(image, angle=turn, zoom=size, down=y, right=x)[0, 0]

    torch.testing.assert_close(warped(images), images[0, 0])
    # A quarter turn clockwise.
    quarter = torch.tensor([[7.0, 4.0, 1.0], [8.0, 5.0, 2.0], [9.0, 6.0, 3.0]])
    torch.testing.assert_close(warped(images, angle=math.pi / 2), quarter)
    # One pixel to the right: the border pixel is mirrored. Half a pixel down: means of two rows.
    moved = torch.tensor([[1.0, 1.0, 2.0], [4.0, 4.0, 5.0], [7.0, 7.0, 8.0]])
    torch.testing.assert_close(warped(images, right=1 / 3), moved)
    halfway = torch.tensor([[1.0, 2.0, 3.0], [2.5, 3.5, 4.5], [5.5, 6.5, 7.5]])
    torch.testing.assert_close(warped(images, down=1 / 6), halfway)
    # Twice as large: the middle of the row 0, 4, 8, 12 is at 6, and a pixel is 2 wide.
    row = torch.tensor([0.0, 4.0, 8.0, 12.0]).view(1, 1, 1, 4)
    torch.testing.assert_close(warped(row, zoom=2), torch.tensor([[3.0, 5.0, 7.0, 9.0]]))
    # First turned and zoomed, then moved; pixels are square in an image that is not.
    wide = torch.zeros(1, 1, 3, 7)
    wide[0, 0, 1, 4] = 1  # a pixel right of the middle: below it after the turn, and two lower after the move
    turned = warped(wide, angle=math.pi / 2, down=-1 / 3, right=2 / 7)
    assert turned[:, 3:].round(decimals=5).nonzero().tolist() == [[1, 2]]  # further left its mirror image


def test_an_empty_policy_is_the_identity() -> None:
    images = torch.randn(2, 3, 8, 8, generator=seeded())
    assert torch.equal(diff_augment(images, policy=(), generator=seeded()), images)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'colour', only color, translation, cutout, geometry$"):
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


def test_geometry_covers_its_ranges() -> None:
    """Two ramps show the place in the source of each pixel of the result."""
    places = torch.arange(33.0) - 16
    ramps = torch.stack([places.expand(33, 33), places[:, None].expand(33, 33)])
    seen = diff_augment(ramps.repeat(2000, 1, 1, 1), policy=("geometry",), generator=seeded())
    # In the middle, where nothing is mirrored yet.
    middle = seen[:, :, 16, 16]
    across, down = seen[:, :, 16, 17] - middle, seen[:, :, 17, 16] - middle
    angles = torch.atan2(-across[:, 1], across[:, 0]).rad2deg()
    zooms = 1 / across.norm(dim=1)
    torch.testing.assert_close(zooms, 1 / down.norm(dim=1), rtol=1e-4, atol=0)  # the same both ways
    for amounts, most in ((angles, 15), (zooms.log2(), 0.25)):
        assert -most - 0.01 <= amounts.min() < -0.98 * most
        assert 0.98 * most < amounts.max() <= most + 0.01
        assert abs(amounts.mean()) < 0.05 * most
    # The middle was moved by up to 33 / 8 pixels each way, and is seen turned back and zoomed back.
    assert 3.9 * 2**-0.25 < middle.abs().max() < 33 / 8 * 2**0.5 * 2**0.25
    assert middle.frac().abs().gt(0.01).float().mean() > 0.9


def test_so_many_images_are_augmented_as_is_probable() -> None:
    images = torch.full((4000, 1, 8, 8), 0.5)
    images[:, :, 0] = -0.5
    for policy in POLICIES:
        seen = diff_augment(images, policy=(policy,), probability=0.3, generator=seeded())
        always = diff_augment(images, policy=(policy,), generator=seeded())
        changed, could = ((made != images).flatten(1).any(dim=1).float().mean() for made in (seen, always))
        assert changed.item() == pytest.approx(0.3 * could.item(), abs=0.03)
    # Each augmentation by a draw of its own.
    seen = diff_augment(images, policy=("color", "cutout"), probability=0.5, generator=seeded())
    coloured, cut = (seen - images)[:, 0, 0].abs().amax(dim=1) > 0.001, (seen == 0).flatten(1).any(dim=1)
    assert abs((coloured & cut).float().mean() - 0.25) < 0.1
    assert torch.equal(diff_augment(images, policy=POLICIES, probability=0.0, generator=seeded()), images)


@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_ranks_augment_as_one_process(probability: float) -> None:
    images = torch.rand(6, 3, 16, 16, generator=seeded())
    whole = diff_augment(images, policy=POLICIES, probability=probability, generator=seeded(1))
    for rank in range(2):
        ranks = Ranks(rank=rank, world_size=2)
        share = diff_augment(
            ranks.local_share(images), policy=POLICIES, probability=probability, generator=seeded(1), ranks=ranks
        )
        torch.testing.assert_close(share, ranks.local_share(whole))


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

    def distort(batch: Tensor, policy: Sequence[Policy] = POLICIES) -> Tensor:
        return diff_augment(batch, policy=policy, generator=seeded(3)).square()

    assert torch.autograd.gradcheck(distort, (images,))
    # torch has no second derivative of the sampling on a grid.
    twice = [policy for policy in POLICIES if policy != "geometry"]
    assert torch.autograd.gradgradcheck(partial(distort, policy=twice), (images,))


def test_gradients_of_images_that_stay_as_they_are_are_kept() -> None:
    images = torch.rand(40, 1, 8, 8, generator=seeded(), requires_grad=True)
    seen = diff_augment(images, policy=("geometry",), probability=0.5, generator=seeded(1))
    seen.sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    same = (seen == images).flatten(1).all(dim=1)
    assert 10 < same.sum() < 30
    assert images.grad[same].eq(1).all()
    # A pixel that is seen larger, or mirrored, counts more than once, one out of sight not at all.
    assert images.grad[~same].ne(1).flatten(1).any(dim=1).all()


# ---- the adaptive probability ----


def test_overfitting_by_hand() -> None:
    real, fake = torch.tensor([[3.0], [5.0]]), torch.tensor([[-1.0], [1.0]])
    # The means are 4 and 0: r_v is 0 for a mean of 4, 1 for 0, and the target, 0.6, for 1.6.
    for held_out, excess in ((4.0, -2.4), (1.6, 0.0), (1.0, 0.6), (0.0, 1.6)):
        found = overfitting_excess(real, fake, torch.tensor([held_out - 2, held_out + 2]))
        assert found.item() == pytest.approx(excess, abs=1e-6)
    # Where D knows nothing, its scores are equal, and there is neither overfitting nor a division by 0.
    assert overfitting_excess(real, real, real) == 0
    # r_t: 9 of 10 images positive are 0.9 - 0.1 = 0.8; 8 of 10 are the target.
    for positive, excess in ((9, 0.2), (8, 0.0), (5, -0.6)):
        scores = torch.tensor([0.1] * positive + [-7.0] * (10 - positive))
        assert overfitting_excess(scores, fake, None).item() == pytest.approx(excess, abs=1e-6)


def test_the_probability_moves_by_the_images_seen() -> None:
    tenth = ADAPT_IMAGES // 10
    assert adapted_probability(0.2, excess=0.01, images=tenth) == pytest.approx(0.3)
    assert adapted_probability(0.2, excess=-3.0, images=tenth) == pytest.approx(0.1)
    assert adapted_probability(0.95, excess=2.0, images=tenth) == 1
    assert adapted_probability(0.05, excess=-2.0, images=tenth) == 0
    probability = 0.0
    for _ in range(10):
        probability = adapted_probability(probability, excess=1.0, images=tenth)
    assert probability == pytest.approx(1)
