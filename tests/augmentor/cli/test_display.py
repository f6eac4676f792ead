"""What a person sees: plain lines without a terminal, live views in one, and tables."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console, RenderableType

from augmentor.balance import BalanceRequest
from augmentor.cells import CellState
from augmentor.check import AttributeSummary, CheckReport, Problem
from augmentor.cli import display
from augmentor.domains import parse_domains
from augmentor.estimate import Estimate
from augmentor.plan import Plan, make_plan
from augmentor.rounds import balanced, planned_states
from augmentor.run_folder import Sampled, Saved, Started, TrainEvent
from augmentor.stages import Loads, Queue, Stage
from stargan.labels import Attribute, LabelSpace
from stargan.training import LogEvent

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair [cm]", kind="categorical", values=("black", "[red]")),
        Attribute(name="smile"),
    )
)


def printed(what: RenderableType, width: int = 80) -> list[str]:
    """Return what a console of some width shows, line by line."""
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal in the place of stderr, and what it was sent."""
    screen = io.StringIO()
    monkeypatch.setattr(display, "messages", Console(file=screen, force_terminal=True, width=100, no_color=True))
    return screen


@pytest.fixture
def chatty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain progress without the seconds of silence in between."""
    monkeypatch.setattr(display, "_PLAIN_SECONDS", 0.0)


# ---- numbers in words ----


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (18_720, "5 h 12 min"),
        (86_399, "23 h 59 min"),
        (360_000, "4 d 4 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert display.duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3.4e6, "3.4 MB"), (2.5e9, "2.5 GB"), (5e15, "5000.0 TB")],
)
def test_data_sizes(size: float, words: str) -> None:
    assert display.data_size(size) == words


# ---- progress ----


def test_a_bar_is_silent_for_seconds_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with display.Bar("checking", unit="images") as bar:
        for done in range(100):
            bar.update(done, 100)
    assert capsys.readouterr() == ("", "")


def test_a_bar_in_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with display.Bar("expanding", unit="images") as bar:
        bar.update(0, 2000)
        now = 5.0
        bar.update(500, 2000, suffix=", 3 failed")
        now = 10.0
        bar.update(500, 2000, skipped=500)
    assert capsys.readouterr().err.splitlines() == [
        "expanding 500/2,000, 100.0 images/s, 3 failed, 15 s left",
        "expanding 500/2,000, 0.0 images/s",  # what an earlier run did says nothing about the speed
    ]


def test_a_bar_in_a_terminal() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with display.Bar("expanding", unit="images", console=console) as bar:
        bar.update(500, 2000)
    assert "expanding" in screen.getvalue()
    assert "500/2,000" in screen.getvalue()


SECONDS: dict[Stage, float] = {
    "decoding": 1.0,
    "translating": 2.0,
    "judging": 1.0,
    "encoding": 1.0,
    "writing": 0.0,
}


@pytest.mark.parametrize(
    ("stage", "remedy"),
    [
        ("decoding", "decoding is the slowest: more --workers, on more cores, would help"),
        ("translating", "translating is the slowest: a faster device, or more --devices, would help"),
        ("judging", "judging is the slowest: a faster device, more --devices, or --no-gate would help"),
        ("encoding", "encoding is the slowest: more --workers, on more cores, would help"),
        ("writing", "writing is the slowest: a faster disk would help"),
    ],
)
def test_the_slowest_stage_and_what_would_help(stage: Stage, remedy: str) -> None:
    loads = Loads(
        seconds={**SECONDS, stage: 5.0},
        queues={"decoding": Queue(60, 64), "encoding": Queue(1000, 1024), "writing": Queue(0, 2)},
    )
    queues = "60/64 decoded, 1,000/1,024 to encode, 0/2 shards to commit"
    assert display.loads_note(loads) == f"{remedy}. {queues}"


def test_where_others_translate_their_own_flag_is_named() -> None:
    note = display.loads_note(Loads(seconds={**SECONDS, "judging": 5.0}, queues={}), workers="--ray-workers")
    assert note == "judging is the slowest: a faster device, more --ray-workers, or --no-gate would help"


def test_what_an_expansion_has_lost() -> None:
    assert display.losses_note(0, 0) == ""
    assert display.losses_note(2, 0) == ", 2 failed"
    assert display.losses_note(1, 1234) == ", 1 failed, 1,234 rejected"


def test_nothing_is_slow_before_anything_was_done() -> None:
    assert display.loads_note(None) == ""
    assert display.loads_note(Loads(seconds={}, queues={})) == ""


def test_a_remark_under_a_bar_fits_80_columns() -> None:
    screen = io.StringIO()
    note = display.loads_note(
        Loads(
            seconds=SECONDS,
            queues={"decoding": Queue(512, 512), "encoding": Queue(512, 512), "writing": Queue(0, 2)},
        )
    )
    console = Console(file=screen, force_terminal=True, width=80, no_color=True, color_system=None)
    with display.Bar("expanding", unit="images", console=console) as bar:
        bar.update(500, 2_000_000, note=note, suffix=", 3 failed")
    words = " ".join(screen.getvalue().split())
    assert "translating is the slowest" in words
    assert "512/512 to encode, 0/2 shards to commit" in words
    assert "…" not in words


def test_a_remark_in_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    note = display.loads_note(Loads(seconds=SECONDS, queues={}))
    with display.Bar("expanding", unit="images") as bar:
        bar.update(0, 2000, note=note)
        now = 5.0
        bar.update(500, 2000, note=note)
    assert capsys.readouterr().err == (
        "expanding 500/2,000, 100.0 images/s, 15 s left; translating is the slowest: a faster device, or more "
        "--devices, would help\n"
    )


# ---- training ----


def events() -> list[TrainEvent]:
    """A short run."""
    losses = {"d/adversarial": -1.25, "g/cycle": 0.5}
    return [
        Started(
            images=1234,
            attributes=("hair: black | red",),
            generator_parameters=8_430_528,
            discriminator_parameters=44_762_048,
            device="cpu",
            step=40,
            notes=("a [note]",),
        ),
        LogEvent(step=50, progress=0.5, elapsed=10.0, learning_rate=1e-4, images_per_second=99.6, losses=losses),
        LogEvent(step=75, progress=0.75, elapsed=15.0, learning_rate=5e-5, images_per_second=50, losses=losses),
        Sampled(path=Path("run [1]/samples/00000075.png")),
        Saved(path=Path("run [1]/checkpoints/00000075")),
    ]


@pytest.mark.usefixtures("chatty")
def test_training_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with display.TrainingDisplay() as live:
        for event in events():
            live.show(event)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "note  a [note]",
        "1,234 training images on cpu; G 8,430,528, D 44,762,048 weights",
        "going on from step 40",
        "  hair: black | red",
        "50.0%  step 50, 100 images/s  d/adversarial -1.250  g/cycle 0.500",
        # A quarter took 5 s.
        "75.0%  step 75, 50 images/s, 5 s left  d/adversarial -1.250  g/cycle 0.500",
        "samples: run [1]/samples/00000075.png",
        "checkpoint: run [1]/checkpoints/00000075",
    ]


def test_plain_lines_come_every_few_seconds_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with display.TrainingDisplay() as live:
        for step in range(1, 101):
            live.show(
                LogEvent(
                    step=step,
                    progress=step / 100,
                    elapsed=step / 10,
                    learning_rate=1e-4,
                    images_per_second=10,
                    losses={},
                )
            )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 2
    assert lines[-1].startswith("100.0%  step 100, ")


def test_training_in_a_terminal(terminal: io.StringIO) -> None:
    with display.TrainingDisplay() as live:
        for event in events():
            live.show(event)
    screen = terminal.getvalue()
    last = screen[screen.rindex("training ") :]
    for shown in (
        "75.0 %",
        "step 75, 50 images/s, 5 s left",
        "d/adversarial",
        "-1.250",
        "real or fake",
        "comes back",
        "samples: run [1]/samples/00000075.png",
        "checkpoint: run [1]/checkpoints/00000075",
    ):
        assert shown in last


# ---- plans ----


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
    lines = printed(display.plan_tables(plan, Estimate(size=2_000_000, seconds=90.0)))
    assert lines[:3] == ["7 images: 3 synthetic and 4 real", "disk   about 2.0 MB", "time   about 1 min 30 s"]
    cells = [line.split() for line in lines]
    assert ["hair", "[cm]", "black", "2", "3"] in [row[:5] for row in cells]
    assert ["[red]", "1", "3"] in [row[:3] for row in cells]
    assert ["unknown", "1", "2"] in [row[:3] for row in cells]
    assert lines[-1] == "Nothing was written."
    unknown = printed(display.plan_tables(plan, Estimate(size=None, seconds=None)))
    assert unknown[1:3] == ["disk   unknown", "time   unknown"]
    assert "none of the first images tried could be read" in unknown[3]


def test_bars_grow_with_their_counts(plan: Plan) -> None:
    lines = printed(display.counts_table({"hair": {"black": (5, 10), "red": (0, 10), "ash": (0, 0)}}))
    assert [line.count("█") for line in lines if "█" in line or "ash" in line] == [24, 24, 0]
    assert printed(display.counts_table({"hair": {"black": (0, 0)}}))


def test_combinations_with_bars() -> None:
    states = [
        CellState({"hair [cm]": "black", "smile": "0"}, before=12, wanted=None, after=12),
        CellState({"hair [cm]": "black", "smile": "1"}, before=3, wanted=12, after=9),
        CellState({"hair [cm]": "[red]", "smile": "1"}, before=0, wanted=1_200, after=1_200),
    ]
    lines = printed(display.balance_table(states[:2]))
    assert lines[1].split() == ["hair", "[cm]", "smile", "before", "wanted", "after"]
    assert lines[2].split() == ["black", "0", "12", "-", "12", "█" * 24]
    # The value above is not said again; what is lacking is dotted.
    assert lines[3].split() == ["1", "3", "12", "9", "█" * 6 + "▒" * 12 + "·" * 6]
    assert printed(display.balance_table(states))[4].split() == ["[red]", "1", "0", "1,200", "1,200", "▒" * 24]
    assert display.balance_verdict(states[:1]).plain == "Every combination has as many images as are wanted."
    assert display.balance_verdict(states).plain.startswith(
        "1 combination lacks 3 images: their sources are used up."
    )


def test_a_plan_that_fills_up(plan: Plan) -> None:
    request = BalanceRequest.parse(attributes="hair [cm]", to="9", space=SPACE)
    filled = balanced(plan, request)
    lines = printed(display.plan_tables(filled, Estimate(size=1, seconds=1.0)))
    assert any(line.startswith("Combinations") for line in lines)
    assert max(map(len, lines)) <= 80
    told = display.plan_json(filled, Estimate(size=1, seconds=1.0))["balance"]
    assert told == [state.to_json() for state in planned_states(filled)]
    assert "balance" not in display.plan_json(plan, Estimate(size=1, seconds=1.0))


def test_a_plan_as_json(plan: Plan) -> None:
    assert display.plan_json(plan, Estimate(size=10, seconds=1.26)) == {
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
    assert display.plan_json(plan, Estimate(size=None, seconds=None))["seconds"] is None


# ---- checks ----


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
        missing=[Problem(id=f"i{n}", path=f"{n} [x].png", row=n + 2, reason="gone") for n in range(missing)],
        unreadable=[],
        several_frames=[],
        duplicates=[("a", "b [c]")],
        leaks=[f"group [{n}]" for n in range(leaks)],
        notes=[],
    )


def test_a_good_check() -> None:
    lines = printed(display.check_tables(report()))
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
    lines = printed(display.check_tables(report(missing=25, leaks=2)))
    listed = [line for line in lines if line.startswith("missing")]
    assert len(listed) == 20
    assert listed[0] == "missing    row 2: 0 [x].png"
    assert "           and 5 more (--json lists them all)" in lines
    assert "leak       group [1]" in lines
    assert lines[-1] == "25 images cannot be used; 2 leaks between splits."


def test_nothing_is_wider_than_its_terminal() -> None:
    for width in (80, 60):
        assert max(map(len, printed(display.check_tables(report(missing=3)), width))) <= width


def test_a_bar_counts_time_from_its_first_news(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo makes its bar before it trains: those minutes are not the expansion's."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with display.Bar("expanding", unit="images") as bar:
        now += 300.0
        bar.update(10, 1000)
        now += 10.0
        bar.update(510, 1000)
    assert capsys.readouterr().err == "expanding 510/1,000, 50.0 images/s, 10 s left\n"
