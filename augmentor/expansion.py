"""One expansion, planned: a manifest, a model, settings, and what follows from them. Nothing is written here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self, cast

import numpy as np

from augmentor import __version__
from augmentor.access import MAX_PIXELS
from augmentor.balance import BalanceRequest
from augmentor.cells import CellState
from augmentor.domains import DomainRequest, parse_domains
from augmentor.errors import AugmentorError, ManifestError
from augmentor.fullsize import Original, OutputSize, refuse_painters
from augmentor.gating import Demands, GateMode, Judging, find_judging
from augmentor.images import ImageFormat
from augmentor.manifest import (
    SPLITS,
    Manifest,
    frame_notes,
    key_stems,
    read_manifest,
    refuse_all_outside,
    refuse_split_leaks,
)
from augmentor.models import OWN, Description, open_described, refuse_other_direction
from augmentor.pipeline import RealMode, Sources
from augmentor.plan import Plan, make_plan
from augmentor.quality import Thresholds
from augmentor.report import Shown, read_spread
from augmentor.rounds import balanced, planned_states
from augmentor.selection import BestPer, KeepBest, Rule
from augmentor.storage import RemotePath
from augmentor.writers import FolderWriter, HDF5Writer, OutputFormat, PackWriter, Writer
from augmentor.writers.packs import packing_of
from augmentor.writers.places import Place, planned_place, stored_encoding
from augmentor.writers.records import Json
from augmentor.writers.remote import RemoteWriter, on_disk
from stargan.checkpoint import Model
from stargan.config import Precision
from stargan.labels import LabelSpace

MOST_IN_ONE_FILE = 10_000_000
"""Images that one HDF5 file may hold: half a terabyte at 128 px, which one process writes and reads in order, and
which a repair writes once more. Above that, a folder of such files is the same to whoever reads it."""


_NAMES: dict[OutputFormat, str] = {
    "hdf5": "an HDF5 file",
    "webdataset": "a tar file of webdataset",
    "parquet": "a Parquet file",
}


@dataclass(frozen=True, kw_only=True)
class ExpandSettings:
    """What an expansion makes; all of it is part of the fingerprint.

    Args:
        domains: the `--domains` SPECs; may be left out where something is filled up.
        splits: whose rows are translated.
        real: whether real rows are written as the synthetic ones are, as their files are, or not at all.
        output_format: files in a folder, or packs of them; HDF5 is one file where `out` is called like one.
        image_format: of the files in a folder or in packs, or of an HDF5 file's encoded images.
        class_folders: the attribute whose values name the image folders, or None.
        shard_size: items that are committed together.
        include_identity: whether a row is also translated into its own domain.
        size: of the images that are written: the model's, or changes blended into larger originals.
        encoded: whether an HDF5 file holds encoded images, as it always does where their sizes differ.
        precision: what the convolutions compute in, as it was asked for: "auto" depends on the device.
        max_pixels: sources of more pixels (width x height) are failed rows.
        allow_outside: sources may lie outside the manifest's folder; else these are failed rows.
        gate: whether translations must reach the thresholds that the judge has from real validation images.
        min_agreement: what agreement must reach, in the place of the judge's own threshold; 0 to 1.
        min_realism: likewise for realism; 0 to 1.
        min_preserved: likewise for what is preserved of the source; -1 to 1.
        keep_best: so many translations of each source, or into each domain, are kept, the best; None keeps all.
        best_per: which of the two.
        balance: attributes whose combinations are filled up; none where `counts` has them, or nothing is filled.
        balance_to: up to where, see `augmentor.balance.BalanceRequest.parse`.
        counts: a table of how many images are wanted; what is in it is part of the plan's fingerprint.
        max_per_source: translations of one row at most, where something is filled up.
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

    def __post_init__(self) -> None:
        """Refuse settings that cannot work together.

        Raises:
            AugmentorError: naming the flags.
        """
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
                "--encoded says what an HDF5 file holds; all others hold encoded images as it is. Leave it out"
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
            raise AugmentorError(f"{flag} says how to fill up combinations: name their attributes with --balance")
        if not self.domains:
            raise AugmentorError(
                "nothing is asked for: give --domains SPEC, for example --domains each, or --balance ATTR,ATTR to "
                "fill up rare combinations"
            )

    @classmethod
    def from_json(cls, state: Mapping[str, object]) -> Self:
        """Return the settings that an output says it was made with.

        Raises:
            TypeError: they are of another version of augmentor.
        """
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in state.items()}
        return cls(**plain)  # type: ignore[arg-type]

    @property
    def fills(self) -> bool:
        """Whether rare combinations are filled up."""
        return bool(self.balance) or self.counts is not None

    @property
    def encoding(self) -> ImageFormat | None:
        """The format of the images that are written; None where the output is pixels of one size."""
        return stored_encoding(
            self.output_format,
            image_format=self.image_format,
            encoded=self.encoded,
            same_size=self.size != "original",
        )

    @property
    def demands(self) -> Demands:
        """What is asked of every translation."""
        least = Thresholds(agreement=self.min_agreement, realism=self.min_realism, preserved=self.min_preserved)
        return Demands(gate=self.gate, thresholds=least, ranks=self.keep_best is not None)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Which of the translations that pass the gate are dropped in the end; none keep all."""
        return () if self.keep_best is None else (KeepBest(self.keep_best, self.best_per),)


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """One expansion, planned: a manifest, a model, settings, and what follows from them.

    Args:
        manifest: the user's table, in the model's label space.
        model: what translates.
        settings: what is asked for.
        out: the folder or file to write, or the URL of a folder.
        plan: the items.
        model_path: where the model was loaded from, as the user wrote it.
        judging: what judges translations; None keeps all.
        notes: what the user should know, in sentences.
        command: the command line that asked for it, for `dataset.json`; None if there was none.
    """

    manifest: Manifest
    model: Model
    settings: ExpandSettings
    out: Path
    plan: Plan
    model_path: Path
    judging: Judging | None = None
    notes: tuple[str, ...] = ()
    command: str | None = None

    @property
    def place(self) -> Place:
        """Where the output, and what belongs to it, will lie."""
        return planned_place(self.out, self.settings.output_format)

    @cached_property
    def sources(self) -> Sources:
        """The manifest as the pipeline needs it."""
        return Sources(
            manifest=self.manifest,
            stems=tuple(key_stems(self.manifest.rows).tolist()),
            crop=model_crop(self.model),
            real=self.settings.real,
            size=self.settings.size,
        )

    @cached_property
    def made_of(self) -> dict[str, Json]:
        """What tells this expansion from any other, in parts: manifest, model, judge, settings, plan."""
        rows = self.manifest.rows
        # As a list, because pandas takes seven times as long to hand out a column's texts one by one.
        columns = {
            name: hashlib.sha256("\0".join(rows[name].astype(str).tolist()).encode("utf-8", "surrogatepass"))
            for name in ("id", "path", "split", "group")
        }
        labels = hashlib.sha256(np.ascontiguousarray(self.manifest.codes, dtype="<i2").tobytes()).hexdigest()
        return {
            "manifest": {
                "rows": len(rows),
                **{name: digest.hexdigest() for name, digest in columns.items()},
                "labels": labels,
            },
            "model": {
                "sha256": self.model.sha256,
                "image_size": list(self.model.image_size),
                "crop": model_crop(self.model),
            },
            "judge": {"sha256": None if self.judging is None else self.judging.kept.sha256},
            "settings": self._settings_json,
            "plan": self.plan.fingerprint(),
        }

    @cached_property
    def fingerprint(self) -> str:
        """The parts of `made_of` as one sha256."""
        return hashlib.sha256(json.dumps(self.made_of, sort_keys=True).encode()).hexdigest()

    @property
    def disk(self) -> Path:
        """Where the output is made: `out`, or a folder of this machine from which it goes to its URL."""
        return on_disk(self.out, self.fingerprint)

    @property
    def _settings_json(self) -> dict[str, Json]:
        settings = {**asdict(self.settings), "counts": self._counts_json}
        return cast(dict[str, Json], json.loads(json.dumps(settings)))

    @property
    def _counts_json(self) -> list[str] | None:
        """What the table of counts says, in words: where it lies does not matter."""
        if self.settings.counts is None:
            return None
        return [
            f"{','.join(f'{name}={value}' for name, value in state.domain.items())}:{state.wanted}"
            for state in planned_states(self.plan)
            if state.wanted is not None
        ]

    @property
    def shown_request(self) -> DomainRequest:
        """What a preview shows: what is asked for, or else every value of the attributes that are filled up."""
        if self.plan.request.specs or self.plan.balance is None:
            return self.plan.request
        names = (self.manifest.space.names[position] for position in self.plan.balance.cells.attributes)
        return parse_domains([f"{name}=*" for name in names], self.manifest.space)

    def writer(self, balance: Sequence[CellState] = ()) -> Writer:
        """Return the writer of this expansion's output.

        Args:
            balance: how the combinations stand that were filled up, once that is known.
        """
        return make_writer(
            self.out, settings=self.settings, space=self.manifest.space, description=self.description(balance)
        )

    def description(self, balance: Sequence[CellState] = ()) -> dict[str, Json]:
        """Return what `dataset.json` says about where the output comes from.

        Args:
            balance: how the combinations stand that were filled up.
        """
        size = self.settings.size
        judged: dict[str, Json] = {"judge": None, "gate": None}
        return {
            **({"balance": [cast(dict[str, Json], state.to_json()) for state in balance]} if balance else {}),
            **(judged if self.judging is None else self.judging.to_json()),
            "command": self.command,
            "fingerprint": self.fingerprint,
            "made_of": self.made_of,
            "augmentor": __version__,
            "manifest": self.manifest.path.name,
            "model": {"sha256": self.model.sha256, "step": self.model.step, "path": str(self.model_path)},
            "image_size": None if size == "original" else list(self.model.image_size if size == "model" else size),
            "settings": self._settings_json,
        }


def make_writer(
    out: Path, *, settings: ExpandSettings, space: LabelSpace, description: Mapping[str, Json]
) -> Writer:
    """Return the writer of an output.

    Args:
        out: the folder or file to write, or the URL of a folder.
        settings: what was asked for.
        space: the attributes of the rows' codes.
        description: what `dataset.json` says of where the output comes from.

    Raises:
        AugmentorError: the form cannot be written to a URL.
    """
    if isinstance(out, RemotePath):
        refuse_remote_file(out, settings)
        disk = on_disk(out, str(description["fingerprint"]))
        here, there = (
            _files_writer(where, settings=settings, space=space, description=description) for where in (disk, out)
        )
        return RemoteWriter(out, here=here, there=there)
    if planned_place(out, settings.output_format).one_file:
        return HDF5Writer(out, space=space, description=description, encoding=settings.encoding)
    return _files_writer(out, settings=settings, space=space, description=description)


def _files_writer(
    out: Path, *, settings: ExpandSettings, space: LabelSpace, description: Mapping[str, Json]
) -> FolderWriter:
    """Return the writer of a folder, of images or of packs."""
    if settings.output_format != "folder":
        packing = packing_of(settings.output_format, space=space, encoding=settings.encoding)
        return PackWriter(out, space=space, description=description, packing=packing)
    return FolderWriter(
        out,
        space=space,
        description=description,
        image_format=settings.image_format,
        class_folders=settings.class_folders,
    )


def refuse_remote_file(out: Path, settings: ExpandSettings) -> None:
    """Refuse to write one HDF5 file to a URL: it would have to be there whole before any of it counted.

    Raises:
        AugmentorError: naming what can be written there.
    """
    if isinstance(out, RemotePath) and planned_place(out, settings.output_format).one_file:
        raise AugmentorError(
            f"{out}: one HDF5 file cannot be written to a URL shard by shard. Use a URL without .h5, for a folder "
            "of HDF5 files or another --format, or write it to a disk and copy it"
        )


def plan_expansion(
    manifest: Path,
    *,
    model: Path,
    settings: ExpandSettings,
    out: Path,
    image_column: str | None = None,
    description: Description = OWN,
    judge: Path | None = None,
    command: str | None = None,
) -> Expansion:
    """Read the manifest, the model and its judge, and plan the expansion; writes nothing.

    Args:
        manifest: the user's table.
        model: a run folder, a checkpoint, or a foreign file.
        settings: what is asked for.
        out: the folder or file to write.
        image_column: the column of the images' paths, if it has an unusual name.
        description: what a foreign file does not say of itself.
        judge: a folder that holds a judge which takes the place of the model's.
        command: the command line that asks for it.

    Raises:
        AugmentorError: the manifest, the model, the judge, the domains or the settings cannot be used.
    """
    refuse_remote_file(out, settings)
    loaded = open_model(model, description)
    refuse_painters(loaded, settings.size)
    table = read_model_manifest(manifest, loaded, image_column=image_column)
    table = table.allowing(outside=settings.allow_outside, max_pixels=settings.max_pixels)
    refuse_split_leaks(table)
    refuse_all_outside(table, settings.splits)
    table = replace(table, notes=(*table.notes, *frame_notes(table)))
    eligible = table.split_mask(settings.splits)
    if not eligible.any():
        raise ManifestError(
            f"{manifest}: no row has split {' or '.join(settings.splits)}, so there is nothing to translate. "
            "--splits says whose rows are translated"
        )
    plan = make_plan(
        table.codes,
        space=loaded.space,
        request=parse_domains(settings.domains, loaded.space) if settings.domains else DomainRequest(),
        eligible=eligible,
        with_real=settings.real != "none",
        include_identity=settings.include_identity,
    )
    refuse_other_direction(plan, loaded, settings.domains)
    if settings.fills:
        request = BalanceRequest.parse(
            attributes=settings.balance,
            to=settings.balance_to,
            counts=settings.counts,
            max_per_source=settings.max_per_source,
            space=loaded.space,
        )
        plan = balanced(plan, request, only=loaded.only_target)
    _refuse_too_many(plan, planned_place(out, settings.output_format))
    judging, notes = find_judging(
        loaded,
        model,
        demands=settings.demands,
        judge=judge,
        crop=model_crop(loaded),
        manifest=manifest,
        described=description.flags(),
    )
    return Expansion(
        manifest=table,
        model=loaded,
        settings=settings,
        out=out,
        plan=plan,
        model_path=model,
        judging=judging,
        notes=(*table.notes, *notes),
        command=command,
    )


def _refuse_too_many(plan: Plan, place: Place) -> None:
    if place.one_file and len(plan) > MOST_IN_ONE_FILE:
        raise AugmentorError(
            f"{len(plan):,} images are too many for one file, which one process writes from its first byte to its "
            f"last: {MOST_IN_ONE_FILE:,} is the limit. Write a folder of such files, with one that shows all of "
            f"them: --format hdf5 --out {place.out.with_suffix('')}"
        )


def open_model(path: Path, description: Description = OWN) -> Model:
    """Load what translates.

    Args:
        path: a run folder, a checkpoint, or a foreign file.
        description: what a foreign file does not say of itself.

    Raises:
        AugmentorError: nothing to load there, a file is damaged, or the description does not fit.
    """
    return open_described(path, description)


def read_model_manifest(manifest: Path, model: Model, *, image_column: str | None) -> Manifest:
    """Read a manifest in a model's label space, with the column names that the model was trained with."""
    recipe = model.settings.get("recipe")
    trained = recipe.get("manifest") if isinstance(recipe, dict) else None
    column = image_column or (trained.get("image_column") if isinstance(trained, dict) else None)
    return read_manifest(manifest, space=model.space, image_column=None if column is None else str(column))


def some_sources(manifest: Manifest, model: Model, *, splits: Sequence[str], most: int) -> Shown:
    """Read a few of a manifest's images as the model wants them; see `read_spread`."""
    return read_spread(
        manifest,
        splits=splits,
        size=model.image_size,
        channels=model.image_channels,
        crop=model_crop(model),
        most=most,
    )


def shown_originals(
    manifest: Manifest,
    model: Model,
    shown: Shown,
    *,
    size: OutputSize,
    uses: int,
    longest: int | None = None,
) -> list[Original] | None:
    """Return the originals of what `some_sources` read, at the size that is written; None for the model's.

    Args:
        manifest: the table that they were read from.
        model: what translates.
        shown: what was read.
        size: what is written.
        uses: how many times each will be used.
        longest: pixels of the longest side to which each is shrunk, or None.
    """
    if size == "model":
        return None
    return [
        Original(
            manifest.image_path(row),
            size=size,
            model=model,
            crop=model_crop(model),
            uses=uses,
            longest=longest,
            access=manifest.access,
        )
        for row in shown.rows
    ]


def model_crop(model: Model) -> int | None:
    """Return the centred square that the model's training images were cut to first, in pixels, or None."""
    images = model.settings.get("images")
    crop = images.get("crop") if isinstance(images, dict) else None
    return int(crop) if isinstance(crop, int) and crop > 0 else None
