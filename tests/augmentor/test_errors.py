"""What is taken over from other people's errors."""

from __future__ import annotations

import pytest

from augmentor.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("CUDA out of memory"), "CUDA out of memory"),
        (RuntimeError("no such device\nCUDA kernel errors might be asynchronous\n"), "no such device"),
        (OSError("\n  unable to open file\n (bad signature)"), "unable to open file"),
        (AssertionError(), "AssertionError"),
        (KeyError(" \n"), r"' \n'"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_the_first_line_of_an_error(error: BaseException, line: str) -> None:
    assert first_line(error) == line
