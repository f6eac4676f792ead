"""Joint training: two manifests with different labels, one model, and either manifest in both sets' attributes."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stargan.checkpoints import load_model

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done, Small

Trained = tuple[Path, Path, Path, "Done"]


def split_in_two(small: Small, folder: Path) -> tuple[Path, Path]:
    """Write hair.csv and smile.csv: each has every other pair of training rows, and all rows of val and test."""
    shutil.copytree(small.folder / "images", folder / "images")
    paths = folder / "hair.csv", folder / "smile.csv"
    for kept, (path, name) in enumerate(zip(paths, ("hair", "smile"), strict=True)):
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["path", "id", "split", "group", name])
            for number, row in enumerate(small.rows):
                if row["split"] != "train" or number // 2 % 2 == kept:
                    table.writerow([row["path"], row["id"], row["split"], row["group"], row[name]])
    return paths


def labels(out: Path) -> list[dict[str, str]]:
    """Return the rows of a folder's label table."""
    with (out / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def joint(
    augmentor: Augmentor, small: Small, tiny: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """The two manifests, a model of six steps on both, and what training it printed."""
    folder = tmp_path_factory.mktemp("joint")
    hair, smile = split_in_two(small, folder)
    run = folder / "run"
    return hair, smile, run, augmentor.run("train", hair, smile, "--out", run, *tiny, "--steps", 6)


def test_one_model_of_two_label_sets(joint: Trained, augmentor: Augmentor) -> None:
    hair, smile, run, done = joint
    assert done.code == 0, done.err
    assert "2 label sets: hair | smile" in done.err.replace("\n", " ")
    model = load_model(run)
    assert model.space.names == ("hair", "smile")
    assert model.space.label_sets == (("hair",), ("smile",))
    assert model.generator.arguments["vector_size"] == 3 + 1 + 2
    header = (run / "run.toml").read_text().splitlines()[:2]
    assert header == [f"# Manifest: {hair}", f"# Manifest: {smile}"]
    assert model.settings["manifest"] == "hair.csv, smile.csv"
    assert "Trained jointly on 2 label sets: hair | smile" in augmentor.run("info", run).out


def test_either_manifest_can_be_asked_for_both(joint: Trained, augmentor: Augmentor, tmp_path: Path) -> None:
    hair, smile, run, _ = joint
    for manifest, own, other, values in (
        (hair, "hair", "smile", {"0", "1"}),
        (smile, "smile", "hair", {"black", "blond", "red"}),
    ):
        out = tmp_path / own
        done = augmentor.run(
            "expand", manifest, "--model", run, "--out", out, "--domains", "each", "--splits", "train"
        )
        assert done.code == 0, done.err
        rows = labels(out)
        real = {row["source_id"]: row for row in rows if row["is_synthetic"] == "0"}
        assert {row[other] for row in real.values()} == {""}
        crossed = [row for row in rows if row["changed"] == other]
        # Every training row, in every value of the attribute that its own table does not have.
        assert Counter(row[other] for row in crossed) == dict.fromkeys(values, 8)
        assert all(row[own] == real[row["source_id"]][own] for row in crossed)
        assert any(row["changed"] == own for row in rows)
        assert (out / "preview.png").is_file()


def test_a_table_with_both_labels_and_the_same_output_again(
    joint: Trained, small: Small, augmentor: Augmentor, tmp_path: Path
) -> None:
    _, _, run, _ = joint
    words = ("--model", run, "--out", tmp_path / "out", "--domains", "all")
    tried = augmentor.run("expand", small.manifest, *words, "--dry-run")
    assert tried.code == 0, tried.err
    done = augmentor.run("expand", small.manifest, *words)
    assert done.code == 0, done.err
    rows = [row for row in labels(tmp_path / "out") if row["is_synthetic"] == "1"]
    # hair: two others for each of 16 training rows; smile: the other one for 14, both for the 2 that do not know.
    assert Counter(row["changed"] for row in rows) == {"hair": 32, "smile": 14 + 2 * 2}
    # A second expansion of the output changes the other set's labels.
    again = augmentor.run(
        "expand",
        tmp_path / "out" / "labels.csv",
        "--model",
        run,
        "--out",
        tmp_path / "again",
        "--domains",
        "smile=~",
    )
    assert again.code == 0, again.err


def test_what_cannot_be_asked_or_learnt_is_refused(
    joint: Trained, small: Small, tiny: list[str], augmentor: Augmentor, tmp_path: Path
) -> None:
    hair, _, run, _ = joint
    words = ("--model", run, "--out", tmp_path / "out", "--domains", "hair=red,smile=1")
    done = augmentor.run("expand", hair, *words)
    assert done.code == 2
    assert "are labels of different data sets" in done.err.replace("\n", " ")
    overlapping = augmentor.run("train", hair, small.manifest, "--out", tmp_path / "run", *tiny, "--steps", 2)
    assert overlapping.code == 2
    assert "both have hair, but only one of them has smile" in overlapping.err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_a_joint_run_goes_on(joint: Trained, augmentor: Augmentor, tiny: list[str], tmp_path: Path) -> None:
    hair, smile, _, _ = joint
    run, how = tmp_path / "run", ("--set", "training.joint=alternating")
    assert augmentor.run("train", hair, smile, "--out", run, *tiny, *how, "--steps", 3).code == 0
    again = augmentor.run("train", hair, smile, "--out", run, "--resume", "--steps", 5)
    assert again.code == 0, again.err
    assert load_model(run).step == 5
    other = augmentor.run("train", hair, "--out", run, "--resume", "--steps", 8)
    assert other.code == 2
    assert "the attributes are not those" in other.err.replace("\n", " ")
