"""Does it obey? Counts by hand, verdicts at their thresholds, the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from augmentor.errors import OutputError
from augmentor.judge.target_accuracy import (
    AttributeTargetAccuracy,
    TargetAccuracy,
    advice,
    attribute_accuracies,
    read_target_accuracy,
    write_target_accuracy,
)
from augmentor.judge.translations import JudgedTranslations
from stargan.checkpoints import Json, Model
from stargan.labels import UNKNOWN, LabelSpace
from stargan.networks import Conditioning, Generator


def model(space: LabelSpace, *, conditioning: Conditioning = "norm", **settings: Json) -> Model:
    generator = Generator(vector_size=4, width=2, downsamplings=0, blocks=0, conditioning=conditioning)
    return Model(generator=generator, space=space, image_size=(8, 8), step=10, settings=settings, sha256="abc")


# ---- counts ----


def test_scores_by_hand(space: LabelSpace) -> None:
    own = torch.tensor([[0, 0], [1, UNKNOWN], [0, 1]])
    seen = torch.tensor([[0, 0], [2, 1], [1, 1]])  # hair: black 1 of 2, blond 0 of 1; glasses: 1 of 1 and 1 of 1
    made = JudgedTranslations(
        rows=torch.tensor([0, 0, 1, 2, 1]),
        targets=torch.tensor([[1, 0], [2, 0], [2, UNKNOWN], [0, 0], [1, 1]]),
        # Into blond: no. Into brown: yes, yes. Without glasses: yes. With glasses, where that is unknown: no.
        predicted=torch.tensor([[0, 0], [2, 0], [2, 1], [0, 0], [1, 0]]),
        change=torch.tensor([1.0, 2.0, 6.0, 10.0, 20.0], dtype=torch.float64),
    )
    hair, glasses = attribute_accuracies(seen, own, made, space)
    assert hair == AttributeTargetAccuracy(
        name="hair",
        obeys=0.5,  # blond 0 of 1, brown 2 of 2
        untouched=0.25,  # row 0 is not seen as blond, nor as brown; row 1 is seen as brown
        real=0.25,
        chance=0.5,  # the images are black or blond
        change=3.0,
        translations=3,
        real_images=3,
        values={"blond": 0.0, "brown": 1.0},
    )
    assert glasses == AttributeTargetAccuracy(
        name="glasses",
        obeys=0.5,
        untouched=0.5,  # row 2 is seen with glasses, and should lose them; row 1 is seen with them, too
        real=1.0,
        chance=0.5,
        change=15.0,
        translations=2,
        real_images=2,
        values={"0": 1.0, "1": 0.0},
    )


def test_without_translations_there_is_nothing_to_count(space: LabelSpace) -> None:
    nothing = torch.empty(0, 2, dtype=torch.int64)
    made = JudgedTranslations(
        rows=torch.empty(0, dtype=torch.int64),
        targets=nothing,
        predicted=nothing,
        change=torch.empty(0, dtype=torch.float64),
    )
    for attribute in attribute_accuracies(nothing, nothing, made, space):
        assert (attribute.obeys, attribute.real, attribute.change, attribute.values) == (None, None, None, {})
        assert (
            attribute.sentence() == f"{attribute.name} cannot be judged: no validation image has a label for it."
        )


# ---- the verdict ----


def attribute(name: str = "smile", **changed: object) -> AttributeTargetAccuracy:
    """An attribute of two values that the classifier recognises in 90 % of real images."""
    base = AttributeTargetAccuracy(
        name=name,
        obeys=0.9,
        untouched=0.1,
        real=0.9,
        chance=0.5,
        change=8.0,
        translations=100,
        real_images=100,
        values={"0": 0.95, "1": 0.85},
    )
    return replace(base, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "level"),
    [
        # Obeys from 0.5 + 0.6 * (0.9 - 0.5) = 0.74 on; ignores below 0.1 + 0.3 * (0.9 - 0.1) = 0.34.
        ({"obeys": 0.75}, "obeys"),
        ({"obeys": 0.73}, "in part"),
        ({"obeys": 0.35}, "in part"),
        ({"obeys": 0.33}, "ignores"),
        # A worse classifier asks for less: 0.5 + 0.6 * 0.3 = 0.68.
        ({"obeys": 0.69, "real": 0.8}, "obeys"),
        # Six values: guessing is 1/6, so 1/6 + 0.6 * (0.9 - 1/6) = 0.61.
        ({"obeys": 0.62, "chance": 1 / 6}, "obeys"),
        # A classifier that is nearer to guessing than to being right is not believed, whatever it says.
        ({"obeys": 0.9, "real": 0.74}, "not judged"),
        ({"obeys": 0.9, "real": 0.76}, "obeys"),
        ({"obeys": 0.9, "real": 0.57, "chance": 1 / 6}, "not judged"),
        ({"obeys": 0.9, "real": 0.59, "chance": 1 / 6}, "obeys"),
        ({"real_images": 7}, "not judged"),
        ({"translations": 7}, "not judged"),
        ({"chance": 1.0, "real": 1.0}, "not judged"),
        ({"obeys": None}, "not judged"),
        ({"real": None}, "not judged"),
    ],
)
def test_levels(changed: dict[str, object], level: str) -> None:
    assert attribute("smile", **changed).level == level


def test_what_cannot_be_judged_says_why() -> None:
    assert attribute().sentence() == ""
    assert attribute(real=0.6).sentence() == (
        "smile cannot be judged: the classifier itself is right about only 60% of real images (guessing: 50%)."
    )
    assert "7 validation images are too few" in attribute(real_images=7).sentence()
    assert "3 translations are too few" in attribute(translations=3).sentence()
    assert "have one value of it only" in attribute(chance=1.0, real=1.0).sentence()


def measured(*attributes: AttributeTargetAccuracy) -> TargetAccuracy:
    return TargetAccuracy(
        step=10,
        model_sha256="abc",
        sources="val",
        images=100,
        translations=300,
        judge_steps=200,
        judge_images=1000,
        unreadable=0,
        seconds=1.5,
        identity_change=0.25,
        attributes=attributes,
        advice=("train longer", "pray"),
    )


def test_verdicts() -> None:
    names = [attribute(name) for name in ("hair", "glasses", "smile")]
    assert measured(*names).verdict == ("The generator follows hair, glasses and smile.",)
    assert measured(names[0]).verdict == ("The generator follows hair.",)
    ignored = attribute("style", obeys=0.12, values={"0": 0.2, "1": 0.04})
    half = attribute("tone", obeys=0.5, values={"dark": 0.1, "light": 0.9})
    assert measured(ignored, names[0], half).verdict == (
        "The generator follows hair.",
        "It follows tone only in part: 50% of its translations show the new value, and the classifier recognises "
        "90% of real images; the hardest is dark (10%).",
        "It ignores style: 12% of its translations show the new value, and the classifier recognises 90% of real "
        "images; the hardest is 1 (4%).",
        "What may help: train longer; pray.",
    )
    blind = measured(attribute(real=0.5)).verdict
    assert len(blind) == 2
    assert "The classifier had 200 steps on 1,000 images" in blind[1]


def test_advice_is_about_the_model(space: LabelSpace) -> None:
    concat, norm = (
        advice(model(space, conditioning=c, recipe={"loss": {"domain_weight": 2.5}})) for c in ("concat", "norm")
    )
    assert any('generator.conditioning = "norm"' in tip for tip in concat)
    assert not any("conditioning" in tip for tip in norm)
    assert any("loss.domain_weight (now 2.5)" in tip for tip in norm)
    assert any("train longer" in tip for tip in norm)
    assert any("8 x 8 px" in tip for tip in norm)


# ---- the file ----


def test_the_file_holds_all_of_it_and_belongs_to_one_model(space: LabelSpace, tmp_path: Path) -> None:
    known = model(space)
    obedience = replace(measured(attribute(), attribute("tone", obeys=None, real=None)), model_sha256=known.sha256)
    assert read_target_accuracy(tmp_path, known) is None
    write_target_accuracy(tmp_path, obedience)
    assert read_target_accuracy(tmp_path, known) == obedience
    checkpoint = tmp_path / "checkpoints" / "00000010"
    checkpoint.mkdir(parents=True)
    assert read_target_accuracy(checkpoint, known) == obedience
    assert read_target_accuracy(tmp_path, replace(known, sha256="another")) is None
    assert read_target_accuracy(tmp_path, replace(known, step=11)) is None
    state = json.loads((tmp_path / "obedience.json").read_text())
    assert [item["level"] for item in state["attributes"]] == ["obeys", "not judged"]
    assert state["verdict"] == list(obedience.verdict)
    assert state["identity_change"] == 0.25
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["obedience.json"]


def test_a_damaged_file_is_named(space: LabelSpace, tmp_path: Path) -> None:
    for content in ('{"step": 3', '{"step": 3}', "[]"):
        (tmp_path / "obedience.json").write_text(content)
        with pytest.raises(OutputError, match=r"obedience\.json cannot be read .*Delete it"):
            read_target_accuracy(tmp_path, model(space))
    with pytest.raises(OutputError, match=r"obedience\.json cannot be written"):
        write_target_accuracy(tmp_path / "nowhere", measured())
