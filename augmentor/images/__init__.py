"""Image files and pictures: the only place that knows Pillow."""

from augmentor.storage.access import MAX_PIXELS
from augmentor.images.codec import (
    IMAGE_FORMATS,
    ImageFormat,
    Pixels,
    crop_box,
    decode,
    decode_bytes,
    encode,
    extension,
    upright_size,
    usual_suffix,
    verify,
)
from augmentor.images.grid import label_grid
from augmentor.images.sizes import fit, resize
from augmentor.images.stored import stored_shape

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
    "stored_shape",
    "upright_size",
    "usual_suffix",
    "verify",
]
