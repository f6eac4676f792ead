"""Does it obey? Counts by hand, verdicts at their thresholds, the file."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from augmentor.cli.tables import target_accuracy_table
from augmentor.errors import OutputError
from augmentor.judge import target_accuracy
from augmentor.judge.distances import FeatureSet
from augmentor.judge.target_accuracy import (
    AttributeTargetAccuracy,
    DomainRealism,
    TargetAccuracy,
    advice,
    attribute_accuracies,
    domain_realism,
    read_target_accuracy,
    write_target_accuracy,
)
from augmentor.judge.translations import JudgedTranslations
from augmentor.report.provenance import AccuracyRow
from stargan.checkpoints import Json, Model
from stargan.labels import UNKNOWN, Attribute, LabelSpace
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
        obeys=0.0,  # blond 0 of 1; brown is no image's
        untouched=0.0,  # row 0 is not seen as blond
        real=0.25,
        chance=0.5,  # the images are black or blond
        change=1.0,
        translations=1,
        real_images=3,
        values={"blond": 0.0},
        absent=("brown",),
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
    assert attribute(real=0.4).sentence() == (
        "smile cannot be judged: the classifier itself is worse than guessing: right about 40% of real images "
        "(guessing: 50%)."
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


# ---- distances to real images ----


def realism(count: int, *, copies: bool = False) -> tuple[tuple[DomainRealism, ...], tuple[str, ...], LabelSpace]:
    """Translations of `count` images of each of four domains, perfect ones or copies; two images a subject."""
    space = LabelSpace(attributes=(Attribute(name="smile"), Attribute(name="woman")))
    domains = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    codes = domains.repeat_interleave(count, dim=0)
    rows = torch.arange(len(codes)).repeat(4)
    targets = domains.repeat_interleave(len(codes), dim=0)
    random = torch.Generator().manual_seed(0)

    def features(of: torch.Tensor) -> torch.Tensor:
        return torch.randn(len(of), 3, generator=random) + 5 * of.sum(dim=1, keepdim=True) + 9 * of[:, :1]

    real = FeatureSet(features(codes), codes)
    made = JudgedTranslations(
        rows=rows,
        targets=targets,
        predicted=targets,
        change=torch.zeros(len(rows)),
        features=real.features[rows] if copies else features(targets),
    )
    groups = [f"subject {row // 2}" for row in range(len(codes))]
    return *domain_realism(made, real, groups=groups, space=space, go_on=lambda: True), space


def test_a_copy_is_far_from_other_subjects_of_the_domain_and_a_perfect_translation_is_not() -> None:
    found, left_out, _ = realism(40)
    assert [each.domain for each in found] == [f"smile={a}, woman={b}" for a in (0, 1) for b in (0, 1)]
    assert left_out == ()
    copied, _, _ = realism(40, copies=True)
    for perfect, copy in zip(found, copied, strict=True):
        assert perfect.frechet_ratio is not None
        assert copy.frechet_ratio is not None
        assert perfect.frechet_ratio < 6 < copy.frechet_ratio
        assert copy.frechet == copy.frechet_identity == perfect.frechet_identity
        assert copy.frechet_ratio == pytest.approx(copy.frechet / copy.frechet_floor, rel=1e-4)


def test_domains_of_few_images_are_measured_by_single_values_or_named() -> None:
    found, left_out, _ = realism(12)
    assert [each.domain for each in found] == ["smile=0", "smile=1", "woman=0", "woman=1"]
    assert left_out == ()
    found, left_out, _ = realism(2)
    assert found == ()
    assert [text.partition(":")[0] for text in left_out] == ["smile=0", "smile=1", "woman=0", "woman=1"]


def test_without_torchmetrics_that_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_accuracy, "TORCHMETRICS", False)
    assert realism(40)[:2] == ((), ("not measured (extra evaluate)",))


def test_the_table_fits_80_columns() -> None:
    found, _, _ = realism(40)
    whole = replace(
        measured(attribute()),
        domains=tuple(replace(each, domain=f"hair=blond, glasses=1, {each.domain}") for each in found) * 4,
        distances_left_out=tuple(f"hair={x}: not measured, 3 real images (10 are needed)" for x in "abcd"),
        mask_share=0.017,
        hue_introduced=3.21,
        detail=7.64,
    )
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(target_accuracy_table(whole))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(
        line.split() == ["target", "domain", "images", "/", "floor", "/", "floor", "/", "source"] for line in lines
    )
    assert sum(line.startswith("hair=blond, glasses=1, smile=") for line in lines) == 12
    text = " ".join(line.strip() for line in lines)
    assert "and 4 closer ones" in text
    assert "hair=c: not measured, 3 real images (10 are needed); and 1 more." in text
    assert "The mask repaints 1.7% of an image." in text
    assert "have a mean chroma of 3.2 grey levels" in text
    assert "Their fine detail is 7.6 times as far from real images of other subjects" in text
    # As it was where nothing of it is known.
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(target_accuracy_table(measured(attribute())))
    assert isinstance(console.file, io.StringIO)
    assert "real images of other subjects" not in console.file.getvalue()


@pytest.mark.parametrize(
    ("changed", "cells"),
    [
        ({}, ["90.0%", "10.0%", "90.0%", "50.0%", "8.0", "followed"]),
        ({"chance": 1.0, "real": 1.0, "obeys": 1.0}, ["-", "-", "-", "-", "8.0", "not", "judged"]),
        ({"real": 0.6, "obeys": 1.0}, ["-", "-", "60.0%", "50.0%", "8.0", "not", "judged"]),
        ({"translations": 3, "obeys": 1.0}, ["-", "-", "90.0%", "50.0%", "8.0", "not", "judged"]),
    ],
)
def test_a_row_shows_no_figures_that_mean_nothing(changed: dict[str, object], cells: list[str]) -> None:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    row = attribute(**changed)  # type: ignore[arg-type]
    console.print(target_accuracy_table(measured(row)))
    assert isinstance(console.file, io.StringIO)
    assert ["smile", *cells] in [line.split() for line in console.file.getvalue().splitlines()]
    stored = AccuracyRow(name=row.name, level=row.level, obeys=row.obeys, untouched=row.untouched, real=row.real)
    assert (stored.shown[0] is None) == (row.shown[0] is None) == (row.level == "not judged")


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


def test_a_file_of_an_earlier_version_is_read(space: LabelSpace, tmp_path: Path) -> None:
    known = model(space)
    now = replace(measured(attribute()), model_sha256=known.sha256, mask_share=0.5, hue_introduced=1.0, detail=1.0)
    write_target_accuracy(tmp_path, now)
    file = tmp_path / "obedience.json"
    state = json.loads(file.read_text())
    for key in ("domains", "distances_left_out", "mask_share", "hue_introduced", "detail"):
        del state[key]
    file.write_text(json.dumps(state))
    assert read_target_accuracy(tmp_path, known) == replace(now, mask_share=None, hue_introduced=None, detail=None)


def test_a_damaged_file_is_named(space: LabelSpace, tmp_path: Path) -> None:
    for content in ('{"step": 3', '{"step": 3}', "[]"):
        (tmp_path / "obedience.json").write_text(content)
        with pytest.raises(OutputError, match=r"obedience\.json cannot be read .*Delete it"):
            read_target_accuracy(tmp_path, model(space))
    with pytest.raises(OutputError, match=r"obedience\.json cannot be written"):
        write_target_accuracy(tmp_path / "nowhere", measured())
