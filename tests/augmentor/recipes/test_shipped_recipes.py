"""`augmentor.recipes`: recipes by name, and what each is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from augmentor.errors import RecipeError
from augmentor.recipes import find_recipe, purpose, shipped_recipes

ROOT = Path(__file__).parents[3]


def test_every_recipe_has_a_name_and_a_purpose() -> None:
    files = sorted((ROOT / "recipes").glob("*.toml"))
    assert list(shipped_recipes().values()) == files
    assert [file.stem for file in files] == list(shipped_recipes())
    for file in files:
        assert purpose(file)[0].islower(), file
        assert purpose(file).endswith("."), file


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe("cpu-quick") == ROOT / "recipes" / "cpu-quick.toml"
    (tmp_path / "default").mkdir()
    assert find_recipe("default") == ROOT / "recipes" / "default.toml"
    (tmp_path / "cpu-quick").write_text("")
    assert find_recipe("cpu-quick") == Path("cpu-quick")


@pytest.mark.parametrize("path", ["mine.toml", "recipes/cpu-quick", "../cpu-quick.toml"])
def test_a_path_stays_a_path(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe(Path(path)) == Path(path)


def test_an_unknown_name_says_what_is_known() -> None:
    with pytest.raises(RecipeError, match=r"recipe cpu-qick: neither a file nor .+ Did you mean 'cpu-quick'\?"):
        find_recipe("cpu-qick")
    with pytest.raises(RecipeError, match=r"Known: ade20k-256, .+, small-data"):
        find_recipe("zzz")


def test_a_purpose_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("# Title.\n#\n# For: one thing\n#   and another.\n# Values: none.\n[images]\n# For: no.\n")
    assert purpose(file) == "one thing and another."
    file.write_text("# Title.\n[images]\n")
    assert purpose(file) == "Title."
    file.write_text("")
    assert not purpose(file)
