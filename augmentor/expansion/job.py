"""Planned expansion: manifest, model, judge, settings, plan and fingerprint. Nothing is written here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch

from augmentor import __version__
from augmentor.data import (
    NO_DESCRIPTION,
    ForeignDescription,
    describe_choice,
    frame_notes,
    grey_range_notes,
    model_crop,
    open_model,
    read_model_manifest,
)
from augmentor.data.manifest import (
    AS_WRITTEN,
    Manifest,
    TableReading,
    key_stems,
    missing_notes,
    refuse_split_leaks,
    refuse_unreachable,
)
from augmentor.errors import AugmentorError, ManifestError
from augmentor.expansion.pipeline import Sources
from augmentor.expansion.settings import ExpandSettings, check_looks
from augmentor.expansion.writer import make_writer, refuse_remote_file, refuse_too_many
from augmentor.images import check_output_size
from augmentor.judge import TranslationJudge, Unchecked, find_translation_judge
from augmentor.outputs import OutputPaths, planned_paths
from augmentor.outputs.writers import Writer, on_disk, split_table
from augmentor.planning import (
    BalanceRequest,
    CellState,
    DomainRequest,
    Plan,
    make_plan,
    parse_domains,
    planned_states,
    refuse_other_direction,
    refuse_unlabelled,
    with_balance,
)
from augmentor.storage import Json, refuse_unusable
from stargan.checkpoints import Model
from stargan.inference import Translator


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """A planned expansion.

    Args:
        manifest: the user's table, in the model's label space.
        out: the folder or file to write, or the URL of a folder.
        model_path: where the model was loaded from, as the user wrote it.
        judging: the judge and its thresholds; None accepts all translations.
        unchecked: the changes that nothing checks.
        notes: remarks for the user, in sentences.
        command: the command line, for `dataset.json`; None if there was none.
    """

    manifest: Manifest
    model: Model
    settings: ExpandSettings
    out: Path
    plan: Plan
    model_path: Path
    judging: TranslationJudge | None = None
    unchecked: tuple[Unchecked, ...] = ()
    notes: tuple[str, ...] = ()
    command: str | None = None

    @property
    def paths(self) -> OutputPaths:
        """Paths of the output and of the files beside it."""
        return planned_paths(self.out, self.settings.output_format)

    @cached_property
    def sources(self) -> Sources:
        """The manifest's rows, for the pipeline."""
        return Sources(
            manifest=self.manifest,
            stems=tuple(key_stems(self.manifest.rows).tolist()),
            crop=model_crop(self.model),
            real=self.settings.real,
            size=self.settings.size,
        )

    @cached_property
    def made_of(self) -> dict[str, Json]:
        """Parts of the fingerprint: manifest, model, judge, settings, plan."""
        rows = self.manifest.rows
        # As a list: iterating over a pandas column takes seven times as long.
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
                **({"unlabelled": dict(self.model.unlabelled)} if self.model.unlabelled else {}),
                **({} if self.manifest.grey_range is None else {"grey_range": list(self.manifest.grey_range)}),
            },
            "judge": {"sha256": None if self.judging is None else self.judging.kept.sha256},
            "settings": self._settings_json,
            "plan": self.plan.fingerprint(),
        }

    @cached_property
    def fingerprint(self) -> str:
        """The parts of `made_of` as one sha256."""
        return hashlib.sha256(json.dumps(self.made_of, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _split_table(self) -> str:
        """The name of the tables of a folder's splits."""
        texts = (self.manifest.rows[name].astype(str).tolist() for name in ("id", "path", "group"))
        return split_table(self.manifest.space, self.manifest.codes, texts)

    @property
    def disk(self) -> Path:
        """Where the output is made: `out`, or a local folder from which it is uploaded."""
        return on_disk(self.out, self.fingerprint)

    @property
    def _settings_json(self) -> dict[str, Json]:
        """The settings, with the contents of the table of counts in place of its path."""
        counts = None
        if self.settings.counts is not None:
            counts = [
                f"{','.join(f'{name}={value}' for name, value in state.domain.items())}:{state.wanted}"
                for state in planned_states(self.plan)
                if state.wanted is not None
            ]
        settings = {**asdict(self.settings), "counts": counts}
        if self.settings.looks == 1:
            del settings["looks"]  # as in outputs of versions without it, whose fingerprint this is
        return cast(dict[str, Json], json.loads(json.dumps(settings)))

    @property
    def preview_request(self) -> DomainRequest:
        """The preview's columns: the requested domains, or else every value of the attributes filled up."""
        if self.plan.request.specs or self.plan.balance is None:
            return self.plan.request
        names = (self.manifest.space.names[position] for position in self.plan.balance.cells.attributes)
        return parse_domains([f"{name}=*" for name in names], self.manifest.space)

    @property
    def shards(self) -> int:
        """Number of shards in the plan."""
        return self.plan.shards(self.settings.shard_size)

    def translator(self, device: torch.device, batch_size: int | None) -> Translator:
        """Return a translator for a few images, not compiled: compiling would take longer than they do."""
        precision = self.settings.precision
        return Translator(self.model, device=device, batch_size=batch_size, precision=precision)

    def writer(self, balance: Sequence[CellState] = ()) -> Writer:
        """Return the output's writer; `balance`, once known, counts the combinations filled up."""
        return make_writer(
            self.out, settings=self.settings, space=self.manifest.space, description=self.description(balance)
        )

    def description(self, balance: Sequence[CellState] = ()) -> dict[str, Json]:
        """Return what `dataset.json` says about the output's origin; `balance` counts the filled combinations."""
        size = self.settings.size
        judged: dict[str, Json] = {"judge": None, "gate": None}
        choice = describe_choice(self.model_path, self.model.step)
        return {
            **({"balance": [cast(dict[str, Json], state.to_json()) for state in balance]} if balance else {}),
            **(judged if self.judging is None else self.judging.to_json()),
            "unchecked": [cast(dict[str, Json], json.loads(json.dumps(asdict(each)))) for each in self.unchecked],
            "command": self.command,
            "fingerprint": self.fingerprint,
            "made_of": self.made_of,
            "augmentor": __version__,
            "manifest": self.manifest.path.name,
            "model": {
                "sha256": self.model.sha256,
                "step": self.model.step,
                "path": str(self.model_path),
                **({} if choice is None else {"choice": choice}),
            },
            **({"split_table": self._split_table} if self.settings.output_format == "folder" else {}),
            "image_size": None if size == "original" else list(self.model.image_size if size == "model" else size),
            "settings": self._settings_json,
        }


def plan_expansion(
    manifest: Path,
    *,
    model: Path,
    settings: ExpandSettings,
    out: Path,
    reading: TableReading = AS_WRITTEN,
    description: ForeignDescription = NO_DESCRIPTION,
    judge: Path | None = None,
    command: str | None = None,
) -> Expansion:
    """Read the manifest, the model and its judge, and plan the expansion; writes nothing.

    Args:
        manifest: the user's table.
        model: a run folder, a checkpoint, or a foreign file.
        settings: what is made.
        out: the folder or file to write.
        reading: how the manifest's cells are read.
        description: what a foreign file does not say of itself.
        judge: a folder with a judge to be used instead of the model's.
        command: the command line, for `dataset.json`.

    Raises:
        AugmentorError: the manifest, the model, the judge, the domains or the settings cannot be used.
    """
    refuse_unusable(out)
    refuse_remote_file(out, settings)
    loaded = open_model(model, description)
    check_output_size(loaded, settings.size)
    check_looks(settings.looks, loaded)
    table = read_model_manifest(manifest, loaded, reading=reading)
    table = table.allowing(outside=settings.allow_outside, max_pixels=settings.max_pixels)
    refuse_split_leaks(table)
    refuse_unreachable(table, settings.splits)
    table = replace(
        table,
        notes=(*table.notes, *frame_notes(table), *missing_notes(table), *grey_range_notes(table, usual=False)),
    )
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
        looks=settings.looks,
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
        plan = with_balance(plan, request, only=loaded.only_target)
    refuse_unlabelled(plan, loaded)
    refuse_too_many(plan, planned_paths(out, settings.output_format))
    judging, notes = find_translation_judge(
        loaded,
        model,
        demands=settings.demands,
        judge=judge,
        crop=model_crop(loaded),
        manifest=manifest,
        described=description.flags(),
    )
    unchecked = Unchecked.of(judging, plan.changed_values(), loaded.space, gate=settings.gate)
    if unchecked and settings.gate == "on":
        reasons = "; ".join(f"{each.attribute}={'|'.join(each.values)}: {each.reason}" for each in unchecked)
        raise AugmentorError(
            f"--gate on: translations are requested that cannot be checked ({reasons}). Make a better judge "
            f"(augmentor judge {manifest} --model {model} --minutes 10), leave these changes out, or use --gate "
            "auto"
        )
    return Expansion(
        manifest=table,
        model=loaded,
        settings=settings,
        out=out,
        plan=plan,
        model_path=model,
        judging=judging,
        unchecked=unchecked,
        notes=(*table.notes, *notes),
        command=command,
    )
