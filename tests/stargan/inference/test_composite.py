"""Blending: changes of the model's size, added to originals of any size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stargan.checkpoints import Model
from stargan.inference import composite as module
from stargan.inference.composite import Box, blend, edits_input
from stargan.labels import LabelSpace
from stargan.networks import Generator, OutputKind


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    """Return noise as files hold it, (H, W, C), seen as (C, H, W)."""
    random = torch.Generator().manual_seed(height * width)
    size = (height, width, channels)
    return torch.randint(256, size, dtype=torch.uint8, generator=random).permute(2, 0, 1)


def far(first: Tensor, second: Tensor) -> int:
    return int((first.int() - second.int()).abs().max())


@pytest.mark.parametrize("box", [Box(0, 0, 101, 67), Box(17, 5, 61, 53), Box(90, 60, 11, 7), Box(40, 0, 24, 67)])
def test_a_change_is_resampled_to_its_box(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for boxes smaller than the change; and the bands in which it is done do not show."""
    original, change = picture(67, 101), torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(0)) / 4
    sized = functional.interpolate(change[None], size=(box.height, box.width), mode="bilinear")[0]
    part = original[:, box.top : box.top + box.height, box.left : box.left + box.width].double()
    expected = original.clone().double()
    expected[:, box.top : box.top + box.height, box.left : box.left + box.width] = (
        (part + 127.5 * sized.double()).round().clamp(0, 255)
    )
    before = original.clone()
    found = blend(original, change, box)
    assert found.dtype == torch.uint8
    assert far(found, expected) <= 1
    assert (found != expected).float().mean() < 0.001
    assert torch.equal(original, before)
    monkeypatch.setattr(module, "_BAND", 1)
    assert torch.equal(blend(original, change, box), found)


def test_a_box_beyond_the_edges_is_cut_off() -> None:
    large, change = picture(90, 80), torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(1))
    whole = blend(large, change, Box(10, 20, 60, 50))
    part = blend(large[:, 30:60, 25:55], change, Box(-15, -10, 60, 50))
    assert torch.equal(part, whole[:, 30:60, 25:55])
    assert torch.equal(blend(large, change, Box(80, 0, 60, 50)), large)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (16, 24), (67, 101)])
def test_no_change_gives_back_the_exact_pixels(height: int, width: int) -> None:
    original = picture(height, width)
    for box in (Box(0, 0, width, height), Box(-3, 2, 9, 5)):
        assert torch.equal(blend(original, torch.zeros(3, 16, 24), box), original)


def test_what_cannot_be_blended_is_refused() -> None:
    with pytest.raises(ValueError, match="a change of 3 channels for an original of 1"):
        blend(picture(8, 8, 1), torch.zeros(3, 4, 4), Box(0, 0, 8, 8))
    with pytest.raises(ValueError, match="is empty"):
        blend(picture(8, 8), torch.zeros(3, 4, 4), Box(2, 2, 0, 4))


def test_only_what_changes_its_input_knows_changes(space: LabelSpace) -> None:
    def knows(output: OutputKind) -> bool:
        generator = Generator(vector_size=4, width=4, downsamplings=1, blocks=1, output=output)
        model = Model(generator=generator, space=space, image_size=(8, 8), step=0, settings={}, sha256="")
        return edits_input(model)

    with torch.random.fork_rng(devices=[]):
        assert [knows(output) for output in ("direct", "masked", "residual")] == [False, True, True]
