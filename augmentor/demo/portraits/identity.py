"""Identities: the features and colours of a portrait that are no attributes, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from augmentor.demo.portraits.styles import STYLES

RGB = tuple[int, int, int]

HAIR = ("black", "blond", "red")
"""The values of the attribute `hair`, in code order."""


def _colours(hexes: str) -> tuple[RGB, ...]:
    """Read colours written as rrggbb."""
    triples = (bytes.fromhex(word) for word in hexes.split())
    return tuple((red, green, blue) for red, green, blue in triples)


# From the darkest to the lightest; an identity's shade is in between.
HAIR_RAMPS = {
    "black": _colours("16151f 342a2f"),
    "blond": _colours("e5b252 fada86"),
    "red": _colours("ab3218 db5c26"),
}
HAIR_SHADOWS = {"black": (6, 6, 14), "blond": (176, 96, 32), "red": (92, 14, 20)}
HAIR_LIGHTS = {"black": (120, 124, 160), "blond": (255, 250, 214), "red": (255, 196, 120)}
SKINS = _colours("ffe2cc fad3b8 f3c3a0 e8b28a d69b71 be815a a06747 84533a")
EYES = _colours("543626 704c2c 466e54 487aa8 606c7a 3a2822")
BACKDROPS = _colours(
    "ffd6be f8c8ce c7e8e2 bed8ec d8ccf2 fceec8 b2dac4 f4ac98 "
    "82babe 96a8da f6c874 6070a4 e8e4dc 3e5c70 de8284 aac482"
)
CLOTHES = _colours(
    "ee6c5c 3e7c8c faf4ea 344268 f4bc54 88b08a 9874b2 e896a4 5c96ce 484e5c 2e6e5c cc5c78 b0cedc c8865a"
)
FRAMES_DARK = _colours("1e1e26 34285c 164e60 701e34 422a1c")
FRAMES_BRIGHT = _colours("f6f0e4 f5c84c 5cd2c8 a8efc6 c8b6ff")

Pattern = Literal["plain", "fade", "disc", "dots", "split", "hills", "rays"]
Garment = Literal["crew", "vneck", "shirt", "turtleneck", "stripes", "hoodie", "dungarees"]
Frame = Literal["round", "square", "wayfarer", "oval"]
Nose = Literal["curve", "button", "shadow"]

PATTERNS: tuple[Pattern, ...] = ("plain", "fade", "disc", "dots", "split", "hills", "rays")
GARMENTS: tuple[Garment, ...] = ("crew", "vneck", "shirt", "turtleneck", "stripes", "hoodie", "dungarees")
FRAMES: tuple[Frame, ...] = ("round", "square", "wayfarer", "oval")
NOSES: tuple[Nose, ...] = ("curve", "button", "shadow")


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Return the colour `share` of the way from `first` to `second`, extrapolated and clamped outside of 0..1."""
    red, green, blue = (
        round(min(255.0, max(0.0, a + (b - a) * share))) for a, b in zip(first, second, strict=True)
    )
    return red, green, blue


def luma(colour: RGB) -> float:
    """Return the perceived brightness of a colour, 0..255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """An identity: everything about a portrait that is not an attribute.

    Lengths are in units of a 256-unit board, angles in degrees, colours RGB 0..255, shares in 0..1 unless
    noted otherwise.
    """

    skin: RGB
    face_width: float
    face_height: float
    jaw: float
    tilt: float
    zoom: float
    shift: tuple[float, float]
    turn: float
    hair_style: str
    hair_mirrored: bool
    hair_shade: float
    hair_volume: float
    brow_arch: float
    brow_weight: float
    brow_lift: float
    eye_colour: RGB
    eye_gap: float
    eye_size: tuple[float, float]
    lashes: bool
    nose: Nose
    nose_size: float
    ear_size: float
    blush: float
    freckles: bool
    stubble: float
    lips: float
    mouth_width: float
    open_grin: bool
    earrings: bool
    garment: Garment
    clothes: RGB
    trim: RGB
    shoulders: float
    pattern: Pattern
    backdrop: RGB
    backdrop_second: RGB
    frame: Frame
    frame_colour: RGB
    frame_size: float


def draw_identity(rng: np.random.Generator) -> Portrait:
    """Draw an identity; `rng` is the only source of randomness."""

    def one(options: Sequence[RGB]) -> RGB:
        jitter = rng.normal(0, 5, 3)
        red, green, blue = (
            int(np.clip(c + j, 0, 255))
            for c, j in zip(options[int(rng.integers(len(options)))], jitter, strict=True)
        )
        return red, green, blue

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def chance(share: float) -> bool:
        return bool(rng.random() < share)

    tone = between(0, len(SKINS) - 1.001)
    skin = mix(SKINS[int(tone)], SKINS[int(tone) + 1], tone % 1)
    style = list(STYLES)[rng.integers(len(STYLES))]
    short = STYLES[style].short
    backdrop = one(BACKDROPS)
    clothes = one([colour for colour in CLOTHES if abs(luma(colour) - luma(backdrop)) > 12])
    frames = FRAMES_DARK if luma(skin) > 150 else FRAMES_BRIGHT
    return Portrait(
        skin=skin,
        face_width=between(50, 58),
        face_height=between(60, 68),
        jaw=between(0, 1),
        tilt=between(-7, 7),
        zoom=between(1.02, 1.14),
        shift=(between(-5, 5), between(-3, 5)),
        turn=between(-1, 1),
        hair_style=style,
        hair_mirrored=chance(0.5),
        hair_shade=between(0, 1),
        hair_volume=between(0.97, 1.05),
        brow_arch=between(1, 6),
        brow_weight=between(4.0, 6.5),
        brow_lift=between(-2, 4),
        eye_colour=one(EYES),
        eye_gap=between(21, 25),
        eye_size=(between(9.5, 12), between(8.5, 11.5)),
        lashes=chance(0.15 if short else 0.7),
        nose=NOSES[rng.integers(len(NOSES))],
        nose_size=between(0.8, 1.25),
        ear_size=between(0.85, 1.15),
        blush=between(0.15, 0.6),
        freckles=chance(0.2),
        stubble=between(0.05, 0.11) if short and chance(0.3) else 0.0,
        lips=between(0.25, 0.9),
        mouth_width=between(20, 25),
        open_grin=chance(0.6),
        earrings=chance(0.3),
        garment=GARMENTS[rng.integers(len(GARMENTS))],
        clothes=clothes,
        trim=one([colour for colour in CLOTHES if abs(luma(colour) - luma(clothes)) > 40]),
        shoulders=between(80, 100),
        pattern=PATTERNS[rng.integers(len(PATTERNS))],
        backdrop=backdrop,
        backdrop_second=mix(backdrop, (255, 255, 255), 0.42)
        if chance(0.6)
        else mix(backdrop, (70, 50, 110), 0.16),
        frame=FRAMES[rng.integers(len(FRAMES))],
        frame_colour=one(frames),
        frame_size=between(17.5, 20),
    )


def portrait_at(seed: int, index: int) -> Portrait:
    """Return the identity that `write_portraits` gives the row with id `f"{index:05d}"`."""
    return draw_identity(np.random.default_rng([seed, index]))
