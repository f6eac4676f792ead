"""Manifests with true partners, to measure what pairs bring: of drawn portraits, and of images with known designs.

python recipes/make_pairs.py portraits drawn --share 0.2                 # draws the folder drawn
python recipes/make_pairs.py designs manifest.csv truth.csv --share 0.2 --out paired.csv

portraits: the portrait set of `augmentor demo`; of a share of the training portraits all 11 other domains (or
--partners of them) are drawn, too, and of each val and test portrait all 11, which `score_translations.py --truth
drawn/manifest.csv --design pair` compares translations with. Two shares of one seed differ in the partners alone.

designs: the manifest with a column `pair`: of a share of the groups of the training rows (without groups: of the
designs) the design that a table says. No other row is paired: nothing is trained on a true image of val or test.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from augmentor.demo.portraits.drawing import render
from augmentor.demo.portraits.identity import HAIR, portrait_at
from augmentor.demo.portraits.portrait_set import Domain, split_domains


def chosen(names: NDArray[np.object_], share: float, seed: int) -> set[object]:
    """Return a share of the different names, drawn from a seed; a larger share has those of a smaller one."""
    different = np.unique(names)
    drawn = np.random.default_rng(seed).permutation(len(different))
    return set(different[drawn[: round(share * len(different))]])


def draw_portraits(options: argparse.Namespace) -> None:
    """Draw the portraits, some with partners, and their manifest."""
    folder: Path = options.folder
    (folder / "images").mkdir(parents=True)
    every: list[Domain] = list(product(HAIR, (0, 1), (0, 1)))
    random = np.random.default_rng(options.seed)
    counts = {"train": options.train, "val": options.val, "test": options.test}
    labelled = [(split, own) for split, count in counts.items() for own in split_domains(split, count, random)]
    paired = chosen(np.arange(options.train).astype(object), options.share, options.seed)
    rows = []
    for index, (split, own) in enumerate(labelled):
        others = [domain for domain in every if domain != own]
        order = np.random.default_rng((options.seed, index)).permutation(len(others))
        wanted = len(others) if split != "train" else options.partners if index in paired else 0
        for domain in [own, *(others[place] for place in order[:wanted])]:
            hair, glasses, smile = domain
            name = f"{index:05d}_{hair}_{glasses}{smile}"
            portrait = portrait_at(options.seed, index)
            pixels = render(portrait, hair=hair, glasses=bool(glasses), smile=bool(smile), size=options.size)
            Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
            pair = f"{index:05d}" if wanted else ""
            rows.append((f"images/{name}.png", name, split, f"{index:05d}", pair, hair, glasses, smile))
    columns = ["path", "id", "split", "group", "pair", "hair", "glasses", "smile"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "manifest.csv", index=False)
    print(f"{len(rows):,} portraits; {len(paired):,} of {options.train:,} in train have partners.")


def pair_designs(options: argparse.Namespace) -> None:
    """Write the manifest with the designs of some training rows as their pairs."""
    rows, truth = (
        pd.read_csv(path, dtype=str, keep_default_na=False) for path in (options.manifest, options.truth)
    )
    designs = rows["id"].map(dict(zip(truth["id"], truth[options.design], strict=True))).fillna("")
    learnt = (rows["split"] == "train") & (designs != "")
    groups = rows.get("group", designs)
    groups = groups.where(groups != "", designs)
    some = chosen(groups[learnt].to_numpy(dtype=object), options.share, options.seed)
    rows["pair"] = designs.where(learnt & groups.isin(some), "")
    rows["path"] = [str((options.manifest.parent / path).resolve()) for path in rows["path"]]
    rows.to_csv(options.out, index=False)
    paired, train = int((rows["pair"] != "").sum()), int((rows["split"] == "train").sum())
    print(f"{paired:,} of {train:,} training images are paired.")


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    kinds = parser.add_subparsers(required=True)
    portraits = kinds.add_parser("portraits", help="draw portraits, some with partners")
    portraits.add_argument("folder", type=Path, help="a new folder")
    portraits.add_argument("--partners", type=int, default=11, help="of a portrait that has any (default 11: all)")
    portraits.add_argument("--size", type=int, default=64)
    for split, count in (("train", 1200), ("val", 40), ("test", 60)):
        portraits.add_argument(f"--{split}", type=int, default=count, metavar="N", help="portraits")
    portraits.set_defaults(make=draw_portraits)
    designs = kinds.add_parser("designs", help="pair the training images of a manifest by their designs")
    designs.add_argument("manifest", type=Path)
    designs.add_argument("truth", type=Path, help="a table that groups images by design (columns id and --design)")
    designs.add_argument("--design", default="glyph", help="its column of designs")
    designs.add_argument("--out", type=Path, required=True)
    designs.set_defaults(make=pair_designs)
    for kind in (portraits, designs):
        kind.add_argument("--share", type=float, default=0.2, help="what has partners (default 0.2)")
        kind.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.make(options)


if __name__ == "__main__":
    main()
