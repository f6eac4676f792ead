"""Scores of models by their translations of test rows: target accuracy, error to the true image, realism.

python recipes/score_translations.py manifest.csv --model runs/a --model runs/b --domains "tone=*,style=*"

Target accuracy is measured by a classifier trained on the real training rows. With --truth, a table that groups
images by design (columns id and, by default, glyph), each translation is compared with the real image of the same
design in the target's domain: the mean absolute error, as a ratio to that of the unchanged image. The Frechet
distance of all translations to the real test rows, on the classifier's features, is printed as a ratio to that
between real training and test rows.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from augmentor.data import model_crop, open_model, read_model_manifest
from augmentor.data.manifest import Manifest
from augmentor.judge import (
    Judge,
    LabelledImages,
    changed_targets,
    read_images,
    requested_targets,
    share_right,
    train_judge,
)
from augmentor.planning import parse_domains
from stargan.inference import Translator
from stargan.labels import UNKNOWN, LabelSpace
from stargan.pixels import to_signed

BATCH = 256


class Features(nn.Module):
    """The classifier's features ahead of its head, of uint8 images."""

    num_features = 512

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.body = judge.network.body

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) uint8 to (N, 512) floats."""
        features: Tensor = self.body(to_signed(images))
        return features


def frechet(features: Features, real: Tensor, other: Tensor) -> float:
    """Return the Frechet distance between two sets of uint8 images."""
    metric = FrechetInceptionDistance(feature=features)
    for images, is_real in ((real, True), (other, False)):
        for batch in torch.split(images, BATCH):
            metric.update(batch, real=is_real)
    return float(metric.compute())


def true_images(test: Manifest, rows: Tensor, targets: Tensor, *, truth: Path, design: str) -> Tensor:
    """Return for each translation the row of its true image, -1 where there is none."""
    table = pd.read_csv(truth, dtype=str, keep_default_na=False)
    designs = dict(zip(table["id"], table[design], strict=True))
    names = [designs.get(str(name), f"only {name}") for name in test.rows["id"]]
    place = {(name, *codes): row for row, (name, codes) in enumerate(zip(names, test.codes.tolist(), strict=True))}
    wanted = zip(rows.tolist(), targets.tolist(), strict=True)
    return torch.tensor([place.get((names[row], *target), -1) for row, target in wanted])


def judge_of(train: LabelledImages, space: LabelSpace, options: argparse.Namespace) -> Judge:
    """Return the classifier, read from the file --classifier if it exists, else trained and saved there."""
    file: Path | None = options.classifier
    exists = file is not None and file.exists()
    judge = train_judge(
        train,
        space=space,
        steps=1 if exists else options.steps,
        seed=options.seed,
        batch_size=options.batch_size,
        device=torch.device("cpu"),
    )
    if file is not None and exists:
        judge.network.load_state_dict(load_file(file))
    elif file is not None:
        save_file({name: tensor.contiguous() for name, tensor in judge.network.state_dict().items()}, file)
    return judge


def percent(value: float) -> str:
    """Return a share in percent, or a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.1%}"


def main() -> None:
    """Train the classifier, then translate, score and print a block for each model."""
    parser = argparse.ArgumentParser(description="Score translations of test rows with a classifier of real rows.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", type=Path, action="append", required=True, help="a run folder or a checkpoint")
    parser.add_argument("--domains", action="append", required=True, help="as for augmentor expand")
    parser.add_argument("--truth", type=Path, help="a table that groups images by design")
    parser.add_argument("--design", default="glyph", help="its column of designs")
    parser.add_argument("--steps", type=int, default=400, help="optimisation steps of the classifier")
    parser.add_argument("--batch-size", type=int, default=32, help="images a step")
    parser.add_argument("--classifier", type=Path, help="a file to save the classifier to, and to read it from")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    model = open_model(options.model[0])
    space, size, crop = model.space, model.image_size, model_crop(model)
    manifest = read_model_manifest(options.manifest, model, image_column=None)
    parts = [manifest.select(manifest.split_mask([split])) for split in ("train", "test")]
    train, test = (read_images(part, size=size, channels=model.image_channels, crop=crop) for part in parts)
    judge = judge_of(train, space, options)
    real = share_right(judge.predict(test.images), test.codes, space)
    features = Features(judge).eval()
    floor = frechet(features, test.images, train.images)
    rows, targets = requested_targets(test, parse_domains(options.domains, space), space)
    changed_only = changed_targets(targets, test.codes[rows])

    for path in options.model:
        translator = Translator(open_model(path), device=torch.device("cpu"))
        made = torch.cat(
            [
                translator.translate(test.images[some], space.to_one_label_set(wanted, test.codes[some]))
                for some, wanted in zip(torch.split(rows, BATCH), torch.split(targets, BATCH), strict=True)
            ]
        )
        predicted = judge.predict(made)
        right, changed = share_right(predicted, targets, space), share_right(predicted, changed_only, space)
        all_right = float(((predicted == targets) | (targets == UNKNOWN)).all(dim=1).double().mean())
        print(f"{path}: {len(rows):,} translations of {len(test):,} test images; share judged right")
        print(f"{'attribute':<16}{'real':>8}{'all':>8}{'changed':>9}")
        for name in space.names:
            print(f"{name:<16}{percent(real[name]):>8}{percent(right[name]):>8}{percent(changed[name]):>9}")
        print(f"{'all at once':<24}{all_right:>8.1%}")
        print(f"Frechet distance: {frechet(features, test.images, made) / floor:.2f} of real train to real test")
        if options.truth:
            true = true_images(parts[1], rows, targets, truth=options.truth, design=options.design)
            has = true >= 0
            there = test.images[true[has]].float()
            error = float((made[has].float() - there).abs().mean())
            untouched = float((test.images[rows[has]].float() - there).abs().mean())
            print(f"Error to the true translation: {error:.2f} grey levels, {error / untouched:.3f} of leaving it")


if __name__ == "__main__":
    main()
