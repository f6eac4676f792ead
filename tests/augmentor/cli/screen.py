"""A screen of some width, for tests of what is printed."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType


def printed(what: RenderableType, width: int = 80) -> list[str]:
    """Return what a console of some width shows, line by line."""
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]
