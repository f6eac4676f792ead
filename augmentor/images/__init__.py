"""Image files and pictures: the only place that knows Pillow."""

from augmentor.images.codec import (
    IMAGE_FORMATS,
    ImageFormat,
    Pixels,
    decode,
    decode_bytes,
    encode,
    extension,
    verify,
)
from augmentor.images.grid import label_grid

__all__ = [
    "IMAGE_FORMATS",
    "ImageFormat",
    "Pixels",
    "decode",
    "decode_bytes",
    "encode",
    "extension",
    "label_grid",
    "verify",
]
