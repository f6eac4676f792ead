"""The layouts of foreign generators: recognition, architecture and names of tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from torch import Tensor

from stargan.checkpoints.files import CheckpointError
from stargan.networks import Norm

Names = dict[str, str]
"""A tensor's name in the file -> its name in `build_generator`'s network."""

_STATISTICS = ("running_mean", "running_var")

_STARGAN_V2 = re.compile(
    r"(?:^|\.)(?:mapping_network|style_encoder|unshared)\."
    r"|\.norm[12]\.fc\.(?:weight|bias)$"
    r"|(?:^|\.)main\.\d+\.conv1x1\.weight$"
)
"""Names of tensors of StarGAN v2: its networks of styles, G's adaptive norms, D's residual blocks."""

_IN_BLOCK = re.compile(r"(?:^|\.)main\.\d+$")
"""The key of a residual block of StarGAN, which has a tensor main.0.weight itself."""

_DEEPEST = 16
"""Parts of the longest key of a generator."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The architecture of a file's generator: `arguments` of `build_generator`, all but `vector_size`.

    `usual_side` is that of the usual training images in pixels; `names` are of exactly the tensors that must be in
    the file; `entries` are those of the label vector, None if the generator reads none.
    """

    arguments: dict[str, Any]
    usual_side: int
    names: Names
    entries: int | None


class Layout(NamedTuple):
    """A foreign layout: its name in messages and first tensor; whether tensors have its names; what they say."""

    title: str
    first: str
    recognise: Callable[[Mapping[str, Tensor]], bool]
    read: Callable[[Mapping[str, Tensor]], Reading]


def find_generators(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Layout, dict[str, Tensor]]]:
    """Return the generators among tensors, each with its layout, by the key below which their names begin.

    The key is "" for a file that is one state dict, "G.module" for the tensors "G.module.main.0.weight", ....

    Raises:
        CheckpointError: there is none, or they are StarGAN v2's.
    """
    later = next(filter(_STARGAN_V2.search, tensors), None)
    if later is not None:
        raise CheckpointError(
            f"is of StarGAN v2 (it has the tensor {later}), which is not supported: its generator reads style "
            "codes in the place of labels. Files of the first StarGAN are, such as 200000-G.ckpt"
        )
    below: dict[str, dict[str, Tensor]] = {
        name.removesuffix(layout.first).rstrip("."): {}
        for layout in LAYOUTS
        for name in tensors
        if f".{name}".endswith(f".{layout.first}")
    }
    for name, tensor in tensors.items():
        parts = name.split(".", _DEEPEST)
        for depth in range(len(parts)):
            if (key := ".".join(parts[:depth])) in below:
                below[key][name[len(key) + bool(key) :]] = tensor
    found: dict[str, tuple[Layout, dict[str, Tensor]]] = {}
    for key in sorted(below, key=len):
        layout = next((each for each in LAYOUTS if each.recognise(below[key])), None)
        inside = _IN_BLOCK.search(key) or any(not outer or key.startswith(f"{outer}.") for outer in found)
        if layout is not None and not inside:
            found[key] = layout, below[key]
    if not found:
        _refuse(tensors)
    return found


def _refuse(tensors: Mapping[str, Tensor]) -> NoReturn:
    for first, another in (("main.0.weight", "conv1.weight"), ("model.0.weight", "model.2.weight")):
        if any(name.endswith(first) and f"{name.removesuffix(first)}{another}" in tensors for name in tensors):
            raise CheckpointError(
                "is a discriminator, not a generator: give the generator's file, such as 200000-G.ckpt or "
                "latest_net_G.pth"
            )
    names = ", ".join(list(tensors)[:4])
    raise CheckpointError(
        f"has tensors named {names}, ..., and is none of {', '.join(layout.title for layout in LAYOUTS)}"
    )


def is_ignored(name: str, norm: object) -> bool:
    """Return whether a tensor is ignored: counters, and running statistics of all norms but batch norm."""
    last = name.rpartition(".")[2]
    return last == "num_batches_tracked" or (last in _STATISTICS and norm != "batch")


# ---- StarGAN: main.0 is the first convolution, main.N.main.M are in residual blocks ----


def _is_stargan(weights: Mapping[str, Tensor]) -> bool:
    return "main.0.weight" in weights and "conv1.weight" not in weights


def _read_stargan(weights: Mapping[str, Tensor]) -> Reading:
    outer = sorted(int(n[1]) for n in _matches(r"main\.(\d+)\.weight", weights) if weights[n[0]].ndim == 4)
    blocks = {int(n[1]) for n in _matches(r"main\.(\d+)\.main\.0\.weight", weights)}
    # The first convolution and the strided ones come before the blocks.
    halvings = sum(index < min(blocks) for index in outer) - 1 if blocks else (len(outer) - 2) // 2
    first = _kernel("main.0.weight", weights)
    last_name = f"main.{6 * halvings + len(blocks) + 3}.weight"
    channels = _kernel(last_name, weights).shape[0]

    names = _unit("main.0", "main.1", "encoder.0")
    for down in range(1, halvings + 1):
        names |= _unit(f"main.{3 * down}", f"main.{3 * down + 1}", f"encoder.{down}")
    start = 3 * halvings + 3
    for block in range(len(blocks)):
        inner = f"main.{start + block}.main"
        names |= _unit(f"{inner}.0", f"{inner}.1", f"blocks.{block}.first")
        names |= _unit(f"{inner}.3", f"{inner}.4", f"blocks.{block}.second")
    start += len(blocks)
    for up in range(halvings):
        names |= _unit(f"main.{start + 3 * up}", f"main.{start + 3 * up + 1}", f"decoder.{up}")
    names[last_name] = "painter.weight"
    return Reading(
        arguments={
            "kind": "resnet",
            "image_channels": channels,
            "width": first.shape[0],
            "downsamplings": halvings,
            "blocks": len(blocks),
        },
        usual_side=128,
        names=names,
        entries=first.shape[1] - channels,
    )


# ---- CycleGAN: model.0 mirrors the border, model.1 is the first convolution ----


def _is_cyclegan(weights: Mapping[str, Tensor]) -> bool:
    return "model.1.weight" in weights and any(".conv_block." in name for name in weights)


def _read_cyclegan(weights: Mapping[str, Tensor]) -> Reading:
    blocks = sorted({int(n[1]) for n in _matches(r"model\.(\d+)\.conv_block\..*", weights)})
    halvings = max(0, (blocks[0] - 4) // 3)
    norm = _norm_kind("model.1", "model.2", weights)
    first = _kernel("model.1.weight", weights)
    # Dropout, if it was used in training, is between a block's two convolutions and shifts the second one's index.
    moved = any(weights[n[0]].ndim == 4 for n in _matches(r"model\.\d+\.conv_block\.6\.weight", weights))
    second = 6 if moved else 5

    names = _unit("model.1", "model.2", "encoder.0", norm)
    for down in range(1, halvings + 1):
        names |= _unit(f"model.{3 * down + 1}", f"model.{3 * down + 2}", f"encoder.{down}", norm)
    start = 3 * halvings + 4
    for block in range(len(blocks)):
        inner = f"model.{start + block}.conv_block"
        names |= _unit(f"{inner}.1", f"{inner}.2", f"blocks.{block}.first", norm)
        names |= _unit(f"{inner}.{second}", f"{inner}.{second + 1}", f"blocks.{block}.second", norm)
    start += len(blocks)
    for up in range(halvings):
        names |= _unit(f"model.{start + 3 * up}", f"model.{start + 3 * up + 1}", f"decoder.{up}", norm)
    last = f"model.{start + 3 * halvings + 1}"
    names |= _named(last, "painter", bias=True)
    _check_channels(first.shape[1], _kernel(f"{last}.weight", weights).shape[0])
    return Reading(
        arguments={
            "kind": "cyclegan-resnet",
            "image_channels": first.shape[1],
            "width": first.shape[0],
            "downsamplings": halvings,
            "blocks": len(blocks),
            "norm": norm,
        },
        usual_side=256,
        names=names,
        entries=None,
    )


# ---- pix2pix: model.model is the outermost level, and each level holds the next ----


def _is_pix2pix(weights: Mapping[str, Tensor]) -> bool:
    return "model.model.0.weight" in weights and any(name.startswith("model.model.1.model.") for name in weights)


def _read_pix2pix(weights: Mapping[str, Tensor]) -> Reading:
    halvings = sum(tensor.ndim == 4 for tensor in weights.values()) // 2
    if halvings < 2:
        raise CheckpointError(f"is a U-Net of {halvings} levels; it needs at least 2")
    norm = _norm_kind("model.model.0", "model.model.1.model.2", weights)
    first = _kernel("model.model.0.weight", weights)

    names = _named("model.model.0", "stem", bias=norm == "instance")
    names |= _named("model.model.3", "painter", bias=True)
    inner = "model.model.1.model"
    for level in range(1, halvings):
        up = f"decoder.{halvings - 1 - level}"
        if level < halvings - 1:
            names |= _unit(f"{inner}.1", f"{inner}.2", f"encoder.{level - 1}", norm)
            names |= _unit(f"{inner}.5", f"{inner}.6", up, norm)
        else:
            names |= _named(f"{inner}.1", "bottom", bias=norm == "instance")
            names |= _unit(f"{inner}.3", f"{inner}.4", up, norm)
        inner += ".3.model"
    _check_channels(first.shape[1], _kernel("model.model.3.weight", weights).shape[1])
    return Reading(
        arguments={
            "kind": "pix2pix-unet",
            "image_channels": first.shape[1],
            "width": first.shape[0],
            "downsamplings": halvings,
            "norm": norm,
        },
        usual_side=1 << halvings,
        names=names,
        entries=None,
    )


LAYOUTS = (
    Layout("StarGAN's generator", "main.0.weight", _is_stargan, _read_stargan),
    Layout("CycleGAN's ResNet generator", "model.1.weight", _is_cyclegan, _read_cyclegan),
    Layout("pix2pix's U-Net generator", "model.model.0.weight", _is_pix2pix, _read_pix2pix),
)


def _unit(convolution: str, norm: str, ours: str, kind: Norm | None = None) -> Names:
    """Return the names of a convolution and its norm; StarGAN's norms, of no kind, scale and shift themselves."""
    names = _named(convolution, f"{ours}.convolution", bias=kind == "instance")
    if kind in (None, "batch"):
        names |= _named(norm, f"{ours}.norm", bias=True, others=_STATISTICS if kind == "batch" else ())
    return names


def _named(foreign: str, ours: str, *, bias: bool, others: Iterable[str] = ()) -> Names:
    parts = ("weight", *(["bias"] if bias else []), *others)
    return {f"{foreign}.{part}": f"{ours}.{part}" for part in parts}


def _norm_kind(convolution: str, norm: str, weights: Mapping[str, Tensor]) -> Norm:
    """Return the norm of a CycleGAN or pix2pix file: convolutions have a bias only with instance norm."""
    if f"{convolution}.bias" in weights:
        return "instance"
    return "batch" if f"{norm}.weight" in weights else "none"


def _kernel(name: str, weights: Mapping[str, Tensor]) -> Tensor:
    if name not in weights:
        raise CheckpointError(f"lacks the tensor {name}")
    if weights[name].ndim != 4:
        raise CheckpointError(f"has a tensor {name} of shape {tuple(weights[name].shape)}, not of a convolution")
    return weights[name]


def _matches(pattern: str, weights: Mapping[str, Tensor]) -> Iterator[re.Match[str]]:
    return (found for name in weights if (found := re.fullmatch(pattern, name)))


def _check_channels(read: int, painted: int) -> None:
    if read != painted:
        raise CheckpointError(
            f"reads images of {read} channels and paints {painted}: its translations would not fit into a data "
            "set of its sources"
        )
