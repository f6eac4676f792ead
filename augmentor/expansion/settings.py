"""Settings of an expansion: what is made, checked for contradictions, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from augmentor.data.manifest import SPLITS
from augmentor.errors import AugmentorError
from augmentor.expansion.pipeline import RealMode
from augmentor.expansion.selection import BestPer, KeepBest, Rule
from augmentor.images import ImageFormat, OutputSize
from augmentor.judge import GateMode, GateSettings, Thresholds
from augmentor.outputs import stored_encoding
from augmentor.outputs.writers import OutputFormat
from augmentor.storage import MAX_PIXELS
from stargan.checkpoints import Model
from stargan.config import Compile, Precision

_NAMES: dict[OutputFormat, str] = {
    "hdf5": "an HDF5 file",
    "webdataset": "a tar file of webdataset",
    "parquet": "a Parquet file",
}


MOST_LOOKS = 1000
"""Of one image and target: more is a mistake, not a wish."""


@dataclass(frozen=True, kw_only=True)
class ExpandSettings:
    """Settings that decide what an expansion makes; all are part of the fingerprint.

    Args:
        domains: the `--domains` SPECs; may be empty with `balance` or `counts`.
        splits: splits whose rows are translated.
        real: real rows encoded like the synthetic ones, as their original files, or not at all.
        output_format: files in a folder, or packs of them; HDF5 is one file where `out` is named like one.
        image_format: of the files in a folder or in packs, or of an HDF5 file's encoded images.
        class_folders: the attribute whose values name the image folders, or None.
        shard_size: items that are committed together.
        include_identity: whether a row is also translated into its own domain.
        size: of the written images: the model's, or changes blended into larger originals.
        encoded: whether an HDF5 file stores encoded images; always so where their sizes differ.
        precision: of the convolutions; "auto" depends on the device.
        max_pixels: sources of more pixels (width x height) are failed rows.
        allow_outside: whether sources may be outside the manifest's folder; else these are failed rows.
        gate: whether translations must reach the judge's thresholds, calibrated on real validation images.
        min_agreement, min_realism: thresholds in place of the judge's, 0 to 1.
        min_preserved: likewise of the similarity to the source, -1 to 1.
        keep_best: number of translations kept of each group (`best_per`), the best; None keeps all.
        balance: attributes whose combinations are filled up; empty with `counts`, or without either.
        balance_to: wanted counts, see `augmentor.planning.balance.BalanceRequest.parse`.
        counts: a table of wanted counts; its contents are part of the plan's fingerprint.
        max_per_source: maximum of translations of one row, with `balance` or `counts`.
        looks: translations of a row into each target, with different noise.
    """

    domains: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train",)
    real: RealMode = "processed"
    output_format: OutputFormat = "folder"
    image_format: ImageFormat = "png"
    class_folders: str | None = None
    shard_size: int = 1024
    include_identity: bool = False
    size: OutputSize = "model"
    encoded: bool = False
    precision: Precision = "auto"
    max_pixels: int = MAX_PIXELS
    allow_outside: bool = False
    gate: GateMode = "auto"
    min_agreement: float | None = None
    min_realism: float | None = None
    min_preserved: float | None = None
    keep_best: int | None = None
    best_per: BestPer = "source"
    balance: tuple[str, ...] = ()
    balance_to: str = "auto"
    counts: Path | None = None
    max_per_source: int | None = None
    looks: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that cannot work together, with an AugmentorError that names the flags."""
        if self.output_format != "folder" and self.class_folders is not None:
            raise AugmentorError(
                f"--class-folders names folders, and {_NAMES[self.output_format]} has none. Use --format folder"
            )
        if self.output_format != "folder" and self.real == "original":
            raise AugmentorError(
                f"--real original links the files as they are, and {_NAMES[self.output_format]} holds no links. "
                "Use --real processed, or --format folder"
            )
        if self.output_format != "hdf5" and self.encoded:
            raise AugmentorError(
                "--encoded is an option of --format hdf5: all other formats store encoded images. Leave it out"
            )
        unknown = [split for split in self.splits if split not in SPLITS]
        if unknown or not self.splits:
            raise AugmentorError(f"--splits: {', '.join(unknown) or 'nothing'} is not one of {', '.join(SPLITS)}")
        if self.shard_size < 1:
            raise AugmentorError(f"--shard-size must be at least 1, not {self.shard_size}")
        for name, least in (("agreement", 0), ("realism", 0), ("preserved", -1)):
            score = getattr(self, f"min_{name}")
            if score is not None and not least <= score <= 1:
                raise AugmentorError(f"--min-{name} must be between {least} and 1, not {score}")
        if self.keep_best is not None and self.keep_best < 1:
            raise AugmentorError(f"--keep-best must be at least 1, not {self.keep_best}")
        check_looks(self.looks)
        self._check_balance()

    def _check_balance(self) -> None:
        if self.fills:
            if self.keep_best is not None:
                raise AugmentorError(
                    "--keep-best drops what --balance fills up: give one of them. --max-per-source limits how "
                    "often a source is used, --balance-to and --counts say how many of a combination are wanted"
                )
            return
        if self.balance_to != "auto" or self.max_per_source is not None:
            flag = "--max-per-source" if self.balance_to == "auto" else "--balance-to"
            raise AugmentorError(
                f"{flag} needs --balance, which names the attributes whose combinations are filled up"
            )
        if not self.domains:
            raise AugmentorError(
                "no translations are requested: give --domains SPEC, for example --domains each, or --balance "
                "ATTR,ATTR to fill up rare combinations"
            )

    @classmethod
    def from_json(cls, state: Mapping[str, object]) -> Self:
        """Return the settings stored with an output; TypeError: another version of augmentor stored them."""
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in state.items()}
        return cls(**plain)  # type: ignore[arg-type]

    @property
    def fills(self) -> bool:
        """Whether rare combinations are filled up."""
        return bool(self.balance) or self.counts is not None

    @property
    def encoding(self) -> ImageFormat | None:
        """The format of the written images; None where the output is pixels of one size."""
        return stored_encoding(
            self.output_format,
            image_format=self.image_format,
            encoded=self.encoded,
            same_size=self.size != "original",
        )

    @property
    def demands(self) -> GateSettings:
        """Requirements of the gate for every translation."""
        least = Thresholds(agreement=self.min_agreement, realism=self.min_realism, preserved=self.min_preserved)
        return GateSettings(gate=self.gate, thresholds=least, ranks=self.keep_best is not None)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Rules of the selection among translations that passed the gate; none keeps all."""
        return () if self.keep_best is None else (KeepBest(self.keep_best, self.best_per),)


def check_looks(looks: int, model: Model | None = None) -> None:
    """Refuse a number of looks that is none, or that a model cannot make, with an AugmentorError."""
    if not 1 <= looks <= MOST_LOOKS:
        raise AugmentorError(f"--looks must be from 1 to {MOST_LOOKS:,}, not {looks:,}")
    if looks > 1 and model is not None and not model.generator.noise:
        raise AugmentorError(
            f"--looks {looks}: the model's generator reads no noise, so all looks of a target would be equal. "
            "Train one that does, for example with augmentor train --set generator.noise=8, or leave --looks out"
        )


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How an expansion is run; none of it changes what is made.

    Args:
        devices: where to translate; several make one process each.
        batch_size: pairs that are translated at once; None picks from the device.
        workers: threads that decode and encode, on all devices together; None picks from the cores.
        compile: whether torch.compile fuses the generator; "auto" does where it saves time.
        verify_sources: whether sources read by an earlier run are compared by content, not size and time.
    """

    devices: tuple[torch.device, ...]
    batch_size: int | None = None
    workers: int | None = None
    compile: Compile = "auto"
    verify_sources: bool = False
