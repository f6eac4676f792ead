"""Construction of networks by their kind, and checks that their arguments work together."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stargan.networks.ancestors import CycleGanResnet, Pix2PixUnet
from stargan.networks.base import PaintingGenerator, TranslatingGenerator
from stargan.networks.discriminators import DcganDiscriminator, Discriminator, PatchDiscriminator
from stargan.networks.encoder_decoder import EncoderDecoder
from stargan.networks.generators import Generator
from stargan.networks.per_value import PerValueDiscriminator, PerValueGenerator, number_of_values

GENERATORS: Mapping[str, Callable[..., TranslatingGenerator]] = {
    "resnet": Generator,
    "encoder-decoder": EncoderDecoder,
    "cyclegan-resnet": CycleGanResnet,
    "pix2pix-unet": Pix2PixUnet,
}
"""Kind -> class; the first is what a missing kind means."""

DISCRIMINATORS: Mapping[str, Callable[..., Discriminator]] = {
    "patch": PatchDiscriminator,
    "dcgan": DcganDiscriminator,
}
"""Kind -> class; the first is what a missing kind means."""

_DATA = ("vector_size", "image_channels", "image_size")
"""Arguments that follow from the data; a kind that does not have one ignores it."""

Initialisation = Literal["default", "normal", "xavier", "kaiming", "orthogonal"]

_INITIALISERS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "normal": partial(nn.init.normal_, std=0.02),
    "xavier": nn.init.xavier_normal_,
    "kaiming": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}

_POWER_STEPS = 15
"""Steps after which torch's spectral norm takes its first estimate to be good."""

Network = TypeVar("Network")


def build_generator(arguments: Mapping[str, object]) -> TranslatingGenerator:
    """Build the generator of `arguments["kind"]`, by default the paper's.

    `arguments` are the constructor's, for example another generator's `arguments`. Those that only other kinds
    have must be at their defaults; `image_size` is ignored by kinds that do not have it. With `per_value` there is
    one for each value of the one attribute that the label vector encodes.

    Raises:
        ValueError: an unknown kind or argument, or one that this kind does not have.
        TypeError: an argument is missing.
    """
    if not arguments.get("per_value", False):
        return _build("generator", GENERATORS, arguments)
    return PerValueGenerator(
        vector_size=_whole(arguments, "vector_size"),
        generators=_build_for_values("generator", GENERATORS, arguments),
    )


def build_discriminator(arguments: Mapping[str, object]) -> Discriminator:
    """Build the discriminator of `arguments["kind"]`, by default the paper's; see `build_generator`."""
    if not arguments.get("per_value", False):
        return _build("discriminator", DISCRIMINATORS, arguments)
    return PerValueDiscriminator(
        vector_size=_whole(arguments, "vector_size"),
        discriminators=_build_for_values("discriminator", DISCRIMINATORS, arguments),
    )


@torch.no_grad()
def initialise(network: nn.Module, initialisation: Initialisation) -> None:
    """Draw the weights of all convolutions and linear layers anew, in place; their biases become 0.

    Last layers with a start of their own (see `PaintingGenerator.chosen_start`) stay as they are, and with
    "default" all do. The global random state decides.

    Source: the names and the standard deviation of "normal" are those of CycleGAN's implementation.
    """
    if initialisation == "default":
        return
    kept = {
        layer for each in network.modules() if isinstance(each, PaintingGenerator) for layer in each.chosen_start
    }
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) or layer in kept:
            continue
        spectral = parametrize.is_parametrized(layer, "weight")
        weight = dict(layer.named_parameters())["parametrizations.weight.original" if spectral else "weight"]
        _INITIALISERS[initialisation](weight)
        if layer.bias is not None:
            layer.bias.zero_()
        for _ in range(_POWER_STEPS if spectral else 0):
            _ = layer.weight  # of a network that trains, every reading is a step of the power method


def defaults_of_other_kinds(kind: str) -> dict[str, object]:
    """Return the arguments that only other kinds of generators have, at their defaults; {} for an unknown kind."""
    if kind not in GENERATORS:
        return {}
    own = _defaults(GENERATORS[kind])
    return {
        key: value
        for network in reversed(list(GENERATORS.values()))  # the first that has one says what it is
        for key, value in _defaults(network).items()
        if key not in own and key not in _DATA and value is not inspect.Parameter.empty
    }


def check_networks(
    *,
    image_size: tuple[int, int],
    generator: Mapping[str, object],
    discriminator: Mapping[str, object],
    objective: str = "logistic",
) -> None:
    """Check that networks work, each alone, together, and with the images and the objective.

    `image_size` is (height, width) in pixels. Arguments that follow from the data are not in `generator` and
    `discriminator`; omitted ones have their defaults.

    Raises:
        ValueError: they do not; the message names the arguments, such as `generator.width`, the reason and a fix.
    """
    g = _complete("generator", GENERATORS, generator)
    d = _complete("discriminator", DISCRIMINATORS, discriminator)
    downsamplings, depth = _whole(g, "downsamplings"), _whole(d, "depth")
    _check_halvings(image_size, "generator.downsamplings", downsamplings)
    _check_halvings(image_size, "discriminator.depth", depth)
    if g["norm"] == "instance" and g["kind"] != "pix2pix-unet":  # whose bottleneck has no norm
        _check_smallest(image_size, "generator.downsamplings", downsamplings)
    if d["norm"] == "instance" and depth > 1:
        _check_smallest(image_size, "discriminator.depth", depth)
    if d["norm"] == "batch" and objective == "wgan-gp":
        raise ValueError(
            'discriminator.norm = "batch" mixes the images of a batch, but the penalty of objective = "wgan-gp" '
            'needs the gradient of each image alone; use "instance" or "none", or another objective'
        )
    if not generator.get("per_value", False):
        _check_reads_labels(g)
    match g["kind"]:
        case "resnet":
            _check_resnet(g)
            _check_padding(
                image_size, str(g["padding"]), downsamplings, _whole(g, "blocks"), _whole(g, "dilation")
            )
        case "cyclegan-resnet":
            _check_padding(image_size, "reflection", downsamplings, _whole(g, "blocks"), 1)
        case "pix2pix-unet" if downsamplings < 2:
            raise ValueError('generator.downsamplings must be at least 2 with generator.kind = "pix2pix-unet"')
        case "encoder-decoder" if downsamplings < 1:
            raise ValueError('generator.downsamplings must be at least 1 with generator.kind = "encoder-decoder"')


def _check_reads_labels(g: Mapping[str, object]) -> None:
    if g["kind"] == "cyclegan-resnet":
        raise ValueError(
            'generator.kind = "cyclegan-resnet" reads no labels: it needs generator.per_value = true, a generator '
            'for each value, as training.method = "cyclegan" has; or use kind = "resnet"'
        )
    wanted = ("norm",) if g["kind"] == "pix2pix-unet" else ("norm", "concat")
    if "conditioning" in g and g["conditioning"] not in wanted:
        raise ValueError(
            f"generator.conditioning = {json.dumps(g['conditioning'])} does not work with generator.kind = "
            f'{json.dumps(g["kind"])}, which has to read the labels; use "norm"'
        )


def _check_resnet(g: Mapping[str, object]) -> None:
    downsamplings, blocks = _whole(g, "downsamplings"), _whole(g, "blocks")
    if (g["conditioning"], g["padding"], g["norm"]) == ("concat", "reflection", "instance"):
        raise ValueError(
            'generator.conditioning = "concat" feeds the label as constant planes, which generator.norm = '
            '"instance" removes: with generator.padding = "reflection" not even a rim of them is left, and no '
            'output can depend on the label; use conditioning = "norm", or padding = "zero"'
        )
    if g["conditioning"] == "norm" and blocks == downsamplings == 0:
        raise ValueError(
            'generator.conditioning = "norm" feeds the label to the residual blocks and the upsampling, but '
            'generator.blocks and generator.downsamplings are both 0; use one, or conditioning = "concat"'
        )


def _check_padding(
    image_size: tuple[int, int], padding: str, downsamplings: int, blocks: int, dilation: int
) -> None:
    if padding == "reflection":
        shortest = min(image_size)
        if shortest <= 3:
            raise ValueError(
                f'generator.padding = "reflection" mirrors 3 px in the 7x7 convolutions, but an image side has '
                f'only {shortest} px; use padding = "zero", or another size'
            )
        smallest = shortest >> downsamplings
        if blocks and smallest <= dilation:
            raise ValueError(
                f'generator.padding = "reflection" mirrors generator.dilation = {dilation} px in the residual '
                f"blocks, but after generator.downsamplings = {downsamplings} a side has only {smallest} px; use "
                f'fewer downsamplings, a smaller dilation, or padding = "zero"'
            )


def _check_halvings(image_size: tuple[int, int], key: str, halvings: int) -> None:
    for side in image_size:
        most = (side & -side).bit_length() - 1
        if not 0 <= halvings <= most:
            raise ValueError(
                f"{key} = {halvings} halves an image side of {side} px more often than it can be halved; "
                f"use at most {most}, or another size"
            )


def _check_smallest(image_size: tuple[int, int], key: str, halvings: int) -> None:
    if image_size == (1 << halvings, 1 << halvings):
        raise ValueError(
            f"{key} = {halvings} shrinks an image of {image_size[0]} x {image_size[1]} px "
            f"to one pixel, which no instance norm can normalise; use at most {halvings - 1}, or another size"
        )


def _build(section: str, kinds: Mapping[str, Callable[..., Network]], given: Mapping[str, object]) -> Network:
    complete = _complete(section, kinds, given)
    network = kinds[str(complete.pop("kind"))]
    return network(**complete)


def _build_for_values(
    section: str, kinds: Mapping[str, Callable[..., Network]], given: Mapping[str, object]
) -> list[Network]:
    """Build a network that reads no labels for each value that the label vector encodes."""
    each = {**given, "vector_size": 0, "per_value": False}
    return [_build(section, kinds, each) for _ in range(number_of_values(_whole(given, "vector_size")))]


def _complete(
    section: str, kinds: Mapping[str, Callable[..., object]], given: Mapping[str, object]
) -> dict[str, object]:
    """Return the kind and all its arguments, those given in place of their defaults."""
    kind = given.get("kind", next(iter(kinds)))
    if kind not in kinds:
        raise ValueError(
            f"{section}.kind = {json.dumps(kind)} is none of {', '.join(kinds)}{_hint(str(kind), kinds)}"
        )
    own = _defaults(kinds[str(kind)])
    complete: dict[str, object] = {"kind": kind}
    complete |= {key: value for key, value in own.items() if value is not inspect.Parameter.empty}
    others: dict[str, list[object]] = {}
    for network in kinds.values():
        for key, value in _defaults(network).items():
            others.setdefault(key, []).append(value)
    for key, value in given.items():
        if key in own:
            complete[key] = value
        elif key in others and key not in _DATA and value not in others[key]:
            have = [name for name, network in kinds.items() if key in _defaults(network)]
            raise ValueError(
                f"{section}.{key} = {json.dumps(value)} does not apply to {section}.kind = {json.dumps(kind)}; "
                f"leave it out, or use kind = {json.dumps(have[0])}"
            )
        elif key not in others and key not in (*_DATA, "kind", "per_value"):
            raise ValueError(f"{section}.{key} is no argument of a network{_hint(key, own)}")
    return complete


def _defaults(network: Callable[..., object]) -> dict[str, object]:
    return {name: parameter.default for name, parameter in inspect.signature(network).parameters.items()}


def _hint(word: str, words: Mapping[str, object]) -> str:
    nearest = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _whole(settings: Mapping[str, object], key: str) -> int:
    value = settings[key]
    if not isinstance(value, int):
        raise ValueError(f"{key} must be a whole number, not {value!r}")
    return value
