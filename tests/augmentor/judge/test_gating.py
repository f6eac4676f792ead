"""The gate of an expansion: which judge is asked, what it demands, and what is said where there is none."""

from __future__ import annotations

import pickle
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from augmentor.errors import AugmentorError
from augmentor.judge.gate import Gate, RejectedThumbnails
from augmentor.judge.scores import Scores
from augmentor.judge.stored import KeptJudge, save_judge
from augmentor.judge.thresholds import AgreementReference, Thresholds
from augmentor.judge.translation_judge import GateSettings, TranslationJudge, Unchecked, find_translation_judge
from stargan.checkpoints import Model, load_model, save_checkpoint, save_model
from stargan.config import TrainConfig
from stargan.labels import LabelSpace
from tests.conftest import MakeJudge, MakeState

CPU = torch.device("cpu")
AUTO = GateSettings(gate="auto", thresholds=Thresholds())
OFF = GateSettings(gate="off", thresholds=Thresholds())


@pytest.fixture
def checkpoint(space: LabelSpace, tiny_state: MakeState, tmp_path: Path) -> Path:
    """An untrained checkpoint with its discriminator."""
    config = TrainConfig()
    folder = tmp_path / "run" / "checkpoints" / "0000000"
    folder.parent.mkdir(parents=True)
    save_checkpoint(folder, state=tiny_state(config), config=config, space=space, image_size=(16, 16), settings={})
    return folder


def find(
    path: Path, *, demands: GateSettings = AUTO, judge: Path | None = None, model: Model | None = None
) -> tuple[TranslationJudge | None, tuple[str, ...]]:
    return find_translation_judge(
        model or load_model(path), path, demands=demands, judge=judge, crop=None, manifest=Path("faces.csv")
    )


def keep(folder: Path, kept: KeptJudge) -> KeptJudge:
    return save_judge(folder, kept)


# ---- which judge ----


def test_the_judge_of_the_model(checkpoint: Path, space: LabelSpace, untrained_judge: MakeJudge) -> None:
    model = load_model(checkpoint)
    kept = keep(checkpoint, untrained_judge(space, realism=(0.0, 0.5), model_sha256=model.sha256))
    for path in (checkpoint, checkpoint.parents[1]):
        judging, notes = find(path)
        assert judging is not None
        assert (judging.kept.sha256, judging.gate.thresholds, notes) == (kept.sha256, kept.auto, ())
        assert judging.discriminator is not None


def test_another_judge_takes_its_place(
    checkpoint: Path, space: LabelSpace, untrained_judge: MakeJudge, tmp_path: Path
) -> None:
    keep(checkpoint, untrained_judge(space))
    other = keep(tmp_path / "judge", untrained_judge(space, seed=1, realism=(0.5,), model_sha256="of another"))
    keep(tmp_path / "other" / "checkpoints" / "0000001", other)
    (tmp_path / "other" / "checkpoints" / "0000001" / "config.json").touch()
    assert find(checkpoint, judge=tmp_path / "other")[0] is not None
    judging, _ = find(checkpoint, judge=tmp_path / "judge")
    assert judging is not None
    assert judging.kept.sha256 == other.sha256
    assert judging.discriminator is None  # The scores that it knows are of another model's.
    stranger = LabelSpace(attributes=space.attributes[:1])
    keep(tmp_path / "strange", untrained_judge(stranger))
    with pytest.raises(AugmentorError, match=r"--judge .*strange: the judge does not fit the model: .*attributes"):
        find(checkpoint, judge=tmp_path / "strange")
    with pytest.raises(AugmentorError, match=r"--judge .*empty: there is no judge in it .*augmentor judge faces"):
        find(checkpoint, judge=tmp_path / "empty")


def test_a_model_without_a_judge(checkpoint: Path) -> None:
    judging, notes = find(checkpoint)
    assert judging is None
    assert notes == (
        "the model has no judge: every translation is kept, good or bad. Make one: augmentor judge faces.csv "
        f"--model {checkpoint}",
    )
    for demands, flag in (
        (GateSettings(gate="off", thresholds=Thresholds(agreement=0.5)), "--min-agreement"),
        (GateSettings(gate="auto", thresholds=Thresholds(preserved=0.5)), "--min-preserved"),
        (GateSettings(gate="off", thresholds=Thresholds(), ranks=True), "--keep-best"),
    ):
        with pytest.raises(AugmentorError, match=rf"{flag} needs a judge, and .* has none. Make one: augmentor"):
            find(checkpoint, demands=demands)


def test_a_foreign_file_has_no_judge_of_its_own(
    checkpoint: Path, space: LabelSpace, untrained_judge: MakeJudge, tmp_path: Path
) -> None:
    file = tmp_path / "200000-G.ckpt"
    file.touch()
    model = load_model(checkpoint)
    words = ["--attributes", "hair=black|blond|brown,glasses"]
    judging, notes = find_translation_judge(
        model, file, demands=AUTO, judge=None, crop=None, manifest=Path("faces.csv"), described=words
    )
    assert judging is None
    assert f"--model {file} {shlex.join(words)} --out JUDGE, then expand with --judge JUDGE" in notes[0]
    keep(tmp_path / "judge", untrained_judge(space))
    assert find(file, judge=tmp_path / "judge", model=model)[0] is not None


def test_nobody_is_asked_where_nothing_is_demanded(
    checkpoint: Path, space: LabelSpace, untrained_judge: MakeJudge
) -> None:
    keep(checkpoint, untrained_judge(space))
    (checkpoint / "judge.safetensors").write_bytes(b"damaged")
    assert find(checkpoint, demands=OFF) == (None, ())
    with pytest.raises(AugmentorError, match=r"--model .*judge\.safetensors is damaged"):
        find(checkpoint)


# ---- what it demands ----


def test_given_thresholds_take_the_place_of_the_judge_s(
    checkpoint: Path, space: LabelSpace, untrained_judge: MakeJudge
) -> None:
    keep(checkpoint, untrained_judge(space, auto=Thresholds(agreement=0.4, preserved=0.7)))
    for demands, thresholds, given in (
        (AUTO, Thresholds(agreement=0.4, preserved=0.7), ()),
        (
            GateSettings(gate="auto", thresholds=Thresholds(agreement=0.9)),
            Thresholds(agreement=0.9, preserved=0.7),
            ("agreement",),
        ),
        (
            GateSettings(gate="off", thresholds=Thresholds(preserved=0.1)),
            Thresholds(preserved=0.1),
            ("preserved",),
        ),
        (GateSettings(gate="off", thresholds=Thresholds(), ranks=True), Thresholds(), ()),
    ):
        judging, _ = find(checkpoint, demands=demands)
        assert judging is not None
        assert (judging.gate.thresholds, judging.given) == (thresholds, given)
        state = judging.to_json()["gate"]
        assert isinstance(state, dict)
        assert state["given"] == list(given)
        assert (state["lowered"], state["floor"]) == ([], None)
        assert state["thresholds"] == {
            "agreement": thresholds.agreement,
            "realism": None,
            "preserved": thresholds.preserved,
        }
    with pytest.raises(AugmentorError, match="--min-realism asks the model's discriminator, and --model"):
        find(checkpoint, demands=GateSettings(gate="auto", thresholds=Thresholds(realism=0.1)))


def test_what_is_asked_less_of_is_stated(checkpoint: Path, space: LabelSpace, untrained_judge: MakeJudge) -> None:
    codes = torch.tensor([[0, i % 2] for i in range(60)] + [[2, 1]] * 10)
    probabilities = torch.zeros(70, 4)
    probabilities[torch.arange(70), codes[:, 0]] = 1
    probabilities[:, 3] = torch.where(codes[:, 1] == 1, 0.95, 0.05)
    probabilities[60:, 3] = 0.5
    trusted = torch.tensor([True, True])
    reference = AgreementReference(probabilities=probabilities, codes=codes, space=space, trusted=trusted)
    keep(checkpoint, replace(untrained_judge(space, auto=Thresholds(agreement=0.9)), reference=reference))
    stated = {}
    for least in (None, 0.8):
        judging, _ = find(checkpoint, demands=GateSettings(gate="auto", thresholds=Thresholds(agreement=least)))
        assert judging is not None
        gate = judging.to_json()["gate"]
        assert isinstance(gate, dict)
        stated[least] = gate["lowered"]
    # What a person asks for is asked of all.
    assert stated == {None: [{"values": {"hair": "brown", "glasses": "1"}, "agreement": 0.5}], 0.8: []}


def test_attributes_that_the_judge_does_not_know_are_named(
    checkpoint: Path, space: LabelSpace, untrained_judge: MakeJudge
) -> None:
    keep(checkpoint, untrained_judge(space, doubted=("glasses",)))
    assert find(checkpoint)[1] == ("glasses is not gated on: it is right about half",)
    keep(checkpoint, untrained_judge(space, doubted=space.names))
    assert len(find(checkpoint)[1]) == 2
    given = GateSettings(gate="auto", thresholds=Thresholds(agreement=0.5))
    assert "with no attribute, so --min-agreement rejects nothing" in find(checkpoint, demands=given)[1][2]


def test_what_the_judge_says_of_its_thresholds_is_told_where_they_hold(
    checkpoint: Path, space: LabelSpace, untrained_judge: MakeJudge
) -> None:
    keep(checkpoint, replace(untrained_judge(space), notes=("An agreement of 0.15 rejects 98 %.",)))
    assert find(checkpoint)[1] == ("An agreement of 0.15 rejects 98 %.",)
    for demands in (
        GateSettings(gate="auto", thresholds=Thresholds(agreement=0.5)),
        GateSettings(gate="off", thresholds=Thresholds(), ranks=True),
    ):
        assert find(checkpoint, demands=demands)[1] == ()


def test_changes_that_nothing_checks_are_named(
    checkpoint: Path, space: LabelSpace, untrained_judge: MakeJudge
) -> None:
    red, no_glasses, glasses = (0, 1), (1, 0), (1, 1)
    kept = untrained_judge(space, doubted=("glasses",))
    few = replace(kept.reference, codes=torch.tensor([[0, 0], [2, 1]]), probabilities=torch.zeros(2, 4))
    keep(checkpoint, replace(kept, reference=few))
    judging, _ = find(checkpoint)
    assert Unchecked.of(judging, {(0, 0), (0, 2)}, space, gate="auto") == ()
    found = Unchecked.of(judging, {glasses, (0, 0), red, no_glasses}, space, gate="auto")
    assert [(each.attribute, each.values, each.reason) for each in found] == [
        ("hair", ("blond",), "no validation image has hair=blond"),
        ("glasses", ("0", "1"), "it is right about half"),
    ]
    assert [each.reason for each in Unchecked.of(None, {red}, space, gate="auto")] == ["the model has no judge"]
    assert [each.reason for each in Unchecked.of(None, {red}, space, gate="off")] == ["--gate off"]
    (checkpoint / "judge.json").unlink()
    with pytest.raises(AugmentorError, match="--gate on needs a judge"):
        find(checkpoint, demands=GateSettings(gate="on", thresholds=Thresholds()))


# ---- judging ----


def test_a_judge_can_be_sent_to_a_process(space: LabelSpace, untrained_judge: MakeJudge) -> None:
    judging = TranslationJudge(
        kept=untrained_judge(space), discriminator=None, gate=Gate(thresholds=Thresholds(agreement=0.15))
    )
    sent: TranslationJudge = pickle.loads(pickle.dumps(judging))
    random = torch.Generator().manual_seed(0)
    pictures, sources = torch.randint(256, (2, 9, 3, 16, 16), dtype=torch.uint8, generator=random)
    targets = torch.tensor([[number % 3, number % 2] for number in range(9)])
    own = torch.zeros(9, 2, dtype=torch.int64)
    here, there = (each.on(CPU).judge(pictures, sources, targets, own) for each in (judging, sent))
    np.testing.assert_equal(here, there)
    agreement = here.scores.agreement
    assert [bool(reason) for reason in here.reasons] == (agreement < 0.15).tolist()
    np.testing.assert_allclose(here.shortfalls, 0.15 - agreement)
    assert 0 < (agreement < 0.15).sum() < 9


def test_how_far_a_translation_misses_what_it_misses_most() -> None:
    unknown = np.nan
    scores = Scores(
        agreement=np.array([0.1, 0.9, unknown, unknown]),
        per_attribute=np.zeros((4, 2)),
        realism=np.array([0.5, 0.0, unknown, unknown]),
        preserved=np.array([0.5, 0.5, -0.5, 0.5]),
        expected=np.array([0.3, 0.95, 0.3, unknown]),
        checked=np.ones(4, dtype=bool),
        discriminator=np.full(4, unknown),
    )
    gate = Gate(thresholds=Thresholds(agreement=0.5, realism=0.2))
    np.testing.assert_allclose(gate.shortfalls(scores), [0.4, 0.2, unknown, unknown])
    np.testing.assert_allclose(replace(gate, by_domain=True).shortfalls(scores), [0.2, 0.2, unknown, unknown])
    only_preserved = Gate(thresholds=Thresholds(preserved=0.0), by_domain=True)
    np.testing.assert_allclose(only_preserved.shortfalls(scores), [-0.5, -0.5, 0.5, -0.5])


def test_few_pictures_are_held_of_many() -> None:
    shown, block = RejectedThumbnails(), torch.zeros(50, 3, 200, 100, dtype=torch.uint8)
    for position in range(50):
        shown.add(position, (position * 7 % 50) / 50, block[position])
    nearest = [position for position in range(50) if position * 7 % 50 < 3]
    worst = [position for position in range(50) if position * 7 % 50 > 46]
    assert set(shown.thumbnails()) == {*nearest, *worst}
    one = RejectedThumbnails()
    one.add(4, 0.5, block[0])
    one.add(2, 0.5, block[0])
    assert list(one.thumbnails()) == [2, 4]


def test_models_that_only_translate_have_no_discriminator(
    checkpoint: Path, space: LabelSpace, untrained_judge: MakeJudge, tmp_path: Path
) -> None:
    model = load_model(checkpoint)
    save_model(tmp_path / "shipped", model=model)
    shipped = load_model(tmp_path / "shipped")
    keep(tmp_path / "shipped", untrained_judge(space, realism=(0.5,), model_sha256=shipped.sha256))
    judging, _ = find(tmp_path / "shipped")
    assert judging is not None
    assert judging.discriminator is None
    picture, target = torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.zeros(1, 2, dtype=torch.int64)
    assert np.isnan(judging.on(CPU).judge(picture, picture, target, target).scores.realism).all()
