"""Rounds of translations that top up rare combinations until all counts are reached.

The first round assumes that no translation is rejected. Every later one is a pure function of the plan and of the
records of earlier rounds, so that a run that was killed makes the same rounds again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from augmentor.data.manifest import Manifest
from augmentor.errors import DomainError
from augmentor.planning.balance import BalanceRequest
from augmentor.planning.combinations import LEFT_ALONE, Balance, Cells, CellState, Numbers
from augmentor.planning.domains import DomainRequest
from augmentor.planning.items import Segment
from augmentor.planning.plan import Plan, make_plan
from augmentor.planning.targets import Codes, Mask, pack

TRIAL = 256
"""Translations into a combination after which it is given up if all were rejected."""

_TURNS = 16
"""Turns in which combinations share the nearest sources where uses per source are limited."""


def with_balance(plan: Plan, request: BalanceRequest, *, only: int | None = None) -> Plan:
    """Return a plan that also tops up combinations, with its first round.

    Counted are the real images of the rows that may be translated, and the translations of `--domains`.
    `only` is the one code that the model translates its one attribute into, see `Model.only_target`.

    Raises:
        DomainError: there is nothing to count, or the model cannot make what is requested.
    """
    cells = request.cells
    eligible = plan.combinations >= 0
    before = cells.count(cells.of(plan.codes[eligible]))
    domains = _Requested.of(plan, cells).counts
    there = before + domains
    wanted = request.wanted(there)
    if only is not None:
        wanted = _one_direction(plan, wanted, there, only)
    plan = replace(
        plan,
        balance=Balance(
            cells=cells, before=before, domains=domains, wanted=wanted, max_per_source=request.max_per_source
        ),
    )
    uses = np.diff(plan.offsets) - int(plan.with_real)
    segment = RoundPlanner(plan).pick(plan, plan.filled.missing(there), failed=~eligible, uses=uses)
    return plan if segment is None else plan.extended(segment)


def _one_direction(plan: Plan, wanted: Numbers, there: Numbers, only: int) -> Numbers:
    """Return the counts to reach with a model that makes one value only."""
    attribute = plan.space.attributes[0]
    for code, (images, found) in enumerate(zip(wanted.tolist(), there.tolist(), strict=True)):
        if code != only and images > found:
            raise DomainError(
                f"--balance: {attribute.name}={attribute.values[code]} lacks {images - found:,} images, but the "
                f"model's file holds one direction, into {attribute.values[only]}. Use the other generator's file"
            )
    possible = np.arange(len(wanted)) == only
    return np.where(possible, wanted, LEFT_ALONE)


class RoundPlanner:
    """The sources of top-up rounds of a plan, whatever its segments, and the targets that `--domains` requests."""

    def __init__(self, plan: Plan) -> None:
        self._balance = plan.filled
        self._cells = self._balance.cells
        self._sources = np.flatnonzero(plan.combinations >= 0).astype(np.int64)
        self._own: Codes = plan.codes[self._sources][:, self._cells.attributes]
        self._requested = _Requested.of(plan, self._cells)
        self._seed = int(plan.fingerprint()[:16], 16)

    def trial(self, plan: Plan) -> Plan:
        """Return the plan with a first round of `TRIAL` translations into each combination at most.

        What a judge rejects altogether is found out before all of its sources were translated.
        """
        if not plan.segments:
            return plan
        first = plan.segments[0]
        cells = self._cells.number(first.values)
        order = np.lexsort((_chance(first.rows.astype(np.int64), self._seed, 0), cells))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - np.searchsorted(cells[order], cells[order], side="left")
        tried = rank < TRIAL
        segment = self._segment(first.rows[tried].astype(np.int64), cells[tried], first.looks[tried])
        assert segment is not None
        return replace(plan, segments=(segment,))

    @staticmethod
    def given_up(plan: Plan, kept: Numbers) -> Mask:
        """Return the combinations, (C,) bool, of whose many translations none was kept."""
        given_up: Mask = (kept == 0) & (planned_translations(plan) >= TRIAL)
        return given_up

    def next_round(
        self,
        plan: Plan,
        *,
        there: Numbers,
        kept: Numbers,
        failed: Mask,
        uses: npt.NDArray[np.int64],
        given_up: Mask | None = None,
    ) -> Segment | None:
        """Return the next round; None where every count is reached or no source is left.

        It requests what is missing, divided by the share of this combination's translations that was kept so far.

        Args:
            plan: with the rounds so far.
            there: (C,) int64, images of each combination, real ones and translations that were kept.
            kept: (C,) int64, translations of each combination that were kept.
            failed: (N,) bool, rows that cannot be used.
            uses: (N,) int64, translations of each row that were kept.
            given_up: (C,) bool, combinations of which no more is requested; None for none.
        """
        missing = self._balance.missing(there)
        # A prior of one kept of two: of a few translations, none may be kept by chance.
        ask = -(-missing * (planned_translations(plan) + 2) // (kept + 1))
        if given_up is not None:
            ask[given_up] = 0
        return self.pick(plan, ask, failed=failed, uses=uses)

    def pick(self, plan: Plan, ask: Numbers, *, failed: Mask, uses: npt.NDArray[np.int64]) -> Segment | None:
        """Return the nearest free sources, in the manifest's order; None where there is none.

        Near ones change few attributes; equally near ones are in a seeded random order, another for each
        combination. Of a plan with several looks, a source is used again once all are used.

        Args:
            plan: with the rounds so far; no source is used for the same target more often than there are looks.
            ask: (C,) int64, translations wanted; fewer are returned where there are no more sources.
            failed: (N,) bool, rows that cannot be used.
            uses: (N,) int64, translations of each row so far.
        """
        ask = ask.copy()
        limit = self._balance.max_per_source
        left = None if limit is None else np.maximum(limit - uses, 0)
        picked: list[tuple[npt.NDArray[np.int64], int, int]] = []
        for look in range(1, plan.looks + 1):
            closed = {cell: self._closed(plan, cell, look, failed) for cell in np.flatnonzero(ask).tolist()}
            for distance in range(1, len(self._cells.attributes) + 1):
                pools = {cell: self._pool(cell, distance, closed[cell]) for cell in np.flatnonzero(ask).tolist()}
                picked += [(rows, cell, look) for rows, cell in _taken(pools, ask, left)]
        return self._segment(
            np.concatenate([rows for rows, _, _ in picked] or [np.empty(0, dtype=np.int64)]),
            np.repeat([cell for _, cell, _ in picked], [len(rows) for rows, _, _ in picked]).astype(np.int64),
            np.repeat([look for _, _, look in picked], [len(rows) for rows, _, _ in picked]).astype(np.int16),
        )

    def _closed(self, plan: Plan, cell: int, look: int, failed: Mask) -> Mask:
        """Return which rows cannot be used for a look of a combination (any more), (N,) bool."""
        closed = failed | self._requested.rows(cell)
        for segment in plan.segments:
            used = (self._cells.number(segment.values) == cell) & (segment.looks == look)
            closed[segment.rows[used]] = True
        return closed

    def _pool(self, cell: int, distance: int, closed: Mask) -> npt.NDArray[np.int64]:
        """Return the rows from which a combination is so many changed attributes away, shuffled."""
        away = np.count_nonzero(self._own != self._cells.values[cell], axis=1)
        rows: npt.NDArray[np.int64] = self._sources[(away == distance) & ~closed[self._sources]]
        return rows[np.argsort(_chance(rows, self._seed, cell), kind="stable")]

    def _segment(
        self, rows: npt.NDArray[np.int64], cells: npt.NDArray[np.int64], looks: npt.NDArray[np.int16]
    ) -> Segment | None:
        if not len(rows):
            return None
        # By rows: a shard reads each source once for all that it is asked for.
        order = np.lexsort((looks, cells, rows))
        return Segment(
            rows=rows[order].astype(np.int32),
            columns=self._cells.attributes,
            values=self._cells.values[cells[order]],
            looks=looks[order],
        )


def _taken(
    pools: dict[int, npt.NDArray[np.int64]], ask: Numbers, left: npt.NDArray[np.int64] | None
) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """Yield rows of the pools, each with its combination, until no more are asked for or none is left.

    `ask`, (C,), and `left`, (N,) the uses that each row has left or None for no limit, are reduced in place; where
    uses are limited, combinations take turns.
    """
    share = ask if left is None else -(-ask // _TURNS)
    while pools:
        for cell, nearest in list(pools.items()):
            pool = nearest if left is None else nearest[left[nearest] > 0]
            taken = pool[: min(int(ask[cell]), int(share[cell]))]
            yield taken, cell
            ask[cell] -= len(taken)
            if left is not None:
                left[taken] -= 1
            pools[cell] = pool[len(taken) :]
            if not ask[cell] or not len(pools[cell]):
                del pools[cell]


def preview_balance(
    manifest: Manifest, *, attributes: Sequence[str], to: str = "auto", counts: Path | None = None
) -> list[CellState]:
    """Return the training rows' combinations before and after `expand --balance`, if all translations are kept.

    `attributes`, `to` and `counts` are those of `BalanceRequest.parse`.

    Raises:
        DomainError: a name, word or cell of the table cannot be used, or there is nothing to count.
    """
    request = BalanceRequest.parse(attributes=attributes, to=to, counts=counts, space=manifest.space)
    plan = make_plan(
        manifest.codes,
        space=manifest.space,
        request=DomainRequest(),
        eligible=manifest.split_mask(["train"]),
        with_real=True,
    )
    return planned_states(with_balance(plan, request))


def planned_states(plan: Plan) -> list[CellState]:
    """Return the state of each combination if every translation is kept."""
    balance = plan.filled
    return balance.states(balance.before + planned_translations(plan), plan.space)


def planned_translations(plan: Plan) -> Numbers:
    """Return the planned translations of each combination, (C,) int64."""
    balance = plan.filled
    asked = balance.domains.copy()
    for segment in plan.segments:
        asked += balance.cells.count(balance.cells.number(segment.values))
    return asked


def _chance(rows: npt.NDArray[np.int64], seed: int, cell: int) -> npt.NDArray[np.uint64]:
    """Return a random number per row that does not depend on library versions: splitmix64, twice."""
    with np.errstate(over="ignore"):
        start = _mixed(np.array([seed ^ (cell + 1)], dtype=np.uint64))
        return _mixed(start + rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _mixed(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return bits ^ (bits >> np.uint64(31))


@dataclass(frozen=True)
class _Requested:
    """The targets of `--domains` in terms of the combinations of some attributes.

    Rows of one kind are equal in these and in the touched attributes, and so have the same targets.

    Args:
        counts: (C,) int64, translations into each combination.
        kinds: (N,) int64, each row's kind; -1 where it is not translated.
        taken: by combination, the kinds that have the very target that topping it up would request.
    """

    counts: Numbers
    kinds: npt.NDArray[np.int64]
    taken: dict[int, list[int]]

    @classmethod
    def of(cls, plan: Plan, cells: Cells) -> _Requested:
        """Go through the targets of every kind."""
        counts = np.zeros(len(cells), dtype=np.int64)
        kinds = np.full(len(plan.codes), -1, dtype=np.int64)
        taken: dict[int, list[int]] = {}
        rows = np.flatnonzero(plan.combinations >= 0)
        touched, sizes = plan.grid.touched, [len(attribute.values) for attribute in plan.space.attributes]
        if not len(touched) or not len(rows):
            return cls(counts, kinds, taken)
        columns = sorted({*touched.tolist(), *cells.attributes})
        keys = pack((plan.codes[rows, column] for column in columns), [sizes[column] for column in columns])
        _, first, inverse, members = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        kinds[rows] = inverse
        others = np.setdiff1d(np.arange(len(sizes)), cells.attributes)
        for kind, (row, count) in enumerate(zip(rows[first].tolist(), members.tolist(), strict=True)):
            own = plan.codes[row]
            touched_codes = plan.grid.targets(own[touched])
            targets = np.repeat(own[None], len(touched_codes), axis=0)
            targets[:, touched] = touched_codes
            numbers = cells.of(targets)
            counts += plan.looks * count * cells.count(numbers)
            alike = (targets[:, others] == own[others]).all(axis=1) & (numbers >= 0)
            for cell in numbers[alike].tolist():
                taken.setdefault(cell, []).append(kind)
        return cls(counts, kinds, taken)

    def rows(self, cell: int) -> Mask:
        """Return which rows have a target that changes to this combination and nothing else, (N,) bool."""
        return np.isin(self.kinds, self.taken.get(cell, []))
