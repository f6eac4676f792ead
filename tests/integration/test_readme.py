"""Every command of the README and of the pages, in their order, in one folder; training is only cut short."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.core import TyperGroup
from typer.main import get_command

from augmentor.images import encode

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "images.size=16 generator.width=4 generator.blocks=1 generator.downsamplings=1 discriminator.width=4 "
    "discriminator.depth=2 training.batch_size=4 training.workers=0"
)
"""Settings that make any training run short; the commands themselves stay as they are printed."""


PAGES = (
    "README.md",
    "docs/training.md",
    "docs/expanding.md",
    "docs/judge.md",
    "docs/balance.md",
    "docs/results.md",
    "docs/evaluating.md",
    "docs/classifiers.md",
)
"""Pages with commands, in the order in which a reader comes to them."""


def fenced(language: str, *, page: str = "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def commands(page: str = "README.md") -> list[str]:
    lines = [line.split("  #")[0].strip() for block in fenced("bash", page=page) for line in block.splitlines()]
    return [line for line in lines if line]


def shortened(command: str, steps: int) -> list[str]:
    words = shlex.split(command)
    if words[:2] == ["augmentor", "train"]:
        if "--minutes" in words:
            place = words.index("--minutes")
            del words[place : place + 2]
        words += ["--steps", str(steps)]
        for setting in TINY.split():
            words += ["--set", setting]
    if words[:2] == ["augmentor", "evaluate"]:
        words += ["--steps", "2"]
    return words


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    rows = ["path,split,group,hair,smile"]
    for index in range(36):
        hair, smile = ("black", "blond", "red")[index % 3], index // 3 % 2
        pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        (folder / "images" / f"{index:04d}.png").write_bytes(encode(pixels, "png"))
        rows.append(f"images/{index:04d}.png,{'test' if index >= 24 else 'train'},g{index},{hair},{smile}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    for index in range(48):
        kind = folder / "photos" / ("sunrise" if index % 4 == 0 else "rain")
        kind.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        (kind / f"{index:04d}.png").write_bytes(encode(pixels, "png"))
    (folder / "recipes").symlink_to(ROOT / "recipes")
    return folder


def test_the_list_of_pages_is_whole() -> None:
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if fenced("bash", page=page)} == {*PAGES, "docs/scale.md"} - {"README.md"}


def test_links_lead_to_files() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_works_in_its_order(page: str, augmentor: Augmentor, folder: Path) -> None:
    """A page's commands run after those of the pages above it, on what they wrote."""
    steps, ran = 2, 0
    for command in commands(page):
        if command.startswith("make "):
            plan = subprocess.run(["make", "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, check=False)
            assert plan.returncode == 0, plan.stderr.decode()
            continue
        steps += 1  # so that the run that is resumed has something left to do
        program, *words = shortened(command, steps)
        if program == "augmentor":
            done = augmentor.run(*words, inside=folder)
        else:
            assert program == "python"
            done = augmentor.run(*words[1:], script=ROOT / words[0], inside=folder)
        assert done.code == 0, f"{command}\n{done.out}\n{done.err}"
        ran += 1
    assert ran >= 1


def test_the_python_of_the_pages_works(folder: Path) -> None:
    """Runs after the commands, on what they wrote."""
    assert (folder / "more" / "labels.csv").exists()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT)}
    for block in fenced("python", page="docs/classifiers.md"):
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_the_readme_documents_every_command() -> None:
    listed = set(re.findall(r"`augmentor (\w+)", (ROOT / "README.md").read_text()))
    from augmentor.cli import app  # noqa: PLC0415 - light

    names = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert names <= listed


@pytest.mark.parametrize("command", commands("docs/scale.md"))
def test_the_commands_for_many_machines_are_understood(command: str) -> None:
    """They need GPUs, a cluster and a store; what each of them does is tested where it can be, on the CPU."""
    from augmentor.cli import app  # noqa: PLC0415 - light

    program, name, *words = shlex.split(command)
    assert program == "augmentor"
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    group.commands[name].make_context(name, words).close()
