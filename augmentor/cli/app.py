"""The commands of `augmentor`. Libraries that take long to import are imported inside them."""

from __future__ import annotations

import shlex
import shutil
import traceback
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from augmentor import __version__
from augmentor.access import MAX_PIXELS
from augmentor.cli import display
from augmentor.cli.convert import LabelVectorOption, ModelCropOption, ModelSizeOption, convert
from augmentor.cli.expanding import expand
from augmentor.cli.options import (
    BalanceOption,
    BalanceToOption,
    BenchSuite,
    ColumnOption,
    Compile,
    CountsOption,
    DeviceOption,
    JsonOption,
    ManifestArgument,
    MaxPixelsOption,
    ModelOption,
    OutsideOption,
    Precision,
    SizeOption,
    names,
)
from augmentor.cli.session import (
    FAILED,
    command,
    end_at_once,
    escape,
    interruptible,
    messages,
    print_json,
    program,
    remark,
    results,
    set_debug,
    this_command,
)
from augmentor.cli.training import train
from augmentor.errors import AugmentorError
from augmentor.storage import place
from augmentor.workers import anything_hangs

app = typer.Typer(
    name="augmentor",
    help="Expand a labelled image set with one StarGAN: train on a manifest, translate it into every domain.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(convert, name="convert")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except SystemExit as end:
        if anything_hangs():
            end_at_once(end.code if isinstance(end.code, int) else FAILED)
        raise
    except BaseException:  # With --debug.
        if anything_hangs():
            traceback.print_exc()
            end_at_once(FAILED)
        raise


def _print_version(wanted: bool) -> None:
    if wanted:
        results.print(f"augmentor {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    set_debug(debug)


@app.command()
@command
def check(
    manifest: ManifestArgument,
    attributes: Annotated[str | None, typer.Option(help="Columns to use, comma-separated.")] = None,
    image_column: ColumnOption = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe, for its one-hot groups.")] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Larger images are unreadable.")] = None,
    allow_outside: OutsideOption = False,
    balance: BalanceOption = None,
    balance_to: BalanceToOption = "auto",
    counts: CountsOption = None,
    json: JsonOption = False,
) -> None:
    """Say how a manifest is understood, and which images cannot be used.

    With --balance also how many training images each combination of attributes
    has, and what expand --balance would make of that.
    """
    from augmentor.check import check_manifest, foresee_balance
    from augmentor.images import verify
    from augmentor.manifest import read_manifest
    from augmentor.recipe import read_recipe

    settings = read_recipe(recipe)
    table = read_manifest(
        manifest,
        attributes=names(attributes) or settings.manifest.attributes,
        one_hot=settings.one_hot,
        image_column=image_column or settings.manifest.image_column,
    ).allowing(outside=allow_outside, max_pixels=max_pixels or settings.images.max_pixels)
    fills = balance is not None or counts is not None
    named = names(balance)
    states = foresee_balance(table, attributes=named, to=balance_to, counts=counts) if fills else []
    with display.Bar("checking", unit="images") as bar:
        report = check_manifest(table, decode=partial(verify, access=table.access), progress=bar.update)
    for note in report.notes:
        remark(note)
    if json:
        balance_json = {"balance": [state.to_json() for state in states]} if states else {}
        print_json({**report.to_json(), **balance_json})
    else:
        if states:
            results.print(display.balance_table(states), display.balance_verdict(states), "")
        results.print(display.check_tables(report))
    if not report.ok:
        raise typer.Exit(FAILED)


app.command()(train)
app.command()(expand)


@app.command()
@command
def merge(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder, FILE.h5 or URL of expand --shards.", parser=place)
    ],
    json: JsonOption = False,
) -> None:
    """Put together what all shares of an expansion have made.

    The share that ends last does that by itself; this is for when it was
    killed. A second call changes nothing.
    """
    from augmentor.merging import merge as put_together
    from augmentor.report import report_path

    counts = put_together(out)
    results.print(
        f"{counts.synthetic:,} synthetic and {counts.real:,} real images in {escape(str(out))}", soft_wrap=True
    )
    results.print(f"Report: {report_path(out)}", soft_wrap=True, markup=False)
    if json:
        print_json({"out": str(out), "report": str(report_path(out)), **counts.to_json()})


@app.command()
@command
def preview(
    manifest: ManifestArgument,
    model: ModelOption,
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="The picture to write.")],
    domains: Annotated[
        list[str] | None, typer.Option(metavar="SPEC", help="As for expand; each if not given.")
    ] = None,
    splits: Annotated[str, typer.Option(help="Whose rows are shown.")] = "train,val,test",
    rows: Annotated[int, typer.Option(min=1, max=64, help="Images to show.")] = 8,
    size: SizeOption = "model",
    image_column: ColumnOption = None,
    attributes: LabelVectorOption = None,
    model_size: ModelSizeOption = None,
    model_crop: ModelCropOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    allow_outside: OutsideOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Draw a grid of inputs against targets, as one PNG."""
    from augmentor.devices import pick_device
    from augmentor.fullsize import parse_size
    from augmentor.models import Description
    from augmentor.preview import write_preview

    path = write_preview(
        manifest,
        model=model,
        domains=tuple(domains or ["each"]),
        splits=names(splits),
        rows=rows,
        out=out,
        image_column=image_column,
        device=pick_device(device),
        size=parse_size(size),
        description=Description(attributes=attributes, size=model_size, crop=model_crop),
        max_pixels=max_pixels,
        allow_outside=allow_outside,
    )
    results.print(str(path), soft_wrap=True, markup=False)


@app.command()
@command
def judge(
    manifest: ManifestArgument,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="To write; or the model's own.")] = None,
    model: Annotated[Path | None, typer.Option(metavar="RUN", help="The model that it is to judge.")] = None,
    size: Annotated[str | None, typer.Option(help="Of images without --model, such as 64.")] = None,
    crop: Annotated[int | None, typer.Option(min=1, help="Square cut out of them first.")] = None,
    flip: Annotated[bool, typer.Option(help="Mirrored images keep their labels.")] = True,
    steps: Annotated[int | None, typer.Option(min=1, help="Train for so many steps ...")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="... or for so long; 1 by default.")] = None,
    image_column: ColumnOption = None,
    attributes: Annotated[str | None, typer.Option(help="Columns to use, or as for expand.")] = None,
    model_size: ModelSizeOption = None,
    model_crop: ModelCropOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    allow_outside: OutsideOption = False,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Train the classifier that accepts or rejects translations.

    It learns from real train rows, is tried and calibrated on val rows, and is
    kept in the model's newest checkpoint, or in --out, which expand --judge
    takes. augmentor train makes one in the end; this makes a better one, one
    with other images, or one for a model that has none.
    """
    from augmentor.cli.judge import judge_json, judge_table
    from augmentor.devices import pick_device
    from augmentor.judging import JudgeRequest, judge_manifest
    from augmentor.models import Description

    own = model is None
    request = JudgeRequest(
        manifest=manifest,
        out=out,
        model=model,
        description=Description(attributes=None if own else attributes, size=model_size, crop=model_crop),
        attributes=names(attributes) if own else (),
        image_column=image_column,
        size=size,
        crop=crop,
        flip=flip,
        steps=steps,
        minutes=minutes,
        max_pixels=max_pixels,
        allow_outside=allow_outside,
    )
    with display.Bar("judging", unit="%") as bar:
        result = judge_manifest(
            request,
            device=pick_device(device),
            on_progress=lambda done: bar.update(int(100 * done), 100),
        )
    results.print(judge_table(result.kept))
    results.print(f"Kept in {escape(str(result.out))}", soft_wrap=True)
    if json:
        print_json({"out": str(result.out), **judge_json(result.kept)})


@app.command()
@command
def info(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, one checkpoint, or a foreign FILE.")],
    manifest: Annotated[Path | None, typer.Option(help="Measure on it whether the model obeys.")] = None,
    image_column: ColumnOption = None,
    attributes: LabelVectorOption = None,
    model_size: ModelSizeOption = None,
    model_crop: ModelCropOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    allow_outside: OutsideOption = False,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Say what a model and its judge know, and whether the model obeys."""
    from augmentor.cli.judge import judge_json, judge_table
    from augmentor.manifest import describe_sets
    from augmentor.models import Description, open_model
    from augmentor.obedience import read_obedience
    from augmentor.quality import open_judge

    described = Description(attributes=attributes, size=model_size, crop=model_crop)
    model, judge = open_model(run, described), open_judge(run)
    if manifest is None:
        obedience = read_obedience(run, model)
    else:
        from augmentor.devices import pick_device
        from augmentor.judging import judge_model

        with display.Bar("judging", unit="%") as bar:
            obedience = judge_model(
                run,
                manifest,
                image_column=image_column,
                device=pick_device(device),
                description=described,
                max_pixels=max_pixels,
                allow_outside=allow_outside,
                on_progress=lambda done: bar.update(int(100 * done), 100),
            )
    height, width = model.image_size
    weights = sum(weight.numel() for weight in model.generator.parameters())
    if json:
        print_json(
            {
                "label_space": model.space.to_json(),
                "image_size": [height, width],
                "image_channels": model.image_channels,
                "step": model.step,
                "generator": dict(model.generator.arguments),
                "weights": weights,
                "sha256": model.sha256,
                "judge": judge_json(judge) if judge is not None else None,
                "obedience": obedience.to_json() if obedience is not None else None,
            }
        )
        return
    colours = "colour" if model.image_channels == 3 else f"{model.image_channels}-channel"
    results.print(f"{height} x {width} px {colours} images, {model.step:,} steps, {weights:,} weights")
    for attribute in model.space.attributes:
        results.print(f"  {escape(attribute.name)}: {escape(' | '.join(attribute.values))}", soft_wrap=True)
    if model.space.label_sets:
        results.print(f"Trained jointly on {escape(describe_sets(model.space))}", soft_wrap=True)
    foreign = model.settings.get("foreign")
    if isinstance(foreign, dict):
        results.print(f"Made by {foreign['layout']} of {escape(str(foreign['file']))}", soft_wrap=True)
    if model.only_target is not None:
        only = model.space.attributes[0]
        results.print(f"One direction only: into {escape(f'{only.name}={only.values[-1]}')}", soft_wrap=True)
    results.print(f"sha256 {model.sha256}", soft_wrap=True)
    if judge is not None:
        results.print(judge_table(judge))
    else:
        making = shlex.join(["judge", "MANIFEST", "--model", str(run), *described.flags()])
        results.print(f"No judge yet:  {shlex.join(program())} {making}", soft_wrap=True, markup=False)
    if obedience is not None:
        results.print(display.obedience_table(obedience))
    else:
        asking = shlex.join([*program(), "info", str(run), *described.flags(), "--manifest"])
        results.print(f"Does it obey? Not measured yet:  {asking} MANIFEST", soft_wrap=True, markup=False)


@app.command()
@command
def report(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder, or FILE.h5, that expand wrote.")],
    json: JsonOption = False,
) -> None:
    """Write the page and the data set card of an output again.

    `expand` writes them, and `evaluate` once more. One HTML file with its
    pictures beside it, which needs no network: what is in the output, how it
    was judged, the best and the rejected, and whether a classifier gets better.
    """
    from augmentor.report import write_report

    page = write_report(out)
    results.print(str(page), soft_wrap=True, markup=False)
    if json:
        print_json({"report": str(page)})


@app.command()
@command
def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder, or FILE.h5, that expand wrote.")],
    repair: Annotated[bool, typer.Option("--repair", help="Drop damage; expand then remakes it.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read, unpack.")] = None,
    json: JsonOption = False,
) -> None:
    """Read all of an output again and say what is damaged.

    Hashes, images, labels, counts and tables; that no translation descends
    from a val or test row, and no group stands in two splits. Exits with 1
    if something is wrong. After --repair, the same expand remakes exactly
    what was dropped; if nothing else is wrong, it exits with 0.
    """
    from augmentor.verify import repair_output, verify_output

    with display.Bar("verifying", unit="images") as bar:
        found = verify_output(out, workers=workers, told=bar.update)
    repaired = repair_output(found) if repair else None
    if json:
        print_json({**found.to_json(), "repaired": None if repaired is None else repaired.to_json()})
    else:
        results.print(display.verify_tables(found, repaired), soft_wrap=True)
    if repaired.left if repaired is not None else found.problems:
        raise typer.Exit(FAILED)


@app.command()
@command
def evaluate(
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder, or FILE.h5, that expand wrote.")],
    model: Annotated[
        Path | None, typer.Option("--model", metavar="RUN", help="By default where it lay for expand.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Classifiers of each kind.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Optimisation steps of each.")] = 800,
    ratios: Annotated[str, typer.Option(help="Synthetic : real, to compare.")] = "0.5,1,2",
    flip: Annotated[bool, typer.Option("--flip/--no-flip", help="Mirrored images keep labels.")] = True,
    inception: Annotated[bool, typer.Option("--inception", help="Its features for distances.")] = False,
    image_column: ColumnOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    allow_outside: OutsideOption = False,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Say whether the synthetic images help a classifier of real ones.

    Trains classifiers with and without them, and with what needs no generator
    (oversampling, TrivialAugment), at equal steps, and tries all on the real
    test images. Refuses test rows that were used before. Writes
    evaluation.json into OUT; the same command goes on after a kill.
    """
    from augmentor.cli.evaluate import evaluation_tables
    from augmentor.devices import pick_device
    from augmentor.evaluate import EvaluateSettings, Told
    from augmentor.evaluate import evaluate as evaluate_output

    settings = EvaluateSettings(
        seeds=seeds, steps=steps, ratios=_numbers(ratios, flag="--ratios"), flip=flip, inception=inception
    )
    with display.Bar("evaluating", unit="steps") as bar:
        evaluation = evaluate_output(
            manifest,
            out,
            settings=settings,
            device=pick_device(device),
            model=model,
            image_column=image_column,
            allow_outside=allow_outside,
            max_pixels=max_pixels,
            told=Told(note=remark, steps=lambda done, total, before: bar.update(done, total, skipped=before)),
        )
    results.print(evaluation_tables(evaluation))
    if json:
        print_json(evaluation.to_json())


@app.command()
@command
def bench(
    manifest: Annotated[
        Path | None, typer.Argument(metavar="MANIFEST", help="Your images; drawn ones if not given.")
    ] = None,
    model: Annotated[Path | None, typer.Option(metavar="RUN", help="A run folder, or one checkpoint ...")] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="... or an untrained model of it.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of images; the recipe's if not given.")] = None,
    targets: Annotated[int, typer.Option(help="Translations of each drawn image.")] = 8,
    images: Annotated[int | None, typer.Option(help="Images to use, or to draw.")] = None,
    stages: Annotated[
        str | None, typer.Option(help="Of decode, translate, encode, write, expand, train; all if not given.")
    ] = None,
    suite: Annotated[BenchSuite | None, typer.Option(help="A fixed list with targets.")] = None,
    device: DeviceOption = "auto",
    compile: Annotated[Compile, typer.Option(help="Compile the networks.")] = Compile.auto,
    precision: Annotated[Precision, typer.Option(help="What they compute in.")] = Precision.auto,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that decode, encode.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds of measuring a figure.")] = None,
    allow_outside: OutsideOption = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the figures there.")] = None,
    json: JsonOption = False,
) -> None:
    """Measure every stage beside a plain loop, and beside what the chip can do.

    Warm-up is not counted, both sides take turns, their outputs are compared.

    --suite measures what is promised, on drawn images, and says what is met.
    """
    from augmentor.bench import BENCH_STAGES, BenchSettings, run_bench
    from augmentor.cli.bench import bench_table, report_json, write_report
    from augmentor.devices import pick_device

    settings = BenchSettings(
        manifest=manifest,
        model=model,
        recipe=recipe,
        overrides=tuple(set_ or ()),
        size=size,
        targets=targets,
        images=images,
        stages=names(stages) if stages is not None else BENCH_STAGES,
        suite=suite.value if suite is not None else None,
        compile=compile.value,
        precision=precision.value,
        workers=workers,
        seconds=seconds,
        allow_outside=allow_outside,
    )
    report = run_bench(
        settings,
        device=pick_device(device),
        on_stage=lambda words: messages.print(f"[dim]measuring {escape(words)} ...[/]"),
    )
    results.print(bench_table(report))
    values = report_json(report, command=this_command())
    if out is not None:
        write_report(out, values)
    if json:
        print_json(values)


@app.command()
@command
def demo(
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("demo"),
    train_: Annotated[bool, typer.Option("--train", help="Train from scratch first.")] = False,
    minutes: Annotated[float, typer.Option(help="Minutes to train for.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Seed of the portraits.")] = 0,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Show everything on drawn portraits, in a few minutes, without any data."""
    from augmentor.cli.demo import show_demo

    with interruptible(resume=this_command()):
        summary = show_demo(out, minutes=minutes if train_ else None, seed=seed, device=device)
    if json:
        print_json(summary)


def _numbers(text: str, *, flag: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in names(text))
    except ValueError:
        raise AugmentorError(f"{flag}: {text!r} is not numbers with commas between them, like 0.5,1,2") from None


if shutil.get_terminal_size().columns < 80:
    results.soft_wrap = messages.soft_wrap = True
