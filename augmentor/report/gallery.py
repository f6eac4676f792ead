"""The sections with images: sources against targets, and selected translations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.outputs.readers import FinishedOutput
from augmentor.report.choice import (
    Change,
    GridChoice,
    Verdict,
    changes_of,
    choose_best,
    choose_borderline,
    choose_grid,
    choose_rejected,
    choose_spread,
)
from augmentor.report.survey import SCORES, Survey, SurveyedRows, hashes
from augmentor.report.thumbnails import Thumbnails
from stargan.labels import UNKNOWN, LabelSpace


@dataclass(frozen=True, kw_only=True)
class TranslationCard:
    """A translation beside its source.

    Args:
        verdict: the group that it is shown in.
        source: address of the source's thumbnail; None if it is not in the output.
        made: address of its own.
        change: the requested change, as "hair=red".
        changed: the attributes that differ from the source.
        target: "attribute=value" of its target.
        scores: (name, value) of the known ones.
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
class GridCell:
    """A cell of the grid; `picture` is its thumbnail's address, `words` the text alternative.

    `verdict` is "kept", "rejected", or "none" for one that was not requested or failed.
    """

    verdict: str
    picture: str | None
    words: str
    agreement: float | None


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """A source and its translations."""

    name: str
    source: str | None
    cells: tuple[GridCell, ...]


@dataclass(frozen=True, kw_only=True)
class SourceGrid:
    """Sources against targets; `groups` are (attributes, number of columns below)."""

    groups: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]
    rows: tuple[GridRow, ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The images of the page; `unseen` is the number of rejected translations without a stored image.

    The cards are the best, the borderline and the rejected translations; without scores, some.
    """

    grid: SourceGrid
    cards: tuple[TranslationCard, ...]
    unseen: int


@dataclass(frozen=True)
class _Detail:
    key: str
    file_name: str
    source: str
    reason: str


class _Images:
    """Reader of the selected images, and writer of their thumbnails.

    `kept` and `rejected` are numbers of the selected translations, `sources` hashes of the selected sources;
    `thumbnails` are JPEG files of rejected translations, by key.
    """

    def __init__(
        self,
        output: FinishedOutput,
        found: Survey,
        pictures: Thumbnails,
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
        self.rejected_details = _details(output.rejected_rows(), {int(found.rejected.places[n]) for n in rejected})

    def source(self, number: int) -> str | None:
        """Return the address of a source's thumbnail."""
        place = self._places.get(number)
        return None if place is None else self._read(place)

    def kept(self, number: int) -> tuple[_Detail, str | None]:
        """Return the row of a kept translation, and its thumbnail's address."""
        place = int(self.found.kept.places[number])
        return self.details[place], self._read(place)

    def rejected(self, number: int) -> tuple[_Detail, str | None]:
        """Return the row of a rejected translation, and its thumbnail's address."""
        detail = self.rejected_details[int(self.found.rejected.places[number])]
        data = self.thumbnails.get(detail.key)
        return detail, None if data is None else self.pictures.add_jpeg(f"rejected {detail.key}", data)

    def _read(self, place: int) -> str | None:
        detail = self.details[place]
        pixels = self.output.read(place, detail.file_name)
        return None if pixels is None else self.pictures.add(detail.key, pixels)


def make_gallery(
    output: FinishedOutput, found: Survey, pictures: Thumbnails, *, thresholds: Mapping[str, float]
) -> Gallery:
    """Select the images and write their thumbnails; `thresholds` are the minimum of each score."""
    kept, rejected = found.kept, found.rejected
    thumbnails = output.rejected_pictures() if len(rejected) else {}
    there = np.isin(rejected.keys, hashes(pd.Series(list(thumbnails), dtype=object)))
    chosen: dict[Verdict, list[int]] = {"rejected": choose_rejected(found, there)}
    if np.isfinite(kept.scores["agreement"]).any():
        best = choose_best(kept)
        chosen = {"best": best, "borderline": choose_borderline(kept, thresholds, without=best), **chosen}
    else:
        chosen = {"kept": choose_spread(kept), **chosen}
    grid = choose_grid(found)
    of_kept = [number for verdict, numbers in chosen.items() if verdict != "rejected" for number in numbers]
    images = _Images(
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
    view = _grid_view(grid, images)
    cards = [card for verdict, numbers in chosen.items() for card in _cards(verdict, numbers, images)]
    return Gallery(grid=view, cards=tuple(cards), unseen=len(rejected) - int(there.sum()))


def _cards(verdict: Verdict, numbers: Sequence[int], images: _Images) -> Iterator[TranslationCard]:
    space = images.output.space
    made = images.found.rejected if verdict == "rejected" else images.found.kept
    for number, change in zip(numbers, changes_of(made, numbers), strict=True):
        detail, picture = images.rejected(number) if verdict == "rejected" else images.kept(number)
        if picture is None:
            continue
        yield TranslationCard(
            verdict=verdict,
            key=detail.key,
            source=images.source(int(made.sources[number])),
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


def _grid_view(grid: GridChoice, images: _Images) -> SourceGrid:
    space = images.output.space
    heads = [", ".join(space.names[column] for column, _ in change) for change in grid.changes]
    groups = tuple((head, len(list(equal))) for head, equal in groupby(heads))
    columns = [", ".join(space.attributes[a].values[code] for a, code in change) for change in grid.changes]
    rows = []
    for place, source in enumerate(grid.sources):
        numbers = zip(grid.kept[place].tolist(), grid.rejected[place].tolist(), grid.changes, strict=True)
        cells, names = [], []
        for kept, rejected, change in numbers:
            cell, name = _cell(kept, rejected, change, images)
            cells.append(cell)
            names += [name] if name else []
        rows.append(GridRow(name=names[0] if names else "", source=images.source(source), cells=tuple(cells)))
    return SourceGrid(groups=groups, columns=tuple(columns), rows=tuple(rows))


def _cell(kept: int, rejected: int, change: Change, images: _Images) -> tuple[GridCell, str]:
    """Return a cell and its source's id, "" without one."""
    words = change_words(change, images.output.space)
    if kept >= 0:
        detail, picture = images.kept(kept)
        agreement = _known(images.found.kept.scores["agreement"], kept)
        seen = f"{detail.source} as {words}" + ("" if agreement is None else f", agreement {agreement:.2f}")
        return GridCell(verdict="kept", picture=picture, words=seen, agreement=agreement), detail.source
    if rejected >= 0:
        detail, picture = images.rejected(rejected)
        agreement = _known(images.found.rejected.scores["agreement"], rejected)
        seen = f"{detail.source} as {words}, rejected: {detail.reason}"
        return GridCell(verdict="rejected", picture=picture, words=seen, agreement=agreement), detail.source
    return GridCell(verdict="none", picture=None, words=f"{words}: not requested", agreement=None), ""


def change_words(change: Change, space: LabelSpace) -> str:
    """Return a change as "hair=red, smile=1"."""
    return ", ".join(f"{space.names[column]}={space.attributes[column].values[code]}" for column, code in change)


def _scores(made: SurveyedRows, number: int) -> tuple[tuple[str, float], ...]:
    known = ((name, _known(made.scores[name], number)) for name in SCORES)
    return tuple((name, value) for name, value in known if value is not None)


def _known(values: NDArray[np.float32], number: int) -> float | None:
    return float(values[number]) if np.isfinite(values[number]) else None


def _details(chunks: Iterator[pd.DataFrame], places: set[int]) -> dict[int, _Detail]:
    """Return some rows of a table, by their place in it."""
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
