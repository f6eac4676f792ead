"""The drawing surface: splines and ellipses in board units, masks, and the coordinates of a tilted head."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageChops, ImageDraw

from augmentor.demo.portraits.identity import RGB, Portrait

Points = NDArray[np.float64]

BOARD = 256
"""Side of the board; all lengths are in its units."""
SUPERSAMPLING = 4
"""Pixels drawn per pixel of the image, per axis."""


@lru_cache(maxsize=64)
def read_curve(points: str) -> Points:
    """Read a hair style's "x,y x,y ..." as points in head units, (n, 2)."""
    return np.array([[float(value) for value in point.split(",")] for point in points.split()]) / 100


def spline(points: ArrayLike, *, closed: bool = True) -> Points:
    """Return a Catmull-Rom spline through the points, (8 per segment, 2); a point given twice is a corner."""
    p = np.asarray(points, dtype=np.float64)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, 8, endpoint=closed is False)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.asarray(curve.reshape(-1, 2))


CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 40, endpoint=False)) for f in (np.cos, np.sin)], axis=1)
"""The unit circle, (40, 2), clockwise from the right as seen on the board."""


def ellipse(cx: float, cy: float, rx: float, ry: float) -> Points:
    """Return an ellipse's outline, (40, 2)."""
    return np.asarray(CIRCLE * (rx, ry) + (cx, cy))


@lru_cache(maxsize=8)
def downward_ramp(side: int) -> Image.Image:
    """Return a mask of the side, 255 at the top and 0 at the bottom."""
    return ImageChops.invert(Image.linear_gradient("L")).resize((side, side))


@lru_cache(maxsize=8)
def _glow(side: int) -> Image.Image:
    """Return a soft round spot, 255 in its centre."""
    return ImageChops.invert(Image.radial_gradient("L")).resize((side, side))


def _faded(mask: Image.Image, alpha: float) -> Image.Image:
    """Return a mask times a share."""
    return mask if alpha == 1 else mask.point([round(i * alpha) for i in range(256)])


class Board:
    """A supersampled canvas in board units, with the head's own tilted and shifted coordinates."""

    def __init__(self, portrait: Portrait, size: int) -> None:
        self.side = size * SUPERSAMPLING
        self.scale = self.side / BOARD
        self.image = Image.new("RGB", (self.side, self.side), portrait.backdrop)
        self.pen = ImageDraw.Draw(self.image, "RGBA")
        angle = np.radians(portrait.tilt)
        self.turned = portrait.zoom * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self.centre = np.array([128 + portrait.shift[0], 127 + portrait.shift[1]])

    def head(self, points: Points) -> Points:
        """Map points relative to the face's centre to the board; the head turns about the chin."""
        return np.asarray((points - (0, 60)) @ self.turned + (0, 60) + self.centre)

    def flat(self, points: Points) -> list[float]:
        """Return board points as Pillow's flat list of pixels."""
        flat: list[float] = (points * self.scale).ravel().tolist()
        return flat

    def fill(self, points: Points, colour: RGB, alpha: float = 1.0) -> None:
        """Fill a polygon."""
        self.pen.polygon(self.flat(points), fill=(*colour, round(255 * alpha)))

    def stroke(self, points: Points, colour: RGB, width: float) -> None:
        """Draw a line with round ends and joints, width in board units."""
        self._line(self.pen, points, width, colour)

    def _line(self, pen: ImageDraw.ImageDraw, points: Points, width: float, ink: RGB | int) -> None:
        """Draw a line and its two round ends with any pen."""
        pen.line(self.flat(points), fill=ink, width=max(1, round(width * self.scale)), joint="curve")
        for x, y in points[[0, -1]]:
            pen.polygon(self.flat(ellipse(x, y, width / 2, width / 2)), fill=ink)

    def line_mask(self, lines: Sequence[Points], width: float) -> Image.Image:
        """Return a mask of lines."""
        mask = Image.new("L", self.image.size)
        for points in lines:
            self._line(ImageDraw.Draw(mask), points, width, 255)
        return mask

    def mask(self, *shapes: Points) -> Image.Image:
        """Return a mask of the union of polygons."""
        mask = Image.new("L", self.image.size)
        pen = ImageDraw.Draw(mask)
        for points in shapes:
            pen.polygon(self.flat(points), fill=255)
        return mask

    def tint(self, colour: RGB, mask: Image.Image, alpha: float = 1.0, within: Image.Image | None = None) -> None:
        """Paint a colour through a mask, and only within another one if it is given."""
        box = mask.getbbox()  # most masks are small: cropping halves the time of a portrait
        if box is None:
            return
        mask = mask.crop(box)
        if within is not None:
            mask = ImageChops.multiply(mask, within.crop(box))
        self.image.paste(colour, box, _faded(mask, alpha))

    def spot(self, centre: Points, radius: float, colour: RGB, alpha: float, within: Image.Image) -> None:
        """Paint a soft round spot within a mask."""
        side = max(2, round(2 * radius * self.scale))
        left, top = (round(float(c) * self.scale - side / 2) for c in centre)
        box = (left, top, left + side, top + side)
        self.image.paste(colour, box, _faded(ImageChops.multiply(_glow(side), within.crop(box)), alpha))
