"""Tables written beside a manifest: a column's cells replaced, all others as they were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from augmentor.data.manifest.files import DELIMITERS
from augmentor.data.manifest.table import Table
from augmentor.errors import ManifestError, OutputError
from augmentor.storage import RemotePath, replacing_text


def path_beside(manifest: Path, ending: str, *, option: str) -> Path:
    """Return `NAME-ENDING.csv` beside a manifest, in its own format; refused where it exists, or for a URL."""
    if isinstance(manifest, RemotePath):
        raise ManifestError(f"{manifest}: {option} writes a table beside a manifest on this machine's disk")
    suffix = manifest.suffix if manifest.suffix.lower() in DELIMITERS else ".csv"
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in ending)
    out = manifest.with_name(f"{manifest.stem}-{safe}{suffix}")
    if out.exists():
        raise OutputError(f"{out} exists already. Remove it, or use it: augmentor check {out}")
    return out


def write_beside(out: Path, table: Table, *, column: str, instead: Mapping[str, Sequence[str]]) -> None:
    """Write a table with the columns `instead` in the place of a column, behind the others where it is not there.

    Raises:
        OutputError: the file cannot be written.
    """
    frame: dict[str, object] = {table.image_column: table.images}
    if table.ids is not None:
        frame["id"] = table.ids
    for name, cells in table.columns.items():
        if name == column:
            frame |= instead
        else:
            frame[name] = np.array(cells.values, dtype=object)[cells.codes]
    if column not in table.columns:
        frame |= instead
    separator = DELIMITERS[out.suffix.lower()]
    try:
        with replacing_text(out) as file:
            file.write(pd.DataFrame(frame).to_csv(index=False, sep=separator, lineterminator="\n"))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
