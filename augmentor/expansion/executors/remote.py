"""A worker that another process, perhaps on another machine, tells which shards to make. Knows nothing of Ray."""

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
from augmentor.expansion.executors.local import State, Work, run_here
from augmentor.expansion.executors.processes import portable
from augmentor.judge import DeviceJudge
from augmentor.storage import Holder, read_holder
from stargan.inference import Translator

_SEEN_SECONDS = 5.0
"""A network disk may show for so long what was there before."""


@dataclass(frozen=True, kw_only=True)
class News:
    """How far a worker is with what it was told last.

    Args:
        turn: which time this was, as the driver counts.
        state: how far it is.
        committed: numbers of the shards that are there.
    """

    turn: int = -1
    state: State = State()  # noqa: RUF009 - frozen
    committed: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a worker says when it has done what it was told.

    Args:
        news: how far it came.
        error: what stopped it; None if nothing did.
        trace: where, in words.
    """

    news: News = News()
    error: BaseException | None = None
    trace: str = ""


class RemoteWorker:
    """Makes shards, and holds the model and the judges for that. `news` may be asked by another thread.

    Args:
        device: where it translates.
        threads: that decode and encode.
    """

    def __init__(self, device: str, threads: int) -> None:
        self._device = torch.device(device)
        self._threads = threads
        self._work: Work | None = None
        self._tools: tuple[Translator, DeviceJudge | None] | None = None
        self._news = News()
        self._telling = threading.Lock()
        # One and the same, whoever calls: networks are compiled for a thread, and used again in it.
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="makes")

    def begin(self, version: str, holder: Holder | None, work: bytes) -> Answer:
        """Learn what is to be made; again when more is to be made, with the same model.

        Args:
            version: of the driver's augmentor.
            holder: what the driver reads in the output's lock file; None where it reads none.
            work: a `Work`, pickled.
        """

        def learn() -> None:
            # First of all: the work of another version may not even be read.
            if version != __version__:
                raise OutputError(
                    f"augmentor is {__version__} there, and {version} here. Install the same one on every node: "
                    f"pip install stargan-augmentor=={version}"
                )
            asked: Work = pickle.loads(work)
            if self._work is None:
                self._refuse_other_machine(asked, holder)
            self._work = replace(asked, workers=self._threads)

        def learn_here() -> None:
            try:
                learn()
            except AugmentorError as error:
                raise OutputError(f"a worker on {socket.gethostname()} cannot begin: {error}") from error

        return self._answered(learn_here)

    def make(self, turn: int, numbers: tuple[int, ...]) -> Answer:
        """Make shards and commit them.

        Args:
            turn: which time this is.
            numbers: of the shards, as `Work.index` counts.
        """
        work = self._work
        if work is None:
            raise RuntimeError("begin comes first")
        self._news = News(turn=turn)

        def learn(state: State) -> None:
            with self._telling:
                self._news = replace(self._news, state=state)

        def note(index: int) -> None:
            with self._telling:
                self._news = replace(self._news, committed=(*self._news.committed, index - work.first_shard))

        def make() -> None:
            if self._tools is None:
                self._tools = work.translator(self._device), work.judges(self._device)
            translator, judges = self._tools
            run_here(work, translator, judges=judges, on_state=learn, on_committed=note, numbers=iter(numbers))

        return self._answered(make)

    def news(self, seconds: float) -> News:
        """Say after some seconds how far it is."""
        time.sleep(seconds)
        return self._news

    def _answered(self, function: Callable[[], None]) -> Answer:
        """Return errors as values: an engine would wrap what is raised in its own."""
        try:
            self._maker.submit(function).result()
        except Exception as error:  # noqa: BLE001 - it is raised again where the run was started
            return Answer(news=self._news, error=portable(error), trace=traceback.format_exc())
        return Answer(news=self._news)

    def _refuse_other_machine(self, work: Work, holder: Holder | None) -> None:
        """Refuse to work where the output, the images or the device are not those of the driver.

        Raises:
            AugmentorError: it is so.
        """
        lock = work.writer.lock
        deadline = time.monotonic() + _SEEN_SECONDS
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
        work.check()
