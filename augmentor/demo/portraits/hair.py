"""The hair, behind the head and in front of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops

from augmentor.demo.portraits.board import Board, Points, downward_ramp, ellipse, read_curve, spline
from augmentor.demo.portraits.identity import Portrait
from augmentor.demo.portraits.palette import HAIR_LIGHTS, HAIR_RAMPS, HAIR_SHADOWS, RGB, mix
from augmentor.demo.portraits.styles import STYLES, Disc


def _hair_shapes(board: Board, p: Portrait, curves: Sequence[str], discs: Sequence[Disc]) -> list[Points]:
    """Return a style's curves and discs as board polygons."""
    reach = np.array([p.face_width * (-1 if p.hair_mirrored else 1), p.face_height]) * p.hair_volume
    shapes = [board.head(spline(read_curve(curve)) * reach) for curve in curves]
    radius = p.face_width * p.hair_volume
    shapes += [board.head(ellipse(d.x * reach[0], d.y * reach[1], d.r * radius, d.r * radius)) for d in discs]
    return shapes


def hair_colours(p: Portrait, hair: str) -> tuple[RGB, RGB, RGB]:
    """Return base, dark and light of the hair."""
    darkest, lightest = HAIR_RAMPS[hair]
    base = mix(darkest, lightest, p.hair_shade)
    return base, mix(base, HAIR_SHADOWS[hair], 0.36), mix(base, HAIR_LIGHTS[hair], 0.4)


def draw_hair_back(board: Board, p: Portrait, hair: str) -> None:
    """Draw the hair behind the head."""
    style = STYLES[p.hair_style]
    base, dark, _ = hair_colours(p, hair)
    shapes = _hair_shapes(board, p, style.back, style.back_discs)
    if shapes:
        mask = board.mask(*shapes)
        board.tint(base, mask)
        board.tint(dark, ImageChops.invert(downward_ramp(board.side)), within=mask)


def draw_hair_front(board: Board, p: Portrait, hair: str, face: Image.Image) -> None:
    """Draw the hair in front of the head, with its shadow on the face, a sheen and strands."""
    style = STYLES[p.hair_style]
    base, dark, light = hair_colours(p, hair)
    shapes = _hair_shapes(board, p, style.front, style.front_discs)
    shadow = board.mask(*(shape + np.array([1.5, 6]) for shape in shapes))
    board.tint(mix(p.skin, (110, 30, 50), 0.3), shadow, 0.75, within=face)
    mask = board.mask(*shapes)
    board.tint(base, mask)
    reach = np.array([p.face_width, p.face_height])
    sheen = [board.head(spline([(-0.75, -0.82), (-0.3, -1.06), (0.25, -1.05), (0.2, -0.9), (-0.3, -0.9)]) * reach)]
    board.tint(light, board.mask(*sheen), 0.8, within=mask)
    flip = reach * (-1 if p.hair_mirrored else 1, 1) * p.hair_volume
    lines = [board.head(spline(read_curve(strand), closed=False) * flip) for strand in style.strands]
    if lines:
        board.tint(dark, board.line_mask(lines, 3), 0.8, within=mask)
    for d in style.front_discs[1::2]:
        curl = ellipse(d.x * flip[0], d.y * flip[1], d.r * p.face_width * 0.55, d.r * p.face_width * 0.55)
        board.stroke(board.head(curl[8:30]), dark, 2.5)
