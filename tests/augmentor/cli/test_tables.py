"""Tables that several commands print: labels, combinations, plans."""

from __future__ import annotations

import numpy as np
import pytest

from augmentor.cli import tables
from augmentor.expansion.estimate import Estimate
from augmentor.planning.balance import BalanceRequest
from augmentor.planning.combinations import CellState
from augmentor.planning.domains import parse_domains
from augmentor.planning.plan import Plan, make_plan
from augmentor.planning.rounds import planned_states, with_balance
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.cli.screen import printed

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair [cm]", kind="categorical", values=("black", "[red]")),
        Attribute(name="smile"),
    )
)


@pytest.fixture
def plan() -> Plan:
    """Four rows, three of which may be translated; one does not know its smile."""
    codes = np.array([[0, 0], [0, 1], [1, -1], [1, 1]], dtype=np.int16)
    return make_plan(
        codes,
        space=SPACE,
        request=parse_domains(["hair [cm]=~"], SPACE),
        eligible=np.array([True, True, True, False]),
        with_real=True,
    )


def test_a_plan_as_tables(plan: Plan) -> None:
    lines = printed(tables.plan_tables(plan, Estimate(size=2_000_000, seconds=90.0)))
    assert lines[:3] == ["7 images: 3 synthetic and 4 real", "disk   about 2.0 MB", "time   about 1 min 30 s"]
    cells = [line.split() for line in lines]
    assert ["hair", "[cm]", "black", "2", "3"] in [row[:5] for row in cells]
    assert ["[red]", "1", "3"] in [row[:3] for row in cells]
    assert ["unknown", "1", "2"] in [row[:3] for row in cells]
    assert lines[-1] == "Nothing was written."
    unknown = printed(tables.plan_tables(plan, Estimate(size=None, seconds=None)))
    assert unknown[1:3] == ["disk   unknown", "time   unknown"]
    assert "none of the first images tried could be read" in unknown[3]


def test_bars_grow_with_their_counts(plan: Plan) -> None:
    lines = printed(tables.counts_table({"hair": {"black": (5, 10), "red": (0, 10), "ash": (0, 0)}}))
    assert [line.count("█") for line in lines if "█" in line or "ash" in line] == [24, 24, 0]
    assert printed(tables.counts_table({"hair": {"black": (0, 0)}}))


def test_combinations_with_bars() -> None:
    states = [
        CellState({"hair [cm]": "black", "smile": "0"}, before=12, wanted=None, after=12),
        CellState({"hair [cm]": "black", "smile": "1"}, before=3, wanted=12, after=9),
        CellState({"hair [cm]": "[red]", "smile": "1"}, before=0, wanted=1_200, after=1_200),
    ]
    lines = printed(tables.balance_table(states[:2]))
    assert lines[1].split() == ["hair", "[cm]", "smile", "before", "wanted", "after"]
    assert lines[2].split() == ["black", "0", "12", "-", "12", "█" * 24]
    # The value above is not said again; what is lacking is dotted.
    assert lines[3].split() == ["1", "3", "12", "9", "█" * 6 + "▒" * 12 + "·" * 6]
    assert printed(tables.balance_table(states))[4].split() == ["[red]", "1", "0", "1,200", "1,200", "▒" * 24]
    assert tables.balance_verdict(states[:1]).plain == "Every combination has as many images as are wanted."
    assert tables.balance_verdict(states).plain.splitlines() == [
        "1 combination lacks 3 images:",
        "  hair [cm]=black, smile=1: its sources are used up",
        "More rows, a larger --max-per-source or a better model would help.",
    ]
    why = "all 256 rejected: agreement 0.05 to 0.20 of 0.79"
    hopeless = states[1]._replace(given_up=True, why=why)
    said = tables.balance_verdict([hopeless]).plain
    assert f"hair [cm]=black, smile=1: given up, {why}\nThe report shows the best of the rejected." in said


def test_a_plan_that_fills_up(plan: Plan) -> None:
    request = BalanceRequest.parse(attributes="hair [cm]", to="9", space=SPACE)
    filled = with_balance(plan, request)
    lines = printed(tables.plan_tables(filled, Estimate(size=1, seconds=1.0)))
    assert any(line.startswith("Combinations") for line in lines)
    assert max(map(len, lines)) <= 80
    told = tables.plan_json(filled, Estimate(size=1, seconds=1.0))["balance"]
    assert told == [state.to_json() for state in planned_states(filled)]
    assert "balance" not in tables.plan_json(plan, Estimate(size=1, seconds=1.0))


def test_a_plan_as_json(plan: Plan) -> None:
    assert tables.plan_json(plan, Estimate(size=10, seconds=1.26)) == {
        "images": 7,
        "synthetic": 3,
        "real": 4,
        "bytes": 10,
        "seconds": 1.3,
        "labels": {
            "hair [cm]": {"black": {"before": 2, "after": 3}, "[red]": {"before": 1, "after": 3}},
            "smile": {
                "0": {"before": 1, "after": 2},
                "1": {"before": 1, "after": 2},
                "unknown": {"before": 1, "after": 2},
            },
        },
    }
    assert tables.plan_json(plan, Estimate(size=None, seconds=None))["seconds"] is None
