"""What a person sees: live progress in a terminal, one plain line every few seconds without one, and tables."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from augmentor.cli.session import escape, messages, remark, visible
from augmentor.wording import counted

if TYPE_CHECKING:
    from augmentor.cells import CellState
    from augmentor.check import CheckReport
    from augmentor.estimate import Estimate
    from augmentor.obedience import Level, Obedience
    from augmentor.plan import Plan
    from augmentor.run_folder import Started, TrainEvent
    from augmentor.stages import Loads, Stage
    from augmentor.verify import Findings, Repaired
    from stargan.training import LogEvent

_PLAIN_SECONDS = 5.0
"""Seconds between two lines of progress where there is no terminal."""

_FIRST = 50
"""Things done before a time left is told."""

_MOST_PROBLEMS = 20
"""Problems of one kind that are printed; the rest is counted."""

_LEVEL_STYLES: dict[Level, str] = {
    "obeys": "green",
    "in part": "yellow",
    "ignores": "bold red",
    "not judged": "dim",
}

_REMEDIES: dict[Stage, str] = {
    "decoding": "more --workers, on more cores, would help",
    "translating": "a faster device, or more {workers}, would help",
    "judging": "a faster device, more {workers}, or --no-gate would help",
    "encoding": "more --workers, on more cores, would help",
    "writing": "a faster disk would help",
}

_QUEUE_NAMES: dict[Stage, str] = {
    "decoding": "decoded",
    "encoding": "to encode",
    "writing": "shards to commit",
}

_BAR = 24
"""Characters of the longest bar."""

_IF_ALL_ARE_KEPT = "after: if every translation is kept. What is thrown out is made up for with other sources."

_LOSS_NAMES = {
    "d/adversarial": "real or fake",
    "d/domain": "domain of real images",
    "d/penalty": "gradient penalty",
    "g/adversarial": "fools D",
    "g/domain": "reaches the target",
    "g/cycle": "comes back",
    "g/sparsity": "changes little",
}


class _NotedProgress(Progress):
    """A progress bar with a line below it."""

    note = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.note:
            yield Padding(Text(self.note, style="dim"), (0, 0, 0, 2))


class Bar(AbstractContextManager["Bar"]):
    """A counted progress bar on stderr: `done/total`, speed and time left, and a remark below it.

    Args:
        title: what is going on.
        unit: what is counted.
        console: where it is drawn.
    """

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away; a second call changes nothing."""
        if self._bar.live.is_started:  # else rich 13 would print an empty line
            self._bar.stop()

    def update(self, done: int, total: int, *, skipped: int = 0, suffix: str = "", note: str = "") -> None:
        """Show how far it is.

        Args:
            done: things done, those of an earlier run included.
            total: things in all.
            skipped: things that an earlier run had done; they do not count for the speed.
            suffix: a word more.
            note: a remark.
        """
        now = time.monotonic()
        if self._started is None:  # not before: the bar may be made long before its work begins
            self._started, self._said, self._done = now, now, done
        passed = now - self._started
        speed = (done - max(skipped, self._done)) / passed if passed > 0 else 0.0
        # The first few of many say nothing about the rest.
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


class TrainingDisplay(AbstractContextManager["TrainingDisplay"]):
    """The live view of a training run: how far, how fast, the losses, the last sample grid and checkpoint."""

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
        self._first: tuple[float, float] | None = None
        self._judged = False
        self._said = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the view as it is; a second call changes nothing."""
        if self._live.is_started:
            self._live.stop()

    def show(self, event: TrainEvent) -> None:
        """Show what happened."""
        from augmentor import run_folder
        from stargan.training import LogEvent

        match event:
            case run_folder.Started():
                for note in event.notes:
                    remark(note)
                messages.print(_started(event))
                if messages.is_terminal:
                    self._live.start()
            case LogEvent():
                self._log(event)
            case run_folder.Sampled(path=path):
                self._place("samples", str(path))
            case run_folder.Saved(path=path):
                self._place("checkpoint", str(path))
            case run_folder.Judging(done=done):
                self._judging(done)

    def _log(self, event: LogEvent) -> None:
        self._losses = event.losses
        self._first = self._first or (event.elapsed, event.progress)
        gone, share = event.elapsed - self._first[0], event.progress - self._first[1]
        left = f", {duration(gone / share * (1 - event.progress))} left" if share > 0 else ""
        pace = f"step {event.step:,}, {event.images_per_second:,.0f} images/s{left}"
        if messages.is_terminal:
            self._bar.update(self._task, completed=event.progress, pace=pace)
            self._refresh()
        elif time.monotonic() - self._said >= _PLAIN_SECONDS or event.progress >= 1:
            self._said = time.monotonic()
            losses = "  ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
            messages.print(f"{event.progress:.1%}  {pace}  {losses}", soft_wrap=True)

    def _judging(self, done: float) -> None:
        if messages.is_terminal:
            self._bar.update(self._task, description="judging", completed=done, pace="does the generator obey?")
            self._live.update(self._bar)
        elif not self._judged or time.monotonic() - self._said >= _PLAIN_SECONDS:
            self._said = time.monotonic()
            messages.print(f"judging whether the generator obeys: {done:.0%}")
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


def loads_note(loads: Loads | None, *, workers: str = "--devices") -> str:
    """Return which stage holds an expansion up, what would help, and how full the queues are.

    Args:
        loads: of the stages; None if nothing is known of them.
        workers: the flag that says how many translate at once.
    """
    if loads is None or loads.slowest is None:
        return ""
    remedy = f"{loads.slowest} is the slowest: {_REMEDIES[loads.slowest].format(workers=workers)}"
    queues = [
        f"{queue.filled:,}/{queue.room:,} {_QUEUE_NAMES[stage]}"
        for stage, queue in loads.queues.items()
        if stage in _QUEUE_NAMES
    ]
    return f"{remedy}. {', '.join(queues)}" if queues else remedy


def losses_note(failed: int, rejected: int) -> str:
    """Return what an expansion has lost so far, to be put behind its speed; nothing where that is nothing."""
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


def counts_table(counts: Mapping[str, Mapping[str, tuple[int, int]]]) -> Table:
    """Return the labels before and after an expansion, with bars."""
    table = Table(title="Labels of the rows that are translated", title_justify="left", box=None, pad_edge=False)
    table.add_column("attribute")
    table.add_column("value", overflow="fold")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    table.add_column("")
    most = max((after for values in counts.values() for _, after in values.values()), default=1) or 1
    for name, values in counts.items():
        for place, (value, (before, after)) in enumerate(values.items()):
            old = round(24 * before / most)
            bar = Text("█" * old, style="blue") + Text("█" * (round(24 * after / most) - old), style="green")
            table.add_row(escape(name) if place == 0 else "", escape(value), f"{before:,}", f"{after:,}", bar)
    return table


def balance_table(states: Sequence[CellState]) -> Table:
    """Return the combinations before and after they are filled up, with bars; what is missing is dotted."""
    table = Table(title="Combinations", title_justify="left", box=None, pad_edge=False)
    names = list(states[0].domain)
    for name in names:
        table.add_column(escape(name), overflow="fold")
    for heading in ("before", "wanted", "after"):
        table.add_column(heading, justify="right")
    table.add_column("")
    most = max((max(state.after, state.wanted or 0) for state in states), default=1) or 1
    said: list[str] = []
    for state in states:
        real, made, wanted = (round(_BAR * n / most) for n in (state.before, state.after, state.wanted or 0))
        bar = Text("█" * real, "blue") + Text("▒" * (made - real), "green") + Text("·" * (wanted - made), "red")
        values = list(state.domain.values())
        # A value that the row above has, too, is said there.
        same = next((i for i, pair in enumerate(zip(values, said, strict=False)) if pair[0] != pair[1]), 0)
        shown = ["" if i < same else escape(value) for i, value in enumerate(values)]
        goal = Text("-", "dim") if state.wanted is None else f"{state.wanted:,}"
        after = Text(f"{state.after:,}", "red" if state.sources_used_up else "")
        table.add_row(*shown, f"{state.before:,}", goal, after, bar)
        said = values
    return table


def balance_verdict(states: Sequence[CellState]) -> Text:
    """Return in words whether all combinations have as many images as are wanted."""
    short = [state for state in states if state.sources_used_up]
    if not short:
        return Text("Every combination has as many images as are wanted.", "green")
    lacking = sum((state.wanted or 0) - state.after for state in short)
    verb = "lacks" if len(short) == 1 else "lack"
    return Text(
        f"{counted(len(short), 'combination')} {verb} {counted(lacking, 'image')}: their sources are used up. "
        "More rows, a larger --max-per-source or a better model would help.",
        "yellow",
    )


def plan_tables(plan: Plan, estimate: Estimate) -> Group:
    """Return what `expand --dry-run` prints: images, labels before and after, bytes and time."""
    from augmentor.rounds import planned_states

    size = "unknown" if estimate.size is None else f"about {data_size(estimate.size)}"
    time_needed = "unknown" if estimate.seconds is None else f"about {duration(estimate.seconds)}"
    lines = [
        f"{len(plan):,} images: {plan.n_synthetic:,} synthetic and {plan.n_real:,} real",
        f"disk   {size}",
        f"time   {time_needed}",
    ]
    if estimate.size is None:
        lines.append("none of the first images tried could be read, so bytes and time are not known")
    tables: list[RenderableType] = [counts_table(plan.label_counts())]
    if plan.balance is not None:
        states = planned_states(plan)
        tables += [Text(""), balance_table(states), balance_verdict(states), Text(_IF_ALL_ARE_KEPT, "dim")]
    return Group(*(Text(line) for line in lines), Text(""), *tables, Text("Nothing was written."))


def plan_json(plan: Plan, estimate: Estimate) -> dict[str, object]:
    """Return what `expand --dry-run --json` prints."""
    from augmentor.rounds import planned_states

    states = planned_states(plan) if plan.balance is not None else []
    return {
        **({"balance": [state.to_json() for state in states]} if states else {}),
        "images": len(plan),
        "synthetic": plan.n_synthetic,
        "real": plan.n_real,
        "bytes": estimate.size,
        "seconds": None if estimate.seconds is None else round(estimate.seconds, 1),
        "labels": {
            name: {value: {"before": before, "after": after} for value, (before, after) in values.items()}
            for name, values in plan.label_counts().items()
        },
    }


def check_tables(report: CheckReport) -> Group:
    """Return what `augmentor check` found, as tables and short lists."""
    splits = list(report.splits)
    title = Text(f"{report.manifest}: {counted(report.rows, 'image')}", style="table.title")
    table = Table(box=None, pad_edge=False)
    for heading in ("attribute", "kind", "value"):
        table.add_column(heading, overflow="fold")
    for split in splits:
        table.add_column(split, justify="right")
    for attribute in report.attributes:
        rows = [[value, *(attribute.counts[s].get(value, 0) for s in splits)] for value in attribute.values]
        for place, (value, *numbers) in enumerate(rows):
            first = (escape(attribute.name), attribute.kind) if place == 0 else ("", "")
            table.add_row(*first, escape(str(value)), *(f"{number:,}" for number in numbers))
        if attribute.unknown:
            table.add_row("", "", Text("unknown", style="dim"), Text(f"{attribute.unknown:,} in all", style="dim"))
    totals = [f"{count:,}" for count in report.splits.values()]
    table.add_section()
    table.add_row("all", "", "", *totals, style="bold")
    problems = [
        *_listed("missing", [f"row {p.row}: {p.path}" for p in report.missing]),
        *_listed("unreadable", [f"row {p.row}: {p.path}: {p.reason}" for p in report.unreadable]),
        *_listed("leak", report.leaks),
        *_listed("duplicate", [f"same content: {', '.join(ids)}" for ids in report.duplicates], style="yellow"),
    ]
    datasets = [
        Text(f"data set {visible(name)}: {counted(count, 'image')}") for name, count in report.datasets.items()
    ]
    return Group(title, table, *datasets, Text(""), *problems, _verdict(report))


def obedience_table(obedience: Obedience) -> Group:
    """Return whether the generator obeys: a row per attribute, then the verdict in words."""
    table = Table(title="Does it obey?", title_justify="left", box=None, pad_edge=False)
    table.add_column("attribute", overflow="fold")
    for heading in ("obeys", "untouched", "real", "guessing", "change"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in obedience.attributes:
        shares = ["-" if x is None else f"{x:.1%}" for x in (row.obeys, row.untouched, row.real, row.chance)]
        change = "-" if row.change is None else f"{row.change:.1f}"
        table.add_row(escape(row.name), *shares, change, Text(row.level, _LEVEL_STYLES[row.level]))
    identity = "-" if obedience.identity_change is None else f"{obedience.identity_change:.1f}"
    table.add_row(Text("own domain", "dim"), "", "", "", "", identity, "")
    legend = (
        f"obeys: {obedience.translations:,} translations of {obedience.images:,} images ({obedience.sources}) in "
        "which a classifier sees the new value; untouched: the same of their sources; real: the classifier "
        f"({obedience.judge_steps:,} steps) on real images; change: grey levels of 255, and where an image's own "
        "domain is asked for."
    )
    return Group(table, Text(legend, "dim"), *(Text(line) for line in obedience.verdict))


def verify_tables(found: Findings, repaired: Repaired | None) -> Group:
    """Return what `augmentor verify` found, and what its --repair did."""
    counts, shards = found.counts, counted(found.shards, "shard")
    state = "" if found.finished else "; not finished: the same expand goes on"
    rejected = f", {counts.rejected:,} rejected" if counts.rejected else ""
    images = f"{counts.real:,} real and {counts.synthetic:,} synthetic images{rejected}"
    lines = [
        Text(f"{found.out}: {shards}, {images}{state}"),
        *_listed("damaged", [str(problem) for problem in found.problems]),
    ]
    if found.ok:
        size = data_size(found.size)
        said = f"Everything is as it was written: {size} of images, their labels, names and splits."
        lines.append(Text(said, style="green"))
    elif repaired is None:
        lines.append(Text(f"{counted(len(found.problems), 'problem')}. {_way_out(found)}", style="bold red"))
    else:
        lines += _repaired(repaired)
    return Group(*lines)


def _way_out(found: Findings) -> str:
    if len(found.mended_by("nothing")) == len(found.problems):
        return "--repair cannot help with these."
    shards = len(found.damaged_shards)
    dropped = f"{shards:,} of {found.shards:,} shards" if shards else "what was assembled"
    return f"--repair drops {dropped}; the same expand then makes that again, and nothing else."


def _repaired(repaired: Repaired) -> list[Text]:
    lines = []
    if repaired.dropped:
        lines.append(Text(f"Dropped {counted(len(repaired.dropped), 'damaged shard')}.", style="yellow"))
    if repaired.rewritten:
        lines.append(Text(f"Written again: {', '.join(repaired.rewritten)}.", style="yellow"))
    if repaired.unfinished:
        lines.append(Text("Run the same expand again: it makes what is missing.", style="yellow"))
    return [*lines, *_listed("left", [str(problem) for problem in repaired.left])]


def _verdict(report: CheckReport) -> Text:
    if report.ok:
        return Text("Every image can be read, and no split leaks into another.", style="green")
    bad = len(report.missing) + len(report.unreadable)
    leaks = len(report.leaks)
    parts = [f"{counted(bad, 'image')} cannot be used"] if bad else []
    parts += [f"{counted(leaks, 'leak')} between splits"] if leaks else []
    return Text("; ".join(parts) + ".", style="bold red")


def _listed(kind: str, lines: Sequence[str], style: str = "red") -> list[Text]:
    shown = [Text.assemble((f"{kind:<11}", style), visible(line)) for line in lines[:_MOST_PROBLEMS]]
    if len(lines) > _MOST_PROBLEMS:
        shown.append(
            Text(f"{'':<11}and {len(lines) - _MOST_PROBLEMS:,} more (--json lists them all)", style="dim")
        )
    return shown


def _started(event: Started) -> Group:
    weights = f"G {event.generator_parameters:,}, D {event.discriminator_parameters:,} weights"
    lines = [f"{event.images:,} training images on {event.device}; {weights}"]
    if event.step:
        lines.append(f"going on from step {event.step:,}")
    return Group(*(Text(line) for line in lines), *(Text(f"  {line}", style="dim") for line in event.attributes))
