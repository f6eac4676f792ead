"""Paths and URLs, access rules, atomic files, locks, and threads whose waits end.

Everything about where bytes are kept.
"""

from augmentor.storage.access import ANYWHERE, MAX_PIXELS, Access, is_there
from augmentor.storage.atomic import (
    TEMPORARY,
    replace_bytes,
    replacing_text,
    sync_file,
    sync_files,
    sync_folder,
    write_synced,
    write_unsynced,
)
from augmentor.storage.lock import Holder, TakenError, is_free, locked, patiently_locked, read_holder
from augmentor.storage.schema import read_declared
from augmentor.storage.text_files import CsvWriter, Json, write_json
from augmentor.storage.urls import (
    RemotePath,
    Status,
    content,
    each,
    has_secrets,
    located,
    parse_path,
    refuse_unusable,
    remove,
    upload,
    write_bytes,
)
from augmentor.storage.workers import (
    STALLED_SECONDS,
    TURNS,
    What,
    Workers,
    anything_hangs,
    end_together,
    leave_behind,
    side_by_side,
    stalled,
    usable_cores,
    wait_limits,
)

__all__ = [
    "ANYWHERE",
    "MAX_PIXELS",
    "STALLED_SECONDS",
    "TEMPORARY",
    "TURNS",
    "Access",
    "CsvWriter",
    "Holder",
    "Json",
    "RemotePath",
    "Status",
    "TakenError",
    "What",
    "Workers",
    "anything_hangs",
    "content",
    "each",
    "end_together",
    "has_secrets",
    "is_free",
    "is_there",
    "leave_behind",
    "located",
    "locked",
    "parse_path",
    "patiently_locked",
    "read_declared",
    "read_holder",
    "refuse_unusable",
    "remove",
    "replace_bytes",
    "replacing_text",
    "side_by_side",
    "stalled",
    "sync_file",
    "sync_files",
    "sync_folder",
    "upload",
    "usable_cores",
    "wait_limits",
    "write_bytes",
    "write_json",
    "write_synced",
    "write_unsynced",
]
