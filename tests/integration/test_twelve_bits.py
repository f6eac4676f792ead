"""Twins: 12-bit greys with `images.range` give the same bytes as the 8-bit files that they were made from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from augmentor.data.manifest import AS_WRITTEN, read_manifest
from augmentor.data.models import model_grey_range, open_model
from augmentor.evaluation.data import read_data, read_output
from augmentor.expansion.job import plan_expansion
from augmentor.expansion.preview import write_preview
from augmentor.expansion.run import run_expansion
from augmentor.expansion.settings import ExpandSettings, RunSettings
from augmentor.images import decode
from augmentor.outputs.readers import open_dataset
from augmentor.outputs.verify import verify_output
from augmentor.report import report_path, write_report
from augmentor.training.recipe import read_recipe
from augmentor.training.run import train_run
from augmentor.training.run_folder import Started, TrainEvent
from tests.integration.conftest import TINY

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor

CPU = torch.device("cpu")
SETTINGS = ExpandSettings(domains=("smile=~",), shard_size=8, gate="off")
OVERRIDES = [*(f"{key}={value}" for key, value in TINY.items()), "training.steps=2", "training.targets=permuted"]


class Twin(NamedTuple):
    """A manifest, its model's run, and the notes that the training began with."""

    manifest: Path
    run: Path
    notes: tuple[str, ...]


def write_manifest(folder: Path, *, bits: int) -> Path:
    """Write 24 images of 20 x 24 px, all levels of 8 bits; with 12 bits each level is 4095 / 255 times as high."""
    folder.mkdir()
    random = np.random.default_rng(0)
    lines = ["path,smile,split"]
    for number in range(24):
        levels = random.permutation(np.arange(480) % 256).reshape(20, 24)
        values = levels.astype(np.uint8) if bits == 8 else np.rint(levels * 4095 / 255).astype(np.uint16)
        Image.fromarray(values).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number % 2},{'val' if number < 4 else 'test' if number < 8 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def train(folder: Path, *, bits: int, chosen: str) -> Twin:
    manifest = write_manifest(folder / f"{bits}", bits=bits)
    heard: list[TrainEvent] = []
    train_run(
        read_manifest(manifest),
        run=folder / f"run{bits}",
        recipe=read_recipe(None, [*OVERRIDES, f"images.range={chosen}", "judge.steps=2"]),
        resume=False,
        device=CPU,
        on_event=heard.append,
    )
    (started,) = (event for event in heard if isinstance(event, Started))
    return Twin(manifest, folder / f"run{bits}", started.notes)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Twin, Twin]:
    folder = tmp_path_factory.mktemp("twins")
    return train(folder, bits=8, chosen="full"), train(folder, bits=12, chosen="auto")


def weights(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.rglob("*.safetensors")}


def expanded(twin: Twin, out: Path, **changes: object) -> Path:
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    planned = plan_expansion(twin.manifest, model=twin.run, settings=settings, out=out)
    run_expansion(planned, RunSettings(devices=(CPU,), batch_size=4), write_pages=write_report)
    return out


def test_the_training_finds_the_range_and_sees_the_same(twins: tuple[Twin, Twin]) -> None:
    eight, twelve = twins
    assert model_grey_range(open_model(eight.run)) is None
    assert model_grey_range(open_model(twelve.run)) == (0, 4095)
    assert read_recipe(twelve.run / "run.toml").images.range == (0, 4095)
    assert weights(eight.run) == weights(twelve.run)
    accuracies = [json.loads((twin.run / "obedience.json").read_text()) for twin in twins]
    assert accuracies[0]["attributes"] == accuracies[1]["attributes"]
    assert not [note for note in eight.notes if "bits" in note]
    assert [note for note in twelve.notes if "grey values from 0 to 4,095, read as 0 to 4,095" in note]


def test_a_run_that_is_resumed_keeps_its_range(twins: tuple[Twin, Twin]) -> None:
    twelve = twins[1]
    for chosen in ("auto", "[0, 4095]"):
        result = train_run(
            read_manifest(twelve.manifest),
            run=twelve.run,
            recipe=read_recipe(None, [*OVERRIDES, f"images.range={chosen}", "judge.steps=0"]),
            resume=True,
            device=CPU,
            on_event=lambda _event: None,
        )
        assert result.finished
    assert read_recipe(twelve.run / "run.toml").images.range == (0, 4095)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"size": "original"},
        {"size": (30, 30)},
        {"real": "original"},
        {"output_format": "hdf5"},
    ],
    ids=str,
)
def test_every_output_and_its_readers(
    twins: tuple[Twin, Twin], changes: dict[str, object], tmp_path: Path
) -> None:
    outs = [expanded(twin, tmp_path / f"out{number}", **changes) for number, twin in enumerate(twins)]
    read = [open_dataset(out) for out in outs]
    assert len(read[0]) == len(read[1]) == 40
    levels = set()
    for (image, _), (twin_image, _) in zip(*read, strict=True):
        assert np.array_equal(image, twin_image)
        levels.update(np.unique(np.asarray(image)).tolist())
    assert max(levels) > 200
    for out in outs:
        assert not verify_output(out).problems
        assert report_path(out).is_file()
    described = [json.loads(next(out.glob("dataset.json")).read_text())["made_of"]["model"] for out in outs]
    assert "grey_range" not in described[0]
    assert described[1]["grey_range"] == [0, 4095]
    if not changes:
        scored = [
            read_data(twin.manifest, read_output(out), most=100) for twin, out in zip(twins, outs, strict=True)
        ]
        for name in ("train", "val", "test"):
            eight, twelve = (getattr(data, name).images for data in scored)
            assert torch.equal(torch.as_tensor(eight), torch.as_tensor(twelve))


def test_previews(twins: tuple[Twin, Twin], tmp_path: Path) -> None:
    drawn = [
        write_preview(
            twin.manifest,
            model=twin.run,
            domains=("smile=*",),
            splits=("train",),
            rows=2,
            out=tmp_path / f"{number}.png",
            reading=AS_WRITTEN,
            device=CPU,
        )
        for number, twin in enumerate(twins)
    ]
    eight, twelve = (decode(path, channels=3) for path in drawn)
    assert np.array_equal(eight, twelve)


def test_check_and_expand_say_what_the_files_hold(
    augmentor: Augmentor, twins: tuple[Twin, Twin], tmp_path: Path
) -> None:
    eight, twelve = twins
    said = "24 files of 24 looked at with more than 8 bits: grey values from 0 to 4,095, read as 0 to 65,535"
    checked = " ".join(augmentor.run("check", twelve.manifest).err.split())
    assert f"{said} (images.range); they come out in 17 grey levels of 256" in checked
    (tmp_path / "auto.toml").write_text('[images]\nrange = "auto"\n')
    checked = augmentor.run("check", twelve.manifest, "--recipe", tmp_path / "auto.toml").err
    assert " ".join(checked.split()).endswith("read as 0 to 4,095 (images.range)")
    planned = plan_expansion(twelve.manifest, model=eight.run, settings=SETTINGS, out=tmp_path / "out")
    assert [note for note in planned.notes if said in note]
    planned = plan_expansion(twelve.manifest, model=twelve.run, settings=SETTINGS, out=tmp_path / "out")
    assert not [note for note in planned.notes if "bits" in note]
