"""What an evaluation reads of an output besides its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from augmentor.images import ImageFormat, Pixels, decode_bytes, encode
from augmentor.outputs import encoding_of, paths_of
from augmentor.outputs.readers import FinishedOutput
from augmentor.storage import Json
from stargan.config import Precision
from stargan.labels import LabelSpace


@dataclass(frozen=True, kw_only=True)
class Output:
    """What is read of an output besides its images.

    Args:
        out: the folder or file.
        space: its label space.
        size: (height, width) of its images; the model's where they differ.
        channels: 1 or 3.
        crop: side of the centred square that sources were cut to first, or None.
        encoding: of files that do not keep every pixel, which real images then pass, too; None for all others.
        full_size: the images have another size than the model's, so changes were blended into the originals.
        gated: a judge threw out, or could have thrown out, translations.
        model_path: where the model lay, as the user gave it; None if that was not noted.
        model_sha256: of the model.
        precision: what the model was told to compute in.
        fingerprint: tells this output from any other.
    """

    out: Path
    space: LabelSpace
    size: tuple[int, int]
    channels: int
    crop: int | None
    encoding: ImageFormat | None
    full_size: bool
    gated: bool
    model_path: Path | None
    model_sha256: str
    precision: Precision
    fingerprint: str


def side_file(out: Path, name: str) -> Path:
    """Return where a file of the output lies: inside the folder, or beside FILE.h5 as FILE.NAME."""
    return paths_of(out).beside(name)


def read_output(out: Path) -> Output:
    """Read what an output says of itself.

    Raises:
        OutputError: it is missing, unfinished or damaged.
    """
    finished = FinishedOutput.open(out)
    described = finished.description
    settings, made_of = _part(described, "settings"), _part(described, "made_of")
    model, recorded = _part(described, "model"), _part(made_of, "model")
    shape = described.get("image_shape")
    sides = shape[:2] if isinstance(shape, list) else [None, None]
    model_size = recorded.get("image_size")
    if None in sides:
        sides = cast(list[int | None], model_size)
    height, width = cast(tuple[int, int], tuple(cast("list[int]", sides)))
    encoding = encoding_of(described)
    lossy = encoding in ("jpg", "webp") and settings.get("size") != "original"
    crop, path = recorded.get("crop"), model.get("path")
    return Output(
        out=out,
        space=finished.space,
        size=(height, width),
        channels=finished.channels,
        crop=crop if isinstance(crop, int) else None,
        encoding=encoding if lossy else None,
        full_size=settings.get("size") != "model",
        gated=_gated(described.get("gate")),
        model_path=Path(path) if isinstance(path, str) else None,
        model_sha256=str(model["sha256"]),
        precision=cast(Precision, settings.get("precision", "auto")),
        fingerprint=str(described["fingerprint"]),
    )


def as_written(pixels: Pixels, output: Output) -> Pixels:
    """Return an image as it comes back from the output's files: JPEG and WebP leave marks that labels must not."""
    if output.encoding is None:
        return pixels
    return decode_bytes(encode(pixels, output.encoding), channels=output.channels)


def _gated(gate: object) -> bool:
    """Return whether translations had to pass a gate: one that was on, or a threshold that was given."""
    return isinstance(gate, dict) and (gate.get("mode") != "off" or bool(gate.get("given")))


def _part(described: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    part = described.get(name)
    return part if isinstance(part, dict) else {}
