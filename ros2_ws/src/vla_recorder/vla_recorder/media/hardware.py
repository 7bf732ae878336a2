# SPDX-License-Identifier: Apache-2.0

"""Hardware encoders: which of them work on this machine is found by encoding, because a build of FFmpeg lists them all."""

from __future__ import annotations

import argparse
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from vla_recorder.media.settings import ENCODERS, HARDWARE, HARDWARE_CODECS, VideoError, VideoSettings, overridden
from vla_recorder.media.video import VideoEncoder, decode

_PROBE_SIZE = (480, 640)
_PROBE_FRAMES = 6
_CLOSE_ENOUGH = 12.0
"""Mean error of a decoded probe image [levels]; an encoder that returns noise or black is no encoder."""


def attempt(settings: VideoSettings) -> str:
    """Encode some images and decode them; return why it does not work, empty if it does."""
    height, width = _PROBE_SIZE
    ramp = np.linspace(0, 200, width, dtype=np.uint8)
    images = [np.repeat(np.tile(ramp + 5 * n, (height, 1))[:, :, None], 3, axis=2) for n in range(_PROBE_FRAMES)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.mp4"
        try:
            with VideoEncoder(path, height=height, width=width, fps=30, settings=settings) as encoder:
                for image in images:
                    encoder.add(image)
            decoded = list(decode(path))
        except VideoError as error:
            # What follows the semicolon is advice to somebody who asked for this encoder.
            return str(error).removeprefix(f"{path}: ").partition(";")[0]
    if len(decoded) != len(images):
        return f"{len(decoded)} of {len(images)} images came back"
    worst = max(float(np.abs(a.astype(int) - b).mean()) for a, b in zip(images, decoded, strict=True))
    return "" if worst <= _CLOSE_ENOUGH else f"images come back wrong (mean error {worst:.0f} of 255)"


@cache
def probe_hardware() -> dict[str, str]:
    """Return hardware codec -> why it does not work here, empty if it does, in the order of preference."""
    return {name: attempt(VideoSettings(vcodec=name, gop=2, crf=23)) for name in HARDWARE_CODECS}


def hardware_settings() -> VideoSettings:
    """Return the settings of the first hardware encoder that works.

    Raises:
        VideoError: None works; the text lists what was tried.
    """
    tried = probe_hardware()
    for name, reason in tried.items():
        if not reason:
            return VideoSettings(vcodec=name, gop=2, crf=23)
    listed = "; ".join(f"{name}: {reason}" for name, reason in tried.items())
    raise VideoError(
        f"--encoder {HARDWARE}: no hardware encoder works on this machine. Tried {listed}. Use --encoder fast, which needs "
        "no hardware"
    )


def encoder_settings(arguments: argparse.Namespace) -> VideoSettings:
    """Return the settings that the options of `vla_recorder.media.settings.add_encoder_arguments` ask for.

    Raises:
        VideoError: A number is out of range, or no hardware encoder works.
    """
    base = hardware_settings() if arguments.encoder == HARDWARE else ENCODERS[arguments.encoder]
    return overridden(base, arguments)
