"""Images that tests of loading read, and label spaces of them."""

from __future__ import annotations

import itertools

from augmentor.training.sampler import Draw, StepSampler


def draws(sampler: StepSampler, batches: int) -> list[list[Draw]]:
    return list(itertools.islice(sampler, batches))
