"""A small output as expand writes it, with or without a judge's scores beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from augmentor.images import encode
from augmentor.outputs.judge_results import NO_JUDGE_RESULTS, JudgeResults, Rejected, RowScores
from augmentor.outputs.label_table import LabelRow, key, real_key
from augmentor.outputs.writers import FolderWriter, HDF5Writer
from augmentor.report import write_report
from augmentor.storage.atomic import Json
from stargan.labels import Attribute, LabelSpace

SIDE = 8
HAIR = ("black", "blond", "brown")


@dataclass(kw_only=True)
class Made:
    """An output and what was put into it.

    Args:
        out: the folder, or FILE.h5.
        kept: agreement of every kept translation, by key.
        rejected: keys of the rejected ones.
    """

    out: Path
    kept: dict[str, float] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)

    def beside(self, name: str) -> Path:
        return self.out / name if self.out.is_dir() else self.out.with_suffix(f".{name}")

    @property
    def page(self) -> str:
        return self.beside("report.html").read_text(encoding="utf-8")

    def describe(self, **changes: Json) -> None:
        """Change what dataset.json says."""
        path = self.out / "dataset.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


MakeOutput = Callable[..., Made]


def picture(seed: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(side, side, 3), dtype=np.uint8)


def rows_of(space: LabelSpace, sources: int, *, scored: bool) -> list[LabelRow]:
    """Return a real row of each source, and its translations into every other hair and the other glasses."""
    rows, names = [], space.names
    for number in range(sources):
        own = (number % 3, number % 2)
        split = ("train", "train", "train", "val", "test")[number % 5]
        real = LabelRow(
            file_name="",
            key=real_key(f"s{number}"),
            split=split,
            group=f"g{number}",
            is_synthetic=False,
            source_id=f"s{number}",
            source_path=f"{number}.png",
            codes=own,
        )
        rows.append(real)
        if split != "train":
            continue
        for column, values in enumerate(len(each.values) for each in space.attributes):
            for code in range(values):
                if code == own[column]:
                    continue
                target = tuple(code if place == column else mine for place, mine in enumerate(own))
                agreement = round((37 * len(rows) % 100) / 100, 4)
                rows.append(
                    real._replace(
                        key=key(f"s{number}", space.domain(target)),
                        is_synthetic=True,
                        codes=target,
                        changed=(names[column],),
                        agreement=agreement if scored else None,
                        realism=0.5 if scored else None,
                    )
                )
    return rows


@pytest.fixture
def make_output(tmp_path: Path) -> MakeOutput:
    """Make an output of some sources, with its page; `scored` rejects translations below an agreement of 0.3."""

    def make(
        *,
        scored: bool = False,
        sources: int = 10,
        hdf5: bool = False,
        name: str = "out",
        hair: Sequence[str] = HAIR,
        side: int = SIDE,
        description: dict[str, Json] | None = None,
        lowered: Sequence[Json] = (),
    ) -> Made:
        space = LabelSpace(
            attributes=(Attribute(name="hair", kind="categorical", values=tuple(hair)), Attribute(name="glasses"))
        )
        made = Made(out=tmp_path / (f"{name}.h5" if hdf5 else name))
        rows = rows_of(space, sources, scored=scored)
        thrown = {row.key for row in rows if scored and row.agreement is not None and row.agreement < 0.3}
        said: dict[str, Json] = {
            "fingerprint": "f" * 64,
            "made_of": {},
            "augmentor": "0.1.0",
            "manifest": "people.csv",
            "model": {"sha256": "a" * 64, "step": 1200},
            "settings": {"domains": ["each"], "splits": ["train"], "image_format": "png"},
            **(description or {}),
        }
        if scored:
            thresholds: dict[str, Json] = {"agreement": 0.3, "realism": None, "preserved": None}
            said |= {"gate": {"thresholds": thresholds, "lowered": list(lowered)}}
        writer: FolderWriter | HDF5Writer
        writer = (HDF5Writer if hdf5 else FolderWriter)(made.out, space=space, description=said)
        writer.open()
        with writer.shard(0) as shard:
            for position, row in enumerate(rows):
                if row.key not in thrown:
                    shard.add_all([(position, row, picture(position, side))])
            shard.commit([], None, judged(rows, thrown, space) if scored else NO_JUDGE_RESULTS)
        made.kept = {row.key: row.agreement or 0.0 for row in rows if row.is_synthetic and row.key not in thrown}
        made.rejected = [row.key for row in rows if row.key in thrown]
        with writer.assembly(1) as assembly:
            assembly.finish(lambda described, images: _page(made.out, described, images))
        return made

    return make


def _page(out: Path, described: object, images: Path) -> None:
    assert isinstance(described, dict)
    write_report(out, description=described, images=images)


def judged(rows: Sequence[LabelRow], thrown: Container[str], space: LabelSpace) -> JudgeResults:
    """Return what a judge found: all of an attribute as probable as the whole, most of the source preserved."""
    scores = {
        position: RowScores(0.8, (row.agreement,) * len(space))
        for position, row in enumerate(rows)
        if row.is_synthetic
    }
    rejected = [
        Rejected(
            position=position,
            row=row,
            scores=scores[position],
            reason=f"agreement {row.agreement:.2f} < 0.30",
            thumbnail=base64.b64encode(encode(picture(position), "jpg")).decode(),
        )
        for position, row in enumerate(rows)
        if row.key in thrown
    ]
    return JudgeResults(scores=scores, rejected=rejected)
