"""Layers of the networks: norms that read the label vector, convolution units, residual blocks."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

Norm = Literal["instance", "batch", "none"]
Padding = Literal["zero", "reflection"]
Upsampling = Literal["transposed", "nearest"]

Features = tuple[Tensor, ...]


class ModulatedNorm(nn.Module, ABC):
    """A norm, then a learnt scale and shift per channel.

    With a `vector_size` above 0, the label vector adds to the scale and the shift (FiLM, arXiv 1709.07871;
    adaptive instance norm), which the norm cannot remove.
    """

    def __init__(self, *, channels: int, vector_size: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.modulation = nn.Linear(vector_size, 2 * channels, bias=False) if vector_size else None

    @abstractmethod
    def normalise(self, features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Normalise (N, C, H, W) features, then scale and shift them by (C,) weight and bias if given."""

    def forward(self, features: Tensor, vectors: Tensor | None = None) -> Tensor:
        """Normalise, scale and shift (N, C, H, W) features; (N, L) vectors are needed with a `vector_size`."""
        if self.modulation is None:
            return self.normalise(features, self.weight, self.bias)
        modulation: Tensor = self.modulation(vectors)
        scale, shift = modulation.chunk(2, dim=1)
        normal = self.normalise(features)
        return normal * (self.weight + scale)[:, :, None, None] + (self.bias + shift)[:, :, None, None]


class InstanceNorm(ModulatedNorm):
    """Each channel of each image to mean 0, variance 1, without running statistics: train and eval are equal."""

    def normalise(self, features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """See `ModulatedNorm.normalise`; the maps must be larger than 1 x 1."""
        normal: Tensor = functional.instance_norm(features, weight=weight, bias=bias)
        return normal


class BatchNorm(ModulatedNorm):
    """Each channel of the whole batch to mean 0, variance 1; in eval mode by running statistics.

    The statistics are buffers: an average of a network's weights must copy them too.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, *, channels: int, vector_size: int = 0) -> None:
        super().__init__(channels=channels, vector_size=vector_size)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def normalise(self, features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """See `ModulatedNorm.normalise`; training needs more than one value per channel."""
        return functional.batch_norm(
            features, self.running_mean, self.running_var, weight, bias, training=self.training
        )


class NoNorm(ModulatedNorm):
    """No norm: the scale and the shift alone, with a `vector_size` plain FiLM."""

    def normalise(self, features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """See `ModulatedNorm.normalise`."""
        if weight is None or bias is None:
            return features
        return features * weight[:, None, None] + bias[:, None, None]


NORMS: Mapping[Norm, type[ModulatedNorm]] = {"instance": InstanceNorm, "batch": BatchNorm, "none": NoNorm}


class ConvUnit(nn.Module):
    """Convolution, norm (see `NORMS` and `ModulatedNorm`) and, with `activate`, ReLU.

    `dropout` is the probability of each value to become 0 at last in training; off in eval mode.
    `convolution` maps its input to (N, channels, H', W') and needs no bias, since the norm has one.
    """

    def __init__(
        self,
        convolution: nn.Module,
        *,
        channels: int,
        norm: Norm = "instance",
        vector_size: int = 0,
        activate: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = NORMS[norm](channels=channels, vector_size=vector_size)
        self.activate = activate
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, features: Tensor, vectors: Tensor, skip: Tensor | None = None) -> Tensor:
        """Map (N, C_in, H, W) features and (N, L) vectors to (N, channels, H', W'); add `skip` before the norm."""
        return self.settle(self.convolution(features), vectors, skip)

    def settle(self, convolved: Tensor, vectors: Tensor, skip: Tensor | None = None) -> Tensor:
        """Run everything after the convolution; see `forward`."""
        if skip is not None:
            convolved = convolved + skip
        features: Tensor = self.norm(convolved, vectors)
        if self.activate:
            features = functional.relu(features)
        return features if self.dropout is None else self.dropout(features)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions (see `same_convolution`) around an identity path (StarGAN, table 4).

    `dropout` is the probability of each value between them to become 0 in training; off in eval mode.
    """

    def __init__(
        self,
        *,
        channels: int,
        norm: Norm = "instance",
        vector_size: int = 0,
        padding: Padding = "zero",
        dilation: int = 1,
        bias: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        first, second = (
            ConvUnit(
                same_convolution(channels, channels, 3, padding=padding, dilation=dilation, bias=bias),
                channels=channels,
                norm=norm,
                vector_size=vector_size,
                activate=activate,
                dropout=dropout if activate else 0.0,
            )
            for activate in (True, False)
        )
        self.first = first
        self.second = second

    def forward(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Map (N, C, H, W) features and (N, L) vectors to features of the same shape."""
        residual: Tensor = self.second(self.first(features, vectors), vectors)
        return features + residual


def same_convolution(
    channels_in: int,
    channels: int,
    side: int,
    *,
    padding: Padding = "zero",
    dilation: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Return a convolution that keeps the size of its input; `side` is the odd side of its kernel."""
    return nn.Conv2d(
        channels_in,
        channels,
        side,
        padding=side // 2 * dilation,
        dilation=dilation,
        padding_mode="reflect" if padding == "reflection" else "zeros",
        bias=bias,
    )


def convolve(convolution: nn.Conv2d, features: Tensor, weight: Tensor) -> Tensor:
    """Apply a convolution with another (C, C_in, K, K) weight, and without a bias, to (N, C_in, H, W) features."""
    padding, dilation = convolution.padding, convolution.dilation
    assert not isinstance(padding, str)
    if convolution.padding_mode != "zeros":
        down, across = padding
        features = functional.pad(features, (across, across, down, down), mode=convolution.padding_mode)
        padding = (0, 0)
    return functional.conv2d(features, weight, None, convolution.stride, padding, dilation)


def upsample(upsampling: Upsampling, channels_in: int, channels: int) -> nn.Module:
    """Return a module from (N, channels_in, H, W) to (N, channels, 2 H, 2 W)."""
    if upsampling == "transposed":
        return nn.ConvTranspose2d(channels_in, channels, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
    )


def constructor_arguments(network: nn.Module, kind: str, values: Mapping[str, object]) -> dict[str, Any]:
    """Return a kind and the arguments among a constructor's `locals()`, in the order of its signature."""
    return {"kind": kind, **{name: values[name] for name in inspect.signature(type(network)).parameters}}


def normalise_spectrally(network: nn.Module, *, exempt: nn.Module | None = None) -> None:
    """Add spectral norm to every convolution and linear layer but `exempt`, in place.

    Weights are divided by their largest singular value, estimated by one step of the power method per training
    pass. In the state dict a layer's `weight` becomes `parametrizations.weight.original` and two buffers.

    Source: Miyato et al., spectral normalisation (arXiv 1802.05957).
    """
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and layer is not exempt:
            spectral_norm(layer)
