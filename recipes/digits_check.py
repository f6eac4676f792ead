"""Check of the recipe for digits: scikit-learn's digits as MNIST and USPS files, translated, then classified.

python recipes/digits_check.py digits                       # writes the folder digits; needs scikit-learn
"""

from __future__ import annotations

import argparse
import bz2
import csv
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

RECIPE = Path(__file__).with_name("mnist-usps-28.toml")
OTHER = {"mnist": "usps", "usps": "mnist"}
Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def main() -> None:
    """Write the digits, convert, train, expand, score; then print the scores."""
    parser = argparse.ArgumentParser(description="Train the recipe for digits on scikit-learn's, and score it.")
    parser.add_argument("folder", type=Path, help="where the files, the run and the translations are written")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="of the training, and of the choice of test images")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for augmentor train")
    options = parser.parse_args()
    folder, manifest = options.folder, options.folder / "digits.csv"

    write_digits(folder, seed=options.seed)
    for name in OTHER:
        words = [name, folder / f"{name}-files", "--out", manifest, "--as", f"domain={name}", "--append"]
        augmentor("convert", "dataset", *words)
    changes = [word for change in ("judge.steps=0", *options.set) for word in ("--set", change)]
    run, length = folder / "run", ("--steps", options.steps, "--seed", options.seed)
    augmentor("train", manifest, "--out", run, "--recipe", RECIPE, *length, *changes)
    words = ["--domains", "domain=~", "--splits", "test", "--out", folder / "translated"]
    augmentor("expand", manifest, "--model", run, *words)
    print(f"{'':<16}{'real test':>22}{'translated':>22}\n{'':<16}" + f"{'digit':>12}{'domain':>10}" * 2)
    for source, scores in score(folder / "translated", manifest).items():
        columns = "".join(f"{each.digit:>12.1%}{each.domain:>10.1%}" for each in scores)
        print(f"{f'{source} to {OTHER[source]}':<16}{columns}   of {scores[1].images} images")


def augmentor(*words: object) -> None:
    """Run a command; it ends this script if it fails."""
    done = subprocess.run([sys.executable, "-m", "augmentor", *map(str, words)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def write_digits(folder: Path, *, seed: int) -> None:
    """Write `mnist-files` (28 x 28, the digit in the middle) and `usps-files` (16 x 16, to the rim, thickened).

    No image is in both. A fifth of each, drawn with the seed, is for testing.
    """
    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8) / 16 * 255).astype(np.uint8)
    for name, part in zip(OTHER, np.arange(len(labels)) % 2 == np.array([[0], [1]]), strict=True):
        (folder / f"{name}-files").mkdir(parents=True, exist_ok=True)
        split = train_test_split(pixels[part], labels[part].astype(np.uint8), test_size=0.2, random_state=seed)
        train, test = (split[0], split[2]), (split[1], split[3])
        if name == "mnist":
            _write_mnist(folder / "mnist-files", train=train, test=test)
        else:
            _write_usps(folder / "usps-files", train=train, test=test)


def _write_mnist(folder: Path, *, train: Digits, test: Digits) -> None:
    for part, (pixels, labels) in (("train", train), ("t10k", test)):
        images = np.zeros((len(pixels), 28, 28), dtype=np.uint8)
        for image, small in zip(images, pixels, strict=True):
            image[4:24, 4:24] = np.asarray(Image.fromarray(small).resize((20, 20), Image.Resampling.BICUBIC))
        for kind, numbers in (("images", images), ("labels", labels)):
            head = struct.pack(f">4B{numbers.ndim}I", 0, 0, 8, numbers.ndim, *numbers.shape)
            (folder / f"{part}-{kind}-idx{numbers.ndim}-ubyte").write_bytes(head + numbers.tobytes())


def _write_usps(folder: Path, *, train: Digits, test: Digits) -> None:
    for name, (pixels, labels) in (("usps.bz2", train), ("usps.t.bz2", test)):
        lines = []
        for small, label in zip(pixels, labels.tolist(), strict=True):
            image = Image.fromarray(small).resize((16, 16), Image.Resampling.BICUBIC)
            thick = Image.blend(image, image.filter(ImageFilter.MaxFilter(3)), 0.3)
            values = np.asarray(thick).flatten() / 255 * 2 - 1
            pairs = " ".join(f"{place}:{value:.4f}" for place, value in enumerate(values, start=1))
            lines.append(f"{label + 1} {pairs}\n")
        (folder / name).write_bytes(bz2.compress("".join(lines).encode()))


@dataclass(frozen=True)
class Score:
    """Accuracy of two classifiers of real training images on some images.

    Args:
        images: number of images.
        digit: accuracy of the digit; a translation has its source's.
        domain: accuracy of the domain; a translation's is its target.
    """

    images: int
    digit: float
    domain: float


def score(out: Path, manifest: Path) -> dict[str, tuple[Score, Score]]:
    """Return, by the source's domain, the scores of the real test images and of their translations.

    Args:
        out: an output of `augmentor expand`: real images of all splits, and translations of test images.
        manifest: the table with the digits.
    """
    with manifest.open(newline="") as file:
        digits = {row["id"]: row["digit"] for row in csv.DictReader(file)}
    with (out / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pixels = (
        np.stack([np.asarray(Image.open(out / row["file_name"]).convert("L")).flatten() for row in rows]) / 255
    )
    shown = np.array([digits[row["source_id"]] for row in rows])
    domain = np.array([row["domain"] for row in rows])
    made = np.array([row["is_synthetic"] == "1" for row in rows])
    train, test = (np.array([row["split"] == split for row in rows]) for split in ("train", "test"))
    by_digit, by_domain = (SVC().fit(pixels[train & ~made], labels[train & ~made]) for labels in (shown, domain))

    def of(which: NDArray[np.bool_]) -> Score:
        right = (
            judge.predict(pixels[which]) == labels[which]
            for judge, labels in ((by_digit, shown), (by_domain, domain))
        )
        return Score(int(which.sum()), *(float(each.mean()) for each in right))

    return {
        source: (of(test & ~made & (domain == source)), of(test & made & (domain == target)))
        for source, target in OTHER.items()
    }


if __name__ == "__main__":
    main()
