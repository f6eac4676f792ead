"""Whatever ids, names and values a manifest holds: no two images share a file, none leaves the output folder."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.data.manifest import SPLITS, key_stems
from augmentor.outputs.label_table import Keys, LabelRow, cells, columns, read_label_table, real_key
from augmentor.outputs.writers import FolderWriter
from augmentor.storage import replacing_table
from stargan.labels import Attribute, LabelSpace

quick = settings(max_examples=60, deadline=None, derandomize=True)

# What a manifest can hold: cells are stripped; attributes' names and values print and hold no separators.
PIECES = st.sampled_from(
    [
        *("a", "A", "b", "0", "1", "-", "_", "__", ".", "..", " ", "/", "\\", ":", "%2e", "é", "日本"),
        *("real", "hair-blond", "hair", "~1", "con", "'", '"', "<", ">", "&", "x" * 120, "日本" * 60),
    ]
)
WORDS = st.lists(PIECES, min_size=1, max_size=4).map("".join).map(str.strip).filter(bool)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6).map(str.strip)
IDS = st.lists(WORDS | ANY_TEXT.filter(bool), min_size=1, max_size=6, unique=True)


@st.composite
def spaces(draw: st.DrawFn) -> LabelSpace:
    taken = {*columns(LabelSpace())}
    names = draw(st.lists(WORDS.filter(lambda name: name not in taken), min_size=1, max_size=3, unique=True))
    kinds = [draw(st.lists(WORDS, max_size=3, unique=True)) for _ in names]
    return LabelSpace(
        attributes=tuple(
            Attribute(name=name, kind="categorical", values=tuple(values)) if values else Attribute(name=name)
            for name, values in zip(names, kinds, strict=True)
        )
    )


def all_targets(space: LabelSpace) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(-1, len(attribute.values)) for attribute in space.attributes)))


@quick
@given(space=spaces(), ids=IDS, class_folders=st.booleans())
def test_no_two_images_share_a_file_and_none_leaves_the_folder(
    space: LabelSpace, ids: list[str], class_folders: bool
) -> None:
    out = Path("somewhere/out")
    writer = FolderWriter(
        out,
        space=space,
        description={"fingerprint": "none"},
        class_folders=space.names[0] if class_folders else None,
    )
    keys, names = Keys(space), []
    for stem in key_stems(pd.DataFrame({"id": pd.Series(ids, dtype=str)})):
        made = [(keys.key(stem, target, look), target) for target in all_targets(space) for look in (1, 2, 11)]
        for key, target in [(real_key(stem), (-1,) * len(space)), *made]:
            row = LabelRow(
                file_name="",
                key=key,
                split="train",
                group="",
                is_synthetic=True,
                source_id="",
                source_path="",
                codes=target,
            )
            names.append(writer.file_name(row, 3, ".png"))
    # Some disks do not tell A from a.
    folded = [name.rpartition("/")[2].casefold() for name in names]
    assert len(set(folded)) == len(folded)
    for name in names:
        parts = name.split("/")
        assert len(parts) == 3
        assert parts[0] in SPLITS
        assert not any(part.startswith(".") or part != part.strip() for part in parts)
        assert not set(name) & set('\\:*?"<>|\0\n\r\t')
        assert all(len(part.encode()) <= 255 for part in parts)
        assert Path(os.path.normpath(out / name)).is_relative_to(out)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table") / "labels.csv"


@quick
@given(space=spaces(), ids=IDS, texts=st.lists(ANY_TEXT, min_size=3, max_size=3))
def test_a_table_reads_back_as_written(space: LabelSpace, ids: list[str], texts: list[str], table: Path) -> None:
    rows = [
        LabelRow(
            file_name=f"train/00000/{i}.png",
            key=f"{i}",
            split=SPLITS[i % 3],
            group=texts[0],
            is_synthetic=i % 2 == 1,
            source_id=source_id,
            source_path=texts[1] + texts[2],
            codes=target,
            changed=tuple(space.names[: i % 2]),
            agreement=None if i % 2 else 0.25,
        )
        for i, (source_id, target) in enumerate(zip(itertools.cycle(ids), all_targets(space), strict=False))
    ]
    with replacing_table(table, columns(space)) as writer:
        for row in rows:
            writer.writerow(cells(row, space))
    read = read_label_table(table, space)
    assert list(read.columns) == columns(space)
    assert len(read) == len(rows)
    for i, row in enumerate(rows):
        found = read.iloc[i]
        assert found["source_id"] == row.source_id
        assert found["source_path"] == row.source_path
        assert found["group"] == row.group
        assert bool(found["is_synthetic"]) == row.is_synthetic
        assert {name: found[name] for name in space.names if found[name] != ""} == space.domain(row.codes)
        assert LabelRow.from_json(row.to_json()) == row
