"""From images and what is asked of each to blocks of pairs, of a size that suits the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from stargan.inference.prepare import Halves
from stargan.inference.transfer import Download, Transfer
from stargan.networks import Features

_BLOCKS_BEHIND = 2
"""Blocks that are queued on a device, ahead of the one that is waited for: so long the host may take over the
next images without the device running dry."""

Finish: TypeAlias = Callable[[Features, Tensor, Tensor], Tensor]
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Images whose first half is done, and what is still to be made of them, all on the device.

    Args:
        shared: what all targets of an image share, P rows each.
        images: (P, C, H, W) uint8.
        vectors: (N, L) float32, one for each pair.
        rows: (N,) int64, the image of each pair, never falling.
        rows_here: the same on the CPU.
    """

    shared: Features
    images: Tensor
    vectors: Tensor
    rows: Tensor
    rows_here: Tensor

    def __len__(self) -> int:
        return len(self.rows_here)

    def first(self, n: int, size: int) -> tuple[Features, Tensor, Tensor]:
        """Return the first `n` pairs, the last one repeated up to `size`."""
        whole = torch.arange(len(self.images))
        if n == size and torch.equal(self.rows_here[:n], whole):
            return self.shared, self.images, self.vectors[:n]
        order = torch.arange(size, device=self.rows.device).clamp(max=n - 1)
        rows = self.rows[order]
        return tuple(_select(maps, rows) for maps in self.shared), _select(self.images, rows), self.vectors[order]

    def after(self, n: int) -> _Pairs:
        """Return the pairs that follow the first `n`."""
        return _Pairs(
            shared=self.shared,
            images=self.images,
            vectors=self.vectors[n:],
            rows=self.rows[n:],
            rows_here=self.rows_here[n:],
        )

    def joined(self, later: _Pairs) -> _Pairs:
        """Return these pairs and later ones, without the images that have none left."""
        if not len(self):
            return later
        gone = int(self.rows_here[0])
        offset = len(self.images) - gone
        return _Pairs(
            shared=tuple(torch.cat([a[gone:], b]) for a, b in zip(self.shared, later.shared, strict=True)),
            images=torch.cat([self.images[gone:], later.images]),
            vectors=torch.cat([self.vectors, later.vectors]),
            rows=torch.cat([self.rows - gone, later.rows + offset]),
            rows_here=torch.cat([self.rows_here - gone, later.rows_here + offset]),
        )


class Stream:
    """Runs a generator's halves over chunks of images and blocks of pairs.

    Args:
        halves: what is run.
        encode: from (N, A) codes to (N, L) label vectors.
        device: where `halves` computes.
        batch_size: images in a chunk, and pairs in a block.
        fixed_shapes: whether the last chunk and block are filled up, by repetition, so that all have one shape.

    Attributes:
        batch_size: halved whenever the device's memory did not suffice.
    """

    def __init__(
        self,
        halves: Halves,
        *,
        encode: Callable[[Tensor], Tensor],
        device: torch.device,
        batch_size: int,
        fixed_shapes: bool,
    ) -> None:
        self.batch_size = batch_size
        self._halves = halves
        self._encode_targets = encode
        self._device = device
        self._fixed_shapes = fixed_shapes
        self._transfer = Transfer(device)

    def blocks(self, asked: Iterable[tuple[Tensor, Tensor]], finish: Finish) -> Iterator[Tensor]:
        """Yield what `finish` makes of all pairs, on the CPU.

        Args:
            asked: images, (C, H, W) uint8, and the targets of each, (M, A) int64 with M at least 1.
            finish: `halves.finish` or `halves.change`.
        """
        under_way: deque[Download] = deque()
        behind = _BLOCKS_BEHIND if self._transfer.overlaps else 0
        for block in self._launched(asked, finish):
            under_way.append(self._transfer.download(block))
            if len(under_way) > behind:
                yield under_way.popleft().wait()
        for download in under_way:
            yield download.wait()

    def _launched(self, asked: Iterable[tuple[Tensor, Tensor]], finish: Finish) -> Iterator[Tensor]:
        """Yield blocks on the device, as soon as the work on them is queued there."""
        source = iter(asked)
        pending: _Pairs | None = None
        while chunk := list(islice(source, self.batch_size)):
            pairs = self._encode(chunk)
            pending = pairs if pending is None else pending.joined(pairs)
            while len(pending) >= self.batch_size:
                block, pending = self._decode(pending, finish)
                yield block
        while pending is not None and len(pending):
            block, pending = self._decode(pending, finish)
            yield block

    def _encode(self, chunk: list[tuple[Tensor, Tensor]]) -> _Pairs:
        """Upload a chunk and run the first half over it; in parts, if memory does not suffice."""
        vectors = self._encode_targets(torch.cat([targets for _, targets in chunk]))
        c, h, w = chunk[0][0].shape
        n = self.batch_size if self._fixed_shapes else len(chunk)
        pixels = torch.empty((n, h, w, c), dtype=torch.uint8, pin_memory=self._transfer.overlaps)
        torch.stack([image.permute(1, 2, 0) for image, _ in chunk], out=pixels[: len(chunk)])
        pixels[len(chunk) :] = pixels[len(chunk) - 1]
        rows_here = torch.repeat_interleave(torch.tensor([len(targets) for _, targets in chunk]))
        images, vectors, rows = self._transfer.upload((pixels, vectors, rows_here)).arrive()
        images = images.permute(0, 3, 1, 2)
        parts: list[Features] = []
        start = 0
        while start < n:
            size = self.batch_size
            part = images[start : start + size]
            shared = self._attempt(lambda part=part: self._halves.share(part))  # type: ignore[misc]
            if shared is not None:
                parts.append(shared)
                start += size
        shared = parts[0] if len(parts) == 1 else tuple(torch.cat(maps) for maps in zip(*parts, strict=True))
        return _Pairs(shared=shared, images=images, vectors=vectors, rows=rows, rows_here=rows_here)

    def _decode(self, pairs: _Pairs, finish: Finish) -> tuple[Tensor, _Pairs]:
        """Run the second half over the first pairs; return what it made, and the pairs that are left."""
        while True:
            n = min(self.batch_size, len(pairs))
            size = self.batch_size if self._fixed_shapes else n
            block = self._attempt(lambda n=n, size=size: finish(*pairs.first(n, size)))  # type: ignore[misc]
            if block is not None:
                return block[:n], pairs.after(n)

    def _attempt(self, run: Callable[[], Made]) -> Made | None:
        """Return what `run` makes, or None if memory did not suffice: then less is to be tried."""
        try:
            return run()
        except torch.OutOfMemoryError as error:
            if self.batch_size == 1:
                raise torch.OutOfMemoryError(
                    f"{self._device} has too little free memory to translate a single image: end what else runs "
                    "there, or translate on another device"
                ) from error
        # Not above: there the exception still holds all that the attempt had made.
        self.batch_size //= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None


def _select(maps: Tensor, rows: Tensor) -> Tensor:
    """Return rows of (P, ...) maps; laid out with the channels last if they are."""
    if maps.dim() == 4 and maps.is_contiguous(memory_format=torch.channels_last):
        return maps.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return maps.index_select(0, rows)
