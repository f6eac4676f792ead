"""Conversion of a data set to a manifest, with an optional download by torchvision."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path

import pandas as pd
from torchvision.datasets import MNIST, USPS, CelebA

from augmentor.data.importers.ade20k import read_ade20k
from augmentor.data.importers.base import DatasetError, Importer
from augmentor.data.importers.celeba import read_celeba
from augmentor.data.importers.choose import Selection, choose
from augmentor.data.importers.digits import read_mnist, read_usps
from augmentor.data.importers.imagefolder import read_imagefolder
from augmentor.data.importers.rafd import read_rafd
from augmentor.data.importers.sides import read_cyclegan, read_pix2pix
from augmentor.data.importers.table import appended, read_back, separator, with_prefix, write
from augmentor.data.manifest import Manifest, split_leaks
from augmentor.errors import OutputError, StalledError, counted, did_you_mean
from augmentor.images import Pixels, encode
from augmentor.storage import Access, Workers

SILENT_SECONDS = 300.0
"""Seconds without a new byte after which a download is given up; checksums of large archives take about ten."""

IMPORTERS: dict[str, Importer] = {
    "celeba": Importer(
        read=read_celeba,
        title="CelebA",
        home="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        download=lambda folder: CelebA(folder, split="test", download=True),  # all splits; needs gdown
    ),
    "rafd": Importer(read=read_rafd, title="RaFD", home="https://rafd.socsci.ru.nl (on request)"),
    "mnist": Importer(
        read=read_mnist,
        title="MNIST",
        home="http://yann.lecun.com/exdb/mnist",
        download=lambda folder: MNIST(folder, download=True),
    ),
    "usps": Importer(
        read=read_usps,
        title="USPS",
        home="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html",
        download=lambda folder: [USPS(folder, train=train, download=True) for train in (True, False)],
    ),
    "ade20k": Importer(
        read=read_ade20k,
        title="ADE20K",
        home="http://sceneparsing.csail.mit.edu (ADEChallengeData2016.zip)",
    ),
    "imagefolder": Importer(read=read_imagefolder, title="a folder of images", home="your own disk"),
    "pix2pix": Importer(
        read=read_pix2pix,
        title="pix2pix",
        home="http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/ (unpack the .tar.gz of one)",
    ),
    "cyclegan": Importer(
        read=read_cyclegan,
        title="CycleGAN",
        home="http://efrosgans.eecs.berkeley.edu/cyclegan/datasets/ (unpack the .zip of one)",
    ),
}
"""Every data set that can be converted, by its name on the command line."""

_OF_USERS = ("imagefolder", "pix2pix", "cyclegan")
"""Layouts of many data sets, each called as its folder."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """The result of a conversion.

    Args:
        images: the folder of the images that were written; None where the data set has files.
        added: rows of this data set.
        manifest: all its rows.
        outside: rows whose images are outside the manifest's folder.
    """

    path: Path
    images: Path | None
    added: int
    manifest: Manifest
    outside: int
    notes: tuple[str, ...]


def convert_dataset(
    name: str,
    src: Path,
    *,
    out: Path,
    selection: Selection | None = None,
    images: Path | None = None,
    append: bool = False,
    download: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write the manifest of a data set, after its images and by an atomic rename.

    Args:
        name: one of `IMPORTERS`.
        src: the folder with its files, as the owners ship them.
        out: the manifest, .csv or .tsv; its images are named relative to its folder.
        selection: attributes, values, splits and further columns; None for the usual ones.
        images: where images are written that have no files yet; None for a folder `name` beside the manifest.
        append: add the rows to `out` where it exists.
        download: fetch the files into `src` first.
        on_progress: called with (images written, images in all).

    Raises:
        DatasetError: files that are missing or damaged, with file and line; or a selection that is not there.
        ManifestError: the rows would not make a manifest.
        OutputError: `out` or an image cannot be written.
    """
    if name not in IMPORTERS:
        raise DatasetError(f"no data set '{name}': {', '.join(IMPORTERS)}.{did_you_mean(name, IMPORTERS)}")
    importer = IMPORTERS[name]
    separator(out)
    if out.exists() and not append:
        raise OutputError(f"{out} exists already. Give another --out, add to it with --append, or remove it")
    if download:
        download_dataset(importer, src)
    try:
        found = importer.read(src)
    except OSError as error:
        raise DatasetError(f"{error.filename or src}: {error.strerror or error}") from error
    if found.image is None and images is not None:
        raise DatasetError(
            f"--images {images}: {importer.title} has image files already, none are written. Leave it out"
        )
    dataset = src.resolve().name if name in _OF_USERS else name
    frame, attributes, notes = choose(found, selection or Selection(), dataset=dataset)
    folder = found.root or images or out.parent / (name if dataset == name else f"{dataset}-{name}")
    inside = frame["path"]
    frame = with_prefix(frame.copy(), folder, out)
    whole = appended(out, frame) if out.exists() else frame
    manifest, remarks = read_back(whole, out, attributes=attributes)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if found.image is not None:
            _write_images(found.image, inside, folder, on_progress)
        write(whole, out)
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be written: {error.strerror or error}") from error
    access = Access(folders=(out.parent,))
    outside = sum(access.is_outside(out.parent / path) for path in manifest.rows["path"])
    return Conversion(
        path=out,
        images=None if found.image is None else folder,
        added=len(frame),
        manifest=manifest,
        outside=outside,
        notes=(*found.notes, *notes, *remarks, *_remarks(manifest, out, outside)),
    )


def download_dataset(importer: Importer, src: Path) -> None:
    """Fetch a data set's files with torchvision, unless they are there."""
    if importer.download is None:
        raise DatasetError(
            f"--download: {importer.title} cannot be fetched by a program. It comes from {importer.home}; name "
            "the folder that holds it, without --download"
        )
    fetch = partial(importer.download, src)
    try:
        src.mkdir(parents=True, exist_ok=True)
        # Stdout is kept for results; and torchvision itself has no time limit.
        with redirect_stdout(sys.stderr), Workers(1, name="download", limit=SILENT_SECONDS) as workers:
            downloading = workers.submit(f"downloading {importer.title}", fetch)
            workers.result(downloading, sign=lambda: _bytes_in(src))
    except StalledError as error:
        raise _download_error(importer, src, f"no byte has come for {SILENT_SECONDS:g} seconds") from error
    # Without a connection, with a broken file, without gdown; and damaged files that are there already.
    except (RuntimeError, OSError, HTTPException, ValueError, EOFError) as error:
        raise _download_error(importer, src, " ".join(str(error).split())) from error


def _download_error(importer: Importer, src: Path, reason: str) -> DatasetError:
    return DatasetError(
        f"{importer.title} could not be downloaded into {src}: {reason}. "
        "Try again, or put its files there yourself and leave out --download"
    )


def _bytes_in(folder: Path) -> int:
    """Return the bytes of all files below a folder, except those that disappear meanwhile."""
    found = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found += os.stat(os.path.join(path, name)).st_size  # noqa: PTH116, PTH118 - a hundred thousand
    return found


def _write_images(
    image: Callable[[int], Pixels],
    paths: pd.Series[str],
    folder: Path,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Write the images of the rows, also those that an interrupted run has written."""
    for place in sorted({Path(path).parent for path in paths}):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for done, (row, path) in enumerate(paths.items(), start=1):
        (folder / path).write_bytes(encode(image(int(str(row))), "png"))
        if on_progress is not None:
            on_progress(done, len(paths))


def _remarks(manifest: Manifest, out: Path, outside: int) -> Iterator[str]:
    """Yield what the commands that read the manifest will refuse."""
    if leaks := split_leaks(manifest):
        yield (
            f"{counted(len(leaks), 'group')} in more than one split, which expand refuses: {leaks[0]}. "
            "With --split 80/10/10 whole groups are drawn"
        )
    if outside:
        yield (
            f"{counted(outside, 'image')} {'is' if outside == 1 else 'are'} outside {out.parent}: the commands "
            "that read them need --allow-outside. With --out in a folder above the images they do not"
        )
