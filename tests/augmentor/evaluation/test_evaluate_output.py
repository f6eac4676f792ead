"""Whole evaluations of small planted outputs: what is found, what is refused, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from augmentor.errors import AugmentorError, ManifestError, OutputError
from augmentor.evaluation import TITLES, EvaluateSettings, Evaluation, evaluate
from augmentor.evaluation.data import read_data, read_output
from augmentor.evaluation.remake import draw_ungated

if TYPE_CHECKING:
    from tests.augmentor.evaluation.conftest import Planted, Row, Translation

CPU = torch.device("cpu")
SCORES = ("0.1000", "0.5000", "0.8000", "0.1000", "1.0000")
REJECTED = (
    "key,split,group,source_id,source_path,hue,mark,changed,"
    "agreement,realism,preserved,agreement:hue,agreement:mark,reason"
)


def settings(**changes: object) -> EvaluateSettings:
    return EvaluateSettings(**{"seeds": 2, "steps": 40, "batch_size": 16, "ratios": (), **changes})  # type: ignore[arg-type]


def flipped(made: Planted) -> list[Translation]:
    """Every training row with its mark put on or taken off."""
    return [made.translate(row, (row.codes[0], 1 - row.codes[1])) for row in made.of("train")]


def small(made: Planted) -> Planted:
    for split, count in (("train", 4), ("val", 2), ("test", 4)):
        for hue in range(3):
            for mark in range(2):
                made.add(count, split, (hue, mark))
    return made


def test_it_sees_that_true_images_of_what_was_missing_help(lopsided: Planted) -> None:
    out = lopsided.output("out", flipped(lopsided))
    found = evaluate(lopsided.manifest(), out, settings=settings(), device=CPU)
    assert found.verdict.word == "helps"
    assert found.verdict.arm == "oversampled-synthetic"
    arms = {arm.name: arm for arm in found.arms}
    assert list(arms) == [
        "real",
        "oversampled",
        "oversampled-trivialaugment",
        "ungated",
        "oversampled-synthetic",
        "synthetic",
    ]
    assert set(found.skipped) == {"gated"}
    assert arms["ungated"].balanced.value > 0.9
    assert arms["real"].balanced.value < 0.6
    worst = arms["real"].worst_group
    assert worst is not None
    assert worst.accuracy.value < 0.6
    assert found.attributes == ["mark"]
    assert found.counts == {
        "train": 72, "val": 36, "test": 72, "test_units": 36, "kept": 72, "rejected": 0, "unreadable": 0,
        "generators": 1, "folds": 1,
    }  # fmt: skip
    groups = {group.name: group for group in found.groups}
    assert {name: (g.test_images, g.train_real, g.train_synthetic) for name, g in groups.items()} == {
        "mark=0": (36, 48, 24),
        "mark=1": (36, 24, 48),
    }
    # Translations of both marks were requested, so that both are what was filled.
    assert (found.verdict.measure, [group.name for group in found.filled]) == ("filled", ["mark=0", "mark=1"])
    assert [group.test_units for group in found.filled] == [18, 18]
    filled, of_marks = arms["real"].filled, [group.accuracy["real"].value for group in found.filled]
    assert filled is not None
    assert filled.value == pytest.approx(sum(of_marks) / 2)
    assert 0 < found.verdict.smallest_gain < 0.5
    gains = {(each.measure, each.against): each.difference for each in found.verdict.differences}
    assert gains["worst_group", "real"].low > 0.2


def test_the_filled_combinations_are_those_that_were_asked_for(planted: Planted) -> None:
    small(planted)
    table = planted.manifest()

    def filled(name: str, translations: list[Translation], **description: object) -> tuple[object, ...]:
        return read_data(table, read_output(planted.output(name, translations, **description)), most=10).filled

    sources = {row.codes: row for row in planted.of("train")}
    to_blue = [planted.translate(sources[0, 1], (2, 1)), planted.translate(sources[1, 0], (2, 0))]
    # The hue alone was changed, so that only the hue is asked for.
    assert filled("hue", to_blue) == (((0, 2),),)
    both = [*to_blue, planted.translate(sources[0, 0], (1, 1))]
    assert filled("both", both) == (((0, 1), (1, 1)), ((0, 2), (1, 0)), ((0, 2), (1, 1)))
    # --balance says what was wanted, also of a combination that nothing was kept for.
    state = {"before": 4, "after": 4, "sources_used_up": True}
    balance = [
        {"domain": {"hue": "red", "mark": "1"}, "wanted": 9, **state},
        {"domain": {"hue": "blue", "mark": "0"}, "wanted": 4, **state},
        {"domain": {"hue": "green", "mark": "0"}, "wanted": None, **state},
    ]
    assert filled("balanced", both, balance=balance) == (((0, 0), (1, 1)),)
    # What lacked less than a tenth can hardly gain: it counts only where nothing lacked more.
    almost = {"domain": {"hue": "blue", "mark": "1"}, "wanted": 100, **state, "before": 91}
    assert filled("with-almost", both, balance=[*balance, almost]) == (((0, 0), (1, 1)),)
    assert filled("almost", both, balance=[*balance[1:], almost]) == (((0, 2), (1, 1)),)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shuffled_labels_report_no_gain(planted: Planted, seed: int) -> None:
    planted.random = np.random.default_rng(seed)
    labels = [(hue, mark) for hue in range(3) for mark in range(2)]
    for split, count in (("train", 60), ("val", 12), ("test", 72)):
        for _ in range(count):
            shown, labelled = planted.random.integers(len(labels), size=2)
            planted.add(1, split, labels[labelled], shown=labels[shown])
    translations = [planted.translate(row, (row.codes[0], 1 - row.codes[1])) for row in planted.of("train")]
    out = planted.output("out", translations)
    found = evaluate(planted.manifest(), out, settings=settings(steps=12), device=CPU)
    assert found.verdict.word != "helps"
    assert all(0.3 < arm.balanced.value < 0.7 for arm in found.arms)


@pytest.mark.parametrize("name", ["out", "out.h5"])
def test_a_killed_evaluation_goes_on_and_ends_the_same(planted: Planted, name: str) -> None:
    small(planted)
    translations = flipped(planted)
    out, other = planted.output(name, translations), planted.output(f"other{Path(name).suffix}", translations)
    manifest, quick = planted.manifest(), settings(steps=3, ratios=(0.5,))

    heard: list[tuple[int, int, int]] = []

    def kill(done: int, total: int, before: int) -> None:
        heard.append((done, total, before))
        if done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(manifest, out, settings=quick, device=CPU, on_steps=kill)
    results = out / "evaluation.json" if name == "out" else out.with_suffix(".evaluation.json")
    assert not results.exists()
    heard.clear()
    evaluate(manifest, out, settings=quick, device=CPU, on_steps=lambda *at: heard.append(at))
    assert heard[0] == (16, 42, 15)
    evaluate(manifest, other, settings=quick, device=CPU)
    others = other / "evaluation.json" if name == "out" else other.with_suffix(".evaluation.json")
    assert results.read_bytes() == others.read_bytes()
    heard.clear()
    again = evaluate(manifest, out, settings=quick, device=CPU, on_steps=lambda *at: heard.append(at))
    assert heard == []
    state = json.loads(results.read_bytes())
    assert {**again.to_json(), "sha256": state["sha256"]} == state
    assert [arm["ratio"] for arm in state["sweep"]] == [0.5]


def test_a_folder_and_an_hdf5_file_are_evaluated_alike(planted: Planted) -> None:
    small(planted)
    translations = flipped(planted)
    found = [
        evaluate(planted.manifest(), planted.output(name, translations), settings=settings(steps=3), device=CPU)
        for name in ("out", "out.h5")
    ]
    assert found[0].to_json() == found[1].to_json()


def moved(rows: list[Row], **changes: object) -> list[Row]:
    """The rows with the first training row changed."""
    first = next(row for row in rows if row.split == "train")
    return [row._replace(**changes) if row is first else row for row in rows]  # type: ignore[arg-type]


def with_row(rows: list[Row], **changes: object) -> list[Row]:
    """The rows and one more for test, like the first training row."""
    first = next(row for row in rows if row.split == "train")
    more = {"split": "test", "id": "more", "group": "more", **changes}
    return [*rows, first._replace(**more)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        (lambda rows: moved(rows, split="test", group="new"), "id 'r000' (train)"),
        (lambda rows: moved(rows, split="test", group="new", id="new"), "path '000.png' (train)"),
        (with_row, "000.png (row"),
        (lambda rows: with_row(rows, path="./000.png"), "000.png (row"),
        (lambda rows: with_row(rows, path="copy.png"), "more (row 62) as r000 (row 2)"),
        (lambda rows: with_row(rows, path="copy.png", group="train0"), "group 'train0' is in train"),
        (
            lambda rows: with_row([r for r in rows if r.group != "train0"], path="copy.png", group="train0"),
            "group",
        ),
        (lambda rows: moved(rows, id="renamed"), "'r000' (000.png)"),
        (lambda rows: moved(rows, path="copy.png"), "'r000' (000.png)"),
        (lambda rows: [r for r in rows if r.id != "r000"], "'r000' (000.png)"),
    ],
)
def test_test_rows_that_could_have_been_used_are_refused(
    planted: Planted, plant: Callable[[list[Row]], list[Row]], named: str
) -> None:
    small(planted)
    out = planted.output("out", flipped(planted))
    (planted.folder / "copy.png").write_bytes((planted.folder / "000.png").read_bytes())
    trained: list[int] = []
    with pytest.raises((OutputError, ManifestError)) as refused:
        evaluate(
            planted.manifest(plant(planted.rows)),
            out,
            settings=settings(steps=2),
            device=CPU,
            on_steps=lambda done, _total, _before: trained.append(done),
        )
    assert named in str(refused.value)
    assert not trained
    assert not (out / "evaluation.json").exists()


def test_a_translation_of_a_test_row_is_refused(planted: Planted) -> None:
    small(planted)
    test = planted.of("test")[0]
    out = planted.output("out", [*flipped(planted), planted.translate(test, (test.codes[0], 1 - test.codes[1]))])
    with pytest.raises(OutputError, match=r"id 'r036' \(the source of a translation\)"):
        evaluate(planted.manifest(), out, settings=settings(steps=2), device=CPU)


def test_a_rejected_translation_of_a_test_row_is_refused(planted: Planted) -> None:
    small(planted)
    test = planted.of("test")[0]
    out = planted.output("out", flipped(planted))
    cells = ["k", "train", "", test.id, test.path, "red", "1", "mark", *SCORES, "agreement 0.1 < 0.4"]
    (out / "rejected.csv").write_text(f"{REJECTED}\n{','.join(cells)}\n")
    with pytest.raises(OutputError, match="id 'r036'"):
        evaluate(planted.manifest(), out, settings=settings(steps=2), device=CPU)


def test_what_cannot_be_evaluated_is_named(planted: Planted, tmp_path: Path) -> None:
    small(planted)
    out = planted.output("out", flipped(planted))
    with pytest.raises(AugmentorError, match="does not exist"):
        evaluate(planted.manifest(), tmp_path / "nowhere", settings=settings(steps=2), device=CPU)
    with pytest.raises(OutputError, match="no row has split test"):
        evaluate(planted.manifest(planted.of("train")), out, settings=settings(steps=2), device=CPU)
    with pytest.raises(OutputError, match="no translations of train rows"):
        evaluate(planted.manifest(), planted.output("bare", []), settings=settings(steps=2), device=CPU)
    table = planted.manifest()
    lines = [line.rstrip("01") if ",test," in line else line for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(OutputError, match="no test row says what mark is"):
        evaluate(table, out, settings=settings(steps=2), device=CPU)
    with pytest.raises(AugmentorError, match="--ratios"):
        settings(ratios=(0.0,))


def test_val_rows_are_not_needed(planted: Planted) -> None:
    small(planted)
    planted.rows = [row for row in planted.rows if row.split != "val"]
    out = planted.output("out", flipped(planted))
    found = evaluate(planted.manifest(), out, settings=settings(steps=2), device=CPU)
    assert found.counts["val"] == 0
    assert [arm.validation for arm in found.arms] == [None] * 6


@pytest.mark.parametrize(
    ("gate", "arm"),
    [
        (None, "ungated"),
        ({"mode": "off", "given": []}, "ungated"),
        ({"mode": "off", "given": ["realism"]}, "gated"),
        ({"mode": "auto", "given": []}, "gated"),
    ],
)
def test_the_outputs_arm_is_called_gated_where_there_was_a_gate(planted: Planted, gate: object, arm: str) -> None:
    small(planted)
    out = planted.output("out", flipped(planted), gate=gate)
    found = evaluate(planted.manifest(), out, settings=settings(steps=1, seeds=1, arms=(arm,)), device=CPU)
    assert found.verdict.arm == arm
    assert [each.name for each in found.arms] == ["real", arm]
    # Where it is trained, the arm that draws all combinations equally often stands for the output.
    evened = settings(steps=1, seeds=1, arms=(arm, "oversampled-synthetic"))
    assert evaluate(planted.manifest(), out, settings=evened, device=CPU).verdict.arm == "oversampled-synthetic"


def test_every_arm_trains_and_the_wanted_ones_alone(planted: Planted) -> None:
    small(planted)
    out, manifest = planted.output("out", flipped(planted)), planted.manifest()
    found = evaluate(manifest, out, settings=settings(steps=3, seeds=1, arms=tuple(TITLES)), device=CPU)
    assert [arm.name for arm in found.arms] == [name for name in TITLES if name != "gated"]
    images = {arm.name: arm.images for arm in found.arms}
    assert (images["real"], images["pretrained"], images["synthetic"]) == (24, 48, 24)
    # The best of the baselines that are there is what counts.
    assert {each.against for each in found.verdict.differences} == set(images) - {"oversampled-synthetic"}
    alone = evaluate(manifest, out, settings=settings(steps=3, seeds=1, arms=("geometric",)), device=CPU)
    assert [arm.name for arm in alone.arms] == ["real", "geometric", "ungated"]
    assert set(alone.verdict.against.values()) == {"geometric"}
    with pytest.raises(AugmentorError, match=r"no arm 'geometrc'\. Did you mean 'geometric'"):
        settings(arms=("geometrc",))


def test_pretraining_comes_first_and_takes_a_third_of_the_steps(planted: Planted) -> None:
    # The translations are labelled the wrong way round: what was learnt last is right.
    small(planted)
    wrong = [
        planted.translate(row, row.codes, shown=(row.codes[0], 1 - row.codes[1])) for row in planted.of("train")
    ]
    out = planted.output("out", wrong)
    chosen = settings(steps=60, seeds=1, arms=("pretrained", "synthetic"))
    found = {arm.name: arm for arm in evaluate(planted.manifest(), out, settings=chosen, device=CPU).arms}
    assert found["synthetic"].attributes["mark"].value < 0.4
    assert found["pretrained"].attributes["mark"].value > 0.7
    assert [each.steps for each in found["pretrained"].seeds] == [60]


def test_images_are_mirrored_as_in_the_models_training(planted: Planted) -> None:
    small(planted)
    out, manifest = planted.output("out", flipped(planted)), planted.manifest()
    heard: list[str] = []
    found = evaluate(manifest, out, settings=settings(steps=1, seeds=1), device=CPU, on_note=heard.append)
    assert found.settings["flip"] is True
    assert any(note.startswith("images are mirrored; whether") for note in heard)
    given = evaluate(manifest, out, settings=settings(steps=1, seeds=1, flip=False), device=CPU)
    assert given.settings["flip"] is False


def test_classifiers_that_still_improve_are_counted(planted: Planted) -> None:
    small(planted)
    out = planted.output("out", flipped(planted))
    heard: list[str] = []
    found = evaluate(planted.manifest(), out, settings=settings(steps=2), device=CPU, on_note=heard.append)
    assert "12 of 12 classifiers were still improving on val after 2 steps: --steps 4" in heard
    assert found.notes[-1].startswith("12 of 12 classifiers")
    assert {each.converged for arm in found.arms for each in arm.seeds} == {False}


def test_several_generators_are_part_of_the_intervals(planted: Planted) -> None:
    small(planted)
    manifest = planted.manifest()
    right = planted.output("right", flipped(planted), model={"sha256": "a", "step": 1})
    # The second generator's translations show nothing that was asked for.
    wrong = [
        planted.translate(row, (row.codes[0], 1 - row.codes[1]), shown=row.codes) for row in planted.of("train")
    ]
    other = planted.output("wrong", wrong, model={"sha256": "b", "step": 1})
    chosen = settings(steps=40, arms=("synthetic", "oversampled"))
    found = evaluate(manifest, right, settings=chosen, device=CPU, generators=[other])
    assert (found.counts["generators"], found.settings["generators"]) == (2, [str(other)])
    arms = {arm.name: arm for arm in found.arms}
    runs = [(each.generator, each.seed) for each in arms["synthetic"].seeds]
    assert runs == [(0, 0), (0, 1), (1, 0), (1, 1)]
    by_generator = np.array([each.balanced for each in arms["synthetic"].seeds]).reshape(2, 2).mean(axis=1)
    assert by_generator[0] > 0.7
    assert by_generator[1] < 0.3
    assert arms["synthetic"].balanced.value == pytest.approx(by_generator.mean(), abs=1e-6)
    assert [each.generator for each in arms["oversampled"].seeds] == [0, 0]
    # Two generators that differ by 50 points tell next to nothing about a third.
    alone = evaluate(manifest, right, settings=chosen, device=CPU)
    width, single = (arm.balanced.high - arm.balanced.low for arm in (arms["synthetic"], alone.arms[-1]))
    assert width > 2 * single
    first = [each.balanced for each in arms["synthetic"].seeds[:2]]
    assert [each.balanced for each in alone.arms[-1].seeds] == first


def test_generators_of_another_request_are_refused(planted: Planted) -> None:
    small(planted)
    manifest = planted.manifest()
    out = planted.output("out", flipped(planted), model={"sha256": "a", "step": 1})
    same = planted.output("same", flipped(planted), model={"sha256": "a", "step": 1})
    row = planted.of("train")[0]
    less = planted.output("less", [planted.translate(row, (row.codes[0], 1))], model={"sha256": "b", "step": 1})
    gated = planted.output("gated", flipped(planted), model={"sha256": "b", "step": 1}, gate={"mode": "auto"})
    for other, words in ((same, "the same model"), (less, "other combinations"), (gated, "another gate")):
        with pytest.raises(OutputError, match=words):
            evaluate(manifest, out, settings=settings(steps=1), device=CPU, generators=[other])


def test_unreadable_images_are_left_out_and_counted(planted: Planted) -> None:
    small(planted)
    out = planted.output("out", flipped(planted))
    for row in (planted.of("test")[0], planted.of("train")[0]):
        (planted.folder / row.path).write_bytes(b"no image")
    found = evaluate(planted.manifest(), out, settings=settings(steps=2), device=CPU)
    assert (found.counts["test"], found.counts["train"], found.counts["unreadable"]) == (23, 23, 2)
    assert any("2 real images cannot be read" in note for note in found.notes)


def test_the_ungated_draw_has_the_counts_of_the_gated_one(planted: Planted) -> None:
    small(planted)
    sources = planted.of("train")
    out = planted.output("out", [planted.translate(row, (row.codes[0], 1 - row.codes[1])) for row in sources[:12]])
    # Rejected: eight more of a kept domain, and nine of one that nothing was kept of.
    lines = [REJECTED]
    for number, (hue, count) in enumerate((("red", 8), ("blue", 9))):
        for i in range(count):
            row = sources[i]
            scores = [*SCORES, "agreement 0.1 < 0.4"]
            lines.append(
                ",".join([f"k{number}{i}", "train", row.group, row.id, row.path, hue, "1", "mark", *scores])
            )
    (out / "rejected.csv").write_text("\n".join(lines) + "\n")
    data = read_data(planted.manifest(), read_output(out), most=100)
    kept, rejected = draw_ungated(data)
    assert (len(data.kept), len(data.rejected.rows), len(kept) + len(rejected)) == (12, 17, 12)
    assert set(data.rejected.table["hue"].iloc[rejected]) == {"red"}
    codes = data.kept.codes.tolist()
    drawn = [tuple(codes[i]) for i in kept] + [(0, 1)] * len(rejected)
    assert sorted(drawn) == sorted(map(tuple, codes))


def test_without_the_model_the_ungated_arm_is_left_out_with_a_reason(planted: Planted) -> None:
    small(planted)
    out = planted.output("out", flipped(planted), gate={"thresholds": {"agreement": 0.4}})
    row = planted.of("train")[0]
    lineage = [row.split, row.group, row.id, row.path]
    cells = ["k", *lineage, "blue", "1", "hue;mark", *SCORES, "agreement 0.1 < 0.4"]
    (out / "rejected.csv").write_text(f"{REJECTED}\n{','.join(cells)}\n")

    def found(**model: object) -> Evaluation:
        path = out / "dataset.json"
        state = json.loads(path.read_text())
        path.write_text(json.dumps({**state, "model": {**state["model"], **model}}))
        return evaluate(planted.manifest(), out, settings=settings(steps=2), device=CPU)

    assert "--model" in found().skipped["ungated"]
    gone = found(path=str(planted.folder / "gone"))
    assert "is not at" in gone.skipped["ungated"]
    names = ["real", "oversampled", "oversampled-trivialaugment", "gated", "oversampled-synthetic", "synthetic"]
    assert [arm.name for arm in gone.arms] == names
    assert gone.verdict.arm == "oversampled-synthetic"
    with pytest.raises(AugmentorError, match="gone"):
        evaluate(planted.manifest(), out, settings=settings(steps=2), device=CPU, model=planted.folder / "gone")
