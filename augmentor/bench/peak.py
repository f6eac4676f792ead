"""The most memory that a process has used."""

from __future__ import annotations

import inspect
import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """Return the most memory that this process has used so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts in ru_maxrss what the process was before it was this program, too
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


WATCHED_COMMAND = f"""
import atexit, resource, runpy, sys
from pathlib import Path
{inspect.getsource(peak_memory)}
report = Path(sys.argv.pop(1))
atexit.register(lambda: report.write_text(str(peak_memory())))
runpy.run_module("augmentor", run_name="__main__")
"""
"""Runs `augmentor` and leaves its peak memory, in bytes, in the file that its first argument names.

It holds the function itself: to import it from here would import what counts.
"""
