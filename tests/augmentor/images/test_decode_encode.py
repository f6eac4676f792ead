"""Decoding meets what people's folders hold: turned photos, odd modes, damaged files."""

from __future__ import annotations

import os
import random
import struct
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from augmentor.errors import ImageError
from augmentor.images import (
    ImageFormat,
    Pixels,
    decode,
    decode_bytes,
    encode,
    encode_file,
    grey_values,
    usual_suffix,
    verify,
)
from augmentor.images.decode import upright_size
from augmentor.images.sizes import crop_box
from augmentor.storage.access import Access

IMAGE_FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
READERS: tuple[Callable[..., object], ...] = (
    verify,
    upright_size,
    partial(decode, channels=3),
    partial(decode, channels=1, size=(8, 8)),
)
"""Everything that opens a file."""


def gradient(height: int = 48, width: int = 64) -> Pixels:
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 256], axis=-1)
    return pixels.astype(np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_image_at_its_size_keeps_its_pixels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(gradient()))
    np.testing.assert_array_equal(decode(path, size=(48, 64), channels=3), gradient())
    np.testing.assert_array_equal(decode(path, channels=3), gradient())


@pytest.mark.parametrize(
    ("width", "height", "size", "crop", "box"),
    [
        (178, 218, (128, 128), 178, (0, 20, 178, 198)),  # CelebA as in the paper
        (178, 218, (128, 128), None, (0, 20, 178, 198)),
        (100, 50, (64, 64), None, (25, 0, 75, 50)),
        (100, 100, (32, 64), None, (0, 25, 100, 75)),
        (100, 60, (64, 64), 80, (20, 0, 80, 60)),  # the square is clipped to the image
        (100, 100, (64, 64), 50, (25, 25, 75, 75)),
        (100, 40, None, 50, (25, 0, 75, 40)),
        (1, 500, (64, 64), None, (0, 249, 1, 250)),
    ],
)
def test_crop_is_centred(
    width: int, height: int, size: tuple[int, int] | None, crop: int | None, box: tuple[int, ...]
) -> None:
    assert crop_box(width, height, size=size, crop=crop) == box


def test_crop_then_resize_shows_the_middle(tmp_path: Path) -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, 50:150] = GREEN
    pixels[:, :50] = RED
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    out = decode(path, size=(20, 20), channels=3)
    assert out.shape == (20, 20, 3)
    np.testing.assert_array_equal(out, np.full((20, 20, 3), GREEN, np.uint8))
    whole = decode(path, size=(10, 20), channels=3)
    np.testing.assert_array_equal(whole[5, 2], RED)
    np.testing.assert_array_equal(whole[5, 17], (0, 0, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((32, 64, 3), np.uint8)
    upright[:16, :32], upright[:16, 32:], upright[16:, :32] = RED, GREEN, BLUE
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    stored = stored.transpose(undo[orientation]) if orientation in undo else stored
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = save(tmp_path / "a.jpg", stored, exif=exif, quality=95, subsampling=0)
    assert upright_size(path) == (32, 64)
    out = decode(path, size=(16, 32), channels=3).astype(int)
    for (row, column), colour in {(4, 8): RED, (4, 24): GREEN, (12, 8): BLUE, (12, 24): (0, 0, 0)}.items():
        assert np.abs(out[row, column] - colour).max() < 12


def test_damaged_exif_does_not_refuse_good_pixels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(gradient()), exif=b"Exif\x00\x00garbage, not a TIFF header")
    assert decode(path, channels=3).shape == (48, 64, 3)


def test_large_jpeg_is_decoded_small_without_a_shift(tmp_path: Path) -> None:
    smooth = np.asarray(Image.fromarray(gradient(30, 41)).resize((1641, 1203), Image.Resampling.BICUBIC))
    jpeg = save(tmp_path / "a.jpg", Image.fromarray(smooth), quality=95, subsampling=0)
    png = save(tmp_path / "a.png", Image.fromarray(smooth))
    drafted = decode(jpeg, size=(64, 64), channels=3, crop=1100).astype(int)
    exact = decode(png, size=(64, 64), channels=3, crop=1100).astype(int)
    assert np.abs(drafted - exact).max() <= 4
    assert np.abs(drafted - exact).mean() < 1.0


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 25700, 65535]], np.uint16).repeat(4, axis=0)
    path = save(tmp_path / "a.png", Image.fromarray(values))
    np.testing.assert_array_equal(decode(path, channels=1)[0, :, 0], [0, 1, 100, 255])
    np.testing.assert_array_equal(decode(path, channels=3)[0, :, 2], [0, 1, 100, 255])


DEEP: dict[str, tuple[str, float, float, str]] = {
    "10 bits": (".png", 0, 1023, "u2"),
    "12 bits": (".png", 0, 4095, "u2"),
    "12 bits, big-endian": (".tif", 0, 4095, ">u2"),
    "12 bits above zero": (".tif", 1000, 5095, "u2"),
    "8 bits in 32": (".tif", 0, 255, "i4"),
    "below zero": (".tif", -1024, 3071, "i4"),
    "8 bits as floats": (".tif", 0, 255, "f4"),
    "shares": (".tif", 0, 1, "f4"),
}
"""Suffix, lowest and highest grey value, type."""


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_range_brings_all_grey_levels_back(kind: str, channels: int, tmp_path: Path) -> None:
    suffix, low, high, dtype = DEEP[kind]
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    values = low + levels.astype(np.float64) * (high - low) / 255
    path = tmp_path / f"x{suffix}"
    Image.fromarray((values if dtype == "f4" else np.rint(values)).astype(dtype)).save(path)
    access = Access(grey_range=(low, high))
    assert (decode(path, channels=channels, access=access) == levels[..., None]).all()
    found = grey_values(path, access=access)
    assert found is not None
    assert (found.low, found.high, found.clipped) == (low, high, 0)


def test_values_outside_of_the_range_are_clipped_and_counted(tmp_path: Path) -> None:
    values = np.full((10, 10), 2048, np.uint16)
    values[0, :5], values[1, :3] = 65535, 3
    path = save(tmp_path / "x.png", Image.fromarray(values))
    access = Access(grey_range=(1000, 4095))
    pixels = decode(path, channels=1, access=access)[..., 0]
    assert (pixels[0, 0], pixels[1, 0], pixels[5, 5]) == (255, 0, round(255 * 1048 / 3095))
    found = grey_values(path, access=access)
    assert found is not None
    assert (found.low, found.high, found.clipped) == (3, 65535, 0.08)


def test_a_hot_pixel_of_many_does_not_decide_the_range(tmp_path: Path) -> None:
    values = np.tile(np.arange(200, 1200, dtype=np.uint16), (20, 1))
    values[3, 3], values[4, 4] = 65535, 0
    found = grey_values(save(tmp_path / "x.png", Image.fromarray(values)))
    assert found is not None
    assert (found.low, found.high) == (200, 1199)


def test_without_a_range_16_bits_are_what_they_were(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    path = save(tmp_path / "x.png", Image.fromarray(values))
    plain = decode(path, channels=1)
    assert (plain[..., 0] == (values.astype(np.int64) + 128) // 257).all()
    assert (decode(path, channels=1, access=Access(grey_range=(0, 65535))) == plain).all()


def test_a_range_changes_nothing_of_8_bits(tmp_path: Path) -> None:
    for mode in ("L", "RGB", "P", "LA"):
        path = save(tmp_path / f"{mode}.png", Image.fromarray(gradient()).convert(mode))
        plain = decode(path, channels=3)
        assert (decode(path, channels=3, access=Access(grey_range=(0, 4095))) == plain).all()
        assert grey_values(path) is None


def test_values_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "x.tiff", Image.fromarray(np.array([[0, np.nan]], np.float32)))
    with pytest.raises(ImageError, match="some grey values are not numbers"):
        decode(path, channels=1, access=Access(grey_range=(0, 1)))


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[:, :2] = (*RED, 255)
    rgba[:, 2:4] = (*RED, 128)
    rgba[:, 4:] = (0, 0, 0, 0)
    expected = [RED, (255, 127, 127), (255, 255, 255)]
    path = save(tmp_path / "rgba.png", Image.fromarray(rgba))
    np.testing.assert_array_equal(decode(path, channels=3)[0, ::2], expected)
    palette = Image.new("P", (6, 4), 1)
    palette.putpalette([*RED, *BLUE])
    palette.paste(0, (0, 0, 3, 4))
    path = save(tmp_path / "p.png", palette, transparency=1)
    np.testing.assert_array_equal(decode(path, channels=3)[0, [0, 5]], [RED, (255, 255, 255)])
    grey = Image.fromarray(np.full((4, 4, 2), (10, 0), np.uint8), mode=None)
    assert grey.mode == "LA"
    assert (decode(save(tmp_path / "la.png", grey), channels=1) == 255).all()


def test_cmyk_and_other_modes_become_rgb(tmp_path: Path) -> None:
    cmyk = save(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=95)
    assert np.abs(decode(cmyk, channels=3).astype(int) - (254, 0, 0)).max() < 12
    bits = save(tmp_path / "b.png", Image.new("1", (8, 8), 1))
    assert (decode(bits, channels=3) == 255).all()
    grey = save(tmp_path / "g.png", Image.new("L", (8, 8), 77))
    np.testing.assert_array_equal(decode(grey, channels=3)[3, 3], (77, 77, 77))
    colour = save(tmp_path / "c.png", Image.new("RGB", (8, 8), GREEN))
    assert decode(colour, channels=1).shape == (8, 8, 1)
    assert decode(colour, channels=1)[0, 0, 0] == 150  # luma of pure green


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(path, channels=3)[0, 0], RED)


def test_colour_profile_is_applied_and_a_damaged_one_ignored(tmp_path: Path) -> None:
    pixels = Image.new("RGB", (8, 8), (200, 100, 50))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in {"srgb": srgb, "damaged": b"not a profile", "cut": srgb[:200]}.items():
        path = save(tmp_path / f"{name}.png", pixels, icc_profile=profile)
        np.testing.assert_array_equal(decode(path, channels=3)[0, 0], (200, 100, 50))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    path = save(tmp_path / "other-space.png", pixels, icc_profile=lab)
    np.testing.assert_array_equal(decode(path, channels=3)[0, 0], (200, 100, 50))
    # A profile whose red and blue primaries are swapped turns the colours round.
    swapped = bytearray(srgb)
    red, blue = srgb.index(b"rXYZ"), srgb.index(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    renamed = bytes(swapped).replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    path = save(tmp_path / "swapped.png", pixels, icc_profile=renamed)
    shown = decode(path, channels=3)[0, 0].astype(int)
    assert np.abs(shown - (50, 100, 200)).max() <= 2


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be used, with a word that their reason must have."""
    whole = encode(gradient(), "jpg")
    png = encode(gradient(), "png")
    files: dict[str, tuple[bytes, str]] = {
        "empty.png": (b"", "empty"),
        "text.png": (b"this is not an image\n" * 20, "not an image"),
        "cut.jpg": (whole[: len(whole) // 2], "cut short"),
        "cut.png": (png[: len(png) // 2], "cut short"),
        "start.png": (png[:20], "damaged"),
    }
    made = {name: (folder / name, word) for name, (_, word) in files.items()}
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    floats = save(folder / "float.tiff", Image.fromarray(np.ones((4, 4), np.float32)))
    return {
        **made,
        "missing": (folder / "missing.png", "does not exist"),
        "folder": (folder / "folder.png", "folder"),
        "pipe": (folder / "pipe.png", "regular file"),
        "float": (floats, r"from 1\.0 to 1\.0, which are not those of 16 bits; train with images\.range"),
    }


def test_every_failure_names_the_file_and_the_reason(tmp_path: Path) -> None:
    for path, word in broken_files(tmp_path).values():
        with pytest.raises(ImageError, match=word) as caught:
            decode(path, size=(16, 16), channels=3)
        assert str(caught.value).startswith(f"{path}: ")
        with pytest.raises(ImageError):
            verify(path)
        if not path.name.startswith(("cut", "float")):  # Their headers are whole.
            with pytest.raises(ImageError, match=word):
                upright_size(path)


def test_damaged_bytes_give_pixels_or_an_image_error_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(0)
    path = tmp_path / "a"
    for image_format in IMAGE_FORMATS:
        whole = encode(gradient(), image_format)
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(8):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            path.write_bytes(damaged)
            try:
                assert decode(path, size=(16, 16), channels=3).shape == (16, 16, 3)
            except ImageError as error:
                assert str(path) in str(error)  # noqa: PT017 - either outcome is right


def test_too_many_pixels_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("L", (400, 300)))
    with pytest.raises(ImageError, match="too large: 400 x 300 pixels"):
        decode(path, channels=1, access=Access(max_pixels=119_999))
    assert decode(path, channels=1, access=Access(max_pixels=120_000)).shape == (300, 400, 1)
    for read in READERS:
        with pytest.raises(ImageError, match="too large: 400 x 300 pixels"):
            read(path, access=Access(max_pixels=119_999))
    bomb = save(tmp_path / "bomb.png", Image.new("1", (20_000, 20_000)))
    with pytest.raises(ImageError, match="too large"):
        decode(bomb, size=(8, 8), channels=1)


def announced(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header announces any number of grey pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_a_bomb_is_recognised_by_its_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    for width, height in ((2**31 - 1, 2**31 - 1), (178_956_971, 1), (1, 2**31 - 1), (50_000, 50_000)):
        path.write_bytes(announced(width, height))
        for read in READERS:
            with pytest.raises(ImageError, match="too large"):
                read(path)


def test_more_pixels_than_pillow_allows_can_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # of the whole process: put back in the end
    path = save(tmp_path / "a.png", Image.new("L", (40, 30)))
    with pytest.raises(ImageError, match="too large"):
        decode(path, channels=1, access=Access(max_pixels=200))
    assert Image.MAX_IMAGE_PIXELS == 100
    assert decode(path, channels=1, access=Access(max_pixels=1200)).shape == (30, 40, 1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 4001)])
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp"])
def test_one_pixel_and_extreme_proportions(shape: tuple[int, int], suffix: str, tmp_path: Path) -> None:
    height, width = shape
    path = save(tmp_path / f"a.{suffix}", Image.new("RGB", (width, height), (200, 60, 60)))
    assert decode(path, channels=3).shape == (height, width, 3)
    assert upright_size(path) == shape
    for size in ((16, 16), (5, 40), (1, 1)):
        out = decode(path, channels=3, size=size)
        assert out.shape == (*size, 3)
        assert np.abs(out.astype(int) - (200, 60, 60)).max() <= 12
        assert decode(path, channels=3, size=size, crop=1).shape == (*size, 3)


def test_polyglots_are_images_and_nothing_else_survives(tmp_path: Path) -> None:
    payload = b"<script>alert(1)</script>PK\x05\x06" + bytes(18)
    for image_format in IMAGE_FORMATS:
        path = tmp_path / "page.html"
        path.write_bytes(encode(gradient(), image_format) + payload)
        pixels = decode(path, channels=3)
        assert pixels.shape == (48, 64, 3)
        for written in IMAGE_FORMATS:
            assert b"script" not in encode(pixels, written)
    comment = BytesIO()
    Image.fromarray(gradient()).save(comment, format="JPEG", comment=payload)
    path.write_bytes(comment.getvalue())
    assert b"script" in path.read_bytes()
    assert b"script" not in encode(decode(path, channels=3), "jpg")
    for script in (
        b"#!/bin/sh\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"<svg xmlns='x'/>",
        b"GIF89a",
    ):
        path.write_bytes(script)
        with pytest.raises(ImageError):
            decode(path, channels=3)


def test_further_frames_are_noticed(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        several = save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
        assert verify(several), name
        assert np.abs(decode(several, channels=3)[0, 0].astype(int) - RED).max() <= 12
        assert not verify(save(tmp_path / f"one-{name}", frames[0])), name
    photo = save(tmp_path / "a.mpo", frames[0], save_all=True, append_images=frames[1:])
    assert not verify(photo)
    assert np.abs(decode(photo, channels=3)[0, 0].astype(int) - RED).max() <= 12


def test_a_copy_has_the_suffix_of_an_image(tmp_path: Path) -> None:
    cases: tuple[tuple[str, ImageFormat, str], ...] = (
        ("a.PNG", "png", ".png"),
        ("a.jpeg", "jpg", ".jpeg"),
        ("a.html", "png", ".png"),
        ("a.php.jpg.exe", "jpg", ".jpg"),
        ("a.\n", "webp", ".webp"),
        (f"a.{'x' * 200}", "jpg", ".jpg"),
        ("bare", "png", ".png"),
    )
    for name, image_format, suffix in cases:
        path = tmp_path / name
        path.write_bytes(encode(gradient(), image_format))
        assert usual_suffix(path) == suffix
    (tmp_path / "page.html").write_text("<html>")
    with pytest.raises(ImageError, match="not an image"):
        usual_suffix(tmp_path / "page.html")


def test_files_elsewhere_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    path = save(tmp_path / "a.png", Image.fromarray(gradient()))
    access = Access(folders=(tmp_path / "inside",))
    for read in READERS:
        with pytest.raises(ImageError, match="--allow-outside") as caught:
            read(path, access=access)
        assert str(caught.value).startswith(f"{path}: it leads out of the manifest's folder")


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_encode_is_deterministic_and_read_back(image_format: ImageFormat, channels: int, tmp_path: Path) -> None:
    pixels = gradient()[:, :, :channels]
    data = encode(pixels, image_format)
    assert encode(pixels.copy(), image_format) == data
    back = decode_bytes(data, channels=channels)
    assert back.shape == pixels.shape
    worst = {"png": 0, "jpg": 40, "webp": 80}[image_format]  # the third channel jumps from 255 to 0
    assert np.abs(back.astype(int) - pixels).max() <= worst
    path = tmp_path / f"a.{image_format}"
    path.write_bytes(data)
    np.testing.assert_array_equal(decode(path, channels=channels), back)
    small = decode_bytes(data, channels=channels, size=(12, 12))
    np.testing.assert_array_equal(decode(path, channels=channels, size=(12, 12)), small)
    with Image.open(BytesIO(data)) as image:
        assert image.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[image_format]


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_holds_what_encode_returns(image_format: ImageFormat, channels: int, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"longer than the image" * 10_000)  # what a killed run may have left
    pixels = gradient()[:, :, :channels]
    content = encode_file(str(path), pixels, image_format)
    assert content == encode(pixels, image_format) == path.read_bytes()


def test_encode_refuses_what_is_not_an_image() -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode(np.zeros((4, 4, 2), np.uint8), "png")
    with pytest.raises(ValueError, match="uint8"):
        encode(np.zeros((4, 4, 3), np.float32), "png")


def test_decode_bytes_reports_damage() -> None:
    with pytest.raises(ImageError, match="in memory"):
        decode_bytes(b"nothing", channels=3)
