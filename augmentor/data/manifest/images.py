"""What the images' paths alone say, ahead of any work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from augmentor.data.manifest.read import Manifest
from augmentor.data.manifest.rows import SPLITS
from augmentor.errors import ManifestError, counted

_LOOKED_AT = 16
"""Rows whose paths are followed, spread over the manifest: following a million would take a minute."""
_FRAMED = (".gif", ".tif", ".tiff", ".apng")
"""Suffixes of files that often hold several frames or pages."""


def frame_notes(manifest: Manifest) -> list[str]:
    """Remark on files that may hold several frames, of which only the first is read; none is opened."""
    framed = int(manifest.rows["path"].str.lower().str.endswith(_FRAMED).sum())
    if not framed:
        return []
    return [
        f"{manifest.title}: {counted(framed, 'image')} may have several frames or pages ({', '.join(_FRAMED)}): "
        "the first one is used. augmentor check names them"
    ]


def refuse_all_outside(manifest: Manifest, splits: Sequence[str] = SPLITS) -> None:
    """Refuse a manifest of which no image may be read because they all lie outside its folder.

    Where only some do, these become failed rows and the rest goes on.

    Args:
        manifest: the rows.
        splits: whose images will be read.

    Raises:
        ManifestError: naming the first such path and the flag that reads it all the same.
    """
    rows = np.flatnonzero(manifest.split_mask(splits))
    if manifest.allow_outside or not len(rows):
        return
    spread = rows[np.linspace(0, len(rows) - 1, min(len(rows), _LOOKED_AT)).astype(int)]
    if all(manifest.access.is_outside(manifest.image_path(int(row))) for row in spread):
        row = int(spread[0])
        path = str(manifest.rows["path"].iat[row])
        file = str(manifest.rows["file"].iat[row]) if "file" in manifest.rows else str(manifest.path)
        place = manifest.access.led(manifest.image_path(row))
        raise ManifestError(
            f"{file}, row {manifest.rows['line'].iat[row]}: {path!r} leads out of the manifest's folder, to "
            f"{place}, and so do the other rows. A manifest from someone else could name any file of yours, so "
            "this is not read unasked. Where you trust it, add --allow-outside; or put the manifest into the "
            "images' folder"
        )
