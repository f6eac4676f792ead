"""`augmentor train`: from a manifest and a recipe to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from augmentor.data import (
    GREY_SAMPLE,
    Failure,
    Samples,
    all_grey,
    describe_choice,
    frame_notes,
    grey_range_notes,
    read_samples,
    refuse_unequal_pairs,
    resolve_range,
)
from augmentor.data.manifest import Manifest, Partners, missing_notes, refuse_split_leaks, refuse_unreachable
from augmentor.errors import ManifestError, OutputError, RecipeError, TrainingError, counted, did_you_mean, listing
from augmentor.judge import Limits, TargetAccuracy, joint_rarity, judge_run, rarity_weights
from augmentor.storage import GreyRange, locked, read_holder
from augmentor.training.cache import ImageCache, make_cache
from augmentor.training.faults import explained, last_checkpoint
from augmentor.training.loading import TrainingImages, drawn_targets, training_batches
from augmentor.training.methods import METHODS, check_rows, learns_from_pairs_alone, sets_of_rows
from augmentor.training.recipe import Recipe
from augmentor.training.run_folder import (
    MeasuringAccuracy,
    RankRecorder,
    Recorder,
    Started,
    TrainEvent,
    TrainingRun,
    describe_attribute,
)
from augmentor.training.sampler import StepSampler
from augmentor.training.settings import TrainingSettings
from augmentor.training.state import follow_rank_0, open_run, refuse_second_start, stored_recipe, train_config
from augmentor.training.targets import (
    TargetPolicy,
    requested_policy,
    rows_of_request,
    target_mixture,
    translation_weights,
)
from stargan.checkpoints import find_checkpoint
from stargan.diffaugment import ADAPT_EVERY
from stargan.distributed import SINGLE_RANK, Ranks
from stargan.labels import LabelSpace
from stargan.training import Batch, CheckpointEvent, DivergenceError, TrainState, train

_LOCK = ".lock"
"""In the run folder: names the process that trains."""

_SAMPLE_ROWS = 8

_WEIGHED_DRAWS = 5_000
"""Targets by which translations are weighed, if the run has as many; they cost a few tenths of a second."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The outcome of a training run.

    Args:
        checkpoint: the newest checkpoint.
        used: the checkpoint to translate with, the best or the newest.
        choice: why, in words: "step 900 of 1,200, the best of 8 scored on val"; None if nothing was scored.
        finished: False if the run was stopped and can be resumed.
        step: D steps done.
        elapsed: seconds trained, over all resumed runs.
        failures: rows whose image could not be read.
        losses: the last logged ones.
        obedience: target accuracy; None if the run was stopped, or the recipe skips the measurement.
    """

    run: Path
    checkpoint: Path
    used: Path
    choice: str | None
    finished: bool
    step: int
    elapsed: float
    failures: tuple[Failure, ...]
    losses: dict[str, float]
    obedience: TargetAccuracy | None = None


def train_run(
    manifest: Manifest,
    *,
    run: Path,
    recipe: Recipe,
    resume: bool,
    device: torch.device,
    on_event: Callable[[TrainEvent], None],
    should_stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = SINGLE_RANK,
) -> TrainResult:
    """Fit one StarGAN to the manifest's training rows and write a run folder, which only one training may use.

    Args:
        manifest: the user's table.
        run: the folder to write: run.toml, log.jsonl, failures.csv, samples/, checkpoints/, judge/, best.json,
            obedience.json.
        recipe: all settings; to resume a run, all but its length, logging and speed must be as before.
        resume: continue from the newest checkpoint, if there is one.
        device: where to compute.
        on_event: called with every event.
        should_stop: called after every step; True saves a checkpoint and ends the run, or the later measurement.
        ranks: the ranks that train together, each with its share of every batch; rank 0 writes, and measures.

    Returns:
        The outcome. Failures, losses and target accuracy are known to rank 0 alone.

    Raises:
        ManifestError: nothing to learn from, or a group is in two splits.
        RecipeError: a setting names an attribute or value that the manifest does not have.
        OutputError: another run's folder, one not to be resumed or in use by another process, or a failed write.
        TrainingError: a loss is not finite, or a worker or rank died; names the last good checkpoint.
        MemoryShortError: out of memory.
        StalledError: image loading hangs.
    """
    if run.exists() and not run.is_dir():
        raise OutputError(f"{run} is a file; --out names the run's folder")
    # A process that trains there is reported below. Ranks other than 0 would see what rank 0 has just written.
    if ranks.world_size == 1 and read_holder(run / _LOCK) is None:
        refuse_second_start(run, resume=resume)
    _refuse_unknown_values(recipe.loss.cycle_weights, manifest.space)
    manifest = manifest.allowing(max_pixels=recipe.images.max_pixels)
    rows = _training_rows(manifest)
    check_rows(recipe.training.method, rows)
    recipe, grey_range = _decide_range(recipe, rows, run)
    manifest, rows = replace(manifest, grey_range=grey_range), replace(rows, grey_range=grey_range)
    rows = replace(rows, notes=(*rows.notes, *grey_range_notes(rows)))
    recipe, rows = _decide_channels(recipe, rows, run)
    if recipe.training.augment_probability == "adaptive" and not len(_labelled_rows(manifest, "val")):
        note = (
            "no labelled row has split val: the probability of augmentations follows D's scores of training "
            "images alone"
        )
        rows = replace(rows, notes=(*rows.notes, note))
    partners, rows = _decide_partners(recipe, rows)
    setup = TrainingRun(
        folder=run,
        manifest=manifest,
        rows=rows,
        recipe=recipe,
        config=train_config(recipe),
        device=device,
        ranks=ranks,
    )
    cache = _image_cache(recipe, rows)
    samples = _sample_images(manifest, recipe)
    with explained(run), ExitStack() as held:
        state = taken = None
        try:
            if ranks.is_rank_0:
                held.enter_context(locked(run / _LOCK, output=run))
                state, taken = open_run(setup, resume=resume)
        finally:
            step = ranks.all_gather_object(state and state.step)[0]
        if state is None:
            state = follow_rank_0(setup, step)
        recorder = (
            Recorder(setup, samples=samples, state=state, on_event=on_event, should_stop=should_stop)
            if ranks.is_rank_0
            else RankRecorder(ranks)
        )
        with recorder:
            on_event(_started(setup, state, taken))
            if recipe.training.init is not None and state.step == 0:
                recorder.record(CheckpointEvent(state=state))  # a resumed run then needs the model no more
            finished = _fit(setup, state, recorder, cache=cache, partners=partners, should_stop=should_stop)
        obedience = None
        if finished and ranks.is_rank_0 and recipe.judge.steps:
            obedience = judge_run(
                run,
                manifest,
                limits=Limits.after(state.elapsed, steps=recipe.judge.steps),
                crop=recipe.images.crop or None,
                flip=recipe.images.flip,
                device=device,
                on_progress=lambda done: on_event(MeasuringAccuracy(done=done)),
                should_stop=should_stop,
            )
        used = find_checkpoint(run) if ranks.is_rank_0 else setup.checkpoint(state.step)
        return TrainResult(
            run=run,
            checkpoint=setup.checkpoint(state.step),
            used=used,
            choice=describe_choice(run, int(used.name)) if ranks.is_rank_0 else None,
            finished=finished,
            step=state.step,
            elapsed=state.elapsed,
            failures=recorder.failures,
            losses=recorder.losses,
            obedience=obedience,
        )


def _fit(
    run: TrainingRun,
    state: TrainState,
    recorder: Recorder | RankRecorder,
    *,
    cache: ImageCache | None,
    partners: Partners | None,
    should_stop: Callable[[], bool],
) -> bool:
    """Train from `state` on; return False if the training was stopped."""
    rows, settings = run.rows, run.recipe.training
    rarity = rarity_weights(rows.codes, rows.space)
    weights, policy = _targets(settings, rows, rarity)
    pairs_alone = partners is not None and learns_from_pairs_alone(settings.method)
    images = replace(
        _images(run, rows, cache=cache, policy=policy),
        partners=partners,
        paired_share=settings.paired_share,
        only_paired=pairs_alone,
    )
    sampler = replace(
        _sampler(run, images, first_step=state.step),
        drawn=partners.mask() if partners is not None and pairs_alone else None,
        joint=settings.joint,
        source_weights=rarity if settings.balanced_sources else None,
        target_weights=weights,
    )
    weigh = None
    if run.recipe.loss.weigh_translations and policy is not None:
        whole = replace(sampler, first_step=0, rank=0, world_size=1)
        drawn = sampler.batch_size * (run.config.steps or _WEIGHED_DRAWS)
        weigh = translation_weights(
            rows.codes,
            drawn_targets(images, whole, most=min(drawn, _WEIGHED_DRAWS)),
            rows.space,
            row_weights=sampler.source_weights,
        )
    batches = training_batches(
        images,
        sampler,
        workers=settings.workers,
        pin_memory=run.device.type == "cuda",
        failures=recorder.broken,
    )
    try:
        return train(
            state=state,
            config=run.config,
            space=rows.space,
            batches=batches,
            device=run.device,
            on_event=recorder.record,
            should_stop=should_stop,
            epoch_steps=len(images) / (settings.batch_size * run.ranks.world_size),
            ranks=run.ranks,
            evaluation=recorder.evaluation,
            validation=_validation_batches(run, state),
            translation_weights=weigh,
        )
    except DivergenceError as error:
        raise TrainingError(
            f"training diverged: {error}. {last_checkpoint(run.folder)} Try a lower training.learning_rate (half "
            "of it), or another training.objective, in a new run"
        ) from error


def _validation_batches(run: TrainingRun, state: TrainState) -> Iterator[Batch] | None:
    """Return batches of validation rows, prepared as training images, where the augmentation follows them."""
    rows, settings = _labelled_rows(run.manifest, "val"), run.recipe.training
    if settings.augment_probability != "adaptive" or not len(rows):
        return None
    images = _images(run, rows, cache=_image_cache(run.recipe, rows))
    return training_batches(
        images,
        _sampler(run, images, first_step=state.step // ADAPT_EVERY),
        workers=1 if settings.workers else 0,
        pin_memory=run.device.type == "cuda",
        failures={},  # the judge counts unreadable validation images
    )


def _images(
    run: TrainingRun, rows: Manifest, *, cache: ImageCache | None, policy: TargetPolicy | None = None
) -> TrainingImages:
    return TrainingImages(
        paths=tuple(rows.image_path(index) for index in range(len(rows.rows))),
        codes=rows.codes,
        space=rows.space,
        settings=run.recipe.images,
        seed=run.config.seed,
        label_sets=sets_of_rows(run.recipe.training.method, rows),
        policy=policy,
        cache=cache,
        access=rows.access,
    )


def _sampler(run: TrainingRun, images: TrainingImages, *, first_step: int) -> StepSampler:
    return StepSampler(
        rows=len(images),
        batch_size=run.recipe.training.batch_size * run.ranks.world_size,
        seed=images.seed,
        first_step=first_step,
        rank=run.ranks.rank,
        world_size=run.ranks.world_size,
        label_sets=images.label_sets,
    )


def _image_cache(recipe: Recipe, rows: Manifest) -> ImageCache | None:
    shape = (*recipe.images.enlarged, recipe.images.colours)
    return make_cache(recipe.training.cache, rows=len(rows.rows), shape=shape)


def _labelled_rows(manifest: Manifest, split: str) -> Manifest:
    return manifest.select(manifest.split_mask([split]) & (manifest.codes >= 0).any(axis=1))


def _started(run: TrainingRun, state: TrainState, taken: str | None) -> Started:
    name = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else run.device.type
    return Started(
        method=METHODS[run.recipe.training.method].title,
        images=len(run.rows.rows),
        attributes=tuple(describe_attribute(a.name, a.values) for a in run.rows.space.attributes),
        generator_parameters=sum(weight.numel() for weight in state.generator.parameters()),
        discriminator_parameters=sum(weight.numel() for weight in state.discriminator.parameters()),
        batch_size=run.recipe.training.batch_size * run.ranks.world_size,
        steps=run.config.steps,
        minutes=run.config.minutes,
        device=name if run.ranks.world_size == 1 else f"{run.ranks.world_size} processes, {name}",
        step=state.step,
        notes=(*run.rows.notes, *([] if taken is None else [taken])),
    )


def _training_rows(manifest: Manifest) -> Manifest:
    refuse_split_leaks(manifest)
    rows = _labelled_rows(manifest, "train")
    if not len(rows.rows):
        raise ManifestError(
            f"{manifest.title}: no row has split train and a label; there is nothing to learn from"
        )
    for label_set, names in enumerate(rows.space.label_sets):
        if label_set not in rows.label_set_of_rows():
            raise ManifestError(
                f"{manifest.title}: no row has split train and a label of {', '.join(names)}; there is nothing to "
                "learn about them from. Leave them out with --attributes, or give them training rows"
            )
    varied = [
        attribute.name
        for attribute, codes in zip(rows.space.attributes, rows.codes.T, strict=True)
        if len(np.unique(codes[codes >= 0])) > 1
    ]
    if not varied:
        raise ManifestError(
            f"{manifest.title}: the training rows are all of one domain. StarGAN learns from differences: at "
            "least one attribute must have two values among the rows with split train"
        )
    refuse_unreachable(rows)
    return replace(rows, notes=(*rows.notes, *frame_notes(rows), *missing_notes(rows)))


def _decide_range(recipe: Recipe, rows: Manifest, run: Path) -> tuple[Recipe, GreyRange | None]:
    """Return the recipe with its range of grey values in the place of "auto", and that range.

    A run that was started before keeps its own.
    """
    chosen = recipe.images.range
    if chosen == "auto" and (before := stored_recipe(run)) is not None:
        chosen = before.images.range
    found = resolve_range(chosen, rows)
    images = recipe.images.model_copy(update={"range": found or "full"})
    return recipe.model_copy(update={"images": images}), found


def _decide_channels(recipe: Recipe, rows: Manifest, run: Path) -> tuple[Recipe, Manifest]:
    """Return the recipe with 1 or 3 channels in the place of "auto", and the rows with a note where that is grey.

    A run that was started before keeps its own.
    """
    if recipe.images.channels != "auto":
        return recipe, rows
    before = stored_recipe(run)
    if before is not None and before.images.channels != "auto":
        channels = before.images.channels
    else:
        channels = 1 if all_grey(rows) else 3
    if channels == 1:
        looked = min(len(rows.rows), GREY_SAMPLE)
        rows = replace(
            rows,
            notes=(
                *rows.notes,
                f"all of {looked:,} images looked at are grey: the model learns and writes grey images "
                "(images.channels = 1; set it to 3 for colour)",
            ),
        )
    images = recipe.images.model_copy(update={"channels": channels})
    return recipe.model_copy(update={"images": images}), rows


def _decide_partners(recipe: Recipe, rows: Manifest) -> tuple[Partners | None, Manifest]:
    """Return the rows' partners where the recipe makes use of them, and the rows with a note that counts them."""
    pairs_alone = learns_from_pairs_alone(recipe.training.method)
    if not (recipe.loss.reads_partners or pairs_alone):
        return None, rows
    wanted, domains = None, recipe.training.for_domains
    if pairs_alone and domains:
        wanted = rows_of_request(rows.codes, rows.space, domains)
    partners = Partners.of(rows.pairs, rows.codes, wanted=wanted)
    paired = int(np.count_nonzero(partners.mask()))
    if not paired:
        labels = "other labels" if wanted is None else "labels that training.for_domains asks for"
        why = (
            'and training.method = "pix2pix" learns from pairs alone. Name the pairs, or use "stargan"'
            if pairs_alone
            else "so loss.pair_weight has nothing to compare. Set it to 0, or name the pairs"
        )
        raise ManifestError(
            f"{rows.title}: no training row has a partner, a row with {labels} and the same name in the column "
            f"'pair', {why}"
        )
    refuse_unequal_pairs(rows)
    note = f"{counted(paired, 'training image')} of {len(rows):,} with a partner (column pair)"
    return partners, replace(rows, notes=(*rows.notes, note))


def _targets(
    settings: TrainingSettings, rows: Manifest, rarity: NDArray[np.float64]
) -> tuple[NDArray[np.float64] | None, TargetPolicy | None]:
    """Return the weights of the rows whose domains are drawn, None for permuted ones, and what is made of them."""
    drawn = np.ones(len(rows.codes))
    if settings.for_domains or settings.for_balance:
        return drawn, requested_policy(
            rows.codes, rows.space, domains=settings.for_domains, balance=settings.for_balance
        )
    match settings.targets:
        case "permuted":
            return None, None
        case "drawn":
            return drawn, None
        case "balanced":
            return rarity, None
        case "mixed" | "other":
            mixture = target_mixture(rows.codes, rows.space, balanced=False)
            return drawn, mixture if settings.targets == "mixed" else mixture.other
        case "mixed-balanced":
            return joint_rarity(rows.codes), target_mixture(rows.codes, rows.space, balanced=True)


def _refuse_unknown_values(weights: Iterable[str], space: LabelSpace) -> None:
    """Refuse weights of an attribute or a value that the manifest does not have, with a RecipeError."""
    for text in weights:
        name, _, value = text.partition("=")
        if name not in space.names:
            raise RecipeError(
                f"loss.cycle_weights: no attribute is called {name!r}.{did_you_mean(name, space.names)} Write "
                f'"attribute=value" = weight; the attributes: {listing(space.names, 20)}'
            )
        values = space[name].values
        if value not in values:
            raise RecipeError(
                f"loss.cycle_weights: {name} has no value {value!r}.{did_you_mean(value, values)} Its values: "
                f"{listing(values, 20)}"
            )


def _sample_images(manifest: Manifest, recipe: Recipe) -> Samples:
    """Return the sources of the sample grids: validation rows if there are any."""
    splits = ["val"] if manifest.split_mask(["val"]).any() else ["train"]
    settings = recipe.images
    samples = read_samples(
        manifest,
        splits=splits,
        size=settings.height_width,
        channels=settings.colours,
        crop=settings.crop or None,
        most=_SAMPLE_ROWS,
    )
    if not samples.images:
        raise ManifestError(f"{manifest.title}: no image of {splits[0]} can be read; augmentor check says why")
    return samples
