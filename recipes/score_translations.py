"""Scores of models by their translations of held-out rows, in one table with identity and cheap colour methods.

python recipes/score_translations.py manifest.csv --domains "tone=*,style=*" --truth truth.csv \
    --model ours=runs/a0 --model ours=runs/a1 --model paper=runs/p0

Models with one NAME are seeds of one recipe: its row is their mean, with (smallest .. largest). Runs joined by
commas are one model: each makes the changes between the values that it knows, as CycleGANs of two values do.
Choose on val, the default, and open test once. Columns, printed as a Markdown table:

- new ATTR, kept ATTR: share of translations in which a referee, a classifier of real images of other subjects,
  finds the target's value, of those that had to change it, and of the others; several new: all new values at once,
  of the translations that change several attributes; all at once: every value of the target.
- Frechet / floor: Frechet distance, per target domain, of the translations from other domains to real images of
  the domain of other subjects, on the referee's features, as a ratio to that of real images, with equal n; the
  mean over the domains, which a second table lists. kernel / identity: the kernel distance of the same sets, as a
  ratio to that of the untranslated sources: its floor is about 0, so that a ratio to it says nothing.
- error, with --truth, a table that groups images by design (columns id and, by default, glyph): mean absolute
  error to the image of the same design in the target's domain, as a ratio to that of the unchanged image, over all
  pairs and by kind of change; outside: mean change, in grey levels, of pixels equal in source and true image.
- change: mean absolute difference to the source, in grey levels. detail: distance of fine detail to real images of
  other subjects, as a ratio to that of the sources: 1 for untouched images; blur and speckle have more.
- hue: mean chroma in grey levels of translations of grey sources. mask: mean of the generator's mask.
- looks, with --looks N, of models that read noise: the distance between N looks of one translation, as a ratio to
  that between different subjects in the same target, on the referee's features (of 512 translations).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from augmentor.data import model_crop, open_model, read_model_manifest
from augmentor.data.manifest import AS_WRITTEN, Manifest, refuse_split_leaks, subject_names
from augmentor.errors import AugmentorError
from augmentor.judge import (
    BATCH_SIZES,
    DomainDistances,
    FeatureSet,
    Judge,
    LabelledImages,
    change_outside,
    changed_attributes,
    cheap_translations,
    detail_ratio,
    domain_distances,
    errors_by_change,
    hue_introduced,
    kind_for,
    kinds_of_change,
    likeliest,
    looks_ratio,
    mask_share,
    mean_differences,
    mean_known,
    read_images,
    requested_targets,
    share_right,
    target_shares,
    train_judge,
    true_pairs,
)
from augmentor.planning import parse_domains
from stargan.checkpoints import Model
from stargan.inference import Translator
from stargan.labels import UNKNOWN, LabelSpace

BATCH = 256
MASKS = 512
"""Translations of a run whose masks are measured."""

LOOKED_AT = 512
"""Translations of which several looks are made."""

NO_VALUE = -2
"""Code of a value that a run does not know."""

PERCENT = ("new ", "kept ", "several new", "all at once", "mask")
"""Starts of the columns that are shares."""

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Translations to make, of the scored images, and their true images.

    Args:
        rows: (M,) int64, the source of each.
        targets, own: (M, A) int64, the target and the source's labels.
        columns: attributes that some target changes; their values make a domain.
        subjects: (M,) int64, whom the sources show.
        true: (M,) int64, the row of the true image, -1 where there is none; None without --truth.
    """

    rows: Tensor
    targets: Tensor
    own: Tensor
    columns: list[int]
    subjects: Tensor
    true: Tensor | None


@dataclass(kw_only=True)
class Row:
    """Measures of one run, or of a cheap method: numbers by column, and features for each referee."""

    name: str
    numbers: dict[str, float]
    features: list[Tensor]


def design_names(manifest: Manifest, truth: Path, design: str) -> list[str]:
    """Return the design of each row; one of its own where the table has none."""
    table = pd.read_csv(truth, dtype=str, keep_default_na=False)
    designs = dict(zip(table["id"], table[design], strict=True))
    return [designs.get(str(name)) or f"only {name}" for name in manifest.rows["id"]]


def subject_codes(manifest: Manifest) -> Tensor:
    """Return (N,) int64 whom each row shows: its group, or itself alone."""
    rows = manifest.rows
    names = subject_names(rows["group"], range(len(rows)))
    return torch.from_numpy(pd.factorize(np.array(names, dtype=object))[0].astype("int64"))


def true_images(names: Sequence[str], codes: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
    """Return for each translation the row of its true image, -1 where there is none."""
    place = {(name, *values): row for row, (name, values) in enumerate(zip(names, codes.tolist(), strict=True))}
    wanted = zip(rows.tolist(), targets.tolist(), strict=True)
    return torch.tensor([place.get((names[row], *target), -1) for row, target in wanted])


def train_referees(data: LabelledImages, space: LabelSpace, options: argparse.Namespace) -> list[Judge]:
    """Return the classifiers, read from the file --classifier if it exists, else trained and saved there.

    Fills in the options that were not given.
    """
    options.referee = options.referee or kind_for(min(data.images.shape[2:]))
    small = options.referee == "small"
    options.steps = options.steps or (1500 if small else 400)
    options.batch_size = options.batch_size or BATCH_SIZES[options.referee]
    options.referee_seeds = options.referee_seeds or (3 if small else 1)
    file: Path | None = options.classifier
    stored = load_file(file) if file is not None and file.exists() else None
    referees = [
        train_judge(
            data,
            space=space,
            steps=options.steps if stored is None else 1,
            seed=options.seed + number,
            batch_size=options.batch_size,
            device=torch.device("cpu"),
            kind=options.referee,
        )
        for number in range(options.referee_seeds)
    ]
    if stored is not None:
        for number, referee in enumerate(referees):
            start = f"{number}."
            weights = {key.removeprefix(start): value for key, value in stored.items() if key.startswith(start)}
            try:
                referee.network.load_state_dict(weights)
            except RuntimeError:
                raise AugmentorError(
                    f"--classifier {file}: its {options.referee} referee {number} is missing or of another form. "
                    "Delete the file, or name another one"
                ) from None
    elif file is not None:
        save_file(
            {
                f"{number}.{name}": tensor.contiguous()
                for number, referee in enumerate(referees)
                for name, tensor in referee.network.state_dict().items()
            },
            file,
        )
    return referees


def in_space(codes: Tensor, space: LabelSpace, other: LabelSpace) -> Tensor:
    """Return the codes (M, A) of another space's attributes (M, A'); a value that it lacks is NO_VALUE."""
    columns = []
    for attribute in other.attributes:
        values = space[attribute.name].values
        known = [attribute.values.index(value) if value in attribute.values else NO_VALUE for value in values]
        columns.append(torch.tensor([*known, UNKNOWN])[codes[:, space.index(attribute.name)]])
    return torch.stack(columns, dim=1)


def within(pairs: Pairs, space: LabelSpace, other: LabelSpace) -> Tensor:
    """Return (M,) bool which translations a model of another label space can make."""
    known = torch.stack([in_space(codes, space, other) for codes in (pairs.own, pairs.targets)])
    rest = [column for column, name in enumerate(space.names) if name not in other.names]
    changed = changed_attributes(pairs.targets, pairs.own)
    return (known != NO_VALUE).all(dim=2).all(dim=0) & ~changed[:, rest].any(dim=1)


def translate(
    runs: Sequence[Model], images: Tensor, pairs: Pairs, space: LabelSpace
) -> tuple[Tensor, float | None]:
    """Return translations (M, C, H, W) uint8, each by the first run that can make it, and the mean of the masks.

    Args:
        runs: of images of one form.
        images: (N, C, H, W) uint8, the scored images in that form.
        pairs: the translations to make.
        space: of the labels.

    Raises:
        AugmentorError: no run can make a translation.
    """
    made = torch.empty((len(pairs.rows), *images.shape[1:]), dtype=torch.uint8)
    left = torch.ones(len(pairs.rows), dtype=torch.bool)
    shares, counts = list[float](), list[int]()
    for model in runs:
        translator = Translator(model, device=torch.device("cpu"))
        mine = torch.nonzero(left & within(pairs, space, model.space)).flatten()
        if not len(mine):
            continue
        own, targets = (in_space(codes[mine], space, model.space) for codes in (pairs.own, pairs.targets))
        asked = model.space.to_one_label_set(targets, own)
        for some, wanted in zip(torch.split(mine, BATCH), torch.split(asked, BATCH), strict=True):
            made[some] = translator.translate(images[pairs.rows[some]], wanted)
        left[mine] = False
        some = torch.linspace(0, len(mine) - 1, min(len(mine), MASKS)).round().long()
        share = mask_share(model, images[pairs.rows[mine[some]]], asked[some])
        if share is not None:
            shares.append(share * len(mine))
            counts.append(len(mine))
    if bool(left.any()):
        row = int(left.long().argmax())
        source, target = (space.domain(codes[row].tolist()) for codes in (pairs.own, pairs.targets))
        changed = " into ".join(", ".join(f"{k}={v}" for k, v in each.items()) for each in (source, target))
        raise AugmentorError(f"--model: none of the runs that are one model translates {changed}")
    return made, sum(shares) / sum(counts) if counts else None


def looks_apart(
    runs: Sequence[Model], images: Tensor, pairs: Pairs, *, referees: Sequence[Judge], looks: int, channels: int
) -> float:
    """Return `looks_ratio` of so many looks, as images of `channels`; NaN for several runs, and without noise."""
    model = runs[0]
    if len(runs) > 1 or not model.generator.noise or looks < 2:
        return math.nan
    some = torch.linspace(0, len(pairs.rows) - 1, min(len(pairs.rows), LOOKED_AT)).round().long()
    asked = model.space.to_one_label_set(pairs.targets, pairs.own)[some].repeat_interleave(looks, dim=0)
    translator = Translator(model, device=torch.device("cpu"))
    made = translator.translate(
        images[pairs.rows[some].repeat_interleave(looks)], asked, torch.arange(len(asked)) + 1
    ).expand(-1, channels, -1, -1)
    found = [referee.outputs(made).features.view(len(some), looks, -1) for referee in referees]
    return mean_known([looks_ratio(each, pairs.targets[some], pairs.subjects[some]) for each in found])


def measure(
    name: str,
    made: Tensor,
    images: Tensor,
    pairs: Pairs,
    *,
    others: Tensor,
    referees: Sequence[Judge],
    space: LabelSpace,
    mask: float | None = None,
) -> Row:
    """Measure translations by everything but the distances, which need the features of all rows.

    `others` are real images of other subjects.
    """
    outputs = [referee.outputs(made) for referee in referees]
    found = [target_shares(likeliest(each.logits, space), pairs.targets, pairs.own, space) for each in outputs]
    changing = [space.names[column] for column in pairs.columns]
    numbers = {
        f"new {attribute}": mean_known([each.changed[attribute] for each in found]) for attribute in changing
    }
    numbers |= {
        f"kept {attribute}": mean_known([each.kept[attribute] for each in found]) for attribute in space.names
    }
    numbers["several new"] = mean_known([each.several for each in found])
    numbers["all at once"] = mean_known([each.all_right for each in found])
    sources = images[pairs.rows]
    if pairs.true is not None and bool((pairs.true >= 0).any()):
        has = pairs.true >= 0
        kinds = kinds_of_change(changed_attributes(pairs.targets, pairs.own)[has], space.names)
        true = images[pairs.true[has]]
        errors = errors_by_change(made[has], sources[has], true, kinds)
        numbers |= {"error" if kind == "all" else f"error: {kind}": each.ratio for kind, each in errors.items()}
        numbers["outside"] = change_outside(made[has], sources[has], true)
    numbers["change"] = float(mean_differences(made, sources).mean())
    numbers["detail"] = detail_ratio(made, sources, others)
    numbers["hue"] = hue_introduced(made, sources)
    numbers["mask"] = math.nan if mask is None else mask
    return Row(name=name, numbers=numbers, features=[each.features for each in outputs])


def add_distances(
    rows: Sequence[Row],
    pairs: Pairs,
    *,
    referees: Sequence[Judge],
    real: LabelledImages,
    reference: LabelledImages,
    space: LabelSpace,
) -> list[DomainDistances]:
    """Add the distances to each row's numbers; return them for each referee, none without torchmetrics.

    The first row is identity.
    """
    found = []
    for number, referee in enumerate(referees):
        distances = domain_distances(
            {str(place): row.features[number] for place, row in enumerate(rows)},
            targets=pairs.targets,
            own=pairs.own,
            real=FeatureSet(referee.outputs(real.images).features, real.codes),
            reference=FeatureSet(referee.outputs(reference.images).features, reference.codes),
            space=space,
            columns=pairs.columns,
        )
        if distances is not None:
            found.append(distances)
    for place, row in enumerate(rows):
        row.numbers["Frechet / floor"] = mean_known([each.frechet_ratio(str(place)) for each in found])
        row.numbers["kernel / identity"] = mean_known([each.kernel_ratio(str(place), to="0") for each in found])
    return found


def real_row(referees: Sequence[Judge], real: LabelledImages, space: LabelSpace, columns: Sequence[int]) -> Row:
    """Return the referees' accuracy on the real scored images, which is the ceiling of the rows below."""
    predicted = [referee.predict(real.images) for referee in referees]
    shares = [share_right(each, real.codes, space) for each in predicted]
    accuracy = {name: mean_known([each[name] for each in shares]) for name in space.names}
    numbers = {f"new {space.names[column]}": accuracy[space.names[column]] for column in columns}
    numbers |= {f"kept {name}": share for name, share in accuracy.items()}
    nothing = torch.full_like(real.codes, UNKNOWN)
    whole = [target_shares(each, real.codes, nothing, space).all_right for each in predicted]
    return Row(name="real images (referee)", numbers={**numbers, "all at once": mean_known(whole)}, features=[])


def cell(column: str, values: Sequence[float]) -> str:
    """Return the mean of some runs' numbers, with the smallest and the largest where they are several."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "-"
    share = column.startswith(PERCENT)
    shown = [
        f"{100 * x:.1f}" if share else f"{x:.3f}" if column.startswith("error") else f"{x:.2f}" for x in known
    ]
    middle = mean_known(known)
    text = f"{100 * middle:.1f} %" if share else f"{middle:.3f}" if column.startswith("error") else f"{middle:.2f}"
    if len(known) == 1:
        return text
    low, high = min(range(len(known)), key=known.__getitem__), max(range(len(known)), key=known.__getitem__)
    return f"{text} ({shown[low]} .. {shown[high]})"


def print_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print(f"| {' | '.join(headings)} |")
    print(f"|{'---|' * len(headings)}")
    for line in lines:
        print(f"| {' | '.join(line)} |")


def print_rows(rows: Sequence[Row]) -> None:
    """Print a line for each name: the mean over the rows that have it."""
    columns = list(dict.fromkeys(column for row in rows[1:] for column in row.numbers))
    columns = [column for column in columns if any(not math.isnan(r.numbers.get(column, math.nan)) for r in rows)]
    lines = []
    for name in dict.fromkeys(row.name for row in rows):
        seeds = [row for row in rows if row.name == name]
        cells = [cell(column, [row.numbers.get(column, math.nan) for row in seeds]) for column in columns]
        lines.append([name, str(len(seeds)), *cells])
    print_table(["recipe", "seeds", *columns], lines)


def print_domains(rows: Sequence[Row], found: Sequence[DomainDistances]) -> None:
    """Print each domain's Frechet ratio, the mean over referees and seeds, and the domains that are left out."""
    names = list(dict.fromkeys(row.name for row in rows))
    places = {name: [str(place) for place, row in enumerate(rows) if row.name == name] for name in names}
    lines = []
    for same in zip(*(distances.domains for distances in found), strict=True):
        ratios = [
            mean_known([each.frechet_ratio(place) for each in same for place in places[name]]) for name in names
        ]
        floor = mean_known([each.floor.frechet for each in same])
        lines.append([same[0].domain, str(same[0].images), f"{floor:.3g}", *(f"{ratio:.2f}" for ratio in ratios)])
    if lines:
        print("\nFrechet distance of each target domain, as a ratio to the floor (real images):\n")
        print_table(["domain", "images", "floor", *names], lines)
    for sentence in found[0].left_out if found else ():
        print(f"Distance to real images: {sentence}.")


def arguments() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="[NAME=]RUN[,RUN]",
        help="a run folder or a checkpoint; equal NAMEs are seeds of one recipe. Several RUNs are one model: each "
        "makes the changes between values that it knows. The first --model has all attributes and values",
    )
    parser.add_argument("--domains", action="append", required=True, help="as for augmentor expand")
    parser.add_argument(
        "--split",
        choices=("val", "test"),
        default="val",
        help="the rows to score (default val): choose recipes on val, and open test once, at the end",
    )
    parser.add_argument("--truth", type=Path, help="a table that groups images by design")
    parser.add_argument("--design", default="glyph", help="its column of designs")
    parser.add_argument(
        "--looks", type=int, default=0, metavar="N", help="looks of a translation to compare; 2 or more"
    )
    parser.add_argument("--referee", choices=("small", "resnet"), help="its network; small below 64 px")
    parser.add_argument(
        "--referee-rows",
        choices=("train", "rest"),
        default="train",
        help="real rows that the referee is trained on: train, or the held-out rows that are not scored, which "
        "no generator was trained on; the other ones are the reference of the distances",
    )
    parser.add_argument("--referee-seeds", type=int, help="referees to average (default 3; resnet 1)")
    parser.add_argument("--steps", type=int, help="optimisation steps of each referee (default 1500; resnet 400)")
    parser.add_argument("--batch-size", type=int, help="images a step (default 64; resnet 32)")
    parser.add_argument("--classifier", type=Path, help="a file to save the referees to, and to read them from")
    parser.add_argument("--seed", type=int, default=0, help="of the first referee")
    return parser.parse_args()


def is_part(space: LabelSpace, whole: LabelSpace) -> bool:
    """Return whether a space's attributes and values are all in another."""
    return all(
        attribute.name in whole.names and set(attribute.values) <= set(whole[attribute.name].values)
        for attribute in space.attributes
    )


def named_models(words: Sequence[str]) -> list[tuple[str, list[Model]]]:
    """Return the recipe and the runs of each [NAME=]RUN[,RUN]; they must translate images of one size and crop.

    Raises:
        AugmentorError: a run's form differs from the first's, or its attributes do, other than by lacking some.
    """
    models = []
    for word in words:
        name, _, paths = (word, "", word) if Path(word).exists() else word.rpartition("=")
        together = [paths] if Path(paths).exists() else paths.split(",")
        models.append((name or paths, [open_model(Path(run)) for run in together]))
    first = models[0][1][0]
    for name, runs in models:
        for model in runs:
            alike = (model.image_size, model_crop(model)) == (first.image_size, model_crop(first))
            if len(runs) == 1:
                alike &= model.space.attributes == first.space.attributes
            else:
                alike &= model.image_channels == runs[0].image_channels and is_part(model.space, first.space)
            if not alike:
                raise AugmentorError(
                    f"--model {name}: its attributes, image size, channels or crop differ from those of "
                    f"{models[0][0]}. Score them in two calls"
                )
    return models


def score(options: argparse.Namespace) -> None:
    """Train the referees, then translate, score and print the tables."""
    models = named_models(options.model)
    first = models[0][1][0]
    space, size, crop = first.space, first.image_size, model_crop(first)
    channels = max(model.image_channels for _, runs in models for model in runs)
    manifest = read_model_manifest(options.manifest, first, reading=AS_WRITTEN)
    refuse_split_leaks(manifest)  # the referee, the scored rows and the reference are of different subjects
    parts = {split: manifest.select(manifest.split_mask([split])) for split in SPLITS}
    data = {split: read_images(part, size=size, channels=channels, crop=crop) for split, part in parts.items()}
    scored = data[options.split]
    rest = "test" if options.split == "val" else "val"
    learnt, reference = ("train", rest) if options.referee_rows == "train" else (rest, "train")
    for split, use in ((options.split, "--split"), (learnt, "--referee-rows")):
        if not len(data[split]):
            raise AugmentorError(f"{options.manifest}: {use} needs rows with split {split}, and there are none")
    shared = not len(data[reference])
    if shared:
        reference = learnt
    referees = train_referees(data[learnt], space, options)

    rows, targets = requested_targets(scored, parse_domains(options.domains, space), space)
    if not len(rows):
        raise AugmentorError(f"--domains {' '.join(options.domains)}: there is nothing to translate")
    own = scored.codes[rows]
    columns = torch.nonzero(changed_attributes(targets, own).any(dim=0)).flatten().tolist()
    pairs, learnt_pairs = (
        Pairs(
            rows=rows,
            targets=targets,
            own=own,
            columns=columns,
            subjects=subject_codes(parts[options.split])[rows],
            true=None,
        ),
        None,
    )
    if options.truth:
        names, learnt_names = (
            design_names(parts[split], options.truth, options.design) for split in (options.split, "train")
        )
        pairs = replace(pairs, true=true_images(names, scored.codes, rows, targets))
        learnt_pairs = true_pairs(learnt_names, data["train"].codes, columns)

    table = list[Row]()
    cheap = cheap_translations(
        scored.images[rows], own, targets, train=data["train"], columns=columns, pairs=learnt_pairs
    )
    others = data[reference].images
    for name, made in cheap.items():
        table.append(measure(name, made, scored.images, pairs, others=others, referees=referees, space=space))
    for name, runs in models:
        images = scored.images
        if runs[0].image_channels != channels:
            part = parts[options.split]
            images = read_images(part, size=size, channels=runs[0].image_channels, crop=crop).images
        made, mask = translate(runs, images, pairs, space)
        made = made.expand(-1, channels, -1, -1)
        apart = looks_apart(runs, images, pairs, referees=referees, looks=options.looks, channels=channels)
        table.append(
            measure(name, made, scored.images, pairs, others=others, referees=referees, space=space, mask=mask)
        )
        table[-1].numbers["looks"] = apart
    distances = add_distances(table, pairs, referees=referees, real=scored, reference=data[reference], space=space)

    real = real_row(referees, scored, space, columns)
    if distances:
        real.numbers["Frechet / floor"] = mean_known([1.0 for each in distances if each.domains])
        real.numbers["kernel / identity"] = mean_known([each.kernel_ratio(None, to="0") for each in distances])
    print(
        f"{len(rows):,} translations of {len(scored):,} {options.split} images. Referee: {len(referees)} x "
        f"{options.referee}, {options.steps:,} steps of {options.batch_size}, on {len(data[learnt]):,} {learnt} "
        f"images. Distances: to {len(data[reference]):,} {reference} images"
        f"{', which the referee was trained on, as there are no others' if shared else ''}"
        f"{'' if distances else '; not measured (extra evaluate)'}.\n"
    )
    print_rows([real, *table])
    print_domains(table, distances)


def main() -> None:
    """Score the models of the command line; print what is wrong with it, if anything, and exit with 2."""
    try:
        score(arguments())
    except AugmentorError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
