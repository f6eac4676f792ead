"""Interface of pack formats: a pack is one file with the images of one split of one shard, and their labels."""

from __future__ import annotations

import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

from augmentor.errors import AugmentorError, ImageError, first_line
from augmentor.images import ImageFormat
from augmentor.outputs.description import Shape
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.paths import OutputFormat
from stargan.labels import LabelSpace

_DAMAGED = (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError, tarfile.TarError)
"""Exceptions of reading a pack that is damaged or foreign."""


class Packed(NamedTuple):
    """A pack that exists: its path inside the output, and its number of images."""

    name: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Packing(ABC):
    """Writes packs of one format; the same images give the same bytes. Holds settings only: it can be pickled.

    Args:
        encoding: format of the images; None for pixels, which must be of one size.
    """

    space: LabelSpace
    encoding: ImageFormat | None
    suffix: ClassVar[str]

    @abstractmethod
    def check(self) -> None:
        """Refuse a missing library, or an attribute with a name that the format reserves."""

    @abstractmethod
    def write(self, path: Path, rows: Sequence[LabelRow], images: Iterable[bytes], *, shape: Shape | None) -> None:
        """Write a pack; the caller syncs it and gives it its name.

        `images` are the bytes of each of `rows`, at least one, read once. `shape` is their (H, W, C), with None
        for a side in which they differ.
        """

    def write_index(  # noqa: B027 - most formats have none
        self, out: Path, packs: Sequence[Packed], *, shape: Shape | None, description: Mapping[str, object]
    ) -> None:
        """Write an index over all packs, in order, if the format has one; `description` is `dataset.json`."""


class Pack(ABC):
    """A pack open for reading, to be used in a `with` block or closed.

    `shape` is (H, W, C) of pixels, None where images are encoded.
    """

    shape: tuple[int, ...] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def read(self, file_name: str) -> bytes:
        """Return the bytes of an image by its name in the label table; raise ImageError if it cannot be read."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


def refuse_taken_name(form: OutputFormat, *, space: LabelSpace, taken: str, by: str) -> None:
    """Refuse an attribute with the name that a format reserves; `by` says for what."""
    if taken in space.names:
        raise AugmentorError(
            f"--format {form}: an attribute is called {taken!r}, as {by}. Rename its column, or use another "
            "--format"
        )


def pack_name(file_name: str, suffix: str) -> str:
    """Return the path of an image's pack: train/00003/KEY.png is in train/00003.tar."""
    return file_name.rpartition("/")[0] + suffix


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn the errors of reading a pack into an ImageError with its path."""
    try:
        yield
    except FileNotFoundError as error:
        raise ImageError(f"{path}: the file is missing") from error
    except _DAMAGED as error:
        raise ImageError(f"{path}: cannot be read, it is damaged: {first_line(error)}") from error
