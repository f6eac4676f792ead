"""Drawing of a portrait, with the backdrop, the clothes and the neck."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from augmentor.demo.portraits.board import Board, Points, downward_ramp, ellipse, spline
from augmentor.demo.portraits.face import (
    draw_arms,
    draw_brows,
    draw_ears,
    draw_eyes,
    draw_glasses,
    draw_hair_back,
    draw_hair_front,
    draw_mouth,
    draw_nose,
    draw_skin,
    face_outline,
)
from augmentor.demo.portraits.identity import HAIR, RGB, Portrait, mix


def render(portrait: Portrait, *, hair: str, glasses: bool, smile: bool, size: int = 64) -> NDArray[np.uint8]:
    """Draw an identity with the given attributes as (size, size, 3) uint8 RGB; `hair` is one of `HAIR`.

    Two renderings of one identity differ only where the differing attributes show.
    """
    if hair not in HAIR:
        raise ValueError(f"hair is {hair!r}, not one of {', '.join(HAIR)}")
    if size < 1:
        raise ValueError(f"size is {size}, not a positive number of pixels")
    board = Board(portrait, size)
    outline = face_outline(portrait)
    _draw_backdrop(board, portrait)
    draw_hair_back(board, portrait, hair)
    _draw_body(board, portrait, outline)
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


def _draw_backdrop(board: Board, p: Portrait) -> None:
    second = p.backdrop_second
    match p.pattern:
        case "fade":
            board.tint(mix(p.backdrop, (255, 255, 255), 0.4), downward_ramp(board.side))
        case "disc":
            board.fill(ellipse(128, 132, 108, 108), second)
        case "dots":
            for row, column in product(range(-1, 6), range(-1, 6)):
                board.fill(ellipse(column * 52 + 26 * (row % 2) + 8, row * 46 + 16, 8, 8), second, 0.8)
        case "split":
            lean = 60 * p.turn
            board.fill(np.array([(128 + lean, 0), (256, 0), (256, 256), (128 - lean, 256)]), second)
        case "hills":
            board.fill(ellipse(60, 250, 130, 92), second)
            board.fill(ellipse(220, 262, 120, 84), mix(second, p.backdrop, 0.4))
        case "rays":
            for angle in np.radians(np.arange(0, 360, 40) + 10 * p.turn):
                tips = np.array([(np.cos(a), np.sin(a)) for a in (angle, angle + 0.3)]) * 260
                board.fill(np.concatenate([[(128.0, 128.0)], tips + 128]), second, 0.75)
        case "plain":
            pass


def _draw_body(board: Board, p: Portrait, outline: Points) -> None:
    """Draw shoulders, clothes and neck."""
    cx = 128 + p.shift[0] * 0.6
    w, shade, dark = p.shoulders, mix(p.skin, (120, 40, 50), 0.26), mix(p.clothes, (20, 20, 50), 0.2)
    torso = spline([(cx - w, 262), (cx - w + 4, 236), (cx - w * 0.66, 214), (cx - 26, 203), (cx + 26, 203),
                    (cx + w * 0.66, 214), (cx + w - 4, 236), (cx + w, 262)])  # fmt: skip
    mask = board.mask(torso)
    if p.garment == "hoodie":
        board.fill(ellipse(cx, 208, 52, 24), dark)
    board.tint(p.clothes, mask)
    if p.garment == "stripes":
        bands = [np.array([(0, y), (256, y), (256, y + 9), (0, y + 9)]) for y in (218, 236, 254)]
        board.tint(p.trim, board.mask(*bands), within=mask)
    neck = spline([(cx - 21, 160), (cx - 21, 160), (cx - 21, 196), (cx - 27, 208), (cx, 221), (cx + 27, 208),
                   (cx + 21, 196), (cx + 21, 160), (cx + 21, 160)])  # fmt: skip
    if p.garment == "vneck":
        board.fill(np.array([(cx - 37, 204), (cx + 37, 204), (cx, 252)]), p.trim)
        board.fill(np.array([(cx - 30, 202), (cx + 30, 202), (cx, 242)]), p.skin)
    elif p.garment in ("crew", "stripes", "dungarees"):
        board.fill(ellipse(cx, 204, 36, 24), p.trim if p.garment != "dungarees" else dark)
    neck_mask = board.mask(neck)
    board.tint(p.skin, neck_mask)
    board.tint(shade, board.mask(board.head(outline + np.array([0, 11]))), within=neck_mask)
    _draw_collar(board, p, cx, dark)


def _draw_collar(board: Board, p: Portrait, cx: float, dark: RGB) -> None:
    """Draw the parts of a garment in front of the neck."""
    match p.garment:
        case "shirt":
            for side in (-1, 1):
                wing = np.array([(20, 194), (38, 206), (24, 232), (0, 217)]) * (side, 1) + (cx, 0)
                board.fill(wing, p.trim)
            board.stroke(np.array([(cx, 222), (cx, 262)]), dark, 2.5)
            board.fill(ellipse(cx + 6, 242, 3, 3), p.trim)
        case "turtleneck":
            roll = [(cx - 29, 192), (cx, 200), (cx + 29, 192), (cx + 33, 214), (cx, 224), (cx - 33, 214)]
            board.fill(spline(roll), mix(p.clothes, (255, 255, 255), 0.16))
            board.stroke(spline([(cx - 32, 214), (cx, 223), (cx + 32, 214)], closed=False), dark, 3)
        case "hoodie":
            for side in (-1, 1):
                fold = np.array([(24, 192), (42, 204), (30, 226), (3, 232), (18, 214)]) * (side, 1) + (cx, 0)
                board.fill(spline(fold), mix(p.clothes, (255, 255, 255), 0.14))
                board.stroke(np.array([(12, 230), (13, 250)]) * (side, 1) + (cx, 0), p.trim, 4)
        case "dungarees":
            for side in (-1, 1):
                strap = np.array([(36, 205), (52, 208), (44, 262), (28, 262)]) * (side, 1) + (cx, 0)
                board.fill(strap, p.trim)
            board.fill(np.array([(cx - 44, 240), (cx + 44, 240), (cx + 44, 262), (cx - 44, 262)]), p.trim)
        case _:
            pass
