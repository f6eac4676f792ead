"""Digits in MNIST's and USPS's form: converted, trained with their recipe, translated, and still the same digits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor

SCRIPT = Path(__file__).parents[2] / "recipes" / "digits_check.py"


def test_digits_change_their_style_and_stay_what_they_are(augmentor: Augmentor, tmp_path: Path) -> None:
    """A thirtieth of the recipe's images, in larger batches; BENCHMARKS.md has what more of them bring."""
    faster = ("--set", "training.batch_size=8", "--set", "training.workers=0", "--set", "judge.steps=0")
    done = augmentor.run(tmp_path / "digits", "--steps", 450, *faster, script=SCRIPT)
    assert done.code == 0, done.err
    pattern = r"(\w+) to (\w+) +([\d.]+)% +([\d.]+)% +([\d.]+)% +([\d.]+)% +of (\d+) images"
    found = re.findall(pattern, done.out)
    assert [(source, target, int(images)) for source, target, *_, images in found] == [
        ("mnist", "usps", 180),
        ("usps", "mnist", 180),
    ]
    for _, _, *words, _ in found:
        real_digit, real_domain, digit, domain = (float(word) / 100 for word in words)
        # The two classifiers can tell.
        assert real_digit > 0.95
        assert real_domain > 0.99
        assert digit > 0.7
        assert domain > 0.5
