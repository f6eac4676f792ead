"""Image files and pictures: the only place that knows Pillow."""

from augmentor.images.codec import (
    IMAGE_FORMATS,
    MAX_PIXELS,
    ImageFormat,
    Pixels,
    crop_box,
    decode,
    decode_bytes,
    encode,
    extension,
    upright_size,
    verify,
)
from augmentor.images.grid import label_grid
from augmentor.images.sizes import fit, resize

__all__ = [
    "IMAGE_FORMATS",
    "MAX_PIXELS",
    "ImageFormat",
    "Pixels",
    "crop_box",
    "decode",
    "decode_bytes",
    "encode",
    "extension",
    "fit",
    "label_grid",
    "resize",
    "upright_size",
    "verify",
]
