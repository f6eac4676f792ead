"""Hair styles: tables of curves and discs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Disc(NamedTuple):
    """A round lock of hair: centre and radius in head units (half the face's width and height are 1)."""

    x: float
    y: float
    r: float


@dataclass(frozen=True, kw_only=True)
class HairStyle:
    """The shapes of a hair style behind and in front of the head.

    Curves are splines written as SVG writes points, "x,y x,y ...", in hundredths of a head unit: (0, 0) is the
    middle of the face, (100, 0) its right edge, (0, 100) the chin. A point given twice is a corner.
    """

    back: tuple[str, ...] = ()
    back_discs: tuple[Disc, ...] = ()
    front: tuple[str, ...] = ()
    front_discs: tuple[Disc, ...] = ()
    strands: tuple[str, ...] = ()
    short: bool = False


_TIGHT = "-104,0 -110,-42 -86,-98 0,-119 86,-98 110,-42 104,0 93,-30 66,-62 0,-72 -66,-62 -93,-30"


def _ring(y: float, radius: float, size: float, *, start: float, end: float, count: int) -> tuple[Disc, ...]:
    """Return `count` discs of one size on an arc about (0, y); angles in degrees, 0 is right and 90 is down."""
    angles = np.radians(np.linspace(start, end, count))
    return tuple(Disc(radius * float(np.cos(a)), y + radius * float(np.sin(a)), size) for a in angles)


STYLES: dict[str, HairStyle] = {
    "crop": HairStyle(
        short=True,
        front=(
            "-104,8 -114,-40 -98,-95 -40,-125 35,-127 96,-98 114,-42 104,8 93,-14 88,-50 45,-64 -10,-50 -60,-62 "
            "-88,-45 -93,-14",
        ),
        strands=("-60,-95 -10,-108 45,-100",),
    ),
    "side part": HairStyle(
        short=True,
        front=(
            "-105,12 -115,-42 -92,-98 -45,-120 30,-136 100,-110 122,-50 106,12 95,-10 92,-40 55,-42 0,-55 "
            "-50,-86 -50,-86 -82,-55 -94,-12",
        ),
        strands=("-44,-92 10,-82 70,-62", "-40,-104 20,-106 86,-80"),
    ),
    "quiff": HairStyle(
        short=True,
        front=(
            "-103,10 -112,-40 -108,-88 -92,-124 -46,-142 10,-158 70,-156 104,-128 108,-86 110,-42 103,10 92,-20 "
            "80,-60 30,-72 -30,-68 -80,-58 -92,-20",
        ),
        strands=("-70,-80 -45,-115 20,-134", "-10,-82 20,-108 72,-128"),
    ),
    "pixie": HairStyle(
        short=True,
        front=(
            "-108,42 -120,-30 -98,-98 -30,-128 50,-126 105,-90 120,-30 108,42 95,10 88,-28 62,-44 50,-22 24,-48 "
            "2,-22 -20,-50 -46,-24 -66,-46 -90,-20 -95,10",
        ),
        strands=("-30,-105 -25,-80 -20,-60", "30,-105 30,-80 26,-60"),
    ),
    "bob": HairStyle(
        back=("0,-122 -85,-108 -124,-40 -134,35 -130,90 -85,100 0,80 85,100 130,90 134,35 124,-40 85,-108",),
        front=(
            "-86,96 -126,90 -130,20 -122,-45 -88,-105 0,-126 88,-105 122,-45 130,20 126,90 86,96 94,40 88,-24 "
            "88,-24 40,-32 -40,-32 -88,-24 -88,-24 -94,40",
        ),
        strands=("-35,-100 -40,-70 -38,-42", "35,-100 40,-70 38,-42"),
    ),
    "long": HairStyle(
        back=("0,-120 -80,-105 -120,-40 -130,60 -138,160 -110,200 0,190 110,200 138,160 130,60 120,-40 80,-105",),
        front=(
            "0,-84 0,-84 -50,-62 -86,-16 -94,40 -92,90 -122,110 -127,30 -120,-45 -85,-106 0,-125 85,-106 120,-45 "
            "127,30 122,110 92,90 94,40 86,-16 50,-62",
        ),
        strands=("0,-110 -62,-86 -100,-20", "0,-110 62,-86 100,-20"),
    ),
    "wavy": HairStyle(
        back=(
            "0,-122 -85,-108 -130,-40 -122,15 -150,60 -132,100 -155,145 -110,175 0,150 110,175 155,145 132,100 "
            "150,60 122,15 130,-40 85,-108",
        ),
        front=(
            "42,-86 42,-86 -10,-50 -70,-34 -90,5 -102,50 -92,86 -130,95 -128,20 -122,-48 -85,-110 10,-132 "
            "90,-106 122,-45 124,20 130,80 98,75 100,30 90,-20 72,-60",
        ),
        strands=("36,-100 -25,-82 -90,-42", "50,-100 85,-75 102,-30"),
    ),
    "afro": HairStyle(
        back=("0,-160 -90,-142 -148,-80 -150,5 -110,60 0,50 110,60 150,5 148,-80 90,-142",),
        back_discs=_ring(-0.46, 1.28, 0.3, start=150, end=390, count=15),
        front=(_TIGHT,),
        front_discs=_ring(-0.1, 0.98, 0.24, start=200, end=340, count=9),
    ),
    "curls": HairStyle(
        back_discs=(
            *_ring(-0.3, 1.08, 0.36, start=165, end=375, count=11),
            Disc(-1.06, 0.35, 0.3),
            Disc(1.06, 0.35, 0.3),
        ),
        front=(_TIGHT,),
        front_discs=(
            *_ring(-0.12, 0.86, 0.26, start=205, end=335, count=7),
            *_ring(-0.1, 1.1, 0.27, start=190, end=350, count=9),
        ),
    ),
    "bun": HairStyle(
        back_discs=(Disc(0, -1.36, 0.46),),
        front=(_TIGHT, "-100,30 -106,-10 -95,-35 -90,0"),
        strands=("-60,-68 -40,-95 -10,-112", "60,-68 40,-95 10,-112"),
    ),
    "pigtails": HairStyle(
        back_discs=(Disc(-1.36, -0.62, 0.48), Disc(1.36, -0.62, 0.48)),
        front=("0,-80 0,-80 -55,-60 -92,-10 -104,5 -113,-42 -86,-100 0,-122 86,-100 113,-42 104,5 92,-10 55,-60",),
        strands=("0,-115 0,-98 0,-82",),
    ),
    "ponytail": HairStyle(
        back=("50,-110 120,-110 162,-50 160,50 130,120 120,40 110,-20",),
        front=(
            "-104,10 -114,-40 -90,-100 0,-124 90,-102 114,-42 104,6 93,-30 60,-70 25,-80 -25,-50 -80,-34 -94,-6",
        ),
        strands=("-75,-55 0,-86 70,-95",),
    ),
}
