"""Processes that live and die with the one that started them, and work off numbers that are dealt among them."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import Synchronized
from typing import Any, NoReturn, TypeVar

from augmentor.errors import AugmentorError, shared_memory_error
from augmentor.storage import STALLED_SECONDS, TURNS, Workers, leave_behind, stalled

A = TypeVar("A")
M = TypeVar("M")

Send = Callable[[M], None]
Work = Callable[[A, int, Iterator[int], Send[M]], None]
"""What a process does. It gets the argument, its place among the processes, the numbers 0, 1, 2, ... of which no
two processes get the same, and a function that tells the parent something."""

_GRACE_SECONDS = 5.0
"""How long a process may take to end before it is killed."""

SILENT_SECONDS = 2 * STALLED_SECONDS
"""Seconds without a word from a process after which it counts as hanging. A process at work tells several times a
second how far it is; one whose threads hang says so itself, after half the time and in better words."""


class ProcessError(AugmentorError):
    """A process ended before its work was done."""

    exit_code = 1


@dataclass(frozen=True)
class _Ended:
    """The last message of a process.

    Args:
        error: what went wrong; None if it did all its work.
        trace: where, in words.
    """

    error: BaseException | None = None
    trace: str = ""


def run_processes(
    work: Work[A, M], argument: A, *, names: Sequence[str], on_message: Callable[[int, M], None]
) -> None:
    """Run one new process per name and wait until all have done their work.

    An error in one of them, its death or its silence ends all, as does an error or an interrupt here. A process
    whose parent has died ends itself.

    Args:
        work: a function that can be pickled.
        argument: likewise.
        names: of the processes, for messages.
        on_message: told the process's place in `names` and what it sent, in this thread.

    Raises:
        ProcessError: a process died.
        SharedMemoryError: a few bytes that they share cannot be had.
        StalledError: a process lives and has said nothing for `SILENT_SECONDS`.
        BaseException: what a process raised.
    """
    context = get_context("spawn")
    try:
        dealt: Synchronized[int] = context.Value("q", 0)
    except OSError as error:
        raise shared_memory_error(error, instead="use one --device, which needs none") or error from error
    children: list[_Child] = []
    with Workers(len(names), name="give") as givers, _ending(children):
        with interrupts_held_back():
            for place, name in enumerate(names):
                ours, theirs = connection.Pipe()
                process = context.Process(target=_live, args=(theirs, place, dealt), name=name)
                process.start()
                theirs.close()  # Then its death is the end of the pipe.
                children.append(_Child(name, place, process, ours))
        # By the plain pickle: torch's own for processes shares memory, of which a container has little.
        data = pickle.dumps((work, argument))
        for child in children:  # Not in this thread: a process that does not get on takes nothing.
            givers.submit(f"{child.name} starts", child.give, data)
        busy = {child.link.fileno(): child for child in children}
        while busy:
            for child in _heard(list(busy.values())):
                message = child.receive()
                if isinstance(message, _Ended):
                    child.done(message)
                    del busy[child.link.fileno()]
                else:
                    on_message(child.place, message)


@contextmanager
def _ending(children: Sequence[_Child]) -> Iterator[None]:
    """End the processes that are there at the end of the block."""
    try:
        yield
    finally:
        for child in children:
            child.end()


def _heard(children: Sequence[_Child]) -> list[_Child]:
    """Wait until some of the processes have told something, or died, and return these.

    Raises:
        StalledError: one has been silent for too long.
    """
    turn = SILENT_SECONDS / TURNS
    while True:
        started = time.monotonic()
        ready = connection.wait([child.link for child in children], timeout=turn)
        # No more than the turn: whoever suspends all processes for a night has not waited for them.
        waited = min(time.monotonic() - started, turn)
        for child in children:
            child.silent = 0.0 if child.link in ready else child.silent + waited
            if child.silent >= SILENT_SECONDS:
                raise stalled([f"the process of {child.name} says nothing"], SILENT_SECONDS)
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

    def give(self, data: bytes) -> None:
        with suppress(OSError):  # If it has died, it will be heard of.
            self.link.send_bytes(data)

    def receive(self) -> Any:
        try:
            return self.link.recv()
        except (EOFError, OSError):
            self._mourn()

    def done(self, ended: _Ended) -> None:
        self.ends_itself = True
        if ended.error is not None:
            ended.error.add_note(f"In the process of {self.name}:\n{ended.trace}")
            raise ended.error

    def end(self) -> None:
        """End the process, if it does not do so itself; what it leaves half done, the next run undoes."""
        self.link.close()
        if self.ends_itself:
            self.process.join(_GRACE_SECONDS)
        self.process.terminate()
        self.process.join(_GRACE_SECONDS)
        self.process.kill()
        self.process.join(_GRACE_SECONDS)
        if self.process.exitcode is None:  # Not even that ends who waits for a disk that does not answer.
            leave_behind(self.process.is_alive)
        else:
            self.process.close()

    def _mourn(self) -> NoReturn:
        self.process.join(_GRACE_SECONDS)
        code = self.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        raise ProcessError(
            f"{self.name}: its process has died ({how}; signal 9 often means too little memory). What was "
            "committed is safe: run the same command again"
        )


def _live(link: Connection[Any, Any], place: int, dealt: Synchronized[int]) -> None:
    """Be a process: work, and tell how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends the others.
    threading.Thread(target=_die_with_parent, daemon=True).start()
    lock = threading.Lock()

    def send(message: object) -> None:
        with lock:  # Several threads may tell.
            link.send(message)

    try:
        work, argument = pickle.loads(link.recv_bytes())
        work(argument, place, _numbers(dealt), send)
        ended = _Ended()
    except BaseException as error:  # noqa: BLE001 - it is raised again in the parent
        ended = _Ended(portable(error), traceback.format_exc())
    with suppress(OSError):  # A parent that has closed the pipe knows enough.
        send(ended)


def _numbers(dealt: Synchronized[int]) -> Iterator[int]:
    while True:
        with dealt.get_lock():
            number = dealt.value
            dealt.value = number + 1
        yield number


def portable(error: BaseException) -> BaseException:
    """Return the error, or where it cannot be pickled one that says the same."""
    try:
        again: BaseException = pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - pickling may call anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return again


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)  # As kill -9 would: whatever is half done is undone by the next run.


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the block is over; processes that are started in it never see one."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
