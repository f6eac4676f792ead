"""What must hold for the rows of an output: names, labels, lineage, and no split that leaks into another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from augmentor.data.manifest import SPLITS
from augmentor.outputs.judge_results import Rejected
from augmentor.outputs.label_table import Keys, LabelRow, real_key
from stargan.labels import UNKNOWN, LabelSpace


class RowRules:
    """Looks at every row once, in any order; remembers keys, sources and groups to compare them.

    Args:
        space: the attributes of the rows' codes; None where the output does not say, and codes are not judged.
        splits: whose rows were to be translated; None where the output does not say.
    """

    def __init__(self, *, space: LabelSpace | None, splits: Sequence[str] | None) -> None:
        self._space = space
        self._splits = splits
        self._keys = None if space is None else Keys(space)
        self._seen: set[str] = set()
        self._real_splits: dict[str, str] = {}
        self._made_splits: dict[str, str] = {}
        self._groups: dict[str, tuple[str, str, int]] = {}
        self._told: set[str] = set()

    def broken(self, row: LabelRow, shard: int) -> Iterator[tuple[str, int]]:
        """Yield what is wrong with a row, and the shard that is to blame: this one, or an earlier one as well.

        Args:
            row: of any shard.
            shard: its number.
        """
        for reason in (*self._names(row), *self._labels(row), *self._lineage(row)):
            yield reason, shard
        yield from self._group(row, shard)

    def broken_rejected(self, each: Rejected, shard: int) -> Iterator[tuple[str, int]]:
        """Yield what is wrong with a translation that was thrown out, as `broken` does of an image.

        Args:
            each: of any shard.
            shard: its number.
        """
        row = each.row
        if row.file_name or not row.is_synthetic:
            yield "it was rejected, and yet is an image of the output", shard
        if not each.reason:
            yield "it was rejected without a reason", shard
        if row.key in self._seen:
            yield f"its key {row.key!r} is there twice", shard
        self._seen.add(row.key)
        for reason in (*self._labels(row), *self._lineage(row)):
            yield reason, shard

    def _names(self, row: LabelRow) -> Iterator[str]:
        if row.split not in SPLITS:
            yield f"its split is {row.split!r}, not one of {', '.join(SPLITS)}"
        folder, _, name = row.file_name.rpartition("/")
        if folder.count("/") != 1 or folder.partition("/")[0] != row.split:
            yield f"its file {row.file_name!r} does not lie in a folder of {row.split}"
        if name != row.key and name.rpartition(".")[0] != row.key:
            yield f"its file {name!r} is not called as its key {row.key!r}"
        if row.key in self._seen:
            yield f"its key {row.key!r} is there twice"
        self._seen.add(row.key)

    def _labels(self, row: LabelRow) -> Iterator[str]:
        if self._space is None or self._keys is None:
            return
        if len(row.codes) != len(self._space):
            yield f"it has {len(row.codes)} labels, and the label space {len(self._space)} attributes"
            return
        for attribute, code in zip(self._space.attributes, row.codes, strict=True):
            if code != UNKNOWN and not 0 <= code < len(attribute.values):
                yield f"its {attribute.name} has the code {code}, and there are {len(attribute.values)} values"
                return
        strange = [name for name in row.changed if name not in self._space.names]
        if strange:
            yield f"changed names {', '.join(map(repr, strange))}, which is no attribute"
        stem = row.key.partition("__")[0]
        expected = self._keys.key(stem, row.codes) if row.is_synthetic else real_key(stem)
        if row.key != expected:
            yield f"its labels belong to the key {expected!r}, not {row.key!r}"

    def _lineage(self, row: LabelRow) -> Iterator[str]:
        source = row.source_id
        if row.agreement is not None and not 0 <= row.agreement <= 1:
            yield f"its agreement is {row.agreement}, not a probability"
        if not row.is_synthetic:
            if row.changed:
                yield f"it is real, and yet {', '.join(row.changed)} changed"
            self._real_splits[source] = row.split
            other = self._made_splits.get(source, row.split)
        else:
            if self._splits is not None and row.split not in self._splits:
                yield f"it descends from a {row.split} row, and only {', '.join(self._splits)} was to be used"
            self._made_splits[source] = row.split
            other = self._real_splits.get(source, row.split)
        if other != row.split:
            kinds = ("a translation", "real image") if row.is_synthetic else ("the real image", "translation")
            yield f"{kinds[0]} in {row.split}, whose {kinds[1]} {source!r} stands in {other}: the splits leak"

    def _group(self, row: LabelRow, shard: int) -> Iterator[tuple[str, int]]:
        if not row.group:
            return
        split, key, first = self._groups.setdefault(row.group, (row.split, row.key, shard))
        if split != row.split and row.group not in self._told:
            self._told.add(row.group)
            reason = f"group {row.group!r} stands in {split} ({key}) and {row.split} ({row.key}): the splits leak"
            for blamed in sorted({first, shard}):
                yield reason, blamed
