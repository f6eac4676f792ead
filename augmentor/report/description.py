"""The fields of dataset.json that the report shows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Self

from augmentor.judge import JudgeReport, Offers, Thresholds, Unchecked
from augmentor.storage import Json, mask_credentials, read_declared


@dataclass(frozen=True, kw_only=True)
class DescribedModel:
    """The model: its path for expand, its hash, its step, and why that is the run's best."""

    path: str
    sha256: str
    step: int | None
    choice: str | None = None


@dataclass(frozen=True, kw_only=True)
class SplitImages:
    """Images of a split."""

    real: int
    synthetic: int


@dataclass(frozen=True, kw_only=True)
class DescribedCounts:
    """Images of an output, and rows that failed."""

    real: int
    synthetic: int
    failed: int
    splits: Mapping[str, SplitImages]


@dataclass(frozen=True, kw_only=True)
class DescribedSettings:
    """Settings of the expansion that have their own place in the report."""

    domains: tuple[str, ...]
    splits: tuple[str, ...]
    image_format: str
    real: str


@dataclass(frozen=True, kw_only=True)
class BalancedCombination:
    """A combination of attributes and its images before and after --balance; None where damaged or not wanted."""

    domain: Mapping[str, str]
    before: int | None
    after: int | None
    wanted: int | None
    sources_used_up: bool
    given_up: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class DescribedGate:
    """The thresholds of scores.

    `lowered` are pairs of values with a lower threshold of agreement; `offers` says how often that threshold is
    right on real images.
    """

    thresholds: Thresholds
    lowered: tuple[object, ...]
    offers: Offers | None


@dataclass(frozen=True, kw_only=True)
class DescribedJudge:
    """The judge that scored the translations; `report` has no attributes where there was none."""

    sha256: str
    report: JudgeReport


@dataclass(frozen=True, kw_only=True)
class DescribedOutput:
    """A dataset.json; text fields that are missing are empty."""

    augmentor: str
    manifest: str
    command: str
    fingerprint: str
    content_sha256: str
    model: DescribedModel
    settings: Mapping[str, object]
    counts: DescribedCounts
    balance: tuple[BalancedCombination, ...]
    gate: DescribedGate
    judge: DescribedJudge
    unchecked: tuple[Unchecked, ...]
    missing_classes: Mapping[str, tuple[str, ...]]

    @classmethod
    def from_json(cls, state: Mapping[str, Json]) -> Self:
        """Read the content of a dataset.json, also one of an earlier version or a damaged one."""
        gate, judge = (each if isinstance(each := state.get(name), Mapping) else {} for name in ("gate", "judge"))
        offers = judge.get("offers") or gate.get("offers")
        return read_declared(
            cls,
            {
                **state,
                # Earlier versions recorded commands as they were given.
                **{name: mask_credentials(str(state.get(name) or "")) for name in ("command", "manifest")},
                # Earlier versions wrote the thresholds, and the judge's report, one level higher.
                "gate": {
                    "lowered": gate.get("lowered"),
                    "thresholds": gate.get("thresholds") or gate,
                    "offers": offers,
                },
                "judge": {"sha256": judge.get("sha256"), "report": judge.get("report") or judge},
            },
            lenient=True,
        )

    @property
    def revision(self) -> int:
        """A number of its own for every content, because readers keep what they read by name and version."""
        return int(hashlib.sha256((self.content_sha256 or self.fingerprint).encode()).hexdigest()[:8], 16)

    @cached_property
    def requested(self) -> DescribedSettings:
        """The typed part of `settings`."""
        return read_declared(DescribedSettings, self.settings, lenient=True)

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """Minimum of each score that has one; empty where nothing was gated."""
        return {name: least for name, least in asdict(self.gate.thresholds).items() if least is not None}
