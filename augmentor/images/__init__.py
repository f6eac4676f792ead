"""Image files and pictures.

Decoding, encoding, resizing, full-resolution originals and preview grids. The only room that knows Pillow.
"""

from augmentor.images.codec import (
    IMAGE_FORMATS,
    ImageFormat,
    Pixels,
    crop_box,
    decode,
    decode_bytes,
    encode,
    encode_file,
    extension,
    upright_size,
    usual_suffix,
    verify,
)
from augmentor.images.full_resolution import Original, refuse_painters
from augmentor.images.grid import label_grid
from augmentor.images.preview_grid import PREVIEW_CELL, preview_grid, write_grid
from augmentor.images.sizes import (
    DEFAULT_SIDE,
    LONGEST_SIDE,
    OutputSize,
    fit,
    parse_output_size,
    parse_size,
    resize,
)
from augmentor.images.stored import stored_shape

__all__ = [
    "DEFAULT_SIDE",
    "IMAGE_FORMATS",
    "LONGEST_SIDE",
    "PREVIEW_CELL",
    "ImageFormat",
    "Original",
    "OutputSize",
    "Pixels",
    "crop_box",
    "decode",
    "decode_bytes",
    "encode",
    "encode_file",
    "extension",
    "fit",
    "label_grid",
    "parse_output_size",
    "parse_size",
    "preview_grid",
    "refuse_painters",
    "resize",
    "stored_shape",
    "upright_size",
    "usual_suffix",
    "verify",
    "write_grid",
]
