"""The pictures of the page, with what is known of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.outputs.readers import FinishedOutput
from augmentor.report.choice import (
    Change,
    Grid,
    Verdict,
    changes_of,
    choose_best,
    choose_borderline,
    choose_grid,
    choose_rejected,
    choose_spread,
)
from augmentor.report.pictures import Pictures
from augmentor.report.survey import SCORES, Survey, Translations, hashes
from stargan.labels import UNKNOWN, LabelSpace


@dataclass(frozen=True, kw_only=True)
class Card:
    """One translation beside its source.

    Args:
        verdict: why it is shown.
        key: its name.
        source: address of the source's thumbnail; None where it is not in the output.
        made: address of its own.
        change: what was asked for, in words.
        changed: the attributes that differ from the source.
        target: "attribute=value" of all that it was made into.
        scores: (name, value) of those that are known.
        reason: why it was rejected, or "".
    """

    verdict: Verdict
    key: str
    source: str | None
    made: str
    change: str
    changed: tuple[str, ...]
    target: tuple[str, ...]
    scores: tuple[tuple[str, float], ...]
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the grid.

    Args:
        verdict: "kept", "rejected" or "none": it was not asked for, or could not be made.
        picture: its thumbnail; None where there is none.
        words: what it is, for people who do not see it.
        agreement: the judge's; None for unknown.
    """

    verdict: str
    picture: str | None
    words: str
    agreement: float | None


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """One source and what it was translated into."""

    name: str
    source: str | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class GridView:
    """Sources against targets.

    Args:
        groups: (attributes, columns that they head).
        columns: the columns' values.
        rows: the sources.
    """

    groups: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]
    rows: tuple[GridRow, ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """All that is shown of the pictures.

    Args:
        grid: sources against targets.
        cards: the best, the nearest to the thresholds, the rejected; where nobody judged, some.
        unseen: rejected translations that no picture was kept of.
    """

    grid: GridView
    cards: tuple[Card, ...]
    unseen: int


@dataclass(frozen=True)
class _Detail:
    key: str
    file_name: str
    source: str
    reason: str


class _Shelf:
    """Finds and writes the pictures that were chosen.

    Args:
        output: where they are.
        found: its tables.
        pictures: writes the thumbnails.
        kept: numbers of the kept translations that are needed.
        rejected: those of the rejected ones.
        sources: hashes of the sources that are needed.
    """

    def __init__(
        self,
        output: FinishedOutput,
        found: Survey,
        pictures: Pictures,
        *,
        kept: Iterable[int],
        rejected: Iterable[int],
        sources: Iterable[int],
        thumbnails: Mapping[str, bytes],
    ) -> None:
        self.output, self.found, self.pictures, self.thumbnails = output, found, pictures, thumbnails
        wanted = np.array(sorted(set(sources)), dtype=np.uint64)
        there = np.flatnonzero(np.isin(found.real.sources, wanted))
        self._places = {int(found.real.sources[row]): int(found.real.places[row]) for row in there[::-1]}
        rows = {*self._places.values(), *(int(found.kept.places[number]) for number in kept)}
        self.details = _details(output.label_rows(), rows)
        self.thrown_out = _details(output.rejected_rows(), {int(found.rejected.places[n]) for n in rejected})

    def source(self, number: int) -> str | None:
        """Return the address of a source's picture."""
        place = self._places.get(number)
        return None if place is None else self._read(place)

    def kept(self, number: int) -> tuple[_Detail, str | None]:
        """Return what is known of a kept translation, and its picture's address."""
        place = int(self.found.kept.places[number])
        return self.details[place], self._read(place)

    def rejected(self, number: int) -> tuple[_Detail, str | None]:
        """Return what is known of a rejected translation, and its picture's address."""
        detail = self.thrown_out[int(self.found.rejected.places[number])]
        data = self.thumbnails.get(detail.key)
        return detail, None if data is None else self.pictures.add_jpeg(f"rejected {detail.key}", data)

    def _read(self, place: int) -> str | None:
        detail = self.details[place]
        pixels = self.output.read(place, detail.file_name)
        return None if pixels is None else self.pictures.add(detail.key, pixels)


def make_gallery(
    output: FinishedOutput, found: Survey, pictures: Pictures, *, thresholds: Mapping[str, float]
) -> Gallery:
    """Choose what is shown and write its thumbnails.

    Args:
        output: what is reported.
        found: its tables.
        pictures: writes the thumbnails.
        thresholds: what each score had to reach.
    """
    kept, rejected = found.kept, found.rejected
    thumbnails = output.rejected_pictures() if len(rejected) else {}
    there = np.isin(rejected.keys, hashes(pd.Series(list(thumbnails), dtype=object)))
    chosen: dict[Verdict, list[int]] = {"rejected": choose_rejected(rejected, there)}
    if np.isfinite(kept.scores["agreement"]).any():
        best = choose_best(kept)
        chosen = {"best": best, "borderline": choose_borderline(kept, thresholds, without=best), **chosen}
    else:
        chosen = {"kept": choose_spread(kept), **chosen}
    grid = choose_grid(found)
    of_kept = [number for verdict, numbers in chosen.items() if verdict != "rejected" for number in numbers]
    shelf = _Shelf(
        output,
        found,
        pictures,
        kept=[*of_kept, *grid.kept[grid.kept >= 0].tolist()],
        rejected=[*chosen["rejected"], *grid.rejected[grid.rejected >= 0].tolist()],
        sources=[
            *grid.sources,
            *kept.sources[of_kept].tolist(),
            *rejected.sources[chosen["rejected"]].tolist(),
        ],
        thumbnails=thumbnails,
    )
    view = _grid_view(grid, shelf)
    cards = [card for verdict, numbers in chosen.items() for card in _cards(verdict, numbers, shelf)]
    return Gallery(grid=view, cards=tuple(cards), unseen=len(rejected) - int(there.sum()))


def _cards(verdict: Verdict, numbers: Sequence[int], shelf: _Shelf) -> Iterator[Card]:
    space = shelf.output.space
    made = shelf.found.rejected if verdict == "rejected" else shelf.found.kept
    for number, change in zip(numbers, changes_of(made, numbers), strict=True):
        detail, picture = shelf.rejected(number) if verdict == "rejected" else shelf.kept(number)
        if picture is None:
            continue
        yield Card(
            verdict=verdict,
            key=detail.key,
            source=shelf.source(int(made.sources[number])),
            made=picture,
            change=change_words(change, space),
            changed=tuple(space.names[column] for column, _ in change),
            target=tuple(
                f"{space.names[column]}={space.attributes[column].values[code]}"
                for column, code in enumerate(made.codes[number])
                if code != UNKNOWN
            ),
            scores=_scores(made, number),
            reason=detail.reason,
        )


def _grid_view(grid: Grid, shelf: _Shelf) -> GridView:
    space = shelf.output.space
    heads = [", ".join(space.names[column] for column, _ in change) for change in grid.changes]
    groups: list[tuple[str, int]] = []
    for head in heads:
        if groups and groups[-1][0] == head:
            groups[-1] = (head, groups[-1][1] + 1)
        else:
            groups.append((head, 1))
    columns = [", ".join(space.attributes[a].values[code] for a, code in change) for change in grid.changes]
    rows = []
    for place, source in enumerate(grid.sources):
        numbers = zip(grid.kept[place].tolist(), grid.rejected[place].tolist(), grid.changes, strict=True)
        cells, names = [], []
        for kept, rejected, change in numbers:
            cell, name = _cell(kept, rejected, change, shelf)
            cells.append(cell)
            names += [name] if name else []
        rows.append(GridRow(name=names[0] if names else "", source=shelf.source(source), cells=tuple(cells)))
    return GridView(groups=tuple(groups), columns=tuple(columns), rows=tuple(rows))


def _cell(kept: int, rejected: int, change: Change, shelf: _Shelf) -> tuple[Cell, str]:
    """Return a cell and the id of the source that it belongs to, "" where it has none."""
    words = change_words(change, shelf.output.space)
    if kept >= 0:
        detail, picture = shelf.kept(kept)
        agreement = _known(shelf.found.kept.scores["agreement"], kept)
        seen = f"{detail.source} as {words}" + ("" if agreement is None else f", agreement {agreement:.2f}")
        return Cell(verdict="kept", picture=picture, words=seen, agreement=agreement), detail.source
    if rejected >= 0:
        detail, picture = shelf.rejected(rejected)
        agreement = _known(shelf.found.rejected.scores["agreement"], rejected)
        seen = f"{detail.source} as {words}, rejected: {detail.reason}"
        return Cell(verdict="rejected", picture=picture, words=seen, agreement=agreement), detail.source
    return Cell(verdict="none", picture=None, words=f"{words}: not asked for", agreement=None), ""


def change_words(change: Change, space: LabelSpace) -> str:
    """Return what was asked for, as "hair=red, smile=1"."""
    return ", ".join(f"{space.names[column]}={space.attributes[column].values[code]}" for column, code in change)


def _scores(made: Translations, number: int) -> tuple[tuple[str, float], ...]:
    known = ((name, _known(made.scores[name], number)) for name in SCORES)
    return tuple((name, value) for name, value in known if value is not None)


def _known(values: NDArray[np.float32], number: int) -> float | None:
    return float(values[number]) if np.isfinite(values[number]) else None


def _details(chunks: Iterator[pd.DataFrame], places: set[int]) -> dict[int, _Detail]:
    """Return what a table says of some of its rows."""
    wanted, first = np.array(sorted(places), dtype=np.int64), 0
    details = {}
    for chunk in chunks:
        inside = wanted[(wanted >= first) & (wanted < first + len(chunk))]
        rows = chunk.iloc[inside - first]
        reasons = rows["reason"] if "reason" in rows else [""] * len(rows)
        names = rows["file_name"] if "file_name" in rows else [""] * len(rows)
        for place, key, name, source, reason in zip(
            inside.tolist(), rows["key"], names, rows["source_id"], reasons, strict=True
        ):
            details[place] = _Detail(str(key), str(name), str(source), str(reason))
        first += len(chunk)
    return details
