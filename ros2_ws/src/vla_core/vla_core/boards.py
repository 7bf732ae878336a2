# SPDX-License-Identifier: Apache-2.0

"""Calibration boards through OpenCV (`cv2.aruco`): ChArUco chessboards and grids of AprilTags.

Written as ``charuco:5x7:0.04:0.03`` (squares across x down, side of a square, side of a marker, in metres) or
``apriltag:4x6:0.04:0.01`` (tags across x down, side of a tag, gap between tags). A dictionary may follow:
``charuco:5x7:0.04:0.03:DICT_5X5_100``.

The frame of a board has its origin at the upper left corner of the first square or tag, x to the right, y down and z
into the board, as in OpenCV. Needs the package opencv-python-headless.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import VlaError, nearest_name

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]
KINDS = {"charuco": "DICT_4X4_50", "apriltag": "DICT_APRILTAG_36H11"}
"""Kinds of boards and the dictionary of each."""
FORM = "charuco:COLUMNSxROWS:SQUARE_M:MARKER_M[:DICTIONARY] or apriltag:COLUMNSxROWS:TAG_M:GAP_M[:DICTIONARY]"
_LARGEST = 100  # squares across or down
_KNOWN_BOARDS = {"charuco": "charuco:4x4:0.04:0.03", "apriltag": "apriltag:2x2:0.04:0.02"}
_KNOWN_SCALE, _KNOWN_MARGIN = 1500.0, 30  # pixels per metre, pixels


class BoardError(VlaError):
    """A calibration board that cannot be made from its description."""


@lru_cache
def _opencv() -> Any:
    """OpenCV, loaded with the first board: most programs that read a profile never see one."""
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise BoardError(
            f"calibration boards need OpenCV ({error}): pip install opencv-python-headless, or apt install python3-opencv"
        ) from error


@lru_cache
def _dictionaries() -> dict[str, str]:
    """Names of OpenCV's marker dictionaries by their upper case."""
    return {name.upper(): name for name in dir(_opencv().aruco) if name.startswith("DICT_")}


def _markers(name: str) -> Any:
    """A marker dictionary of OpenCV."""
    aruco = _opencv().aruco
    return aruco.getPredefinedDictionary(getattr(aruco, _dictionaries()[name.upper()]))


@dataclass(frozen=True)
class Board:
    """A calibration board.

    Attributes:
        kind: charuco or apriltag.
        columns: Squares or tags across.
        rows: Squares or tags down.
        size_m: Side of a square (charuco) or of a tag (apriltag).
        second_m: Side of a marker (charuco) or gap between tags (apriltag).
        dictionary: Name of the markers' dictionary in `cv2.aruco`.
    """

    kind: str
    columns: int
    rows: int
    size_m: float
    second_m: float
    dictionary: str

    @property
    def extent_m(self) -> tuple[float, float]:
        """Width and height of the pattern."""
        if self.kind == "charuco":
            return self.columns * self.size_m, self.rows * self.size_m
        pitch = self.size_m + self.second_m
        return self.columns * pitch - self.second_m, self.rows * pitch - self.second_m

    @property
    def points(self) -> int:
        """Number of points that a whole board shows."""
        inner = (self.columns - 1) * (self.rows - 1)
        return inner if self.kind == "charuco" else 4 * self.columns * self.rows

    @cached_property
    def _pattern(self) -> Any:
        aruco = _opencv().aruco
        kind = aruco.CharucoBoard if self.kind == "charuco" else aruco.GridBoard
        return kind((self.columns, self.rows), self.size_m, self.second_m, _markers(self.dictionary))

    @cached_property
    def _detector(self) -> Any:
        cv2 = _opencv()
        if not hasattr(cv2.aruco, "CharucoDetector"):
            raise BoardError(
                f"OpenCV {cv2.__version__} is too old to detect boards; 4.7 or newer is needed: "
                "pip install opencv-python-headless"
            )
        parameters = cv2.aruco.DetectorParameters()
        if self.kind == "charuco":
            return cv2.aruco.CharucoDetector(self._pattern, cv2.aruco.CharucoParameters(), parameters)
        # The other methods put the corners of a small tag up to a pixel inside or outside of it.
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_APRILTAG
        return cv2.aruco.ArucoDetector(self._pattern.getDictionary(), parameters)

    def image(self, pixels_per_m: float) -> Pixels:
        """Return the pattern, grey ``(H, W)``, without a margin."""
        width, height = (round(length * pixels_per_m) for length in self.extent_m)
        pattern: Pixels = self._pattern.generateImage((width, height), marginSize=0, borderBits=1)
        return pattern

    def detect(self, image: Pixels) -> tuple[Array, Array]:
        """Return the points that an image shows.

        Args:
            image: Colour ``(H, W, 3)`` or grey ``(H, W)``.

        Returns:
            Points of the board ``(n, 3)`` [m, board frame] and where they are ``(n, 2)`` [pixels, centres of pixels at
            whole numbers]; n is 0 where no board is seen.
        """
        points, pixels = self._detect(image)
        return points, pixels - _first_pixel(self.kind)

    def _detect(self, image: Pixels) -> tuple[Array, Array]:
        """As `detect`, with pixels counted as OpenCV does."""
        cv2 = _opencv()
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
        if self.kind == "charuco":
            corners, ids, _, _ = self._detector.detectBoard(grey)
            if ids is None or len(ids) == 0:
                return np.zeros((0, 3)), np.zeros((0, 2))
            known = np.asarray(self._pattern.getChessboardCorners(), dtype=np.float64)[ids.ravel()]
            return known, np.asarray(corners, dtype=np.float64).reshape(-1, 2)
        found, ids, _ = self._detector.detectMarkers(grey)
        if ids is None or len(ids) == 0:
            return np.zeros((0, 3)), np.zeros((0, 2))
        known, seen = self._pattern.matchImagePoints(found, ids)
        if known is None:
            return np.zeros((0, 3)), np.zeros((0, 2))
        return np.asarray(known, dtype=np.float64).reshape(-1, 3), np.asarray(seen, dtype=np.float64).reshape(-1, 2)


@lru_cache
def _first_pixel(kind: str) -> float:
    """Where OpenCV's detector says the centre of the first pixel is: at 0.0, where intrinsics have it, or at 0.5.

    Both detectors of OpenCV 4.13 count from the corner of the first pixel: a sharp corner between pixels 99 and 100 is
    found at 100.0. Uncorrected this turns a calibrated camera by half a pixel. As versions differ, it is looked up in a
    picture whose corners are known.
    """
    board = parse_board(_KNOWN_BOARDS[kind])
    image = np.pad(board.image(_KNOWN_SCALE), _KNOWN_MARGIN, constant_values=255)
    points, pixels = board._detect(np.asarray(_opencv().GaussianBlur(image, (0, 0), 1.0), dtype=np.uint8))
    known = points[:, :2] * _KNOWN_SCALE + _KNOWN_MARGIN - 0.5
    return round(2.0 * float(np.mean(pixels - known))) / 2.0


def parse_board(text: str) -> Board:
    """Return the board that a text describes (see the module).

    Raises:
        BoardError: not of that form, sizes that do not fit, or more markers than the dictionary has.
    """
    words = text.split(":")
    if words[0] not in KINDS:
        raise BoardError(
            f"board '{text}': '{words[0]}' is no kind of board{nearest_name(words[0], KINDS)}; write {FORM}"
        )
    try:
        _, grid, size, second, *rest = words
        columns, rows = (int(part) for part in grid.split("x"))
        size_m, second_m = float(size), float(second)
        (dictionary,) = rest or [KINDS[words[0]]]
    except ValueError:
        raise BoardError(f"board '{text}' cannot be read; write {FORM}, for example charuco:5x7:0.04:0.03") from None
    board = Board(words[0], columns, rows, size_m, second_m, dictionary)
    _check(board, text)
    return board


def _check(board: Board, text: str) -> None:
    least = 2 if board.kind == "charuco" else 1
    if not (least <= board.columns <= _LARGEST and least <= board.rows <= _LARGEST):
        raise BoardError(f"board '{text}': {board.columns}x{board.rows} is not between {least} and {_LARGEST} each way")
    if not (board.second_m > 0.0 and 0.0 < board.size_m < 2.0):
        raise BoardError(f"board '{text}': sizes are in metres and larger than 0, such as 0.04")
    if board.kind == "charuco" and board.second_m >= board.size_m:
        raise BoardError(
            f"board '{text}': a marker of {board.second_m:g} m does not fit into a square of {board.size_m:g} m"
        )
    if board.dictionary.upper() not in _dictionaries():
        near = nearest_name(board.dictionary.upper(), _dictionaries())
        raise BoardError(f"board '{text}': OpenCV has no dictionary '{board.dictionary}'{near}")
    words = _markers(board.dictionary)
    count = board.columns * board.rows
    markers = count // 2 if board.kind == "charuco" else count
    if markers > len(words.bytesList):
        raise BoardError(
            f"board '{text}' has {markers} markers, but {board.dictionary} has {len(words.bytesList)} only; "
            "name a larger dictionary, such as DICT_5X5_250"
        )
