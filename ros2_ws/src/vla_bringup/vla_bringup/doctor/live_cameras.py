# SPDX-License-Identifier: Apache-2.0

"""Judging the cameras of a running graph: pictures that stand still, size and encoding, locked exposure."""

from __future__ import annotations

from itertools import groupby, pairwise
from pathlib import Path

from vla_core.codecs import codec
from vla_core.errors import CodecError
from vla_core.profile import Profile
from vla_core.specs import CameraSpec
from vla_teleop.cameras.errors import CameraError
from vla_teleop.cameras.settings import DRIVERS, SettingsFile, different, read_settings

from vla_bringup.doctor.findings import Finding, green, red, yellow
from vla_bringup.doctor.samples import Graph, Sample

_FROZEN = 5  # equal pictures in a row; sensors are never quiet enough for two
_GAP = 1.5  # periods


def judge_cameras(profile: Profile, graph: Graph, settings_file: str | None) -> list[Finding]:
    """Return what is found about the cameras.

    Args:
        profile: Of the robot.
        graph: What was seen.
        settings_file: Settings that the cameras must have; None: only automatic modes are looked for.
    """
    found = []
    for camera in profile.cameras:
        samples = graph.taps[camera.topic].samples
        where = f"camera '{camera.name}'"
        if samples:
            found += [_size(camera, graph, where), *_info(camera, graph, where)]
            found += [*_frozen(samples, graph, where), *_gaps(camera, samples, where)]
    return [*found, *_settings(profile, graph, settings_file)]


def _size(camera: CameraSpec, graph: Graph, where: str) -> Finding:
    last = graph.taps[camera.topic].last
    decode = codec(camera.type).image
    if decode is None:
        return green(where, f"{camera.type}: video packets, their size is checked when they are decoded")
    try:
        picture = decode(last)
    except CodecError as error:
        return red(where, f"its images cannot be read: {error}", "correct the driver's format, or the camera's type")
    (height, width), encoding = picture.shape[:2], getattr(last, "encoding", "") or getattr(last, "format", "")
    wanted_h, wanted_w = camera.size
    if (height, width) != (wanted_h, wanted_w):
        text = f"images are {width}x{height}, but the profile says {wanted_w}x{wanted_h}"
        return red(where, text, "set the driver's profile (e.g. rgb_camera.color_profile), or `size: [height, width]`")
    if camera.depth != (picture.ndim == 2):
        kind = "depth" if camera.depth else "colour"
        return red(where, f"encoding {encoding} is no {kind}", "name the right topic, or set `depth` in the profile")
    return green(where, f"{width}x{height}, {encoding}")


def _info(camera: CameraSpec, graph: Graph, where: str) -> list[Finding]:
    info = graph.taps[camera.info_topic].last if camera.info_topic else None
    if info is None or (info.height, info.width) == camera.size:
        return []
    text = f"camera_info says {info.width}x{info.height}, but the profile says {camera.size[1]}x{camera.size[0]}"
    return [red(where, text, "name the camera_info of the same stream in `info_topic`")]


def _frozen(samples: list[Sample], graph: Graph, where: str) -> list[Finding]:
    if graph.sim_time:
        return []  # where nothing moves, pictures of a simulation are equal
    runs = [len(list(group)) for _, group in groupby(samples, key=lambda sample: sample.content)]
    remedy = "unplug and plug the camera, restart its driver; look for a driver that repeats its last image"
    if runs[-1] >= _FROZEN:
        return [red(where, f"frozen: the last {runs[-1]} images are identical though their stamps go on", remedy)]
    if max(runs) >= _FROZEN:
        return [yellow(where, f"stood still for {max(runs)} images", remedy)]
    return []


def _gaps(camera: CameraSpec, samples: list[Sample], where: str) -> list[Finding]:
    stamps = [sample.stamp_ns for sample in samples if sample.stamp_ns]
    steps = [(after - before) * 1e-9 for before, after in pairwise(stamps)]
    gaps = [step for step in steps if step > _GAP / camera.rate_hz]
    if not gaps:
        return []
    text = f"{len(gaps)} gaps between {len(stamps)} images, the longest {max(gaps) * 1e3:.0f} ms"
    remedy = (
        "images are missing: USB bandwidth (one camera per controller), long exposure, a busy machine, or lost by DDS "
        "(see the stream's line)"
    )
    return [yellow(where, text, remedy)]


def _settings(profile: Profile, graph: Graph, settings_file: str | None) -> list[Finding]:
    saved: SettingsFile | None = None
    if settings_file:
        try:
            saved = read_settings(Path(settings_file).expanduser())
        except CameraError as error:
            return [red("camera settings", str(error), "make them anew, or name another file")]
    return [
        _exposure(camera, graph.parameters[camera.name], saved)
        for camera in profile.cameras
        if camera.name in graph.parameters
    ]


def _exposure(camera: CameraSpec, values: object, saved: SettingsFile | None) -> Finding:
    where = f"exposure of camera '{camera.name}'"
    calibrate = "ros2 run vla_teleop calibrate_cameras --auto --profile …, then start with camera_settings:=FILE"
    if not isinstance(values, dict):
        return yellow(where, f"unknown: {values}", f"name the driver's node in cameras.{camera.name}.node, or start it")
    automatic = [name for name, word in DRIVERS[camera.settings].automatic.items() if values.get(name) is word]
    if automatic:
        return yellow(where, f"automatic ({', '.join(automatic)}), so brightness differs between sessions", calibrate)
    block = saved.cameras.get(camera.name) if saved else None
    if saved and block is None:
        return red(where, "the settings file does not have this camera", calibrate)
    wrong = different(block.parameters, values) if block else {}
    if wrong:
        text = "; ".join(f"{name} is {now}, saved was {wanted}" for name, (wanted, now) in wrong.items())
        return red(where, text, "start with camera_settings:=FILE, which applies and watches them")
    if not values:
        return yellow(where, f"node '{camera.node}' has none of the settings of {camera.settings}", calibrate)
    return green(where, "locked, as saved" if block else "locked")
