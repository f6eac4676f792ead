"""What all tests of verify do without."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes most of the time, and its order is tested with the writers."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
