"""The output in Croissant's words, so that catalogues of data sets understand it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from augmentor.outputs import columns
from augmentor.outputs.readers import FinishedOutput
from augmentor.report.card import describe_in_a_sentence
from augmentor.report.summary import title_of
from augmentor.report.values import mapping, text
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
"""What Croissant 1.0 wants to stand there, word for word."""

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
    "realism": "The share of real images that the discriminator finds no more real.",
}

_ENCODINGS = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
_PACK_ENCODINGS = {
    ".h5": "application/x-hdf5",
    ".tar": "application/x-tar",
    ".parquet": "application/vnd.apache.parquet",
}


def write_croissant(output: FinishedOutput) -> Path:
    """Write croissant.json, or FILE.croissant.json beside FILE.h5; equal inputs give equal bytes.

    It has no date, for the same command gives the same bytes, and no licence, which only you know.

    Args:
        output: what is described; its images are read where it is one file, for their SHA-256.

    Source: Croissant 1.0, http://mlcommons.org/croissant/1.0.
    """
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": title_of(output.description, output.out),
        "description": describe_in_a_sentence(output),
        "version": "1.0.0",
        "keywords": ["synthetic", "data augmentation", "image classification", "StarGAN"],
        "creator": {"@type": "sc:Organization", "name": f"augmentor {text(output.description.get('augmentor'))}"},
        "distribution": _one_file(output) if output.is_file else _files(output),
    }
    if not output.is_file:
        described["recordSet"] = [_label_table(output)]
    path = output.beside("croissant.json")
    write_json(path, described)
    return path


def _one_file(output: FinishedOutput) -> list[Json]:
    name = output.out.name
    return [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "description": "Images, labels and every other column of the label table, as HDF5 data sets.",
            "contentUrl": name,
            "encodingFormat": "application/x-hdf5",
            "sha256": _sha256(output.images),
        }
    ]


def _files(output: FinishedOutput) -> list[Json]:
    packs = output.pack_suffix
    settings = mapping(output.description.get("settings"))
    suffix = text(settings.get("image_format")) or "png"
    # Files that are taken as they are keep their own suffix.
    suffixes = sorted({suffix, "png", "jpg"} if settings.get("real") == "original" else {suffix})
    splits = sorted(mapping(mapping(output.description.get("counts")).get("splits")))
    return [
        {
            "@type": "cr:FileObject",
            "@id": "labels.csv",
            "name": "labels.csv",
            "description": "Every image of every split, real and synthetic, with its labels and its lineage.",
            "contentUrl": "labels.csv",
            "encodingFormat": "text/csv",
            "sha256": _sha256(output.out / "labels.csv"),
        },
        *(
            {
                "@type": "cr:FileSet",
                "@id": f"{packs.removeprefix('.')}-files",
                "name": f"{packs.removeprefix('.')}-files",
                "description": "The files that hold the images that labels.csv names, and their labels.",
                "encodingFormat": _PACK_ENCODINGS[packs],
                "includes": [f"{split}/*{packs}" for split in splits],
            }
            for packs in ([packs] if packs else [])
        ),
        *(
            {
                "@type": "cr:FileSet",
                "@id": f"{each}-images",
                "name": f"{each}-images",
                "description": "The images that labels.csv names.",
                "encodingFormat": _ENCODINGS.get(each, f"image/{each}"),
                "includes": [f"{split}/*/*.{each}" for split in splits],
            }
            for each in ([] if packs else suffixes)
        ),
    ]


def _label_table(output: FinishedOutput) -> Json:
    # As text, readers would make "1.0" of a 1 in a column with blank cells.
    types = {**_TYPES, **{each.name: "sc:Boolean" for each in output.space.attributes if each.kind == "binary"}}
    return {
        "@type": "cr:RecordSet",
        "@id": "labels",
        "name": "labels",
        "description": "A row per image.",
        "key": {"@id": "labels/key"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"labels/{name}",
                "name": name,
                "description": _MEANINGS.get(name, f"The label {name}; blank where it is unknown."),
                "dataType": types.get(name, "sc:Text"),
                "source": {"fileObject": {"@id": "labels.csv"}, "extract": {"column": name}},
            }
            for name in columns(output.space)
        ],
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
