"""Decoding of image files to uint8 pixels: upright, 8 bit, sRGB, cropped and resized."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from math import ceil, floor
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin, UnidentifiedImageError

from augmentor.errors import ImageError
from augmentor.images.sizes import REDUCING_GAP, Pixels, crop_box
from augmentor.storage import ANYWHERE, MAX_PIXELS, Access, GreyRange

# Registered now, so that threads do not race to do it. Only raster formats that Pillow itself decodes: EPS would
# start Ghostscript.
Image.init()
_READABLE: list[str] = [
    name
    for name in ("PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI", "TGA")
    if name in Image.OPEN
]
IMAGE_SUFFIXES = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in _READABLE)
"""What names of files that can be read end in, in lower case."""

_SUFFIX_OF = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Pillow's modes of grey images with more than 8 bits; it reads colours of 16 bits as 8."""

_OUTLIERS = 0.01
"""Percentage of an image's pixels, at each end, that do not decide the range: dead and hot pixels of a sensor."""

_TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


def decode(
    path: Path,
    *,
    channels: int,
    size: tuple[int, int] | None = None,
    crop: int | None = None,
    access: Access = ANYWHERE,
) -> Pixels:
    """Read one image as 8-bit pixels, uint8 (H, W, C), upright, in sRGB, at the wanted size.

    The first frame is used. Transparent pixels are blended with white. An image of the wanted size is not
    resampled.

    Args:
        path: a regular file.
        channels: 1 (grey) or 3 (RGB).
        size: (height, width) in pixels; None keeps the image's own size and crops nothing but `crop`.
        crop: side in pixels of a centred square, clipped to the image, that is cut out first. Then the
            largest centred rectangle of the wanted proportions is resized, bicubic and antialiased.
        access: the access rules; larger images are refused before they are decoded.

    Raises:
        ImageError: the file may not, or cannot, be read as an image; the message is "PATH: reason".
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels}")
    with _as_image_error(path), access.open(path) as file:
        return _read(file, channels=channels, size=size, crop=crop, access=access)


def decode_bytes(data: bytes, *, channels: int, size: tuple[int, int] | None = None) -> Pixels:
    """Read an encoded image from memory; see `decode`."""
    with _as_image_error("image in memory"):
        return _read(BytesIO(data), channels=channels, size=size, crop=None, access=ANYWHERE)


def upright_size(path: Path, *, access: Access = ANYWHERE) -> tuple[int, int]:
    """Return the (height, width) of an image with its EXIF orientation applied; pixels are not decoded."""
    with _as_image_error(path), access.open(path) as file, _opened(file, access.max_pixels) as image:
        width, height = image.size
        return (width, height) if _orientation(image) in _TURNED else (height, width)


def verify(path: Path, *, access: Access = ANYWHERE) -> bool:
    """Check that an image can be decoded completely; return whether it has further frames or pages.

    `decode` reads the first one only. The thumbnails that cameras append to a JPEG do not count.
    """
    with _as_image_error(path), access.open(path) as file:
        _read(file, channels=3, size=None, crop=None, access=access)
        file.seek(0)
        return _has_further_frames(file, access.max_pixels)


def has_further_frames(path: Path, *, access: Access = ANYWHERE) -> bool:
    """Return what `verify` returns, without decoding the image."""
    with _as_image_error(path), access.open(path) as file:
        return _has_further_frames(file, access.max_pixels)


def _has_further_frames(file: IO[bytes], max_pixels: int) -> bool:
    with _opened(file, max_pixels) as image:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def stored_shape(data: bytes) -> tuple[int, int, int]:
    """Return the (H, W, C) of an encoded image: upright, with its own number of channels."""
    height, width, _ = decode_bytes(data, channels=3).shape
    with Image.open(BytesIO(data)) as image:
        return height, width, len(image.getbands())


@dataclass(frozen=True, kw_only=True)
class GreyValues:
    """The grey values of an image with more than 8 bits.

    Args:
        low, high: the lowest and highest, but for 0.01 % of the pixels at each end.
        clipped: share of the pixels, in [0, 1], outside of the range that the image is read with.
    """

    low: float
    high: float
    clipped: float


def grey_values(path: Path, *, access: Access = ANYWHERE) -> GreyValues | None:
    """Return the grey values of an image's first frame; None, not decoded, for one of 8 bits or of colours."""
    with _as_image_error(path), access.open(path) as file, _opened(file, access.max_pixels) as image:
        if image.mode not in _DEEP:
            return None
        values = _finite(np.asarray(image))
    low, high = access.grey_range or (0, 65535)
    return GreyValues(
        low=float(np.percentile(values, _OUTLIERS, method="lower")),
        high=float(np.percentile(values, 100 - _OUTLIERS, method="higher")),
        clipped=float(np.mean((values < low) | (values > high))),
    )


def usual_suffix(path: Path) -> str:
    """Return the suffix for a copy of an image file, in lower case with its dot: its own, or else its format's."""
    own = path.suffix.lower()
    if own in IMAGE_SUFFIXES:
        return own
    with _as_image_error(path), ANYWHERE.open(path) as file, _opened(file, MAX_PIXELS) as image:
        return _SUFFIX_OF.get(image.format or "", f".{(image.format or 'image').lower()}")


def _read(
    file: IO[bytes], *, channels: int, size: tuple[int, int] | None, crop: int | None, access: Access
) -> Pixels:
    """Decode an open file; raises whatever Pillow raises."""
    with _opened(file, access.max_pixels) as opened:
        width, height = opened.size
        profile = opened.info.get("icc_profile")
        orientation = _orientation(opened)
        if orientation in _TURNED:
            width, height = height, width
        box = crop_box(width, height, size=size, crop=crop)
        if size is not None:
            _draft(opened, upright_size=(width, height), box=box, size=size)
        opened.load()
        image = opened.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else opened
        image = _flatten(image, access.grey_range)
    # A JPEG decoded at 1/2, 1/4 or 1/8 has its sides rounded up, so the scale is the nearest such one.
    scale = round(max(width / image.width, height / image.height)) if image.size != (width, height) else 1
    kept = [edge / scale for edge in box]
    left, top = floor(kept[0]), floor(kept[1])
    # Cut first: with a `reducing_gap`, resize alone would include pixels from outside its box.
    image = image.crop((left, top, min(ceil(kept[2]), image.width), min(ceil(kept[3]), image.height)))
    inner = (
        kept[0] - left,
        kept[1] - top,
        min(kept[2] - left, image.width),
        min(kept[3] - top, image.height),
    )
    out_size = (box[2] - box[0], box[3] - box[1]) if size is None else (size[1], size[0])
    image = image.resize(out_size, Image.Resampling.BICUBIC, box=inner, reducing_gap=REDUCING_GAP)
    image = _to_srgb(image, profile).convert("L" if channels == 1 else "RGB")
    return np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, channels).copy()


def _opened(file: IO[bytes], max_pixels: int) -> Image.Image:
    """Read an image's header; raises whatever Pillow raises, and _TooLargeError for too many pixels."""
    # Pillow's own limit applies to the whole process, at twice this number: only raised if necessary.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    image = Image.open(file, formats=_READABLE)
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise _TooLargeError(
            f"{width} x {height} pixels are more than the limit of {max_pixels:,}, see --max-pixels"
        )
    return image


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where the EXIF data is damaged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return 1
    return orientation if isinstance(orientation, int) else 1


def _draft(
    image: Image.Image, *, upright_size: tuple[int, int], box: tuple[int, ...], size: tuple[int, int]
) -> None:
    """Decode a much larger JPEG at 1/2, 1/4 or 1/8 of its size: several times faster."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return
    # The kept box must stay `REDUCING_GAP` times as large as the result, so that bicubic does the last step.
    enlarged = REDUCING_GAP * max(size[1] / (box[2] - box[0]), size[0] / (box[3] - box[1]))
    wanted = (round(upright_size[0] * enlarged), round(upright_size[1] * enlarged))
    if upright_size != image.size:
        wanted = (wanted[1], wanted[0])
    image.draft(None, wanted)


def _flatten(image: Image.Image, grey_range: GreyRange | None) -> Image.Image:
    """Return the image as 8-bit L, RGB or CMYK without transparency."""
    if image.mode in _DEEP:
        return _to_8_bit(image, grey_range)
    if image.mode in ("P", "PA") or "transparency" in image.info or image.mode == "RGBa":
        image = image.convert("RGBA")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA"):
        opaque = image.convert("RGB" if image.mode == "RGBA" else "L")
        page = Image.new(opaque.mode, opaque.size, "white")
        page.paste(opaque, mask=image.getchannel("A"))
        return page
    match image.mode:
        case "L" | "RGB" | "CMYK":
            return image
        case "1":
            return image.convert("L")
        case "RGBX" | "YCbCr" | "LAB" | "HSV":
            return image.convert("RGB")
        case _:
            raise ValueError(f"pixels of type {image.mode!r} cannot be shown as 8-bit colours; convert the file")


def _to_8_bit(image: Image.Image, grey_range: GreyRange | None) -> Image.Image:
    """Map the range, by default 0..65535, to 0..255, and clip the rest; Pillow's conversion would clip at 255."""
    values = np.asarray(image)
    if grey_range is not None:
        low, high = grey_range
        shares = (np.clip(_finite(values), low, high) - low) / (high - low)
        return Image.fromarray(np.rint(255 * shares).astype(np.uint8))
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"grey values run from {values.min()} to {values.max()}, which are not those of 16 bits; train with "
            "images.range, or convert the file"
        )
    return Image.fromarray(((values.astype(np.int64) + 128) // 257).astype(np.uint8))


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return grey values as float64; ValueError where one is no number."""
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some grey values are not numbers (NaN or infinite); convert the file")
    return values


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Apply an embedded colour profile; one that is damaged, or for other pixels, is ignored."""
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        converted = ImageCms.profileToProfile(image, source, _srgb_profile(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return image if converted is None else converted


@lru_cache(maxsize=1)
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


class _TooLargeError(ValueError):
    """More pixels than allowed."""


@contextmanager
def _as_image_error(name: Path | str) -> Iterator[None]:
    """Raise every error as an `ImageError`, "NAME: reason": Pillow raises almost anything on damaged files."""
    try:
        yield
    except Exception as error:
        raise ImageError(f"{name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the message for an error."""
    detail = str(error)
    match error:
        case FileNotFoundError():
            reason = "the file does not exist"
        case IsADirectoryError() | NotADirectoryError():
            reason = "it is a folder, not an image file"
        case PermissionError():
            reason = "no permission to read the file"
        case UnidentifiedImageError():
            reason = "it is not an image in a format that can be read, or its beginning is damaged"
        case _TooLargeError() | Image.DecompressionBombError() | Image.DecompressionBombWarning():
            reason = f"the image is too large: {detail}"
        case OSError(errno=errno.ENAMETOOLONG | errno.ELOOP):
            reason = f"no file can have this path ({error.strerror})"
        case MemoryError():
            reason = "there is not enough memory to unpack the image"
        case OSError() if "truncated" in detail.lower():
            reason = f"the file is cut short or damaged ({detail})"
        case OSError(strerror=str(said)) if said:
            reason = said
        case OSError() | ValueError() if detail:
            reason = detail
        case _:
            reason = f"the file is damaged ({type(error).__name__}: {detail})"
    return reason
