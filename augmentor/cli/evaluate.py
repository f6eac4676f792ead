"""Command `augmentor evaluate`: options, and the tables of arms, groups and distances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from augmentor.cli import options
from augmentor.cli.display import ProgressBar
from augmentor.cli.session import command, print_json, print_line, remark, results
from augmentor.cli.tables import plain_table
from augmentor.errors import AugmentorError
from augmentor.storage import MAX_PIXELS

if TYPE_CHECKING:
    from augmentor.evaluation import ArmResult, Distances, Evaluation, EvaluationPlan, GroupResult, Interval

_COLOURS = {"helps": "bold green", "hurts": "bold red", "mixed": "bold yellow"}
_HEADS = {
    "real": "real",
    "oversampled": "over-\nsampled",
    "trivialaugment": "Trivial-\nAugment",
    "geometric": "geo-\nmetric",
    "oversampled-trivialaugment": "overs. +\nTrivial.",
    "oversampled-geometric": "overs. +\ngeom.",
    "group-balanced": "group\nbalanced",
    "logit-adjusted": "logit\nadjusted",
    "ungated": "ungated",
    "gated": "gated",
    "oversampled-synthetic": "overs. +\nsynth.",
    "pretrained": "synth.,\nreal",
    "synthetic": "synth.\nonly",
}
_MOST_GROUPS = 12
_MOST_ARMS = 7


@command
def evaluate(
    manifest: options.ManifestArgument,
    out: options.OutputArgument,
    model: Annotated[
        Path | None, typer.Option("--model", metavar="RUN", help="Default: the path recorded by expand.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Classifiers per training set.")] = 3,
    steps: Annotated[
        int, typer.Option(min=1, help="Optimisation steps per classifier at most; converged ones stop before.")
    ] = 1200,
    arms: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Training sets to compare (see above), or all.",
        ),
    ] = None,
    generators: Annotated[
        str,
        typer.Option(
            metavar="OUT,...",
            help="Outputs of the same request by models of other seeds, whose differences widen the intervals.",
        ),
    ] = "",
    folds: Annotated[
        str,
        typer.Option(
            metavar="OUT,...",
            help="Outputs of the other tables of check --folds: all their test images are tested as one set.",
        ),
    ] = "",
    classifier: Annotated[
        str,
        typer.Option(metavar="NAME|PATH", help="small, resnet18, or weights of a ResNet-18 to start from."),
    ] = "small",
    ratios: Annotated[
        str,
        typer.Option(metavar="N,...", help="Also compare so many synthetic images per real one, like 0.5,1,2."),
    ] = "",
    flip: Annotated[
        bool | None,
        typer.Option("--flip/--no-flip", help="Augment with mirrored images. Default: as the model's training."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Train nothing: print the test subjects and seeds it takes.")
    ] = False,
    inception: Annotated[bool, typer.Option("--inception", help="Distances by Inception features.")] = False,
    image_column: options.ColumnOption = None,
    image_prefix: options.PrefixOption = None,
    image_suffix: options.SuffixOption = None,
    na_values: options.NaValuesOption = None,
    max_pixels: options.MaxPixelsOption = MAX_PIXELS,
    allow_outside: options.OutsideOption = False,
    device: options.DeviceOption = "auto",
    json: options.JsonOption = False,
) -> None:
    """Measure whether the synthetic images improve a classifier on real ones.

    Trains classifiers on real images, on real and synthetic images, and with
    generator-free baselines (oversampling, augmentation), until they have
    converged, and tests all on real test images. Refuses test rows that were used in training.
    Writes evaluation.json to OUT; the same command resumes an interrupted run.

    --arms: real, oversampled, oversampled-trivialaugment, ungated, gated,
    oversampled-synthetic (the output, rare combinations drawn more often) and
    synthetic by default; others are trivialaugment, geometric,
    oversampled-geometric, group-balanced, logit-adjusted, and pretrained (on
    synthetic images, then trained on real ones).
    """
    from augmentor.cli.devices import pick_device
    from augmentor.evaluation import DEFAULT_ARMS, TITLES, EvaluateSettings, plan_evaluation
    from augmentor.evaluation import evaluate as evaluate_output
    from augmentor.report import write_report

    settings = EvaluateSettings(
        seeds=seeds,
        steps=steps,
        arms=DEFAULT_ARMS if arms is None else tuple(TITLES) if arms == "all" else options.names(arms),
        classifier=classifier,
        ratios=_numbers(ratios, flag="--ratios") if ratios else (),
        flip=flip,
        inception=inception,
    )
    reading = options.reading(image_column, image_prefix, image_suffix, na_values)
    if plan and folds:
        raise AugmentorError("--plan looks at one output: leave out --folds, which test the subjects of all rows")
    if plan:
        planned = plan_evaluation(manifest, out, reading=reading)
        results.print(plan_table(planned))
        if json:
            print_json(planned.to_json())
        return
    with ProgressBar("evaluating", unit="steps") as bar:
        evaluation = evaluate_output(
            manifest,
            out,
            settings=settings,
            device=pick_device(device),
            generators=[Path(each) for each in options.names(generators)],
            folds=[Path(each) for each in options.names(folds)],
            model=model,
            reading=reading,
            allow_outside=allow_outside,
            max_pixels=max_pixels,
            on_note=remark,
            on_steps=lambda done, total, before: bar.update(done, total, skipped=before),
        )
    page = write_report(out)
    results.print(evaluation_tables(evaluation))
    print_line(f"Report: {page}")
    if json:
        print_json(evaluation.to_json())


def evaluation_tables(evaluation: Evaluation) -> Group:
    """Return the tables and the verdict of an evaluation, 80 columns wide."""
    counts, verdict = evaluation.counts, evaluation.verdict
    generators = f" for {counts['generators']} generators" if counts["generators"] > 1 else ""
    of_folds = f" of {counts['folds']} folds" if counts["folds"] > 1 else ""
    head = (
        f"{counts['test']:,} real test images{of_folds}, {counts['test_units']:,} independent units; "
        f"{evaluation.settings['seeds']} classifiers each{generators}, of at most {evaluation.settings['steps']} "
        f"steps. Attributes: {', '.join(evaluation.attributes)}."
    )
    parts: list[RenderableType] = [Text(head), Text(""), _arms(evaluation)]
    parts += [Text(f"No {name} arm: {reason}.", "dim") for name, reason in evaluation.skipped.items()]
    parts += [Text("")]
    parts += [_attributes(evaluation.arms), Text("")]
    if evaluation.filled or evaluation.unmeasured:
        parts += [_combinations("accuracy of the filled combinations", evaluation.filled, evaluation.arms)]
        parts += [Text(f"Left out: {each}.", "dim") for each in evaluation.unmeasured]
        parts += [Text("")]
    if evaluation.groups:
        parts += [_groups(evaluation), Text("")]
    parts += [_distances(evaluation.distances, of_folds=counts["folds"] > 1), Text("")]
    opening, colon, intervals = verdict.sentence.partition(":")
    parts.append(Text(opening + colon, _COLOURS.get(verdict.word, "bold")).append(intervals, "not bold default"))
    parts += [Text(f"-> {each}") for each in verdict.following]
    return Group(*parts)


def plan_table(plan: EvaluationPlan) -> Group:
    """Return what an evaluation can see, and what it assumes."""
    head = (
        f"Filled combinations: {'; '.join(plan.filled)}. {plan.images:,} real test images of {plan.units:,} "
        f"independent units (subjects) show one of them."
    )
    assumed = (
        f"Assumed: {100 * plan.accuracy:.0f} % of these images are recognised without the synthetic ones; of the "
        "variance of whether one is, "
        + ", ".join(f"{100 * share:.0f} % {name}" for name, share in asdict(plan.spread).items() if share)
        + "; further subjects have as many images as these. Seen: by 80 of 100 evaluations, with 95 % intervals."
    )
    needed = f"test subjects to see\n{100 * plan.gain:g} points"
    table = plain_table("classifiers\n(--seeds)", "smallest gain seen with\nthese test subjects", needed)
    for each in plan.seeds:
        gain = "none: fewer than 8" if each.smallest_gain is None else f"{100 * each.smallest_gain:.1f} points"
        subjects = "more seeds" if each.units_needed is None else f"{each.units_needed:,}"
        table.add_row(f"{each.seeds}", gain, subjects)
    doubts = [
        f"Expect no gain in {name}: the gate accepted {100 * share:.0f} % of its translations. Of such a "
        "combination the accepted images taught less, where it was measured, than the real ones drawn more often. "
        "More real images of it, or a model trained longer, come first."
        for name, share in plan.doubtful
    ]
    said = [line for doubt in doubts for line in (Text(""), Text(doubt, "yellow"))]
    return Group(Text(head), Text(""), table, Text(""), Text(assumed, "dim"), *said)


def _arms(evaluation: Evaluation) -> Table:
    title = "accuracy in per cent, with 95 % intervals"
    table = plain_table("arm", "filled", "worst group", "balanced", title=title, width=79)
    for column in table.columns[1:]:
        column.no_wrap = True
    for arm in evaluation.arms:
        style = "bold" if arm.name == evaluation.verdict.arm else ""
        table.add_row(*_arm_cells(arm), style=style)
    for arm in evaluation.sweep:
        title = f"  with {arm.ratio:g} synthetic : 1 real"
        table.add_row(title, *_arm_cells(arm)[1:], style="dim")
    return table


def _arm_cells(arm: ArmResult) -> tuple[str, str, str, str]:
    worst = "-" if arm.worst_group is None else _with_interval(arm.worst_group.accuracy)
    filled = "-" if arm.filled is None else _with_interval(arm.filled)
    return arm.title, filled, worst, _with_interval(arm.balanced)


def _attributes(arms: Sequence[ArmResult]) -> Table:
    shown = arms[:_MOST_ARMS]
    table = _by_arm("balanced accuracy of each attribute" + _cut(arms), [arm.name for arm in shown])
    for name in arms[0].attributes:
        table.add_row(Text(name), *(_share(arm.attributes[name].value) for arm in shown))
    return table


def _groups(evaluation: Evaluation) -> Table:
    shown = sorted(evaluation.groups, key=lambda group: group.accuracy["real"].value)[:_MOST_GROUPS]
    left = len(evaluation.groups) - len(shown)
    more = f" (the worst {len(shown)} of {len(evaluation.groups)})" if left else ""
    return _combinations(f"accuracy of each combination{more}", shown, evaluation.arms)


def _combinations(title: str, groups: Sequence[GroupResult], arms: Sequence[ArmResult]) -> Table:
    names = [arm.name for arm in arms[:_MOST_ARMS]]
    table = _by_arm(title + _cut(arms), names, counted="train")
    for group in groups:
        trained = f"{group.train_real:,}+{group.train_synthetic:,}"
        few = "" if math.isfinite(group.accuracy["real"].low) else f" ({group.test_units} subjects: no interval)"
        cells = (_share(group.accuracy[name].value) for name in names)
        table.add_row(Text(group.name + few), trained, *cells)
    return table


def _cut(arms: Sequence[ArmResult]) -> str:
    more = len(arms) - _MOST_ARMS
    return f"; {more} more arms are in evaluation.json" if more > 0 else ""


def _by_arm(title: str, names: Sequence[str], *, counted: str | None = None) -> Table:
    headings = [*([counted] if counted else []), *(_HEADS[name] for name in names)]
    table = plain_table("", *headings, title=title, width=79)
    table.columns[0].ratio = 1
    return table


def _distances(found: Distances, *, of_folds: bool) -> Table:
    by = "Inception" if found.features == "inception" else "a classifier of real images"
    which = ", first fold" if of_folds else ""
    table = plain_table("", "synthetic", "real", title=f"distances between features of {by}{which}")
    for title, by_set in (("Frechet distance to test", found.frechet), ("kernel distance to test", found.kernel)):
        if by_set is not None:
            table.add_row(title, _number(by_set, "kept"), _number(by_set, "real"))
            if "ungated" in by_set:
                table.add_row("  before the gate", _number(by_set, "ungated"), "")
    for title, pair in (
        ("between two images of a domain", found.within_domain),
        ("between translations of a source (real: any two)", found.within_source),
        ("to the nearest training image", found.nearest),
    ):
        table.add_row(title, f"{pair.synthetic:.3g}", f"{pair.real:.3g}")
    table.add_row("nearer than 99 % of test images are", f"{_share(found.copies)} %", "1.0 %")
    table.add_row("equal to the source", f"{_share(found.unchanged)} %", "")
    return table


def _number(by_set: Mapping[str, float], name: str) -> str:
    return f"{by_set[name]:.3g}"


def _with_interval(each: Interval) -> str:
    if math.isnan(each.low):
        return _share(each.value)
    return f"{_share(each.value)} [{_share(each.low)}, {_share(each.high)}]"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _numbers(text: str, *, flag: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in options.names(text))
    except ValueError:
        raise AugmentorError(f"{flag}: {text!r} is not numbers with commas between them, like 0.5,1,2") from None
