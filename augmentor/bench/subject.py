"""Images and models to measure with: the user's own, or drawn images and an untrained model of a recipe."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from augmentor.data import model_crop, open_model, read_model_manifest
from augmentor.data.manifest import AS_WRITTEN, SPLITS, Manifest, read_manifest, refuse_unreachable
from augmentor.errors import AugmentorError
from augmentor.expansion import ExpandSettings, Expansion, RealMode
from augmentor.images import ImageFormat, Pixels, decode, encode
from augmentor.outputs import default_format
from augmentor.planning import make_plan, parse_domains, refuse_unlabelled
from augmentor.training import Recipe, train_config, untrained_networks
from stargan.checkpoints import Model, save_checkpoint
from stargan.config import Precision
from stargan.inference import Job
from stargan.labels import Attribute, LabelSpace, permuted_targets
from stargan.networks import TranslatingGenerator
from stargan.training import Batch, new_state

_PICTURES = 64
"""Different images that are drawn; further files repeat them."""

_ATTRIBUTE = "look"
SEED = 20_210
"""Of drawn images, batches and untrained weights."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Images and a model that translates them into `domains`, a list of SPECs.

    `manifest` is in the model's label space, `folder` the model's checkpoint, `title` a description for the table.
    """

    manifest: Manifest
    model: Model
    folder: Path
    recipe: Recipe
    domains: tuple[str, ...]
    title: str
    _untouched: TranslatingGenerator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Keep the generator as it was loaded: a Translator may change the memory layout of its weights."""
        object.__setattr__(self, "_untouched", copy.deepcopy(self.model.generator))

    def plain_model(self, device: torch.device) -> Model:
        """Return a copy of the model for a plain loop: weights contiguous, in float32."""
        return replace(self.model, generator=copy.deepcopy(self._untouched).to(device))

    @cached_property
    def targets_per_image(self) -> float:
        """Translations of an image, on average."""
        plan = self.expansion(Path(), rows=len(self.manifest)).plan
        return len(plan) / len(self.manifest)

    def expansion(
        self,
        out: Path,
        *,
        rows: int,
        image_format: ImageFormat = "png",
        precision: Precision = "auto",
        real: RealMode = "none",
    ) -> Expansion:
        """Plan an expansion of the first rows (at most all) into a folder, or into an HDF5 file for ".h5"."""
        settings = ExpandSettings(
            domains=self.domains,
            splits=SPLITS,
            real=real,
            output_format=default_format(out),
            image_format=image_format,
            precision=precision,
            gate="off",
        )
        table = self.manifest.select(np.arange(min(rows, len(self.manifest))))
        plan = make_plan(
            table.codes,
            space=self.model.space,
            request=parse_domains(self.domains, self.model.space),
            eligible=np.ones(len(table), dtype=bool),
            with_real=real != "none",
        )
        refuse_unlabelled(plan, self.model)
        # The model's path is written to `dataset.json`, which is not read here.
        return Expansion(
            manifest=table, model=self.model, settings=settings, out=out, plan=plan, model_path=Path()
        )

    def paths(self, count: int) -> list[Path]:
        """Return the files of `count` images from the first row on, repeated where there are fewer."""
        return [self.manifest.image_path(number % len(self.manifest)) for number in range(count)]

    def decode(self, path: Path) -> Pixels:
        """Read an image as `expand` does."""
        model = self.model
        return decode(
            path,
            size=model.image_size,
            channels=model.image_channels,
            crop=model_crop(model),
            access=self.manifest.access,
        )

    @cached_property
    def pictures(self) -> list[Pixels]:
        """Up to 64 of the images at the model's size."""
        return [self.decode(path) for path in self.paths(min(_PICTURES, len(self.manifest)))]

    @cached_property
    def images(self) -> Tensor:
        """The same as a tensor, (N, C, H, W) uint8."""
        return torch.from_numpy(np.stack(self.pictures)).permute(0, 3, 1, 2).contiguous()

    def jobs(self, pairs: int) -> list[Job]:
        """Return that many (source, target) pairs for the Translator, grouped by source.

        The sources are repetitions of `images`, so that no file is read during a measurement.
        """
        codes = torch.from_numpy(self.manifest.codes.astype(np.int64))
        jobs: list[Job] = []
        while pairs > 0:
            for row, targets in self._targets():
                requested = self.model.space.to_one_label_set(targets, codes[row].expand(len(targets), -1))
                jobs.append(Job(self.images[len(jobs) % len(self.images)], requested[:pairs]))
                pairs -= len(targets)
                if pairs <= 0:
                    break
        return jobs

    def _targets(self) -> Iterator[tuple[int, Tensor]]:
        plan = self.expansion(Path(), rows=len(self.manifest)).plan
        for row, items in groupby(plan.items(), key=lambda item: item.row):
            yield row, torch.tensor([item.target for item in items], dtype=torch.int64)

    def batches(self, size: int) -> list[Batch]:
        """Return 8 training batches with targets; step `n` uses number `n % 8`."""
        codes = torch.from_numpy(self.manifest.codes.astype(np.int64))
        random = torch.Generator().manual_seed(SEED)
        made = []
        for _ in range(8):
            rows = torch.randint(len(self.images), (size,), generator=random)
            shown = codes[rows]
            made.append(
                Batch(self.images[rows], shown, permuted_targets(shown, self.model.space, generator=random))
            )
        return made


def given_subject(
    manifest: Path,
    *,
    model: Path | None,
    recipe: Recipe,
    images: int | None,
    work: Path,
    allow_outside: bool = False,
) -> Subject:
    """Return at most `images` of the user's images, with the user's model or an untrained one of the recipe.

    `model` is a run folder or a checkpoint, `work` a temporary folder. AugmentorError if they cannot be used.
    """
    if model is None:
        table = read_manifest(
            manifest,
            attributes=recipe.manifest.attributes,
            one_hot=recipe.one_hot,
            reading=recipe.manifest.reading,
        )
        model = untrained(recipe, table.space, work / "model")
    loaded = open_model(model)
    table = read_model_manifest(manifest, loaded, reading=recipe.manifest.reading)
    table = table.allowing(outside=allow_outside, max_pixels=recipe.images.max_pixels)
    refuse_unreachable(table)
    if images is not None:
        table = table.select(np.arange(min(images, len(table))))
    subject = Subject(
        manifest=table, model=loaded, folder=model, recipe=recipe, domains=("each",), title=_title(loaded)
    )
    if not subject.targets_per_image:
        raise AugmentorError(f"{manifest}: no image has a target, so nothing can be measured")
    return subject


def synthetic_subject(
    recipe: Recipe, *, targets: int, images: int, work: Path, model: Path | None = None
) -> Subject:
    """Return that many drawn images and a recipe's untrained model, both reproducible.

    A trained `model` replaces the untrained one; the number of `targets` of each image then follows from it.
    `work` is a temporary folder.
    """
    if model is None:
        values = tuple(f"value{number}" for number in range(targets + 1))
        space = LabelSpace(attributes=(Attribute(name=_ATTRIBUTE, kind="categorical", values=values),))
        model = untrained(recipe, space, work / "model")
    loaded = open_model(model)
    table = write_pictures(
        work / "images", space=loaded.space, size=loaded.image_size, channels=loaded.image_channels, count=images
    )
    return Subject(
        manifest=read_model_manifest(table, loaded, reading=AS_WRITTEN),
        model=loaded,
        folder=model,
        recipe=recipe,
        domains=("each",),
        title=_title(loaded),
    )


def untrained(recipe: Recipe, space: LabelSpace, folder: Path) -> Path:
    """Write the checkpoint of a recipe's model at step 0 to `folder`, and return the folder."""
    config = train_config(recipe)
    generator, discriminator = untrained_networks(recipe, space, seed=SEED)
    save_checkpoint(
        folder,
        state=new_state(generator=generator, discriminator=discriminator, config=config),
        config=config,
        space=space,
        image_size=recipe.images.height_width,
        settings={"images": recipe.images.model_dump(mode="json")},
    )
    return folder


def write_pictures(folder: Path, *, space: LabelSpace, size: tuple[int, int], channels: int, count: int) -> Path:
    """Write JPEG files a third larger than `size`, (height, width) of the model's images, and their manifest.

    Like photographs they have detail at all scales, less at finer ones, so that reading and writing them takes as
    long as for photographs. The manifest's rows take the attributes' values in turn.
    """
    folder.mkdir(parents=True)
    shape = (size[0] * 4 // 3, size[1] * 4 // 3)
    random = torch.Generator().manual_seed(SEED)
    drawn = [encode(draw_picture(shape, channels, random), "jpg") for _ in range(min(count, _PICTURES))]
    lines = [",".join(["path", *space.names])]
    for number in range(count):
        name = f"{number:06d}.jpg"
        (folder / name).write_bytes(drawn[number % len(drawn)])
        values = [attribute.values[number % len(attribute.values)] for attribute in space.attributes]
        lines.append(",".join([name, *values]))
    table = folder / "manifest.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def draw_picture(shape: tuple[int, int], channels: int, random: torch.Generator) -> Pixels:
    """Draw a random uint8 (H, W, C) image: noise at every scale, each half as strong as the next coarser one."""
    height, width = shape
    picture = torch.zeros(1, channels, height, width)
    cells, strength = 2, 70.0
    while cells <= max(shape):
        noise = torch.randn(1, channels, min(cells, height), min(cells, width), generator=random)
        picture += strength * functional.interpolate(noise, size=shape, mode="bilinear", align_corners=False)
        cells, strength = cells * 2, strength / 2
    pixels: Pixels = (picture + 128).clamp(0, 255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy().copy()
    return pixels


def _title(model: Model) -> str:
    arguments, (height, width) = model.generator.arguments, model.image_size
    side = f"{height}" if height == width else f"{width}x{height}"
    conditioning = {"concat": "planes", "norm": "norms"}.get(str(arguments.get("conditioning")), "")
    return ", ".join(filter(None, [f"{side} px", f"width {arguments['width']}", conditioning]))


def pairs_of(jobs: Sequence[Job]) -> tuple[Tensor, Tensor]:
    """Return all pairs of some jobs as tensors: (M, C, H, W) images and (M, A) targets."""
    images = torch.cat([job.image[None].expand(len(job.targets), *job.image.shape) for job in jobs])
    return images, torch.cat([job.targets for job in jobs])
