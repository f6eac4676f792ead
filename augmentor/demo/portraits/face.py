"""The head of a portrait: face, hair and glasses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops

from augmentor.demo.portraits.board import CIRCLE, Board, Points, downward_ramp, ellipse, read_curve, spline
from augmentor.demo.portraits.identity import HAIR_LIGHTS, HAIR_RAMPS, HAIR_SHADOWS, RGB, Portrait, mix
from augmentor.demo.portraits.styles import STYLES, Disc


def face_outline(p: Portrait) -> Points:
    """Return the face's outline relative to its centre: an ellipse above, a fuller jaw below."""
    x, y = CIRCLE[:, 0], CIRCLE[:, 1]
    below = np.clip(y, 0, 1)
    fuller = np.sign(x) * np.abs(x) ** (1 - 0.3 * p.jaw * below)
    return np.stack([fuller * (1 - 0.05 * below) * p.face_width, y * p.face_height], axis=1)


def draw_ears(board: Board, p: Portrait) -> None:
    """Draw both ears, with earrings if there are any."""
    inner = mix(p.skin, (150, 50, 50), 0.28)
    for side in (-1, 1):
        x = side * (p.face_width + 2)
        board.fill(board.head(ellipse(x, 10, 10 * p.ear_size, 14 * p.ear_size)), p.skin)
        board.fill(board.head(ellipse(x + side, 11, 5 * p.ear_size, 8 * p.ear_size)), inner)
        if p.earrings:
            board.fill(board.head(ellipse(x + side, 10 + 16 * p.ear_size, 5, 5)), (250, 206, 96))


def draw_skin(board: Board, p: Portrait, outline: Points) -> Image.Image:
    """Draw the face without its features and return its mask."""
    face = board.mask(board.head(outline))
    board.tint(p.skin, face)
    crescent = ImageChops.subtract(face, board.mask(board.head(outline * 1.02) - (8, 4)))
    board.tint(mix(p.skin, (150, 50, 60), 0.2), crescent)
    if p.stubble:
        beard = spline(
            [(-64, 16), (-44, 32), (-22, 34), (0, 31), (22, 34), (44, 32), (64, 16), (60, 90), (-60, 90)]
        )
        board.tint((58, 60, 74), board.mask(board.head(beard)), p.stubble, within=face)
    if p.freckles:
        brown = mix(p.skin, (140, 66, 34), 0.5)
        for x in (-36, -29, -22, 22, 29, 36):
            board.fill(board.head(ellipse(x + 5 * p.turn, 29 if abs(x) == 29 else 24, 1.7, 1.7)), brown)
    return face


def draw_eyes(board: Board, p: Portrait, smile: bool) -> None:
    """Draw the eyes; a smile lifts the lower lids."""
    rx, ry = p.eye_size
    line = mix(p.skin, (36, 22, 30), 0.85)
    centres = [(side * p.eye_gap + 5 * p.turn, 6.0) for side in (-1, 1)]

    def pair(dx: float, dy: float, width: float, height: float) -> Image.Image:
        return board.mask(*(board.head(ellipse(x + dx, y + dy, width, height)) for x, y in centres))

    white = pair(0, 0, rx, ry)
    if smile:
        white = ImageChops.subtract(white, pair(0, ry * 1.75, rx * 1.5, ry * 1.3))
    board.tint((255, 252, 248), white)
    board.tint(p.eye_colour, pair(1.5 * p.turn, 0, ry * 0.78, ry * 0.82), within=white)
    board.tint((20, 16, 22), pair(1.5 * p.turn, 0, ry * 0.45, ry * 0.48), within=white)
    for (x, y), side in zip(centres, (-1, 1), strict=True):
        board.fill(board.head(ellipse(x + 1.5 * p.turn - 2.4, y - 3.2, 2.2, 2.2)), (255, 255, 255))
        board.stroke(board.head(ellipse(x, y, rx, ry)[21:40]), line, 3.2)
        if p.lashes:
            tip = np.array([(x + side * rx * 0.85, y - ry * 0.4), (x + side * (rx + 4.5), y - ry * 0.85)])
            board.stroke(board.head(tip), line, 3)
        if smile:
            fold = spline([(x - rx * 0.8, y + 5), (x, y + ry * 0.45), (x + rx * 0.8, y + 5)], closed=False)
            board.stroke(board.head(fold), mix(p.skin, line, 0.7), 2.2)


def draw_brows(board: Board, p: Portrait, hair: str) -> None:
    """Draw the eyebrows in the hair's colour."""
    _, dark, _ = _hair_colours(p, hair)
    for side in (-1, 1):
        x, y = side * (p.eye_gap + 1) + 5 * p.turn, -14 - p.brow_lift
        arch = [(x - side * 11, y), (x + side * 1, y - p.brow_arch), (x + side * 12, y + 3.5)]
        board.stroke(board.head(spline(arch, closed=False)), dark, p.brow_weight)


def draw_nose(board: Board, p: Portrait) -> None:
    """Draw the nose."""
    x, s, shade = 8 * p.turn, p.nose_size, mix(p.skin, (150, 50, 55), 0.36)
    match p.nose:
        case "curve":
            board.stroke(board.head(spline([(x - 6 * s, 25), (x, 29), (x + 6 * s, 25)], closed=False)), shade, 3.6)
        case "button":
            board.fill(board.head(ellipse(x, 24, 7 * s, 5.4 * s)), mix(p.skin, (190, 70, 60), 0.28))
            board.fill(board.head(ellipse(x - 2, 22, 2.2 * s, 1.6 * s)), mix(p.skin, (255, 255, 255), 0.4))
        case "shadow":
            board.fill(
                board.head(spline([(x + 1, 13), (x + 6 * s, 25), (x + 3, 28.5), (x - 5 * s, 26.5)])), shade, 0.7
            )


def draw_mouth(board: Board, p: Portrait, smile: bool, face: Image.Image) -> None:
    """Draw cheeks and mouth: wide and happy, or small and level."""
    x, y, w = 6 * p.turn, 42.0, p.mouth_width
    rosy, lip = (
        mix(p.skin, (236, 70, 84), 0.62),
        mix(mix(p.skin, (120, 34, 44), 0.4), (206, 52, 76), p.lips * 0.6),
    )
    for side in (-1, 1):
        cheek = board.head(np.array([(side * 33.0 + 4 * p.turn, 22.0 if smile else 26.0)]))[0]
        board.spot(cheek, 21 if smile else 18, rosy, min(0.85, p.blush + 0.3) if smile else p.blush, face)
    if not smile:
        board.fill(board.head(ellipse(x, y + 3.4, w * 0.42, 3.6)), lip, 0.75)
        line = spline([(x - w * 0.52, y), (x, y + 0.5), (x + w * 0.52, y)], closed=False)
        board.stroke(board.head(line), mix(p.skin, (70, 20, 34), 0.75), 3.4)
        return
    depth = 19.0 if p.open_grin else 14.0
    grin = spline([(x - w, y - 5), (x - w, y - 5), (x - w * 0.5, y - 2), (x, y - 1), (x + w * 0.5, y - 2),
                   (x + w, y - 5), (x + w, y - 5), (x + w * 0.62, y + depth * 0.62), (x, y + depth),
                   (x - w * 0.62, y + depth * 0.62)])  # fmt: skip
    mouth = board.mask(board.head(grin))
    board.tint((112, 26, 42), mouth)
    if p.open_grin:
        board.tint((240, 104, 112), board.mask(board.head(ellipse(x, y + 19, 13, 9))), within=mouth)
    teeth = ellipse(x, y - 6, w * 0.92, 13 if p.open_grin else 15)
    board.tint((255, 255, 252), board.mask(board.head(teeth)), within=mouth)
    board.stroke(board.head(np.vstack([grin, grin[:1]])), lip, 2.2)
    for side in (-1, 1):
        dimple = [(x + side * (w + 1), y - 9), (x + side * (w + 3.5), y - 5), (x + side * (w + 2), y - 1)]
        board.stroke(board.head(spline(dimple, closed=False)), mix(p.skin, (150, 50, 55), 0.5), 2.6)


def _hair_shapes(board: Board, p: Portrait, curves: Sequence[str], discs: Sequence[Disc]) -> list[Points]:
    """Return a style's curves and discs as board polygons."""
    reach = np.array([p.face_width * (-1 if p.hair_mirrored else 1), p.face_height]) * p.hair_volume
    shapes = [board.head(spline(read_curve(curve)) * reach) for curve in curves]
    radius = p.face_width * p.hair_volume
    shapes += [board.head(ellipse(d.x * reach[0], d.y * reach[1], d.r * radius, d.r * radius)) for d in discs]
    return shapes


def _hair_colours(p: Portrait, hair: str) -> tuple[RGB, RGB, RGB]:
    """Return base, dark and light of the hair."""
    darkest, lightest = HAIR_RAMPS[hair]
    base = mix(darkest, lightest, p.hair_shade)
    return base, mix(base, HAIR_SHADOWS[hair], 0.36), mix(base, HAIR_LIGHTS[hair], 0.4)


def draw_hair_back(board: Board, p: Portrait, hair: str) -> None:
    """Draw the hair behind the head."""
    style = STYLES[p.hair_style]
    base, dark, _ = _hair_colours(p, hair)
    shapes = _hair_shapes(board, p, style.back, style.back_discs)
    if shapes:
        mask = board.mask(*shapes)
        board.tint(base, mask)
        board.tint(dark, ImageChops.invert(downward_ramp(board.side)), within=mask)


def draw_hair_front(board: Board, p: Portrait, hair: str, face: Image.Image) -> None:
    """Draw the hair in front of the head, with its shadow on the face, a sheen and strands."""
    style = STYLES[p.hair_style]
    base, dark, light = _hair_colours(p, hair)
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
