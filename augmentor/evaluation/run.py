"""The run of `augmentor evaluate`: training every arm's classifiers and measuring them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from augmentor.data.manifest import AS_WRITTEN, TableReading
from augmentor.errors import AugmentorError, OutputError
from augmentor.evaluation.arms import (
    TITLES,
    main_arm,
    make_arms,
    make_sweep,
)
from augmentor.evaluation.cache import EvaluationCache, Predictions, digest
from augmentor.evaluation.classifier import Evaluator, describe
from augmentor.evaluation.data import EvaluationData, read_data, read_output
from augmentor.evaluation.distances import Extract, inception, measure_distances
from augmentor.evaluation.folds import TrainedFold, pooled, refuse_strangers, table_of
from augmentor.evaluation.remake import CannotRemakeError, draw_ungated, load_output_model, remake
from augmentor.evaluation.result import Distances, Evaluation
from augmentor.evaluation.settings import EvaluateSettings
from augmentor.evaluation.trainer import Trainer
from augmentor.evaluation.verdict import summarize
from augmentor.judge import LabelledImages
from augmentor.outputs import evaluation_runs, paths_of
from augmentor.storage import MAX_PIXELS, Json, locked, refuse_links, write_json
from stargan.checkpoints import json_sha256


def evaluate(
    manifest: Path,
    out: Path,
    *,
    settings: EvaluateSettings,
    device: torch.device,
    generators: Sequence[Path] = (),
    folds: Sequence[Path] = (),
    model: Path | None = None,
    reading: TableReading = AS_WRITTEN,
    allow_outside: bool = False,
    max_pixels: int = MAX_PIXELS,
    on_note: Callable[[str], None] = lambda _words: None,
    on_steps: Callable[[int, int, int], None] = lambda _done, _total, _before: None,
) -> Evaluation:
    """Evaluate whether an output's translations improve a classifier of real images; write evaluation.json.

    Finished classifiers are cached beside the output: the same call continues after an interruption, and ends with
    the same bytes. The report is not updated here.

    `manifest` is the table that the output was made from; its test rows score. `generators` are outputs of the
    same request by models of other seeds: what differs between generators is then part of the intervals. `folds`
    are outputs of the same request from the other tables of `write_folds`, which lie beside `manifest`, each by a
    model of its own: classifiers of each are tested on its test rows, and all test rows are measured as one set.
    `model` is the output's, to make rejected translations again; None takes the path noted in the output.
    `on_note` is called with remarks, a sentence each; `on_steps` with the optimisation steps that are done, those
    in all, and those of earlier calls.

    Raises:
        AugmentorError: something cannot be used, or test rows were used before.
    """
    if folds and generators:
        raise AugmentorError("--folds and --generators: give one of them. Each fold has a generator of its own")
    if folds and model is not None:
        raise AugmentorError("--model names one model, and each of --folds has its own, where its output noted it")
    extract = inception() if settings.inception else None
    output = read_output(out)
    read = partial(
        read_data,
        most=settings.steps * settings.batch_size,
        reading=reading,
        allow_outside=allow_outside,
        max_pixels=max_pixels,
    )
    further = [(table_of(each, manifest), each) for each in map(read_output, folds)]
    data = read(manifest, output)
    others = [_same_request(data, read(manifest, read_output(each)), each) for each in generators]
    # Everything is looked at before the first classifier is trained; the images of one fold at a time stay.
    every = [data, *(read(table, of_fold).without_images() for table, of_fold in further)]
    refuse_strangers(every)
    for note in dict.fromkeys(note for each in every for note in each.notes):
        on_note(note)
    with ExitStack() as held:
        for locked_out in (out, *folds):
            paths = paths_of(locked_out)
            refuse_links(evaluation_runs(paths), below=paths.root)
            held.enter_context(locked(paths.out_of_sight("evaluation.lock"), output=locked_out))
        settings = _with_flip(settings, data, model, on_note=on_note)
        train = partial(_train, settings=settings, model=model, device=device, extract=extract, on_note=on_note)
        trained = train(data, others, distances=None, on_steps=_of_fold(on_steps, 0, 1 + len(folds)))
        if folds:
            whole = [trained.without_images()]
            del data, every, trained
            for number, (table, of_fold) in enumerate(further, start=1):
                on_note(f"fold {number + 1} of {1 + len(folds)}: {of_fold.out}")
                steps = _of_fold(on_steps, number, 1 + len(folds))
                fold = train(read(table, of_fold), [], distances=whole[0].distances, on_steps=steps)
                whole.append(fold.without_images())
            trained = pooled(whole)
        evaluation = summarize(
            trained,
            seeds=settings.seeds,
            settings={
                **settings.to_json(),
                "generators": [str(each) for each in generators],
                "folds": [str(each) for each in folds],
                "size": list(output.size),
                "device": device.type,
            },
        )
        state = evaluation.to_json()
        write_json(paths_of(out).beside("evaluation.json"), {**state, "sha256": json_sha256(state)})
    return evaluation


def _of_fold(
    on_steps: Callable[[int, int, int], None], number: int, folds: int
) -> Callable[[int, int, int], None]:
    """Return what is called with the steps of one fold, and tells of those of all."""
    return lambda done, total, before: on_steps(number * total + done, folds * total, before)


def _train(
    data: EvaluationData,
    others: Sequence[EvaluationData],
    *,
    settings: EvaluateSettings,
    model: Path | None,
    device: torch.device,
    extract: Extract | None,
    distances: Distances | None,
    on_note: Callable[[str], None],
    on_steps: Callable[[int, int, int], None],
) -> TrainedFold:
    """Train the classifiers of an output's arms, those of `others`, of further generators, included.

    `distances` are known ones; None measures those of this output.
    """
    ungated, skipped = None, dict[str, str]()
    if "ungated" in settings.arms:
        ungated, skipped = _ungated(data, model, device=device)
    for name, reason in skipped.items():
        on_note(f"without '{TITLES[name]}': {reason}")
    arms, sweep = make_arms(data, ungated=ungated, wanted=settings.arms), make_sweep(data, settings.ratios)
    cache = EvaluationCache(
        evaluation_runs(paths_of(data.output.out)),
        {
            "steps": settings.steps,
            "batch_size": settings.batch_size,
            "classifier": _classifier_state(settings.classifier),
            "flip": settings.flip,
            "device": device.type,
            "test": digest(data.test),
            "val": digest(data.val),
        },
    )
    trainer = Trainer(data, settings, cache, device=device, on_note=on_note, on_steps=on_steps)
    # The arms of every further generator that its images are in; the ungated one is of the first alone.
    names = [arm.name for arm in (*arms, *sweep) if arm.synthetic and (arm.name != "ungated" or ungated is None)]
    further = [
        arm
        for other in others
        for arm in (*make_arms(other, ungated=None, wanted=names), *make_sweep(other, settings.ratios))
        if arm.name in names
    ]
    predictions = dict[str, list[list[Predictions]]]()
    every = [*arms, *sweep, *further]
    for arm, found in zip(every, trainer.predictions(every), strict=True):
        predictions.setdefault(arm.name, []).append(found)
    runs = [run for rows in predictions.values() for row in rows for run in row]
    unfinished = sum(not run.converged for run in runs) if len(data.val) else 0
    if unfinished:
        note = f"{unfinished} of {len(runs)} classifiers were still improving on val after {settings.steps} steps"
        on_note(f"{note}: --steps {2 * settings.steps}")
        data = replace(data, notes=(*data.notes, note))
    if distances is None:
        distances = _distances(data, ungated, cache, extract=extract, network=lambda: trainer.first(arms[0]))
        if distances.frechet is None:
            on_note(
                "no Frechet and kernel distances: `pip install 'stargan-augmentor[evaluate]'` adds torchmetrics"
            )
    return TrainedFold(
        data=data, arms=arms, sweep=sweep, predictions=predictions, skipped=skipped, distances=distances
    )


def _same_request(data: EvaluationData, other: EvaluationData, out: Path) -> EvaluationData:
    """Return the data of a further generator's output; OutputError if it is not the first's request and images."""
    for what, one, two in (
        ("other combinations of labels", data.filled, other.filled),
        ("other changed attributes", data.changed, other.changed),
        ("another gate", main_arm(data), main_arm(other)),
        ("other real images, such as of another size", digest(data.train), digest(other.train)),
    ):
        if one != two:
            raise OutputError(f"{out}: has {what} than {data.output.out}: --generators are outputs of one request")
    if other.output.model_sha256 == data.output.model_sha256:
        raise OutputError(f"{out}: is made by the same model as {data.output.out}: --generators have other seeds")
    return other


def _with_flip(
    settings: EvaluateSettings, data: EvaluationData, model: Path | None, *, on_note: Callable[[str], None]
) -> EvaluateSettings:
    """Return settings that say whether images are mirrored: as in the model's training, unless the user says."""
    if settings.flip is not None:
        return settings
    try:
        images = load_output_model(data, model).settings.get("images")
    except CannotRemakeError as error:
        on_note(f"images are mirrored; whether the model's training did so is not known: {error}")
        images = None
    return replace(settings, flip=bool(images.get("flip", True)) if isinstance(images, dict) else True)


def _classifier_state(classifier: str) -> Json:
    """Return what tells one classifier from another: its name, or the SHA-256 of its weights' file."""
    if classifier in ("small", "resnet18"):
        return classifier
    try:
        return hashlib.sha256(Path(classifier).read_bytes()).hexdigest()
    except OSError as error:
        raise AugmentorError(
            f"--classifier {classifier}: is neither small nor resnet18 nor a file of weights ({error.strerror})"
        ) from error


def _distances(
    data: EvaluationData,
    ungated: LabelledImages | None,
    cache: EvaluationCache,
    *,
    extract: Extract | None,
    network: Callable[[], Evaluator],
) -> Distances:
    """Return the distances of an earlier call, or measure them with `extract` or a classifier of real images."""
    features = "evaluator" if extract is None else "inception"
    sets = {"train": data.train, "test": data.test, "kept": data.kept, "ungated": ungated}
    known = cache.read_distances(sets, features)
    if known is not None:
        return known
    extract = extract or partial(describe, network())
    distances = measure_distances(data, ungated=ungated, extract=extract, features=features)
    cache.write_distances(sets, features, distances)
    return distances


def _ungated(
    data: EvaluationData, model: Path | None, *, device: torch.device
) -> tuple[LabelledImages | None, dict[str, str]]:
    """Return translations as without the gate; or None, and why by the name of the skipped arm."""
    if main_arm(data) == "ungated":
        return None, {"gated": "the output was made without a gate"}
    if not len(data.rejected.rows):
        return None, {"ungated": "the gate threw nothing out, so both are the same"}
    kept, rejected = draw_ungated(data)
    try:
        again = remake(data, rejected, model=load_output_model(data, model), device=device)
    except CannotRemakeError as error:
        return None, {"ungated": str(error)}
    chosen = torch.from_numpy(kept)
    images = torch.cat([data.kept.images[chosen], again.images])
    return LabelledImages(images=images, codes=torch.cat([data.kept.codes[chosen], again.codes])), {}
