"""The benchmark's arithmetic, its drawn material and its table; the measurements run in test_bench_command.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from augmentor.bench import BenchReport, BenchSettings, Measurement, Series
from augmentor.bench.machine import measure_matrices, peak_memory, profiled
from augmentor.bench.measure import HotOperation, Round, Target, compare_pictures, largest_relative, take_turns
from augmentor.bench.subject import Subject, draw_picture, pairs_of, synthetic_subject
from augmentor.cli.bench import bench_table
from augmentor.errors import AugmentorError
from augmentor.images import encode
from augmentor.training.recipe import read_recipe
from stargan.checkpoints import Json

TINY = (
    *("images.size=16", "generator.width=4", "generator.blocks=1", "generator.downsamplings=1"),
    *("discriminator.width=4", "discriminator.depth=2"),
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return synthetic_subject(read_recipe(None, TINY), targets=3, images=70, work=tmp_path_factory.mktemp("bench"))


def a_figure(
    ours: tuple[float, ...] = (30.0, 33.0, 90.0), plain: tuple[float, ...] = (10.0, 10.0, 30.0)
) -> Measurement:
    return Measurement(
        stage="translate",
        setting="128 px, width 64, planes, 8 targets",
        unit="images/s",
        ours=Series(ours),
        plain=Series(plain),
        against="plain loop",
        quantities={"share_of_matrix_rate": 0.31},
        notes=("at most 1 of 255 apart, 0.0003 on average, in 1% of values",),
        profile=(HotOperation("aten::convolution", 0.9, 12),),
    )


def test_series_have_a_median_a_spread_and_paired_ratios() -> None:
    ours, plain = Series((30.0, 20.0, 40.0)), Series((10.0, 10.0, 10.0))
    assert ours.median == 30.0
    assert ours.spread == pytest.approx(1 / 3)
    assert plain.spread == 0.0
    assert ours.over(plain).values == (3.0, 2.0, 4.0)
    with pytest.raises(ValueError, match="at least one round"):
        Series(())


def test_the_ratio_pairs_rounds_so_that_a_slow_spell_of_the_machine_cancels() -> None:
    slow_spell = a_figure(ours=(30.0, 3.0, 33.0), plain=(10.0, 1.0, 11.0))
    assert slow_spell.ratio is not None
    assert slow_spell.ratio.values == (3.0, 3.0, 3.0)
    assert slow_spell.quantity("ratio") == 3.0
    assert slow_spell.quantity("rate") == 30.0
    assert slow_spell.quantity("share_of_matrix_rate") == 0.31
    assert slow_spell.quantity("largest_difference") is None
    assert replace(slow_spell, plain=None).quantity("ratio") is None


def test_sides_take_turns_and_none_always_comes_first() -> None:
    order: list[str] = []

    def side(name: str, seconds: float) -> Round:
        order.append(name)
        return Round(10, seconds)

    rates = take_turns({"a": lambda: side("a", 2.0), "b": lambda: side("b", 5.0)}, rounds=3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert rates["a"].values == (5.0, 5.0, 5.0)
    assert rates["b"].values == (2.0, 2.0, 2.0)


def test_compare_pictures_finds_a_planted_difference() -> None:
    plain = torch.randint(0, 200, (300, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert compare_pictures(plain.clone(), plain) == (0, 0.0, 0.0)
    ours = plain.clone()
    ours[299, 2, 3, 4] += 55  # in the last block
    ours[0, 0, 0, 0] += 1
    largest, mean, share = compare_pictures(ours, plain)
    assert largest == 55
    assert mean == pytest.approx(56 / plain.numel())
    assert share == pytest.approx(2 / plain.numel())
    assert compare_pictures(plain, ours).largest == 55  # both ways: nothing wraps around
    with pytest.raises(ValueError, match="cannot be compared"):
        compare_pictures(plain[:2], plain)


def test_the_largest_relative_loss_difference() -> None:
    assert largest_relative({"a": 1.0, "b": -2.02}, {"a": 1.0, "b": -2.0}) == pytest.approx(0.01)
    with pytest.raises(ValueError, match="cannot be compared"):
        largest_relative({"a": 1.0}, {"b": 1.0})


def test_targets_are_met_or_missed() -> None:
    figure = a_figure()
    assert figure.quantity("ratio") == 3.0
    assert Target("ratio", 3.0).met(figure)
    assert not Target("ratio", 3.1).met(figure)
    assert Target("share_of_matrix_rate", 0.31, at_most=True).met(figure)
    assert not Target("largest_difference", 1, at_most=True).met(figure)  # not measured is not met
    assert replace(figure, targets=(Target("ratio", 3.0), Target("ratio", 5.0))).missed == (Target("ratio", 5.0),)
    assert str(Target("largest_difference", 1, at_most=True)) == "largest difference at most 1"


def test_the_table_says_it_in_plain_words_within_80_columns() -> None:
    machine: dict[str, Json] = {
        "device": "cpu",
        "cpu": "some processor",
        "cores": 2,
        "torch": "2.11.0",
        "python": "3.11.9",
    }
    report = BenchReport(
        machine=machine,
        seconds=1.0,
        measurements=(
            replace(a_figure(), targets=(Target("ratio", 1.3), Target("largest_difference", 1, at_most=True))),
            replace(a_figure(), stage="matrices", unit="GFLOP/s", plain=None, ours=Series((123_456.7,))),
        ),
    )
    console = Console(width=80, record=True, file=None, quiet=False, color_system=None)
    with console.capture() as captured:
        console.print(bench_table(report))
    said = captured.get()
    assert max(map(len, said.splitlines())) <= 80
    assert "…" not in said
    for words in (
        "10.0",
        "33.0",
        "3.00",
        "met: ratio at least 1.3",
        "MISSED",
        "1 of 2 targets met",
        "some processor",
    ):
        assert words in said
    assert "123,457 GFLOP/s" in said
    assert "aten::convolution" in said  # what missed a target says where its time went
    state = report.to_json()
    figures = state["figures"]
    assert isinstance(figures, list)
    assert figures[0]["ratio"]["median"] == 3.0  # type: ignore[index,call-overload]
    assert [each["met"] for each in figures[0]["targets"]] == [True, False]  # type: ignore[index,call-overload,union-attr]


def test_drawn_pictures_cost_what_photographs_cost() -> None:
    pixels = draw_picture((170, 170), 3, torch.Generator().manual_seed(1))
    assert pixels.shape == (170, 170, 3)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 30
    assert np.array_equal(pixels, draw_picture((170, 170), 3, torch.Generator().manual_seed(1)))
    # Photographs take 3 to 8 bits a pixel as JPEG of quality 95; noise takes above 12, a plain surface below 1.
    assert 2 < len(encode(pixels, "jpg")) * 8 / 170**2 < 9


def test_a_synthetic_subject_is_the_same_every_time(subject: Subject, tmp_path: Path) -> None:
    again = synthetic_subject(read_recipe(None, TINY), targets=3, images=70, work=tmp_path)
    assert again.model.sha256 == subject.model.sha256
    assert torch.equal(again.images, subject.images)
    assert len(subject.manifest) == 70
    assert subject.targets_per_image == 3


def test_jobs_are_exactly_the_pairs_that_were_asked_for(subject: Subject) -> None:
    jobs = subject.jobs(1000)
    images, targets = pairs_of(jobs)
    assert (images.shape, images.dtype) == ((1000, 3, 16, 16), torch.uint8)
    assert targets.shape == (1000, 1)
    assert max(len(job.targets) for job in jobs) == 3
    assert torch.equal(images[0], images[2])  # one source, three targets
    assert not torch.equal(images[2], images[3])
    assert set(targets.flatten().tolist()) == {0, 1, 2, 3}


def test_an_expansion_takes_the_first_rows_only(subject: Subject) -> None:
    expansion = subject.expansion(Path("out.h5"), rows=5)
    assert (len(expansion.manifest), len(expansion.plan)) == (5, 15)
    assert expansion.settings.output_format == "hdf5"
    assert len(subject.expansion(Path("out"), rows=10**9).plan) == 210


def test_training_batches_carry_their_targets(subject: Subject) -> None:
    batches = subject.batches(4)
    assert all(batch.images.shape == (4, 3, 16, 16) and batch.targets is not None for batch in batches)
    assert not torch.equal(batches[0].images, batches[1].images)


def test_the_matrix_rate_and_the_profile_are_of_this_machine() -> None:
    figure = measure_matrices(CPU, torch.float32, seconds=0.1, rounds=3)
    assert 0.1 < figure.ours.median < 1e6
    with profiled(CPU) as hot:
        torch.mm(torch.ones(64, 64), torch.ones(64, 64))
    assert any("mm" in line.name for line in hot)
    assert sum(line.share for line in hot) <= 1 + 1e-9
    assert 10e6 < peak_memory() < 1e12


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"suite": "cpu", "size": 64}, "--suite cpu measures its own"),
        ({"model": Path("run"), "recipe": Path("r.toml")}, "Leave out --recipe"),
        ({"stages": ("decode", "guess")}, "guess is none of decode"),
        ({"targets": 0}, "--targets must be at least 1"),
        ({"images": 1}, "--images must be at least 2"),
        ({"seconds": 0.0}, "--seconds must be above 0"),
    ],
)
def test_settings_that_cannot_work_name_the_flag(settings: dict[str, object], words: str) -> None:
    with pytest.raises(AugmentorError, match=words):
        BenchSettings(**settings)  # type: ignore[arg-type]
