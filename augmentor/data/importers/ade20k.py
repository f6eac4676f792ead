"""Importer of ADE20K: the scene-parsing release (`sceneCategories.txt`), or the full one (a folder per scene)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from augmentor.data.importers.base import (
    DatasetError,
    Listing,
    find,
    image_files,
    read_pairs,
    refuse_no_folder,
    without_missing,
)

SCENES = 10
"""Scenes that are kept by default, of more than a thousand, most of which have a handful of images."""

_SPLITS = {"training": "train", "validation": "val"}
_FOLDERS = ("", "ADEChallengeData2016")
_FULL = ("images/ADE", "images", "ADE20K_2021_17_01/images/ADE", "ADE20K_2016_07_26/images")
_CATCH_ALL = ("misc", "outliers", "unknown", "not_labeled", "~not labeled")
"""Folders that are no scenes; kept only on request."""


def read_ade20k(src: Path) -> Listing:
    """Read ADE20K. Attribute: `scene`.

    `src` is the folder of the scene-parsing release (`images/training/ADE_train_00000001.jpg`, the scenes in
    `sceneCategories.txt`), or of a full one (`images/training/a/abbey/ADE_train_00000970.jpg`).
    """
    refuse_no_folder(src)
    listed = find(src, ["sceneCategories.txt"], folders=_FOLDERS)
    if listed is not None:
        frame, root, notes = _scene_parsing(listed)
    else:
        frame, root = _full(src)
        notes = []
    counts = frame.loc[~frame["scene"].isin(_CATCH_ALL), "scene"].value_counts().sort_index()
    frequent = tuple(counts.sort_values(ascending=False, kind="stable").index[:SCENES])
    return Listing(frame=frame, root=root, default=("scene",), suggested={"scene": frequent}, notes=tuple(notes))


def _scene_parsing(path: Path) -> tuple[pd.DataFrame, Path, list[str]]:
    rows = []
    for name, (scene, number) in read_pairs(path).items():
        part = {"train": "training", "val": "validation"}.get(name.split("_")[1] if name.count("_") > 1 else "")
        if part is None:
            raise DatasetError(f"{path}, line {number}: {name!r} is no name such as ADE_train_00000001")
        rows.append((f"{part}/{name}.jpg", name, _SPLITS[part], scene))
    if not rows:
        raise DatasetError(f"{path}: is empty. Download it again")
    root = path.parent / "images"
    refuse_no_folder(root)
    frame = pd.DataFrame(rows, columns=pd.Index(["path", "id", "split", "scene"]), dtype=str)
    frame, notes = without_missing(frame, there=image_files(root, suffixes=(".jpg",)), where=root)
    return frame, root, notes


def _full(src: Path) -> tuple[pd.DataFrame, Path]:
    root = next((src / folder for folder in _FULL if (src / folder / "training").is_dir()), None)
    if root is None:
        raise DatasetError(f"{src}: neither sceneCategories.txt nor images/training in it. Name ADE20K's folder")
    rows = []
    for path in image_files(root, suffixes=(".jpg",)):
        part, *folders, _ = PurePosixPath(path).parts
        if part in _SPLITS and folders:
            # The folder before the scene is its first letter, or in 2021's release its kind: "urban".
            scene = "_".join(folders[1:] or folders).replace("__", "_")
            rows.append((path, PurePosixPath(path).stem, _SPLITS[part], scene))
    if not rows:
        raise DatasetError(f"{root}: no training/LETTER/SCENE/*.jpg in it, and no sceneCategories.txt beside it")
    return pd.DataFrame(rows, columns=pd.Index(["path", "id", "split", "scene"]), dtype=str), root
