"""The plan: the (row, target, look) items of one expansion, in a fixed order, never all held in memory.

Row by row in the manifest's order: the real image, then its targets, each in all its looks, counted once per
distinct combination of codes and listed when they are read. Then the segments: translations for `--balance`, round
by round.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch

from augmentor.errors import DomainError, counted, listing
from augmentor.planning.combinations import Balance
from augmentor.planning.domains import DomainRequest
from augmentor.planning.items import Item, Segment
from augmentor.planning.targets import Codes, Mask, TargetGrid, pack
from stargan.checkpoints import Model
from stargan.labels import UNKNOWN, LabelSpace

LabelCounts = dict[str, dict[str, tuple[int, int]]]

_ORDER_VERSION = 1
"""Part of the fingerprint; raise it when the order of a plan's items changes."""

_CACHED_COMBINATIONS = 4096
_CACHED_CELLS = 8_000_000
_HASHED_ROWS = 1 << 18
_COUNTED_ROWS = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The items of one expansion; `make_plan` builds it. It can be pickled.

    Takes 12 bytes per row besides the codes, however many items are requested, and some per item of a segment.

    Args:
        with_real: every row's real image is an item.
        codes: (N, A) int16, the manifest's codes, not copied; -1 unknown.
        combinations: (N,) int32, each row's combination of touched codes; -1 where it is not translated.
        examples: (U,) int64, per combination one row that has it.
        counts: (U,) int64, translations per combination: targets times looks.
        offsets: (N + 1,) int64, the position of each row's first item, and the number of these items.
        looks: translations of a row into one target.
        balance: the counts to reach; None for no balance.
        segments: further translations, one segment per round; each begins a new shard.
    """

    space: LabelSpace
    request: DomainRequest
    with_real: bool
    grid: TargetGrid
    codes: Codes
    combinations: npt.NDArray[np.int32]
    examples: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    looks: int = 1
    balance: Balance | None = None
    segments: tuple[Segment, ...] = ()

    def __len__(self) -> int:
        return self.starts[-1]

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The position of each segment's first item, the items of `--domains` first, and the number of items."""
        lengths = [int(self.offsets[-1]), *map(len, self.segments)]
        return tuple(itertools.accumulate(lengths, initial=0))

    @property
    def filled(self) -> Balance:
        """The balance."""
        if self.balance is None:
            raise ValueError("the plan has no balance")
        return self.balance

    def segment_at(self, position: int) -> tuple[Segment, int]:
        """Return the segment of an item, and the position of the segment's first item."""
        for segment, first in zip(self.segments, self.starts[1:-1], strict=True):
            if first <= position < first + len(segment):
                return segment, first
        raise IndexError(f"item {position} is in no segment")

    def extended(self, segment: Segment) -> Plan:
        """Return the plan with one segment more; its fingerprint stays."""
        return replace(self, segments=(*self.segments, segment))

    @property
    def n_real(self) -> int:
        """Items that are real images."""
        return len(self.codes) if self.with_real else 0

    @property
    def n_synthetic(self) -> int:
        """Items that are translations."""
        return len(self) - self.n_real

    def items(self, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        """Return the items at positions `start` to `stop` (the end of the plan), without reading any before.

        Raises:
            ValueError: not 0 <= start <= stop <= len(plan).
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f"items {start} to {stop} are requested, the plan has {len(self)}")
        return self._walk(start, stop)

    def shards(self, size: int, *, segments: int | None = None) -> int:
        """Return the number of shards of `size` items; the last one of every segment may be shorter.

        `segments` counts only those before so many segments are added; None counts all.
        """
        if size < 1:
            raise ValueError(f"a shard has at least 1 item, not {size}")
        starts = self.starts if segments is None else self.starts[: segments + 2]
        return sum(-(-(stop - start) // size) for start, stop in itertools.pairwise(starts))

    def shard_range(self, index: int, size: int) -> tuple[int, int]:
        """Return the position of the first item of shard `index`, and of the one after its last."""
        shards, before = self.shards(size), 0
        for start, stop in itertools.pairwise(self.starts):
            here = -(-(stop - start) // size)
            if before <= index < before + here:
                first = start + (index - before) * size
                return first, min(first + size, stop)
            before += here
        raise IndexError(f"shard {index} is requested, the plan has {shards} of size {size}")

    def shard(self, index: int, size: int) -> Iterator[Item]:
        """Return the items of shard `index`, counted from 0, of shards of `size` items."""
        return self.items(*self.shard_range(index, size))

    def label_counts(self) -> LabelCounts:
        """Count labels over the rows that are translated, as (rows, rows + translations) per attribute and value.

        In the label space's order; "unknown" ("not labelled" where a value has that name) is last, unless (0, 0).
        """
        before = self._count_rows(None)
        # What the translations keep of untouched attributes, then what they do to the touched ones.
        after = [rows + kept for rows, kept in zip(before, self._count_rows(self.counts), strict=True)]
        members = np.bincount(self.combinations[self.combinations >= 0], minlength=len(self.counts))
        touched = self.grid.count(self._touched_codes, members)
        for column, index in enumerate(self.grid.touched):
            after[index] = before[index] + self.looks * touched[column]
        for segment in self.segments:
            after = [sums + more for sums, more in zip(after, self._count(segment), strict=True)]
        counts: LabelCounts = {}
        for attribute, old, new in zip(self.space.attributes, before, after, strict=True):
            pairs = [(int(a), int(b)) for a, b in zip(old, new, strict=True)]
            counts[attribute.name] = dict(zip(attribute.values, pairs[1:], strict=True))
            if any(pairs[0]):
                counts[attribute.name]["not labelled" if "unknown" in attribute.values else "unknown"] = pairs[0]
        return counts

    def changed_values(self) -> set[tuple[int, int]]:
        """Return the (column, code) pairs that translations change into; with a balance, those they may."""
        found: set[tuple[int, int]] = set()
        for run in self.grid.chunks(len(self.counts)):
            own = self._touched_codes(run)
            mask = self.grid.mask(own)
            for block in self.grid.blocks:
                for place, column in enumerate(block.columns):
                    new = mask[:, block.run] & (block.values[:, place] != own[:, [column]])
                    codes = np.unique(block.values[new.any(axis=0), place]).tolist()
                    found |= {(int(self.grid.touched[column]), code) for code in codes}
        if self.balance is not None:
            cells = self.balance.cells
            own = self.codes[self.combinations >= 0][:, cells.attributes]
            short = self.balance.missing(self.balance.before + self.balance.domains) > 0
            for place, column in enumerate(cells.attributes):
                codes = np.unique(cells.values[short, place])
                found |= {(column, int(code)) for code in codes if (own[:, place] != code).any()}
        return found

    def fingerprint(self) -> str:
        """Return a sha256 that changes with anything that changes the items: codes, request, order, flags.

        Left out are segments, which follow from request and rejections, and ids and paths, which the caller adds.
        """
        settings = {
            "order": _ORDER_VERSION,
            "space": self.space.to_json(),
            "request": self.request.to_json(),
            "with_real": self.with_real,
            "include_identity": self.grid.include_identity,
            "rows": len(self.codes),
        }
        if self.looks > 1:
            settings["looks"] = self.looks
        if self.balance is not None:
            settings["balance"] = self.balance.to_json()
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for start in range(0, len(self.codes), _HASHED_ROWS):
            run = slice(start, start + _HASHED_ROWS)
            digest.update(np.ascontiguousarray(self.codes[run], dtype="<i2").tobytes())
            digest.update(np.packbits(self.combinations[run] >= 0).tobytes())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, object]:
        """Leave the cache behind: it cannot be pickled, and fills again."""
        return {name: value for name, value in self.__dict__.items() if name != "_targets"}

    @cached_property
    def _targets(self) -> Callable[[int], Codes]:
        """A combination's targets over the touched attributes, (M, T) int16, the last few remembered."""
        cells = max(1, int(self.counts.max(initial=0)) * len(self.grid.touched))
        size = min(_CACHED_COMBINATIONS, max(1, _CACHED_CELLS // cells))
        return lru_cache(maxsize=size)(lambda combination: self.grid.targets(self._touched_codes(combination)))

    def _touched_codes(self, combinations: int | slice) -> Codes:
        """Return the touched codes of one combination, (T,), or of a run of them, (U, T)."""
        return self.codes[self.examples[combinations]][..., self.grid.touched]

    def _walk(self, start: int, stop: int) -> Iterator[Item]:
        """Yield the items from `start` to `stop`: row by row, then segment by segment."""
        yield from self._walk_rows(start, min(stop, self.starts[1]))
        for segment, first in zip(self.segments, self.starts[1:-1], strict=True):
            begin, end = max(start - first, 0), min(stop - first, len(segment))
            if begin < end:
                yield from segment.items(self.codes, begin, end, position=first + begin)

    def _walk_rows(self, start: int, stop: int) -> Iterator[Item]:
        position = start
        while position < stop:
            # Searched anew for every row: a step to the next one would crawl through long runs without items.
            row = int(np.searchsorted(self.offsets, position, side="right")) - 1
            end = min(stop, int(self.offsets[row + 1]))
            yield from self._row_items(row, position, end)
            position = end

    def _row_items(self, row: int, start: int, stop: int) -> Iterator[Item]:
        first = int(self.offsets[row])
        if self.with_real:
            if start == first:
                target = tuple(self.codes[row].tolist())
                yield Item(position=start, row=row, target=target, is_synthetic=False)
                start += 1
            first += 1
        if start >= stop:
            return
        asked, looks = np.divmod(np.arange(start - first, stop - first), self.looks)
        targets = np.repeat(self.codes[row][None], len(asked), axis=0)
        targets[:, self.grid.touched] = self._targets(int(self.combinations[row]))[asked]
        for position, (codes, look) in enumerate(
            zip(targets.tolist(), (looks + 1).tolist(), strict=True), start=start
        ):
            yield Item(position=position, row=row, target=tuple(codes), is_synthetic=True, look=look)

    def _count_rows(self, per_combination: npt.NDArray[np.int64] | None) -> list[npt.NDArray[np.int64]]:
        """Count translated rows by code, each weighing 1 or what its combination says; unknown comes first."""
        totals = [np.zeros(len(attribute.values) + 1, dtype=np.int64) for attribute in self.space.attributes]
        for start in range(0, len(self.codes), _COUNTED_ROWS):
            combinations = self.combinations[start : start + _COUNTED_ROWS]
            codes = self.codes[start : start + _COUNTED_ROWS][combinations >= 0]
            weights = None if per_combination is None else per_combination[combinations[combinations >= 0]]
            for column, total in enumerate(totals):
                found = codes[:, column].astype(np.intp) - UNKNOWN
                np.add(total, np.bincount(found, weights, len(total)).astype(np.int64), out=total)
        return totals

    def _count(self, segment: Segment) -> list[npt.NDArray[np.int64]]:
        """Count a segment's translations by code, unknown first."""
        targets = segment.targets(self.codes).astype(np.intp)
        return [
            np.bincount(targets[:, column] - UNKNOWN, minlength=len(attribute.values) + 1)
            for column, attribute in enumerate(self.space.attributes)
        ]


def make_plan(
    codes: npt.NDArray[np.integer],
    *,
    space: LabelSpace,
    request: DomainRequest,
    eligible: Mask,
    with_real: bool,
    include_identity: bool = False,
    looks: int = 1,
) -> Plan:
    """Plan an expansion.

    Args:
        codes: (N, A) int16, the manifest's codes, -1 unknown. Not copied: leave them alone afterwards.
        space: the label space of the codes.
        request: what `parse_domains` read against that label space.
        eligible: (N,) bool, the rows that may be translated.
        with_real: make each of the N rows, eligible or not, an item itself: its real image.
        include_identity: keep a row's identity where the request has it.
        looks: translations of a row into each of its targets.

    Raises:
        ValueError: shapes or dtypes do not fit, or a code has no value.
    """
    if codes.ndim != 2 or codes.shape[1] != len(space) or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"codes are {codes.dtype} {codes.shape}, not integers (N, {len(space)})")
    n, _ = codes.shape
    if eligible.shape != (n,) or eligible.dtype != np.bool_:
        raise ValueError(f"eligible is {eligible.dtype} {eligible.shape}, not bool ({n},)")
    sizes = np.array([len(attribute.values) for attribute in space.attributes])
    if n and bool(((codes.max(axis=0) >= sizes) | (codes.min(axis=0) < UNKNOWN)).any()):
        raise ValueError(f"codes must run from {UNKNOWN} to one below the number of the attribute's values")
    table: Codes = codes.astype(np.int16, copy=False)
    grid = TargetGrid(request, space=space, include_identity=include_identity)
    combinations, examples = _combinations(table, eligible, grid)
    counts = np.zeros(len(examples), dtype=np.int64)
    for run in grid.chunks(len(examples)):
        counts[run] = looks * np.count_nonzero(grid.mask(table[examples[run]][:, grid.touched]), axis=1)
    offsets = np.zeros(n + 1, dtype=np.int64)
    offsets[1:] = int(with_real)
    if len(counts):
        np.add(offsets[1:], counts[combinations], out=offsets[1:], where=eligible)
    return Plan(
        space=space,
        request=request,
        with_real=with_real,
        grid=grid,
        codes=table,
        combinations=combinations,
        examples=examples,
        counts=counts,
        offsets=np.cumsum(offsets, out=offsets),
        looks=looks,
    )


def _combinations(
    codes: Codes, eligible: Mask, grid: TargetGrid
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Number the eligible rows' distinct touched codes.

    Returns:
        Each row's number, (N,) int32, -1 where it is not eligible; one row per number, (U,) int64.
    """
    numbers = np.full(len(codes), -1, dtype=np.int32)
    rows = np.flatnonzero(eligible)
    if not len(rows) or not len(grid.touched):
        numbers[rows] = 0
        return numbers, rows[:1]
    keys = pack((codes[rows, column] for column in grid.touched), grid.sizes)
    # In runs, because what sorts ten million keys at once takes half a gigabyte.
    runs = [slice(start, start + _COUNTED_ROWS) for start in range(0, len(rows), _COUNTED_ROWS)]
    distinct = np.unique(np.concatenate([np.unique(keys[run]) for run in runs]))
    first = np.empty(len(distinct), dtype=np.int64)
    for run in reversed(runs):
        found = np.searchsorted(distinct, keys[run])
        numbers[rows[run]] = found
        first[found[::-1]] = rows[run][::-1]  # Of several the last one stays, which is the first row.
    return numbers, first


def refuse_other_direction(plan: Plan, model: Model, domains: Sequence[str]) -> None:
    """Refuse a plan with targets that a one-direction model cannot make; `domains` is for the message."""
    if model.only_target is None:
        return
    only = model.space.attributes[0]
    made = f"{only.name}={only.values[model.only_target]}"
    counts = plan.label_counts()[only.name]
    for value, (before, after) in counts.items():
        if value != only.values[model.only_target] and after > before:
            raise DomainError(
                f"--domains {' '.join(domains)}: {only.name}={value} is requested of {after - before:,} images, "
                f"but the model's file holds one direction, into {made}. Use --domains {made}, which leaves alone "
                "what is so already; for the way back, use the file of the other generator"
            )


def refuse_unlabelled(plan: Plan, model: Model) -> None:
    """Refuse a plan with targets in which an attribute is unknown that the model never saw so.

    See `Model.unseen_unknowns`.

    Raises:
        DomainError: it names the attributes and the numbers of images.
    """
    if model.learnt_unknown:
        return
    # Rows of equal labels have equal targets.
    own, images = np.unique(plan.codes[plan.combinations >= 0], axis=0, return_counts=True)
    few = make_plan(
        own,
        space=plan.space,
        request=plan.request,
        eligible=np.ones(len(own), dtype=np.bool_),
        with_real=False,
        include_identity=plan.grid.include_identity,
    )
    items = [(item.row, item.target) for item in few.items()]
    if plan.balance is not None and plan.segments:
        # Any row may be a source, of this round or a later one, and its target has values of these attributes.
        filled, columns = own.copy(), plan.balance.cells.attributes
        filled[:, columns] = (own[:, columns] + 1) % np.array(plan.balance.cells.sizes)
        items += enumerate(map(tuple, filled.tolist()))
    if not items:
        return
    rows, targets = np.array([row for row, _ in items]), np.array([target for _, target in items])
    asked = plan.space.to_one_label_set(torch.from_numpy(targets), torch.from_numpy(own[rows].astype(np.int64)))
    unseen = model.unseen_unknowns(asked).numpy()
    counts = {
        attribute.name: int(images[np.unique(rows[column])].sum())
        for attribute, column in zip(plan.space.attributes, unseen.T, strict=True)
    }
    unknown = {name: count for name, count in counts.items() if count}
    if unknown:
        named = listing([f"{name} of {counted(count, 'image')}" for name, count in unknown.items()])
        values = ",".join(f"{name}=0" for name in unknown)
        raise DomainError(
            f"the labels of images to be translated are unknown: {named}. The model's file has learnt from 0 and "
            "1 alone, and what it makes of an unknown label is left to chance. Fill in these cells of the "
            f"manifest, or give values in their place, for example --unlabelled {values}"
        )
