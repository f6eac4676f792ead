"""`expand --balance` and `check --balance`: what is shown at 80 columns, both forms, kills, what is refused."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from augmentor import open_dataset
from tests.integration.killing import committed, content, kill_when

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

KILLS = 5


@pytest.fixture(scope="module")
def words(small: Small, model: Path) -> list[str]:
    return ["expand", str(small.manifest), "--model", str(model), "--balance", "hair,smile", "--shard-size", "4"]


def combinations(out: Path) -> Counter[tuple[str, str]]:
    """Count the training images of every combination of hair and smile."""
    labels = open_dataset(out).labels
    train = labels[labels["split"] == "train"]
    return Counter(zip(train["hair"], train["smile"].astype(str), strict=True))


def test_a_dry_run_shows_counts_before_and_after(augmentor: Augmentor, words: list[str], tmp_path: Path) -> None:
    """Of 16 training rows 14 know whether they smile: at most 3 of a combination, at least 2."""
    out = tmp_path / "out"
    done = augmentor.run(*words, "--out", out, "--dry-run")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    start = lines.index(next(line for line in lines if line.startswith("Combinations")))
    assert lines[start + 1].split() == ["hair", "smile", "before", "wanted", "after"]
    assert lines[start + 2].split()[:3] == ["black", "0", "3"]
    assert {line.split()[-1] for line in lines[start + 2 : start + 8]} == {"█" * 24, "█" * 16 + "▒" * 8}
    assert "Every combination has as many images as are wanted." in done.out
    told = augmentor.run(*words, "--out", out, "--dry-run", "--json").json["balance"]
    assert isinstance(told, list)
    assert {state["after"] for state in told} == {3}
    assert not out.exists()
    checked = augmentor.run("check", words[1], "--balance", "hair,smile", "--json").json["balance"]
    assert checked == told
    assert "Combinations" in augmentor.run("check", words[1], "--balance", "hair,smile").out


@pytest.mark.parametrize("name", ["out", "out.h5"])
def test_counts_are_reached(name: str, augmentor: Augmentor, words: list[str], tmp_path: Path) -> None:
    out = tmp_path / name
    done = augmentor.run(*words, "--balance-to", "5", "--no-gate", "--out", out, "--json")
    assert done.code == 0, done.err
    known = {pair: n for pair, n in combinations(out).items() if pair[1] in ("0", "1")}
    assert set(known.values()) == {5}
    assert len(known) == 6
    told = done.json["balance"]
    assert isinstance(told, list)
    assert [(state["wanted"], state["after"], state["sources_used_up"]) for state in told] == [(5, 5, False)] * 6
    again = augmentor.run(*words, "--balance-to", "5", "--no-gate", "--out", out, "--json")
    assert "is complete already" in again.out
    assert again.json["balance"] == told
    other = augmentor.run(*words, "--balance-to", "6", "--no-gate", "--out", out)
    assert other.code == 2
    assert "balance_to was 5, now 6" in other.err


def test_what_cannot_be_reached_is_said(augmentor: Augmentor, words: list[str], tmp_path: Path) -> None:
    done = augmentor.run(
        *words, "--balance-to", "90", "--max-per-source", "1", "--no-gate", "--out", tmp_path / "out"
    )
    assert done.code == 0, done.err
    assert "6 combinations lack" in done.out
    # 14 images of the combinations, and each of the 16 rows once.
    said = " ".join(done.out.split())
    assert f"lack {6 * 90 - 14 - 16} images: hair=black, smile=0: its sources are used up" in said


def test_killed_again_and_again(augmentor: Augmentor, words: list[str], tmp_path: Path) -> None:
    command = [*words, "--balance-to", "6", "--workers", "2", "--no-gate"]
    whole, out = tmp_path / "whole" / "out", tmp_path / "killed" / "out"
    done = augmentor.run(*command, "--out", whole)
    assert done.code == 0, done.err
    draw, kills = random.Random(7), 0
    for _ in range(KILLS):
        most = committed(out) + draw.randint(1, 3)
        running = augmentor.start(*command, "--out", out)
        kills += kill_when(running, lambda most=most: committed(out) >= most, after=0.0)  # type: ignore[misc]
    done = augmentor.run(*command, "--out", out)
    assert done.code == 0, done.err
    assert kills >= 2
    assert content(out) == content(whole)


def test_a_process_per_device_makes_the_same(augmentor: Augmentor, words: list[str], tmp_path: Path) -> None:
    found = []
    for name, start, flags in (
        ("one", augmentor.run, ()),
        ("two", augmentor.cold, ("--devices", "cpu,cpu")),
    ):
        out = tmp_path / name / "out"
        done = start(*words, "--balance-to", "4", "--no-gate", *flags, "--out", out)
        assert done.code == 0, done.err
        made = content(out)
        made.pop("out/dataset.json")  # It holds the command line.
        found.append(made)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "no translations are requested: give --domains SPEC"),
        (["--balance", "hiar"], "no attribute is called 'hiar'. Did you mean 'hair'"),
        (["--balance", "hair", "--balance-to", "most"], "--balance-to 'most': write auto, minority"),
        (["--domains", "each", "--balance-to", "all"], "--balance-to needs --balance"),
        (["--counts", "nowhere.csv"], "--counts nowhere.csv: cannot be read"),
    ],
)
def test_what_is_refused(
    flags: list[str], message: str, augmentor: Augmentor, small: Small, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = augmentor.run("expand", small.manifest, "--model", model, "--out", out, *flags)
    assert done.code == 2
    assert message in " ".join(done.err.split())
    assert not out.exists()
