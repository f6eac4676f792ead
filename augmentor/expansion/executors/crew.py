"""Ray's workers as the driver sees them: dealt shards, listened to, replaced when they die.

Ray is handed in: `augmentor.expansion.executors.ray` alone imports it.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from augmentor import __version__
from augmentor.expansion.executors.dealing import Dealing
from augmentor.expansion.executors.local import State, Work
from augmentor.expansion.executors.posts import Posts
from augmentor.expansion.executors.processes import SILENT_SECONDS, ProcessError
from augmentor.expansion.executors.remote import Answer, News, RemoteWorker
from augmentor.storage import TURNS, read_holder, stalled

_GRACE_SECONDS = 5.0
_NEWS_SECONDS = 0.25
_NEWS_PER_SECOND = 200
"""News of all workers together, at most: with many of them each is asked less often."""

PATIENCE_SECONDS = 600.0
"""For so long nobody may have begun: a cluster that grows with demand takes minutes."""

_STILLBORN = 3
"""Workers in a row that die before they have begun, after which no more are tried."""


@dataclass(eq=False)
class Hand:
    """A worker, as the driver sees it.

    `Any` stands for Ray's handles and references, whose methods it makes up while it runs.
    """

    actor: Any
    busy: Any
    begun: bool = False
    turn: int = 0
    numbers: tuple[int, ...] = ()
    told: frozenset[int] = frozenset()
    asked: Any = None
    before: State = State()  # noqa: RUF009 - frozen
    now: State = State()  # noqa: RUF009 - frozen
    silent: float = 0.0

    @property
    def state(self) -> State:
        """How far it is in this run."""
        return self.before.followed_by(self.now)


class Crew:
    """The workers of an engine, from its first run to its last.

    Args:
        ray: the library.
        posts: which workers there are to be.
        threads: that decode and encode in each; None for as many as it has CPUs.
    """

    def __init__(self, ray: Any, posts: Posts, *, threads: int | None) -> None:
        self.ray = ray
        self.posts = posts
        self.device = torch.device("cuda" if posts.gpus else "cpu")
        self.hands: list[Hand] = []
        self.stillborn = 0
        self._threads = threads or max(2, posts.cpus)

    def run(self, work: Work, *, on_state: Callable[[State], None], on_committed: Callable[[int], None]) -> None:
        """Make the shards that are missing; see `augmentor.expansion.executors.protocol.Engine.run`.

        Raises:
            ProcessError: a shard kills its workers again and again, or none can be started.
            StalledError: a worker lives and has said nothing for `SILENT_SECONDS`.
            BaseException: what a worker raised.
        """
        _Run(self, work, on_state, on_committed).to_its_end()

    def hire(self, job: Any, holder: Any) -> None:
        """Start a worker; it begins when there is room for it.

        Args:
            job: the reference of a `Work`, pickled.
            holder: that of the output's lock.
        """
        options = {"num_cpus": self.posts.cpus, "num_gpus": self.posts.gpus, "max_concurrency": 2}
        # Two calls at a time: one makes shards, one tells how far it is. No restarts by Ray: who deals the shards
        # must know of every death.
        actor = self.ray.remote(**options)(RemoteWorker).remote(self.device.type, self._threads)
        self.hands.append(Hand(actor, actor.begin.remote(__version__, holder, job)))

    def dismiss(self) -> None:
        """End all workers, as kill -9 would, and wait until Ray says that those at work are gone."""
        hands, self.hands = self.hands, []
        for hand in hands:
            self.ray.kill(hand.actor)
        if hands:
            self.ray.wait([hand.busy for hand in hands], num_returns=len(hands), timeout=_GRACE_SECONDS)

    def nobody_begins(self) -> ProcessError:
        """Return what to raise where no worker has begun for too long."""
        workers, cpus, gpus = self.posts
        each = f"{cpus} CPUs and a GPU" if gpus else f"{cpus} CPUs"
        return ProcessError(
            f"none of {workers} Ray workers has begun for {PATIENCE_SECONDS / 60:g} minutes. Each needs {each}: "
            "ray status says who has them. What was committed is safe: run the same command again"
        )

    def cannot(self, error: Exception) -> ProcessError:
        """Return what to raise where Ray says that workers cannot work at all."""
        return ProcessError(
            f"Ray workers end before they begin: {last_line(error)}. Every node needs the same Python, Ray and "
            f"augmentor: pip install 'stargan-augmentor[ray]=={__version__}'. What was committed is safe: run the "
            "same command again"
        )


class _Run:
    """One run of an engine: hands are asked to begin, dealt shards, listened to, and replaced when they die."""

    def __init__(
        self,
        crew: Crew,
        work: Work,
        on_state: Callable[[State], None],
        on_committed: Callable[[int], None],
    ) -> None:
        self._crew = crew
        self._ray = crew.ray
        self._work = work
        self._on_state = on_state
        self._on_committed = on_committed
        self._dealing = Dealing(work, workers=crew.posts.workers)
        # Elsewhere a local lock is not there, and that would say nothing.
        self._holder = None if work.writer.lock_is_local else read_holder(work.writer.lock)
        # By the plain pickle, as for processes: what Ray makes of arrays cannot be written to.
        self._job = self._ray.put(pickle.dumps(work))
        self._gone = State()
        self._alone = 0.0
        for hand in crew.hands:
            hand.begun, hand.before, hand.now = False, State(), State()
            hand.busy = hand.actor.begin.remote(__version__, self._holder, self._job)

    def to_its_end(self) -> None:
        """Make all shards."""
        hands = self._crew.hands
        self._hire()
        while self._dealing.open:
            for ref in self._waited():
                hand = next(hand for hand in hands if ref in (hand.busy, hand.asked))
                try:
                    said: Answer | News = self._ray.get(ref)
                except self._ray.exceptions.RayError as error:
                    self._bury(hand, error)
                else:
                    self._hear(hand, said)
            for hand in hands:
                if hand.begun and not hand.numbers:
                    self._deal(hand)
            self._on_state(State.together([self._gone, *(hand.state for hand in hands)]))

    def _hire(self) -> None:
        wanted = min(self._crew.posts.workers, self._dealing.open)
        for _ in range(wanted - len(self._crew.hands)):
            self._crew.hire(self._job, self._holder)

    def _waited(self) -> list[Any]:
        """Wait until somebody has said something, or died.

        Raises:
            StalledError: one has been silent for too long.
            ProcessError: nobody begins.
        """
        hands = self._crew.hands
        awaited = [ref for hand in hands if hand.numbers or not hand.begun for ref in (hand.busy, hand.asked)]
        turn = min(SILENT_SECONDS, PATIENCE_SECONDS) / TURNS
        started = time.monotonic()
        ready: list[Any] = self._ray.wait([ref for ref in awaited if ref is not None], timeout=turn)[0]
        # No more than the turn: whoever suspends all processes for a night has not waited for them.
        waited = min(time.monotonic() - started, turn)
        self._alone = 0.0 if any(hand.begun for hand in hands) else self._alone + waited
        if self._alone > PATIENCE_SECONDS:
            raise self._crew.nobody_begins()
        for hand in hands:
            answers = not hand.numbers or hand.busy in ready or hand.asked in ready
            hand.silent = 0.0 if answers else hand.silent + waited
            if hand.silent >= SILENT_SECONDS:
                raise stalled(["a Ray worker says nothing"], SILENT_SECONDS)
        return ready

    def _deal(self, hand: Hand) -> None:
        hand.numbers = self._dealing.deal()
        if hand.numbers:
            hand.turn += 1
            hand.told = frozenset()
            hand.busy = hand.actor.make.remote(hand.turn, hand.numbers)
            if hand.asked is None:
                self._ask(hand)

    def _ask(self, hand: Hand) -> None:
        seconds = max(_NEWS_SECONDS, len(self._crew.hands) / _NEWS_PER_SECOND)
        hand.asked = hand.actor.news.remote(seconds)

    def _hear(self, hand: Hand, said: Answer | News) -> None:
        if isinstance(said, News):
            hand.asked = None
            if hand.numbers:
                self._ask(hand)
                if said.turn == hand.turn:
                    hand.now = said.state
                    self._tell(hand, said.committed)
            return
        if said.error is not None:
            said.error.add_note(f"In a Ray worker:\n{said.trace}")
            raise said.error
        self._crew.stillborn = 0
        if not hand.begun:
            hand.begun = True
            return
        self._tell(hand, hand.numbers)
        self._dealing.made(hand.numbers)
        hand.before, hand.now = hand.before.followed_by(said.news.state), State()
        hand.numbers = ()

    def _tell(self, hand: Hand, committed: Sequence[int]) -> None:
        """Tell of each shard that is there once."""
        for number in committed:
            if number not in hand.told:
                self._on_committed(self._work.index(number))
        hand.told |= frozenset(committed)

    def _bury(self, hand: Hand, error: Exception) -> None:
        """Take a dead worker's shards back, and start another one.

        Raises:
            ProcessError: one of these shards has cost too many workers, or workers die before they begin.
        """
        self._crew.hands.remove(hand)
        # It may only be out of reach: then it must not write what another one is about to.
        self._ray.kill(hand.actor)
        reason = last_line(error)
        if not hand.begun:
            self._crew.stillborn += 1
            if self._crew.stillborn >= _STILLBORN or isinstance(error, self._ray.exceptions.RayTaskError):
                raise self._crew.cannot(error) from error
        there, made = self._dealing.died(hand.numbers, reason)
        self._tell(hand, there)
        self._gone = self._gone.followed_by(hand.before).followed_by(made)
        self._hire()


def last_line(error: Exception) -> str:
    """Return what Ray says of an error at the end, where the reason is, without its advice."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[-1].partition(" Some common causes")[0].rpartition("Worker exit detail: ")[2]
    return reason.strip().rstrip(".")
