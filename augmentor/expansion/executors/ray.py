"""Shards on a Ray cluster, or on a Ray of this machine: a worker per GPU, or per few cores.

Ray starts the workers and carries numbers of shards, news and errors; nothing of a run is kept in it. Workers read
the images and write the output themselves: every node needs this version of augmentor, and must see the manifest's
images and `--out` at the same paths, which each worker checks before it begins.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import torch

from augmentor.errors import AugmentorError, MissingExtraError, first_line
from augmentor.expansion.executors.crew import PATIENCE_SECONDS, Crew
from augmentor.expansion.executors.local import State, Work, tell_nobody
from augmentor.expansion.executors.posts import Node, posts
from augmentor.expansion.executors.processes import ProcessError, interrupts_held_back
from augmentor.storage import usable_cores
from stargan.inference import compiling_works

_STORE_BYTES = 200_000_000
"""Of the memory that our own Ray shares: it holds the model and the manifest once, and spills what is more."""

_ATTEMPTS = 2
"""To start Ray here: it gives its processes 30 seconds, which is little on a machine that is busy."""

_CONNECT_SECONDS = 5.0


class RayEngine:
    """Workers that Ray starts; see `augmentor.expansion.executors.protocol`.

    Where Ray runs in this process already, it is used as it is and left running.

    Args:
        address: of a cluster's head, "auto" for the one that this machine belongs to; None for RAY_ADDRESS of the
            environment, as Ray does, or else starts a Ray on this machine, which ends with the run.
        workers: how many; None for one per GPU, or per four cores where there are none.
        device: "auto", "cpu" or "cuda".
        threads: that decode and encode in each worker; None for as many as it has CPUs.

    Raises:
        AugmentorError: the device is a certain one, or nobody answers at the address.
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
        self._ours = False
        self._crew: Crew | None = None
        self._refuse_silent_address()

    def __enter__(self) -> Self:
        on_main_thread = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM)
        try:
            if not self._ray.is_initialized():
                self._ours = True
                self._connect()
            nodes = [_node(node["Resources"]) for node in self._ray.nodes() if node["Alive"]]
            wanted = posts(nodes, device=self._asked_device, workers=self._workers)
            self._crew = Crew(self._ray, wanted, threads=self._threads)
        except BaseException:
            self.close()
            raise
        finally:
            if on_main_thread:  # There Ray has put its own in the place of Ctrl-C's.
                signal.signal(signal.SIGTERM, before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def device(self) -> torch.device:
        """The kind that all workers have."""
        return self._there.device

    def compiling_works(self) -> bool:
        """Return what a worker's machine says."""
        crew = self._there
        asked = self._ray.remote(num_cpus=crew.posts.cpus, num_gpus=crew.posts.gpus)(compiling_works)
        try:
            found: bool = self._ray.get(asked.remote(crew.device), timeout=PATIENCE_SECONDS)
        except self._ray.exceptions.GetTimeoutError:
            raise crew.nobody_begins() from None
        except self._ray.exceptions.RayError as error:
            raise crew.cannot(error) from error
        return found

    def run(
        self,
        work: Work,
        *,
        on_state: Callable[[State], None],
        on_committed: Callable[[int], None] = tell_nobody,
    ) -> None:
        """Make the shards that are missing; see `augmentor.expansion.executors.crew.Crew.run`."""
        self._there.run(work, on_state=on_state, on_committed=on_committed)

    def close(self) -> None:
        """End the workers, and Ray where it was started here; what they leave half done, the next run undoes."""
        crew, self._crew = self._crew, None
        if crew is not None:
            # A cluster that is gone has ended them.
            with suppress(self._ray.exceptions.RayError, ConnectionError):
                crew.dismiss()
        if self._ours:
            self._ours = False
            self._ray.shutdown()

    @property
    def _there(self) -> Crew:
        if self._crew is None:
            raise RuntimeError("a Ray engine runs in its with block, until it is closed")
        return self._crew

    def _connect(self) -> None:
        """Start a Ray, or join a cluster.

        Raises:
            AugmentorError: there is none, or it is of another version.
        """
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if self._address == "local":
            cores = max(usable_cores(), self._workers or 1)
            gpus = 0 if self._asked_device == "cpu" else None
            # Half started, it would leave processes behind.
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
        """Start a Ray on this machine.

        Raises:
            ProcessError: it does not start.
        """
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
        """Refuse at once what Ray would try for minutes."""
        host, colon, port = self._address.removeprefix("ray://").partition("/")[0].rpartition(":")
        if not colon or not port.isdecimal():
            return
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise AugmentorError(
                f"--address {self._address}: nobody answers there ({first_line(error)}). Is the cluster up, and "
                "the port open? ray start --head prints the address. Leave --address out to start Ray here"
            ) from error


def _node(resources: Mapping[str, float]) -> Node:
    return Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def _import_ray(*, joins: bool) -> Any:
    """Return Ray, told to be quiet and to report nothing to its makers.

    `Any`, because it is an extra that may not be there.

    Args:
        joins: whether a cluster is to be joined, which may be gone.

    Raises:
        MissingExtraError: it is not installed.
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
