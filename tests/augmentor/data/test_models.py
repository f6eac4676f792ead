"""Descriptions of foreign files, and plans that one direction cannot serve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from augmentor.data.manifest import AS_WRITTEN, TableReading
from augmentor.data.models import NO_DESCRIPTION, ForeignDescription, open_model, read_model_manifest
from augmentor.errors import AugmentorError, DomainError, ManifestError
from augmentor.planning.balance import BalanceRequest
from augmentor.planning.domains import DomainRequest, parse_domains
from augmentor.planning.plan import make_plan, refuse_other_direction, refuse_unlabelled
from augmentor.planning.rounds import with_balance
from stargan.checkpoints import Json, Model, save_model
from stargan.inference import Translator
from stargan.labels import Attribute, LabelSpace
from stargan.networks import CycleGanResnet

ANIMAL = LabelSpace(attributes=(Attribute(name="animal", kind="categorical", values=("horse", "zebra")),))


@pytest.fixture
def zebra_maker() -> Model:
    with torch.random.fork_rng(devices=[]):
        generator = CycleGanResnet(vector_size=2, width=2, blocks=1).eval()
    return Model(generator=generator, space=ANIMAL, image_size=(8, 8), step=0, settings={}, sha256="")


def test_a_description_as_flags() -> None:
    assert NO_DESCRIPTION.flags() == []
    described = ForeignDescription(attributes="male", crop=178, key="G_ema")
    assert described.flags() == ["--attributes", "male", "--model-crop", "178", "--key", "G_ema"]


@pytest.mark.parametrize(
    ("attributes", "advice"),
    [
        ("Black_Hair,Blond_Hair,Brown_Hair,Male,Young", ["hair=Black_Hair|Blond_Hair|Brown_Hair"]),
        ("Male,Big_Nose,Pointy_Nose,mood=a|b,no_Hat,red_hat", ["nose=Big_Nose|Pointy_Nose", "hat=no_Hat|red_hat"]),
        ("Black_Hair,Male,Blond_Hair", []),  # not one after another: no attribute has these entries
        ("hair=Black_Hair|Blond_Hair,Male", []),
        ("male,young,_,__", []),
        ("male,,young", []),
    ],
)
def test_bare_names_that_look_like_values_of_one_attribute(attributes: str, advice: list[str]) -> None:
    note = ForeignDescription(attributes=attributes).note
    if not advice:
        assert note is None
        return
    assert note is not None
    assert f"write {' and '.join(advice)}: " in note


@pytest.mark.parametrize("channels", [2, 4])
def test_generators_of_other_images_are_refused(channels: int, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        generator = CycleGanResnet(vector_size=2, width=2, blocks=1, image_channels=channels).eval()
        stargan = {"main.0.weight": torch.rand(2, channels + 2, 7, 7), "main.1.weight": torch.rand(2)}
        stargan |= {"main.1.bias": torch.rand(2), "main.3.weight": torch.rand(channels, 2, 7, 7)}
    model = Model(generator=generator, space=ANIMAL, image_size=(8, 8), step=0, settings={}, sha256="")
    save_model(tmp_path / "model", model=model)
    torch.save(stargan, tmp_path / "1-G.ckpt")
    for path in (tmp_path / "model", tmp_path / "1-G.ckpt"):
        with pytest.raises(
            AugmentorError, match=rf"images of {channels} channels.* with 1 \(grey\) or 3 \(colour"
        ):
            open_model(path)


def test_our_own_checkpoints_are_not_described(zebra_maker: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "model", model=zebra_maker)
    assert open_model(tmp_path / "model").only_target == 1
    with pytest.raises(AugmentorError, match=r"stores its attributes \(animal\).* Leave out --model-crop"):
        open_model(tmp_path / "model", ForeignDescription(crop=20))
    with pytest.raises(AugmentorError, match="neither a run folder with a checkpoint"):
        open_model(tmp_path / "nothing", ForeignDescription(attributes="animal"))
    for name in ("config.json", "generator_ema.safetensors"):
        with pytest.raises(AugmentorError, match=rf"{name} is a file of the checkpoint .*model: give that folder"):
            open_model(tmp_path / "model" / name, ForeignDescription(attributes="animal"))


@pytest.mark.parametrize("name", ["log.jsonl", "run.toml", "best.json", "samples/00000100.png"])
def test_a_file_inside_a_run_names_the_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run" / name
    for folder in (file.parent, tmp_path / "run" / "checkpoints"):
        folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "run" / "run.toml").touch()
    file.write_text("{}")
    with pytest.raises(AugmentorError, match=rf"{name}: a file of the run .*/run, and no model.*--model .*/run$"):
        open_model(file)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AugmentorError, match=r"Give the run: --model run$"):
        open_model(Path("run", name))


@pytest.mark.parametrize(
    ("codes", "domains", "identity", "asked"),
    [
        ([0, 0, 0], "animal=*", False, 0),  # horses become zebras, and horses they are
        ([0, 1, 1], "animal=zebra", True, 0),
        ([0, 1, 1], "each", False, 2),
        ([0, 1, 1], "animal=horse", False, 2),
        ([0, 0, 0], "animal=*", True, 3),
        ([0, -1, 0], "animal=~", False, 1),
    ],
)
def test_plans_in_one_direction(
    codes: list[int], domains: str, identity: bool, asked: int, zebra_maker: Model
) -> None:
    plan = make_plan(
        np.array(codes, dtype=np.int16)[:, None],
        space=ANIMAL,
        request=parse_domains([domains], ANIMAL),
        eligible=np.ones(3, dtype=np.bool_),
        with_real=True,
        include_identity=identity,
    )
    if not asked:
        refuse_other_direction(plan, zebra_maker, [domains])
        return
    with pytest.raises(
        DomainError, match=f"animal=horse is requested of {asked} images.*Use --domains animal=zebra"
    ):
        refuse_other_direction(plan, zebra_maker, [domains])


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A StarGAN of the original's layout with 5 label entries."""
    file = tmp_path / "9-G.ckpt"
    with torch.random.fork_rng(devices=[]):
        weights = {"main.0.weight": torch.rand(2, 3 + 5, 7, 7), "main.3.weight": torch.rand(3, 2, 7, 7)}
        weights |= {"main.1.weight": torch.rand(2), "main.1.bias": torch.rand(2)}
    torch.save(weights, file)
    return file


PEOPLE = "hair=black|blond|brown,male,young"


@pytest.mark.parametrize(
    ("domains", "balance", "refused"),
    [
        (["hair=*"], (), "male of 2 images, young of 3 images"),
        (["male=1"], (), "young of 3 images"),
        (["male=0,young=1"], (), ""),
        (["male=~,young=~"], (), ""),
        (["male=0,young=1", "hair=blond"], (), "young of 1 image"),  # two are blond already
        ([], ("male", "young"), ""),
        ([], ("hair",), "male of 2 images, young of 3 images"),
    ],
)
def test_labels_that_the_original_stargan_never_saw_unknown(
    domains: list[str], balance: tuple[str, ...], refused: str, original: Path
) -> None:
    model = open_model(original, ForeignDescription(attributes=PEOPLE))
    codes = np.array([[0, 1, 0], [-1, 0, 1], [1, -1, -1], [1, -1, -1], [2, 0, -1], [0, -1, 0]], dtype=np.int16)
    plan = make_plan(
        codes,
        space=model.space,
        request=parse_domains(domains, model.space) if domains else DomainRequest(),
        eligible=np.arange(6) < 5,  # the last row is not translated
        with_real=True,
    )
    if balance:
        request = BalanceRequest.parse(
            attributes=balance, to="7", counts=None, max_per_source=None, space=model.space
        )
        plan = with_balance(plan, request)
    told = open_model(original, ForeignDescription(attributes=PEOPLE, unlabelled="male=0,young=1"))
    refuse_unlabelled(plan, told)
    refuse_unlabelled(plan, replace(model, settings={}))  # a model of our own learns from unknown labels
    if not refused:
        refuse_unlabelled(plan, model)
        return
    with pytest.raises(DomainError, match=f"unknown: {refused}\\. .* --unlabelled "):
        refuse_unlabelled(plan, model)


def test_what_is_told_of_unknown_labels(original: Path, zebra_maker: Model, tmp_path: Path) -> None:
    told = open_model(original, ForeignDescription(attributes=PEOPLE, unlabelled=" young = 1,hair=brown"))
    assert told.unlabelled == {"young": "1", "hair": "brown"}
    save_model(tmp_path / "ours", model=told)
    assert open_model(tmp_path / "ours").unlabelled == told.unlabelled
    assert open_model(tmp_path / "ours", ForeignDescription(unlabelled="male=0")).unlabelled == {"male": "0"}
    for text, message in (
        ("yung=1", "no attribute is called 'yung'. Did you mean 'young'"),
        ("young", "young is one of 0, 1, not ''"),
        ("young=2", "young is one of 0, 1, not '2'"),
    ):
        with pytest.raises(AugmentorError, match=message):
            open_model(original, ForeignDescription(attributes=PEOPLE, unlabelled=text))
    save_model(tmp_path / "zebra", model=zebra_maker)
    with pytest.raises(AugmentorError, match="for generators of other implementations that read labels"):
        open_model(tmp_path / "zebra", ForeignDescription(unlabelled="animal=zebra"))


def test_the_translator_refuses_it_as_well(zebra_maker: Model) -> None:
    translator = Translator(zebra_maker, device=torch.device("cpu"))
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert translator.translate(images, torch.tensor([[1], [1]])).shape == images.shape
    for other in (0, -1):
        with pytest.raises(ValueError, match="translates into animal=zebra only"):
            translator.translate(images, torch.tensor([[1], [other]]))


def test_a_model_remembers_how_its_manifest_was_read(zebra_maker: Model, tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("photo,animal\n1.png,horse\n2.png,NA\n3.png,?\n")
    section: dict[str, Json] = {"image_column": "photo", "na_values": ["NA", "?"], "attributes": None}
    taught = replace(zebra_maker, settings={"recipe": {"manifest": section}})
    assert read_model_manifest(path, taught, reading=AS_WRITTEN).codes.tolist() == [[0], [-1], [-1]]
    with pytest.raises(ManifestError, match=r"row 4, column 'animal': '\?' is not one of"):
        read_model_manifest(path, taught, reading=TableReading(na_values=("NA",)))
    earlier = replace(zebra_maker, settings={"recipe": {"manifest": {"image_column": None}}})
    with pytest.raises(ManifestError, match="--image-column"):
        read_model_manifest(path, earlier, reading=AS_WRITTEN)
