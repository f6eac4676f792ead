"""The figures and choices behind the page: counts, scores, pictures, and what an evaluation says."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from augmentor.outputs.readers import FinishedOutput
from augmentor.report import write_report
from augmentor.report.charts import HEIGHT, WIDTH, histogram_of, line_of
from augmentor.report.choice import changes_of, choose_best, choose_borderline, choose_grid, choose_rejected
from augmentor.report.counts import attribute_counts, balance_counts, combination_counts
from augmentor.report.description import DescribedOutput
from augmentor.report.evaluation import evaluation_section
from augmentor.report.judge import attribute_histograms, score_histograms
from augmentor.report.survey import BINS, Survey, histogram, reason_kinds, survey
from augmentor.storage.atomic import Json

if TYPE_CHECKING:
    from tests.augmentor.report.conftest import Made, MakeOutput


def opened(made: Made) -> tuple[FinishedOutput, Survey]:
    output = FinishedOutput.open(made.out)
    return output, survey(output)


# ---- counts ----


def test_tables_are_counted_in_pieces_as_at_once(make_output: MakeOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    for made in (make_output(scored=True), make_output(scored=True, hdf5=True, name="file")):
        _, whole = opened(made)
        with monkeypatch.context() as patch:
            patch.setattr("augmentor.outputs.readers.finished.CHUNK", 3)
            _, pieces = opened(made)
        for first, second in ((whole.kept, pieces.kept), (whole.rejected, pieces.rejected)):
            assert np.array_equal(first.codes, second.codes)
            assert np.array_equal(first.places, second.places)
            assert np.array_equal(first.each, second.each)
            assert np.array_equal(first.scores["preserved"], second.scores["preserved"])
        assert len(whole.kept) == len(made.kept)
        assert np.allclose(whole.kept.scores["agreement"], list(made.kept.values()))
        assert np.allclose(whole.kept.scores["preserved"], 0.8)
        assert whole.reasons == pieces.reasons == {"agreement too low": len(made.rejected)}


def test_counts_before_and_after(make_output: MakeOutput) -> None:
    output, found = opened(make_output())
    hair, glasses = attribute_counts(found, output.space)
    # 6 of 10 sources are in train, two with each hair: each becomes the 2 other hairs, and once keeps its own.
    assert [(row.name, row.before, row.added) for row in hair.rows] == [
        (name, 2, 4 + 2) for name in ("black", "blond", "brown")
    ]
    assert [(row.before, row.added) for row in glasses.rows] == [(3, 6 + 3), (3, 6 + 3)]
    assert (hair.ratio_before, hair.ratio_after, hair.largest) == (1.0, 1.0, 8)
    both = combination_counts(found, output.space)
    assert both is not None
    assert sum(row.before for row in both.rows) == 6
    assert sum(row.added for row in both.rows) == 18
    assert [row.before for row in both.rows] == sorted(row.before for row in both.rows)


def test_what_balance_asked_for() -> None:
    cell: dict[str, Json] = {
        "domain": {"hair": "red"},
        "before": 3,
        "wanted": 9,
        "after": 7,
        "sources_used_up": True,
    }
    table = balance_counts(DescribedOutput.from_json({"balance": [cell, {**cell, "after": 9}]}))
    assert table is not None
    short, reached = table.rows
    assert (short.name, short.before, short.added, short.wanted) == ("hair=red", 3, 4, 9)
    assert (short.note, reached.note) == ("all sources used up", "")
    why: dict[str, Json] = {"given_up": True, "why": "all 256 rejected: agreement 0.05 to 0.20 of 0.79"}
    hopeless = balance_counts(DescribedOutput.from_json({"balance": [{**cell, **why}]}))
    assert hopeless is not None
    assert hopeless.rows[0].note == f"given up: {why['why']}"
    assert balance_counts(DescribedOutput.from_json({})) is None


# ---- scores ----


def test_histograms_count_every_known_score() -> None:
    values = np.array([0.0, 0.049, 0.05, 0.999, 1.0, np.nan, -0.2], dtype=np.float32)
    counts = histogram(values)
    assert len(counts) == BINS
    assert (counts[0], counts[1], counts[-1], counts.sum()) == (3, 1, 2, 6)
    assert histogram(values, low=-1.0)[BINS // 2] == 3


def test_reasons_without_their_numbers() -> None:
    assert reason_kinds("agreement 0.12 < 0.41, realism 0.01 < 0.05") == ["agreement too low", "realism too low"]
    assert reason_kinds("discriminator -2.25 < -1.50") == ["discriminator too low"]
    assert reason_kinds("not among the best: 3rd of 5") == ["not among the best"]
    assert reason_kinds("surplus") == ["surplus"]


def test_thresholds_of_either_form() -> None:
    def thresholds(state: dict[str, Json]) -> dict[str, float]:
        return DescribedOutput.from_json(state).thresholds

    assert thresholds({"gate": {"thresholds": {"agreement": 0.4, "realism": None}}}) == {"agreement": 0.4}
    assert thresholds({"gate": {"preserved": -0.1}}) == {"preserved": -0.1}
    assert thresholds({"gate": "off"}) == thresholds({}) == {}


def test_histograms_have_the_threshold_where_it_is(make_output: MakeOutput) -> None:
    output, found = opened(make_output(scored=True))
    agreement, realism, preserved = score_histograms(found, {"agreement": 0.3})
    assert (agreement.name, agreement.at, realism.at) == ("agreement", 0.3 * WIDTH, None)
    assert (agreement.kept, agreement.rejected) == (len(found.kept), len(found.rejected))
    left = [bar for bar in agreement.bars if bar.x + bar.width < 0.3 * WIDTH]
    assert all(bar.kept == 0 for bar in left)
    assert any(bar.rejected > 0 for bar in left)
    assert preserved.low == 0.0
    assert [each.name for each in attribute_histograms(found, output.space)] == ["hair", "glasses"]


def test_charts_fill_their_field() -> None:
    drawn = histogram_of("x", "", [1, 3], [0, 1], threshold=2.0)
    assert drawn.bars[1].kept + drawn.bars[1].rejected == HEIGHT
    assert drawn.at == WIDTH
    line = line_of("loss", [1, 2, 3], [4.0, math.nan, 2.0], unit="steps")
    assert line is not None
    assert line.points == f"0.0,0.0 {WIDTH}.0,{HEIGHT}.0"
    assert line_of("loss", [1], [1.0], unit="steps") is None


# ---- pictures ----


def test_the_best_and_the_borderline(make_output: MakeOutput) -> None:
    _, found = opened(make_output(scored=True, sources=20))
    kept = found.kept
    best = choose_best(kept)
    changes = changes_of(kept, best)
    distinct = len(set(changes))
    # Every change has its turn first, and of each change the highest agreement comes first.
    assert len(set(changes[:distinct])) == distinct == 5
    for number, change in zip(best[:distinct], changes[:distinct], strict=True):
        same = [other for other, asked in enumerate(changes_of(kept, range(len(kept)))) if asked == change]
        assert kept.scores["agreement"][number] == max(kept.scores["agreement"][same])
    near = choose_borderline(kept, {"agreement": 0.3}, without=best[:distinct])
    assert not set(near) & set(best[:distinct])
    assert min(kept.scores["agreement"][near]) == min(kept.scores["agreement"])


def test_the_rejected_are_those_with_a_picture(make_output: MakeOutput) -> None:
    _, found = opened(make_output(scored=True, sources=20))
    there = np.arange(len(found.rejected)) % 2 == 0
    assert set(choose_rejected(found, there)) == set(np.flatnonzero(there).tolist())


def test_the_grid_has_what_each_source_became(make_output: MakeOutput) -> None:
    _, found = opened(make_output(scored=True))
    grid = choose_grid(found)
    assert grid.changes == (((0, 0),), ((0, 1),), ((0, 2),), ((1, 0),), ((1, 1),))
    assert not ((grid.kept >= 0) & (grid.rejected >= 0)).any()
    for row, source in enumerate(grid.sources):
        for column, change in enumerate(grid.changes):
            for numbers, made in ((grid.kept, found.kept), (grid.rejected, found.rejected)):
                if numbers[row, column] >= 0:
                    number = int(numbers[row, column])
                    assert int(made.sources[number]) == source
                    assert changes_of(made, [number]) == [change]


def asked_of(found: Survey, changes: Sequence[tuple[int, int]], sources: Sequence[int]) -> Survey:
    """A survey of translations of which nothing but the source and the change is looked at."""
    count = len(changes)
    asked = np.array(changes, dtype=np.int16).reshape(count, -1)
    places = np.arange(count)
    kept = replace(found.kept, places=places, changes=asked, sources=np.array(sources, dtype=np.uint64))
    rejected = replace(found.rejected, places=places[:0], changes=asked[:0], sources=kept.sources[:0])
    return replace(found, kept=kept, rejected=rejected)


def test_in_the_grid_every_change_has_its_turn(make_output: MakeOutput) -> None:
    _, found = opened(make_output())
    # One change of each source, and the third is rare: evenly spread rows would not show it.
    changes = [(1, -1)] * 60 + [(-1, 1)] * 37 + [(2, -1)] * 3
    grid = choose_grid(asked_of(found, changes, list(range(100))))
    assert grid.changes == (((0, 1),), ((0, 2),), ((1, 1),))
    assert (grid.kept >= 0).sum(axis=0).tolist() == [4, 3, 3]
    assert list(grid.sources) == sorted(grid.sources)
    assert len(grid.sources) == 10
    # The rare change of three sources that have the common one, too, is shown with it.
    changes, sources = [(1, -1)] * 50, list(range(50))
    for source in (7, 20, 30):
        changes, sources = [*changes, (2, -1)], [*sources, source]
    grid = choose_grid(asked_of(found, changes, sources))
    assert {7, 20, 30} <= set(grid.sources)


# ---- evaluation ----


def _interval(value: float) -> dict[str, Json]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def _evaluation(**changes: Json) -> dict[str, Json]:
    def arm(name: str, value: float, ratio: float | None = None) -> dict[str, Json]:
        worst: Json = {"group": "hair=red", "accuracy": _interval(value - 0.2)}
        return {
            "name": name,
            "title": name.upper(),
            "ratio": ratio,
            "images": 10,
            "balanced": _interval(value),
            "worst_group": worst,
            "attributes": {"hair": _interval(value)},
        }

    differences: list[Json] = [
        {"measure": "worst_group", "against": "real", "difference": _interval(0.2), "word": "helps"},
        {"measure": "balanced", "against": "real", "difference": _interval(-0.05), "word": "no difference seen"},
    ]
    return {
        "fingerprint": "f" * 64,
        "arms": [arm("real", 0.6), arm("gated", 0.8)],
        "sweep": [arm("gated 2", 0.7, 2.0), arm("gated 0.5", 0.75, 0.5)],
        "groups": [
            {"name": "hair=red", "test_images": 12, "train_real": 3, "accuracy": {"gated": _interval(0.5)}}
        ],
        "verdict": {
            "word": "helps",
            "arm": "gated",
            "sentence": "The synthetic images help.",
            "following": ["Train on it."],
            "differences": differences,
        },
        "distances": {"frechet": None, "within_domain": {"synthetic": 1.5, "real": 2.5}, "copies": 0.25},
        "counts": {"test": 40},
        **changes,
    }


def test_an_evaluation_is_read_as_it_is_written() -> None:
    view = evaluation_section(_evaluation(), fingerprint="f" * 64)
    assert view is not None
    found = view.found
    assert (view.stale, found.verdict.word, view.tone) == (False, "helps", "good")
    assert [arm.name == found.verdict.arm for arm in found.arms] == [False, True]
    worst = found.arms[1].worst_group
    assert worst is not None
    assert (round(worst.accuracy.value, 6), worst.group) == (0.6, "hair=red")
    better, same = view.differences
    assert (better.whiskers[0].title, better.whiskers[0].tone, same.whiskers[0].tone) == ("REAL", "good", "")
    # Only an interval that does not reach 0 lies on one side of its line.
    assert better.zero < better.whiskers[0].left
    assert same.whiskers[0].left < same.zero < same.whiskers[0].right
    assert [point.ratio for point in view.sweep] == [0.5, 2.0]
    assert view.distances == (("Mean distance between images of one domain", 1.5, 2.5),)
    assert view.shares == (("Nearer to a training image than 99 % of test images are", 0.25),)


def test_an_evaluation_of_another_output_is_told(make_output: MakeOutput) -> None:
    view = evaluation_section(_evaluation(), fingerprint="other")
    assert view is not None
    assert view.stale
    assert evaluation_section({}, fingerprint="") is None


def test_the_page_shows_the_evaluation(make_output: MakeOutput) -> None:
    made = make_output(scored=True)
    path: Path = made.beside("evaluation.json")
    path.write_text(json.dumps(_evaluation()))
    write_report(made.out)
    assert "The synthetic images help." in made.page
    assert "Filled combinations" not in made.page
    assert "The synthetic images help." in made.beside("README.md").read_text()
    path.write_text(json.dumps(_evaluation(fingerprint="other")))
    write_report(made.out)
    assert "Out of date." in made.page
    group: Json = {"name": "hair=blond", "test_units": 9, "accuracy": {}}
    found = _evaluation(filled=[group], unmeasured=["hair=red: 3 subjects in test"])
    path.write_text(json.dumps(found))
    write_report(made.out)
    assert (
        "Filled combinations: hair=blond (9 test subjects). Left out: hair=red: 3 subjects in test." in made.page
    )
    path.write_text(json.dumps(_evaluation(fingerprint="other")))
    write_report(made.out)
    assert "The synthetic images help." not in made.beside("README.md").read_text()
