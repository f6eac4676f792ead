"""WebDataset packs: tar files in which every image is followed by its labels as JSON."""

from __future__ import annotations

import importlib.util
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from augmentor.errors import MissingExtraError
from augmentor.outputs.description import Shape
from augmentor.outputs.label_table import SCORE_COLUMNS, LabelRow, cells, columns, rounded
from augmentor.outputs.writers.packing import Pack, Packing, damage_named, refuse_taken_name
from stargan.labels import UNKNOWN

CODES = "labels"
"""The key of the codes in a sample's JSON."""


class TarPacking(Packing):
    """Writes SPLIT/NNNNN.tar with KEY.png and KEY.json, by webdataset's own writer.

    The JSON is the image's row of the label table: texts as in `labels.csv` (blank is unknown), `is_synthetic` 0
    or 1, scores as numbers, and `labels`, the codes. Unknown codes and scores are -1, never null: Hugging Face
    takes the types of all samples from the first five. A dot in a key, where webdataset would split off the
    suffix, is written %2E.
    """

    suffix = ".tar"

    def check(self) -> None:
        """Refuse a missing webdataset, or an attribute with the codes' key as its name."""
        if importlib.util.find_spec("webdataset") is None:
            raise MissingExtraError(
                "--format webdataset needs webdataset. Install it: pip install 'stargan-augmentor[webdataset]'"
            )
        refuse_taken_name("webdataset", space=self.space, taken=CODES, by="the codes of all attributes are")

    def write(self, path: Path, rows: Sequence[LabelRow], images: Iterable[bytes], *, shape: Shape | None) -> None:
        """See `Packing.write`."""
        del shape  # The images say it.
        import webdataset as wds  # noqa: PLC0415 - an extra

        with (
            path.open("wb") as file,
            # A fixed time, or the same images would not give the same bytes. PAX, for keys of any length.
            wds.TarWriter(file, encoder=False, mtime=0, format="PAX_FORMAT") as tar,
        ):
            for row, image in zip(rows, images, strict=True):
                name, _, suffix = member_name(row.file_name).rpartition(".")
                tar.write({"__key__": name, suffix: image, "json": self._labels(row)})

    def _labels(self, row: LabelRow) -> bytes:
        written: dict[str, object] = dict(zip(columns(self.space), cells(row, self.space), strict=True))
        written["is_synthetic"] = int(row.is_synthetic)
        for name in SCORE_COLUMNS:
            score = rounded(getattr(row, name))
            written[name] = float(UNKNOWN if score is None else score)
        return json.dumps({**written, CODES: list(row.codes)}, ensure_ascii=False).encode()


def member_name(file_name: str) -> str:
    """Return an image's name in its tar file: its key with dots as %2E, and its suffix."""
    stem, _, suffix = file_name.rpartition("/")[2].rpartition(".")
    return f"{stem.replace('.', '%2E')}.{suffix}"


class TarPack(Pack):
    """A tar file and the places of its members; raises ImageError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with damage_named(path):
            try:
                with tarfile.open(path, "r:") as tar:
                    self._places = {member.name: (member.offset_data, member.size) for member in tar}
            except (MemoryError, OverflowError) as error:
                raise ValueError("a member is larger than the memory") from error
            if any(size < 0 for _, size in self._places.values()):
                raise ValueError("a member has a negative size")

    def read(self, file_name: str) -> bytes:
        """Return the bytes of an image file."""
        with damage_named(self.path):
            first, size = self._places[member_name(file_name)]
            with self.path.open("rb") as file:
                file.seek(first)
                return file.read(size)

    def close(self) -> None:
        """Do nothing: the file is closed between two images."""
