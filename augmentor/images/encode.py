"""Encoding of uint8 pixels as PNG, JPEG or WebP files."""

from __future__ import annotations

from io import BytesIO
from typing import IO, Literal, TypeAlias, get_args

from augmentor.images.sizes import Pixels, to_image
from augmentor.storage import opener, write_unsynced

ImageFormat: TypeAlias = Literal["png", "jpg", "webp"]


def encode(pixels: Pixels, image_format: ImageFormat) -> bytes:
    """Return the bytes of an image file of uint8 (H, W, C) pixels, C = 1 or 3; equal pixels give equal bytes.

    Formats are "png" (lossless), "jpg" (quality 95, 4:4:4) and "webp" (lossy, quality 95, always RGB).
    """
    buffer = BytesIO()
    _save(pixels, buffer, image_format)
    return buffer.getvalue()


def encode_file(path: str, pixels: Pixels, image_format: ImageFormat) -> bytes:
    """Write an image file, without waiting for the disk, and return its content, equal to `encode`'s.

    `path` is text, because a million `Path`s take longer than their files.
    """
    if image_format != "jpg":
        data = encode(pixels, image_format)
        write_unsynced(path, data)
        return data
    # Pillow's JPEG encoder releases the interpreter's lock only when it writes into a real file.
    with open(path, "w+b", buffering=0, opener=opener) as file:
        _save(pixels, file, image_format)
        file.seek(0)
        return file.read()


def _save(pixels: Pixels, buffer: IO[bytes], image_format: ImageFormat) -> None:
    image = to_image(pixels)
    match image_format:
        case "png":
            # 128 px photographs: level 1 takes 1.1 ms and 25.4 kB, 3 takes 1.5 ms and 24.7 kB, 6 (Pillow's own)
            # 3.3 ms and 23.9 kB. At 32 px they are alike. A GPU makes an image in a tenth of a millisecond.
            image.save(buffer, format="PNG", compress_level=1)
        case "jpg":
            image.save(buffer, format="JPEG", quality=95, subsampling=0)
        case "webp":
            image.convert("RGB").save(buffer, format="WEBP", quality=95, method=4)
        case _:
            raise ValueError(f"image_format is {image_format!r}, not one of {', '.join(get_args(ImageFormat))}")
