"""The program in stargan's README trains, saves, loads and translates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).resolve().parents[2] / "stargan" / "README.md"


def test_the_program_in_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert set(re.findall(r"^(?:import|from) (\w+)", program, flags=re.MULTILINE)) == {
        "pathlib",
        "torch",
        "stargan",
    }
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with torch.random.fork_rng(devices=[]):
        exec(compile(program, README, "exec"), names)  # noqa: S102 - the program is our own
    translated, images = names["translated"], names["images"]
    assert isinstance(translated, torch.Tensor)
    assert isinstance(images, torch.Tensor)
    assert (translated.shape, translated.dtype) == (images.shape, torch.uint8)
    assert not torch.equal(translated, images)
    assert (tmp_path / "run/checkpoints/10/config.json").is_file()
    assert "LogEvent(step=10" in capsys.readouterr().out
