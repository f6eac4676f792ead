"""Joint manifests: several tables read as one, for joint training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import union_categoricals

from augmentor.data.manifest.columns import FIXED_COLUMNS, natural_order
from augmentor.data.manifest.files import read_table
from augmentor.data.manifest.label_sets import describe_sets, distinct, ordered, overlap
from augmentor.data.manifest.lookalikes import doubts
from augmentor.data.manifest.read import Manifest, infer_manifest, read_manifest
from augmentor.data.manifest.reading import AS_WRITTEN, TableReading
from augmentor.data.manifest.table import Table, clean
from augmentor.errors import ManifestError, did_you_mean, listing
from augmentor.storage import located
from stargan.labels import UNKNOWN, Attribute, LabelSpace

OneHot = Mapping[str, Sequence[str]]


def read_manifests(
    paths: Sequence[Path],
    *,
    attributes: Sequence[str] | None = None,
    one_hot: OneHot | None = None,
    reading: TableReading = AS_WRITTEN,
) -> Manifest:
    """Read one manifest, or several as one: their rows one after another, their attributes side by side.

    Tables with the same attributes are simply joined. Tables with different ones become label sets, told apart by
    a mask (StarGAN, section 3.3). Image paths stay relative to each table's own folder. Options are those of
    `read_manifest`; each of `attributes` must be in a table, and each table must have one of them.

    Raises:
        ManifestError: a table cannot be used, or two share some attributes but not all.
        MissingExtraError: a Parquet file without pyarrow.
    """
    if len(paths) == 1:
        return read_manifest(paths[0], attributes=attributes, one_hot=one_hot, reading=reading)
    for i, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:i]]:
            raise ManifestError(f"{path}: this manifest is given twice. Name it once")
    attributes = None if attributes is None else list(map(clean, attributes))
    one_hot = {clean(name): list(map(clean, columns)) for name, columns in (one_hot or {}).items()}
    tables = [read_table(path, reading) for path in paths]
    groups = _groups(tables, one_hot)
    manifests = [
        infer_manifest(table, attributes=wanted, one_hot=group)
        for table, wanted, group in zip(tables, _wanted(tables, attributes, groups), groups, strict=True)
    ]
    space = _united(manifests)
    return Manifest(
        path=paths[0],
        rows=_rows(manifests),
        space=space,
        codes=np.concatenate([_codes(manifest, space) for manifest in manifests]),
        has_splits=any(manifest.has_splits for manifest in manifests),
        notes=tuple(_notes(manifests, space)),
        more_paths=tuple(paths[1:]),
    )


def _groups(tables: Sequence[Table], one_hot: OneHot) -> list[dict[str, Sequence[str]]]:
    """Return the one-hot attributes of each table; one that no table has is the first one's, which refuses it."""
    groups: list[dict[str, Sequence[str]]] = [{} for _ in tables]
    for name, columns in one_hot.items():
        there = [i for i, table in enumerate(tables) if any(column in table.columns for column in columns)]
        for i in there or [0]:
            groups[i][name] = columns
    return groups


def _wanted(
    tables: Sequence[Table], attributes: Sequence[str] | None, groups: Sequence[OneHot]
) -> list[list[str] | None]:
    """Return which of the requested attributes each table has; None where none are requested."""
    if attributes is None:
        return [None for _ in tables]
    usable = []
    for table, group in zip(tables, groups, strict=True):
        members = {column for columns in group.values() for column in columns}
        columns = [name for name in table.columns if name not in FIXED_COLUMNS and name not in members]
        usable.append([*columns, *group])
    everywhere = list(dict.fromkeys(name for names in usable for name in names))
    for name in attributes:
        if name not in everywhere:
            raise ManifestError(
                f"{', '.join(str(table.path) for table in tables)}: no attribute column '{name}'."
                f"{did_you_mean(name, everywhere)} There are {listing(everywhere, 12)}"
            )
    wanted = [[name for name in attributes if name in names] for names in usable]
    for table, found, names in zip(tables, wanted, usable, strict=True):
        if not found:
            raise ManifestError(
                f"{table.path}: has none of the requested attributes ({listing(attributes)}). Add one of "
                f"{listing(names, 12)} to them, or leave the manifest out"
            )
    return [*wanted]


def _united(manifests: Sequence[Manifest]) -> LabelSpace:
    """Return the label space of all tables, with label sets where their attributes differ."""
    sets = [
        (names, manifest)
        for manifest in manifests
        for names in manifest.space.label_sets or (manifest.space.names,)
    ]
    different = distinct([names for names, _ in sets])
    if (pair := overlap(different)) is not None:
        one, other = (next(manifest.path for names, manifest in sets if names == shared) for shared in pair)
        common = [name for name in pair[0] if name in pair[1]]
        alone = [name for name in (*pair[0], *pair[1]) if name not in common]
        raise ManifestError(
            f"{one} and {other}: both have {listing(common)}, but only one of them has {listing(alone)}. "
            "For joint training, manifests have the same attributes or none in common. If the labels "
            "mean the same, merge the tables into one manifest; else choose with --attributes (or "
            "manifest.attributes in the recipe) what only one of them has"
        )
    attributes: dict[str, Attribute] = {}
    for manifest in manifests:
        for attribute in manifest.space.attributes:
            before = attributes.setdefault(attribute.name, attribute)
            attributes[attribute.name] = _both(before, attribute, manifest)
    space = LabelSpace(attributes=tuple(attributes.values()))
    return ordered(space, different)[0] if len(different) > 1 else space


def _notes(manifests: Sequence[Manifest], space: LabelSpace) -> Iterator[str]:
    """Yield the notes of all tables, and how they were joined."""
    for manifest in manifests:
        yield from manifest.notes
        if not manifest.has_splits and any(other.has_splits for other in manifests):
            yield f"{manifest.path}: no column 'split', so all its rows are train"
    titles = ", ".join(str(manifest.path) for manifest in manifests)
    for attribute in space.attributes:
        if all(attribute not in manifest.space.attributes for manifest in manifests):
            # Of values that no table has all of, so that none has compared them.
            yield from doubts(titles, attribute.name, attribute.values)
    how = describe_sets(space) if space.label_sets else "they have the same attributes, so their rows are joined"
    yield f"{titles}: {how}"


def _both(first: Attribute, second: Attribute, manifest: Manifest) -> Attribute:
    """Return the attribute with the values of both tables."""
    if first.kind != second.kind:
        raise ManifestError(
            f"{manifest.path}, column '{first.name}': is {second.kind} here and {first.kind} in another manifest. "
            "Write it in the same way in both"
        )
    if set(first.values) >= set(second.values):
        return first
    values = tuple(natural_order({*first.values, *second.values}))
    return Attribute(name=first.name, kind=first.kind, values=values)


def _codes(manifest: Manifest, space: LabelSpace) -> NDArray[np.int16]:
    """Return a table's codes in the label space of all, (N, A); what the table does not have is unknown."""
    codes = np.full((len(manifest), len(space)), UNKNOWN, dtype=np.int16)
    for own, column in zip(manifest.space.attributes, manifest.codes.T, strict=True):
        united = space[own.name]
        # Unknown is -1, and so the last place.
        lookup = np.array([*(united.code(value) for value in own.values), UNKNOWN], dtype=np.int16)
        codes[:, space.index(own.name)] = lookup[column]
    return codes


def _rows(manifests: Sequence[Manifest]) -> pd.DataFrame:
    """Return the rows of all tables, as `Manifest` describes them."""
    titles = _titles([manifest.path for manifest in manifests])
    clashing = pd.concat([manifest.rows["id"] for manifest in manifests])
    clashing = clashing[clashing.duplicated()]
    parts = []
    for manifest, title in zip(manifests, titles, strict=True):
        rows = manifest.rows.copy()
        if manifest.root.resolve() != manifests[0].root.resolve():
            root = manifest.root.resolve()
            rows["path"] = [located(root, path).as_posix() for path in rows["path"]]
        ids = rows["id"]
        rows["id"] = ids.where(~ids.isin(clashing), f"{title}-" + ids)
        datasets = rows["dataset"].astype(str)
        rows["dataset"] = datasets if (datasets != "").any() else title
        parts.append(rows)
    joined = pd.concat([rows.drop(columns="pair") for rows in parts], ignore_index=True)
    joined["dataset"] = joined["dataset"].astype("category")
    joined["pair"] = _pairs(manifests, titles)
    files = pd.Index([str(manifest.path) for manifest in manifests])
    counts = [len(manifest) for manifest in manifests]
    joined["file"] = pd.Categorical.from_codes(np.repeat(np.arange(len(files)), counts), categories=files)
    twice = joined.loc[joined["id"].duplicated(keep=False)]
    if len(twice):
        raise ManifestError(
            f"{twice['file'].iat[0]}, row {twice['line'].iat[0]}, column 'id': '{twice['id'].iat[0]}' is also in "
            "another manifest. Give the rows ids of their own"
        )
    return joined


def _pairs(manifests: Sequence[Manifest], titles: Sequence[str]) -> pd.Categorical[object]:
    """Return the pairs of all tables; equal names are one pair in tables of the same folder, as with groups."""
    roots = [manifest.root.resolve() for manifest in manifests]
    # A pair has the title of the first table of its folder before it, so that no two folders' names can meet.
    first = [titles[roots.index(root)] for root in roots]
    several = len(set(roots)) > 1
    columns = []
    for manifest, title in zip(manifests, first, strict=True):
        names = [f"{title}/{name}" if several else name for name in manifest.rows["pair"].cat.categories]
        columns.append(manifest.rows["pair"].cat.rename_categories(names))
    return union_categoricals(columns)


def _titles(paths: Sequence[Path]) -> list[str]:
    """Return a name for each table's data set: the file's, with its folder's where two are called alike."""
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.absolute().parent.name}-{path.stem}" for path in paths]
    return [name if names.count(name) == 1 else f"{name}-{i + 1}" for i, name in enumerate(names)]
