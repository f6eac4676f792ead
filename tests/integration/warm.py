"""The server that forks the commands of the tests, with what they import imported already."""

from __future__ import annotations

import s3fs  # noqa: F401
import torchvision.models  # noqa: F401

import augmentor.data.check
import augmentor.expansion.run
import augmentor.judge
import augmentor.outputs.readers.dataset
import augmentor.training.run  # noqa: F401 - all of these are imported for the children
from tests.integration.forkserver import serve

serve()
