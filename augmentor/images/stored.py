"""What an encoded image holds, found by unpacking all of it."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from augmentor.images.codec import decode_bytes


def stored_shape(data: bytes) -> tuple[int, int, int]:
    """Return the (H, W, C) of an encoded image: upright, and with the channels that the file itself has.

    Args:
        data: the content of an image file.

    Raises:
        ImageError: it cannot be unpacked to its end.
    """
    height, width, _ = decode_bytes(data, channels=3).shape
    with Image.open(BytesIO(data)) as image:
        return height, width, len(image.getbands())
