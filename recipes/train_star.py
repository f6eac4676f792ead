"""One StarGAN beside the CycleGANs of every two values of an attribute: trained, to be scored afterwards.

python recipes/train_star.py manifest.csv hair --out star --steps 2600 --cyclegan-steps 2600

Writes star/stargan, star/cyclegan/A-B for every two values A and B, each learnt from the rows of its values alone,
and their generators under star/models. What is there is not trained again; an interrupted training starts anew, so
that its time is whole. Prints processor time and size on disk of both, and the command that scores them.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

RECIPES = Path(__file__).parent


def augmentor(*words: object) -> None:
    """Run a command; it ends this script if it fails."""
    done = subprocess.run([sys.executable, "-m", "augmentor", *map(str, words)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def children_seconds() -> float:
    """Return the processor time of all ended commands."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def train(
    manifest: Path, run: Path, model: Path, options: argparse.Namespace, *words: object
) -> tuple[float, int]:
    """Train a run, unless it is there, and return its processor seconds and the bytes of its model."""
    started, seconds_file = children_seconds(), model / "seconds.txt"
    if not seconds_file.exists():
        changes = [word for change in options.set for word in ("--set", change)]
        for folder in (run, model):
            if folder.exists():
                shutil.rmtree(folder)
        fixed = ["--attributes", options.attribute, "--seed", options.seed, "--allow-outside", "--device", "cpu"]
        augmentor("train", manifest, "--out", run, *words, *fixed, *changes)
        seconds = children_seconds() - started
        augmentor("convert", "checkpoint", run, "--out", model)
        seconds_file.write_text(f"{seconds}\n")
    return float(seconds_file.read_text()), sum(file.stat().st_size for file in model.glob("*.safetensors"))


def main() -> None:
    """Train what is missing, and print what it cost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("attribute")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, default=RECIPES / "cpu-quick.toml", help="of the StarGAN")
    parser.add_argument("--cyclegan-recipe", type=Path, default=RECIPES / "cyclegan-cpu.toml")
    parser.add_argument("--steps", type=int, required=True, help="of the StarGAN")
    parser.add_argument("--cyclegan-steps", type=int, required=True, help="of each CycleGAN")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all, as in train")
    options = parser.parse_args()

    rows = pd.read_csv(options.manifest, dtype=str, keep_default_na=False)
    rows["path"] = [str((options.manifest.parent / path).resolve()) for path in rows["path"]]
    values = sorted(set(rows[options.attribute]) - {""})
    models: Path = options.out / "models"
    (options.out / "cyclegan").mkdir(parents=True, exist_ok=True)
    whole = train(
        *(options.manifest, options.out / "stargan", models / "stargan", options),
        *("--recipe", options.recipe, "--steps", options.steps),
    )
    pairs = []
    for left, right in itertools.combinations(values, 2):
        name = f"{left}-{right}"
        table = options.out / "cyclegan" / f"{name}.csv"
        rows[rows[options.attribute].isin([left, right])].to_csv(table, index=False)
        words = ("--recipe", options.cyclegan_recipe, "--steps", options.cyclegan_steps)
        pairs.append(train(table, options.out / "cyclegan" / name, models / name, options, *words))
    for name, costs in (("1 StarGAN", [whole]), (f"{len(pairs)} CycleGANs", pairs)):
        seconds, size = sum(cost[0] for cost in costs), sum(cost[1] for cost in costs)
        print(f"{name}: {seconds / 60:.1f} minutes of processor time, {size / 1e6:.3f} MB of weights")
    together = ",".join(str(models / f"{left}-{right}") for left, right in itertools.combinations(values, 2))
    print(
        f'python {RECIPES / "score_translations.py"} {options.manifest} --domains "{options.attribute}=*" '
        f"--model stargan={models / 'stargan'} --model cyclegans={together}"
    )


if __name__ == "__main__":
    main()
