"""Command `augmentor train`: options, progress, result."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from augmentor.cli import display, options, session, tables
from augmentor.errors import AugmentorError


@session.resumed_by("--resume")
def train(
    context: typer.Context,
    manifests: options.ManifestsArgument,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder to write.")],
    recipe: Annotated[
        Path | None, typer.Option(metavar="NAME|FILE", help="Settings: see augmentor recipes.")
    ] = None,
    set_: options.SetOption = None,
    minutes: Annotated[float | None, typer.Option(help="Training time in minutes.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps, in place of --minutes.")] = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Start from its weights: a run, checkpoint or converted model."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the newest checkpoint.")] = False,
    for_: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="SPEC", help="What expand --domains will request of it; repeatable."),
    ] = None,
    for_balance: Annotated[
        str | None,
        typer.Option(metavar="ATTR,...", help="What expand --balance will request of it, in place of --for."),
    ] = None,
    attributes: options.AttributesOption = None,
    image_column: options.ColumnOption = None,
    image_prefix: options.PrefixOption = None,
    image_suffix: options.SuffixOption = None,
    na_values: options.NaValuesOption = None,
    device: options.DeviceOption = "auto",
    devices: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Several devices, one process each: cuda:0,cuda:1.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    cache: Annotated[
        options.Switch | None, typer.Option(help="Cache decoded images in memory; auto: if they fit.")
    ] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Larger images count as failed rows.")] = None,
    allow_outside: options.OutsideOption = False,
    max_failures: options.MaxFailuresOption = 0,
    json: options.JsonOption = False,
) -> None:
    """Train one StarGAN on a manifest, or on several with different labels.

    Writes the run folder: run.toml, log.jsonl, samples/ and checkpoints/. Ctrl-C
    saves a checkpoint before it exits. A judge (a classifier of the real images)
    is trained beside it: it scores checkpoints on val, of which the best is used,
    and measures the target accuracy of every attribute at the end.
    """
    from augmentor.cli.devices import chosen_devices
    from augmentor.data.manifest import read_manifests
    from augmentor.outputs import refuse_file_name
    from augmentor.training import is_rank_0, join_ranks, launch, local_device, read_recipe, train_run, world_size

    refuse_file_name(out)
    chosen = chosen_devices(device, devices)
    if len(chosen) > 1 and world_size() == 1:
        raise typer.Exit(launch(chosen, run=out))
    if minutes is not None and steps is not None:
        raise AugmentorError("--minutes and --steps exclude each other: give one of them")
    overrides = list(set_ or ())
    overrides += [f"manifest.attributes={_toml(options.names(attributes))}"] if attributes else []
    overrides += [f"manifest.image_column={_toml(image_column)}"] if image_column else []
    overrides += [f"manifest.image_prefix={_toml(image_prefix)}"] if image_prefix else []
    overrides += [f"manifest.image_suffix={_toml(image_suffix)}"] if image_suffix else []
    overrides += [f"manifest.na_values={_toml(options.names(na_values))}"] if na_values else []
    overrides += [f"training.for_domains={_toml(for_)}"] if for_ else []
    overrides += [f"training.for_balance={_toml(options.names(for_balance))}"] if for_balance else []
    overrides += [f"images.max_pixels={max_pixels}"] if max_pixels else []
    overrides += [f"training.init={_toml(str(init))}"] if init else []
    with session.output_of_rank_0(is_rank_0()):
        kept = out / "run.toml"
        of_run = resume and recipe is None and kept.exists()
        settings = read_recipe(
            kept if of_run else recipe,
            overrides,
            of_run=of_run,
            minutes=minutes,
            steps=steps,
            seed=seed,
            cache=cache,
        )
        table = read_manifests(
            manifests,
            attributes=settings.manifest.attributes,
            one_hot=settings.one_hot,
            reading=settings.manifest.reading,
        ).allowing(outside=allow_outside)
        place = local_device(chosen)
        with join_ranks(place) as ranks, session.stop_flag() as should_stop, display.TrainingDisplay() as live:
            result = train_run(
                table,
                run=out,
                recipe=settings,
                resume=resume,
                device=place,
                on_event=live.show,
                should_stop=should_stop,
                ranks=ranks,
            )
    if not ranks.is_rank_0:
        return
    if not result.finished:
        session.exit_interrupted(resume=session.this_command("--resume"))
    if result.obedience is None and should_stop():
        session.remark("training is finished and saved; only the target accuracy is not measured yet")
        session.exit_interrupted(resume=session.this_command("--resume"))
    session.print_line(f"Trained {result.step:,} steps in {display.duration(result.elapsed)}: {result.run}")
    if result.obedience is not None:
        session.results.print(tables.target_accuracy_table(result.obedience))
    if result.choice is not None:
        session.print_line(f"Used:  {result.choice}")
    session.print_next(context, "preview", manifests[0], "--model", out, "--out", "preview.png")
    if json:
        losses = {name: round(value, 6) for name, value in result.losses.items()}
        session.print_json(
            {
                "run": str(result.run),
                "checkpoint": str(result.checkpoint),
                "used": str(result.used),
                "choice": result.choice,
                "step": result.step,
                "seconds": round(result.elapsed, 3),
                "losses": losses,
                "failed": len(result.failures),
                "obedience": result.obedience.to_json() if result.obedience is not None else None,
            }
        )
    session.exit_for_failures(len(result.failures), max_failures, out / "failures.csv")


def _toml(value: str | Sequence[str]) -> str:
    return dumps(value, ensure_ascii=False)  # a JSON text, or a list of them, is a TOML one, too
