# SPDX-License-Identifier: Apache-2.0

"""Calibration boards: descriptions, patterns, and where the points of a picture are found."""

import cv2
import numpy as np
import pytest
from vla_core.boards import BoardError, parse_board

BOARDS = ["charuco:5x7:0.04:0.03", "apriltag:4x6:0.03:0.01"]


def picture(board, pixels_per_m, margin=50):
    image = cv2.copyMakeBorder(board.image(pixels_per_m), *[margin] * 4, cv2.BORDER_CONSTANT, value=255)
    return cv2.GaussianBlur(image, (0, 0), 1.0)


@pytest.mark.parametrize("text", BOARDS)
def test_every_point_of_a_flat_picture_is_found_to_a_tenth_of_a_pixel(text):
    board = parse_board(text)
    points, pixels = board.detect(picture(board, 2000))
    assert len(points) == board.points
    # the pattern starts at the left edge of pixel 50, half a pixel before its centre
    errors = pixels - (points[:, :2] * 2000 + 50 - 0.5)
    assert np.abs(errors.mean(axis=0)).max() < 0.03
    assert np.abs(errors).max() < 0.15


@pytest.mark.parametrize("text", BOARDS)
def test_a_covered_board_gives_the_points_that_are_seen_and_colour_is_as_good_as_grey(text):
    board = parse_board(text)
    image = picture(board, 2000)
    whole = {tuple(np.round(point, 6)) for point in board.detect(image)[0]}
    image[: image.shape[0] // 2] = 128
    points, pixels = board.detect(np.repeat(image[..., None], 3, axis=2))
    assert 0 < len(points) < board.points
    assert {tuple(np.round(point, 6)) for point in points} < whole
    assert pixels[:, 1].min() > image.shape[0] // 2


@pytest.mark.parametrize("text", BOARDS)
def test_no_board_is_no_points(text):
    points, pixels = parse_board(text).detect(np.full((120, 160), 200, np.uint8))
    assert points.shape == (0, 3)
    assert pixels.shape == (0, 2)


def test_the_pattern_has_its_size():
    assert parse_board("charuco:5x7:0.04:0.03").extent_m == pytest.approx((0.20, 0.28))
    assert parse_board("apriltag:4x6:0.03:0.01").extent_m == pytest.approx((0.15, 0.23))
    assert parse_board("charuco:5x7:0.04:0.03").image(1000).shape == (280, 200)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "charucco:5x7:0.04:0.03",
            "'charucco' is no kind of board; did you mean 'charuco'?; write charuco:COLUMNSxROWS",
        ),
        ("charuco:5x7:0.04", "cannot be read; write charuco:COLUMNSxROWS:SQUARE_M:MARKER_M"),
        ("charuco:5by7:0.04:0.03", "cannot be read"),
        ("charuco:1x7:0.04:0.03", "1x7 is not between 2 and 100 each way"),
        ("charuco:5x7:0.03:0.04", "a marker of 0.04 m does not fit into a square of 0.03 m"),
        ("charuco:5x7:40:30", "sizes are in metres"),
        ("charuco:5x7:0.04:0.03:DICT_4X4_5", "OpenCV has no dictionary 'DICT_4X4_5'; did you mean 'DICT_4X4_50'?"),
        ("charuco:20x20:0.04:0.03", "has 200 markers, but DICT_4X4_50 has 50 only; name a larger dictionary"),
    ],
)
def test_a_description_that_makes_no_board_is_refused(text, message):
    with pytest.raises(BoardError) as caught:
        parse_board(text)
    assert message in str(caught.value)
