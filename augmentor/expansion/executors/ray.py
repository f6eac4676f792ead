"""Executor on a Ray cluster, or on a Ray of this machine: a worker per GPU, or per four CPUs.

Ray starts the workers and transports shard numbers, reports and errors; it stores nothing of a run. Workers read
the images and write the output themselves: every node needs this version of augmentor, and must see the manifest's
images and `--out` at the same paths, which each worker checks when it starts.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

import torch

from augmentor.errors import AugmentorError, MissingExtraError, first_line
from augmentor.expansion.executors.pool import START_SECONDS, Node, PoolRun, WorkerPool, plan_workers
from augmentor.expansion.executors.work import Executor, Work
from augmentor.expansion.progress import Progress
from augmentor.storage import ProcessError, interrupts_held_back, usable_cores
from stargan.inference import compiling_works

_STORE_BYTES = 200_000_000
"""Shared memory of a Ray started here: it holds the model and the manifest once; more is spilled to the disk."""

_ATTEMPTS = 2
"""Attempts to start Ray here: it gives its processes 30 seconds, too few on a busy machine."""

_CONNECT_SECONDS = 5.0


class RayExecutor(Executor):
    """Workers started by Ray; a Ray initialised in this process already is used as it is and left running.

    Args:
        address: of a cluster's head, "auto" for the one that this machine belongs to; None for RAY_ADDRESS of the
            environment, as Ray does, or else starts a Ray on this machine, which ends with the run.
        workers: how many; None for one per GPU, or per four CPUs where there are none.
        device: "auto", "cpu" or "cuda".
        threads: that decode and encode in each worker; None for as many as it has CPUs.

    Raises:
        AugmentorError: the device has an index, or nothing answers at the address.
        MissingExtraError: Ray is not installed.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        workers: int | None = None,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise AugmentorError(
                f"--device {device}: Ray deals out the devices of its nodes. Write auto, cpu or cuda, and with "
                "--ray-workers how many"
            )
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._ray = _import_ray(joins=self._address != "local")
        self._workers = workers
        self._asked_device = device
        self._threads = threads
        self._started_here = False
        self._pool: WorkerPool | None = None
        self._refuse_silent_address()

    def __enter__(self) -> Self:
        on_main_thread = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM)
        try:
            if not self._ray.is_initialized():
                self._started_here = True
                self._connect()
            nodes = [_node(node["Resources"]) for node in self._ray.nodes() if node["Alive"]]
            resources = plan_workers(nodes, device=self._asked_device, workers=self._workers)
            self._pool = WorkerPool(self._ray, resources, threads=self._threads)
        except BaseException:
            self.close()
            raise
        finally:
            if on_main_thread:  # There Ray has installed its own handler.
                signal.signal(signal.SIGTERM, before)
        return self

    @property
    def device(self) -> torch.device:
        """A device of the kind that all workers have."""
        return self._running_pool.device

    def compiling_works(self) -> bool:
        """Return whether torch.compile finds what it needs on a worker's machine."""
        pool = self._running_pool
        task = self._ray.remote(num_cpus=pool.resources.cpus, num_gpus=pool.resources.gpus)(compiling_works)
        try:
            found: bool = self._ray.get(task.remote(pool.device), timeout=START_SECONDS)
        except self._ray.exceptions.GetTimeoutError:
            raise pool.none_started_error() from None
        except self._ray.exceptions.RayError as error:
            raise pool.cannot_start_error(error) from error
        return found

    def run(
        self, work: Work, *, on_progress: Callable[[Progress], None], on_committed: Callable[[int], None]
    ) -> None:
        """Make the shards that are missing; see `augmentor.expansion.executors.pool.PoolRun.finish`."""
        PoolRun(self._running_pool, work, on_progress, on_committed).finish()

    def close(self) -> None:
        """Kill the workers, and Ray where it was started here; the next run removes unfinished files."""
        pool, self._pool = self._pool, None
        if pool is not None:
            # Where the cluster is gone, its workers are, too.
            with suppress(self._ray.exceptions.RayError, ConnectionError):
                pool.stop()
        if self._started_here:
            self._started_here = False
            self._ray.shutdown()

    @property
    def _running_pool(self) -> WorkerPool:
        if self._pool is None:
            raise RuntimeError("a Ray executor runs in its with block, until it is closed")
        return self._pool

    def _connect(self) -> None:
        """Start Ray on this machine, or join a cluster, which must exist and have the same version."""
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if self._address == "local":
            cores = max(usable_cores(), self._workers or 1)
            gpus = 0 if self._asked_device == "cpu" else None
            # An interrupt while it starts would leave processes behind.
            with interrupts_held_back():
                self._start(num_cpus=cores, num_gpus=gpus, **quiet)
            return
        try:
            self._ray.init(address=self._address, **quiet)
        except (OSError, RuntimeError, ValueError, ImportError) as error:
            raise AugmentorError(
                f"--address {self._address}: Ray cannot join this cluster: {' '.join(str(error).split())}. If it "
                "is up and wants a token, set RAY_AUTH_MODE=token; ray start --head starts one; without --address "
                "Ray starts on this machine"
            ) from error

    def _start(self, **settings: object) -> None:
        """Start Ray on this machine; ProcessError: it does not start."""
        for attempt in range(_ATTEMPTS):
            try:
                self._ray.init(
                    address="local", include_dashboard=False, object_store_memory=_STORE_BYTES, **settings
                )
                return
            except Exception as error:  # Ray raises no other kind where one of its processes is late.
                self._ray.shutdown()
                if attempt + 1 == _ATTEMPTS:
                    reason = " ".join(str(error).split())
                    raise ProcessError(f"Ray does not start on this machine: {reason}") from error

    def _refuse_silent_address(self) -> None:
        """Refuse at once an address that Ray would try for minutes."""
        host, colon, port = self._address.removeprefix("ray://").partition("/")[0].rpartition(":")
        if not colon or not port.isdecimal():
            return
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise AugmentorError(
                f"--address {self._address}: nothing answers there ({first_line(error)}). Is the cluster up, and "
                "the port open? ray start --head prints the address. Leave --address out to start Ray here"
            ) from error


def _node(resources: Mapping[str, float]) -> Node:
    return Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def _import_ray(*, joins: bool) -> Any:
    """Return Ray, an extra and thus `Any`, configured to log nothing and to send no usage statistics.

    `joins`: a cluster is to be joined, which may be gone.
    """
    os.environ.update(
        {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # Else it prints every death, which the run survives.
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Else it warns that this will be the default.
            "RAY_prestart_worker_first_driver": "0",  # Else a process per core waits for work.
        }
    )
    if joins:  # Else "auto" looks for a quarter of an hour for a cluster that was killed.
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")
        os.environ.setdefault("RAY_py_gcs_connect_timeout_s", "10")
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtraError(
            "--engine ray needs Ray. Install it: pip install 'stargan-augmentor[ray]'"
        ) from None
    return ray
