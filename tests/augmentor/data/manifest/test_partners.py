"""The column `pair`: how it is read, kept, joined and split, and which rows are partners."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from augmentor.data.manifest import (
    Manifest,
    Partners,
    bound_together,
    read_manifest,
    read_manifests,
    refuse_split_leaks,
    split_leaks,
)
from augmentor.errors import ManifestError
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.data.manifest.tables import refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.augmentor.data.manifest.tables import Write

SCENES = "path,split,pair,sky\na.png,train,x,day\nb.png,train,,day\nc.png,train,x,night\nd.png,test,y,day\n"


def names(manifest: Manifest) -> list[str]:
    return manifest.rows["pair"].astype(object).fillna("").tolist()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_pairs_are_read_and_are_no_attribute(write: Write, tmp_path: Path, suffix: str) -> None:
    path = write(SCENES)
    if suffix != "csv":
        frame = pd.read_csv(path, keep_default_na=False)
        path = tmp_path / f"scenes.{suffix}"
        if suffix == "tsv":
            frame.to_csv(path, sep="\t", index=False)
        else:
            frame.to_parquet(path)
    manifest = read_manifest(path)
    assert manifest.space.names == ("sky",)
    assert names(manifest) == ["x", "", "x", "y"]
    assert manifest.pairs.tolist() == [0, -1, 0, 1]
    assert manifest.select([2, 1]).pairs.tolist() == [0, -1]
    assert manifest.notes == ()


def test_without_the_column_no_row_has_a_pair(write: Write) -> None:
    assert read_manifest(write("path,sky\na.png,day\nb.png,night\n")).pairs.tolist() == [-1, -1]


def test_a_name_is_kept_once_for_all_its_rows(write: Write) -> None:
    cells = "".join(f"{i}.png,scene {i // 2},{i % 2}\n" for i in range(80_000))
    pair = read_manifest(write("path,pair,night\n" + cells)).rows["pair"].cat
    assert pair.codes.to_numpy().nbytes == 4 * 80_000
    assert len(pair.categories) == 40_000


def test_an_attribute_of_this_name_is_refused(write: Write) -> None:
    cells = "".join(f"{i}.png,{i % 2},{i % 3}\n" for i in range(30))
    message = refused(write("path,pair,tone\n" + cells))
    assert "column 'pair': holds only 0, 1, as an attribute does" in message
    assert "Rename it" in message
    message = refused(write("path,pair,tone\n" + cells), attributes=["pair"])
    assert "'pair' has a fixed meaning and cannot be an attribute. Leave it out, or rename the column" in message
    # A few pictures may be called 0 and 1.
    few = read_manifest(write("path,pair,tone\na.png,0,x\nb.png,1,x\nc.png,0,y\nd.png,1,y\n"))
    assert few.pairs.tolist() == [0, 1, 0, 1]


def test_a_models_attribute_of_this_name_is_still_read(write: Write) -> None:
    space = LabelSpace(attributes=(Attribute(name="pair"), Attribute(name="glasses")))
    cells = "".join(f"{i}.png,{i % 2},1\n" for i in range(30))
    manifest = read_manifest(write("path,pair,glasses\n" + cells), space=space)
    assert manifest.codes[:3].tolist() == [[0, 1], [1, 1], [0, 1]]
    assert set(manifest.pairs) == {-1}


def test_pairs_in_two_splits(write: Write) -> None:
    path = write(SCENES + "e.png,test,x,night\nf.png,val,x,day\n")
    manifest = read_manifest(path)
    assert split_leaks(manifest) == ["pair 'x' is in train (rows 2, 4) and val (row 7) and test (row 6)"]
    with pytest.raises(ManifestError, match=r"manifest\.csv, column 'pair': pair 'x' .* rows of a pair into one"):
        refuse_split_leaks(manifest)


def test_pairs_of_several_tables(write: Write, tmp_path: Path) -> None:
    a, b = write(SCENES, "a.csv"), write("path,split,pair,sky\ne.png,test,x,night\nf.png,train,z,day\n", "b.csv")
    together = read_manifests([a, b])
    assert names(together) == ["x", "", "x", "y", "x", "z"]
    assert split_leaks(together) == [f"pair 'x' is in train ({a}, rows 2, 4) and test ({b}, row 2)"]
    (tmp_path / "other").mkdir()
    elsewhere = read_manifests([a, write(b.read_text(), "other/b.csv")])
    assert elsewhere.pairs.tolist() == [0, -1, 0, 1, 2, 3]
    assert split_leaks(elsewhere) == []


# ---- partners ----


def test_partners_are_rows_of_the_pair_with_another_known_label() -> None:
    pairs = np.array([4, -1, 2, 4, 4, 2, 4, 9])
    codes = np.array([[0, 1], [1, 1], [1, 0], [1, 1], [0, 1], [1, 0], [-1, -1], [0, 0]])
    partners = Partners.of(pairs, codes)
    assert [partners.of_row(row).tolist() for row in range(8)] == [[3], [], [], [0, 4], [3], [], [0, 3, 4], []]
    assert partners.mask().tolist() == [True, False, False, True, True, False, True, False]
    assert len(partners) == 3
    assert not Partners.of(np.full(3, -1), codes[:3]).mask().any()


def test_the_mask_agrees_with_the_rows() -> None:
    random = np.random.default_rng(0)
    pairs, codes = random.integers(-1, 60, size=300), random.integers(-1, 2, size=(300, 3))
    partners = Partners.of(pairs, codes)
    mask = partners.mask().tolist()
    assert mask == [len(partners.of_row(row)) > 0 for row in range(300)]
    assert 20 < sum(mask) < 295
    wanted = Partners.of(pairs, codes, wanted=codes[:, 0] == 1)
    assert wanted.mask().tolist() == [len(wanted.of_row(row)) > 0 for row in range(300)]
    assert all(codes[other, 0] == 1 for row in range(300) for other in wanted.of_row(row))
    assert 10 < wanted.mask().sum() < sum(mask)


def test_what_is_bound_together() -> None:
    groups = ["a", "b", "", "a", "c", "", "", "d"]
    pairs = np.array([-1, 0, 0, 1, 1, -1, 2, 2])
    # Rows 0 and 3 by their group, 4 to them by pair 1; 1 and 2 by pair 0; 6 and 7 by pair 2.
    assert bound_together(groups, pairs).tolist() == [0, 1, 1, 0, 0, 2, 3, 3]
    chain = np.repeat(np.arange(20), 2)[1:-1]  # each pair has a row of two neighbouring groups
    assert set(bound_together([str(i // 2) for i in range(38)], chain)) == {0}
    assert bound_together(["", "", "x"], np.full(3, -1)).tolist() == [0, 1, 2]
