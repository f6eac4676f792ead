"""One portrait, from the backdrop to the glasses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from augmentor.demo.portraits.board import Board
from augmentor.demo.portraits.features import (
    draw_brows,
    draw_ears,
    draw_eyes,
    draw_mouth,
    draw_nose,
    draw_skin,
    face_outline,
)
from augmentor.demo.portraits.glasses import draw_arms, draw_glasses
from augmentor.demo.portraits.hair import draw_hair_back, draw_hair_front
from augmentor.demo.portraits.identity import Portrait
from augmentor.demo.portraits.palette import HAIR
from augmentor.demo.portraits.setting import draw_backdrop, draw_body


def render(portrait: Portrait, *, hair: str, glasses: bool, smile: bool, size: int = 64) -> NDArray[np.uint8]:
    """Draw an identity with the given attributes.

    Two renderings of one identity differ only where the differing attributes show.

    Args:
        portrait: the identity.
        hair: one of `HAIR`.
        glasses: whether the person wears glasses.
        smile: whether the person smiles.
        size: side of the image in pixels.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        ValueError: the hair colour is unknown or the size is not positive.
    """
    if hair not in HAIR:
        raise ValueError(f"hair is {hair!r}, not one of {', '.join(HAIR)}")
    if size < 1:
        raise ValueError(f"size is {size}, not a positive number of pixels")
    board = Board(portrait, size)
    outline = face_outline(portrait)
    draw_backdrop(board, portrait)
    draw_hair_back(board, portrait, hair)
    draw_body(board, portrait, outline)
    draw_ears(board, portrait)
    face = draw_skin(board, portrait, outline)
    draw_mouth(board, portrait, smile, face)
    draw_nose(board, portrait)
    draw_eyes(board, portrait, smile)
    draw_brows(board, portrait, hair)
    if glasses:
        draw_arms(board, portrait)
    draw_hair_front(board, portrait, hair, face)
    if glasses:
        draw_glasses(board, portrait)
    return np.array(board.image.resize((size, size), Image.Resampling.LANCZOS))
