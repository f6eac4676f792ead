"""`augmentor bench`, run for real on tiny networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

SETTINGS = (
    *("images.size=16", "generator.width=4", "generator.blocks=1", "generator.downsamplings=1"),
    *(
        "discriminator.width=4",
        "discriminator.depth=2",
        "training.batch_size=4",
        "loss.cycle_every=1",
        "loss.r1_every=1",
    ),
)
WORDS = [word for setting in SETTINGS for word in ("--set", setting)]


def figures(state: dict[str, object]) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for figure in cast("list[dict[str, object]]", state["figures"]):
        found.setdefault(str(figure["stage"]), []).append(figure)
    return found


def median(figure: dict[str, object], side: str) -> float:
    return cast("dict[str, float]", figure[side])["median"]


def test_every_stage_is_measured_and_said_within_80_columns(augmentor: Augmentor, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    done = augmentor.run(
        "bench",
        *WORDS,
        "--targets",
        3,
        "--images",
        12,
        "--seconds",
        0.1,
        "--compile",
        "off",
        "--out",
        out,
        "--json",
    )
    assert done.code == 0, done.err
    *table, _ = done.out.splitlines()
    assert max(map(len, table)) <= 80
    assert not any("…" in line for line in table)
    state = done.json
    assert json.loads(out.read_text()) == state
    assert str(state["command"]).endswith("--json")
    machine = cast("dict[str, object]", state["machine"])
    assert {"device", "cpu", "cores", "torch", "python", "augmentor"} <= set(machine)

    found = figures(state)
    assert set(found) == {"matrices", "decode", "translate", "encode", "write", "expand", "train", "memory"}
    assert [len(found[stage]) for stage in ("encode", "write", "expand")] == [2, 2, 2]
    assert all(median(figure, "ours") > 0 for each in found.values() for figure in each)
    [translate], [train] = found["translate"], found["train"]
    for figure in (translate, train, *found["expand"]):
        assert median(figure, "plain") > 0
        assert median(figure, "ratio") > 0
    assert cast("dict[str, float]", translate["quantities"])["largest_difference"] <= 1
    assert cast("dict[str, float]", train["quantities"])["largest_relative_loss_difference"] < 1e-4
    assert cast("dict[str, float]", translate["quantities"])["share_of_matrix_rate"] > 0


def test_own_images_and_model(augmentor: Augmentor, small: Small, model: Path) -> None:
    words = ("--stages", "decode,translate", "--seconds", 0.1, "--compile", "off", "--json")
    done = augmentor.run("bench", small.manifest, "--model", model, *words)
    assert done.code == 0, done.err
    found = figures(done.json)
    assert set(found) == {"matrices", "decode", "translate", "memory"}
    assert "16 px" in str(found["translate"][0]["setting"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--suite", "gpu", "--size", 64), "--suite gpu measures its own images"),
        (("--stages", "guess"), "guess is none of decode"),
        (("--model", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_end_before_anything_is_measured(
    augmentor: Augmentor, words: tuple[object, ...], said: str
) -> None:
    done = augmentor.run("bench", *words)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
