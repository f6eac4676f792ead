"""The colours of the portraits, and the little arithmetic that they need."""

from __future__ import annotations

RGB = tuple[int, int, int]

HAIR = ("black", "blond", "red")
"""The values of the attribute `hair`, in code order."""


def _colours(hexes: str) -> tuple[RGB, ...]:
    """Read colours written as rrggbb."""
    triples = (bytes.fromhex(word) for word in hexes.split())
    return tuple((red, green, blue) for red, green, blue in triples)


# From the darker to the lighter end; an identity's shade lies in between.
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


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Return the colour `share` of the way from `first` to `second`; past 0..1 extrapolates, clamped."""
    red, green, blue = (
        round(min(255.0, max(0.0, a + (b - a) * share))) for a, b in zip(first, second, strict=True)
    )
    return red, green, blue


def luma(colour: RGB) -> float:
    """Return the perceived brightness of a colour, 0..255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
