"""Child processes that share a counter of numbers to work on, and end with their parent."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import Synchronized
from typing import Any, NoReturn, TypeVar

from augmentor.errors import AugmentorError, shared_memory_error
from augmentor.storage.workers import STALLED_SECONDS, TURNS, Workers, leave_behind, stalled

A = TypeVar("A")
M = TypeVar("M")

Send = Callable[[M], None]
Task = Callable[[A, int, Iterator[int], Send[M]], None]
"""Function of a process. It gets the argument, the process's index, the numbers 0, 1, 2, ... of which no two
processes get the same, and a function that sends a message to the parent."""

_GRACE_SECONDS = 5.0
"""How long a process may take to end before it is killed."""

SILENT_SECONDS = 2 * STALLED_SECONDS
"""Seconds without a message after which a process counts as hanging. A working process reports several times a
second; one whose threads hang reports that itself, after half the time."""


class ProcessError(AugmentorError):
    """A process ended before its work was done."""

    exit_code = 1


@dataclass(frozen=True)
class _Ended:
    """The last message of a process: its error, None if it did all its work, with the traceback."""

    error: BaseException | None = None
    trace: str = ""


def run_processes(
    task: Task[A, M],
    argument: A,
    *,
    names: Sequence[str],
    on_message: Callable[[int, M], None],
) -> None:
    """Run one new process per name and wait until all have ended.

    An error in one of them, its death or its silence ends all, as does an error or an interrupt here. A process
    whose parent has died ends itself. The task and its argument are pickled. `on_message` gets a process's index
    and message, in this thread.

    Raises:
        ProcessError: a process died.
        SharedMemoryError: no shared memory for the counter.
        StalledError: a process is alive and has been silent for `SILENT_SECONDS`.
        BaseException: what a process raised.
    """
    context = get_context("spawn")
    try:
        counter: Synchronized[int] = context.Value("q", 0)
    except OSError as error:
        raise shared_memory_error(error, instead="use one --device, which needs none") or error from error
    children: list[_Child] = []
    with Workers(len(names), name="give") as senders, ExitStack() as ending:
        with interrupts_held_back():
            for place, name in enumerate(names):
                ours, theirs = connection.Pipe()
                process = context.Process(target=_run_child, args=(theirs, place, counter), name=name)
                process.start()
                theirs.close()  # So that the pipe ends when the process dies.
                child = _Child(name, place, process, ours)
                ending.callback(child.end)
                children.append(child)
        # By plain pickle: torch's own for processes uses shared memory, of which a container has little.
        data = pickle.dumps((task, argument))
        for child in children:  # In other threads: a process that hangs does not read.
            senders.submit(f"{child.name} starts", child.send, data)
        busy = {child.link.fileno(): child for child in children}
        while busy:
            for child in _wait(list(busy.values())):
                message = child.receive()
                if isinstance(message, _Ended):
                    child.done(message)
                    del busy[child.link.fileno()]
                else:
                    on_message(child.place, message)


def _wait(children: Sequence[_Child]) -> list[_Child]:
    """Wait until some processes have sent a message, or died, and return these; StalledError: one is silent."""
    turn = SILENT_SECONDS / TURNS
    while True:
        started = time.monotonic()
        ready = connection.wait([child.link for child in children], timeout=turn)
        # Limited, because time while all processes are suspended must not count.
        waited = min(time.monotonic() - started, turn)
        for child in children:
            child.silent = 0.0 if child.link in ready else child.silent + waited
            if child.silent >= SILENT_SECONDS:
                raise stalled([f"the process of {child.name} does not respond"], SILENT_SECONDS)
        if ready:
            return [child for child in children if child.link in ready]


@dataclass
class _Child:
    """A process, as its parent sees it."""

    name: str
    place: int
    process: SpawnProcess
    link: Connection[Any, Any]
    ends_itself: bool = False
    silent: float = 0.0

    def send(self, data: bytes) -> None:
        with suppress(OSError):  # If it has died, `receive` finds that out.
            self.link.send_bytes(data)

    def receive(self) -> Any:
        try:
            return self.link.recv()
        except (EOFError, OSError):
            self._raise_death()

    def done(self, ended: _Ended) -> None:
        self.ends_itself = True
        if ended.error is not None:
            ended.error.add_note(f"In the process of {self.name}:\n{ended.trace}")
            raise ended.error

    def end(self) -> None:
        """End the process, if it does not end itself; the next run removes unfinished files."""
        self.link.close()
        if self.ends_itself:
            self.process.join(_GRACE_SECONDS)
        self.process.terminate()
        self.process.join(_GRACE_SECONDS)
        self.process.kill()
        self.process.join(_GRACE_SECONDS)
        if self.process.exitcode is None:  # A process that waits for an unresponsive disk cannot be killed.
            leave_behind(self.process.is_alive)
        else:
            self.process.close()

    def _raise_death(self) -> NoReturn:
        self.process.join(_GRACE_SECONDS)
        code = self.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        raise ProcessError(
            f"{self.name}: its process has died ({how}; signal 9 often means too little memory). What was "
            "committed is safe: run the same command again"
        )


def _run_child(link: Connection[Any, Any], place: int, counter: Synchronized[int]) -> None:
    """Run the task in the child process, and send how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends the others.
    threading.Thread(target=_die_with_parent, daemon=True).start()
    lock = threading.Lock()

    def send(message: object) -> None:
        with lock:  # Several threads may send.
            link.send(message)

    try:
        task, argument = pickle.loads(link.recv_bytes())
        task(argument, place, _numbers(counter), send)
        ended = _Ended()
    except BaseException as error:  # noqa: BLE001 - it is raised again in the parent
        ended = _Ended(portable(error), traceback.format_exc())
    with suppress(OSError):  # The parent may have closed the pipe.
        send(ended)


def _numbers(counter: Synchronized[int]) -> Iterator[int]:
    while True:
        with counter.get_lock():
            number = counter.value
            counter.value = number + 1
        yield number


def portable(error: BaseException) -> BaseException:
    """Return the error, or where it cannot be pickled another one with its message."""
    try:
        again: BaseException = pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - pickling may call anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return again


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)  # As kill -9 would: the next run removes unfinished files.


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block; processes started in it never receive one."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
