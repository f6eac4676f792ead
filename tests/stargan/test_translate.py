"""The translator: uint8 in, uint8 out, whatever the batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stargan import translate
from stargan.checkpoint import Model
from stargan.labels import LabelSpace
from stargan.networks import Generator, Output
from stargan.translate import Box, Translator, blend, knows_changes

CPU = torch.device("cpu")


def make_model(
    space: LabelSpace,
    *,
    image_size: tuple[int, int] = (16, 24),
    channels: int = 3,
    output: Output = "direct",
) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(
            vector_size=4, image_channels=channels, width=4, downsamplings=1, blocks=2, output=output
        )
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


# ---- changes, blended into originals ----


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    """Return noise as files hold it, (H, W, C), seen as (C, H, W)."""
    random = torch.Generator().manual_seed(height * width)
    size = (height, width, channels)
    return torch.randint(256, size, dtype=torch.uint8, generator=random).permute(2, 0, 1)


@pytest.mark.parametrize("output", ["masked", "residual"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_change_on_its_own_image_is_the_translation(output: Output, channels: int, space: LabelSpace) -> None:
    translator = Translator(make_model(space, channels=channels, output=output), device=CPU, batch_size=3)
    images, targets = batch(5, channels)
    changes = translator.changes(images, targets)
    assert changes.dtype == torch.float32
    assert changes.is_contiguous()
    translated = translator.translate(images, targets)
    assert far(translated, images) > 5
    for image, change, expected in zip(images, changes, translated, strict=True):
        assert far(blend(image, change, Box(0, 0, 24, 16)), expected) <= 1


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
    monkeypatch.setattr(translate, "_BAND", 1)
    assert torch.equal(blend(original, change, box), found)


def test_a_box_beyond_the_edges_is_cut_off() -> None:
    large, change = picture(90, 80), torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(1))
    whole = blend(large, change, Box(10, 20, 60, 50))
    part = blend(large[:, 30:60, 25:55], change, Box(-15, -10, 60, 50))
    assert torch.equal(part, whole[:, 30:60, 25:55])
    assert torch.equal(blend(large, change, Box(80, 0, 60, 50)), large)


@pytest.mark.parametrize("output", ["masked", "residual"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (16, 24), (67, 101)])
def test_no_change_gives_back_the_exact_pixels(output: Output, height: int, width: int, space: LabelSpace) -> None:
    model = make_model(space, output=output)
    closed = model.generator.masker if output == "masked" else model.generator.painter
    assert isinstance(closed, torch.nn.Conv2d)
    with torch.no_grad():
        closed.weight.zero_()
        if closed.bias is not None:
            closed.bias.fill_(-1000 if output == "masked" else 0)  # sigmoid(-1000) is 0, and so is tanh(0)
    images, targets = batch(4)
    changes = Translator(model, device=CPU).changes(images, targets)
    assert (changes == 0).all()
    original = picture(height, width)
    assert torch.equal(blend(original, changes[1], Box(0, 0, width, height)), original)
    assert torch.equal(blend(original, changes[1], Box(-3, 2, 9, 5)), original)


def test_what_cannot_be_blended_is_refused(space: LabelSpace) -> None:
    with pytest.raises(ValueError, match="a change of 3 channels for an original of 1"):
        blend(picture(8, 8, 1), torch.zeros(3, 4, 4), Box(0, 0, 8, 8))
    with pytest.raises(ValueError, match="is empty"):
        blend(picture(8, 8), torch.zeros(3, 4, 4), Box(2, 2, 0, 4))
    with pytest.raises(ValueError, match=r"images of shape \(3, 16, 24\)"):
        Translator(make_model(space), device=CPU).changes(picture(8, 8)[None], torch.zeros(1, 2).long())
    assert Translator(make_model(space), device=CPU).changes(*batch(0)).shape == (0, 3, 16, 24)


def test_only_what_changes_its_input_knows_changes(space: LabelSpace) -> None:
    outputs: tuple[Output, ...] = ("direct", "masked", "residual")
    assert [knows_changes(make_model(space, output=output)) for output in outputs] == [False, True, True]
