"""What a person sees while a command works: plain lines without a terminal, live views in one."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from augmentor.cli import display
from augmentor.expansion.progress import Loads, Queue, Stage
from augmentor.judge import AttributeScore
from augmentor.training.best import Point, Scored, TrainingJudge
from augmentor.training.run_folder import Sampled, Saved, Started, TrainEvent
from stargan.training import LogEvent


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
    with display.ProgressBar("checking", unit="images") as bar:
        for done in range(100):
            bar.update(done, 100)
    assert capsys.readouterr() == ("", "")


def test_a_bar_in_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with display.ProgressBar("expanding", unit="images") as bar:
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
    with display.ProgressBar("expanding", unit="images", console=console) as bar:
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
    assert display.loads_note(None, before="waiting for Ray's workers") == "waiting for Ray's workers"
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
    with display.ProgressBar("expanding", unit="images", console=console) as bar:
        bar.update(500, 2_000_000, note=note, suffix=", 3 failed")
    words = " ".join(screen.getvalue().split())
    assert "translating is the slowest" in words
    assert "512/512 to encode, 0/2 shards to commit" in words
    assert "…" not in words


def test_a_remark_in_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    note = display.loads_note(Loads(seconds=SECONDS, queues={}))
    with display.ProgressBar("expanding", unit="images") as bar:
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
            method="StarGAN",
            images=1234,
            attributes=("hair: black | red",),
            generator_parameters=8_430_528,
            discriminator_parameters=44_762_048,
            batch_size=8,
            steps=100,
            minutes=None,
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
        "1,234 training images on cpu; StarGAN with G 8,430,528, D 44,762,048 weights",
        "resuming from step 40",
        "  hair: black | red",
        "50.0%  step 50, 100 images/s  d/adversarial -1.250  g/cycle 0.500",
        # A quarter took 5 s.
        "40 images/s: 100 steps of 8 images, 0.6 passes, about 5 s more",
        "75.0%  step 75, 50 images/s, 5 s left  d/adversarial -1.250  g/cycle 0.500",
        "samples: run [1]/samples/00000075.png",
        "checkpoint: run [1]/checkpoints/00000075",
    ]


def shown_in_minutes(
    capsys: pytest.CaptureFixture[str], *, end: int, warm_up: int = 0, first: int = 0
) -> list[str]:
    """Return the lines of a log each second from 2 to `end`, of a run of 15 minutes.

    D is alone until the second `warm_up`; `first` steps were done before the first second.
    """
    started = events()[0]
    assert isinstance(started, Started)
    started = replace(started, images=3681, steps=None, minutes=15, step=0, notes=(), attributes=())
    with display.TrainingDisplay() as live:
        live.show(started)
        for second in range(2, end + 1):
            warming = second <= warm_up
            live.show(
                LogEvent(
                    step=first + (25 * second if warming else 25 * warm_up + 5 * (second - warm_up)),
                    progress=second / 900,
                    elapsed=second,
                    learning_rate=1e-4,
                    images_per_second=200 if warming else 40,
                    losses={"d/domain": 0.6} if warming else {"d/domain": 0.3, "g/cycle": 0.5},
                )
            )
    return capsys.readouterr().err.splitlines()


def test_the_plan_for_the_minutes_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    (plan,) = [line for line in shown_in_minutes(capsys, end=11, first=60) if "passes" in line]
    # 75 steps after 5 s, and 5 a second.
    assert plan == "40 images/s: about 4,600 steps of 8 images, 10 passes over 3,681 images"
    assert len(plan) <= 80


def test_the_plan_waits_for_the_end_of_the_warm_up(capsys: pytest.CaptureFixture[str]) -> None:
    """D alone is five times as fast, so the plan counts from the first step of G."""
    lines = shown_in_minutes(capsys, end=21, warm_up=10)
    assert [line for line in lines if "passes" in line] == [
        "40 images/s: about 4,700 steps of 8 images, 10 passes over 3,681 images"
    ]
    assert any("D warms up" in line for line in lines)


def test_scores_and_the_judge_that_gives_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    parts = {
        "smile": AttributeScore(accuracy=0.8, kept=0.9, same=1),
        "hat": AttributeScore(accuracy=0.25, kept=1, same=1),
    }
    point = Point(step=1200, elapsed=60, seconds=2, score=0.485, error=0.02, attributes=parts)
    with display.TrainingDisplay() as live:
        for done in (0, 0.2, 0.4):
            live.show(TrainingJudge(done=done))
            now += 3
        live.show(Scored(point=point, best=True))
        live.show(Scored(point=replace(point, step=1300, score=0.4), best=False))
    assert capsys.readouterr().err.splitlines() == [
        "training the judge: 40%",  # not before 5 s have passed
        "step 1,200 scores 0.485 (best): smile 80% x 90%, hat 25% x 100%",
        "step 1,300 scores 0.400: smile 80% x 90%, hat 25% x 100%",
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
        "D adversarial",
        "cycle",
        "samples: run [1]/samples/00000075.png",
        "checkpoint: run [1]/checkpoints/00000075",
    ):
        assert shown in last


def test_a_bar_counts_time_from_its_first_news(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo makes its bar before it trains: those minutes are not the expansion's."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with display.ProgressBar("expanding", unit="images") as bar:
        now += 300.0
        bar.update(10, 1000)
        now += 10.0
        bar.update(510, 1000)
    assert capsys.readouterr().err == "expanding 510/1,000, 50.0 images/s, 10 s left\n"
