"""The translator: uint8 in, uint8 out, whatever the batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stargan.checkpoint import Model
from stargan.labels import LabelSpace
from stargan.networks import Generator
from stargan.translate import Translator

CPU = torch.device("cpu")


def make_model(space: LabelSpace, *, image_size: tuple[int, int] = (16, 24), channels: int = 3) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(vector_size=4, image_channels=channels, width=4, downsamplings=1, blocks=2)
        with torch.no_grad():
            generator.painter.weight.mul_(4)  # so that the output is not all mid-grey
    return Model(
        generator=generator.requires_grad_(False).eval(),
        space=space,
        image_size=image_size,
        step=0,
        settings={},
        sha256="",
    )


def batch(n: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    images = torch.randint(256, (n, channels, 16, 24), dtype=torch.uint8, generator=random)
    return images, torch.stack([torch.arange(n) % 4 - 1, torch.arange(n) % 3 - 1], dim=1)


def far(first: Tensor, second: Tensor) -> int:
    return int((first.int() - second.int()).abs().max())


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_plain_forward(channels: int, space: LabelSpace) -> None:
    model = make_model(space, channels=channels)
    images, targets = batch(7, channels)
    signed = model.generator(images.double().div(127.5).sub(1).float(), space.encode(targets))
    expected = ((signed + 1) * 127.5).round().clamp(0, 255)
    found = Translator(model, device=CPU).translate(images, targets)
    assert found.dtype == torch.uint8
    assert found.shape == images.shape
    assert found.is_contiguous()
    assert found.float().std() > 10
    assert far(found, expected) <= 1


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_the_split_into_batches_does_not_show(batch_size: int, space: LabelSpace) -> None:
    images, targets = batch(7)
    whole = Translator(make_model(space), device=CPU, batch_size=32).translate(images, targets)
    split = Translator(make_model(space), device=CPU, batch_size=batch_size).translate(images, targets)
    assert split.shape == whole.shape
    assert far(split, whole) <= 1
    assert (split != whole).float().mean() < 0.01


def test_the_target_decides(space: LabelSpace) -> None:
    translator = Translator(make_model(space), device=CPU)
    images, _ = batch(1)
    results = [translator.translate(images, torch.tensor([[code, 0]])) for code in (0, 1, -1)]
    assert far(results[0], results[1]) > 1
    assert far(results[0], results[2]) > 1


def test_input_stays_and_no_gradient_is_kept(space: LabelSpace) -> None:
    images, targets = batch(2)
    before = images.clone(), targets.clone()
    Translator(make_model(space), device=CPU).translate(images, targets)
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])


def test_an_empty_batch(space: LabelSpace) -> None:
    images, targets = batch(0)
    assert Translator(make_model(space), device=CPU).translate(images, targets).shape == (0, 3, 16, 24)


def test_what_does_not_fit_is_refused(space: LabelSpace) -> None:
    translator = Translator(make_model(space), device=CPU)
    images, targets = batch(2)
    with pytest.raises(ValueError, match=r"images of shape \(3, 16, 24\), got \(3, 24, 16\)"):
        translator.translate(images.transpose(2, 3), targets)
    with pytest.raises(ValueError, match=r"images of shape \(3, 16, 24\), got \(1, 16, 24\)"):
        translator.translate(images[:, :1], targets)
    with pytest.raises(ValueError, match="2 images but 1 targets"):
        translator.translate(images, targets[:1])
    with pytest.raises(ValueError, match="codes have 1 columns"):
        translator.translate(images, targets[:, :1])
    with pytest.raises(TypeError, match="expected uint8"):
        translator.translate(images.float(), targets)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        Translator(make_model(space), device=CPU, batch_size=0)
