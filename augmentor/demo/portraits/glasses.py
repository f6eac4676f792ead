"""The glasses: arms that hair may cover, frames, lenses and a glint."""

from __future__ import annotations

import numpy as np
from PIL import ImageChops

from augmentor.demo.portraits.board import CIRCLE, Board, Points, spline
from augmentor.demo.portraits.identity import Portrait


def _lens(p: Portrait, side: int, grow: float) -> Points:
    """Return the outline of one lens, relative to the face's centre."""
    r = p.frame_size + grow
    x, y = side * (p.eye_gap + 1.5) + 5 * p.turn, 7.0
    powers = {"round": (1.0, 1.0, 1.0), "oval": (1.06, 0.82, 1.0), "square": (1.0, 0.86, 0.45),
              "wayfarer": (1.04, 0.88, 0.55)}  # fmt: skip
    width, height, power = powers[p.frame]
    shape = np.sign(CIRCLE) * np.abs(CIRCLE) ** power
    if p.frame == "wayfarer":
        shape = shape * np.stack([1 - 0.12 * shape[:, 1], 1 - 0.1 * side * shape[:, 0] * shape[:, 1]], axis=1)
    return np.asarray(shape * (r * width, r * height) + (x, y))


def draw_arms(board: Board, p: Portrait) -> None:
    """Draw the arms of the glasses, which hair may cover."""
    for side in (-1, 1):
        edge = _lens(p, side, 0)[:, 0]
        hinge = float(edge.max() if side > 0 else edge.min())
        board.stroke(board.head(np.array([(hinge, 3), (side * (p.face_width + 1), 1)])), p.frame_colour, 5)


def draw_glasses(board: Board, p: Portrait) -> None:
    """Draw bridge, tinted lenses, frames and a glint."""
    bridge = [
        (-p.eye_gap + p.frame_size - 2 + 5 * p.turn, 4),
        (5 * p.turn, -1),
        (p.eye_gap - p.frame_size + 2 + 5 * p.turn, 4),
    ]
    board.stroke(board.head(spline(bridge, closed=False)), p.frame_colour, 5)
    rims, glass = (board.mask(*(board.head(_lens(p, side, grow)) for side in (-1, 1))) for grow in (3.2, -3.2))
    board.tint((226, 242, 255), glass, 0.18)
    board.tint(p.frame_colour, ImageChops.subtract(rims, glass))
    middles = [side * p.eye_gap + 5 * p.turn for side in (-1, 1)]
    glints = [board.head(np.array([(x - 15, 12), (x - 6, -3), (x - 2, -3), (x - 13, 16)])) for x in middles]
    board.tint((255, 255, 255), board.mask(*glints), 0.4, within=glass)
