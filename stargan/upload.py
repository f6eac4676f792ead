"""Copies of a training step's inputs to the device, for which the host does not wait."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stargan.distributed import SINGLE_RANK, Ranks
from stargan.labels import UNKNOWN, LabelSpace


class Labels(NamedTuple):
    """A batch's domains and targets in every form that networks and losses read, on one device.

    Vectors are `LabelSpace.encode`'s, (N, L) float32. `signed` is `LabelSpace.encode_signed`'s, (N, D) float32,
    for a D with `matches`. Codes and targets are (N, A) int64, -1 unknown. `returns` is (N,) bool,
    see `may_return`. `known` counts the known labels in a rank's share on average, (A,) float32; None with one
    rank.
    """

    source_vectors: Tensor
    target_vectors: Tensor
    source_signed: Tensor
    target_signed: Tensor
    codes: Tensor
    targets: Tensor
    returns: Tensor
    known_codes: Tensor | None = None
    known_targets: Tensor | None = None


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on `device`; the host does not wait for work that is queued there."""
    if device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        # A copy from pageable memory uses a buffer of the driver, for which the host may have to wait.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def upload_labels(
    codes: Tensor, targets: Tensor, space: LabelSpace, *, device: torch.device, ranks: Ranks = SINGLE_RANK
) -> Labels:
    """Encode a batch's domains and targets on the CPU and copy this rank's share to the device, all at once.

    `codes` and `targets` are those of all ranks, (world_size * N, A) int64 on the CPU, -1 unknown.
    """
    several = ranks.world_size > 1
    counts = [upload(_known(whole, ranks), device) if several else None for whole in (codes, targets)]
    own, wanted = ranks.local_share(codes), ranks.local_share(targets)
    both = torch.cat([own, wanted])
    returns = may_return(own, wanted, space).float().repeat(2)
    # As floats codes stay exact: no attribute has 2**24 values.
    parts = (space.encode(both), space.encode_signed(both), both.float(), returns[:, None])
    packed = upload(torch.cat(parts, dim=1), device)
    sizes = [part.shape[1] for part in parts]
    (source_vectors, source_signed, own, returns), (target_vectors, target_signed, wanted, _) = (
        [part.contiguous() for part in torch.split(side, sizes, dim=1)] for side in packed.chunk(2)
    )
    return Labels(
        source_vectors=source_vectors,
        target_vectors=target_vectors,
        source_signed=source_signed,
        target_signed=target_signed,
        codes=own.long(),
        targets=wanted.long(),
        returns=returns[:, 0] > 0,
        known_codes=counts[0],
        known_targets=counts[1],
    )


def may_return(codes: Tensor, targets: Tensor, space: LabelSpace) -> Tensor:
    """Return, (N,) bool, whether an image's domain says everything that the way back from its target needs.

    It does not where the target sets an unknown attribute of the image's own label set: G cannot know what to
    restore, and learns to hide it in the translation.

    codes, targets: (N, A) integers, -1 unknown.
    """
    lost = (codes == UNKNOWN) & (targets != UNKNOWN)
    if space.label_sets:
        own = space.known_sets(codes)[:, list(space.set_of_attribute)]
        lost &= own
    return ~lost.any(dim=1)


def _known(codes: Tensor, ranks: Ranks) -> Tensor:
    """Return the number of known labels in a rank's share on average, (A,) float32."""
    return (codes != UNKNOWN).sum(dim=0).float() / ranks.world_size
