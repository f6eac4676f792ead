"""Interface of pack formats: a pack is one file with the images of one split of one shard, and their labels."""

from __future__ import annotations

import importlib.util
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from augmentor.errors import AugmentorError, ImageError, MissingExtraError, first_line
from augmentor.images import ImageFormat
from augmentor.outputs.description import Shape
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.paths import OutputFormat
from stargan.labels import LabelSpace

_DAMAGED = (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError, tarfile.TarError)
"""What reading a pack that is damaged, or anybody's, may raise."""


class Packed(NamedTuple):
    """A pack that is there.

    Args:
        name: its path inside the output.
        rows: how many images it holds.
    """

    name: str
    rows: int


class Packing(Protocol):
    """Writes packs of one form. Holds settings only, so that it can be pickled.

    The same images give the same bytes.
    """

    @property
    def suffix(self) -> str:
        """Of the files, with its dot."""

    @property
    def encoding(self) -> ImageFormat | None:
        """What images are encoded as; None takes bare pixels, which are of one size."""

    def check(self) -> None:
        """Refuse what cannot be written.

        Raises:
            MissingExtraError: a library is not installed.
            AugmentorError: an attribute has a name that the form has taken.
        """

    def write(self, path: Path, rows: Sequence[LabelRow], images: Iterable[bytes], *, shape: Shape | None) -> None:
        """Write a pack; the caller syncs it and gives it its name.

        Args:
            path: the file; replaced if it is there.
            rows: the labels, at least one.
            images: the bytes of each, in the same order; read once.
            shape: (H, W, C) of all images, None for a side in which they differ.
        """

    def write_index(
        self, out: Path, packs: Sequence[Packed], *, shape: Shape | None, description: Mapping[str, object]
    ) -> None:
        """Write what lies over all packs, if this form has something of the kind.

        Args:
            out: the output folder.
            packs: in their order.
            shape: (H, W, C) of all images.
            description: what `dataset.json` will say.
        """


class Pack(ABC):
    """A pack that is open for reading; close it in a `with` block, or by `close`.

    Attributes:
        shape: (H, W, C) of images that are bare pixels; None where they are image files.
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
        """Return the bytes of an image.

        Args:
            file_name: as the label table names it.

        Raises:
            ImageError: it is not there, or cannot be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


def refuse_unpackable(form: OutputFormat, *, library: str, space: LabelSpace, taken: str, by: str) -> None:
    """Refuse a form whose library is not there, or that has taken an attribute's name for itself.

    Args:
        form: what `--format` says, which is the extra's name, too.
        library: that writes it, as it is imported.
        space: the attributes.
        taken: the name that none of them may have.
        by: what has it.

    Raises:
        MissingExtraError: the library is not installed.
        AugmentorError: an attribute has that name.
    """
    if importlib.util.find_spec(library) is None:
        raise MissingExtraError(
            f"--format {form} needs {library}. Install it: pip install 'stargan-augmentor[{form}]'"
        )
    if taken in space.names:
        raise AugmentorError(
            f"--format {form}: an attribute is called {taken!r}, as {by}. Rename its column, or use another "
            "--format"
        )


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn whatever reading a pack raises into one error that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise ImageError(f"{path}: the file is missing") from error
    except _DAMAGED as error:
        raise ImageError(f"{path}: cannot be read, it is damaged: {first_line(error)}") from error
