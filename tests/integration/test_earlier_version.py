"""Outputs and run folders of an earlier version, which the present one verifies, reads, resumes and finishes.

The earlier version is a commit of this project's history. It runs in processes of its own, with the same
interpreter and libraries, and writes a run folder, a training run that was killed and, in every output format, a
finished output and a killed one; in some formats one share of two.

Byte-equal: weights, optimizer states, sample grids, run.toml; images and packs, HDF5 files, label
tables, scores, rejected.csv, failures.csv, shard records, dataset.json, preview.png, the pictures of the report.
Not compared: the text of report.html, of README.md (the data set card) and of the descriptions in croissant.json,
which may be worded better at any time; times (`CLOCK`), and the sha256 of a config.json, which holds times.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import augmentor as package
from tests.integration.conftest import ROOT
from tests.integration.killing import committed, content

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

EARLIER = "115a5a4196c9296b34cef8dfe1f2e3fb7e6a98d7"
"""The last commit with the modules flat in `augmentor/`. Its version, which some files name, is 0.1.0, too."""

PARTS = (
    *("augmentor", "stargan", "recipes", "pyproject.toml"),
    *(
        "tests/__init__.py",
        "tests/integration/warm.py",
        "tests/integration/dying.py",
        "tests/integration/killing.py",
    ),
)
"""What is taken of it: the product, and how its tests run many commands in one process tree, and kill them."""

PATIENCE = 300.0
STEPS = 6
KILLED_TRAINING = (0, 36)
"""Shards and changes on the disk, as dying.py counts them: 2 checkpoints are whole, the third is half written."""

SHARDS = 6
KILLED = (3, 4)
"""The same for the outputs: half of the shards are committed, the next one is being written."""

FORMATS: dict[str, tuple[str, str]] = {
    "folder": ("out", ""),
    "class folders": (
        "classes",
        "--class-folders hair --image-format jpg --size original --real original --balance hair --balance-to 9",
    ),
    "hdf5 file": ("out.h5", ""),
    "hdf5": ("packs", "--format hdf5 --encoded --image-format webp"),
    "webdataset": ("tars", "--format webdataset --min-realism 0.4"),
    "parquet": ("parquet", "--format parquet --keep-best 1"),
}
"""The output's name and its flags."""

SHARED = ("hdf5 file", "webdataset")
"""Formats of which one share of two is made, as well."""

CLOCK = ("seconds", "elapsed", "images_per_second")
ADDED = ("domains", "distances_left_out", "mask_share", "hue_introduced", "detail")
"""Keys that obedience.json got later."""

LATER = (
    *("unchecked", "floor", "given_up", "why", "rare"),
    *("content_sha256", "split_table", "missing_classes"),
)
"""Keys that descriptions of outputs got later."""

NEW = ("best.json", "judge/judge.json", "judge/judge.safetensors")
"""Files that a run folder got later."""

SETTINGS = (
    "warmup_steps",
    "cycle_changed_share",
    "weigh_translations",
    "for_domains",
    "for_balance",
    "augment_probability",
    "range",
    "initialisation",
    "noise",
    "diversity_weight",
    "diversity_bound",
    "source_feature_weight",
    "source_multiscale_weights",
    "cycle_weights",
    "method",
    "per_value",
    "sees_source",
    "dropout",
    "buffer_size",
    "adversarial_weight",
    "pair_weight",
    "pair_feature_weight",
    "paired_share",
)
"""Settings that recipes got later."""

REMADE = ("judge.json", "judge.safetensors", "obedience.json")
"""Ends of the names of files of the judge: one that is made anew is another one since."""

PAGES = ("report.html", "README.md")
"""Files for people to read, by the ends of their names."""

WARM = """
import importlib, pkgutil, runpy, sys, typer.rich_utils, augmentor
for module in pkgutil.walk_packages(augmentor.__path__, "augmentor."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
runpy.run_path(sys.argv[1], run_name="__main__")
"""
"""Runs the server of the earlier tests, which forks the commands, with the whole product imported already."""

READ = """
import sys, numpy, augmentor
for out, into in zip(sys.argv[1::2], sys.argv[2::2]):
    found = augmentor.open_dataset(out)
    images, labels = zip(*(found[row] for row in range(len(found))))
    table = found.labels.to_csv(index=False)
    images = {f"image{row}": image.numpy() for row, image in enumerate(images)}
    numpy.savez(into, labels=numpy.stack([row.numpy() for row in labels]), table=table, **images)
print(augmentor.__file__)
"""
"""A script that reads outputs as a classifier's training job does, and keeps the arrays."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What the earlier version wrote.

    Args:
        folder: of all of it; below it FORMAT/whole/OUT, FORMAT/killed/OUT, FORMAT/share/OUT and FORMAT/read.npz.
        train: the command that trained, without its output.
        info: what it said of the run folder.
    """

    folder: Path
    train: list[str]
    info: dict[str, object]

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def script(self) -> Path:
        return self.folder / "read.py"

    def output(self, form: str, state: str = "whole") -> Path:
        return self.folder / form / state / FORMATS[form][0]

    def copy(self, form: str, state: str, folder: Path) -> Path:
        """Copy an output and all beside it, the times of its files included."""
        shutil.copytree(self.folder / form / state, folder / "copy")
        return folder / "copy" / FORMATS[form][0]


def take_earlier_code(tree: Path) -> None:
    """Unpack the earlier version; skip where the project's history is not at hand."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "archive", "--format=tar", f"--output={tree}.tar", EARLIER, *PARTS],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("git is not installed, so the earlier version cannot be taken from the project's history")
    if done.returncode != 0:
        pytest.skip(f"this is no clone with the commit {EARLIER[:7]}; git says: {done.stderr.strip()}")
    with tarfile.open(f"{tree}.tar") as archive:
        archive.extractall(tree, filter="data")


def run_earlier(
    tree: Path, commands: list[tuple[str, list[str]]], environment: dict[str, str]
) -> list[tuple[int, str, str]]:
    """Run commands of the earlier version one after another; return exit code, stdout and stderr of each.

    Args:
        tree: where it is unpacked.
        commands: a script, or "" for the command itself, and the arguments.
        environment: of the commands.
    """
    logs = [(f"{tree}-{number}.out", f"{tree}-{number}.err") for number in range(len(commands))]
    requests = [
        {"argv": argv, "script": script, "cwd": str(tree), "out": out, "err": err, "environment": {}}
        for (script, argv), (out, err) in zip(commands, logs, strict=True)
    ]
    done = subprocess.run(
        [sys.executable, "-c", WARM, str(tree / "tests" / "integration" / "warm.py")],
        input="".join(json.dumps(request) + "\n" for request in requests),
        cwd=tree,
        env={**environment, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    codes = [int(line) for line in done.stdout.split()[1::2]]
    return [
        (code, Path(out).read_text(), Path(err).read_text()) for code, (out, err) in zip(codes, logs, strict=True)
    ]


def expand(small: Small, run: Path, form: str, out: Path) -> list[str]:
    """Return the command that makes an output: 24 real images, and those of train with the other smile."""
    words = ["expand", str(small.manifest), "--model", str(run), "--shard-size", "8", "--out", str(out)]
    return [*words, "--domains", "smile=~", *FORMATS[form][1].split()]


@pytest.fixture(scope="module")
def earlier(
    augmentor: Augmentor, small: Small, tiny: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Earlier:
    """Everything that the earlier version wrote; tests must not change it."""
    folder = tmp_path_factory.mktemp("earlier")
    tree = folder / "tree"
    take_earlier_code(tree)
    dying = str(tree / "tests" / "integration" / "dying.py")
    often = ["--set", "training.checkpoint_minutes=0", "--set", "training.log_seconds=0"]
    train = ["train", str(small.manifest), *tiny, *often, "--set", "judge.steps=2", "--steps", str(STEPS)]
    made = Earlier(folder=folder, train=train, info={})
    killed_run = folder / "killed" / "run"
    killed_run.parent.mkdir()
    commands: list[tuple[str, list[str]]] = [
        ("", [*train, "--out", str(made.run)]),
        (dying, [str(killed_run), *map(str, KILLED_TRAINING), *train, "--out", str(killed_run)]),
        ("", ["info", str(made.run), "--json"]),
    ]
    read: list[str] = []
    for form in FORMATS:
        whole, killed = made.output(form), made.output(form, "killed")
        whole.parent.mkdir(parents=True)
        killed.parent.mkdir()
        commands.append(("", expand(small, made.run, form, whole)))
        commands.append((dying, [str(killed), *map(str, KILLED), *expand(small, made.run, form, killed)]))
        read += [str(whole), str(folder / form / "read.npz")]
    for form in SHARED:
        share = made.output(form, "share")
        share.parent.mkdir()
        commands.append(("", [*expand(small, made.run, form, share), "--shards", "1/2"]))
    made.script.write_text(READ)
    commands.append((str(made.script), read))
    ended = run_earlier(tree, commands, augmentor.environment)
    for (script, argv), (code, _, err) in zip(commands, ended, strict=True):
        assert code == (-signal.SIGKILL if script == dying else 0), f"{argv}\n{err}"
    assert Path(ended[-1][1].strip()) == tree / "augmentor" / "__init__.py"  # It was the earlier code that ran.
    made.info.update(json.loads(ended[2][1].splitlines()[-1]))
    return made


def without(value: object, *names: str) -> object:
    """Return a JSON value without the members of some names, at any depth."""
    if isinstance(value, dict):
        return {name: without(member, *names) for name, member in value.items() if name not in names}
    return [without(member, *names) for member in value] if isinstance(value, list) else value


def promised(out: Path) -> dict[str, object]:
    """Return what must not change of an output and of all beside it: for every file its sha256, or its content.

    Left out are keys of descriptions and files that are younger than the output, and the word that marks unchecked
    changes.
    """
    found: dict[str, object] = {}
    for name, sha in content(out).items():
        path = out.parent / name
        if name.endswith((*PAGES, "classes.txt")):
            continue
        if name.endswith("croissant.json"):
            found[name] = without(json.loads(path.read_bytes()), "description", "sha256", "dataType", "version")
        elif name.endswith(("dataset.json", "run.json")):
            found[name] = without(json.loads(path.read_bytes()), *LATER, "sha256")
        elif name.endswith("labels.csv"):
            found[name] = path.read_text().replace(",unchecked,", ",,")
        else:
            found[name] = hdf5_content(path) if path.suffix == ".h5" else sha
    return found


def hdf5_content(path: Path) -> dict[str, object]:
    """Return what an HDF5 file holds, by name."""
    found: dict[str, object] = {}
    with h5py.File(path) as file:
        for name, value in file.attrs.items():
            found[f"@{name}"] = str(value)
        if "@dataset_json" in found:
            found["@dataset_json"] = without(json.loads(str(found["@dataset_json"])), *LATER, "sha256")
        for name, data in file.items():
            found[name] = str(data.dtype), repr(data[()].tolist())  # as text: NaN is not equal to itself
    return found


def times(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.parent.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", FORMATS)
def test_a_finished_output_is_verified_read_and_left_as_it_is(
    form: str, earlier: Earlier, augmentor: Augmentor, small: Small, tmp_path: Path
) -> None:
    out = earlier.copy(form, "whole", tmp_path)
    before, written = content(out), times(out)
    verified = augmentor.run("verify", out, "--json")
    assert verified.code == 0, verified.err
    assert (verified.json["ok"], verified.json["finished"], verified.json["problems"]) == (True, True, [])
    again = augmentor.run(*expand(small, earlier.run, form, out), "--json")
    assert again.code == 0, again.err
    assert (content(out), times(out)) == (before, written)

    kept = promised(out)
    page = next(path for path in out.parent.rglob("*report.html"))
    page.unlink()
    reported = augmentor.run("report", out)
    assert reported.code == 0, reported.err
    assert "<html" in page.read_text()
    assert content(out).keys() == before.keys()
    assert promised(out) == kept


@pytest.mark.parametrize("form", FORMATS)
def test_a_killed_output_is_finished(
    form: str, earlier: Earlier, augmentor: Augmentor, small: Small, tmp_path: Path
) -> None:
    out = earlier.copy(form, "killed", tmp_path)
    assert committed(out) == KILLED[0]
    assert list(out.parent.rglob("*dataset.json")) == []
    done = augmentor.run(*expand(small, earlier.run, form, out), "--json")
    assert done.code == 0, done.err
    resumed = done.json["resumed"]
    assert isinstance(resumed, int)
    assert resumed > 0
    assert promised(out) == promised(earlier.output(form))


@pytest.mark.parametrize("form", SHARED)
def test_the_second_share_finishes_the_output(
    form: str, earlier: Earlier, augmentor: Augmentor, small: Small, tmp_path: Path
) -> None:
    out = earlier.copy(form, "share", tmp_path)
    assert committed(out) == SHARDS // 2
    done = augmentor.run(*expand(small, earlier.run, form, out), "--shards", "2/2")
    assert done.code == 0, done.err
    assert promised(out) == promised(earlier.output(form))


def test_a_new_expansion_with_the_earlier_model(
    earlier: Earlier, augmentor: Augmentor, small: Small, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out"
    out.parent.mkdir()
    done = augmentor.run(*expand(small, earlier.run, "folder", out))
    assert done.code == 0, done.err
    assert promised(out) == promised(earlier.output("folder"))


def test_all_outputs_are_read_as_they_were(earlier: Earlier, augmentor: Augmentor, tmp_path: Path) -> None:
    words = [word for form in FORMATS for word in (earlier.output(form), tmp_path / f"{form}.npz")]
    done = augmentor.run(*words, script=earlier.script)
    assert done.code == 0, done.err
    assert Path(done.out.strip()) == Path(package.__file__)
    for form in FORMATS:
        with np.load(earlier.folder / form / "read.npz") as wanted, np.load(tmp_path / f"{form}.npz") as found:
            assert found.files == wanted.files
            assert len(wanted.files) > 24
            for name in wanted.files:
                np.testing.assert_array_equal(found[name], wanted[name], err_msg=f"{form}: {name}")


def state_of(run: Path) -> dict[str, object]:
    """Return all that training promises to be the same after a kill: the files' contents, or their sha256."""
    found: dict[str, object] = {}
    for name, sha in content(run).items():
        path = run.parent / name
        match path.suffix:
            case ".json":
                added = ADDED if path.name == "obedience.json" else ()
                found[name] = without(json.loads(path.read_bytes()), *CLOCK, *added, *SETTINGS, "sha256")
            case ".toml":
                found[name] = without(tomllib.loads(path.read_text()), *SETTINGS)
            case ".jsonl":
                found[name] = [without(json.loads(line), *CLOCK) for line in path.read_text().splitlines()]
            case _:
                found[name] = sha
    return found


def test_a_killed_training_run_is_resumed(earlier: Earlier, augmentor: Augmentor, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(earlier.folder / "killed" / "run", run)
    reached = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert reached == [".00000003.part", "00000001", "00000002"]
    done = augmentor.run(*earlier.train, "--out", run, "--resume")
    assert done.code == 0, done.err
    state, before = state_of(run), state_of(earlier.run)
    for name in NEW:
        del state[f"run/{name}"]
    assert state.keys() == before.keys()
    kept = [name for name in before if not name.endswith(REMADE)]
    assert {name: state[name] for name in kept} == {name: before[name] for name in kept}


def test_a_run_folder_is_described_and_judged_as_it_was(
    earlier: Earlier, augmentor: Augmentor, small: Small, tmp_path: Path
) -> None:
    told = augmentor.run("info", earlier.run, "--manifest", small.manifest, "--json")
    assert told.code == 0, told.err
    sentences = ("advice", "verdict", "notes")
    measured = told.json["obedience"]
    assert isinstance(measured, dict)
    assert set(ADDED) <= set(measured)
    assert told.json["choice"] is None
    # The target accuracy is measured on other validation images since.
    others = (*CLOCK, *SETTINGS, "obedience", "choice", "rare", *sentences)
    assert without(told.json, *others) == without(earlier.info, *others)
    judged = augmentor.run(
        "judge", small.manifest, "--model", earlier.run, "--steps", 2, "--out", tmp_path / "judge"
    )
    assert judged.code == 0, judged.err


def test_a_damaged_output_is_repaired(
    earlier: Earlier, augmentor: Augmentor, small: Small, tmp_path: Path
) -> None:
    out = earlier.copy("folder", "whole", tmp_path)
    image = sorted(out.glob("train/00002/*.png"))[0]
    image.write_bytes(image.read_bytes()[:-20])
    assert augmentor.run("verify", out).code == 1
    repaired = augmentor.run("verify", out, "--repair", "--json")
    assert repaired.code == 0, repaired.err
    done = augmentor.run(*expand(small, earlier.run, "folder", out))
    assert done.code == 0, done.err
    assert promised(out) == promised(earlier.output("folder"))
