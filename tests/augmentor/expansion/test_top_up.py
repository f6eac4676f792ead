"""Top-up rounds from end to end: counts, the surplus, interruptions, the balance in the output."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from augmentor import open_dataset
from augmentor.errors import AugmentorError, DomainError, OutputError
from augmentor.expansion.job import Expansion, plan_expansion
from augmentor.expansion.progress import Progress
from augmentor.expansion.run import ExpandResult, run_expansion
from augmentor.expansion.settings import ExpandSettings, RunSettings
from augmentor.judge.stored import save_judge
from augmentor.outputs.verify import repair_output, verify_output
from augmentor.planning.combinations import CellState
from augmentor.report import write_report
from stargan.checkpoints import Model, save_model
from stargan.labels import LabelSpace
from stargan.networks import Generator
from tests.conftest import MakeJudge, MakeManifest

RUN = RunSettings(devices=(torch.device("cpu"),), batch_size=4, workers=2)
SETTINGS = ExpandSettings(balance=("hair",), balance_to="13", shard_size=4, real="processed")
"""The 22 training rows have black hair 8 times, blond 7 and brown 7 times: 17 are missing."""

Row = dict[str, str]


@pytest.fixture
def model(tmp_path: Path, space: LabelSpace, untrained_judge: MakeJudge) -> Path:
    """An untrained model and an untrained judge."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(vector_size=space.vector_size, width=4, downsamplings=1, blocks=1)
    folder = tmp_path / "model"
    save_model(
        folder,
        model=Model(generator=generator, space=space, image_size=(16, 16), step=0, settings={}, sha256=""),
    )
    save_judge(folder, untrained_judge(space))
    return folder


@pytest.fixture
def manifest(small_manifest: MakeManifest) -> Path:
    return small_manifest(count=24, broken=(3,))


@pytest.fixture
def planned(manifest: Path, model: Path, tmp_path: Path) -> Callable[..., Expansion]:
    def plan(name: str, **changes: object) -> Expansion:
        return plan_expansion(
            manifest,
            model=model,
            settings=dataclasses.replace(SETTINGS, **changes),  # type: ignore[arg-type]
            out=tmp_path / name,
        )

    return plan


@pytest.fixture
def half(planned: Callable[..., Expansion], tmp_path: Path) -> float:
    """The agreement that half of all translations reach."""
    run(planned("all", balance=(), balance_to="auto", domains=("hair=~",), gate="off", min_agreement=0.0))
    return float(np.median([float(row["agreement"]) for row in table(tmp_path / "all") if row["agreement"]]))


def run(expansion: Expansion, on_progress: Callable[[Progress], None] = lambda _progress: None) -> ExpandResult:
    return run_expansion(expansion, RUN, write_pages=write_report, on_progress=on_progress)


def table(out: Path, name: str = "labels.csv") -> list[Row]:
    with (out / name).open(newline="") as file:
        return list(csv.DictReader(file))


def content(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and path.name != "preview.png"
    }


def hair(rows: list[Row]) -> Counter[str]:
    return Counter(row["hair"] for row in rows if row["split"] == "train")


# ---- without a gate ----


def test_every_combination_reaches_its_count(planned: Callable[..., Expansion], tmp_path: Path) -> None:
    """One row is broken: that its image, and its translations, are missing is made up for."""
    expansion = planned("out", gate="off")
    assert expansion.plan.starts == (0, 24, 24 + 17)
    news: list[Progress] = []
    result = run(expansion, news.append)
    rows = table(tmp_path / "out")
    assert hair(rows) == {"black": 13, "blond": 13, "brown": 13}
    assert [row for row in rows if row["is_synthetic"] == "1" and row["changed"] != "hair"] == []
    assert len({row["key"] for row in rows}) == len(rows)
    assert [(state.before, state.after, state.sources_used_up) for state in result.balance] == [
        (7, 13, False),
        (7, 13, False),
        (7, 13, False),
    ]
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described["balance"] == [state.to_json() for state in result.balance]
    assert described["balance"][1]["domain"] == {"hair": "blond"}
    assert described["settings"]["balance"] == ["hair"]
    assert [p.done for p in news] == sorted(p.done for p in news)
    assert news[-1].done == news[-1].total >= 24 + 18
    again = run(planned("out", gate="off"))
    assert again.was_complete
    assert again.balance == result.balance
    assert verify_output(tmp_path / "out", on_progress=lambda _done, _total: None).ok


def test_domains_count_too(planned: Callable[..., Expansion], tmp_path: Path) -> None:
    run(planned("out", gate="off", domains=("hair=brown",), balance_to="auto"))
    rows = table(tmp_path / "out")
    # All that can be read have brown hair, or get it; of the 22 that are then wanted of each, more cannot be made.
    assert hair(rows) == {"black": 21, "blond": 21, "brown": 21}


def test_a_table_of_counts_is_part_of_the_fingerprint(planned: Callable[..., Expansion], tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.csv"
    wanted.write_text("hair,glasses,count\nblond,1,9\n")
    expansion = planned("out", gate="off", balance=(), balance_to="auto", counts=wanted)
    run(expansion)
    rows = [row for row in table(tmp_path / "out") if row["split"] == "train"]
    assert sum(row["hair"] == "blond" and row["glasses"] == "1" for row in rows) == 9
    settings = json.loads((tmp_path / "out" / "dataset.json").read_text())["settings"]
    assert settings["counts"] == ["hair=blond,glasses=1:9"]
    wanted.write_text("hair,glasses,count\nblond,1,8\n")
    with pytest.raises(OutputError, match=r"counts was hair=blond,glasses=1:9, now hair=blond,glasses=1:8"):
        run(planned("out", gate="off", balance=(), balance_to="auto", counts=wanted))


def test_the_fingerprint_knows_what_is_filled_up(planned: Callable[..., Expansion]) -> None:
    changes: list[dict[str, object]] = [
        {},
        {"balance": ("glasses",)},
        {"balance_to": "12"},
        {"max_per_source": 2},
        {"domains": ("hair=~",)},
        {"balance": (), "balance_to": "auto", "domains": ("hair=~",)},
    ]
    assert len({planned("out", **change).fingerprint for change in changes}) == len(changes)


# ---- with a gate ----


@pytest.mark.parametrize("output_format", ["folder", "hdf5"])
def test_what_is_thrown_out_is_made_up_for(
    output_format: str, half: float, planned: Callable[..., Expansion], tmp_path: Path
) -> None:
    name = "out" if output_format == "folder" else "out.h5"
    result = run(planned(name, gate="off", min_agreement=half, output_format=output_format))
    data = open_dataset(tmp_path / name)
    labels = data.labels[data.labels["split"] == "train"]
    synthetic = labels[labels["is_synthetic"]]
    assert (synthetic["agreement"] >= half - 1e-4).all()
    assert result.counts.rejected > 0
    there = labels["hair"].value_counts().to_dict()
    for state in result.balance:
        assert there[state.domain["hair"]] == state.after
        assert state.wanted == 13
        # Each of the 14 or so rows with other hair was asked, or the count is reached.
        assert state.after == 13 or state.sources_used_up
    assert any(state.after > state.before for state in result.balance)


def test_the_surplus_is_dropped_worst_first(
    half: float, planned: Callable[..., Expansion], tmp_path: Path
) -> None:
    run(planned("out", gate="off", min_agreement=half, balance_to="10"))
    rows, rejected = table(tmp_path / "out"), table(tmp_path / "out", "rejected.csv")
    surplus = [row for row in rejected if row["reason"].startswith("surplus: more than 10")]
    for row in surplus:
        kept = [r for r in rows if r["hair"] == row["hair"] and r["is_synthetic"] == "1"]
        assert min(float(r["agreement"]) for r in kept) >= float(row["agreement"])
        assert hair(rows)[row["hair"]] == 10
        assert not list((tmp_path / "out").rglob(f"{row['key']}.png"))
    assert max(hair(rows).values()) <= 10


def test_no_source_is_used_more_often_than_allowed(
    half: float, planned: Callable[..., Expansion], tmp_path: Path
) -> None:
    result = run(planned("out", gate="off", min_agreement=half, balance_to="40", max_per_source=1))
    used = Counter(row["source_id"] for row in table(tmp_path / "out") if row["is_synthetic"] == "1")
    assert set(used.values()) == {1}
    assert all(state.sources_used_up for state in result.balance)


def test_what_is_rejected_altogether_is_given_up(
    planned: Callable[..., Expansion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augmentor.planning.rounds.TRIAL", 3)
    result = run(planned("out", gate="off", min_agreement=1.0))
    # Three of the fourteen or so sources of each are tried, and no more.
    assert result.counts.rejected == 9
    rejected = table(tmp_path / "out", "rejected.csv")
    for state in result.balance:
        tried = [float(row["agreement"]) for row in rejected if row["hair"] == state.domain["hair"]]
        assert len(tried) == 3
        assert state.given_up
        assert state.why == f"all 3 rejected: agreement {min(tried):.2f} to {max(tried):.2f} of 1.00"
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described["balance"] == [state.to_json() for state in result.balance]


def test_more_is_made_after_a_trial_of_which_some_are_kept(
    planned: Callable[..., Expansion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augmentor.planning.rounds.TRIAL", 4)
    result = run(planned("out", gate="off", min_agreement=0.0))
    assert [(state.after, state.given_up, state.why) for state in result.balance] == [(13, False, "")] * 3
    assert run(planned("out", gate="off", min_agreement=0.0)).was_complete


def test_a_round_that_an_earlier_version_began_is_finished(
    half: float, planned: Callable[..., Expansion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(planned("out", gate="off", min_agreement=half))
    before = content(tmp_path / "out")
    for name in ("dataset.json", "labels.csv"):
        (tmp_path / "out" / name).unlink()
    monkeypatch.setattr("augmentor.planning.rounds.TRIAL", 4)
    run(planned("out", gate="off", min_agreement=half))
    after = content(tmp_path / "out")
    for name in ("labels.csv", "rejected.csv", "scores.csv"):
        assert after[name] == before[name]
    assert [name for name in after if name.endswith(".png")] == [name for name in before if name.endswith(".png")]


@pytest.mark.parametrize("output_format", ["folder", "hdf5"])
def test_interrupted_at_any_shard_the_end_is_the_same(
    output_format: str, half: float, planned: Callable[..., Expansion], tmp_path: Path
) -> None:
    name = "out" if output_format == "folder" else "out.h5"

    def plan(folder: str) -> Expansion:
        (tmp_path / folder).mkdir(exist_ok=True)
        return planned(f"{folder}/{name}", gate="off", min_agreement=half, output_format=output_format)

    run(plan("whole"))
    stops = 0
    for most in (1, 9, 26, 29, 34, 41, 47, 60):

        def stop(progress: Progress, most: int = most) -> None:
            if progress.done >= most:
                raise KeyboardInterrupt

        try:
            run(plan("disturbed"), stop)
        except KeyboardInterrupt:
            stops += 1
    run(plan("disturbed"))
    assert stops >= 5
    assert content(tmp_path / "disturbed") == content(tmp_path / "whole")


@pytest.mark.parametrize("output_format", ["folder", "hdf5"])
def test_what_is_repaired_is_the_same_again(
    output_format: str, half: float, planned: Callable[..., Expansion], tmp_path: Path
) -> None:
    """The rounds are found again in records from which the surplus was dropped."""
    (tmp_path / "here").mkdir()
    name = "here/out" if output_format == "folder" else "here/out.h5"
    out = tmp_path / name
    changes = {"gate": "off", "min_agreement": half, "balance_to": "10", "output_format": output_format}
    run(planned(name, **changes))
    expected = content(out.parent)
    if output_format == "folder":
        (out / "dataset.json").unlink()
        run(planned(name, **changes))
        assert content(out.parent) == expected
        last = max(path for path in out.rglob("*.png") if path.parent.name.isdigit())
        last.write_bytes(b"damaged")
    else:
        with h5py.File(out, "r+") as file:
            file["image"][-1] = 255 - file["image"][-1]
    repaired = repair_output(verify_output(out, on_progress=lambda _done, _total: None))
    assert len(repaired.dropped) == 1
    run(planned(name, **changes))
    assert content(out.parent) == expected


# ---- what is refused ----


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"balance": ()}, "--balance-to needs --balance, which names the attributes"),
        ({"balance": (), "balance_to": "auto", "max_per_source": 3}, "--max-per-source needs --balance"),
        (
            {"balance": (), "balance_to": "auto"},
            "no translations are requested: give --domains SPEC, .* or --balance",
        ),
        ({"keep_best": 3}, "--keep-best drops what --balance fills up"),
    ],
)
def test_settings_that_cannot_work_together(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(AugmentorError, match=message):
        dataclasses.replace(SETTINGS, **wrong)  # type: ignore[arg-type]


def test_requests_of_the_wrong_names(planned: Callable[..., Expansion]) -> None:
    with pytest.raises(DomainError, match=r"--balance: no attribute is called 'hiar'. Did you mean 'hair'"):
        planned("out", balance=("hiar",))


def test_a_state_survives_its_json() -> None:
    for wanted in (None, 5):
        state = CellState({"hair": "red"}, before=1, wanted=wanted, after=2)
        assert CellState.from_json(state.to_json()) == state
