"""What `augmentor check` prints."""

from __future__ import annotations

from dataclasses import replace

from augmentor.cli.check import check_tables
from augmentor.data.check import AttributeSummary, CheckReport, ImageProblem
from augmentor.data.pairs import PairSummary
from tests.augmentor.cli.screen import printed


def report(*, missing: int = 0, leaks: int = 0) -> CheckReport:
    """What was found in a manifest of one attribute."""
    return CheckReport(
        manifest="a [b].csv",
        rows=1000,
        splits={"train": 900, "test": 100},
        datasets={"one": 600, "two": 400},
        attributes=[
            AttributeSummary(
                name="hair [cm]",
                kind="categorical",
                values=("black", "[red]"),
                counts={"train": {"black": 800, "[red]": 90}, "test": {"black": 100, "[red]": 0}},
                unknown=10,
            )
        ],
        missing=[ImageProblem(id=f"i{n}", path=f"{n} [x].png", row=n + 2, reason="gone") for n in range(missing)],
        elsewhere=[],
        unreadable=[],
        several_frames=[],
        duplicates=[("a", "b [c]")],
        leaks=[f"group [{n}]" for n in range(leaks)],
        notes=[],
    )


def test_a_good_check() -> None:
    lines = printed(check_tables(report()))
    assert lines[0] == "a [b].csv: 1,000 images"
    cells = [line.split() for line in lines]
    assert ["hair", "[cm]", "categorical", "black", "800", "100"] in cells
    assert ["[red]", "90", "0"] in cells
    assert ["unknown", "10", "in", "all"] in cells
    assert ["all", "900", "100"] in cells
    assert "data set one: 600 images" in lines
    assert "duplicate  same content: a, b [c]" in lines
    assert lines[-1] == "Every image can be read, and no split leaks into another."


def test_a_bad_check_lists_the_first_problems() -> None:
    lines = printed(check_tables(report(missing=25, leaks=2)))
    listed = [line for line in lines if line.startswith("missing")]
    assert len(listed) == 20
    assert listed[0] == "missing    row 2: 0 [x].png"
    assert "           and 5 more (--json lists them all)" in lines
    assert "leak       group [1]" in lines
    assert lines[-1] == "25 images cannot be used; 2 leaks between splits."


def test_missing_images_with_one_cause_are_one_line() -> None:
    found = report(missing=3)
    elsewhere = replace(
        found,
        missing=[*(replace(problem, found="x.png") for problem in found.missing[:2]), found.missing[2]],
        elsewhere=["2 images: not there but for their suffix"],
    )
    lines = [line for line in printed(check_tables(elsewhere)) if line.startswith("missing")]
    assert lines == ["missing    2 images: not there but for their suffix", "missing    row 4: 2 [x].png"]


def test_nothing_is_wider_than_its_terminal() -> None:
    for width in (80, 60):
        assert max(map(len, printed(check_tables(report(missing=3)), width))) <= width


def test_pairs_are_shown_with_what_they_lack() -> None:
    pairs = PairSummary(
        rows={"train": 1200, "val": 3},
        changes={"hair": {("black", "[red]"): 1000, ("black", "grey"): 0}},
        domains={"hair=grey": 7},
    )
    lines = printed(check_tables(replace(report(), pairs=pairs)))
    assert "images with a partner (column pair): train 1,200, val 3" in lines
    assert "pairs for hair: black - [red] 1,000" in lines
    assert "no pair for hair: black - grey" in lines
    assert "no training image with a partner has: hair=grey (7 images)" in lines
    unequal = printed(check_tables(replace(report(), unequal_pairs=("pair 'x' has images of 4x4 px",))))
    assert any("pair 'x' has images" in line for line in unequal)
    assert unequal[-1] == "1 pair of unequal size: a pair is aligned pixel for pixel."
