"""Images: decoding, encoding, resizing, full-resolution originals and preview grids, with Pillow."""

from augmentor.images.decode import (
    IMAGE_SUFFIXES,
    GreyValues,
    decode,
    decode_bytes,
    grey_values,
    has_further_frames,
    stored_shape,
    upright_size,
    usual_suffix,
    verify,
)
from augmentor.images.encode import ImageFormat, encode, encode_file
from augmentor.images.full_resolution import Original, check_output_size
from augmentor.images.grid import PREVIEW_CELL, preview_grid, write_grid
from augmentor.images.sizes import (
    DEFAULT_SIDE,
    LONGEST_SIDE,
    OutputSize,
    Pixels,
    fit,
    parse_output_size,
    parse_size,
    resize,
)

__all__ = [
    "DEFAULT_SIDE",
    "IMAGE_SUFFIXES",
    "LONGEST_SIDE",
    "PREVIEW_CELL",
    "GreyValues",
    "ImageFormat",
    "Original",
    "OutputSize",
    "Pixels",
    "check_output_size",
    "decode",
    "decode_bytes",
    "encode",
    "encode_file",
    "fit",
    "grey_values",
    "has_further_frames",
    "parse_output_size",
    "parse_size",
    "preview_grid",
    "resize",
    "stored_shape",
    "upright_size",
    "usual_suffix",
    "verify",
    "write_grid",
]
