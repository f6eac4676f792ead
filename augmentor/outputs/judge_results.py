"""Results of the judge for a shard: scores of the kept translations, and the rejected ones with reasons."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from augmentor.outputs.label_table import COLUMNS_BEFORE, LabelRow, RowState, cells, rounded, score_cell
from stargan.labels import LabelSpace

NOT_BEST, SURPLUS = "not among the best", "surplus"
"""First words of the reasons of translations that passed the gate but were dropped: they stay candidates."""

_SCORES = ("agreement", "realism", "preserved")

ScoresState: TypeAlias = "list[float | None] | None"
RejectedState: TypeAlias = "tuple[int, RowState, ScoresState, str, str]"


class RowScores(NamedTuple):
    """Scores of a translation besides its label row's agreement and realism.

    Args:
        preserved: similarity to its source where nothing was to change, in [-1, 1]; None if unknown.
        per_attribute: (A,) the judge's probability of the target's value, in [0, 1]; None where unknown.
    """

    preserved: float | None
    per_attribute: tuple[float | None, ...]

    def rounded(self) -> RowScores:
        """Return the scores with 4 decimals, as all formats hold them."""
        return RowScores(rounded(self.preserved), tuple(map(rounded, self.per_attribute)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A rejected translation.

    Args:
        position: its place in the shard.
        row: its label row, without a file name.
        scores: None if nothing was measured.
        thumbnail: a small JPEG as base64; "" for most.
    """

    position: int
    row: LabelRow
    scores: RowScores | None
    reason: str
    thumbnail: str = ""

    @property
    def passed(self) -> bool:
        """Whether it passed the gate, and was rejected in favour of others."""
        return self.reason.startswith((NOT_BEST, SURPLUS))

    def to_json(self) -> RejectedState:
        """Return plain JSON values."""
        return self.position, self.row.to_json(), scores_to_json(self.scores), self.reason, self.thumbnail

    @classmethod
    def from_json(cls, state: RejectedState) -> Rejected:
        """Return what `to_json` described.

        Raises:
            ValueError: it is something else.
        """
        position, row, scores, reason, thumbnail = state
        return cls(
            position=int(position),
            row=LabelRow.from_json(row),
            scores=scores_from_json(scores),
            reason=str(reason),
            thumbnail=str(thumbnail),
        )


@dataclass(frozen=True, kw_only=True)
class JudgeResults:
    """The judge's results for a shard's translations.

    Args:
        scores: of the kept ones, by position.
        rejected: in the order of their positions.
    """

    scores: Mapping[int, RowScores] = field(default_factory=dict)
    rejected: Sequence[Rejected] = ()

    def of(self, positions: Sequence[int]) -> list[RowScores | None]:
        """Return the scores at these positions; an empty list if nothing was judged."""
        return [self.scores.get(position) for position in positions] if self.scores else []


NO_JUDGE_RESULTS = JudgeResults()


def scores_to_json(scores: RowScores | None) -> ScoresState:
    """Return scores as one flat, rounded list."""
    if scores is None:
        return None
    return [rounded(scores.preserved), *map(rounded, scores.per_attribute)]


def scores_from_json(state: ScoresState) -> RowScores | None:
    """Return what `scores_to_json` described; raise ValueError for anything else."""
    if state is None:
        return None
    if not state or not all(score is None or isinstance(score, int | float) for score in state):
        raise ValueError(f"no scores: {state!r}")
    return RowScores(state[0], tuple(state[1:]))


class Unpacked(NamedTuple):
    """Content of `pack_judged`: positions of the rows, their scores, and the rejected translations."""

    positions: list[int]
    scores: list[RowScores | None]
    rejected: list[Rejected]


def pack_judged(positions: Sequence[int], scores: Sequence[RowScores | None], rejected: Sequence[Rejected]) -> str:
    """Return the results as one short text for an HDF5 attribute; "" where nothing was judged."""
    if not scores and not rejected:
        return ""
    state = [list(positions), list(map(scores_to_json, scores)), [each.to_json() for each in rejected]]
    return base64.b85encode(zlib.compress(json.dumps(state, ensure_ascii=False).encode())).decode()


def unpack_judged(text: str) -> Unpacked:
    """Return what `pack_judged` packed.

    Raises:
        ValueError, TypeError: it is something else, or damaged.
    """
    if not text:
        return Unpacked([], [], [])
    try:
        positions, scores, rejected = json.loads(zlib.decompress(base64.b85decode(text)))
    except zlib.error as error:
        raise ValueError(f"the scores are damaged: {error}") from error
    return Unpacked(
        positions=list(map(int, positions)),
        scores=list(map(scores_from_json, scores)),
        rejected=list(map(Rejected.from_json, rejected)),
    )


def scores_columns(space: LabelSpace) -> list[str]:
    """Return the columns of `scores.csv`."""
    return ["key", *_SCORES, *(f"agreement:{name}" for name in space.names)]


def rejected_columns(space: LabelSpace) -> list[str]:
    """Return the columns of `rejected.csv`."""
    lineage = [name for name in COLUMNS_BEFORE if name not in ("file_name", "is_synthetic")]
    return [*lineage, *space.names, "changed", *scores_columns(space)[1:], "reason"]


def scores_cells(
    rows: Sequence[LabelRow], scores: Sequence[RowScores | None], space: LabelSpace
) -> Iterator[list[str]]:
    """Yield the rows of `scores.csv`, one per translation with scores.

    `scores` holds one entry per label row, or none at all.
    """
    for row, measured in zip(rows, scores, strict=bool(scores)):
        if measured is not None:
            yield [row.key, *_score_cells(row, measured, space)]


def rejected_cells(rejected: Sequence[Rejected], space: LabelSpace) -> Iterator[list[str]]:
    """Yield the rows of `rejected.csv`, one per rejected translation."""
    for each in rejected:
        row = each.row
        labels = cells(row, space)[len(COLUMNS_BEFORE) : len(COLUMNS_BEFORE) + len(space)]
        lineage = [row.key, row.split, row.group, row.source_id, row.source_path]
        yield [*lineage, *labels, row.changed_text, *_score_cells(row, each.scores, space), each.reason]


def _score_cells(row: LabelRow, scores: RowScores | None, space: LabelSpace) -> list[str]:
    preserved, per_attribute = scores or RowScores(None, (None,) * len(space))
    return [score_cell(score) for score in (row.agreement, row.realism, preserved, *per_attribute)]
