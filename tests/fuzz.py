"""Fuzz runs: damaged manifests, SPECs, recipes and images, with limits on time, memory and crashes.

    python tests/fuzz.py --cases 100000 --images 20000 --seed 0

Not part of the suite: `tests/test_fuzz.py` runs a few cases of each kind. Each case must be read, and then meet
the invariants of later steps, or be refused with an `AugmentorError`. Anything else is a failure: another
error, no answer within `--seconds`, a process that dies, more memory than `--megabytes`. A case depends on the
seed, its kind and its number alone; `--only image:123` runs that one again, in this process, with its traceback.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from tests.fuzz_cases import FINE, Case, Outcome, attempt
else:  # A script finds what stands beside it without the folder's name.
    from fuzz_cases import FINE, Case, Outcome, attempt

RESULTS = (*FINE, "error", "hang", "crash", "memory")

MOST_ADDRESSES = 8 << 30
"""Bytes of address space that a process may ask for; the libraries reserve some that they never use."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Command-line options; see `--help`."""

    cases: int
    recipes: int
    images: int
    seed: int
    processes: int
    seconds: float
    megabytes: int
    only: str | None

    @classmethod
    def of(cls, words: Sequence[str] | None) -> Options:
        """Read the command line."""
        parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
        parser.add_argument("--cases", type=int, default=1000, help="manifests and SPECs, half of each")
        parser.add_argument("--recipes", type=int, default=200, help="recipes")
        parser.add_argument("--images", type=int, default=500, help="damaged image files")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--processes", type=int, default=1, help="that share the cases")
        parser.add_argument("--seconds", type=float, default=10.0, help="that one case may take")
        parser.add_argument("--megabytes", type=int, default=256, help="that one case may take")
        parser.add_argument("--only", metavar="KIND:NUMBER", help="run one case in this process")
        return cls(**vars(parser.parse_args(words)))

    def all_cases(self) -> list[Case]:
        """Return the cases of every kind."""
        counts = {
            "manifest": (self.cases + 1) // 2,
            "SPEC": self.cases // 2,
            "recipe": self.recipes,
            "image": self.images,
        }
        return [Case(kind, number) for kind, count in counts.items() for number in range(count)]


@dataclass
class Worker:
    """A process that works through cases, and how far it is.

    Args:
        process: the process.
        link: receives one outcome after another.
        cases: in their order.
        place: the case that it is at.
        deadline: the monotonic clock's second by which that case must have an outcome.
    """

    process: BaseProcess
    link: Connection[None, Outcome]
    cases: Sequence[Case]
    place: int
    deadline: float

    @classmethod
    def start(cls, cases: Sequence[Case], options: Options, folder: Path) -> Worker:
        """Start a process."""
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(cases, options, theirs, folder))
        process.start()
        theirs.close()
        return cls(process, ours, cases, 0, time.monotonic() + options.seconds)

    def outcome(self, *, readable: bool) -> Outcome | None:
        """Return the outcome of the case that it is at; None while there is none.

        Args:
            readable: the link has something to read.
        """
        if readable:
            try:
                return self.link.recv()
            except EOFError:
                self.process.join()
                return Outcome(self.cases[self.place], "crash", f"exit code {self.process.exitcode}")
        if time.monotonic() > self.deadline:
            return Outcome(self.cases[self.place], "hang", "no answer in time")
        return None

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.link.close()


def work(cases: Sequence[Case], options: Options, link: Connection[Outcome, None], folder: Path) -> None:
    """Run the cases in a worker process, and send the outcome of each."""
    # Beyond counting what is used: nothing may ask for so much that the machine goes down with it.
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_ADDRESSES, most))
    warnings.simplefilter("ignore")
    own = Path(tempfile.mkdtemp(dir=folder))
    for case in cases:
        for outcome in run_here(case, options, own):
            link.send(outcome)


def run(cases: Sequence[Case], options: Options, folder: Path) -> Iterator[Outcome]:
    """Yield the outcome of every case, in any order; a process that hangs or dies is replaced."""
    shares = [cases[i :: options.processes] for i in range(options.processes)]
    workers = [Worker.start(share, options, folder) for share in shares if share]
    try:
        while workers:
            soonest = min(worker.deadline for worker in workers)
            ready = wait([worker.link for worker in workers], max(0.0, soonest - time.monotonic()))
            for worker in list(workers):
                outcome = worker.outcome(readable=worker.link in ready)
                if outcome is None:
                    continue
                yield outcome
                worker.place += 1
                worker.deadline = time.monotonic() + options.seconds
                unfinished = worker.place < len(worker.cases)
                if unfinished and outcome.result not in ("hang", "crash"):
                    continue
                worker.end()
                workers.remove(worker)
                if unfinished:
                    workers.append(Worker.start(worker.cases[worker.place :], options, folder))
    finally:
        for worker in workers:
            worker.end()


def run_here(case: Case, options: Options, folder: Path) -> Iterator[Outcome]:
    """Yield the outcome of one case, run in this process: where a debugger can follow it."""
    yield attempt(case, seed=options.seed, megabytes=options.megabytes, folder=folder)


def table(outcomes: Counter[tuple[str, str]]) -> str:
    """Return the counts by kind and result as a table in Markdown."""
    lines = [f"| kind | cases | {' | '.join(RESULTS)} |", "|---|" + "--:|" * (1 + len(RESULTS))]
    for kind in dict.fromkeys(kind for kind, _ in sorted(outcomes)):
        counts = [outcomes[kind, result] for result in RESULTS]
        lines.append(f"| {kind} | {sum(counts):,} | {' | '.join(f'{count:,}' for count in counts)} |")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Run the cases that the command line asks for; 1 where one failed."""
    options = Options.of(words)
    started, outcomes, most = time.monotonic(), Counter[tuple[str, str]](), 0.0
    with tempfile.TemporaryDirectory() as folder:
        if options.only is not None:
            kind, _, number = options.only.partition(":")
            found = run_here(Case(kind, int(number)), options, Path(folder))
        else:
            found = run(options.all_cases(), options, Path(folder))
        for outcome in found:
            outcomes[outcome.case.kind, outcome.result] += 1
            most = max(most, outcome.megabytes)
            if outcome.result not in FINE:
                name = f"{outcome.case.kind}:{outcome.case.number}"
                sys.stderr.write(f"{name}: {outcome.result}: {outcome.detail}\n")
    ended = f"seed {options.seed}, {time.monotonic() - started:,.0f} s, at most {most:,.0f} MB for a case"
    sys.stdout.write(f"{table(outcomes)}\n\n{ended}\n")
    return int(any(result not in FINE for _, result in outcomes))


if __name__ == "__main__":
    sys.exit(main())
