"""A judge on the disk: it comes back as it was, damage is named, and it fits its model or says why not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from augmentor.errors import AugmentorError
from augmentor.judge.build import appraise
from augmentor.judge.classifier import kind_for, train_judge
from augmentor.judge.data import LabelledImages
from augmentor.judge.gate import Scorer
from augmentor.judge.stored import KeptJudge, load_judge, save_judge
from augmentor.judge.thresholds import Thresholds
from stargan.checkpoints import CheckpointError, Model, json_sha256
from stargan.labels import Attribute, LabelSpace
from stargan.networks import Generator
from tests.augmentor.judge.conftest import Brightness

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "brown")),
        Attribute(name="glasses"),
    )
)


@pytest.fixture(scope="module")
def data() -> LabelledImages:
    """40 images of 12 px: hair is the bright channel, glasses are dark."""
    random = torch.Generator().manual_seed(0)
    codes = torch.tensor([[i % 3, i // 3 % 2] for i in range(40)])
    images = torch.randint(100, 130, (40, 3, 12, 12), dtype=torch.uint8, generator=random)
    images[torch.arange(40), codes[:, 0]] += 90
    images[codes[:, 1] == 1, :, :5] = 0
    return LabelledImages(images=images, codes=codes)


@pytest.fixture(scope="module")
def kept(data: LabelledImages) -> KeptJudge:
    judge = train_judge(data, space=SPACE, steps=8, seed=0, device=torch.device("cpu"), batch_size=16)
    return appraise(
        judge,
        data,
        groups=[""] * 40,
        steps=8,
        images=40,
        validation_from="val",
        crop=10,
        discriminator=Brightness(),
        model_sha256="abc",
    )


def model(space: LabelSpace, **changed: object) -> Model:
    generator = Generator(vector_size=space.vector_size, width=2, downsamplings=0, blocks=0)
    plain = {"space": space, "image_size": (12, 12), "step": 0, "settings": {}, "sha256": "abc"}
    return Model(generator=generator, **{**plain, **changed})  # type: ignore[arg-type]


def test_it_comes_back_as_it_was(kept: KeptJudge, data: LabelledImages, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "judge"
    before = torch.get_rng_state()
    saved = save_judge(folder, kept)
    loaded = load_judge(folder)
    assert loaded is not None
    assert torch.equal(torch.get_rng_state(), before)
    assert sorted(path.name for path in folder.iterdir()) == ["judge.json", "judge.safetensors"]
    for field in (
        "report",
        "image_size",
        "image_channels",
        "crop",
        "realism",
        "preserved",
        "auto",
        "offers",
        "notes",
    ):
        assert getattr(loaded, field) == getattr(kept, field), field
    assert (loaded.notes, loaded.model_sha256) == (kept.notes, "abc")
    assert saved.sha256 == loaded.sha256 == save_judge(tmp_path / "again", kept).sha256
    assert len(saved.sha256) == 64
    targets = data.codes.roll(1, dims=0)
    one, other = (
        Scorer(judge, Brightness()).score(data.images, data.images, targets, data.codes)
        for judge in (kept, loaded)
    )
    for mine, its in zip(one, other, strict=True):
        assert (mine == its).all()


def test_another_judge_takes_its_place(kept: KeptJudge, tmp_path: Path) -> None:
    first = save_judge(tmp_path, kept)
    second = save_judge(tmp_path, replace(kept, auto=Thresholds(agreement=0.25)))
    loaded = load_judge(tmp_path)
    assert loaded is not None
    assert loaded.auto == Thresholds(agreement=0.25)
    assert loaded.sha256 == second.sha256 != first.sha256


def test_none_is_no_error(kept: KeptJudge, tmp_path: Path) -> None:
    assert load_judge(tmp_path) is None
    save_judge(tmp_path, kept)
    (tmp_path / "judge.json").unlink()  # weights come first: a kill may leave them alone
    assert load_judge(tmp_path) is None


def test_damage_is_named(kept: KeptJudge, tmp_path: Path) -> None:
    def damage(name: str, change: bytes | None) -> Path:
        folder = tmp_path / f"{name}{change!r:.8}"
        save_judge(folder, kept)
        file = folder / name
        if change is None:
            file.unlink()
        else:
            file.write_bytes(change)
        return folder

    stated = json.loads((save_and_path(kept, tmp_path) / "judge.json").read_text())
    edited = json.dumps({**stated, "auto": {**stated["auto"], "agreement": 0.0}}).encode()
    for name, change, said in (
        ("judge.safetensors", None, "cannot be read"),
        ("judge.safetensors", b"\0" * 99, "is damaged"),
        ("judge.json", b"{", "cannot be read"),
        ("judge.json", b"[]", "not a judge of format 2"),
        ("judge.json", edited, "was edited"),
    ):
        with pytest.raises(CheckpointError, match=f"{name}.*{said}.*augmentor judge MANIFEST"):
            load_judge(damage(name, change))


def save_and_path(kept: KeptJudge, tmp_path: Path) -> Path:
    save_judge(tmp_path / "whole", kept)
    return tmp_path / "whole"


def test_it_fits_its_model_or_says_why_not(kept: KeptJudge) -> None:
    assert kept.for_model(model(SPACE), crop=10, where="--judge j") is kept
    assert kept.realism is not None
    stranger = replace(kept, auto=Thresholds(realism=0.01, agreement=0.3))
    used = stranger.for_model(model(SPACE, sha256="other"), crop=10, where="--judge j")
    assert used.realism is None
    assert used.auto == Thresholds(agreement=0.3)
    others = LabelSpace(attributes=(Attribute(name="hat"),))
    for wrong, crop, said in (
        (model(others), 10, r"attributes hair \(black\|blond\|brown\), glasses \(0\|1\), not hat \(0\|1\)"),
        (model(SPACE, image_size=(16, 16)), 10, r"\(height, width\) \(12, 12\), not \(16, 16\)"),
        (model(SPACE), None, "crop 10, not None"),
    ):
        with pytest.raises(AugmentorError, match=f"--judge j: the judge does not fit the model.*{said}"):
            kept.for_model(wrong, crop=crop, where="--judge j")


@pytest.mark.parametrize(("side", "kind"), [(12, "small"), (63, "small"), (64, "resnet"), (128, "resnet")])
def test_small_images_have_the_small_network(side: int, kind: str) -> None:
    assert kind_for(side) == kind


def test_a_judge_from_before_the_small_network_is_a_resnet(
    kept: KeptJudge, data: LabelledImages, tmp_path: Path
) -> None:
    assert kept.judge.network.kind == "small"
    judge = train_judge(data, space=SPACE, steps=1, seed=0, device=torch.device("cpu"), kind="resnet")
    mean = torch.zeros(judge.outputs(data.images).features.shape[1])
    save_judge(tmp_path, replace(kept, judge=judge, mean=mean))
    file = tmp_path / "judge.json"
    stated = json.loads(file.read_text())
    assert stated.pop("network") == "resnet"
    del stated["sha256"]
    file.write_text(json.dumps({**stated, "sha256": json_sha256(stated)}))
    loaded = load_judge(tmp_path)
    assert loaded is not None
    assert torch.equal(loaded.judge.outputs(data.images).logits, judge.outputs(data.images).logits)
