"""`augmentor evaluate` on what expand wrote: what it prints and writes, and rejected translations made again."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import torch

from augmentor.evaluation.data import EvaluationData, read_data, read_output
from augmentor.evaluation.remake import draw_ungated, load_output_model, remake
from augmentor.images import decode

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done, Small

QUICK = ("--steps", 2, "--seeds", 1, "--ratios", 1)
THROWN_OUT = 12


@pytest.fixture(scope="module")
def judged(
    outputs: dict[str, tuple[Path, Done]], model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, pd.DataFrame]:
    """A folder of which the gate threw out every fourth translation, and what was thrown out."""
    out = tmp_path_factory.mktemp("judged") / "out"
    shutil.copytree(outputs["folder"][0], out)
    labels = pd.read_csv(out / "labels.csv", dtype=str, keep_default_na=False)
    synthetic = np.flatnonzero(labels["is_synthetic"] == "1")
    thrown = labels.iloc[synthetic[::4][:THROWN_OUT]]
    labels.drop(thrown.index).to_csv(out / "labels.csv", index=False)
    scores = pd.read_csv(out / "scores.csv", dtype=str, keep_default_na=False)
    scores[~scores["key"].isin(thrown["key"])].to_csv(out / "scores.csv", index=False)
    names = [name for name in labels.columns if name not in ("file_name", "is_synthetic", *scores.columns[1:])]
    reasons = ["surplus: enough of them" if i == 0 else "agreement 0.1000 < 0.4000" for i in range(len(thrown))]
    # Both in the order of the plan.
    judged = thrown[["key", *names[1:]]].merge(scores, on="key").assign(reason=reasons)
    judged.to_csv(out / "rejected.csv", index=False)
    path = out / "dataset.json"
    state = json.loads(path.read_text())
    state["model"]["path"] = str(model)
    path.write_text(json.dumps({**state, "gate": {"agreement": 0.4}}))
    return out, thrown


def material(judged: tuple[Path, pd.DataFrame], small: Small) -> EvaluationData:
    return read_data(small.manifest, read_output(judged[0]), most=1000)


def test_it_prints_tables_and_writes_what_it_found(
    augmentor: Augmentor, judged: tuple[Path, pd.DataFrame], small: Small
) -> None:
    out, _ = judged
    done = augmentor.run("evaluate", small.manifest, out, *QUICK, "--json")
    assert done.code == 0, done.err
    state = json.loads((out / "evaluation.json").read_text())
    assert {**done.json, "sha256": state["sha256"]} == state
    names = [arm["name"] for arm in state["arms"]]
    assert names == [
        "real",
        "oversampled",
        "oversampled-trivialaugment",
        "ungated",
        "gated",
        "oversampled-synthetic",
        "synthetic",
    ]
    # The model's own setting.
    assert state["settings"]["flip"] is True
    images = {arm["name"]: arm["images"] for arm in state["arms"]}
    # As many of each domain as were kept, drawn from all that were made.
    assert images["gated"] == images["ungated"]
    assert state["counts"]["rejected"] == THROWN_OUT - 1
    assert state["counts"]["kept"] + 16 == images["gated"]
    assert state["attributes"] == ["hair", "smile"]
    assert state["verdict"]["arm"] == "oversampled-synthetic"
    # Four test images of two persons say nothing.
    assert state["verdict"]["word"] == "no difference seen"
    assert state["distances"]["frechet"].keys() == {"kept", "real", "ungated"}
    shown = done.out.splitlines()[:-1]
    assert max(map(len, shown)) <= 80
    assert "real + synthetic, gated" in done.out
    assert "2 independent units" in done.out
    assert "8 classifiers of 2 steps are to be trained" in done.err


def test_a_plan_trains_and_writes_nothing(
    augmentor: Augmentor, outputs: dict[str, tuple[Path, Done]], small: Small
) -> None:
    out = outputs["folder"][0]
    before = sorted(out.rglob("*"))
    done = augmentor.run("evaluate", small.manifest, out, "--plan", "--json")
    assert done.code == 0, done.err
    assert sorted(out.rglob("*")) == before
    assert "2 independent units (subjects)" in done.out
    assert "none: fewer than 8" in done.out
    assert max(map(len, done.out.splitlines()[:-1])) <= 80
    planned = done.json["seeds"]
    assert isinstance(planned, list)
    assert [each["seeds"] for each in planned] == [3, 6, 12, 24]
    assert planned[-1]["units_needed"] > 8


def test_the_same_command_again_trains_nothing_and_changes_nothing(
    augmentor: Augmentor, judged: tuple[Path, pd.DataFrame], small: Small
) -> None:
    out, _ = judged
    first = augmentor.run("evaluate", small.manifest, out, *QUICK)
    before = (out / "evaluation.json").read_bytes()
    again = augmentor.run("evaluate", small.manifest, out, *QUICK)
    assert (again.code, again.out) == (0, first.out)
    assert "to be trained" not in again.err
    assert (out / "evaluation.json").read_bytes() == before
    more = augmentor.run("evaluate", small.manifest, out, *QUICK, "--seeds", 2)
    assert "8 classifiers of 2 steps are to be trained" in more.err


def test_rejected_translations_are_remade_to_the_pixel(judged: tuple[Path, pd.DataFrame], small: Small) -> None:
    out, thrown = judged
    found = material(judged, small)
    everything = np.arange(len(found.rejected.rows))
    again = remake(found, everything, model=load_output_model(found, None), device=torch.device("cpu"))
    files = [decode(out / name, channels=3) for name in thrown["file_name"].iloc[1:]]
    assert torch.equal(again.images, torch.from_numpy(np.stack(files)).permute(0, 3, 1, 2))
    space = found.output.space
    assert [space.domain(codes) for codes in again.codes.tolist()] == [
        {name: row[name] for name in space.names if row[name]} for _, row in thrown.iloc[1:].iterrows()
    ]


def test_the_blind_draw_has_as_many_of_each_domain(judged: tuple[Path, pd.DataFrame], small: Small) -> None:
    found = material(judged, small)
    kept, thrown = draw_ungated(found)
    assert len(thrown) > 0
    codes = found.output.space
    of_thrown = found.rejected.table.iloc[thrown][list(codes.names)].to_numpy().tolist()
    drawn = [tuple(codes.domain(row).items()) for row in found.kept.codes[torch.from_numpy(kept)].tolist()]
    drawn += [
        tuple((name, cell) for name, cell in zip(codes.names, row, strict=True) if cell) for row in of_thrown
    ]
    wanted = [tuple(codes.domain(row).items()) for row in found.kept.codes.tolist()]
    assert sorted(drawn) == sorted(wanted)


def test_a_broken_off_evaluation_says_how_to_go_on(
    augmentor: Augmentor, outputs: dict[str, tuple[Path, Done]], small: Small, tmp_path: Path
) -> None:
    out = tmp_path / "out.h5"
    shutil.copy(outputs["hdf5"][0], out)
    shutil.copy(outputs["hdf5"][0].with_suffix(".dataset.json"), out.with_suffix(".dataset.json"))
    words = ("evaluate", small.manifest, out, "--steps", 5000, "--seeds", 1)
    running = augmentor.start(*words)
    running.wait_for((tmp_path / ".out.h5.evaluation.lock").exists)
    running.send(signal.SIGINT)
    done = running.end()
    assert done.code == 130
    assert "Go on with:" in done.err
    assert not out.with_suffix(".evaluation.json").exists()


def test_mistakes_are_short_errors(
    augmentor: Augmentor, outputs: dict[str, tuple[Path, Done]], small: Small, tmp_path: Path
) -> None:
    out = outputs["folder"][0]
    for words, said in (
        (("--ratios", "half"), "--ratios: 'half' is not numbers"),
        (("--ratios", "-1"), "--ratios must lie above 0"),
        (("--arms", "reel"), "--arms: there is no arm 'reel'. Did you mean 'real'?"),
        (("--folds", out), "is in test of both. Each subject is in test of one fold"),
        (("--folds", out, "--plan"), "--plan looks at one output"),
        (("--classifier", tmp_path / "gone.pth"), "is neither small nor resnet18 nor a file of weights"),
    ):
        done = augmentor.run("evaluate", small.manifest, out, *words)
        assert (done.code, said in " ".join(done.err.split())) == (2, True), done.err
    missing = augmentor.run("evaluate", small.manifest, tmp_path / "nothing")
    assert (missing.code, "does not exist" in missing.err) == (2, True)
    assert not (out / "evaluation.json").exists()
