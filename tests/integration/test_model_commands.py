"""`augmentor preview`, `info` and `convert checkpoint`: what is done with a model besides expanding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from augmentor import open_dataset
from augmentor.judge.stored import load_judge

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done, Small


def test_preview(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "preview.png"
    words = ("preview", small.manifest, "--model", model, "--out")
    done = augmentor.run(*words, out, "--rows", 3, "--domains", "hair=*")
    assert done.code == 0, done.err
    written, following = done.out.splitlines()
    assert written == str(out)
    assert following.startswith("Next:  ")
    assert following.endswith(f"expand {small.manifest} --model {model} --domains 'hair=*' --out expanded")
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        # The source and three hair colours, three rows, in cells of 96 px.
        assert 4 * 96 < picture.width < 6 * 96
        assert 3 * 96 < picture.height < 4 * 96
        assert np.asarray(picture).std() > 10
    again = augmentor.run(*words, tmp_path / "preview.jpg")
    assert again.code == 2
    assert "give it a name that ends in .png" in again.err


def test_info(augmentor: Augmentor, model: Path) -> None:
    done = augmentor.run("info", model)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("16 x 16 px colour images, 6 steps, ")
    assert lines[0].endswith(" weights of StarGAN")
    choice = "step 6, the last: the judge can be trusted with no attribute, so no checkpoint was scored"
    assert lines.pop(1) == f"Used: {choice}"
    assert lines[1:3] == ["  hair: black | blond | red", "  smile: 0 | 1"]
    stated = augmentor.run("info", model / "checkpoints" / "00000006", "--json").json
    assert (stated["image_size"], stated["image_channels"], stated["step"]) == ([16, 16], 3, 6)
    assert stated["choice"] == choice
    assert lines[3] == f"sha256 {stated['sha256']}"
    assert stated["obedience"] == json.loads((model / "obedience.json").read_text())
    assert lines[4].strip() == "The judge"
    assert "Automatic gate: " in done.out
    judge = stated["judge"]
    assert isinstance(judge, dict)
    assert judge["report"]["steps"] == 2
    assert [line.strip() for line in lines].index("Target accuracy") > 4
    nothing = augmentor.run("info", model.parent)
    assert nothing.code == 2
    assert "neither a run folder with a checkpoint nor a checkpoint" in nothing.err


def test_info_measures_whether_a_model_obeys(
    augmentor: Augmentor, small: Small, model: Path, tmp_path: Path
) -> None:
    slim = tmp_path / "slim"
    assert augmentor.run("convert", "checkpoint", model, "--out", slim).code == 0
    unknown = augmentor.run("info", slim)
    assert "Target accuracy is not measured yet" in unknown.out
    assert "No judge yet:" in unknown.out
    stated = augmentor.run("info", slim, "--json").json
    assert (stated["obedience"], stated["judge"]) == (None, None)
    words = ("info", slim, "--manifest", small.manifest, "--json")
    measured = augmentor.run(*words).json["obedience"]
    kept = json.loads((model / "obedience.json").read_text())
    assert isinstance(measured, dict)
    # The same classifier, for the checkpoint holds the recipe: all but the time is the same.
    assert {**measured, "seconds": 0} == {**kept, "seconds": 0}
    assert not (slim / "obedience.json").exists()
    without = augmentor.run("info", slim, "--manifest", tmp_path / "nothing.csv")
    assert without.code == 2
    assert "nothing.csv" in without.err


def test_a_judge_for_a_model_that_has_none(
    augmentor: Augmentor, small: Small, model: Path, tmp_path: Path
) -> None:
    slim = tmp_path / "slim"
    assert augmentor.run("convert", "checkpoint", model, "--out", slim).code == 0
    done = augmentor.run("judge", small.manifest, "--model", slim, "--steps", 3, "--json")
    assert done.code == 0, done.err
    assert (slim / "judge.json").is_file()
    lines = done.out.splitlines()
    assert lines[0].strip() == "The judge"
    assert f"Kept in {slim}" in lines
    # Six validation images: too few to trust anything, which is said.
    assert "hair is not gated on: 6 validation images are too few." in lines
    stated = augmentor.run("info", slim, "--json").json
    judge = stated["judge"]
    assert isinstance(judge, dict)
    assert {"out": str(slim), **judge} == done.json
    assert judge["model_sha256"] == stated["sha256"]
    # The model's obedience is measured with it from now on.
    measured = augmentor.run("info", slim, "--manifest", small.manifest, "--json").json["obedience"]
    assert isinstance(measured, dict)
    assert measured["judge_steps"] == 3


def test_a_judge_of_a_manifest_alone(augmentor: Augmentor, small: Small, tmp_path: Path) -> None:
    words = ("judge", small.manifest, "--steps", 2, "--size", "20x16", "--attributes", "smile")
    done = augmentor.run(*words, "--out", tmp_path / "judge", "--json")
    assert done.code == 0, done.err
    assert done.json["image_size"] == [16, 20]
    assert done.json["model_sha256"] is None
    kept = load_judge(tmp_path / "judge")
    assert kept is not None
    assert kept.judge.space.names == ("smile",)
    assert kept.sha256 == done.json["sha256"]
    # The same command makes the same judge.
    assert augmentor.run(*words, "--out", tmp_path / "again", "--json").json["sha256"] == kept.sha256
    for wrong, said in (
        (words, "--out says where to write the judge"),
        ((*words, "--minutes", 1, "--out", tmp_path / "no"), "--minutes and --steps exclude each other"),
        ((*words, "--model", tmp_path, "--out", tmp_path / "no"), "--size and --crop are the model's"),
    ):
        refused = augmentor.run(*wrong)
        assert refused.code == 2
        assert said in refused.err
    assert not (tmp_path / "no").exists()


def test_a_converted_model_translates_the_same(
    augmentor: Augmentor, small: Small, model: Path, outputs: dict[str, tuple[Path, Done]], tmp_path: Path
) -> None:
    words = ("--domains", "hair=*", "--domains", "smile=~", "--real", "none")
    whole = open_dataset(outputs["folder"][0], synthetic=True)
    for flags, most in (((), 0), (("--half",), 2)):
        slim, out = tmp_path / f"slim{most}", tmp_path / f"out{most}"
        done = augmentor.run("convert", "checkpoint", model, "--out", slim, *flags)
        assert done.code == 0, done.err
        assert done.out.startswith(f"{slim} (")
        assert sorted(path.name for path in slim.iterdir()) == ["config.json", "generator_ema.safetensors"]
        done = augmentor.run("expand", small.manifest, "--model", slim, *words, "--out", out)
        assert done.code == 0, done.err
        same = open_dataset(out)
        assert list(same.labels["key"]) == list(whole.labels["key"])
        for index in range(len(same)):
            difference = (same[index][0].int() - whole[index][0].int()).abs().max()
            # Other shards are other batches, which may round otherwise.
            assert difference <= max(most, 1)
    again = augmentor.run("convert", "checkpoint", model, "--out", tmp_path / "slim0")
    assert again.code == 2
    assert "exists already" in again.err
