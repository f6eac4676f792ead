"""Progress on stderr: live bars in a terminal, otherwise one plain line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from augmentor.cli.session import messages, remark

if TYPE_CHECKING:
    from augmentor.expansion import Loads, Stage
    from augmentor.expansion import Progress as ExpandingProgress
    from augmentor.training import Started, TrainEvent
    from stargan.training import LogEvent

_PLAIN_SECONDS = 5.0
"""Seconds between two lines of progress without a terminal."""

_PLAN_SECONDS = 3.0
"""Seconds of training after the first log, to tell the speed by."""

_FIRST = 50
"""Items done before a remaining time is shown."""

_REMEDIES: dict[Stage, str] = {
    "decoding": "more --workers, on more cores, would help",
    "translating": "a faster device, or more {workers}, would help",
    "judging": "a faster device, more {workers}, or --no-gate would help",
    "encoding": "more --workers, on more cores, would help",
    "writing": "a faster disk would help",
}

_QUEUE_NAMES: dict[Stage, str] = {"decoding": "decoded", "encoding": "to encode", "writing": "shards to commit"}

_LOSS_NAMES = {
    "d/adversarial": "D adversarial",
    "d/domain": "D classification of real images",
    "d/penalty": "D gradient penalty",
    "d/augment_p": "probability of augmentations of D's input",
    "g/adversarial": "G adversarial",
    "g/domain": "G classification of the target",
    "g/cycle": "cycle",
    "g/sparsity": "mask sparsity",
}


class _NotedProgress(Progress):
    """A rich progress bar with a note below it."""

    note = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.note:
            yield Padding(Text(self.note, style="dim"), (0, 0, 0, 2))


class ProgressBar(AbstractContextManager["ProgressBar"]):
    """A counted progress bar: `done/total`, speed, time left, and a note below; `unit` is in the plural."""

    def __init__(self, title: str, *, unit: str, console: Console = messages) -> None:
        self._title, self._unit, self._console = title, unit, console
        self._task: TaskID | None = None
        self._started: float | None = None
        self._done = 0
        self._said = 0.0
        self._bar = _NotedProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar; a second call changes nothing."""
        if self._bar.live.is_started:  # else rich 13 would print an empty line
            self._bar.stop()

    def update(self, done: int, total: int, *, skipped: int = 0, suffix: str = "", note: str = "") -> None:
        """Show the progress: items done and all items, text after the speed, and a note below the bar.

        Skipped items were done by an earlier run: they count in `done`, not in the speed.
        """
        now = time.monotonic()
        if self._started is None:  # not earlier: the bar may exist long before its work starts
            self._started, self._said, self._done = now, now, done
        passed = now - self._started
        speed = (done - max(skipped, self._done)) / passed if passed > 0 else 0.0
        # The speed of the first few is no estimate for the rest.
        known = speed > 0 and done - skipped > _FIRST and done < total
        left = f"{duration((total - done) / speed)} left" if known else ""
        if self._console.is_terminal:
            if self._task is None:
                self._bar.start()
                self._task = self._bar.add_task(self._title, total=total, speed="", left="")
            pace = f"{speed:,.1f} {self._unit}/s{suffix}"
            self._bar.note = note
            self._bar.update(self._task, completed=done, total=total, speed=pace, left=left)
        elif now - self._said >= _PLAIN_SECONDS:
            self._said = now
            words = [f"{self._title} {done:,}/{total:,}", f"{speed:,.1f} {self._unit}/s{suffix}", left]
            line = ", ".join(word for word in words if word)
            self._console.print(f"{line}; {note}" if note else line, soft_wrap=True, markup=False)

    def update_share(self, done: float) -> None:
        """Show a share in [0, 1] in per cent."""
        self.update(int(100 * done), 100)

    def show_expansion(self, progress: ExpandingProgress, *, workers: str = "--devices", before: str = "") -> None:
        """Show the progress of an expansion; `workers` and `before` are those of `loads_note`."""
        self.update(
            progress.done,
            progress.total,
            skipped=progress.resumed,
            suffix=losses_note(progress.failed, progress.rejected),
            note=loads_note(progress.loads, workers=workers, before=before),
        )


class TrainingDisplay(AbstractContextManager["TrainingDisplay"]):
    """Live view of a training run: progress, speed, losses, last sample grid and checkpoint."""

    def __init__(self) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>5.1f} %"),
            TextColumn("{task.fields[pace]}"),
            console=messages,
        )
        self._task = self._bar.add_task("training", total=1.0, pace="")
        self._live = Live(self._bar, console=messages, refresh_per_second=4, transient=False)
        self._losses: Mapping[str, float] = {}
        self._places: dict[str, str] = {}
        self._first: LogEvent | None = None
        self._judged = False
        self._said = 0.0
        self._started: Started | None = None
        self._judge_since: float | None = None

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop updating the view; a second call changes nothing."""
        if self._live.is_started:
            self._live.stop()

    def show(self, event: TrainEvent) -> None:
        """Show an event of the run."""
        from augmentor.training import MeasuringAccuracy, Sampled, Saved, Scored, Started, TrainingJudge
        from stargan.training import LogEvent

        match event:
            case Started():
                for note in event.notes:
                    remark(note)
                messages.print(_started(event))
                self._started = event
                if messages.is_terminal:
                    self._live.start()
            case LogEvent():
                self._log(event)
            case Sampled(path=path):
                self._place("samples", str(path))
            case Saved(path=path):
                self._place("checkpoint", str(path))
            case TrainingJudge(done=done):
                self._training_judge(done)
            case Scored(point=point, best=best):
                parts = ", ".join(
                    f"{name} {part.accuracy:.0%} x {part.preservation:.0%}"
                    for name, part in point.attributes.items()
                )
                text = f"step {point.step:,} scores {point.score:.3f}{' (best)' if best else ''}: {parts}"
                messages.print(text, soft_wrap=True)
            case MeasuringAccuracy(done=done):
                self._judging(done)

    def _log(self, event: LogEvent) -> None:
        self._losses = event.losses
        # The speed of D's warm-up says nothing about that of training.
        warming = not any(name.startswith("g/") for name in event.losses)
        self._first = event if self._first is None or warming else self._first
        gone, share = event.elapsed - self._first.elapsed, event.progress - self._first.progress
        left = f", {duration(gone / share * (1 - event.progress))} left" if share > 0 else ""
        left = ", D warms up" if warming else left
        if self._started is not None and gone >= _PLAN_SECONDS and event.progress < 1:
            messages.print(_plan(self._started, self._first, event))
            self._started = None
        pace = f"step {event.step:,}, {event.images_per_second:,.0f} images/s{left}"
        if messages.is_terminal:
            self._bar.update(self._task, completed=event.progress, pace=pace)
            self._refresh()
        elif time.monotonic() - self._said >= _PLAIN_SECONDS or event.progress >= 1:
            self._said = time.monotonic()
            losses = "  ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
            messages.print(f"{event.progress:.1%}  {pace}  {losses}", soft_wrap=True)

    def _training_judge(self, done: float) -> None:
        if messages.is_terminal:
            self._bar.update(self._task, pace=f"training the judge: {done:.0%}")
            return
        self._judge_since = self._judge_since or time.monotonic()
        if time.monotonic() - max(self._said, self._judge_since) >= _PLAIN_SECONDS:
            self._said = time.monotonic()
            messages.print(f"training the judge: {done:.0%}")

    def _judging(self, done: float) -> None:
        if messages.is_terminal:
            self._bar.update(self._task, description="judging", completed=done, pace="target accuracy")
            self._live.update(self._bar)
        elif not self._judged or time.monotonic() - self._said >= _PLAIN_SECONDS:
            self._said = time.monotonic()
            messages.print(f"measuring target accuracy: {done:.0%}")
        self._judged = True

    def _place(self, name: str, path: str) -> None:
        self._places[name] = path
        if messages.is_terminal:
            self._refresh()
        else:
            messages.print(f"{name}: {path}", soft_wrap=True)

    def _refresh(self) -> None:
        table = Table.grid(padding=(0, 2))
        for name, value in self._losses.items():
            table.add_row(f"  {name}", f"{value:8.3f}", Text(_LOSS_NAMES.get(name, ""), style="dim"))
        lines = [Text(f"  {name}: {path}", style="dim", overflow="fold") for name, path in self._places.items()]
        self._live.update(Group(self._bar, table, *lines))


def loads_note(loads: Loads | None, *, workers: str = "--devices", before: str = "") -> str:
    """Return an expansion's slowest stage, what would help, and the lengths of its queues.

    `workers` is the flag that sets the number of translating processes; `before` the text until an item is done.
    """
    if loads is None or loads.slowest is None:
        return before
    remedy = f"{loads.slowest} is the slowest: {_REMEDIES[loads.slowest].format(workers=workers)}"
    queues = [
        f"{queue.filled:,}/{queue.room:,} {_QUEUE_NAMES[stage]}"
        for stage, queue in loads.queues.items()
        if stage in _QUEUE_NAMES
    ]
    return f"{remedy}. {', '.join(queues)}" if queues else remedy


def losses_note(failed: int, rejected: int) -> str:
    """Return the failed and rejected items so far, as a suffix of the speed; empty for none."""
    words = [f"{count:,} {word}" for count, word in ((failed, "failed"), (rejected, "rejected")) if count]
    return "".join(f", {word}" for word in words)


def duration(seconds: float) -> str:
    """Return a time in its two largest units: 45 s, 3 min 20 s, 5 h 12 min, 3 d 4 h."""
    whole = round(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {name}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def data_size(size: float) -> str:
    """Return a number of bytes in its largest unit: 812 B, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _started(event: Started) -> Group:
    weights = f"{event.method} with G {event.generator_parameters:,}, D {event.discriminator_parameters:,} weights"
    lines = [f"{event.images:,} training images on {event.device}; {weights}"]
    if event.step:
        lines.append(f"resuming from step {event.step:,}")
    return Group(*(Text(line) for line in lines), *(Text(f"  {line}", style="dim") for line in event.attributes))


def _plan(run: Started, first: LogEvent, now: LogEvent) -> str:
    """Return the speed, and the steps that fit in the planned minutes or the minutes of the planned steps."""
    pace = (now.step - first.step) / (now.elapsed - first.elapsed)
    speed = f"{pace * run.batch_size:,.0f} images/s"
    if run.minutes is not None:
        steps = _two_digits(now.step + pace * (60 * run.minutes - now.elapsed))
        passes = _passes(steps, run)
        return f"{speed}: about {steps:,} steps of {run.batch_size} images, {passes} over {run.images:,} images"
    steps = run.steps or 0
    left = duration((steps - now.step) / pace)
    return f"{speed}: {steps:,} steps of {run.batch_size} images, {_passes(steps, run)}, about {left} more"


def _passes(steps: int, run: Started) -> str:
    passes = steps * run.batch_size / run.images
    return f"{passes:.1f} passes" if passes < 9.95 else f"{passes:,.0f} passes"


def _two_digits(number: float) -> int:
    digits = max(0, len(f"{number:.0f}") - 2)
    return int(round(number / 10**digits) * 10**digits)
