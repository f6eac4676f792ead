"""Small image files of every kind that can be made here, and ways to damage them; for `fuzz.py`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, __version__

PILLOW = int(__version__.partition(".")[0])
PNG_START = b"\x89PNG\r\n\x1a\n"
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged_image(random: Random) -> bytes:
    """Return an image file after one to four kinds of damage."""
    _, whole = random.choice(whole_images())
    data = bytearray(whole)
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        data = random.choice(DAMAGES)(data, random)
    if data.startswith(PNG_START) and random.random() < 0.7:
        data = _with_checksums(data)
    return bytes(data)


@lru_cache(maxsize=1)
def whole_images() -> tuple[tuple[str, bytes], ...]:
    """Return undamaged files that can be read, as (format, bytes): every format, mode and way of packing."""
    return tuple(_whole_images())


def _whole_images() -> Iterator[tuple[str, bytes]]:
    noise = np.random.default_rng(0)
    pictures = [
        Image.fromarray(noise.integers(256, size=(height, width, 3), dtype=np.uint8)).resize(
            (width * scale, height * scale), Image.Resampling.BICUBIC
        )
        for height, width, scale in ((4, 5, 8), (1, 1, 1), (1, 40, 1), (9, 7, 3))
    ]
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for picture in pictures:
        frames = {"save_all": True, "append_images": [picture.rotate(90 * turn) for turn in (1, 2)]}
        ways: dict[str, list[tuple[str, Mapping[str, Any]]]] = {
            "PNG": [
                *((mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
                ("RGB", {"exif": exif, "icc_profile": profile}),
                ("RGB", frames),
            ],
            "JPEG": [
                *((mode, {}) for mode in ("L", "RGB", "CMYK")),
                *(
                    ("RGB", {option: value})
                    for option, value in (("progressive", True), ("restart_marker_blocks", 2))
                ),
                ("RGB", {"exif": exif, "icc_profile": profile, "subsampling": 0}),
            ],
            "MPO": [("RGB", frames)],
            "WEBP": [("RGB", {}), ("RGBA", {"lossless": True}), ("RGB", frames), ("RGB", {"exif": exif})],
            "GIF": [("P", {}), ("L", {}), ("P", frames)],
            "TIFF": [
                *((mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I")),
                *(("RGB", {"compression": packing}) for packing in ("tiff_lzw", "packbits", "tiff_adobe_deflate")),
                *(("RGB", {"compression": packing}) for packing in ("jpeg", "zstd", "lzma")),
                ("1", {"compression": "group4"}),
                ("RGB", frames),
                ("RGB", {"exif": exif, "icc_profile": profile}),
            ],
            "BMP": [("1", {}), ("L", {}), ("P", {}), ("RGB", {}), ("RGBA", {})],
            "TGA": [("L", {}), ("P", {}), ("RGB", {}), ("RGBA", {}), ("RGB", {"compression": "tga_rle"})],
            "PPM": [("1", {}), ("L", {}), ("RGB", {}), ("I;16", {})],
            "JPEG2000": [("L", {}), ("RGB", {}), ("RGBA", {"irreversible": True}), ("RGB", {"no_jp2": True})],
            "AVIF": [("RGB", {}), ("RGBA", {"quality": 20})],
        }
        for name, forms in ways.items():
            for mode, options in forms:
                data = _saved(picture, name, mode, options)
                if data is not None:
                    yield name, data
        yield "QOI", _qoi(np.asarray(picture))


def _saved(picture: Image.Image, name: str, mode: str, options: Mapping[str, Any]) -> bytes | None:
    """Return the picture in a format; None where this build of the library cannot write it so."""
    if name == "TIFF" and mode == "YCbCr" and PILLOW < 13:
        return None  # It writes one that it cannot read.
    grey = picture.convert("L")
    image = Image.fromarray(np.asarray(grey, dtype=np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    if mode not in ("I;16", "I"):
        image = picture.convert(mode if mode != "LA" else "RGBA").convert(mode)
    # Saving leaves a format's settings on the frames, which the next format would trip over.
    frames = [frame.copy() for frame in options.get("append_images", ())]
    file = BytesIO()
    try:
        image.save(file, format=name, **{**options, "append_images": frames})
    except (OSError, KeyError, ValueError, RuntimeError):
        return None
    return file.getvalue()


def _qoi(pixels: NDArray[np.uint8]) -> bytes:
    """Return RGB pixels as a QOI file, each written in full; damage makes runs and differences of them."""
    height, width, _ = pixels.shape
    body = b"".join(b"\xfe" + bytes(pixel) for pixel in pixels.reshape(-1, 3).tolist())
    return b"qoif" + struct.pack(">IIBB", width, height, 3, 0) + body + b"\0" * 7 + b"\1"


# --- damage ---------------------------------------------------------------------------------------------------


def _place(data: bytearray, random: Random) -> int:
    """Return a position, in half of all cases one near the beginning, where the formats keep their sizes."""
    last = max(0, len(data) - 1)
    return random.randint(0, min(last, 80) if random.random() < 0.5 else last)


def _flip_bits(data: bytearray, random: Random) -> bytearray:
    for _ in range(random.randint(1, 8) if data else 0):
        data[_place(data, random)] ^= 1 << random.randrange(8)
    return data


def _set_bytes(data: bytearray, random: Random) -> bytearray:
    for _ in range(random.randint(1, 4) if data else 0):
        data[_place(data, random)] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    return data


def _set_number(data: bytearray, random: Random) -> bytearray:
    form = random.choice(("<H", ">H", "<I", ">I"))
    size = struct.calcsize(form)
    place = _place(data, random)
    data[place : place + size] = struct.pack(form, random.choice(EXTREMES) % (1 << 8 * size))
    return data


def _truncate(data: bytearray, random: Random) -> bytearray:
    return data[: random.randint(0, len(data))]


def _cut_out(data: bytearray, random: Random) -> bytearray:
    place = _place(data, random)
    del data[place : place + random.randint(1, 64)]
    return data


def _repeat(data: bytearray, random: Random) -> bytearray:
    place, length = _place(data, random), random.randint(1, 64)
    data[place:place] = data[place : place + length] * random.randint(1, 8)
    return data


def _insert(data: bytearray, random: Random) -> bytearray:
    place = _place(data, random)
    data[place:place] = random.randbytes(random.randint(1, 32))
    return data


def _splice(data: bytearray, random: Random) -> bytearray:
    _, other = random.choice(whole_images())
    return data[: _place(data, random)] + other[random.randint(0, len(other)) :]


def _append(data: bytearray, random: Random) -> bytearray:
    _, other = random.choice(whole_images())
    return data + other


DAMAGES: tuple[Callable[[bytearray, Random], bytearray], ...] = (
    *(_flip_bits, _set_bytes, _set_number, _set_number),
    *(_truncate, _cut_out, _repeat, _insert, _splice, _append),
)


def _with_checksums(data: bytes | bytearray) -> bytearray:
    """Return a PNG with the checksum of every chunk made right again: else they alone would stop all damage."""
    fixed, place = bytearray(data[:8]), 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = min(place + 8 + length, len(data))
        chunk = data[place + 4 : end]
        fixed += data[place : place + 4] + chunk
        if end + 4 <= len(data):
            fixed += struct.pack(">I", zlib.crc32(chunk))
        place = end + 4
    return fixed + data[place:]
