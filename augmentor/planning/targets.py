"""Targets of rows, computed for many rows at once.

A request is compiled into a grid of candidate targets, the same for every row. A row's targets are a boolean mask
over the grid: without those that repeat its own value under `~`, its identity, and targets of an earlier SPEC.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from augmentor.planning.domains import AttributeChoice, DomainRequest, Spec
from stargan.labels import UNKNOWN, LabelSpace

Codes = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]

_CHUNK_CELLS = 1 << 21
_KEY_LIMIT = 1 << 63


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """The candidates of one SPEC.

    Args:
        columns: positions, within the touched attributes, of the K attributes that the SPEC names.
        values: (G, K) int16, the codes of its G candidates; the last attribute varies fastest.
        axes: per named attribute, its column, the (V,) int16 codes whose product makes `values`, and (V,) bool
            that is False where a code counts only if it is not the row's own (`~`).
        run: the block's place among the candidates of all blocks.
    """

    columns: tuple[int, ...]
    values: Codes
    axes: tuple[tuple[int, Codes, Mask], ...]
    run: slice


class TargetGrid:
    """The candidates of a request and the rule that picks a row's targets among them.

    Only `touched` counts, the T positions of the attributes that some SPEC names: rows that are equal there share
    their targets. With `include_identity`, a row's identity is kept where the request has it.
    """

    def __init__(self, request: DomainRequest, *, space: LabelSpace, include_identity: bool) -> None:
        named = {choice.attribute for spec in request.specs for choice in spec}
        self.touched = np.array(sorted(named), dtype=np.intp)
        self.sizes = tuple(len(space.attributes[index].values) for index in self.touched)
        self.include_identity = include_identity
        self.blocks = tuple(_blocks(request, {int(a): i for i, a in enumerate(self.touched)}, self.sizes))
        self.width = self.blocks[-1].run.stop if self.blocks else 0
        repeating = _repeating_specs(request.specs, include_identity)
        self._repeating = [block for block, repeats in zip(self.blocks, repeating, strict=True) if repeats]

    def chunks(self, rows: int) -> Iterator[slice]:
        """Yield consecutive runs of `rows` rows, each small enough to hold its mask in memory."""
        step = max(1, _CHUNK_CELLS // max(1, self.width))
        for start in range(0, rows, step):
            yield slice(start, min(start + step, rows))

    def mask(self, codes: Codes) -> Mask:
        """Return the targets among the candidates, (N, width) bool, for touched codes (N, T) int16, -1 unknown."""
        mask = np.empty((len(codes), self.width), dtype=np.bool_)
        for block in self.blocks:
            kept = own_domain = np.ones((len(codes), 1), dtype=np.bool_)
            # One attribute after the other, so that a cell costs about two steps however many there are; the
            # last one first, so that the long axis is the fast one.
            for column, values, always in reversed(block.axes):
                own_value = codes[:, column, None] == values
                own_domain = _outer_and(own_value, own_domain)
                kept = _outer_and(always | ~own_value, kept)
            mask[:, block.run] = kept if self.include_identity else kept & ~own_domain
        if self._repeating:
            self._drop_repeats(codes, mask)
        return mask

    def targets(self, codes: Codes) -> Codes:
        """Return one row's targets in order, (M, T) int16, for its touched codes (T,) int16."""
        (mask,) = self.mask(codes[None])
        targets = np.repeat(codes[None], self.width, axis=0)
        for block in self.blocks:
            targets[block.run, block.columns] = block.values
        kept: Codes = targets[mask]
        return kept

    def count(
        self, touched_codes: Callable[[slice], Codes], members: npt.NDArray[np.int64]
    ) -> list[npt.NDArray[np.int64]]:
        """Count the targets of many rows by code of every touched attribute, unknown first.

        Args:
            touched_codes: returns the touched codes of a run of the distinct rows, (U, T).
            members: (U,) int64, how many rows are like each of them.

        Returns:
            Per touched attribute (values + 1,) int64.
        """
        # Floats, because their matrix product is many times faster; sums of whole numbers below 2**53 are exact.
        rows = members.astype(np.float64)
        sums = [np.zeros(size + 1) for size in self.sizes]
        for run in self.chunks(len(rows)):
            codes = touched_codes(run)
            mask = self.mask(codes)
            # Per distinct row and attribute, the targets that keep it: all but those of SPECs that name it.
            keeping = np.repeat(np.count_nonzero(mask, axis=1)[:, None], len(sums), axis=1)
            for block in self.blocks:
                picked = mask[:, block.run]
                keeping[:, block.columns] -= np.count_nonzero(picked, axis=1)[:, None]
                weights = rows[run] @ picked
                for place, column in enumerate(block.columns):
                    size = self.sizes[column] + 1
                    sums[column] += np.bincount(block.values[:, place] - UNKNOWN, weights=weights, minlength=size)
            for column, size in enumerate(self.sizes):
                weights = rows[run] * keeping[:, column]
                sums[column] += np.bincount(codes[:, column] - UNKNOWN, weights=weights, minlength=size + 1)
        return [total.astype(np.int64) for total in sums]

    def _drop_repeats(self, codes: Codes, mask: Mask) -> None:
        """Clear, in place, every target in `mask` that repeats an earlier one of its row."""
        places = np.concatenate([np.arange(block.run.start, block.run.stop) for block in self._repeating])
        columns = sorted({column for block in self._repeating for column in block.columns})
        keys = pack(
            (self._resolved(codes, column) for column in columns), [self.sizes[column] for column in columns]
        ).reshape(len(codes), len(places))
        kept = mask[:, places]
        # Candidates that are no targets get keys of their own, below every real one: they repeat nothing.
        keys = np.where(kept, keys, -1 - np.arange(len(places)))
        # Stable, so that of equal targets the first one in the grid stays.
        order = np.argsort(keys, axis=1, kind="stable")
        ranked = np.take_along_axis(keys, order, axis=1)
        repeated = np.zeros_like(kept)
        np.put_along_axis(repeated, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], axis=1)
        mask[:, places] = kept & ~repeated

    def _resolved(self, codes: Codes, column: int) -> Codes:
        """Return one attribute of all repeating candidates of all rows, flat, (N * candidates,) int16."""
        n = len(codes)
        runs = [
            np.broadcast_to(
                block.values[:, block.columns.index(column)]
                if column in block.columns
                else codes[:, column, None],
                (n, len(block.values)),
            )
            for block in self._repeating
        ]
        return np.concatenate(runs, axis=1).ravel()


def pack(columns: Iterable[Codes], sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Turn rows of codes into numbers, (N,) int64, not negative, that are equal exactly where the rows are.

    `columns` are one or more, (N,) int16, -1 unknown, read one at a time; `sizes` their numbers of values.
    """
    keys: npt.NDArray[np.int64] | None = None
    span = 1
    for column, size in zip(columns, sizes, strict=True):
        if keys is None:
            keys = np.zeros(len(column), dtype=np.int64)
        if span * (size + 1) >= _KEY_LIMIT:
            seen, keys = np.unique(keys, return_inverse=True)
            span = len(seen)
        keys *= size + 1
        keys += column
        keys += 1
        span *= size + 1
    if keys is None:
        raise ValueError("rows without columns cannot be packed")
    return keys


def _blocks(request: DomainRequest, position: dict[int, int], sizes: Sequence[int]) -> Iterator[Block]:
    """Lay out every SPEC's product; `position` maps an attribute to its place among the touched ones."""
    start = 0
    for spec in request.specs:
        columns = tuple(position[choice.attribute] for choice in spec)
        axes = []
        for choice, column in zip(spec, columns, strict=True):
            candidates = np.array(choice.candidates(sizes[column]), dtype=np.int16)
            axes.append((column, candidates, np.isin(candidates, choice.values)))
        grid = np.meshgrid(*(candidates for _, candidates, _ in axes), indexing="ij")
        values = np.stack([axis.ravel() for axis in grid], axis=1)
        yield Block(columns=columns, values=values, axes=tuple(axes), run=slice(start, start + len(values)))
        start += len(values)


def _outer_and(left: Mask, right: Mask) -> Mask:
    """Return (N, A * B): every column of `left` (N, A) with every column of `right` (N, B), which vary fastest."""
    both: Mask = left[:, :, None] & right[:, None, :]
    return both.reshape(len(left), -1)


def _repeating_specs(specs: Sequence[Spec], include_identity: bool) -> list[bool]:
    """Return, per SPEC, whether another may give a row the same target, so that the costly search is rare."""
    by_attribute = [{choice.attribute: choice for choice in spec} for spec in specs]
    repeating = [False] * len(specs)
    for first, second in itertools.combinations(range(len(specs)), 2):
        if _may_share(by_attribute[first], by_attribute[second], include_identity):
            repeating[first] = repeating[second] = True
    return repeating


def _may_share(
    first: dict[int, AttributeChoice], second: dict[int, AttributeChoice], include_identity: bool
) -> bool:
    """Return whether two SPECs can give one row the same target; False only where that is certain."""
    common = first.keys() & second.keys()
    # Without a common attribute, each keeps what the other changes: they meet in the row's identity alone.
    if not common and not include_identity:
        return False
    if any(
        not (one.others or other.others or set(one.values) & set(other.values))
        for one, other in ((first[attribute], second[attribute]) for attribute in common)
    ):
        return False
    # Where only one SPEC names an attribute, the other keeps the row's value, which a plain `~` never gives.
    alone = [first[a] for a in first.keys() - common] + [second[a] for a in second.keys() - common]
    return all(choice.values for choice in alone)
