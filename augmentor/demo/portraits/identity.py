"""Who is in a portrait: everything about a face that is not an attribute, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from augmentor.demo.portraits.palette import (
    BACKDROPS,
    CLOTHES,
    EYES,
    FRAMES_BRIGHT,
    FRAMES_DARK,
    RGB,
    SKINS,
    luma,
    mix,
)
from augmentor.demo.portraits.styles import STYLES

Pattern = Literal["plain", "fade", "disc", "dots", "split", "hills", "rays"]
Garment = Literal["crew", "vneck", "shirt", "turtleneck", "stripes", "hoodie", "dungarees"]
Frame = Literal["round", "square", "wayfarer", "oval"]
Nose = Literal["curve", "button", "shadow"]

PATTERNS: tuple[Pattern, ...] = ("plain", "fade", "disc", "dots", "split", "hills", "rays")
GARMENTS: tuple[Garment, ...] = ("crew", "vneck", "shirt", "turtleneck", "stripes", "hoodie", "dungarees")
FRAMES: tuple[Frame, ...] = ("round", "square", "wayfarer", "oval")
NOSES: tuple[Nose, ...] = ("curve", "button", "shadow")


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """An identity: everything about a portrait that is not an attribute.

    Lengths are in units of a 256-unit board, angles in degrees, colours RGB 0..255, shares in 0..1 unless
    said otherwise.
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
    """Draw an identity.

    Args:
        rng: the only source of randomness.
    """

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
