"""`augmentor merge`: puts together what the shares of an expansion have made, once all of it is there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import cast

from augmentor.errors import AugmentorError, OutputError
from augmentor.expansion.running import explained
from augmentor.expansion.selection import drop_unselected
from augmentor.expansion.settings import ExpandSettings
from augmentor.expansion.shares import remove_left_locks
from augmentor.expansion.writer import make_writer
from augmentor.outputs import Counts, RecordFolder, place_of
from augmentor.outputs.writers import RemoteWriter, WritePages, Writer, counts_of_file
from augmentor.storage import locked


def merge(out: Path, *, write_pages: WritePages) -> Counts:
    """Put an output together from the shards of all shares; a second call changes nothing.

    Args:
        out: the folder, its URL, or the file that the shares were made for.
        write_pages: writes the report and the card, before the output counts as finished.

    Returns:
        What it holds.

    Raises:
        OutputError: shards are missing, somebody writes to it, or nothing was begun there.
        AugmentorError: it was begun by another version of augmentor.
    """
    with explained(out):
        return _merged(out, write_pages)


def _merged(out: Path, write_pages: WritePages) -> Counts:
    if out.is_file():
        return counts_of_file(out)
    begun = RecordFolder(place_of(out).work).begun()
    try:
        settings = ExpandSettings.from_json(cast(Mapping[str, object], begun.description["settings"]))
    except (TypeError, KeyError) as error:
        raise AugmentorError(f"{out}: was begun by another version of augmentor ({error})") from error
    if begun.shards is None:
        raise OutputError(f"{out}: how many shards it will have is not known. Run the same expand again")
    writer = make_writer(out, settings=settings, space=begun.space, description=begun.description)
    with locked(writer.lock, output=out):
        if writer.complete():
            return writer.counts()
        return put_together(out, writer, settings, shards=begun.shards, write_pages=write_pages)


def put_together(
    out: Path, writer: Writer, settings: ExpandSettings, *, shards: int, write_pages: WritePages
) -> Counts:
    """Choose, write the tables and the pages, and give the output its name.

    Args:
        out: the folder or file.
        writer: of the output, whose lock is held.
        settings: what was asked for.
        shards: how many there must be.
        write_pages: writes the report and the card.

    Raises:
        OutputError: some are missing.
    """
    missing = writer.missing(shards)
    if missing:
        raise OutputError(
            f"{len(missing):,} of {shards:,} shards are missing, the first is number {missing[0]:,}. Run the "
            "shares that have not ended again, with the same --shards"
        )
    if settings.rules:
        drop_unselected(writer, shards=shards, rules=settings.rules)

    remove_left_locks(writer.lock)
    disk = writer.here.out if isinstance(writer, RemoteWriter) else out
    with writer.assembly(shards) as assembly:
        return assembly.finish(partial(write_pages, disk))
