"""The split guard: no subject may stand in two splits."""

from __future__ import annotations

from augmentor.errors import ManifestError
from augmentor.manifest.read import Manifest
from augmentor.manifest.rows import SPLITS
from augmentor.manifest.wording import counted, row_list

_SHOWN = 5


def split_leaks(manifest: Manifest) -> list[str]:
    """Return a message for every group that stands in more than one split.

    Args:
        manifest: the rows; a blank group is none.

    Returns:
        Messages such as "group 'ann' stands in train (rows 2, 3) and test (row 9)", in the order of the rows.
    """
    rows = manifest.rows.loc[manifest.rows["group"] != "", ["group", "split", "line"]]
    pairs = rows[["group", "split"]].drop_duplicates()
    leaking = pairs.loc[pairs["group"].duplicated(), "group"].unique()
    rows = rows[rows["group"].isin(leaking)]
    lines: dict[str, dict[str, list[int]]] = {}
    for group, split, line in zip(rows["group"], rows["split"], rows["line"], strict=True):
        lines.setdefault(group, {}).setdefault(split, []).append(line)
    return [
        f"group '{group}' stands in "
        + " and ".join(f"{split} ({row_list(places[split])})" for split in SPLITS if split in places)
        for group, places in lines.items()
    ]


def refuse_split_leaks(manifest: Manifest) -> None:
    """Refuse a manifest in which a group stands in more than one split.

    Raises:
        ManifestError: naming the first such groups and their rows.
    """
    leaks = split_leaks(manifest)
    if leaks:
        more = f"; and {counted(len(leaks) - _SHOWN, 'more group')}" if len(leaks) > _SHOWN else ""
        raise ManifestError(
            f"{manifest.path}, column 'group': {'; '.join(leaks[:_SHOWN])}{more}. "
            "Then test images show subjects that training has seen. Put all rows of a group into one split"
        )
