"""The most memory that this process has used; imports next to nothing, for that would count."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

WATCHED_COMMAND = """
import atexit, runpy, sys
from pathlib import Path
from augmentor.bench.peak import peak_memory
report = Path(sys.argv.pop(1))
atexit.register(lambda: report.write_text(str(peak_memory())))
runpy.run_module("augmentor", run_name="__main__")
"""
"""Runs `augmentor` and leaves its peak memory, in bytes, in the file that its first argument names."""


def peak_memory() -> int:
    """Return the most memory that this process has used so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts in ru_maxrss what the process was before it was this program, too
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
