"""What a step reads, on its way to the device: in one copy, which the host does not wait for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stargan.distributed import SINGLE_RANK, Ranks
from stargan.labels import UNKNOWN, LabelSpace


class Labels(NamedTuple):
    """A batch's domains and targets in every form that the networks and losses read, on one device.

    Args:
        source_vectors: (N, L) float32, what G reads to come back; see `LabelSpace.encode`.
        target_vectors: (N, L) float32, what G reads to translate.
        source_signed: (N, D) float32, what a matching D is asked about the images; see `LabelSpace.encode_signed`.
        target_signed: (N, D) float32, what it is asked about their translations.
        codes: (N, A) int64, the images' domains, -1 unknown.
        targets: (N, A) int64, the targets, -1 unknown.
        known_codes: (A,) float32, how many of the codes are known in a rank's share on average; None with one
            rank.
        known_targets: (A,) float32, the same of the targets.
    """

    source_vectors: Tensor
    target_vectors: Tensor
    source_signed: Tensor
    target_signed: Tensor
    codes: Tensor
    targets: Tensor
    known_codes: Tensor | None = None
    known_targets: Tensor | None = None


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on `device`; one from the CPU without waiting for the work that is queued there."""
    if device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        # A copy from memory that may be swapped out is made in a buffer of the driver's, which may be waited for.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def upload_labels(
    codes: Tensor, targets: Tensor, space: LabelSpace, *, device: torch.device, ranks: Ranks = SINGLE_RANK
) -> Labels:
    """Encode a batch's domains on the CPU, where looking at them costs no wait, and copy all at once.

    Args:
        codes: (world_size * N, A) int64 on the CPU, of all ranks, -1 unknown.
        targets: (world_size * N, A) int64 on the CPU, of all ranks, -1 unknown.
        space: what they mean.
        device: where they are wanted.
        ranks: the ranks that train together; what is returned is this one's share.
    """
    counts = [
        None if ranks.world_size == 1 else upload(_known(whole, ranks), device) for whole in (codes, targets)
    ]
    both = torch.cat([ranks.local_share(codes), ranks.local_share(targets)])
    # As floats codes stay exact: no attribute has 2**24 values.
    parts = (space.encode(both), space.encode_signed(both), both.float())
    packed = upload(torch.cat(parts, dim=1), device)
    own, asked = packed.chunk(2)
    sizes = [part.shape[1] for part in parts]
    source_vectors, source_signed, own_codes = torch.split(own, sizes, dim=1)
    target_vectors, target_signed, asked_codes = torch.split(asked, sizes, dim=1)
    return Labels(
        source_vectors=source_vectors.contiguous(),
        target_vectors=target_vectors.contiguous(),
        source_signed=source_signed.contiguous(),
        target_signed=target_signed.contiguous(),
        codes=own_codes.long(),
        targets=asked_codes.long(),
        known_codes=counts[0],
        known_targets=counts[1],
    )


def _known(codes: Tensor, ranks: Ranks) -> Tensor:
    """Return (A,) float32: how many of all ranks' labels are known in a share on average."""
    return (codes != UNKNOWN).sum(dim=0).float() / ranks.world_size
