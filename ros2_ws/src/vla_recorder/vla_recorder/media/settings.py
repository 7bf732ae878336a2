# SPDX-License-Identifier: Apache-2.0

"""How images become video: one frozen set of settings, presets of it by name, and their command-line options."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from vla_core.errors import VlaError

CODECS = {
    "h264": "libx264",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "h264_nvenc": "h264_nvenc",
    "hevc_nvenc": "hevc_nvenc",
    "av1_nvenc": "av1_nvenc",
    "h264_videotoolbox": "h264_videotoolbox",
    "hevc_videotoolbox": "hevc_videotoolbox",
    "h264_qsv": "h264_qsv",
    "hevc_qsv": "hevc_qsv",
    "h264_vaapi": "h264_vaapi",
    "hevc_vaapi": "hevc_vaapi",
}
"""Names that ``--vcodec`` takes -> FFmpeg encoder."""

SOFTWARE_CODECS = ("h264", "hevc", "av1")
HARDWARE_CODECS = tuple(name for name in CODECS if name not in SOFTWARE_CODECS)

PIXEL_FORMATS = ("auto", "yuv444p", "yuv420p")
DEPTH_MODES = ("video", "image")

DEPTH_PIX_FMT = "gray12le"
DEPTH_GOP = 2
DEPTH_SPEED = "ultrafast"
DEPTH_MIN_M = 0.01
DEPTH_MAX_M = 10.0
DEPTH_SHIFT_M = 3.5
"""Depth video is lossless 12-bit HEVC on LeRobot's logarithmic scale (see `vla_recorder.media.depth`)."""

FULL_CHROMA_BELOW_PX = 256
"""Short side below which ``auto`` keeps the chroma planes whole: halving them costs 7 to 14 dB on small images with
sharp coloured edges, and decoding stays as quick."""

_SPEEDS = {"h264": "ultrafast", "hevc": "ultrafast", "av1": "12", "nvenc": "p4", "qsv": "veryfast"}
_FULL_CHROMA = ("h264", "hevc")
_MAX_CRF = {"h264": 51, "hevc": 51, "av1": 63}


_HEVC_SMALLEST_PX = 64
"""One coding tree block; images of 40 or 48 px corrupt the heap with 4:4:4 chroma (x265 of PyAV 15.1)."""


class VideoError(VlaError):
    """A video could not be written or does not hold what was put in."""


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise VideoError(f"{name}: {value!r} is not one of {', '.join(allowed)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """How frames are encoded. The defaults are the preset ``fast``.

    Attributes:
        vcodec: A key of ``CODECS``.
        pix_fmt: One of ``PIXEL_FORMATS``; ``auto`` decides by the size of the image.
        gop: Frames per key frame; 2 makes random access quick, which is how training reads.
        crf: Constant rate factor of the encoder (hardware: constant quantiser); lower is better.
        preset: Speed preset of the encoder; empty takes the codec's quick one.
        depth: How depth cameras are stored: ``video`` (12 bit, logarithmic) or ``image`` (lossless, in the rows).
    """

    vcodec: str = "h264"
    pix_fmt: str = "auto"
    gop: int = 2
    crf: int = 18
    preset: str = ""
    depth: str = "video"

    def __post_init__(self) -> None:
        _one_of("vcodec", self.vcodec, tuple(CODECS))
        _one_of("pix_fmt", self.pix_fmt, PIXEL_FORMATS)
        _one_of("depth", self.depth, DEPTH_MODES)
        if self.gop < 1:
            raise VideoError(f"gop: {self.gop} is below 1; give the number of frames per key frame")
        most = _MAX_CRF[self.family]
        if not 0 <= self.crf <= most:
            raise VideoError(
                f"crf: {self.crf} is outside 0..{most} of {self.vcodec}; 18 is visually lossless for h264, 30 is usual for av1"
            )
        if not self.preset:
            # Frozen: the default depends on the codec, so it can only be filled in here.
            object.__setattr__(self, "preset", _SPEEDS.get(self.vcodec) or _SPEEDS.get(self.api, ""))

    @property
    def family(self) -> str:
        """What a decoder needs: ``h264``, ``hevc`` or ``av1``."""
        return self.vcodec.partition("_")[0]

    @property
    def api(self) -> str:
        """Hardware interface: ``nvenc``, ``qsv``, ``vaapi``, ``videotoolbox``, or empty for software."""
        return self.vcodec.partition("_")[2]

    @property
    def encoder(self) -> str:
        """Name of the FFmpeg encoder."""
        return CODECS[self.vcodec]

    def pixel_format(self, height: int, width: int) -> str:
        """Return the pixel format for images of this size [px].

        Raises:
            VideoError: The size cannot be encoded in the pixel format, or the codec has no such format.
        """
        if self.vcodec == "hevc" and min(height, width) < _HEVC_SMALLEST_PX:
            raise VideoError(
                f"images of {height}x{width} px cannot be stored as hevc: libx265 writes outside its memory below "
                f"{_HEVC_SMALLEST_PX} px; use --vcodec h264, or a larger `resize` for the camera in the profile"
            )
        chosen = self.pix_fmt
        if chosen == "auto":
            small = min(height, width) < FULL_CHROMA_BELOW_PX and self.vcodec in _FULL_CHROMA
            chosen = "yuv444p" if small else "yuv420p"
        if chosen == "yuv444p" and self.vcodec not in _FULL_CHROMA:
            raise VideoError(
                f"pix_fmt: {self.vcodec} has no yuv444p here; use --pix-fmt yuv420p, or --vcodec {' or '.join(_FULL_CHROMA)}"
            )
        if chosen == "yuv420p" and (height % 2 or width % 2):
            raise VideoError(
                f"images of {height}x{width} px cannot be stored as yuv420p, which needs an even height and width: "
                "set an even `resize` for the camera in the profile, or use --pix-fmt yuv444p"
            )
        return chosen

    def options(self) -> dict[str, str]:
        """Return the encoder's private options."""
        common = {"g": str(self.gop)}
        # Without B frames packets come out in display order with no offset, so joined files keep exact stamps.
        if self.vcodec == "h264":
            return common | {"crf": str(self.crf), "preset": self.preset, "bf": "0"}
        if self.vcodec == "hevc":
            # open-gop=0: a decoder that is sent to an open key frame may drop what follows it in a joined file.
            quiet = f"bframes=0:open-gop=0:log-level=error:keyint={self.gop}"
            return common | {"crf": str(self.crf), "preset": self.preset, "x265-params": quiet}
        if self.vcodec == "av1":
            # lp=1: the same bytes with a tenth less CPU time; the encoder's own threads would only fight over the cores.
            return common | {"crf": str(self.crf), "preset": self.preset, "svtav1-params": "lp=1"}
        common["bf"] = "0"
        if self.api == "nvenc":
            return common | {"rc": "constqp", "qp": str(self.crf), "preset": self.preset}
        if self.api == "qsv":
            return common | {"global_quality": str(self.crf), "preset": self.preset}
        if self.api == "vaapi":
            return common | {"qp": str(self.crf)}
        return common | {"q:v": str(max(1, 100 - 2 * self.crf))}


ENCODERS = {
    "lerobot": VideoSettings(vcodec="av1", pix_fmt="yuv420p", gop=2, crf=30, preset="12"),
    "archive": VideoSettings(vcodec="av1", gop=30, crf=18, preset="8"),
    "fast": VideoSettings(),
}
"""Presets of ``--encoder`` by name; ``hardware`` is found by trying (see `vla_recorder.media.hardware`).

``lerobot`` is what LeRobot itself writes; ``archive`` keeps more and takes longer to write and to read at random;
``fast`` takes the least CPU time to write and to read.
"""

HARDWARE = "hardware"
ENCODER_NAMES = (*ENCODERS, HARDWARE)

_OVERRIDES = ("vcodec", "pix_fmt", "gop", "crf", "preset")


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--encoder``, its overrides and ``--depth`` to a command line.

    `vla_recorder.media.hardware.encoder_settings` reads them.
    """
    group = parser.add_argument_group("video")
    group.add_argument(
        "--encoder",
        choices=ENCODER_NAMES,
        default="fast",
        help="preset: lerobot (AV1 as LeRobot writes it), archive (more quality, smaller, slow to write and to seek), fast "
        "(H.264, least CPU), hardware (the first hardware encoder that works here)",
    )
    group.add_argument("--vcodec", choices=tuple(CODECS), help="codec instead of the preset's")
    group.add_argument(
        "--pix-fmt",
        choices=PIXEL_FORMATS,
        help="pixel format instead of the preset's; auto keeps the full colour resolution of small images",
    )
    group.add_argument("--gop", type=int, help="frames per key frame instead of the preset's; few read quickly")
    group.add_argument("--crf", type=int, help="quality instead of the preset's; lower is better and larger")
    group.add_argument("--preset", help="speed preset of the codec, for example veryfast (h264) or 8 (av1)")
    group.add_argument(
        "--depth",
        choices=DEPTH_MODES,
        default="video",
        help="depth cameras: video (12 bit on a logarithmic scale, small) or image (lossless, in the rows)",
    )


def overridden(base: VideoSettings, arguments: argparse.Namespace) -> VideoSettings:
    """Return a preset with the overrides of the command line.

    Raises:
        VideoError: A number is out of range.
    """
    given = {name: value for name in _OVERRIDES if (value := getattr(arguments, name)) is not None}
    if "vcodec" in given and given["vcodec"] != base.vcodec:
        # Quality numbers and speed names mean something else in another codec.
        crf = 30 if given["vcodec"].startswith("av1") else 18
        base = VideoSettings(vcodec=given["vcodec"], gop=base.gop, crf=crf)
    return replace(base, **given, depth=arguments.depth)
