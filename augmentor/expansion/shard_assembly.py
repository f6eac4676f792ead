"""Contents of one shard until its commit: images pending in plan order, failures, scores and rejections."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from torch import Tensor

from augmentor.errors import ImageError
from augmentor.images import Original, Pixels
from augmentor.judge import Judgement, RejectedThumbnails
from augmentor.outputs import JudgeResults, LabelRow, Lineage, Rejected, RowScores, SourceFile, rounded
from augmentor.outputs.writers import ShardWriter
from augmentor.planning import Item


class Shard(NamedTuple):
    """A shard to be made; without a writer, one that is committed already.

    Args:
        number: its index in the plan, from 0.
        items: in plan order, read once.
    """

    number: int
    items: Iterable[Item]
    writer: ShardWriter | None


class ShardSource(NamedTuple):
    """A source image: its row of the manifest, and its items in a shard, in plan order.

    Args:
        position: of its first item in the shard.
        link: the label row of its real item, where the file is linked unchanged.
    """

    row: int
    position: int
    items: list[Item]
    link: LabelRow | None


class PendingImage(NamedTuple):
    """An image, of a row and a position in the shard, that waits for its translation, judgement or encoder.

    Args:
        pixels: its source at the model's size; None where neither the judge nor the encoder needs them.
        original: the source at the size to be written, where that is not the model's.
    """

    row: int
    position: int
    label_row: LabelRow
    pixels: Pixels | None
    original: Original | None

    @property
    def source_pixels(self) -> Pixels:
        """`pixels`, where they are needed."""
        if self.pixels is None:
            raise ValueError(f"the source pixels of row {self.row} were not kept")
        return self.pixels

    def output(self, translation: Tensor | None) -> Pixels:
        """Return the pixels to write.

        `translation` is the translator's output, (C, H, W), or with an original its change; None for a real image.
        """
        if self.original is not None:
            return self.original.pixels() if translation is None else self.original.changed(translation)
        if translation is not None:
            picture: Pixels = translation.numpy().transpose(1, 2, 0)
            return picture
        return self.source_pixels


@dataclass
class ShardAssembly:
    """A shard that is being made.

    Args:
        judged: whether translations are judged, which needs the pixels of their sources.
        failed: errors by row of the manifest.
        origins: the files that were read, by the path in the manifest.
        encoded: the encoders' tasks.
    """

    writer: ShardWriter
    judged: bool
    failed: dict[int, ImageError] = field(default_factory=dict)
    origins: dict[str, SourceFile] = field(default_factory=dict)
    encoded: list[Future[None]] = field(default_factory=list)
    _pending: deque[PendingImage] = field(default_factory=deque)
    _scores: dict[int, RowScores] = field(default_factory=dict)
    _rejected: list[tuple[int, Rejected]] = field(default_factory=list)
    _shown: RejectedThumbnails = field(default_factory=RejectedThumbnails)

    def add(
        self, source: ShardSource, label_rows: Sequence[LabelRow], *, pixels: Pixels, original: Original | None
    ) -> None:
        """Append a source's images, without a linked one, to the pending ones; `pixels` have the model's size."""
        for position, label_row in enumerate(label_rows, start=source.position):
            if label_row.is_synthetic or source.link is None:
                needed = self.judged if label_row.is_synthetic else original is None
                kept = pixels if needed else None
                self._pending.append(PendingImage(source.row, position, label_row, kept, original))

    def pop(self, translations: int) -> list[PendingImage]:
        """Remove and return, in plan order, the next `translations` synthetic images and the real ones around."""
        popped: list[PendingImage] = []
        while self._pending and (translations or not self._pending[0].label_row.is_synthetic):
            popped.append(self._pending.popleft())
            translations -= popped[-1].label_row.is_synthetic
        return popped

    def record(self, images: Sequence[PendingImage], pictures: Tensor, judgement: Judgement) -> list[PendingImage]:
        """Record the judge's scores; return the real and the accepted images, with scores in their labels.

        `images` is what `pop` returned; `pictures` (n, C, H, W) uint8 are the n translations at the model's size.
        """
        kept: list[PendingImage] = []
        index = -1
        for image in images:
            if not image.label_row.is_synthetic:
                kept.append(image)
                continue
            index += 1
            agreement = rounded(float(judgement.scores.agreement[index]))
            row = image.label_row._replace(
                agreement=agreement if judgement.scores.checked[index] else None,
                realism=rounded(float(judgement.scores.realism[index])),
            )
            scores = RowScores(
                float(judgement.scores.preserved[index]),
                tuple(judgement.scores.per_attribute[index].tolist()),
            ).rounded()
            reason = judgement.reasons[index]
            if not reason:
                self._scores[image.position] = scores
                kept.append(image._replace(label_row=row))
                continue
            self._shown.add(image.position, float(judgement.shortfalls[index]), pictures[index])
            rejected = Rejected(position=image.position, row=row, scores=scores, reason=reason)
            self._rejected.append((image.row, rejected))
        return kept

    def write(self, images: Sequence[PendingImage], translations: Tensor | None) -> None:
        """Encode and write some images of `pop` or `record`; an original that cannot be read fails its row alone.

        `translations` (n, C, H, W) are of the n synthetic images among them, or their changes; None for none.
        """
        translated = iter(() if translations is None else translations)
        finished = []
        for image in images:
            # Also for an image that fails: the next translation belongs to the next image.
            translation = next(translated) if image.label_row.is_synthetic else None
            try:
                finished.append((image.position, image.label_row, image.output(translation)))
            except ImageError as error:
                self.failed[image.row] = error
        self.writer.add_all(finished)

    def commit(self, lineage: Lineage) -> int:
        """Commit the shard, all of whose images are written; return how many rows failed."""
        failures = [lineage.failure(row, error) for row, error in sorted(self.failed.items())]
        thumbnails = self._shown.thumbnails()
        rejected = [
            replace(each, thumbnail=thumbnails.get(each.position, ""))
            for row, each in self._rejected
            if row not in self.failed  # A row is either failed or rejected.
        ]
        self.writer.commit(failures, self.origins, JudgeResults(scores=self._scores, rejected=rejected))
        return len(self.failed)
