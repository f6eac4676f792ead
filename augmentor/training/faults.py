"""What can befall a training run from outside, said so that the person knows what is safe and how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from augmentor.errors import (
    MemoryShortError,
    OutputError,
    SharedMemoryError,
    StalledError,
    TrainingError,
    no_shared_memory,
    short_of_memory,
)
from augmentor.training.loading import WITHOUT_PROCESSES
from stargan.checkpoints import CheckpointError, find_checkpoint
from stargan.distributed import RankLostError

_LOADER = "DataLoader worker"
"""What torch says, in a plain RuntimeError, wherever the trainer is when a loading process dies."""


@contextmanager
def explained(run: Path) -> Iterator[None]:
    """Turn full disks, short memory and loading processes that died or hang into what the user can do.

    Raises:
        OutputError: the run folder cannot be written.
        MemoryShortError: the device's memory, or what processes share, does not suffice.
        TrainingError: a process that loads images died, or another one that trains.
        StalledError: what loads images hangs.
    """
    try:
        yield
    except StalledError as error:
        # Which checkpoint is the last one is not looked up: the run's disk may be the one that does not answer.
        raise StalledError(f"{run}: {error}, with --resume: its checkpoints are safe") from error
    except OSError as error:
        where = f" at {error.filename}" if error.filename else ""
        raise OutputError(
            f"{run} cannot be written ({error.strerror or error}{where}). {last_checkpoint(run)} Mend it and go "
            "on with --resume"
        ) from error
    except SharedMemoryError as error:
        raise _without_shared_memory(run, error) from error
    except RankLostError as error:
        raise TrainingError(
            f"{run}: another process of this training has ended or does not answer. {last_checkpoint(run)} Go on "
            "with --resume"
        ) from error
    except (RuntimeError, MemoryError) as error:
        reason = short_of_memory(error)
        if reason:
            raise MemoryShortError(
                f"the device has too little free memory ({reason}). {last_checkpoint(run)} End what else runs "
                "there and go on with --resume, or start a run with a smaller training.batch_size"
            ) from error
        short = None if isinstance(error, MemoryError) else no_shared_memory(error, instead=WITHOUT_PROCESSES)
        if short is not None:
            raise _without_shared_memory(run, short) from error
        if _LOADER not in str(error):
            raise
        raise TrainingError(
            f"a process that loads images has died: {str(error).strip().splitlines()[-1].strip()} Too little "
            f"memory is the usual reason. {last_checkpoint(run)} Go on with --resume, and --cache on or "
            "--set training.workers=0, which need none of these processes"
        ) from error


def _without_shared_memory(run: Path, error: SharedMemoryError) -> SharedMemoryError:
    return SharedMemoryError(f"{run}: {error}. {last_checkpoint(run)} Go on with --resume")


def last_checkpoint(run: Path) -> str:
    """Say which checkpoint of a run is whole, in a sentence."""
    try:
        return f"The last good checkpoint is {find_checkpoint(run)}."
    except CheckpointError:
        return "There is no checkpoint yet."
