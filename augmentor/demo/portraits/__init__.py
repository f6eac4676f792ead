"""The built-in portrait set: flat-illustration faces drawn from a seed, for the demo, the tests and the README."""

from augmentor.demo.portraits.board import BOARD, SUPERSAMPLING
from augmentor.demo.portraits.drawing import render
from augmentor.demo.portraits.identity import (
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
from augmentor.demo.portraits.palette import HAIR, HAIR_RAMPS, RGB
from augmentor.demo.portraits.portrait_set import (
    DEFAULT_COUNTS,
    TRAIN_GLASSES,
    TRAIN_HAIR,
    TRAIN_SMILE,
    Domain,
    _domains,
    write_portraits,
)
from augmentor.demo.portraits.styles import STYLES, Disc, HairStyle

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
