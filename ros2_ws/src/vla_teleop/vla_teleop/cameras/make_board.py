# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_teleop make_board``: a calibration board to print, at exact scale."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from vla_core.boards import FORM, Board, BoardError, parse_board

from vla_teleop.cameras.paper import pdf, png

EXIT_OK, EXIT_USAGE = 0, 2
PAPERS = {"a4": (0.210, 0.297), "a3": (0.297, 0.420), "a2": (0.420, 0.594), "letter": (0.2159, 0.2794)}
_MARGIN_M = 0.01  # white around the pattern, without which the outer markers are not found
_EXAMPLE = """examples:
  ros2 run vla_teleop make_board --board charuco:5x7:0.036:0.027 --output board.pdf --paper a4
  ros2 run vla_teleop make_board --board apriltag:4x6:0.035:0.009 --output board.png

Print at 100 % ("actual size"), glue it on a flat plate, and measure a square: give the size that you measure to
calibrate_hand_eye.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="make_board",
        description="Write a ChArUco board or a grid of AprilTags as PNG or PDF at exact scale.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--board", required=True, help=FORM)
    result.add_argument("--output", type=Path, required=True, help="file to write, .png or .pdf")
    result.add_argument(
        "--paper", choices=[*PAPERS, "board"], default="board", help="size of the PDF page (the board's)"
    )
    result.add_argument("--dpi", type=float, default=600.0, help="resolution [dots per inch] (600)")
    return result


def _page(board: Board, paper: str) -> tuple[float, float]:
    """Width and height of the page, upright or across as the board needs it."""
    width, height = (length + 2 * _MARGIN_M for length in board.extent_m)
    if paper == "board":
        return width, height
    for page in (PAPERS[paper], PAPERS[paper][::-1]):
        if width <= page[0] and height <= page[1]:
            return page
    raise BoardError(
        f"the board with its white margin is {width * 1e3:.0f} x {height * 1e3:.0f} mm and does not fit on {paper} "
        f"({PAPERS[paper][0] * 1e3:.0f} x {PAPERS[paper][1] * 1e3:.0f} mm); take smaller squares or larger paper"
    )


def _write(arguments: argparse.Namespace) -> str:
    board = parse_board(arguments.board)
    pixels_per_m = arguments.dpi / 0.0254
    image = board.image(pixels_per_m)
    page = _page(board, arguments.paper)
    suffix = arguments.output.suffix.lower()
    caption = (
        f"{arguments.board}  pattern {board.extent_m[0] * 1e3:.2f} x {board.extent_m[1] * 1e3:.2f} mm, print at 100 %"
    )
    if suffix == ".pdf":
        data = pdf(image, board.extent_m, page, caption)
    elif suffix == ".png":
        margin = round(_MARGIN_M * pixels_per_m)
        data = png(np.pad(image, margin, constant_values=255), pixels_per_m)
    else:
        raise BoardError(f"{arguments.output}: the name must end in .png or .pdf")
    arguments.output.write_bytes(data)
    return caption


def main(args: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser().parse_args(args)
    try:
        caption = _write(arguments)
    except (BoardError, OSError) as error:
        print(f"make_board: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(f"{arguments.output}: {caption}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
