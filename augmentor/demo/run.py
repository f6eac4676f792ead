"""The guided run on drawn portraits: expansion, target accuracy, and a classifier with and without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from augmentor.data import open_model
from augmentor.data.manifest import AS_WRITTEN, read_manifest
from augmentor.demo.portraits import DEFAULT_COUNTS, write_portraits
from augmentor.expansion import (
    ExpandResult,
    ExpandSettings,
    Progress,
    RunSettings,
    plan_expansion,
    run_expansion,
    write_preview,
)
from augmentor.judge import (
    Judge,
    LabelledImages,
    TranslationAccuracy,
    balanced_accuracy,
    judge_translations,
    read_images,
    train_judge,
)
from augmentor.outputs import default_format
from augmentor.outputs.readers import ExpandedDataset, open_dataset
from augmentor.planning import parse_domains
from augmentor.report import write_report
from augmentor.training import JudgeSettings, Recipe, TrainEvent, recipe_of_run, train_run
from stargan.inference import Translator
from stargan.labels import LabelSpace

MODEL = Path(__file__).parent / "model"
"""The model that ships with the package, trained on `write_portraits(seed=0)`."""

RARE = {"hair": "red", "smile": "1"}
"""The rare combination of the portraits."""

_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Classified:
    """Number of training images, and results on real test portraits: balanced accuracy, and recall of `RARE`."""

    images: int
    balanced: dict[str, float]
    rare: float


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Files and figures of the demo.

    `hdf5` holds the same as `folder`; `preview` shows test portraits with every single change. `rare_before` and
    `rare_after` count training portraits with the rare combination. `verdict` is the target accuracy on test
    portraits, by the classifier of `without`; that of `with_synthetic` was trained for as many steps.
    """

    manifest: Path
    model: Path
    folder: Path
    hdf5: Path
    preview: Path
    rare_before: int
    rare_after: int
    expanded: ExpandResult
    verdict: TranslationAccuracy
    without: Classified
    with_synthetic: Classified


def run_demo(
    out: Path,
    *,
    train_minutes: float | None,
    seed: int,
    device: torch.device,
    on_stage: Callable[[str], None],
    on_train: Callable[[TrainEvent], None],
    on_progress: Callable[[Progress], None],
    counts: Mapping[str, int] = DEFAULT_COUNTS,
    steps: int = 150,
) -> DemoResult:
    """Draw portraits, translate them, and train a classifier with and without the translations.

    Finished parts of an earlier call in the same folder are kept. `train_minutes` of None takes the shipped model.
    `on_stage` is called with a description of each stage before it starts, `on_progress` during the expansion into
    the folder. `counts` are portraits per split, `steps` those of each classifier.

    Raises:
        AugmentorError: the folder cannot be used.
    """
    on_stage(f"Drawing {sum(counts.values()):,} portraits, few of them with red hair and a smile")
    manifest = out / "portraits" / "manifest.csv"
    if not manifest.exists():
        write_portraits(manifest.parent, seed=seed, counts=counts)
    model, suffix = MODEL, ""
    if train_minutes is not None:
        # Outputs of its own: another model's images must not mix with those of the shipped one.
        suffix = f"-trained-{train_minutes:g}min"
        on_stage(f"Training a StarGAN on them for {train_minutes:g} minutes")
        model = out / "run"
        train_run(
            read_manifest(manifest),
            run=model,
            recipe=shipped_recipe(minutes=train_minutes),
            resume=True,
            device=device,
            on_event=on_train,
        )

    on_stage("Translating every training portrait to red hair and a smile")
    request = ",".join(f"{name}={value}" for name, value in RARE.items())
    folder, hdf5 = out / f"expanded{suffix}", out / f"expanded{suffix}.h5"
    expanded = _expand(manifest, model, folder, request, device=device, on_progress=on_progress)
    on_stage("The same again, as one HDF5 file")
    _expand(manifest, model, hdf5, request, device=device)
    preview = write_preview(
        manifest,
        model=model,
        domains=("each",),
        splits=("test",),
        rows=6,
        out=out / f"preview{suffix}.png",
        reading=AS_WRITTEN,
        device=device,
    )

    on_stage("Training classifiers on real portraits, and on real and synthetic ones")
    without, judge = _classify(folder, synthetic=False, steps=steps, device=device)
    with_synthetic, _ = _classify(folder, synthetic=None, steps=steps, device=device)

    on_stage("Measuring target accuracy on translated test portraits, with the first classifier")
    translator = Translator(open_model(model), device=device)
    table = read_manifest(manifest, space=translator.model.space)
    test = read_images(table.select(table.split_mask(["test"])), size=translator.model.image_size, channels=3)
    verdict = judge_translations(judge, translator, test, parse_domains(["each"], table.space))
    return DemoResult(
        manifest=manifest,
        model=model,
        folder=folder,
        hdf5=hdf5,
        preview=preview,
        rare_before=_count_rare(folder, synthetic=False),
        rare_after=_count_rare(folder, synthetic=None),
        expanded=expanded,
        verdict=verdict,
        without=without,
        with_synthetic=with_synthetic,
    )


def shipped_recipe(*, minutes: float) -> Recipe:
    """Return the shipped model's recipe from its checkpoint, for another training time."""
    recipe = recipe_of_run(open_model(MODEL).settings["recipe"])
    training = recipe.training.model_copy(update={"minutes": minutes, "steps": None})
    # The demo has its own measurement of target accuracy.
    return recipe.model_copy(update={"training": training, "judge": JudgeSettings(steps=0)})


def _expand(
    manifest: Path,
    model: Path,
    out: Path,
    request: str,
    *,
    device: torch.device,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> ExpandResult:
    settings = ExpandSettings(domains=(request,), output_format=default_format(out))
    planned = plan_expansion(manifest, model=model, settings=settings, out=out)
    run = RunSettings(devices=(device,), batch_size=_BATCH)
    return run_expansion(planned, run, write_pages=write_report, on_progress=on_progress)


def _classify(
    folder: Path, *, synthetic: bool | None, steps: int, device: torch.device
) -> tuple[Classified, Judge]:
    """Train a classifier on the training rows, and measure it on the real test rows."""
    train, test = (
        _in_memory(open_dataset(folder, split=split, synthetic=chosen))
        for split, chosen in (("train", synthetic), ("test", False))
    )
    space = open_dataset(folder).space
    judge = train_judge(train, space=space, steps=steps, seed=0, device=device)
    predicted = judge.predict(test.images)
    rare = _is_rare(test.codes, space)
    classified = Classified(
        images=len(train),
        balanced=balanced_accuracy(predicted, test.codes, space),
        rare=float(_is_rare(predicted, space)[rare].double().mean()),
    )
    return classified, judge


def _in_memory(dataset: ExpandedDataset) -> LabelledImages:
    images, codes = zip(*(dataset[index] for index in range(len(dataset))), strict=True)
    return LabelledImages(images=torch.stack(images), codes=torch.stack(codes))


def _is_rare(codes: torch.Tensor, space: LabelSpace) -> torch.Tensor:
    wanted = [(space.index(name), space[name].code(value)) for name, value in RARE.items()]
    return torch.stack([codes[:, column] == code for column, code in wanted]).all(dim=0)


def _count_rare(folder: Path, *, synthetic: bool | None) -> int:
    labels = open_dataset(folder, split="train", synthetic=synthetic).labels
    return int((labels[list(RARE)].astype(str) == pd.Series(RARE)).all(axis=1).sum())
