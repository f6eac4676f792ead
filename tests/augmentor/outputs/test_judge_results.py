"""What the judge said, in both forms: scores and rejected rows, dropping after the commit, damage and repair."""

from __future__ import annotations

import base64
import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from augmentor import open_dataset
from augmentor.errors import OutputError
from augmentor.expansion.selection import BestPer, KeepBest, candidates_of, drop_unselected, select
from augmentor.images import Pixels
from augmentor.outputs.judge_results import (
    JudgeResults,
    Rejected,
    RowScores,
    pack_judged,
    rejected_columns,
    scores_columns,
    unpack_judged,
)
from augmentor.outputs.label_table import LabelRow, key, real_key
from augmentor.outputs.records import RecordFolder, ShardRecord
from augmentor.outputs.report_files import EVALUATION_RUNS
from augmentor.outputs.verify import repair_output, verify_output
from augmentor.outputs.writers import FolderWriter, HDF5Writer, Writer
from augmentor.storage.atomic import Json
from stargan.labels import LabelSpace
from tests.augmentor.outputs.finishing import finish as finish_output

SHARDS = 3
SOURCES = 2
HAIR = 3
DESCRIPTION: Mapping[str, Json] = {"fingerprint": "abc", "settings": {"splits": ["train"]}}
MakeWriter = Callable[[Path], Writer]

AGREEMENT: dict[tuple[int, int, int], float] = {
    (shard, source, hair): round(0.3 + 0.11 * ((5 * shard + 3 * source + 2 * hair) % 7), 4)
    for shard in range(SHARDS)
    for source in range(SOURCES)
    for hair in range(HAIR)
}
THRESHOLD = 0.4


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk takes most of the time; test_folder.py tests its order."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(params=["folder", "hdf5", "encoded"])
def make_writer(request: pytest.FixtureRequest, space: LabelSpace) -> MakeWriter:
    def make(folder: Path) -> Writer:
        if request.param == "folder":
            return FolderWriter(folder / "out", space=space, description=DESCRIPTION)
        encoding = "png" if request.param == "encoded" else None
        return HDF5Writer(
            folder / "out.h5",
            space=space,
            description=DESCRIPTION,
            encoding=encoding,  # type: ignore[arg-type]
        )

    return make


def out_of(writer: Writer) -> Path:
    assert isinstance(writer, FolderWriter | HDF5Writer)
    return writer.out


def records_of(writer: Writer) -> list[ShardRecord]:
    assert isinstance(writer, FolderWriter | HDF5Writer)
    records: RecordFolder = writer.records
    return list(records.read_all(SHARDS))


def rows_of(shard: int, space: LabelSpace) -> list[tuple[int, LabelRow, Pixels, RowScores | None]]:
    """Two sources, each real and with three translations, at every other position."""
    random = np.random.default_rng(shard)
    made: list[tuple[int, LabelRow, Pixels, RowScores | None]] = []
    for source in range(SOURCES):
        stem = f"face{shard}{source}"
        for hair in (None, *range(HAIR)):
            codes = (shard % HAIR if hair is None else hair, -1)
            real = hair is None
            agreement = None if hair is None else AGREEMENT[shard, source, hair]
            row = LabelRow(
                file_name="",
                key=real_key(stem) if real else key(stem, space.domain(codes)),
                split="train",
                group="",
                is_synthetic=not real,
                source_id=stem,
                source_path=f"{stem}.png",
                codes=codes,
                changed=() if real else ("hair",),
                agreement=agreement,
                realism=None if real else 0.5,
            )
            scores = None if agreement is None else RowScores(0.123456, (agreement, None))
            pixels = random.integers(256, size=(6, 5, 3), dtype=np.uint8)
            made.append((2 * len(made), row, pixels, scores))
    return made


def write_shard(writer: Writer, index: int, space: LabelSpace) -> None:
    """Write what agrees well enough, and reject the rest."""
    scores, rejected = dict[int, RowScores](), list[Rejected]()
    with writer.shard(index) as shard:
        for position, row, pixels, measured in rows_of(index, space):
            if row.agreement is not None and row.agreement < THRESHOLD:
                reason = f"agreement {row.agreement:.2f} < {THRESHOLD}"
                picture = base64.b64encode(b"JPEG").decode()
                rejected.append(
                    Rejected(position=position, row=row, scores=measured, reason=reason, thumbnail=picture)
                )
                continue
            shard.add_all([(position, row, pixels)])
            if measured is not None:
                scores[position] = measured
        shard.commit([], {}, JudgeResults(scores=scores, rejected=rejected))


def make(writer: Writer, space: LabelSpace, rules: Sequence[KeepBest] = (), *, finish: bool = True) -> None:
    """Do what the same expand does."""
    writer.open()
    if writer.complete():
        return
    for index in range(SHARDS):
        if writer.record(index) is None:
            write_shard(writer, index, space)
    drop_unselected(writer, shards=SHARDS, rules=rules)
    if finish:
        finish_output(writer, SHARDS)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def table(folder: Path, name: str) -> list[dict[str, str]]:
    path = next(path for path in (folder / "out" / name, folder / f"out.{name}") if path.exists())
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def described(folder: Path) -> dict[str, dict[str, int]]:
    path = next(p for p in (folder / "out/dataset.json", folder / "out.dataset.json") if p.exists())
    state: dict[str, dict[str, int]] = json.loads(path.read_bytes())
    return state


KEPT = sum(agreement >= THRESHOLD for agreement in AGREEMENT.values())


# ---- tables ----


def test_tables_tell_of_kept_and_rejected_ones(make_writer: MakeWriter, space: LabelSpace, tmp_path: Path) -> None:
    make(make_writer(tmp_path), space)
    scores, rejected = table(tmp_path, "scores.csv"), table(tmp_path, "rejected.csv")
    assert (len(scores), len(rejected)) == (KEPT, len(AGREEMENT) - KEPT)
    assert 0 < KEPT < len(AGREEMENT)
    assert list(scores[0]) == scores_columns(space)
    assert list(rejected[0]) == rejected_columns(space)
    assert "agreement:hair" in scores[0]
    for row in scores:
        assert float(row["agreement"]) >= THRESHOLD
        assert row["agreement"] == row["agreement:hair"]
        assert (row["realism"], row["preserved"], row["agreement:glasses"]) == ("0.5000", "0.1235", "")
    for row in rejected:
        assert row["reason"] == f"agreement {float(row['agreement']):.2f} < {THRESHOLD}"
        assert (row["split"], row["changed"], row["glasses"]) == ("train", "hair", "")
        assert row["key"].startswith(row["source_id"])
        assert row["hair"] in row["key"]
    assert described(tmp_path)["counts"]["rejected"] == len(rejected)
    assert described(tmp_path)["counts"]["synthetic"] == KEPT


def test_without_a_judge_the_tables_have_headers_alone(
    make_writer: MakeWriter, space: LabelSpace, tmp_path: Path
) -> None:
    writer = make_writer(tmp_path)
    writer.open()
    with writer.shard(0) as shard:
        for position, row, pixels, _ in rows_of(0, space):
            shard.add_all([(position, row, pixels)])
        shard.commit([])
    counts = finish_output(writer, 1)
    assert (table(tmp_path, "scores.csv"), table(tmp_path, "rejected.csv"), counts.rejected) == ([], [], 0)
    assert verify_output(out_of(writer)).ok


def test_a_folder_without_its_rejected_is_not_complete(space: LabelSpace, tmp_path: Path) -> None:
    writer = FolderWriter(tmp_path / "out", space=space, description=DESCRIPTION)
    make(writer, space)
    before = content(tmp_path)
    for name in ("rejected.csv", "scores.csv"):
        (tmp_path / "out" / name).unlink()
        assert not writer.complete()
        make(writer, space)
        assert content(tmp_path) == before


def test_an_overwritten_output_leaves_nothing_behind(
    make_writer: MakeWriter, space: LabelSpace, tmp_path: Path
) -> None:
    writer = make_writer(tmp_path)
    make(writer, space, [KeepBest(1, "source")])
    out = out_of(writer)
    answers = out / ".augmentor" / EVALUATION_RUNS if out.is_dir() else out.with_suffix(f".{EVALUATION_RUNS}")
    answers.mkdir()
    (answers / "real-0.npz").write_bytes(b"what a classifier said")
    writer.clear()
    assert not answers.exists()
    left = [name for name in content(tmp_path) if not name.startswith("out/.augmentor")]
    assert left == []


def test_packed_scores_come_back() -> None:
    scores = [None, RowScores(0.5, (0.25, None))]
    row = LabelRow("", "k", "train", "", True, "é", "p", (1, -1), ("hair",), 0.25, None)
    rejected = [Rejected(position=3, row=row, scores=scores[1], reason="agreement 0.25 < 0.4", thumbnail="QUJD")]
    assert unpack_judged(pack_judged([0, 2], scores, rejected)) == ([0, 2], scores, rejected)
    assert pack_judged([0, 1], [], []) == ""
    assert unpack_judged("") == ([], [], [])
    with pytest.raises(ValueError, match="damaged"):
        unpack_judged(pack_judged([0], [None], [])[:-3])


# ---- dropping ----


def best(per: BestPer, most: int) -> set[tuple[int, int, int]]:
    """Work out by hand which translations are kept."""
    groups: dict[tuple[int, ...], list[tuple[float, int, int, int]]] = {}
    for (shard, source, hair), agreement in AGREEMENT.items():
        if agreement >= THRESHOLD:
            group = (shard, source) if per == "source" else (hair,)
            groups.setdefault(group, []).append((-agreement, shard, source, hair))
    return {place[1:] for members in groups.values() for place in sorted(members)[:most]}


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("per", ["source", "domain"])
def test_the_best_are_kept(
    per: BestPer, most: int, make_writer: MakeWriter, space: LabelSpace, tmp_path: Path
) -> None:
    writer = make_writer(tmp_path)
    make(writer, space, [KeepBest(most, per)])
    labels = open_dataset(out_of(writer), synthetic=True).labels
    hair = [space["hair"].code(value) for value in labels["hair"]]
    kept = {(int(name[4]), int(name[5]), code) for name, code in zip(labels["source_id"], hair, strict=True)}
    assert kept == best(per, most)
    if out_of(writer).is_dir():
        files = {path.name for path in out_of(writer).rglob("*.png")}
        assert files == {row["key"] + ".png" for row in table(tmp_path, "labels.csv")}
    assert described(tmp_path)["counts"]["synthetic"] == len(best(per, most))
    reasons = [row["reason"] for row in table(tmp_path, "rejected.csv")]
    assert reasons.count(f"not among the best {most} of its {per}") == KEPT - len(best(per, most))
    assert len(reasons) == len(AGREEMENT) - len(best(per, most))
    assert verify_output(out_of(writer)).ok


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


def test_killed_while_dropping(
    make_writer: MakeWriter, space: LabelSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [KeepBest(1, "source")]
    make(make_writer(tmp_path / "whole"), space, rules)
    whole = content(tmp_path / "whole")
    rename, unlink = os.replace, Path.unlink
    for call in range(1, 9):
        folder = tmp_path / f"killed{call}"
        writer = make_writer(folder)
        writer.open()
        for index in range(SHARDS):
            write_shard(writer, index, space)
        done = 0

        def dying(do: Callable[..., object], at: int = call) -> Callable[..., object]:
            def act(*args: object, **kwargs: object) -> object:
                nonlocal done
                done += 1
                if done >= at:
                    raise Killed
                return do(*args, **kwargs)

            return act

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", dying(Path.replace))
            patch.setattr(Path, "unlink", dying(unlink))
            patch.setattr(os, "replace", dying(rename))
            with pytest.raises(Killed):
                make(writer, space, rules)
        make(make_writer(folder), space, rules)
        assert content(folder) == whole, f"killed at call {call}"


def test_dropping_again_changes_nothing(make_writer: MakeWriter, space: LabelSpace, tmp_path: Path) -> None:
    writer, rules = make_writer(tmp_path), [KeepBest(1, "domain")]
    make(writer, space, rules, finish=False)
    before = content(tmp_path)
    assert drop_unselected(writer, shards=SHARDS, rules=rules) == KEPT - len(best("domain", 1))
    assert content(tmp_path) == before
    with pytest.raises(OutputError, match="shard 3 of 4 is missing"):
        drop_unselected(writer, shards=4, rules=rules)


def test_dropped_ones_stay_candidates(space: LabelSpace, tmp_path: Path) -> None:
    writer = FolderWriter(tmp_path / "out", space=space, description=DESCRIPTION)
    make(writer, space, finish=False)
    before = records_of(writer)
    rules = [KeepBest(2, "source"), KeepBest(1, "domain")]
    dropped = select(before, rules)
    after = [record.without(dropped.get(record.index, {})) for record in before]
    assert select(after, rules) == dropped
    assert sum(len(record.rejected) for record in after) > sum(len(record.rejected) for record in before)
    assert len(candidates_of(after)) == len(candidates_of(before)) == KEPT
    reasons = {reason for shard in dropped.values() for reason in shard.values()}
    assert reasons == {"not among the best 2 of its source", "not among the best 1 of its domain"}


def test_ties_are_broken_by_the_other_scores_then_by_place(space: LabelSpace) -> None:
    def row(name: str, agreement: float | None, realism: float | None) -> LabelRow:
        return LabelRow(
            "a/b/" + name, name, "train", "", True, "s", "s.png", (1, 0), ("hair",), agreement, realism
        )

    rows = [row("a", None, 0.9), row("b", 0.9, None), row("c", 0.9, 0.1), row("d", 0.9, 0.1), row("e", 0.9, 0.1)]
    scores = [RowScores(preserved, (None, None)) for preserved in (1.0, 1.0, 0.2, 0.3, 0.3)]
    record = ShardRecord(
        index=0,
        shape=None,
        rows=rows,
        positions=[4, 3, 2, 1, 0],
        failures=[],
        files={each.file_name: "" for each in rows},
        scores=scores,
    )
    order = []
    for most in range(5):
        dropped = select([record], [KeepBest(most, "source")])[0]
        order.append(len(dropped))
        kept = {each.key for each, position in zip(rows, record.positions, strict=True) if position not in dropped}
        assert kept == set("edcba"[:most])
    assert order == [5, 4, 3, 2, 1]


# ---- damage ----


def test_damaged_shards_are_made_again(make_writer: MakeWriter, space: LabelSpace, tmp_path: Path) -> None:
    """As the same expand would: what it makes again is judged, and chosen among, as before."""
    rules = [KeepBest(1, "domain")]
    make(make_writer(tmp_path / "whole"), space, rules)
    whole = content(tmp_path / "whole")
    writer = make_writer(tmp_path / "mine")
    make(writer, space, rules)
    out = out_of(writer)
    if out.is_dir():
        record = out / ".augmentor/shards/00001.json"
        record.write_bytes(record.read_bytes().replace(b"agreement 0.", b"agreement 1."))
    else:
        with h5py.File(out, "r+") as file:
            file["labels"][len(file["labels"]) // 2] = [2, 1]
    found = verify_output(out)
    assert found.damaged_shards == [1]
    assert repair_output(found).dropped == [1]
    make(make_writer(tmp_path / "mine"), space, rules)
    assert content(tmp_path / "mine") == whole


@pytest.mark.parametrize("name", ["rejected.csv", "scores.csv"])
def test_a_changed_table_is_named_and_written_again(
    name: str, make_writer: MakeWriter, space: LabelSpace, tmp_path: Path
) -> None:
    writer = make_writer(tmp_path)
    make(writer, space)
    whole = content(tmp_path)
    path = next(p for p in (tmp_path / "out" / name, tmp_path / f"out.{name}") if p.exists())
    path.write_text(path.read_text().replace(",0.5000,", ",0.7000,", 1))
    found = verify_output(out_of(writer))
    assert [(problem.file, problem.mend) for problem in found.problems] == [(path.name, "tables")]
    assert "column realism: it is '0.7000', and was written as '0.5000'" in str(found.problems[0])
    repair_output(found)
    make(make_writer(tmp_path), space)
    assert content(tmp_path) == whole


def test_rejected_rows_obey_the_rules_of_rows(space: LabelSpace, tmp_path: Path) -> None:
    writer = FolderWriter(tmp_path / "out", space=space, description=DESCRIPTION)
    make(writer, space)
    path = writer.records.path(0)
    record = ShardRecord.read(path)
    first = record.rejected[0]
    for changed, message in (
        (replace(first, reason=""), "it was rejected without a reason"),
        (replace(first, row=first.row._replace(split="val")), "it descends from a val row, and only train"),
        (replace(first, row=first.row._replace(key=record.rows[1].key)), "is there twice"),
        (replace(first, position=record.positions[0]), "both as an image and as rejected"),
    ):
        replace(record, rejected=[changed, *record.rejected[1:]]).write(path)
        found = verify_output(writer.out)
        assert any(message in str(problem) for problem in found.problems), message
        assert found.damaged_shards == [0]
    replace(record, scores=record.scores[1:]).write(path)
    assert "rows and scores differ" in str(verify_output(writer.out).problems[0])
