"""The built-in portrait set: flat-illustration faces drawn from a seed, for the demo, the tests and the README."""

from augmentor.images.portraits.board import BOARD, SUPERSAMPLING
from augmentor.images.portraits.drawing import render
from augmentor.images.portraits.identity import (
    FRAMES,
    GARMENTS,
    NOSES,
    PATTERNS,
    Frame,
    Garment,
    Nose,
    Pattern,
    Portrait,
    draw_identity,
    portrait_at,
)
from augmentor.images.portraits.palette import HAIR, HAIR_RAMPS, RGB
from augmentor.images.portraits.portrait_set import (
    DEFAULT_COUNTS,
    TRAIN_GLASSES,
    TRAIN_HAIR,
    TRAIN_SMILE,
    Domain,
    _domains,
    write_portraits,
)
from augmentor.images.portraits.styles import STYLES, Disc, HairStyle

__all__ = [
    "BOARD",
    "DEFAULT_COUNTS",
    "FRAMES",
    "GARMENTS",
    "HAIR",
    "HAIR_RAMPS",
    "NOSES",
    "PATTERNS",
    "RGB",
    "STYLES",
    "SUPERSAMPLING",
    "TRAIN_GLASSES",
    "TRAIN_HAIR",
    "TRAIN_SMILE",
    "Disc",
    "Domain",
    "Frame",
    "Garment",
    "HairStyle",
    "Nose",
    "Pattern",
    "Portrait",
    "_domains",
    "draw_identity",
    "portrait_at",
    "render",
    "write_portraits",
]
