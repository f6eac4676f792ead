"""The label grid: every image is where it belongs, unsmoothed, and the headings fit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from augmentor.images import Pixels
from augmentor.images.grid import elide, label_grid, wrap_heading

FONT = ImageFont.load_default(13)


def flat(colour: tuple[int, ...], side: int = 48) -> Pixels:
    return np.full((side, side, len(colour)), colour, np.uint8)


def count(page: Pixels, colour: tuple[int, int, int]) -> int:
    return int((page == colour).all(axis=-1).sum())


def test_images_are_enlarged_by_whole_pixels_and_in_order() -> None:
    rows = [[flat((200, 0, 0)), flat((0, 200, 0))], [flat((0, 0, 200)), flat((90,))]]
    page = label_grid(rows, columns=["source", "hair=blond"])
    assert page.dtype == np.uint8
    places = {}
    for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)):
        assert count(page, colour) == 96 * 96  # 48 px twice
        ys, xs = np.nonzero((page == colour).all(axis=-1))
        assert np.ptp(ys) == np.ptp(xs) == 95
        places[colour] = (ys.min(), xs.min())
    assert places[200, 0, 0][0] == places[0, 200, 0][0] < places[0, 0, 200][0]
    assert places[200, 0, 0][1] == places[0, 0, 200][1] < places[0, 200, 0][1]


def test_labels_and_headings_of_any_length_are_drawn_in_time() -> None:
    for text in ("x" * 2_000_000, "a=b," * 100_000, "line\nend\r\x1b[2J \U0001f469\u202e", ""):
        page = label_grid([[flat((200, 0, 0))]], columns=[text], row_labels=[text])
        assert count(page, (200, 0, 0)) == 96 * 96
        assert page.shape[1] < 400


def test_no_smoothing() -> None:
    board = np.zeros((2, 2, 3), np.uint8)
    board[0, 0] = board[1, 1] = (255, 0, 0)
    page = label_grid([[board]], columns=[""], scale=10)
    assert count(page, (255, 0, 0)) == 200
    assert count(page, (0, 0, 0)) == 200


def test_inputs_are_set_apart() -> None:
    row = [flat((200, 0, 0)), flat((0, 200, 0)), flat((0, 0, 200))]
    page = label_grid([row], columns=["a", "b", "c"])
    red, green, blue = (np.nonzero((page == c).all(axis=-1))[1] for c in ((200, 0, 0), (0, 200, 0), (0, 0, 200)))
    assert green.min() - red.max() > blue.min() - green.max() > 0


def test_missing_images_are_empty_boxes_and_sizes_may_differ() -> None:
    page = label_grid([[flat((200, 0, 0), 96), None], [flat((0, 200, 0), 32)]], columns=["a", "b"])
    assert count(page, (200, 0, 0)) == 96 * 96
    assert count(page, (0, 200, 0)) == 32 * 32
    assert count(page, (243, 244, 246)) == 2 * 96 * 96
    assert (page[0] == 255).all()
    assert (page[:, -1] == 255).all()


def test_text_is_drawn_and_does_not_touch_the_images() -> None:
    bare = label_grid([[flat((200, 0, 0))]], columns=[""])
    named = label_grid([[flat((200, 0, 0))]], columns=["hair=blond, male=0"], row_labels=["00012"])
    assert (bare < 128).all(axis=-1).sum() == 0
    assert (named < 128).all(axis=-1).sum() > 50
    assert count(named, (200, 0, 0)) == 96 * 96
    assert named.shape[0] > bare.shape[0]
    assert named.shape[1] > bare.shape[1]


def test_headings_wrap_at_commas_first() -> None:
    assert wrap_heading("hair=blond, male=0", FONT, 90) == ["hair=blond,", "male=0"]
    assert wrap_heading("hair=blond, male=0", FONT, 400) == ["hair=blond, male=0"]
    assert wrap_heading("", FONT, 90) == []
    for line in wrap_heading("a_long_attribute=a_long_value, " * 8, FONT, 96):
        assert FONT.getlength(line) <= 96


def test_elided_text_fits_and_keeps_both_ends() -> None:
    shorter = elide("portrait-of-somebody-00012", FONT, 100)
    assert FONT.getlength(shorter) <= 100
    assert shorter.startswith("port")
    assert shorter.endswith("012")
    assert elide("short", FONT, 100) == "short"


def test_wrong_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="1 columns"):
        label_grid([[None, None]], columns=["a"])
    with pytest.raises(ValueError, match="row labels"):
        label_grid([[None]], columns=["a"], row_labels=[])
    assert label_grid([], columns=["a"]).ndim == 3
