"""Tables shared by commands: label counts, combinations, plans, target accuracy, problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from augmentor.cli.display import data_size, duration
from augmentor.cli.session import escape, visible
from augmentor.errors import counted

if TYPE_CHECKING:
    from augmentor.expansion import Estimate
    from augmentor.judge import Level, TargetAccuracy
    from augmentor.planning import CellState, Plan

_MOST_PROBLEMS = 20
"""Problems of one kind that are printed; the rest is counted."""

_LEVELS: dict[Level, tuple[str, str]] = {
    "obeys": ("followed", "green"),
    "in part": ("in part", "yellow"),
    "ignores": ("ignored", "bold red"),
    "not judged": ("not judged", "dim"),
}
"""Word and style of each level of obedience.json."""

_MOST_DOMAINS, _MOST_LEFT_OUT = 12, 3
"""Domains that are printed with their distances, and of those without; --json lists them all."""

_MOST_SHORT = 6
"""Combinations without the wanted count that are explained; dataset.json explains them all."""

_BAR = 24
"""Characters of the longest bar."""

_IF_ALL_ARE_KEPT = "after: if every translation is kept. Rejected ones are replaced from other sources."


def plain_table(*headings: str, title: str = "", texts: int = 1, width: int | None = None) -> Table:
    """Return a table without lines, `texts` left-aligned columns first; without a width it fits its content."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, width=width)
    for place, heading in enumerate(headings):
        text = place < texts or not heading
        table.add_column(heading, justify="left" if text else "right", overflow="fold" if text else "ellipsis")
    return table


def counts_table(counts: Mapping[str, Mapping[str, tuple[int, int]]]) -> Table:
    """Return the label counts before and after an expansion, with bars."""
    headings = ("attribute", "value", "before", "after", "")
    table = plain_table(*headings, title="Label counts of the translated rows", texts=2)
    most = max((after for values in counts.values() for _, after in values.values()), default=1) or 1
    for name, values in counts.items():
        for place, (value, (before, after)) in enumerate(values.items()):
            old = round(_BAR * before / most)
            bar = Text("█" * old, style="blue") + Text("█" * (round(_BAR * after / most) - old), style="green")
            table.add_row(escape(name) if place == 0 else "", escape(value), f"{before:,}", f"{after:,}", bar)
    return table


def balance_table(states: Sequence[CellState]) -> Table:
    """Return the combinations before and after --balance, with bars; missing images are dotted."""
    names = [escape(name) for name in states[0].domain]
    table = plain_table(*names, "before", "wanted", "after", "", title="Combinations", texts=len(names))
    most = max((max(state.after, state.wanted or 0) for state in states), default=1) or 1
    above: list[str] = []
    for state in states:
        real, made, wanted = (round(_BAR * n / most) for n in (state.before, state.after, state.wanted or 0))
        bar = Text("█" * real, "blue") + Text("▒" * (made - real), "green") + Text("·" * (wanted - made), "red")
        values = list(state.domain.values())
        # A value equal to the one above is left blank.
        same = next((i for i, pair in enumerate(zip(values, above, strict=False)) if pair[0] != pair[1]), 0)
        shown = ["" if i < same else escape(value) for i, value in enumerate(values)]
        goal = Text("-", "dim") if state.wanted is None else f"{state.wanted:,}"
        after = Text(f"{state.after:,}", "red" if state.sources_used_up else "")
        table.add_row(*shown, f"{state.before:,}", goal, after, bar)
        above = values
    return table


def balance_verdict(states: Sequence[CellState]) -> Text:
    """Return in words whether all combinations have the wanted number of images."""
    short = [state for state in states if state.sources_used_up]
    if not short:
        return Text("Every combination has as many images as are wanted.", "green")
    lacking = sum((state.wanted or 0) - state.after for state in short)
    verb = "lacks" if len(short) == 1 else "lack"
    lines = [f"{counted(len(short), 'combination')} {verb} {counted(lacking, 'image')}:"]
    for state in short[:_MOST_SHORT]:
        domain = ", ".join(f"{visible(name)}={visible(value)}" for name, value in state.domain.items())
        ended = "given up" if state.given_up else "its sources are used up"
        lines.append(f"  {domain}: {ended}{f', {state.why}' if state.why else ''}")
    if len(short) > _MOST_SHORT:
        lines.append(f"  and {len(short) - _MOST_SHORT:,} more (dataset.json)")
    rejected = any(state.given_up for state in short)
    lines.append(
        "The report shows the best of the rejected. A model trained longer, or with --for-balance, or more real "
        "images of these combinations would help; so may a judge trained longer (augmentor judge --minutes). "
        "augmentor evaluate --plan says what to expect of what was kept."
        if rejected
        else "More rows, a larger --max-per-source or a better model would help."
    )
    return Text("\n".join(lines), "yellow")


def plan_tables(plan: Plan, estimate: Estimate) -> Group:
    """Return the result of `expand --dry-run`: images, labels before and after, bytes and time."""
    from augmentor.planning import planned_states

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
    """Return the result of `expand --dry-run --json`."""
    from augmentor.planning import planned_states

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


def target_accuracy_table(found: TargetAccuracy) -> Group:
    """Return a model's target accuracy: a row per attribute, then the verdict in words."""
    headings = ("attribute", "target\naccuracy", "source", "real\naccuracy", "chance", "change", "")
    table = plain_table(*headings, title="Target accuracy")
    for row in found.attributes:
        shares = ["-" if x is None else f"{x:.1%}" for x in row.shown]
        change = "-" if row.change is None else f"{row.change:.1f}"
        table.add_row(escape(row.name), *shares, change, Text(*_LEVELS[row.level]))
    identity = "-" if found.identity_change is None else f"{found.identity_change:.1f}"
    table.add_row(Text("identity", "dim"), "", "", "", "", identity, "")
    legend = (
        f"target accuracy: share of {found.translations:,} translations of {found.images:,} images "
        f"({found.sources}) in which the judge ({found.judge_steps:,} steps) recognises the new value; "
        "source: the same of the untranslated images; real accuracy: the judge's on real images; change: mean "
        "difference in grey levels of 255; identity: with the source's own labels as the target."
    )
    return Group(table, Text(legend, "dim"), *_distances(found), *(Text(line) for line in found.verdict))


def _distances(found: TargetAccuracy) -> list[RenderableType]:
    """Return the distances to real images of the domains that are worst off, and what was not measured."""
    lines: list[RenderableType] = [Text("")]
    if found.domains:
        headings = ("target domain", "images", "Frechet\n/ floor", "source\n/ floor", "kernel\n/ source")
        table = plain_table(*headings, title="Distance to real images of other subjects")
        order = sorted(found.domains, key=lambda row: row.frechet_ratio or 0.0, reverse=True)
        for row in order[:_MOST_DOMAINS]:
            source = row.frechet_identity / row.frechet_floor if row.frechet_floor > 0 else None
            kernel = row.kernel / row.kernel_identity if row.kernel_identity > 0 else None
            frechets = ("-" if ratio is None else f"{ratio:.1f}" for ratio in (row.frechet_ratio, source))
            kernel_text = "-" if kernel is None else f"{kernel:.2f}"
            table.add_row(escape(row.domain), f"{row.images:,}", *frechets, kernel_text)
        if len(order) > _MOST_DOMAINS:
            table.add_row(Text(f"and {len(order) - _MOST_DOMAINS:,} closer ones", "dim"))
        legend = (
            "floor: real images of the same domain; source: the untranslated images in place of the translations. "
            "A generator that does nothing has the Frechet distance of its source and kernel 1, a perfect one 1 "
            "and 0."
        )
        lines += [table, Text(legend, "dim")]
    left_out = found.distances_left_out
    if left_out:
        more = f"; and {len(left_out) - _MOST_LEFT_OUT:,} more" if len(left_out) > _MOST_LEFT_OUT else ""
        lines.append(Text(f"Distance to real images: {'; '.join(left_out[:_MOST_LEFT_OUT])}{more}.", "dim"))
    shares = []
    if found.mask_share is not None:
        shares.append(f"The mask repaints {found.mask_share:.1%} of an image.")
    if found.hue_introduced is not None:
        shares.append(f"Translations of grey images have a mean chroma of {found.hue_introduced:.1f} grey levels.")
    if found.detail is not None:
        shares.append(
            f"Their fine detail is {found.detail:.1f} times as far from real images of other subjects as that of "
            "the sources (1: neither blur nor speckle)."
        )
    if shares:
        lines.append(Text(" ".join(shares)))
    return lines if len(lines) > 1 else []


def listed(kind: str, lines: Sequence[str], style: str = "red") -> list[Text]:
    """Return a line per problem, its kind in colour; of many only the first."""
    shown = [Text.assemble((f"{kind:<11}", style), visible(line)) for line in lines[:_MOST_PROBLEMS]]
    if len(lines) > _MOST_PROBLEMS:
        shown.append(
            Text(f"{'':<11}and {len(lines) - _MOST_PROBLEMS:,} more (--json lists them all)", style="dim")
        )
    return shown
