"""Digits in the forms of MNIST and USPS: converted, trained with their recipe, translated, still the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor

SCRIPT = Path(__file__).parents[2] / "recipes" / "digits_check.py"


def test_digits_change_their_style_and_stay_what_they_are(augmentor: Augmentor, tmp_path: Path) -> None:
    """An eleventh of the images in BENCHMARKS.md, in larger batches and steps: not as good, but it has learnt."""
    faster = ("training.batch_size=4", "training.learning_rate=1e-3", "training.workers=0")
    words = [word for setting in faster for word in ("--set", setting)]
    done = augmentor.run(tmp_path / "digits", "--steps", 450, *words, script=SCRIPT)
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
        # By chance it would be a tenth; an untranslated image keeps its digit, but not one changes its domain.
        assert digit > 0.5
        assert domain > 0.8
