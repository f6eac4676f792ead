"""End of an output: selection, lock files, preview, tables and pages; used by expand, its shares and merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from augmentor.expansion.selection import Rule, drop_unselected
from augmentor.outputs import Counts
from augmentor.outputs.writers import Assembly, RemoteWriter, WritePages, Writer
from augmentor.storage import share_locks


def finish_output(
    out: Path,
    writer: Writer,
    *,
    shards: int,
    rules: Sequence[Rule] = (),
    write_pages: WritePages,
    draw_preview: Callable[[], None] | None = None,
    assembly: Assembly | None = None,
) -> Counts:
    """Finish an output, all of whose shards are committed; return the counts of its images.

    The output counts as finished last of all; after a kill before that, the same command completes the rest. The
    caller holds the writer's lock. No `draw_preview`: it is drawn already; no `assembly` of the tables: begin one.

    Raises:
        OutputError: a shard is missing, or something cannot be written.
    """
    if rules:
        drop_unselected(writer, shards=shards, rules=rules)
    for path, _ in share_locks(writer.lock):
        path.unlink(missing_ok=True)  # Left by killed shares: the caller holds the output's lock.
    if draw_preview is not None:
        draw_preview()
    disk = writer.here.out if isinstance(writer, RemoteWriter) else out
    with writer.assembly(shards) if assembly is None else nullcontext(assembly) as begun:
        return begun.finish(partial(write_pages, disk))
