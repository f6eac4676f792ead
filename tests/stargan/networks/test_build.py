"""Networks by their kind, and every refusal: the key, the reason, the fix."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from stargan.networks import (
    Generator,
    PatchDiscriminator,
    build_discriminator,
    build_generator,
    check_networks,
    initialise,
)
from stargan.networks.discriminators import DcganDiscriminator
from stargan.networks.encoder_decoder import EncoderDecoder

Noise = Callable[..., Tensor]
DATA: Mapping[str, object] = {"vector_size": 3, "image_channels": 1, "image_size": (8, 16), "width": 4}


def test_a_missing_kind_is_the_papers() -> None:
    assert isinstance(build_generator({"vector_size": 3, "image_channels": 1, "width": 4}), Generator)
    assert isinstance(build_discriminator({**DATA, "depth": 2}), PatchDiscriminator)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"kind": "resnet", "blocks": 1, "output": "masked", "upsampling": "nearest", "skips": True}, Generator),
        ({"conditioning": "norm", "norm": "batch", "padding": "reflection", "spectral": True}, Generator),
        ({"kind": "encoder-decoder", "latent": 8, "norm": "batch"}, EncoderDecoder),
        # A recipe's section holds every key; what a kind does not have is at its default.
        ({"kind": "encoder-decoder", "blocks": 6, "conditioning": "concat", "skips": False}, EncoderDecoder),
        ({"kind": "resnet", "latent": 256}, Generator),
    ],
)
def test_a_generator_is_rebuilt_from_its_arguments(
    section: Mapping[str, object], expected: type, noise: Noise
) -> None:
    generator = build_generator({**DATA, **section}).eval()
    assert type(generator) is expected
    again = build_generator(json.loads(json.dumps(generator.arguments))).eval()
    assert again.arguments == generator.arguments
    assert again.image_channels == 1
    again.load_state_dict(generator.state_dict())
    images, vectors = noise(2, 1, 8, 16), torch.eye(3)[:2]
    assert torch.equal(again(images, vectors), generator(images, vectors))


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"kind": "patch", "matches": True, "norm": "instance"}, PatchDiscriminator),
        ({"kind": "dcgan", "norm": "batch", "spectral": True}, DcganDiscriminator),
    ],
)
def test_a_discriminator_is_rebuilt_from_its_arguments(
    section: Mapping[str, object], expected: type, noise: Noise
) -> None:
    discriminator = build_discriminator({**DATA, "depth": 2, **section}).eval()
    assert type(discriminator) is expected
    again = build_discriminator(json.loads(json.dumps(discriminator.arguments))).eval()
    assert again.arguments == discriminator.arguments
    again.load_state_dict(discriminator.state_dict())
    images, wanted = noise(2, 1, 8, 16), torch.eye(3)[:2]
    for found, kept in zip(again(images, wanted), discriminator(images, wanted), strict=True):
        assert torch.equal(found, kept)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"kind": "resnt"},
            r'generator\.kind = "resnt" is none of resnet, encoder-decoder, .*; did you mean resnet',
        ),
        ({"blokcs": 3}, r"^generator\.blokcs is no argument of a network; did you mean blocks\?$"),
        (
            {"kind": "encoder-decoder", "skips": True},
            r'^generator\.skips = true does not apply to generator\.kind = "encoder-decoder"; '
            r'leave it out, or use kind = "resnet"$',
        ),
        ({"kind": "encoder-decoder", "conditioning": "norm"}, r'generator\.conditioning = "norm" does not apply'),
        ({"kind": "encoder-decoder", "blocks": 2}, r"generator\.blocks = 2 does not apply"),
        (
            {"kind": "encoder-decoder", "padding": "reflection"},
            r"generator\.padding = .reflection. does not apply",
        ),
        ({"latent": 64}, r'generator\.latent = 64 does not apply .* or use kind = "encoder-decoder"'),
    ],
)
def test_keys_that_a_kind_does_not_have(section: Mapping[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_generator({**DATA, **section})
    with pytest.raises(ValueError, match=message):
        check_networks(image_size=(64, 64), generator=section, discriminator={})


def test_an_unknown_discriminator() -> None:
    with pytest.raises(ValueError, match=r'discriminator\.kind = "dcgna" is none of .*; did you mean dcgan\?'):
        build_discriminator({**DATA, "kind": "dcgna"})


# ---- what does not fit together ----


def check(
    *,
    size: tuple[int, int] = (32, 32),
    generator: Mapping[str, object] | None = None,
    discriminator: Mapping[str, object] | None = None,
    objective: str = "logistic",
) -> None:
    check_networks(
        image_size=size,
        generator=generator or {},
        discriminator={"depth": 2, **(discriminator or {})},
        objective=objective,
    )


REFLECTED = {"conditioning": "norm", "padding": "reflection"}
DIGITS = {"kind": "encoder-decoder", "norm": "batch"}


def test_constant_planes_that_vanish() -> None:
    refused = {"conditioning": "concat", "padding": "reflection", "norm": "instance"}
    with pytest.raises(
        ValueError,
        match=r'generator\.conditioning = "concat" .* generator\.norm = "instance" removes: .*'
        r'generator\.padding = "reflection" .*; use conditioning = "norm", or padding = "zero"',
    ):
        check(generator=refused)
    for fix in ({"conditioning": "norm"}, {"padding": "zero"}, {"norm": "batch"}, {"norm": "none"}):
        check(generator={**refused, **fix})


def test_batch_norm_with_a_penalty_per_image() -> None:
    for kind in ("patch", "dcgan"):
        refused = {"kind": kind, "norm": "batch"}
        with pytest.raises(ValueError, match=r'discriminator\.norm = "batch" .* of objective = "wgan-gp"'):
            check(discriminator=refused, objective="wgan-gp")
        check(discriminator=refused, objective="hinge")
        check(discriminator={**refused, "norm": "instance"}, objective="wgan-gp")
    check(generator={"norm": "batch"}, objective="wgan-gp")


@pytest.mark.parametrize(
    ("size", "generator", "discriminator", "message"),
    [
        ((32, 32), {}, {"depth": 6}, r"discriminator\.depth = 6 halves an image side of 32 px .* at most 5"),
        ((32, 28), {"downsamplings": 3}, {}, r"generator\.downsamplings = 3 halves .* 28 px .* at most 2"),
        # Two to that power would not fit into any memory.
        ((32, 32), {}, {"depth": 2**40}, r"discriminator\.depth = 1099511627776 halves .* at most 5"),
        ((28, 28), {**DIGITS, "downsamplings": 3}, {}, r"generator\.downsamplings = 3 halves .* at most 2"),
        ((32, 32), {**DIGITS, "downsamplings": 0}, {}, r"downsamplings must be at least 1 .*encoder-decoder"),
        ((4, 4), {}, {}, r"generator\.downsamplings = 2 shrinks an image of 4 x 4 px to one pixel.* at most 1"),
        ((4, 4), {**DIGITS, "norm": "instance"}, {}, r"generator\.downsamplings = 2 shrinks"),
        ((8, 8), {}, {"depth": 3, "norm": "instance"}, r"discriminator\.depth = 3 shrinks .* at most 2"),
        ((16, 16), {**REFLECTED, "downsamplings": 4, "norm": "none"}, {}, r"a side has only 1 px; use fewer"),
        ((64, 16), {**REFLECTED, "dilation": 4}, {}, r"generator\.dilation = 4 px .* a side has only 4 px"),
        ((3, 9), {**REFLECTED, "downsamplings": 0}, {"depth": 0}, r"mirrors 3 px .* side has only 3 px"),
        ((8, 8), {"conditioning": "norm", "blocks": 0, "downsamplings": 0}, {}, r"are both 0"),
        ((15, 16), {"downsamplings": 1}, {}, r"generator\.downsamplings = 1 halves .* 15 px .* at most 0"),
        ((8, 8), {"downsamplings": "2"}, {}, r"downsamplings must be a whole number, not '2'"),
    ],
)
def test_sizes_that_do_not_fit(
    size: tuple[int, int],
    generator: Mapping[str, object],
    discriminator: Mapping[str, object],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        check(size=size, generator=generator, discriminator=discriminator)


@pytest.mark.parametrize(
    ("size", "generator", "discriminator"),
    [
        ((64, 16), {**REFLECTED, "dilation": 3}, {}),
        ((64, 16), {**REFLECTED, "dilation": 9, "blocks": 0}, {}),
        ((64, 16), {"padding": "zero", "dilation": 9}, {}),
        ((4, 4), {"norm": "none"}, {}),
        ((4, 8), {}, {"norm": "instance"}),
        ((4, 4), {"downsamplings": 1}, {"depth": 1, "norm": "instance"}),
        ((28, 28), DIGITS, {"kind": "dcgan", "norm": "batch"}),
    ],
)
def test_networks_that_are_let_through_work(
    size: tuple[int, int], generator: Mapping[str, object], discriminator: Mapping[str, object], noise: Noise
) -> None:
    check(size=size, generator=generator, discriminator=discriminator)
    data = {"vector_size": 3, "image_channels": 1, "image_size": size, "width": 4}
    images, vectors = noise(2, 1, *size), torch.eye(3)[:2]
    translated = build_generator({**data, **generator})(images, vectors)
    assert translated.shape == images.shape
    scores, _ = build_discriminator({**data, "depth": 2, **discriminator})(translated, vectors)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize(
    ("image_size", "downsamplings", "depth", "message"),
    [
        (
            (48, 48),
            2,
            6,
            r"discriminator\.depth = 6 halves an image side of 48 px more often .* at most 4, or another",
        ),
        ((128, 100), 3, 2, r"generator\.downsamplings = 3 halves an image side of 100 px .* at most 2"),
        ((4, 4), 2, 1, r"generator\.downsamplings = 2 shrinks an image of 4 x 4 px to one pixel.* at most 1"),
    ],
)
def test_halvings_that_the_size_does_not_have(
    image_size: tuple[int, int], downsamplings: int, depth: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check(size=image_size, generator={"downsamplings": downsamplings}, discriminator={"depth": depth})
    check(size=(64, 64), generator={"downsamplings": 2}, discriminator={"depth": 6})
    check(size=(96, 160), generator={"downsamplings": 3}, discriminator={"depth": 5})
    check(size=(4, 8), generator={"downsamplings": 2}, discriminator={"depth": 2})


# ---- initial weights ----


def test_initial_weights_have_the_spread_of_their_name() -> None:
    """A 3x3 convolution from 64 to 64 channels: 576 inputs and outputs of each value."""
    spread = {"normal": 0.02, "xavier": (2 / 1152) ** 0.5, "kaiming": (2 / 576) ** 0.5, "orthogonal": 576**-0.5}
    for how, expected in spread.items():
        generator = Generator(vector_size=3, width=32, downsamplings=1, blocks=1, conditioning="norm")
        initialise(generator, how)  # type: ignore[arg-type]
        block = generator.state_dict()["blocks.0.first.convolution.weight"]
        assert float(block.std()) == pytest.approx(expected, rel=0.03), how
        if how == "orthogonal":
            rows = block.flatten(1)
            torch.testing.assert_close(rows @ rows.T, torch.eye(64), atol=1e-4, rtol=0)
        norm = generator.state_dict()["blocks.0.first.norm.weight"]
        assert torch.equal(norm, torch.ones(64))


def test_chosen_starts_and_the_default_stay() -> None:
    for arguments, kept in (
        ({"output": "masked"}, ["masker.weight", "masker.bias"]),
        ({"output": "residual"}, ["painter.weight"]),
    ):
        generator = build_generator({**DATA, **arguments})
        before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
        initialise(generator, "default")
        assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())
        initialise(generator, "normal")
        after = generator.state_dict()
        assert all(torch.equal(after[name], before[name]) for name in kept)
        changed = [name for name in after if not torch.equal(after[name], before[name])]
        assert len(changed) > 5
        assert not set(kept) & set(changed)


def test_biases_become_zero_and_spectral_norm_knows_the_new_weights() -> None:
    discriminator = build_discriminator({**DATA, "depth": 2, "spectral": True, "width": 16})
    initialise(discriminator, "normal")
    weights = discriminator.state_dict()
    assert all(bool((tensor == 0).all()) for name, tensor in weights.items() if name.endswith(".bias"))
    for layer in discriminator.eval().modules():
        if isinstance(layer, torch.nn.Conv2d):
            assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(
                1, abs=0.1
            )
