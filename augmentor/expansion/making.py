"""One shard while it is made: its images wait in their order, are judged and encoded, and are committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from torch import Tensor

from augmentor.errors import ImageError
from augmentor.expansion.stages import Crew
from augmentor.images import Original, Pixels
from augmentor.judge import Judgement, RejectedThumbnails
from augmentor.outputs import Judged, LabelRow, Lineage, Origin, Rejected, RowScores, rounded
from augmentor.outputs.writers import ShardWriter
from augmentor.planning import Item


class Shard(NamedTuple):
    """One shard.

    Args:
        number: its place in the plan, from 0.
        items: in the plan's order, read once.
        writer: where the images go; None where an earlier run has made them.
    """

    number: int
    items: Iterable[Item]
    writer: ShardWriter | None


class ShardSource(NamedTuple):
    """A source and all that a shard asks of it.

    Args:
        row: of the manifest.
        place: of its first item in the shard.
        items: in the plan's order.
        link: the label row of its real item, where that is the file as it is.
    """

    row: int
    place: int
    items: list[Item]
    link: LabelRow | None


class Wanted(NamedTuple):
    """One image on its way to the encoders.

    Args:
        row: of the manifest.
        position: in the shard.
        label_row: its labels.
        pixels: its source at the model's size; None where nobody will look at it.
        original: what a translation is blended into, or what a real image is, at another size.
    """

    row: int
    position: int
    label_row: LabelRow
    pixels: Pixels | None
    original: Original | None

    def finished(self, made: Tensor | None) -> Pixels:
        """Return what is written.

        Args:
            made: the translator's picture, (C, H, W), or where there is an original its change; None of a real
                image.
        """
        if self.original is not None:
            return self.original.pixels() if made is None else self.original.changed(made)
        if made is not None:
            picture: Pixels = made.numpy().transpose(1, 2, 0)
            return picture
        if self.pixels is None:
            raise ValueError("a real image has pixels or an original")
        return self.pixels


@dataclass
class Making:
    """A shard that is being made.

    Args:
        number: the shard's.
        writer: where the images go.
        together: images that one task encodes.
        judged: whether translations are judged, for which their sources are kept until then.
        written: the encoders' tasks.
    """

    number: int
    writer: ShardWriter
    together: int
    judged: bool = False
    written: list[Future[None]] = field(default_factory=list)
    _failed: dict[int, ImageError] = field(default_factory=dict)
    _origins: dict[str, Origin] = field(default_factory=dict)
    _waiting: deque[Wanted] = field(default_factory=deque)
    _scores: dict[int, RowScores] = field(default_factory=dict)
    _rejected: list[tuple[int, Rejected]] = field(default_factory=list)
    _shown: RejectedThumbnails = field(default_factory=RejectedThumbnails)

    def read(self, path: str, origin: Origin) -> None:
        """Note a file that was read, by the path that the manifest writes."""
        self._origins[path] = origin

    def fail(self, source: ShardSource, error: ImageError) -> None:
        """Note that a source cannot be read."""
        self._failed[source.row] = error

    def wait(
        self, source: ShardSource, label_rows: Sequence[LabelRow], *, pixels: Pixels, original: Original | None
    ) -> None:
        """Queue a source's images up: translations until they are made, real ones until those before them are.

        Args:
            source: whose.
            label_rows: of its items.
            pixels: the source at the model's size.
            original: the source at the size that is written, where that is another one.
        """
        for position, label_row in enumerate(label_rows, start=source.place):
            if label_row.is_synthetic or source.link is None:
                seen = self.judged if label_row.is_synthetic else original is None
                kept = pixels if seen else None
                self._waiting.append(Wanted(source.row, position, label_row, kept, original))

    def take(self, made: int) -> list[Wanted]:
        """Return the next `made` translations and the real images around them, in their order."""
        taken: list[Wanted] = []
        while self._waiting and (made or not self._waiting[0].label_row.is_synthetic):
            taken.append(self._waiting.popleft())
            made -= taken[-1].label_row.is_synthetic
        return taken

    def judge(self, images: Sequence[Wanted], pictures: Tensor, judgement: Judgement) -> list[Wanted]:
        """Take note of what was found, and return the images that are kept, with their scores in their labels.

        Args:
            images: what `take` returned.
            pictures: (n, C, H, W) uint8, its translations at the model's size.
            judgement: what was found of these.
        """
        kept: list[Wanted] = []
        place = -1
        for image in images:
            if not image.label_row.is_synthetic:
                kept.append(image)
                continue
            place += 1
            row = image.label_row._replace(
                agreement=rounded(float(judgement.scores.agreement[place])),
                realism=rounded(float(judgement.scores.realism[place])),
            )
            scores = RowScores(
                float(judgement.scores.preserved[place]),
                tuple(judgement.scores.per_attribute[place].tolist()),
            ).rounded()
            reason = judgement.reasons[place]
            if not reason:
                self._scores[image.position] = scores
                kept.append(image._replace(label_row=row))
                continue
            self._shown.add(image.position, float(judgement.shortfalls[place]), pictures[place])
            rejected = Rejected(position=image.position, row=row, scores=scores, reason=reason)
            self._rejected.append((image.row, rejected))
        return kept

    def encode(self, crew: Crew, images: Sequence[Wanted], made: Tensor | None) -> None:
        """Give images to the encoders.

        Args:
            crew: whose encoders.
            images: what `take` returned, or what `judge` left of it.
            made: (n, C, H, W), the n translations among them, or their changes; None for none.
        """
        start = 0
        for first in range(0, len(images), self.together):
            some = images[first : first + self.together]
            stop = start + sum(image.label_row.is_synthetic for image in some)
            part = None if made is None else made[start:stop]
            self.written.append(crew.encode(len(some), self._write, some, part))
            start = stop

    def commit(self, lineage: Lineage) -> int:
        """Commit the shard, of which all is `written`; return how many rows failed."""
        failures = [lineage.failure(row, error) for row, error in sorted(self._failed.items())]
        pictures = self._shown.thumbnails()
        rejected = [
            replace(each, thumbnail=pictures.get(each.position, ""))
            for row, each in self._rejected
            if row not in self._failed  # A row is a failure or it is none.
        ]
        self.writer.commit(failures, self._origins, Judged(scores=self._scores, rejected=rejected))
        return len(self._failed)

    def _write(self, images: Sequence[Wanted], made: Tensor | None) -> None:
        """Finish some images and write them; an original that cannot be read fails its row alone."""
        translated = iter(() if made is None else made)
        finished = []
        for image in images:
            # Taken also for an image that fails: the next one is the next image's.
            own = next(translated) if image.label_row.is_synthetic else None
            try:
                finished.append((image.position, image.label_row, image.finished(own)))
            except ImageError as error:
                self._failed[image.row] = error
        self.writer.add_all(finished)
