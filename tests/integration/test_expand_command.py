"""`augmentor expand`: both forms of the same output, the grammar of --domains in counts, every flag."""

from __future__ import annotations

import csv
import gc
import importlib
import json
import os
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from PIL import Image

from augmentor import open_dataset
from augmentor.demo.portraits import write_portraits
from stargan.checkpoints import load_model, save_model

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done, Small

COLUMNS = [
    *("file_name", "key", "split", "group", "is_synthetic", "source_id", "source_path"),
    *("hair", "smile"),
    *("changed", "agreement", "realism"),
]
Outputs = dict[str, tuple[Path, "Done"]]


def table(out: Path) -> list[dict[str, str]]:
    """Return the rows of a folder's label table."""
    with (out / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def bytes_and_times(out: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content and the time of every file beside or below an output."""
    files = out.rglob("*") if out.is_dir() else out.parent.glob(f"{out.stem}.*")
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files if path.is_file()}


# ---- one expansion in both forms ----


def test_the_folder(outputs: Outputs, small: Small) -> None:
    out, done = outputs["folder"]
    assert {path.name for path in out.iterdir()} == {
        *(".augmentor", "dataset.json", "failures.csv", "labels.csv", "preview.png", "test", "train", "val"),
        *("rejected.csv", "scores.csv", "report.html", "report", "README.md", "croissant.json"),
    }
    assert f"Report: {out / 'report.html'}" in " ".join(done.out.split())
    with (out / "labels.csv").open(newline="") as file:
        assert next(csv.reader(file)) == COLUMNS
    rows = table(out)
    # hair=*: two for each of 16 training rows; smile=~: one for each of 14 that know theirs, two for the others.
    assert Counter((row["split"], row["is_synthetic"]) for row in rows) == {
        ("train", "0"): 16,
        ("train", "1"): 32 + 14 + 2 * 2,
        ("val", "0"): 4,
        ("test", "0"): 4,
    }
    for row in rows:
        assert Path(out, row["file_name"]).is_file()
    on_disk = {
        str(path.relative_to(out)) for split in ("train", "val", "test") for path in (out / split).rglob("*.png")
    }
    assert on_disk == {row["file_name"] for row in rows}
    assert f"{32 + 18} synthetic and 24 real images in {out}" in " ".join(done.out.split())
    assert (out / "failures.csv").read_text() == "id,path,reason\n"


def test_lineage_split_and_group_are_inherited(outputs: Outputs, small: Small) -> None:
    sources = {row["id"]: row for row in small.rows}
    for row in table(outputs["folder"][0]):
        source = sources[row["source_id"]]
        assert (row["split"], row["group"], row["source_path"]) == (
            source["split"],
            source["group"],
            source["path"],
        )
        changed = [name for name in ("hair", "smile") if row[name] != source[name]]
        assert row["changed"] == (";".join(changed) or "none")
        assert len(changed) == int(row["is_synthetic"])
        # The judge has learnt too little to be trusted with a label, but it had a discriminator to ask.
        assert row["agreement"] == ("unchecked" if row["is_synthetic"] == "1" else "")
        assert (row["realism"] != "") == (row["is_synthetic"] == "1")
    keys = {row["key"] for row in table(outputs["folder"][0])}
    assert {"face00__real", "face00__hair-red_smile-0", "face00__hair-black_smile-1"} <= keys


def test_split_tables_say_the_same(outputs: Outputs) -> None:
    out, _ = outputs["folder"]
    rows = table(out)
    for split in ("train", "val", "test"):
        with (out / split / "metadata.csv").open(newline="") as file:
            found = list(csv.DictReader(file))
        expected = [row for row in rows if row["split"] == split]
        assert [f"{split}/{row['file_name']}" for row in found] == [row["file_name"] for row in expected]
        assert [(row["key"], row["hair"]) for row in found] == [(row["key"], row["hair"]) for row in expected]


def test_dataset_json(outputs: Outputs, model: Path) -> None:
    for form in ("folder", "hdf5"):
        out, done = outputs[form]
        described = out / "dataset.json" if form == "folder" else out.with_suffix(".dataset.json")
        state = json.loads(described.read_text())
        assert state["counts"] == {
            "real": 24,
            "synthetic": 50,
            "failed": 0,
            "rejected": 0,
            "splits": {
                "test": {"real": 4, "synthetic": 0},
                "train": {"real": 16, "synthetic": 50},
                "val": {"real": 4, "synthetic": 0},
            },
        }
        told = dict(done.json)
        seconds, speed, slowest = (told.pop(name) for name in ("seconds", "images_per_second", "slowest_stage"))
        report = out / "report.html" if form == "folder" else out.with_suffix(".report.html")
        assert told.pop("unchecked") == state["unchecked"] != []
        assert told == {"out": str(out), "report": str(report), **state["counts"], "resumed": 0}
        assert isinstance(seconds, float)
        assert speed == pytest.approx(74 / seconds, rel=0.01, abs=0.1)
        assert slowest in ("decoding", "translating", "judging", "encoding", "writing")
        assert [attribute["name"] for attribute in state["label_space"]] == ["hair", "smile"]
        assert state["settings"]["domains"] == ["hair=*", "smile=~"]
        assert (state["image_shape"], state["schema_version"]) == ([16, 16, 3], 1)
        config = json.loads((model / "checkpoints" / "00000006" / "config.json").read_text())
        assert state["model"]["sha256"] == config["files"]["generator_ema.safetensors"]


def test_folder_and_file_are_equal_row_for_row(outputs: Outputs) -> None:
    folder, file = open_dataset(outputs["folder"][0]), open_dataset(outputs["hdf5"][0])
    assert len(folder) == len(file) == 74
    assert folder.labels.equals(file.labels)
    for index in range(74):
        (pixels, labels), (same_pixels, same_labels) = folder[index], file[index]
        assert pixels.equal(same_pixels)
        assert labels.equal(same_labels)
    with h5py.File(outputs["hdf5"][0]) as opened:
        assert (opened["image"].shape, opened["image"].chunks) == ((74, 16, 16, 3), (1, 16, 16, 3))
        assert opened["labels"].dtype == np.int8
        assert (opened["labels"][:] == -1).sum() > 0


def test_both_have_their_preview(outputs: Outputs) -> None:
    for path in (outputs["folder"][0] / "preview.png", outputs["hdf5"][0].with_suffix(".preview.png")):
        with Image.open(path) as picture:
            assert picture.mode == "RGB"
            assert min(picture.size) > 5 * 96  # eight rows; the source, three hair colours and two smiles


@pytest.mark.parametrize("form", ["folder", "hdf5"])
def test_the_second_call_changes_nothing(
    form: str, outputs: Outputs, augmentor: Augmentor, small: Small, model: Path
) -> None:
    out, first = outputs[form]
    before = bytes_and_times(out)
    words = ("--model", model, "--domains", "hair=*", "--domains", "smile=~", "--shard-size", 16, "--json")
    again = augmentor.run("expand", small.manifest, *words, "--out", out)
    assert again.code == 0, again.err
    assert f"{out} is complete already; nothing was changed." in again.out
    nothing = {"resumed": 74, "seconds": again.json["seconds"], "images_per_second": 0.0, "slowest_stage": None}
    assert again.json == {**first.json, **nothing}
    assert bytes_and_times(out) == before

    other = augmentor.run("expand", small.manifest, "--model", model, "--domains", "each", "--out", out)
    assert other.code == 2
    assert "holds the output of another plan, model or settings" in other.err
    assert bytes_and_times(out) == before


# ---- what reads it ----


# The library leaves its files to the garbage collector, which warns.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_hugging_face_reads_both(outputs: Outputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    datasets = importlib.import_module("datasets")
    folder = datasets.load_dataset("imagefolder", data_dir=str(outputs["folder"][0]), cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in folder.items()} == {"train": 66, "validation": 4, "test": 4}
    rows = [row for row in table(outputs["folder"][0]) if row["split"] == "train"]
    assert folder["train"]["key"][:] == [row["key"] for row in rows]
    assert folder["train"]["hair"][:] == [row["hair"] for row in rows]
    assert folder["train"][5]["image"].size == (16, 16)

    file = datasets.load_dataset("hdf5", data_files=str(outputs["hdf5"][0]), cache_dir=str(tmp_path))["train"]
    assert len(file) == 74
    assert file["key"][:] == [row["key"] for row in table(outputs["folder"][0])]
    same = np.asarray(Image.open(outputs["folder"][0] / file[7]["file_name"]))
    assert np.array_equal(np.asarray(file[7]["image"], dtype=np.uint8), same)
    gc.collect()


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes:UserWarning")
@pytest.mark.parametrize("form", ["folder", "hdf5"])
def test_a_loader_with_workers_reads_both(form: str, outputs: Outputs) -> None:
    from torch.utils.data import DataLoader  # noqa: PLC0415 - the other tests need no torch

    dataset = open_dataset(outputs[form][0], attributes=["smile", "hair"], split="train", synthetic=True)
    loader = DataLoader(dataset, batch_size=8, num_workers=2, multiprocessing_context="fork")
    batches = list(loader)
    assert sum(len(images) for images, _ in batches) == 50
    smile = [code for _, labels in batches for code in labels[:, 0].tolist()]
    written = [row["smile"] for row in table(outputs["folder"][0]) if row["is_synthetic"] == "1"]
    assert smile == [int(cell) if cell else -1 for cell in written]


# ---- the grammar of --domains, counted by hand ----


@pytest.mark.parametrize(
    ("words", "synthetic"),
    [
        # 6 black, 5 blond, 5 red rows; smile: 8 no, 6 yes, 2 unknown; red and smiling: rows 5 and 11.
        (("hair=*",), 32),
        (("hair=~",), 32),
        (("hair=red",), 11),
        (("hair=red|blond",), 5 + 5 + 2 * 6),
        (("hair=red", "--include-identity"), 16),
        (("hair=*", "--include-identity"), 48),
        (("smile=~",), 14 + 2 * 2),
        (("smile=yes",), 10),
        (("hair=red,smile=1",), 14),
        (("hair=*,smile=~",), 14 * 3 + 2 * 6),
        (("each",), 32 + 18),
        (("all",), 14 * 5 + 2 * 6),
        (("hair=red", "--domains", "smile=1"), 11 + 10),
        (("each", "--domains", "hair=red", "--domains", "all"), 14 * 5 + 2 * 6 + 2 * 2),
        (("hair=~", "--splits", "train,val"), 40),
        (("hair=~", "--splits", "test", "--real", "none"), 8),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_the_plan_of_a_request(
    words: tuple[str, ...], synthetic: int, augmentor: Augmentor, small: Small, model: Path
) -> None:
    out = small.folder / "never"
    flags = ("--model", model, "--out", out, "--dry-run", "--json", "--domains", *words)
    done = augmentor.run("expand", small.manifest, *flags)
    assert done.code == 0, done.err
    assert (done.json["synthetic"], done.json["real"]) == (synthetic, 0 if "none" in words else 24)
    assert not out.exists()


def test_a_dry_run_prints_its_plan(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    words = ("expand", small.manifest, "--model", model, "--out", tmp_path / "out", "--domains", "hair=red")
    done = augmentor.run(*words, "--dry-run")
    assert done.code == 0, done.err
    assert "35 images: 11 synthetic and 24 real" in done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert ["hair", "black", "6", "6"] in [line[:4] for line in lines]
    assert ["red", "5", "16"] in [line[:3] for line in lines]
    assert any(line[:1] == ["disk"] and line[-1] in ("B", "kB") for line in lines)
    assert any(line[:1] == ["time"] for line in lines)
    assert "Nothing was written." in done.out
    assert not (tmp_path / "out").exists()


def test_mistakes_are_named_and_write_nothing(
    augmentor: Augmentor, small: Small, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for words, said in (
        (("--domains", "hair=blnd"), "Did you mean 'blond'?"),
        (("--domains", "hiar=red"), "Did you mean 'hair'?"),
        (("--domains", "eahc"), "Did you mean 'each'?"),
        (("--domains", "each", "--splits", "tset"), "--splits: tset is not one of train, val, test"),
        (("--domains", "each", "--class-folders", "hiar"), "Did you mean 'hair'?"),
        (
            ("--domains", "each", "--format", "hdf5", "--real", "original"),
            "Use --real processed, or --format folder",
        ),
        (("--domains", "each", "--format", "hdf5", "--class-folders", "hair"), "Use --format folder"),
        (("--domains", "each", "--devices", "cpu,cuda:9"), "--devices cuda:9: not usable here"),
        (
            ("--domains", "each", "--devices", "cpu", "--device", "cpu"),
            "--device and --devices exclude each other",
        ),
        (("--domains", "each", "--model", tmp_path), "is neither a run folder with a checkpoint nor a checkpoint"),
    ):
        done = augmentor.run("expand", small.manifest, "--model", model, "--out", out, *words)
        assert (done.code, done.out) == (2, ""), words
        assert said in done.err
        assert "Traceback" not in done.err
        assert not out.exists()


def test_other_people_s_files_are_left_alone(
    augmentor: Augmentor, small: Small, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = augmentor.run("expand", small.manifest, "--model", model, "--domains", "each", "--out", tmp_path)
    assert done.code == 2
    assert "already holds 'thesis.txt', which expand did not write" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# ---- flags that change what is written ----


def test_a_process_per_device_makes_the_same(
    augmentor: Augmentor, small: Small, model: Path, judge: Path, tmp_path: Path
) -> None:
    alone, out = tmp_path / "alone" / "out", tmp_path / "out"
    words: tuple[object, ...] = ("--model", model, "--domains", "hair=*", "--domains", "smile=~", "--json")
    words = (*words, "--shard-size", 16, "--judge", judge, "--keep-best", 2)
    first = augmentor.run("expand", small.manifest, *words, "--out", alone)
    # From nothing: processes that are spawned by one that was forked would not find their program.
    done = augmentor.cold("expand", small.manifest, *words, "--out", out, "--devices", "cpu,cpu")
    assert (first.code, done.code) == (0, 0), done.err
    assert (done.json["real"], done.json["resumed"]) == (24, 0)
    rejected = done.json["rejected"]
    assert isinstance(rejected, int)
    assert 50 - 16 * 2 <= rejected < 50
    assert done.json["synthetic"] == 50 - rejected

    def content(of: Path) -> dict[str, bytes]:
        return {str(path.relative_to(of)): path.read_bytes() for path in of.rglob("*") if path.is_file()}

    assert content(out) == content(alone)


def test_the_gate_in_words(augmentor: Augmentor, small: Small, model: Path, judge: Path, tmp_path: Path) -> None:
    words = ("expand", small.manifest, "--model", model, "--domains", "hair=*", "--judge", judge)
    out = tmp_path / "out"
    done = augmentor.run(*words, "--out", out, "--json")
    assert done.code == 0, done.err
    rejected = done.json["rejected"]
    assert isinstance(rejected, int)
    assert 0 < rejected < 32
    said = " ".join(done.out.split())
    assert f"{rejected} translations were rejected: {out / 'rejected.csv'}" in said
    state = json.loads((out / "dataset.json").read_text())
    assert state["model"]["path"] == str(model)
    assert state["command"] == shlex.join(map(str, ("augmentor", *words, "--out", "out")))
    assert state["gate"]["thresholds"]["agreement"] == 0.1
    everything = augmentor.run(*words, "--out", tmp_path / "all", "--no-gate", "--json")
    assert everything.json["synthetic"] == 32
    strict = augmentor.run(*words, "--out", tmp_path / "few", "--gate", "off", "--min-agreement", "0.9", "--json")
    stricter = strict.json["rejected"]
    assert isinstance(stricter, int)
    assert stricter > rejected
    other = augmentor.run(*words, "--out", out, "--min-agreement", "0.9")
    assert other.code == 2
    assert "min_agreement was null, now 0.9" in " ".join(other.err.split())


def test_a_model_without_a_judge(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    save_model(plain, model=load_model(model))
    words = ("expand", small.manifest, "--model", plain, "--domains", "hair=*", "--json")
    done = augmentor.run(*words, "--out", tmp_path / "out")
    assert (done.code, done.json["synthetic"], done.json["rejected"]) == (0, 32, 0)
    assert f"Make one: augmentor judge {small.manifest} --model {plain}" in " ".join(done.err.split())
    assert done.err.splitlines()[-1].startswith("warning  UNCHECKED: hair. ")
    assert done.json["unchecked"] == [
        {"attribute": "hair", "values": ["black", "blond", "red"], "reason": "the model has no judge"}
    ]
    refused = augmentor.run(*words, "--out", tmp_path / "no", "--gate", "on")
    assert (refused.code, (tmp_path / "no").exists()) == (2, False)
    assert "--gate on needs a judge" in refused.err
    needed = augmentor.run(*words, "--out", tmp_path / "no", "--keep-best", "3")
    assert needed.code == 2
    assert "--keep-best needs a judge" in needed.err
    assert not (tmp_path / "no").exists()


def test_a_model_of_few_steps_keeps_nothing_in_silence(
    augmentor: Augmentor, tiny: list[str], tmp_path: Path
) -> None:
    manifest = write_portraits(tmp_path / "portraits", counts={"train": 60, "val": 40, "test": 0}, size=16)
    run, out = tmp_path / "run", tmp_path / "out"
    words = (*tiny, "--set", "judge.steps=60", "--steps", 20)
    assert augmentor.run("train", manifest, "--out", run, *words).code == 0
    done = augmentor.run("expand", manifest, "--model", run, "--domains", "each", "--out", out, "--json")
    assert done.code == 0, done.err
    unchecked = {each["attribute"] for each in json.loads(json.dumps(done.json["unchecked"]))}
    kept = [row for row in table(out) if row["is_synthetic"] == "1"]
    for row in kept:
        assert (row["agreement"] == "unchecked") == (row["changed"] in unchecked)
    checked = [row for row in kept if row["changed"] not in unchecked]
    assert len(checked) <= 0.1 * (4 * 60 - len(kept) + len(checked))
    assert len(kept) == 0 or bool(unchecked)
    if unchecked:
        assert done.err.splitlines()[-1].startswith("warning  UNCHECKED: ")


def test_splits_and_no_real_images(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--domains", "hair=red", "--splits", "train,val", "--real", "none", "--image-format", "webp")
    done = augmentor.run("expand", small.manifest, "--model", model, "--out", out, *words)
    assert done.code == 0, done.err
    rows = table(out)
    sources = [row["id"] for row in small.of("train", "val") if row["hair"] != "red"]
    assert [row["source_id"] for row in rows] == sources
    assert {row["is_synthetic"] for row in rows} == {"1"}
    for row in rows:
        with Image.open(out / row["file_name"]) as image:
            assert (image.format, image.size) == ("WEBP", (16, 16))


def test_original_files_and_jpeg(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--domains", "hair=red", "--real", "original", "--image-format", "jpg")
    done = augmentor.run("expand", small.manifest, "--model", model, "--out", out, *words)
    assert done.code == 0, done.err
    for row in table(out):
        file = out / row["file_name"]
        if row["is_synthetic"] == "0":
            assert file.suffix == ".png"
            assert file.read_bytes() == (small.folder / row["source_path"]).read_bytes()
        else:
            with Image.open(file) as image:
                assert (image.format, image.size) == ("JPEG", (16, 16))


def test_class_folders_for_torchvision(
    augmentor: Augmentor, small: Small, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import ImageFolder  # noqa: PLC0415 - slow to import, and only this test needs it

    out = tmp_path / "out"
    words = ("--domains", "hair=*", "--class-folders", "hair")
    done = augmentor.run("expand", small.manifest, "--model", model, "--out", out, *words)
    assert done.code == 0, done.err
    found = ImageFolder(str(out / "train"))
    assert found.classes == ["black", "blond", "red"]
    assert Counter(found.targets) == {0: 16, 1: 16, 2: 16}  # every row in every colour
    rows = {row["file_name"]: row["hair"] for row in table(out)}
    for path, target in found.samples:
        assert rows[os.path.relpath(path, out)] == found.classes[target]


def test_the_format_can_be_said(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "plain"
    words = ("--domains", "hair=red", "--format", "hdf5")
    done = augmentor.run("expand", small.manifest, "--model", model, "--out", out, *words)
    assert done.code == 0, done.err
    assert len(open_dataset(out)) == 35
