"""Batching of images and their targets, with copies to and from a device beside its computation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from stargan.inference.prepare import PreparedGenerator
from stargan.networks import Features

_QUEUED_BLOCKS = 2
"""Blocks queued on a device ahead of the downloaded one, so that it has work while the host consumes that."""

DecoderStage: TypeAlias = Callable[[Features, Tensor, Tensor], Tensor]
StreamJob: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""A (C, H, W) uint8 image, its (M, A) int64 targets, and the (M,) int64 seeds of their noise."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Encoded images and the (image, target) pairs left to decode, on the device.

    `encoded` features have P rows each, `images` are (P, C, H, W) uint8, `vectors` float32 with N rows, one for
    each pair; `rows`, (N,) int64 ascending, is the image of each pair, and `cpu_rows` the same on the CPU.
    """

    encoded: Features
    images: Tensor
    vectors: Tensor
    rows: Tensor
    cpu_rows: Tensor

    def __len__(self) -> int:
        return len(self.cpu_rows)

    def first(self, n: int, size: int) -> tuple[Features, Tensor, Tensor]:
        """Return the first `n` pairs, the last one repeated up to `size`."""
        if n == size and torch.equal(self.cpu_rows[:n], torch.arange(len(self.images))):
            return self.encoded, self.images, self.vectors[:n]
        order = torch.arange(size, device=self.rows.device).clamp(max=n - 1)
        rows = self.rows[order]
        return tuple(_select(maps, rows) for maps in self.encoded), _select(self.images, rows), self.vectors[order]

    def after(self, n: int) -> _Pairs:
        """Return the pairs that follow the first `n`."""
        return replace(self, vectors=self.vectors[n:], rows=self.rows[n:], cpu_rows=self.cpu_rows[n:])

    def joined(self, later: _Pairs) -> _Pairs:
        """Return these pairs and later ones, without images that have no pair left."""
        if not len(self):
            return later
        done = int(self.cpu_rows[0])
        offset = len(self.images) - done
        return _Pairs(
            encoded=tuple(torch.cat([a[done:], b]) for a, b in zip(self.encoded, later.encoded, strict=True)),
            images=torch.cat([self.images[done:], later.images]),
            vectors=torch.cat([self.vectors, later.vectors]),
            rows=torch.cat([self.rows - done, later.rows + offset]),
            cpu_rows=torch.cat([self.cpu_rows - done, later.cpu_rows + offset]),
        )


class Stream:
    """Runs the encoder stage over chunks of images and the decoder stage over blocks of pairs.

    `encode` maps (N, A) codes and (N,) seeds to the vectors that the generator reads. `batch_size` counts the
    images in a chunk and the pairs in a block; it is halved whenever the device's memory does not suffice. With
    `fixed_shapes` all are padded to it.
    """

    def __init__(
        self,
        generator: PreparedGenerator,
        *,
        encode: Callable[[Tensor, Tensor], Tensor],
        device: torch.device,
        batch_size: int,
        fixed_shapes: bool,
    ) -> None:
        self.batch_size = batch_size
        self._generator = generator
        self._encode_targets = encode
        self._device = device
        self._fixed_shapes = fixed_shapes
        self._transfer = _Transfer(device)

    def blocks(self, jobs: Iterable[StreamJob], decode: DecoderStage) -> Iterator[Tensor]:
        """Yield the decoder stage's results for all pairs, on the CPU.

        Each job has at least one target; `decode` is `generator.decoder_stage` or `generator.decoder_difference`.
        """
        downloads: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()
        ahead = _QUEUED_BLOCKS if self._transfer.overlaps else 0
        for block in self._queued(jobs, decode):
            downloads.append(self._transfer.download(block))
            if len(downloads) > ahead:
                yield _waited(*downloads.popleft())
        for download in downloads:
            yield _waited(*download)

    def _queued(self, jobs: Iterable[StreamJob], decode: DecoderStage) -> Iterator[Tensor]:
        """Yield blocks on the device, as soon as their computation is queued there."""
        source = iter(jobs)
        pending: _Pairs | None = None
        while chunk := list(islice(source, self.batch_size)):
            pairs = self._encode(chunk)
            pending = pairs if pending is None else pending.joined(pairs)
            while len(pending) >= self.batch_size:
                block, pending = self._decode(pending, decode)
                yield block
        while pending is not None and len(pending):
            block, pending = self._decode(pending, decode)
            yield block

    def _encode(self, chunk: list[StreamJob]) -> _Pairs:
        """Upload a chunk and run the encoder stage over it, in parts if memory does not suffice."""
        vectors = self._encode_targets(
            torch.cat([targets for _, targets, _ in chunk]), torch.cat([seeds for _, _, seeds in chunk])
        )
        c, h, w = chunk[0][0].shape
        n = self.batch_size if self._fixed_shapes else len(chunk)
        pixels = torch.empty((n, h, w, c), dtype=torch.uint8, pin_memory=self._transfer.overlaps)
        torch.stack([image.permute(1, 2, 0) for image, _, _ in chunk], out=pixels[: len(chunk)])
        pixels[len(chunk) :] = pixels[len(chunk) - 1]
        cpu_rows = torch.repeat_interleave(torch.tensor([len(targets) for _, targets, _ in chunk]))
        images, vectors, rows = self._transfer.upload((pixels, vectors, cpu_rows))
        images = images.permute(0, 3, 1, 2)
        parts: list[Features] = []
        start = 0
        while start < n:
            size = self.batch_size
            part = images[start : start + size]
            encoded = self._attempt(lambda part=part: self._generator.encoder_stage(part))  # type: ignore[misc]
            if encoded is not None:
                parts.append(encoded)
                start += size
        encoded = parts[0] if len(parts) == 1 else tuple(torch.cat(maps) for maps in zip(*parts, strict=True))
        return _Pairs(encoded=encoded, images=images, vectors=vectors, rows=rows, cpu_rows=cpu_rows)

    def _decode(self, pairs: _Pairs, decode: DecoderStage) -> tuple[Tensor, _Pairs]:
        """Run the decoder stage over the first pairs; return its result and the pairs that are left."""
        while True:
            n = min(self.batch_size, len(pairs))
            size = self.batch_size if self._fixed_shapes else n
            block = self._attempt(lambda n=n, size=size: decode(*pairs.first(n, size)))  # type: ignore[misc]
            if block is not None:
                return block[:n], pairs.after(n)

    def _attempt(self, run: Callable[[], T]) -> T | None:
        """Return the result of `run`, or None if memory did not suffice, after halving the batch size."""
        try:
            return run()
        except torch.OutOfMemoryError as error:
            if self.batch_size == 1:
                raise torch.OutOfMemoryError(
                    f"{self._device} has too little free memory to translate a single image: end what else runs "
                    "there, or translate on another device"
                ) from error
        # Outside of the handler: inside, the exception keeps the attempt's tensors alive.
        self.batch_size //= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None


def _select(maps: Tensor, rows: Tensor) -> Tensor:
    """Return rows of (P, ...) maps, in channels-last layout if the maps have it."""
    if maps.dim() == 4 and maps.is_contiguous(memory_format=torch.channels_last):
        return maps.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return maps.index_select(0, rows)


def _waited(tensor: Tensor, done: torch.cuda.Event | None) -> Tensor:
    if done is not None:
        done.synchronize()
    return tensor


class _Transfer:
    """Copies to and from a device; on CUDA from and to pinned memory, each way on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        cuda = device.type == "cuda"
        self._up = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]
        self._down = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]

    @property
    def overlaps(self) -> bool:
        """Whether copies run beside the host, and should then be from pinned memory."""
        return self._up is not None

    def upload(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Copy CPU tensors to the device, whose later work waits for them; the host does not wait."""
        if self._up is None:
            return tuple(tensor.to(self._device) for tensor in tensors)
        with torch.cuda.stream(self._up):
            moved = tuple(
                (tensor if tensor.is_pinned() else tensor.pin_memory()).to(self._device, non_blocking=True)
                for tensor in tensors
            )
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._up)
        for tensor in moved:
            # They were allocated on the copying stream: their memory is in use on this one too.
            tensor.record_stream(current)
        return moved

    def download(self, tensor: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        """Start to copy a result of the current stream to the CPU, in its layout; the event ends the copy."""
        if self._down is None:
            return tensor.cpu(), None
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            host = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, pin_memory=True)
            host.copy_(tensor, non_blocking=True)
            tensor.record_stream(self._down)
            return host, self._down.record_event()
