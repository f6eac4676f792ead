"""Worker that makes the shards a driver assigns to it, perhaps on another machine; independent of Ray."""

from __future__ import annotations

import pickle
import socket
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch

from augmentor import __version__
from augmentor.errors import AugmentorError, OutputError
from augmentor.expansion.executors.local import run_here
from augmentor.expansion.executors.work import Networks, Work, refuse_absent_sources
from augmentor.expansion.progress import Progress
from augmentor.storage import Holder, portable, read_holder

_CACHE_SECONDS = 5.0
"""Time for which a network disk may show outdated contents."""


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """Progress of a worker with assignment number `turn`, and the numbers of its shards that are committed."""

    turn: int = -1
    progress: Progress = Progress()  # noqa: RUF009 - frozen
    committed: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WorkerResult:
    """Result of a call to a worker: the progress at its end, and the error that stopped it, with its traceback."""

    report: WorkerReport = WorkerReport()
    error: BaseException | None = None
    trace: str = ""


class RemoteWorker:
    """Makes shards, decoding and encoding in `threads`, and holds the model and the judges.

    `report` may be called in another thread.
    """

    def __init__(self, device: str, threads: int) -> None:
        self._device = torch.device(device)
        self._threads = threads
        self._work: Work | None = None
        self._networks: Networks | None = None
        self._report = WorkerReport()
        self._reporting = threading.Lock()
        # One thread for all calls: compiled networks belong to the thread that compiled them.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="makes")

    def start(self, version: str, holder: Holder | None, work: bytes) -> WorkerResult:
        """Receive the work of a run, pickled; again for a later run with the same model.

        `version` is that of the driver's augmentor, `holder` what it reads in the output's lock file.
        """

        def receive() -> None:
            try:
                # Before all else: the work of another version may not even be unpickled.
                if version != __version__:
                    raise OutputError(
                        f"augmentor is {__version__} there, and {version} here. Install the same one on every "
                        f"node: pip install stargan-augmentor=={version}"
                    )
                received: Work = pickle.loads(work)
                if self._work is None:
                    self._refuse_other_machine(received, holder)
            except AugmentorError as error:
                raise OutputError(f"a worker on {socket.gethostname()} cannot start: {error}") from error
            self._work = replace(received, workers=self._threads)

        return self._result_of(receive)

    def make_shards(self, turn: int, numbers: tuple[int, ...]) -> WorkerResult:
        """Make shards (numbers as `Work.index` counts) and commit them; `turn` is the number of the assignment."""
        work = self._work
        if work is None:
            raise RuntimeError("start comes first")
        self._report = WorkerReport(turn=turn)

        def note_progress(progress: Progress) -> None:
            with self._reporting:
                self._report = replace(self._report, progress=progress)

        def note_committed(index: int) -> None:
            with self._reporting:
                committed = (*self._report.committed, index - work.first_shard)
                self._report = replace(self._report, committed=committed)

        def make() -> None:
            if self._networks is None:
                self._networks = work.networks(self._device)
            run_here(
                work,
                self._networks,
                on_progress=note_progress,
                on_committed=note_committed,
                numbers=iter(numbers),
            )

        return self._result_of(make)

    def report(self, seconds: float) -> WorkerReport:
        """Return the progress, after some seconds."""
        time.sleep(seconds)
        return self._report

    def _result_of(self, function: Callable[[], None]) -> WorkerResult:
        """Call a function and return its error as a value: Ray would wrap a raised one."""
        try:
            self._thread.submit(function).result()
        except Exception as error:  # noqa: BLE001 - it is raised again where the run was started
            return WorkerResult(report=self._report, error=portable(error), trace=traceback.format_exc())
        return WorkerResult(report=self._report)

    def _refuse_other_machine(self, work: Work, holder: Holder | None) -> None:
        """Check that the output, the images and the device are those of the driver."""
        lock = work.writer.lock
        deadline = time.monotonic() + _CACHE_SECONDS
        while holder is not None and read_holder(lock) != holder:
            if time.monotonic() > deadline:
                raise OutputError(
                    f"{lock.parent}: is not there, or is another folder than the one of the same name on "
                    f"{holder.host}. Every node must see the manifest's images and --out at the same path: put "
                    "them on a disk that all share"
                )
            time.sleep(0.1)
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise OutputError(
                "Ray has given a GPU to a worker whose torch cannot use it. Install a torch built for CUDA on "
                "every node, or use --device cpu"
            )
        refuse_absent_sources(work.sources.manifest)
