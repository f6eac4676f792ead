"""How tests of the manifest write tables, and look at what was read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from augmentor.data.manifest import Manifest, read_manifest
from augmentor.errors import ManifestError

Write = Callable[..., Path]


def refused(path: Path, **options: object) -> str:
    """Read a manifest that must be refused and return the message, which names the file."""
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(str(path))
    return message


def values(manifest: Manifest, name: str) -> list[str]:
    """The values of one attribute, "" where unknown."""
    index = manifest.space.index(name)
    known = manifest.space[name].values
    return ["" if code < 0 else known[code] for code in manifest.codes[:, index]]


def column_table(cells: list[str], name: str = "x") -> str:
    return f"path,{name}\n" + "".join(f"{i}.png,{cell}\n" for i, cell in enumerate(cells))


def assert_usable(ids: list[str], stems: list[str]) -> None:
    assert len({stem.casefold() for stem in stems}) == len(ids)
    for stem in stems:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,100}", stem)
        assert "__" not in stem
        assert not stem.startswith(".")
