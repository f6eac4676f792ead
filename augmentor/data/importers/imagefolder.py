"""Importer of class folders, `CLASS/*.jpg` or `{train,val,test}/CLASS/*.jpg`, as of torchvision's ImageFolder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from augmentor.data.importers.base import DatasetError, Listing, image_files, refuse_no_folder
from augmentor.data.manifest.rows import SPLIT_WORDS
from augmentor.errors import counted, listing


def read_imagefolder(src: Path) -> Listing:
    """Read a tree of class folders; folders inside them belong to the class. Attribute: `label`.

    Folders are splits where all of them have a split's name and hold class folders; else they are classes.
    """
    refuse_no_folder(src)
    parts = [PurePosixPath(path).parts for path in image_files(src)]
    depth = 1
    if parts and all(each[0].lower() in SPLIT_WORDS and len(each) > 2 for each in parts):
        depth = 2
    kept = [each for each in parts if len(each) > depth]
    if not kept:
        raise DatasetError(f"{src}: no images in folders in it. It must look like {src.name}/CLASS/IMAGE.jpg")
    notes = []
    if len(kept) < len(parts):
        loose = counted(len(parts) - len(kept), "image")
        notes.append(f"{src}: left out {loose} beside the class folders")
    holding = {each[0] for each in parts}
    empty = sorted(
        entry.name
        for entry in src.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in holding
    )
    if empty:
        notes.append(f"{src}: no images in the folders {listing(empty)}")
    columns = {"path": ["/".join(each) for each in kept], "label": [each[depth - 1] for each in kept]}
    if depth == 2:
        columns["split"] = [SPLIT_WORDS[each[0].lower()] for each in kept]
    return Listing(frame=pd.DataFrame(columns, dtype=str), root=src, default=("label",), notes=tuple(notes))
