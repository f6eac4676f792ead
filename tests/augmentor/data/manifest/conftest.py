"""Tables in a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.augmentor.data.manifest.tables import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_text(text: str | bytes, name: str = "manifest.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write_text
