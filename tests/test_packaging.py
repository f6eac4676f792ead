"""What the project says about itself in several places says the same everywhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import augmentor

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_is_the_same_in_the_project_file_and_in_the_package() -> None:
    assert PROJECT["version"] == augmentor.__version__


def test_the_changelog_has_an_entry_for_the_version() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(f"## [{PROJECT['version']}]") for line in lines)


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_readme_names_the_two_commands_to_start_with(command: str) -> None:
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("requirement", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
def test_dependencies_have_a_lower_bound_and_no_upper_one(requirement: str) -> None:
    assert ">=" in requirement
    assert not any(sign in requirement for sign in ("<", "==", "~=", ","))


@pytest.mark.parametrize("target", ["help", "demo", "test", "test-lowest", "setup"])
def test_the_makefile_has_the_targets_that_the_documents_name(target: str) -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(f"{target}:") for line in lines)
