"""The description of an output, `dataset.json`: its schema, writing and checking it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from augmentor.outputs.fingerprints import Identity
from augmentor.outputs.label_table import LabelRow
from augmentor.storage import Json
from stargan.checkpoints import json_sha256
from stargan.labels import LabelSpace

SCHEMA_VERSION = 1
"""Schema version of all files that expand writes; raised when readers of the old version would go wrong."""

DERIVED = frozenset(
    {"schema_version", "label_space", "image_shape", "counts", "content_sha256", "missing_classes", "sha256"}
)
"""Entries of `dataset.json` that the writer adds."""

UNPARSED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""Exceptions of parsing JSON that is damaged or foreign."""

Shape: TypeAlias = "tuple[int | None, ...]"
"""(H, W, C) of images; None for a side in which they differ."""


@dataclass(kw_only=True)
class Counts:
    """Numbers of images in an output or a shard.

    Args:
        failed: rows that could not be used, each counted once.
        rejected: rejected translations, which no split counts.
        splits: per split, the number of "real" and "synthetic" images.
    """

    failed: int = 0
    rejected: int = 0
    splits: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, row: LabelRow) -> None:
        """Count one image."""
        split = self.splits.setdefault(row.split, {"real": 0, "synthetic": 0})
        split["synthetic" if row.is_synthetic else "real"] += 1

    @property
    def real(self) -> int:
        """Real images in all splits."""
        return sum(split["real"] for split in self.splits.values())

    @property
    def synthetic(self) -> int:
        """Synthetic images in all splits."""
        return sum(split["synthetic"] for split in self.splits.values())

    def to_json(self) -> dict[str, object]:
        """Return the counts as plain JSON values."""
        return {
            "real": self.real,
            "synthetic": self.synthetic,
            "failed": self.failed,
            "rejected": self.rejected,
            "splits": {name: dict(split) for name, split in sorted(self.splits.items())},
        }

    @classmethod
    def from_json(cls, state: Any) -> Counts:
        """Return the counts that `to_json` described; errors are `UNPARSED`."""
        return cls(failed=state["failed"], rejected=state.get("rejected", 0), splits=state["splits"])


def common_shape(first: Shape | None, second: Shape | None) -> Shape | None:
    """Merge two (H, W, C) shapes, None where there is no image: a side in which they differ becomes None."""
    if first is None or second is None:
        return first or second
    return tuple(a if a == b else None for a, b in zip(first, second, strict=True))


def describe(
    description: Mapping[str, Json],
    space: LabelSpace,
    *,
    counts: Counts,
    shape: Shape | None,
    added: Mapping[str, Json],
) -> Mapping[str, object]:
    """Return the content of `dataset.json`, of which an HDF5 file holds a copy in its attribute `dataset_json`.

    Args:
        description: the entries on the run: its fingerprint, what that is made of, the model, the settings.
        space: the attributes, in the order of the codes.
        counts: of the images.
        shape: (H, W, C) of the images, None for a side in which they differ; None where there is no image.
        added: further entries that follow from the images, of `DERIVED`.

    Returns:
        All entries, with the SHA-256 of the others as `sha256`.
    """
    described = {
        **description,
        "schema_version": SCHEMA_VERSION,
        "label_space": space.to_json(),
        "image_shape": None if shape is None else list(shape),
        "counts": counts.to_json(),
        **added,
    }
    return {**described, "sha256": json_sha256(described)}


def parse_description(text: str | bytes) -> dict[str, object]:
    """Return the content of `dataset.json`, checking checksum, label space and counts; errors are `UNPARSED`."""
    state = checked_object(text)
    described_space(state)
    Counts.from_json(state["counts"]).to_json()
    Identity.of(state)
    return state


def checked_object(text: str | bytes) -> dict[str, object]:
    """Return a JSON object whose entry "sha256" matches the others; errors are `UNPARSED`."""
    state = json.loads(text)
    if not isinstance(state, dict):
        raise TypeError("it is no JSON object")
    if state.get("sha256") != json_sha256({key: value for key, value in state.items() if key != "sha256"}):
        raise ValueError("it is not what its SHA-256 says")
    return state


def described_space(description: Mapping[str, object]) -> LabelSpace:
    """Return the label space of a checked description."""
    return LabelSpace.from_json(description["label_space"])  # type: ignore[arg-type]
