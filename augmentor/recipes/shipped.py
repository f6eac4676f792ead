"""Recipes by name: their files, and what each is for."""

from __future__ import annotations

from pathlib import Path

from augmentor.errors import RecipeError, did_you_mean

_HERE = Path(__file__).parent
_FOLDERS = (_HERE, _HERE.parents[1] / "recipes")
"""Where the files are: beside this one in an installed package, at the top of a clone."""


def shipped_recipes() -> dict[str, Path]:
    """Return the files of all recipes by name, `cpu-quick` for cpu-quick.toml, in alphabetical order."""
    files = (file for folder in _FOLDERS for file in sorted(folder.glob("*.toml")))
    found: dict[str, Path] = {}
    for file in files:
        found.setdefault(file.stem, file)
    return found


def find_recipe(word: str | Path) -> Path:
    """Return a recipe's file: the one at this path, else the one that ships under this name.

    Raises:
        RecipeError: there is neither.
    """
    path, shipped = Path(word), shipped_recipes()
    if str(word) in shipped and not path.is_file():  # A folder of this name, such as a run's, is no recipe.
        return shipped[str(word)]
    if path.name == str(word) and not path.suffix and not path.exists():
        hint = did_you_mean(str(word), list(shipped)) or f" Known: {', '.join(shipped)}."
        raise RecipeError(f"recipe {word}: neither a file nor the name of a recipe.{hint}")
    return path  # A path that is not there is the reader's to refuse.


def purpose(recipe: Path) -> str:
    """Return what a recipe is for: the paragraph `For:` of its opening comment, else the first line of that."""
    comment = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").removeprefix(" "))
    starts = [place for place, line in enumerate(comment) if line.startswith("For:")]
    if not starts:
        return comment[0] if comment else ""
    words = [comment[starts[0]].removeprefix("For:").strip()]
    for line in comment[starts[0] + 1 :]:
        if not line.startswith("  "):
            break
        words.append(line.strip())
    return " ".join(words)
