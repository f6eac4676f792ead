"""Messages for out-of-memory, full disks and dead workers during training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from augmentor.errors import SharedMemoryError, StalledError, TrainingError, explain_faults, shared_memory_error
from stargan.checkpoints import CheckpointError, newest_checkpoint
from stargan.distributed import RankLostError

NO_WORKERS = "use --set training.workers=0 or --cache on, which need none"
"""Settings that train without shared memory between processes."""

_LOADER = "DataLoader worker"
"""In torch's plain RuntimeError when a loading process dies."""


@contextmanager
def explained(run: Path) -> Iterator[None]:
    """Turn faults of the machine into messages that name the last checkpoint and say how to continue.

    Raises:
        OutputError: the run folder cannot be written.
        MemoryShortError: out of memory, on the device or in the memory that processes share.
        TrainingError: a loading process died, or another rank.
        StalledError: image loading hangs.
    """
    try:
        with explain_faults(
            run,
            kept=lambda: last_checkpoint(run),
            resume="continue with --resume",
            less_memory="End other processes on the device and continue with --resume, or start a run with a "
            "smaller training.batch_size",
        ):
            yield
    except StalledError as error:
        # The last checkpoint is not looked up: the run's disk may be the one that does not answer.
        raise StalledError(f"{run}: {error}, with --resume: its checkpoints are safe") from error
    except SharedMemoryError as error:
        raise _without_shared_memory(run, error) from error
    except RankLostError as error:
        raise TrainingError(
            f"{run}: another rank of this training has ended or does not answer. {last_checkpoint(run)} Continue "
            "with --resume"
        ) from error
    except RuntimeError as error:
        short = shared_memory_error(error, instead=NO_WORKERS)
        if short is not None:
            raise _without_shared_memory(run, short) from error
        if _LOADER not in str(error):
            raise
        raise TrainingError(
            f"a loading process has died: {str(error).strip().splitlines()[-1].strip()} Too little memory is the "
            f"usual reason. {last_checkpoint(run)} Continue with --resume, and --cache on or --set "
            "training.workers=0, which need no such processes"
        ) from error


def _without_shared_memory(run: Path, error: SharedMemoryError) -> SharedMemoryError:
    return SharedMemoryError(f"{run}: {error}. {last_checkpoint(run)} Continue with --resume")


def last_checkpoint(run: Path) -> str:
    """Return a sentence that names a run's last complete checkpoint."""
    try:
        return f"The last good checkpoint is {newest_checkpoint(run)}."
    except CheckpointError:
        return "There is no checkpoint yet."
