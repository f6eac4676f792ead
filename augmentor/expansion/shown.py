"""A few of a manifest's images, for previews, estimates and the choice of a batch size."""

from __future__ import annotations

from collections.abc import Sequence

from augmentor.images.full_resolution import Original, OutputSize
from augmentor.data.manifest import Manifest
from augmentor.data.models import model_crop
from augmentor.report import Shown, read_spread
from stargan.checkpoints.checkpoint import Model


def some_sources(manifest: Manifest, model: Model, *, splits: Sequence[str], most: int) -> Shown:
    """Read a few of a manifest's images as the model wants them; see `read_spread`."""
    return read_spread(
        manifest,
        splits=splits,
        size=model.image_size,
        channels=model.image_channels,
        crop=model_crop(model),
        most=most,
    )


def shown_originals(
    manifest: Manifest,
    model: Model,
    shown: Shown,
    *,
    size: OutputSize,
    uses: int,
    longest: int | None = None,
) -> list[Original] | None:
    """Return the originals of what `some_sources` read, at the size that is written; None for the model's.

    Args:
        manifest: the table that they were read from.
        model: what translates.
        shown: what was read.
        size: what is written.
        uses: how many times each will be used.
        longest: pixels of the longest side to which each is shrunk, or None.
    """
    if size == "model":
        return None
    return [
        Original(
            manifest.image_path(row),
            size=size,
            model=model,
            crop=model_crop(model),
            uses=uses,
            longest=longest,
            access=manifest.access,
        )
        for row in shown.rows
    ]
