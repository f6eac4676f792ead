"""Finishing outputs in tests, as `augmentor.expansion.finish` does."""

from __future__ import annotations

from augmentor.outputs import Counts
from augmentor.outputs.writers import Writer


def finish(writer: Writer, shards: int) -> Counts:
    """Assemble the committed shards of an output."""
    with writer.assembly(shards) as assembly:
        return assembly.finish()
