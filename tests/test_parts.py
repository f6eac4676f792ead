"""`docs/parts.md`: every key, definition and test that it names is there."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in (ROOT / "docs" / "parts.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "`" in line
]
KEYS = {
    f"{section}.{key}"
    for recipe in sorted((ROOT / "recipes").glob("*.toml"))
    for section, content in tomllib.loads(recipe.read_text(encoding="utf-8")).items()
    for key in content
}


def defined(path: Path) -> set[str]:
    """Names of a module's top level."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        names |= {str(getattr(target, "id", getattr(target, "name", ""))) for target in targets}
    return names


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_what_a_part_names_is_there(row: list[str]) -> None:
    _, keys, code, test, measured = row
    assert set(re.findall(r"`([^`]+)`", keys)) <= KEYS
    for cell in (code, test):
        (path, name) = re.findall(r"`([^:`]+): (\w+)`", cell)[0]
        assert name in defined(ROOT / path)
    assert measured
