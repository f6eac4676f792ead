"""Preparation of a generator for inference: folded weights, faster layers, compilation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Generic, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from stargan.networks import (
    ConvUnit,
    Features,
    InstanceNorm,
    PaintingGenerator,
    TranslatingGenerator,
    build_generator,
    convolve,
)
from stargan.pixels import to_signed, to_uint8

P = ParamSpec("P")
R = TypeVar("R")


class CompilationError(RuntimeError):
    """torch.compile failed on this machine."""


class PreparedGenerator:
    """A copy of a generator for inference, in an encoder stage for each image and a decoder stage for each target.

    Its results are the generator's, but for rounding. The weights of spectral norm are folded, features are in
    channels-last layout, and layers that torch computes slowly are replaced by equal ones.

    Attributes:
        encoder_stage: maps (P, C, H, W) uint8 images to what their targets share.
        decoder_stage: maps features, uint8 images and (N, L) label vectors, N rows each, to uint8 translations.
        decoder_difference: the same, but float32 translation minus image in the networks' range.
    """

    def __init__(
        self,
        generator: TranslatingGenerator,
        *,
        device: torch.device,
        bfloat16: bool,
        compile: bool,  # noqa: A002 - torch's name
    ) -> None:
        # New layers draw weights, which are then replaced: the global random state must stay as it is.
        with torch.random.fork_rng(devices=[]):
            ready = _copied(generator).requires_grad_(False).eval()
            _make_ready(ready, device=device, bfloat16=bfloat16)
        self._generator = ready.to(device).to(memory_format=torch.channels_last)
        self._bfloat16 = bfloat16
        self._device = device
        self.encoder_stage: Callable[[Tensor], Features] = self._encode
        self.decoder_stage: Callable[[Features, Tensor, Tensor], Tensor] = self._decode
        self.decoder_difference: Callable[[Features, Tensor, Tensor], Tensor] = self._difference
        if compile:
            self.encoder_stage, self.decoder_stage = _Compiled(self._encode), _Compiled(self._decode)
            self.decoder_difference = _Compiled(self._difference)

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Features:
        with self._autocast():
            return self._generator.encoder_stage(to_signed(images))

    @torch.no_grad()
    def _decode(self, encoded: Features, images: Tensor, vectors: Tensor) -> Tensor:
        with self._autocast():
            translated = self._generator.decoder_stage(encoded, to_signed(images), vectors)
        return to_uint8(translated).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _difference(self, encoded: Features, images: Tensor, vectors: Tensor) -> Tensor:
        signed = to_signed(images)
        with self._autocast():
            translated = self._generator.decoder_stage(encoded, signed, vectors)
        return (translated - signed).contiguous()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)


def _copied(generator: TranslatingGenerator) -> TranslatingGenerator:
    """Return a copy of a generator, whose spectral norms are folded into the weights."""
    folded = {
        f"{name}.weight": layer.weight
        for name, layer in generator.named_modules()
        if parametrize.is_parametrized(layer, "weight")
    }
    if not folded:
        return copy.deepcopy(generator)
    # torch's remove_parametrizations would change the original's class as well.
    plain = build_generator({**generator.arguments, "spectral": False})
    weights = {name: tensor for name, tensor in generator.state_dict().items() if ".parametrizations." not in name}
    plain.load_state_dict({**weights, **folded})
    return plain


def _make_ready(generator: TranslatingGenerator, *, device: torch.device, bfloat16: bool) -> None:
    """Replace layers by equal, faster ones, and round the weights if convolutions compute in bfloat16."""
    for name, layer in list(generator.named_modules()):
        if isinstance(layer, ConvUnit) and isinstance(layer.norm, InstanceNorm):
            generator.set_submodule(name, _GroupedUnit(layer, layer.norm))
    painting = [layer for layer in generator.modules() if isinstance(layer, PaintingGenerator)]
    for network in painting if device.type == "cpu" else ():
        if isinstance(network.painter, nn.Conv2d):
            network.painter = _ByRows(network.painter)
        if isinstance(network.masker, nn.Conv2d):
            network.masker = _ByRows(network.masker)
    for layer in generator.modules():
        if bfloat16 and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # Once instead of in every pass, as autocast would.
            layer.to(torch.bfloat16)


class _GroupedUnit(ConvUnit):
    """A unit whose instance norm is computed as a group norm with one channel per group, and its ReLU in place.

    For torch's instance norm channels-last features are copied: on a CPU, group norm takes a half to a sixth of
    the time.
    """

    def __init__(self, unit: ConvUnit, norm: InstanceNorm) -> None:
        nn.Module.__init__(self)
        self.convolution, self.norm, self.activate = unit.convolution, norm, unit.activate
        self.dropout = None

    def settle(self, convolved: Tensor, vectors: Tensor, skip: Tensor | None = None) -> Tensor:
        """See `ConvUnit.settle`; the result has the type of `convolved`."""
        if skip is not None:
            convolved = convolved + skip
        features = self._normalised(convolved, vectors)
        return functional.relu_(features) if self.activate else features

    def _normalised(self, convolved: Tensor, vectors: Tensor) -> Tensor:
        norm, channels, dtype = self.norm, convolved.shape[1], convolved.dtype
        modulation = None if norm.modulation is None else norm.modulation(vectors)
        # Autocast would compute the norm, and so all up to the next convolution, in float32.
        with torch.autocast(convolved.device.type, enabled=False):
            if modulation is None:
                return functional.group_norm(convolved, channels, norm.weight.to(dtype), norm.bias.to(dtype))
            scale, shift = modulation.float().chunk(2, dim=1)
            scale, shift = (norm.weight + scale).to(dtype), (norm.bias + shift).to(dtype)
            normal = functional.group_norm(convolved, channels)
            return torch.addcmul(shift[:, :, None, None], normal, scale[:, :, None, None])


class _ByRows(nn.Conv2d):
    """A K x K convolution to few channels, computed as a 1 x K convolution to K times as many, for CPUs.

    It fills a CPU's vector lanes: each row of the kernel has output channels of its own, which are added up,
    shifted by the row's offset. For odd kernels, stride and dilation 1, and padding that keeps the size.
    """

    def __init__(self, whole: nn.Conv2d) -> None:
        down, across = whole.kernel_size
        super().__init__(
            whole.in_channels,
            down * whole.out_channels,
            (1, across),
            padding=(down // 2, across // 2),
            padding_mode=whole.padding_mode,
            bias=False,
        )
        self.rows = down
        self.weight = nn.Parameter(whole.weight.permute(2, 0, 1, 3).flatten(0, 1)[:, :, None], requires_grad=False)
        self.last_bias = (
            None if whole.bias is None else nn.Parameter(whole.bias[:, None, None], requires_grad=False)
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Map (N, C_in, H, W) to (N, C, H, W) float32."""
        height = input.shape[2]
        first, *others = convolve(self, input, self.weight).float().chunk(self.rows, dim=1)
        made = first[:, :, :height]
        for row, rows in enumerate(others, start=1):
            made = made + rows[:, :, row : row + height]
        return made if self.last_bias is None else made + self.last_bias


class _Compiled(Generic[P, R]):
    """A function compiled at its first call; a failure to compile becomes a CompilationError."""

    def __init__(self, run: Callable[P, R]) -> None:
        self._run = run
        self._works = False

    @cached_property
    def _compiled(self) -> Callable[P, R]:
        # At the first call: importing torch's compiler takes seconds, in which images can be decoded.
        return torch.compile(self._run, dynamic=False)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            made = self._compiled(*args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, OSError) as error:
            if self._works:
                raise
            reason = str(error).strip().splitlines()[0]
            raise CompilationError(f"torch.compile failed ({reason})") from error
        self._works = True
        return made
