"""Ask a classifier that was trained on real rows what translations of test rows show.

python recipes/score_translations.py manifest.csv --model runs/mine --domains "tone=*,style=*"
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from augmentor.domains import parse_domains
from augmentor.expansion import open_model, read_model_manifest
from augmentor.quality import judge_translations, read_images, share_right, train_judge
from stargan.translate import Translator


def share(value: float) -> str:
    """Return a share in percent, or a dash where there was nothing to count."""
    return "-" if math.isnan(value) else f"{value:.1%}"


def main() -> None:
    """Train the classifier, translate, judge, print."""
    parser = argparse.ArgumentParser(description="Score translations of test rows with a classifier of real rows.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="a run folder or a checkpoint")
    parser.add_argument("--domains", action="append", required=True, help="as for augmentor expand")
    parser.add_argument("--steps", type=int, default=400, help="optimisation steps of the classifier")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    model = open_model(options.model)
    manifest = read_model_manifest(options.manifest, model, image_column=None)
    train, test = (
        read_images(
            manifest.select(manifest.split_mask([split])), size=model.image_size, channels=model.image_channels
        )
        for split in ("train", "test")
    )
    device = torch.device("cpu")
    judge = train_judge(train, space=model.space, steps=options.steps, seed=options.seed, device=device)
    real = share_right(judge.predict(test.images), test.codes, model.space)
    request = parse_domains(options.domains, model.space)
    verdict = judge_translations(judge, Translator(model, device=device), test, request)
    print(f"{verdict.translations:,} translations of {len(test):,} test images; share judged right")
    print(f"{'attribute':<16}{'real':>8}{'all':>8}{'changed':>9}")
    for name in model.space.names:
        print(f"{name:<16}{share(real[name]):>8}{share(verdict.right[name]):>8}{share(verdict.changed[name]):>9}")
    print(f"{'all at once':<24}{verdict.all_right:>8.1%}")


if __name__ == "__main__":
    main()
