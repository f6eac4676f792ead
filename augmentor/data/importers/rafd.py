"""Importer of RaFD: labels from file names such as `Rafd090_01_Caucasian_female_angry_frontal.jpg`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from augmentor.data.importers.base import DatasetError, Listing, image_files, refuse_no_folder
from augmentor.errors import counted, did_you_mean, listing

_PATTERN = (
    r"(?i)^rafd(?P<angle>\d{3})_(?P<model>\d+)_(?P<people>[a-z]+)_(?P<gender>[a-z]+)"
    r"_(?P<expression>[a-z]+)_(?P<gaze>[a-z]+)$"
)
_WORDS = {
    "expression": ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"),
    "gaze": ("frontal", "left", "right"),
    "angle": ("000", "045", "090", "135", "180"),
    "people": ("caucasian", "moroccan", "kid"),
    "gender": ("female", "male"),
}
"""The values of a name's parts; angles in degrees, 090 from the front."""


def read_rafd(src: Path) -> Listing:
    """Read RaFD from the names of all files below `src`.

    Attributes: `expression`, `gaze`, `angle` (0 to 180), `gender`, `ethnicity` (caucasian, moroccan) and `age`
    (adult, kid; the kids are Caucasian). Groups are the models, split 80/10/10, as RaFD has no splits.
    """
    refuse_no_folder(src)
    paths = pd.Series(image_files(src), dtype=str)
    stems = paths.map(lambda path: PurePosixPath(path).stem)
    ours = stems.str.lower().str.startswith("rafd")
    if not ours.any():
        raise DatasetError(
            f"{src}: no image in it has a name such as Rafd090_01_Caucasian_female_angry_frontal.jpg"
        )
    others = int((~ours).sum())
    notes = [f"{src}: left out {counted(others, 'image')} with another name than Rafd..."] if others else []
    paths, stems = paths[ours].reset_index(drop=True), stems[ours].reset_index(drop=True)
    parts = stems.str.extract(_PATTERN)
    parts = parts.apply(lambda column: column.str.lower())
    _refuse_names(src, paths, parts)
    _refuse_twice(src, paths, stems)
    frame = pd.DataFrame(
        {
            "path": paths,
            "id": stems,
            "group": "rafd-" + parts["model"],
            "expression": parts["expression"],
            "gaze": parts["gaze"],
            "angle": parts["angle"].astype(int).astype(str),
            "gender": parts["gender"],
            "ethnicity": parts["people"].replace("kid", "caucasian"),
            "age": parts["people"].eq("kid").map({True: "kid", False: "adult"}),
        }
    )
    return Listing(frame=frame, root=src, default=("expression",), shares=(80, 10, 10), notes=tuple(notes))


def _refuse_names(src: Path, paths: pd.Series[str], parts: pd.DataFrame) -> None:
    unread = parts["model"].isna()
    if unread.any():
        raise DatasetError(
            f"{src / paths[unread].iloc[0]}: the name is not made as RaFD's are, for example "
            "Rafd090_01_Caucasian_female_angry_frontal.jpg. Give it its own name back, or remove it"
        )
    for part, words in _WORDS.items():
        wrong = ~parts[part].isin(words)
        if wrong.any():
            word = str(parts.loc[wrong, part].iloc[0])
            raise DatasetError(
                f"{src / paths[wrong].iloc[0]}: '{word}' in the name is not one of {listing(words)}."
                f"{did_you_mean(word, words)}"
            )


def _refuse_twice(src: Path, paths: pd.Series[str], stems: pd.Series[str]) -> None:
    """Refuse two versions of the images, such as whole and cropped ones, side by side."""
    again = stems.duplicated(keep=False)
    if again.any():
        first, second = paths[stems == stems[again].iloc[0]].iloc[:2]
        raise DatasetError(
            f"{src}: {first} and {second} have one name. Name the folder that holds each image once"
        )
