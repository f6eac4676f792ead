"""Which of several processes that train together this one is: what torchrun tells it in the environment."""

from __future__ import annotations

import os


def launched() -> int:
    """Return how many processes torchrun, or a launcher like it, started for this training; 1 if none did."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def on_this_machine() -> int:
    """Return how many of those processes share this machine's cores and memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched() > 1 else 1


def leads() -> bool:
    """Return whether this process speaks for all that were started."""
    return launched() == 1 or os.environ["RANK"] == "0"


def place() -> int:
    """Return this process's number among those on this machine, counted from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))
