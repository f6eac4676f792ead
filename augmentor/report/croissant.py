"""The output's description in Croissant 1.0, for catalogues of data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from augmentor.outputs import columns
from augmentor.outputs.readers import FinishedOutput
from augmentor.outputs.writers import PARQUET_SPLIT_TABLE
from augmentor.report.description import DescribedOutput
from augmentor.storage import Json, write_json

_KEYS = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet",
    "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet",
    "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip

_CONTEXT: dict[str, Json] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{key: f"cr:{key}" for key in _KEYS},
}
"""The context that Croissant 1.0 prescribes."""

_TYPES = {"is_synthetic": "sc:Boolean", "agreement": "sc:Float", "realism": "sc:Float"}

_MEANINGS = {
    "file_name": "The image, relative to this file.",
    "key": "Its unique name.",
    "split": "train, val or test.",
    "group": "The subject: all its images are in one split.",
    "is_synthetic": "Whether it was translated.",
    "source_id": "The real image that it was made from.",
    "source_path": "Its path in the manifest.",
    "changed": "The attributes that differ from the source.",
    "agreement": "The judge's probability of the labels of a translation.",
    "realism": "The share of real images with a discriminator score no higher than this one's.",
}

_TABLES = "split-tables"
"""The set of the tables by split, where these are Parquet."""

_ENCODINGS = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
_PACK_ENCODINGS = {
    ".h5": "application/x-hdf5",
    ".tar": "application/x-tar",
    ".parquet": "application/vnd.apache.parquet",
}


def write_croissant(output: FinishedOutput, description: DescribedOutput, *, title: str) -> Path:
    """Write croissant.json, or FILE.croissant.json beside FILE.h5, which is read whole for its SHA-256.

    It has no date, so that equal inputs give equal bytes, and no licence, which is not known.

    Source: Croissant 1.0, http://mlcommons.org/croissant/1.0.
    """
    counts = description.counts
    described: dict[str, Json] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": title,
        "description": (
            f"{counts.real:,} real images and {counts.synthetic:,} translations of them by a StarGAN, labelled "
            f"by {', '.join(output.space.names)}. Made from {description.manifest or 'a manifest'} by augmentor "
            "expand."
        ),
        "version": f"1.0.{description.revision}",
        "keywords": ["synthetic", "data augmentation", "image classification", "StarGAN"],
        "creator": {"@type": "sc:Organization", "name": f"augmentor {description.augmentor}"},
    }
    if output.is_file:
        what = "Images, labels and every other column of the label table, as HDF5 data sets."
        described["distribution"] = [_file(output.images, output.out.name, what, _PACK_ENCODINGS[".h5"])]
    else:
        what = "Every image of every split, real and synthetic, with its labels and its lineage."
        table = _file(output.out / "labels.csv", "labels.csv", what, "text/csv")
        described["distribution"] = [table, *_file_sets(output, description)]
        described["recordSet"] = [_label_table(output)]
    path = output.beside("croissant.json")
    write_json(path, described)
    return path


def _node(kind: str, name: str, what: str, **entries: Json) -> Json:
    return {"@type": f"cr:{kind}", "@id": name, "name": name, "description": what, **entries}


def _file(path: Path, name: str, what: str, encoding: str) -> Json:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return _node("FileObject", name, what, contentUrl=name, encodingFormat=encoding, sha256=sha256)


def _file_sets(output: FinishedOutput, description: DescribedOutput) -> list[Json]:
    """Return the sets of files that hold the images: shard files, or image files by suffix."""
    splits, packs = sorted(description.counts.splits), output.pack_suffix
    if packs is not None:
        what, name = "Shard files with the images that labels.csv lists, and their labels.", f"{packs[1:]}-files"
        includes: list[Json] = [f"{each}/*{packs}" for each in splits]
        return [_node("FileSet", name, what, encodingFormat=_PACK_ENCODINGS[packs], includes=includes)]
    found: list[Json] = []
    if output.description.get("split_table") == PARQUET_SPLIT_TABLE:
        what, includes = "The label table by split.", [f"{each}/{PARQUET_SPLIT_TABLE}" for each in splits]
        # mlcroissant reads Parquet under no other name.
        encoding = "application/x-parquet"
        found.append(_node("FileSet", _TABLES, what, encodingFormat=encoding, includes=includes))
    suffix = description.requested.image_format or "png"
    # Original files keep their own suffix.
    suffixes = sorted({suffix, "png", "jpg"} if description.requested.real == "original" else {suffix})
    return found + [
        _node(
            "FileSet",
            f"{each}-images",
            "The images that labels.csv lists.",
            encodingFormat=_ENCODINGS.get(each, f"image/{each}"),
            includes=[f"{split}/*/*.{each}" for split in splits],
        )
        for each in suffixes
    ]


def _label_table(output: FinishedOutput) -> Json:
    # As text, readers would make "1.0" of a 1 in a column with blank cells.
    types = {**_TYPES, **{each.name: "sc:Boolean" for each in output.space.attributes if each.kind == "binary"}}
    if output.description.get("unchecked"):
        types["agreement"] = "sc:Text"
    names = columns(output.space)
    # Readers of CSV guess types, whatever the fields say: theirs of 01 is a number, of NA nothing.
    typed = output.description.get("split_table") == PARQUET_SPLIT_TABLE
    source: dict[str, Json] = {"fileSet": {"@id": _TABLES}} if typed else {"fileObject": {"@id": "labels.csv"}}
    fields: list[Json] = [
        {
            "@type": "cr:Field",
            "@id": f"labels/{identifier}",
            "name": name,
            "description": _MEANINGS.get(name, f"The label {name}; blank where it is unknown."),
            "dataType": types.get(name, "sc:Text"),
            "source": {**source, "extract": {"column": name}},
        }
        for name, identifier in zip(names, _identifiers(names), strict=True)
    ]
    return _node("RecordSet", "labels", "A row per image.", key={"@id": "labels/key"}, field=fields)


def _identifiers(names: Sequence[str]) -> list[str]:
    """Return unique names without white space, which identifiers must not have."""
    found: list[str] = []
    for name in names:
        plain = "_".join(name.split())
        found.append(plain if plain == name or plain not in (*names, *found) else f"{plain}_{len(found)}")
    return found
