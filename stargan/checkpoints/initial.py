"""Weights of a trained network as the beginning of one with other labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from stargan.networks import Discriminator, TranslatingGenerator

Network = TranslatingGenerator | Discriminator


@torch.no_grad()
def take_weights(
    network: Network,
    source: Network,
    *,
    entries: Sequence[int | None],
    build: Callable[[Mapping[str, object]], Network],
    clear: bool,
) -> tuple[str, ...]:
    """Copy the weights of `source` that fit into `network`, those that belong to a label's entry one by one.

    Args:
        network: changed in place.
        source: a network of the same kind.
        entries: for each of the network's L label entries, the source's of the same meaning; None for none.
        build: builds the network of its arguments.
        clear: whether weights of entries without a source become 0, so that a generator does not read them yet,
            in the place of staying as they are.

    Returns:
        The names of the network's tensors that stay as they are: the source has none of that name and shape, or
            reads no labels and `clear` is off.
    """
    own, theirs = network.state_dict(), source.state_dict()
    there = source.arguments["vector_size"]
    same = list(entries) == list(range(there))
    axes = _label_axes(network, build)
    left = []
    for name, tensor in own.items():
        other = theirs.get(name)
        if other is not None and other.shape == tensor.shape and (same or name not in axes):
            tensor.copy_(other)
            continue
        axis = axes.get(name)
        if other is None and axis is not None and clear and set(entries) == {None}:
            tensor.zero_()  # a source that reads no labels: what it does is done for all of them
            continue
        if other is None or axis is None or other.ndim != tensor.ndim:
            left.append(name)
            continue
        # The label's entries are the last ones of the axis.
        before = tensor.shape[axis] - len(entries)
        if _without(other, axis) != _without(tensor, axis) or other.shape[axis] - there != before:
            left.append(name)
            continue
        if clear:
            tensor.zero_()
        tensor.narrow(axis, 0, before).copy_(other.narrow(axis, 0, before))
        for entry, found in enumerate(entries):
            if found is not None:
                tensor.select(axis, before + entry).copy_(other.select(axis, before + found))
    return tuple(left)


def _label_axes(network: Network, build: Callable[[Mapping[str, object]], Network]) -> dict[str, int | None]:
    """Return the axis of each tensor that grows with the label vector; None where it grows otherwise than by 1."""
    with torch.device("meta"):
        wider = build({**network.arguments, "vector_size": network.arguments["vector_size"] + 1}).state_dict()
    axes: dict[str, int | None] = {}
    for name, tensor in network.state_dict().items():
        pairs = enumerate(zip(tensor.shape, wider[name].shape, strict=True))
        growth = {axis: wide - narrow for axis, (narrow, wide) in pairs if wide != narrow}
        for axis, by in growth.items():
            axes[name] = axis if by == 1 else None
    return axes


def _without(tensor: Tensor, axis: int) -> list[int]:
    """Return the sides of a tensor without that of an axis."""
    return [side for place, side in enumerate(tensor.shape) if place != axis]
