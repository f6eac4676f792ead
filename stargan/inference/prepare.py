"""A generator made ready to translate: uint8 to uint8 in two halves, and each as fast as a device does it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Generic, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from stargan.networks import ConvUnit, Features, InstanceNorm, TranslatingGenerator, build_generator, convolve
from stargan.pixels import to_signed, to_uint8

P = ParamSpec("P")
R = TypeVar("R")


class CompilationError(RuntimeError):
    """torch.compile could not fuse the generator on this machine."""


class Halves:
    """A copy of a generator that never learns: what all targets of an image share, and the rest.

    The results are those of the generator to rounding. Spectral norm's weights are divided once and for all,
    features lie as convolutions like them (channels last), and layers that torch does slowly are replaced by equal
    ones.

    Args:
        generator: stays as it is.
        device: where to compute.
        half: whether convolutions compute in bfloat16.
        compile: whether torch.compile fuses either half, for one shape each.
    """

    def __init__(
        self,
        generator: TranslatingGenerator,
        *,
        device: torch.device,
        half: bool,
        compile: bool,  # noqa: A002 - the flag's name
    ) -> None:
        # New layers draw weights, which are then replaced: whoever draws after this must not notice.
        with torch.random.fork_rng(devices=[]):
            ready = _copied(generator).requires_grad_(False).eval()
            _make_ready(ready, half=half)
        self._generator = ready.to(device).to(memory_format=torch.channels_last)
        self._half = half
        self._device = device
        self.share: Callable[[Tensor], Features] = self._share
        self.finish: Callable[[Features, Tensor, Tensor], Tensor] = self._finish
        self.change: Callable[[Features, Tensor, Tensor], Tensor] = self._change
        if compile:
            self.share, self.finish = _Compiled(self._share), _Compiled(self._finish)
            self.change = _Compiled(self._change)

    @torch.no_grad()
    def _share(self, images: Tensor) -> Features:
        """Map (E, C, H, W) uint8 images to what their targets share."""
        with self._autocast():
            return self._generator.share(to_signed(images))

    @torch.no_grad()
    def _finish(self, shared: Features, images: Tensor, vectors: Tensor) -> Tensor:
        """Map what `share` made of (N, C, H, W) uint8 images, and (N, L) vectors, to uint8 translations."""
        with self._autocast():
            translated = self._generator.finish(shared, to_signed(images), vectors)
        return to_uint8(translated).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _change(self, shared: Features, images: Tensor, vectors: Tensor) -> Tensor:
        """Do as `finish`, but return what is added to the images, (N, C, H, W) float32."""
        signed = to_signed(images)
        with self._autocast():
            translated = self._generator.finish(shared, signed, vectors)
        return (translated - signed).contiguous()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._half)


def _copied(generator: TranslatingGenerator) -> TranslatingGenerator:
    """Return a generator of its own with the same weights; those under spectral norm as they come out of it."""
    divided = {
        f"{name}.weight": layer.weight
        for name, layer in generator.named_modules()
        if parametrize.is_parametrized(layer, "weight")
    }
    if not divided:
        return copy.deepcopy(generator)
    # Not torch's own way to take a parametrization off: that takes it off the original's class as well.
    with torch.random.fork_rng(devices=[]):  # its starting weights, which are replaced, are drawn
        plain = build_generator({**generator.arguments, "spectral": False})
    weights = {name: tensor for name, tensor in generator.state_dict().items() if ".parametrizations." not in name}
    plain.load_state_dict({**weights, **divided})
    return plain


def _make_ready(generator: TranslatingGenerator, *, half: bool) -> None:
    """Replace layers of a generator by equal, faster ones, and round its weights if it computes in bfloat16."""
    for name, layer in list(generator.named_modules()):
        if isinstance(layer, ConvUnit) and isinstance(layer.norm, InstanceNorm):
            generator.set_submodule(name, _GroupedUnit(layer, layer.norm))
    if isinstance(generator.painter, nn.Conv2d):
        generator.painter = _ByRows(generator.painter)
    if isinstance(generator.masker, nn.Conv2d):
        generator.masker = _ByRows(generator.masker)
    for layer in generator.modules():
        if half and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # Once instead of in every pass, as autocast would.
            layer.to(torch.bfloat16)


class _GroupedUnit(ConvUnit):
    """A unit whose instance norm is computed as a group norm with one channel a group, and its ReLU in place.

    torch computes instance norm as the batch norm of one image with N C channels, for which it copies what lies
    with the channels last. Measured on a CPU, group norm takes a half to a sixth of the time.
    """

    def __init__(self, unit: ConvUnit, norm: InstanceNorm) -> None:
        nn.Module.__init__(self)
        self.convolution, self.norm, self.activate = unit.convolution, norm, unit.activate

    def settle(self, convolved: Tensor, vectors: Tensor, skip: Tensor | None = None) -> Tensor:
        """See `ConvUnit.settle`; the result has the type of `convolved`."""
        if skip is not None:
            convolved = convolved + skip
        features = self._normalised(convolved, vectors)
        return functional.relu_(features) if self.activate else features

    def _normalised(self, convolved: Tensor, vectors: Tensor) -> Tensor:
        norm, channels, dtype = self.norm, convolved.shape[1], convolved.dtype
        told = None if norm.modulation is None else norm.modulation(vectors)
        # Autocast would compute it, and so all up to the next convolution, in float32.
        with torch.autocast(convolved.device.type, enabled=False):
            if told is None:
                return functional.group_norm(convolved, channels, norm.weight.to(dtype), norm.bias.to(dtype))
            scale, shift = told.float().chunk(2, dim=1)
            scale, shift = (norm.weight + scale).to(dtype), (norm.bias + shift).to(dtype)
            normal = functional.group_norm(convolved, channels)
            return torch.addcmul(shift[:, :, None, None], normal, scale[:, :, None, None])


class _ByRows(nn.Conv2d):
    """A convolution to few channels, each row of whose kernel has output channels of its own.

    A convolution to 3 channels leaves most of a processor's lanes empty. Here a 1 x K kernel makes K times as many
    channels, one set for each row of the K x K kernel, and the sets are added up, each as many rows down as it
    belongs: the same sum, in less than half the time on a CPU.

    Args:
        whole: an odd kernel, stride and dilation 1, and as much padding as keeps the size.
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
        self.sets = down
        self.weight = nn.Parameter(whole.weight.permute(2, 0, 1, 3).flatten(0, 1)[:, :, None], requires_grad=False)
        self.last_bias = (
            None if whole.bias is None else nn.Parameter(whole.bias[:, None, None], requires_grad=False)
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Map (N, C_in, H, W) to (N, C, H, W) float32."""
        height = input.shape[2]
        first, *others = convolve(self, input, self.weight).float().chunk(self.sets, dim=1)
        made = first[:, :, :height]
        for row, rows in enumerate(others, start=1):
            made = made + rows[:, :, row : row + height]
        return made if self.last_bias is None else made + self.last_bias


class _Compiled(Generic[P, R]):
    """A function that torch.compile fuses at its first call, and whose failure to do so is said plainly."""

    def __init__(self, run: Callable[P, R]) -> None:
        self._run = run
        self._works = False

    @cached_property
    def _compiled(self) -> Callable[P, R]:
        # Not earlier: this imports torch's compiler, which takes seconds in which sources can be decoded.
        return torch.compile(self._run, dynamic=False)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            made = self._compiled(*args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, OSError) as error:
            if self._works:
                raise
            raise CompilationError(
                f"torch.compile failed ({str(error).strip().splitlines()[0]}); translate without it: --compile off"
            ) from error
        self._works = True
        return made
