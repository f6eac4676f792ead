"""Pool of Ray workers: started, assigned shards, watched, and replaced when they die.

Ray is passed in: `augmentor.expansion.executors.ray` alone imports it.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from augmentor import __version__
from augmentor.errors import AugmentorError
from augmentor.expansion.executors.remote import RemoteWorker, WorkerReport, WorkerResult
from augmentor.expansion.executors.scheduling import ShardScheduler
from augmentor.expansion.executors.work import Work
from augmentor.expansion.progress import Progress
from augmentor.outputs.writers import RemoteWriter
from augmentor.storage import SILENT_SECONDS, TURNS, ProcessError, read_holder, stalled

_CORES = 4
"""CPUs of a worker without a GPU: larger machines are used better by several workers."""

_GRACE_SECONDS = 5.0
_REPORT_SECONDS = 0.25
_REPORTS_PER_SECOND = 200
"""Of all workers together, at most: many workers report less often each."""

START_SECONDS = 600.0
"""Time within which the first worker must start: a cluster that grows on demand takes minutes."""

_MOST_FAILED_STARTS = 3
"""Workers in a row that die before they have started, after which no more are tried."""


class Node(NamedTuple):
    """Resources of a machine of the cluster."""

    cpus: int
    gpus: int


class WorkerResources(NamedTuple):
    """Number of workers; CPUs of each, which decode, encode and, without GPU, translate; GPUs of each, 0 or 1."""

    workers: int
    cpus: int
    gpus: int


def plan_workers(nodes: Sequence[Node], *, device: str, workers: int | None) -> WorkerResources:
    """Return the workers that a cluster has room for on a device, "auto", "cpu" or "cuda".

    By default it is one per GPU, or per four CPUs where there are none.

    Raises:
        AugmentorError: there is no such device.
    """
    with_gpu = [node for node in nodes if node.gpus and node.cpus]
    if device == "cuda" and not with_gpu:
        raise AugmentorError("--device cuda: no node of the Ray cluster has a GPU. Try --device auto")
    if device != "cpu" and with_gpu:
        cpus = min(max(1, node.cpus // node.gpus) for node in with_gpu)
        most = sum(min(node.gpus, node.cpus // cpus) for node in with_gpu)
        return WorkerResources(workers or most, cpus, 1)
    total = sum(node.cpus for node in nodes)
    if not total:
        raise AugmentorError("no node of the Ray cluster lends CPUs. See ray status")
    cpus = min(_CORES, max(node.cpus for node in nodes))
    if workers:
        cpus = max(1, min(cpus, total // workers))
    return WorkerResources(workers or sum(node.cpus // cpus for node in nodes), cpus, 0)


@dataclass(eq=False)
class PoolWorker:
    """A worker, as the driver sees it; `Any` stands for Ray's handles and references, made at run time.

    Args:
        result: reference of the result of the running call.
        started: whether it has received the work of this run.
        turn: number of its assignment.
        numbers: of the shards that it is making.
        committed: those of them that are known to be committed.
        report: reference of its next report; None where none was requested.
        before: its progress with earlier assignments of this run.
        current: its progress with this assignment.
        silent: seconds since its last message.
    """

    actor: Any
    result: Any
    started: bool = False
    turn: int = 0
    numbers: tuple[int, ...] = ()
    committed: frozenset[int] = frozenset()
    report: Any = None
    before: Progress = Progress()  # noqa: RUF009 - frozen
    current: Progress = Progress()  # noqa: RUF009 - frozen
    silent: float = 0.0

    @property
    def progress(self) -> Progress:
        """Its progress in this run."""
        return self.before.followed_by(self.current)


class WorkerPool:
    """The workers of a Ray executor, from its first run to its last; `threads` each, None for one per CPU."""

    def __init__(self, ray: Any, resources: WorkerResources, *, threads: int | None) -> None:
        self.ray = ray
        self.resources = resources
        self.device = torch.device("cuda" if resources.gpus else "cpu")
        self.workers: list[PoolWorker] = []
        self.failed_starts = 0
        self._threads = threads or max(2, resources.cpus)

    def start_worker(self, work: Any, holder: Any) -> None:
        """Request a worker for a pickled `Work` and the lock's holder; it starts when the cluster has room."""
        # Two calls at a time: one makes shards, one reports. No restarts by Ray: the scheduler counts deaths.
        options = {"num_cpus": self.resources.cpus, "num_gpus": self.resources.gpus, "max_concurrency": 2}
        actor = self.ray.remote(**options)(RemoteWorker).remote(self.device.type, self._threads)
        self.workers.append(PoolWorker(actor, actor.start.remote(__version__, holder, work)))

    def stop(self) -> None:
        """Kill all workers, and wait until Ray says that they have ended."""
        workers, self.workers = self.workers, []
        for worker in workers:
            self.ray.kill(worker.actor)
        if workers:
            self.ray.wait([worker.result for worker in workers], num_returns=len(workers), timeout=_GRACE_SECONDS)

    def none_started_error(self) -> ProcessError:
        """Return what to raise where no worker has started for too long."""
        workers, cpus, gpus = self.resources
        each = f"{cpus} CPUs and a GPU" if gpus else f"{cpus} CPUs"
        return ProcessError(
            f"none of {workers} Ray workers has started for {START_SECONDS / 60:g} minutes. Each needs {each}: "
            "ray status shows their use. What was committed is safe: run the same command again"
        )

    def cannot_start_error(self, error: Exception) -> ProcessError:
        """Return what to raise where workers die before they have started."""
        return ProcessError(
            f"Ray workers end before they have started: {last_line(error)}. Every node needs the same Python, Ray "
            f"and augmentor: pip install 'stargan-augmentor[ray]=={__version__}'. What was committed is safe: run "
            "the same command again"
        )


class PoolRun:
    """One run of a pool: workers are started, assigned shards, watched, and replaced when they die."""

    def __init__(
        self,
        pool: WorkerPool,
        work: Work,
        on_progress: Callable[[Progress], None],
        on_committed: Callable[[int], None],
    ) -> None:
        self._pool = pool
        self._ray = pool.ray
        self._work = work
        self._on_progress = on_progress
        self._on_committed = on_committed
        self._scheduler = ShardScheduler(work, workers=pool.resources.workers)
        # The lock file of a URL does not exist on other machines, which must not count as another disk.
        self._holder = None if isinstance(work.writer, RemoteWriter) else read_holder(work.writer.lock)
        # By plain pickle, as for processes: arrays from Ray's own serialisation are read-only.
        self._pickled = self._ray.put(pickle.dumps(work))
        self._dead = Progress()
        self._waited_for_first = 0.0
        for worker in pool.workers:
            worker.started, worker.before, worker.current = False, Progress(), Progress()
            worker.result = worker.actor.start.remote(__version__, self._holder, self._pickled)

    def finish(self) -> None:
        """Make the shards that are missing, as `augmentor.expansion.executors.work.Executor.run` does.

        Raises:
            ProcessError: workers die again and again over a shard, or none can be started.
            StalledError: a worker is alive and has been silent for `SILENT_SECONDS`.
        """
        workers = self._pool.workers
        self._start_workers()
        while self._scheduler.open:
            for ref in self._wait():
                worker = next(worker for worker in workers if ref in (worker.result, worker.report))
                try:
                    message: WorkerResult | WorkerReport = self._ray.get(ref)
                except self._ray.exceptions.RayError as error:
                    self._replace(worker, error)
                else:
                    self._receive(worker, message)
            for worker in workers:
                if worker.started and not worker.numbers:
                    self._assign(worker)
            parts = [self._dead, *(worker.progress for worker in workers)]
            self._on_progress(Progress.combined(parts, total=self._work.items))

    def _start_workers(self) -> None:
        wanted = min(self._pool.resources.workers, self._scheduler.open)
        for _ in range(wanted - len(self._pool.workers)):
            self._pool.start_worker(self._pickled, self._holder)

    def _wait(self) -> list[Any]:
        """Wait until a worker has reported, or died, and return the references that are ready."""
        workers = self._pool.workers
        awaited = [
            ref
            for worker in workers
            if worker.numbers or not worker.started
            for ref in (worker.result, worker.report)
            if ref is not None
        ]
        turn = min(SILENT_SECONDS, START_SECONDS) / TURNS
        before = time.monotonic()
        ready: list[Any] = self._ray.wait(awaited, timeout=turn)[0]
        # Limited, because time while all processes are suspended must not count.
        waited = min(time.monotonic() - before, turn)
        none_started = not any(worker.started for worker in workers)
        self._waited_for_first = self._waited_for_first + waited if none_started else 0.0
        if self._waited_for_first > START_SECONDS:
            raise self._pool.none_started_error()
        for worker in workers:
            answers = not worker.numbers or worker.result in ready or worker.report in ready
            worker.silent = 0.0 if answers else worker.silent + waited
            if worker.silent >= SILENT_SECONDS:
                raise stalled(["a Ray worker does not respond"], SILENT_SECONDS)
        return ready

    def _assign(self, worker: PoolWorker) -> None:
        worker.numbers = self._scheduler.assign()
        if worker.numbers:
            worker.turn += 1
            worker.committed = frozenset()
            worker.result = worker.actor.make_shards.remote(worker.turn, worker.numbers)
            if worker.report is None:
                self._request_report(worker)

    def _request_report(self, worker: PoolWorker) -> None:
        seconds = max(_REPORT_SECONDS, len(self._pool.workers) / _REPORTS_PER_SECOND)
        worker.report = worker.actor.report.remote(seconds)

    def _receive(self, worker: PoolWorker, message: WorkerResult | WorkerReport) -> None:
        if isinstance(message, WorkerReport):
            worker.report = None
            if worker.numbers:
                self._request_report(worker)
                if message.turn == worker.turn:
                    worker.current = message.progress
                    self._report_committed(worker, message.committed)
            return
        if message.error is not None:
            message.error.add_note(f"In a Ray worker:\n{message.trace}")
            raise message.error
        self._pool.failed_starts = 0
        if not worker.started:
            worker.started = True
            return
        self._report_committed(worker, worker.numbers)
        self._scheduler.completed(worker.numbers)
        worker.before, worker.current = worker.before.followed_by(message.report.progress), Progress()
        worker.numbers = ()

    def _report_committed(self, worker: PoolWorker, numbers: Sequence[int]) -> None:
        """Report each committed shard once."""
        for number in numbers:
            if number not in worker.committed:
                self._on_committed(self._work.index(number))
        worker.committed |= frozenset(numbers)

    def _replace(self, worker: PoolWorker, error: Exception) -> None:
        """Schedule a dead worker's shards again, and start another worker.

        Raises:
            ProcessError: too many workers have died over one of these shards, or before they had started.
        """
        self._pool.workers.remove(worker)
        # It may only be out of reach: then it must not write what another one is about to.
        self._ray.kill(worker.actor)
        reason = last_line(error)
        if not worker.started:
            self._pool.failed_starts += 1
            task_error = isinstance(error, self._ray.exceptions.RayTaskError)
            if self._pool.failed_starts >= _MOST_FAILED_STARTS or task_error:
                raise self._pool.cannot_start_error(error) from error
        committed, progress = self._scheduler.worker_died(worker.numbers, reason)
        self._report_committed(worker, committed)
        self._dead = self._dead.followed_by(worker.before).followed_by(progress)
        self._start_workers()


def last_line(error: Exception) -> str:
    """Return the reason at the end of Ray's error message, without Ray's advice."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[-1].partition(" Some common causes")[0].rpartition("Worker exit detail: ")[2]
    return reason.strip().rstrip(".")
