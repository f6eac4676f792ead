"""Runs a command that makes short pauses only before it asks a storage again: impatient.py COMMAND..."""

from __future__ import annotations

import runpy

from augmentor.storage import filesystems
from augmentor.storage.retrying import RetryPolicy

if __name__ == "__main__":
    filesystems.RETRIES = RetryPolicy(first=0.01)
    runpy.run_module("augmentor", run_name="__main__")
