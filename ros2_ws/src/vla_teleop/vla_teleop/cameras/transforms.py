# SPDX-License-Identifier: Apache-2.0

"""Where cameras sit, as static transforms: the file that calibrations write and launch files publish.

``camera_transforms.yaml`` has the form of the profile's ``cameras`` section, so a profile may also take it over::

    cameras:
      wrist:
        mount: {parent: tool0, child: wrist_camera_link, xyz: [0.0, 0.095, 0.055], rpy: [0.0, -1.1, 1.57]}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import pose_matrix, rotation_from_rpy
from vla_core.profile_cameras import camera_mount
from vla_core.rotations import rpy_from_rotation
from vla_core.specs import MountSpec
from vla_core.yamltree import Section, entries, parse

from vla_teleop.cameras.errors import CameraError
from vla_teleop.cameras.settings import write_atomically

Array = NDArray[np.float64]
Edges = Mapping[str, tuple[str, Array]]
"""Static frames: child to its parent and its pose ``(4, 4)`` in the parent."""


def mount_of(parent: str, child: str, T: Array) -> MountSpec:
    """Return a mount from a pose ``(4, 4)`` of child in parent."""
    x, y, z = (round(float(v), 7) for v in T[:3, 3])
    roll, pitch, yaw = (round(float(v), 8) for v in rpy_from_rotation(T[:3, :3]))
    return MountSpec(parent=parent, child=child, xyz=(x, y, z), rpy=(roll, pitch, yaw))


def pose_of(mount: MountSpec) -> Array:
    """Return the pose ``(4, 4)`` of a mount's child in its parent."""
    return pose_matrix(mount.xyz, rotation_from_rpy(mount.rpy))


def mount_from_optical(parent: str, optical: str, T_parent_optical: Array, static: Edges) -> tuple[MountSpec, bool]:
    """Return the mount that puts an optical frame where a calibration found it.

    A frame has one parent. Where a driver publishes the camera's inner frames, the mount therefore places the root of
    those (``<camera>_link``) and not the optical frame.

    Args:
        parent: Frame that carries the camera.
        optical: Frame of the images.
        T_parent_optical: Calibrated pose ``(4, 4)``.
        static: Static frames that are published now.

    Returns:
        The mount, and whether somebody publishes that transform already (then it must be changed there).

    Raises:
        CameraError: the static frames form a circle.
    """
    root, T_root_optical = optical, np.eye(4)
    for _ in range(len(static) + 1):
        if root not in static:
            return mount_of(parent, root, T_parent_optical @ np.linalg.inv(T_root_optical)), False
        above, T_above_root = static[root]
        if above == parent:
            return mount_of(parent, root, T_parent_optical @ np.linalg.inv(T_root_optical)), True
        root, T_root_optical = above, T_above_root @ T_root_optical
    raise CameraError(f"the static frames above '{optical}' form a circle; see ros2 topic echo /tf_static")


def write_transforms(path: Path, mounts: Mapping[str, MountSpec], note: str) -> None:
    """Write mounts by camera name; cameras that the file has already are kept unless they are given anew.

    Raises:
        CameraError: the file cannot be written.
        ProfileError: what is there already is no such file.
    """
    kept = read_transforms(path) if path.exists() else {}
    lines = [f"# {note}", "cameras:"]
    for name, mount in {**kept, **mounts}.items():
        lines += [f"  {name}:", f"    mount: {_flow(mount)}"]
    write_atomically(path, "\n".join(lines) + "\n")


def write_profile(path: Path, profile: Path, mounts: Mapping[str, MountSpec]) -> None:
    """Write a profile that extends another one by the mounts.

    Raises:
        CameraError: the file cannot be written, or it would replace the profile that it extends.
    """
    if path.resolve() == profile.resolve():
        raise CameraError(f"{path}: a profile cannot extend itself; give the copy another name")
    lines = [f"extends: {profile.resolve()}", "cameras:"]
    for name, mount in mounts.items():
        lines += [f"  {name}:", f"    mount: {_flow(mount)}"]
    write_atomically(path, "\n".join(lines) + "\n")


def _flow(mount: MountSpec) -> str:
    xyz, rpy = ("[" + ", ".join(f"{value:.7f}" for value in values) + "]" for values in (mount.xyz, mount.rpy))
    return f"{{parent: {mount.parent}, child: {mount.child}, xyz: {xyz}, rpy: {rpy}}}"


def read_transforms(path: Path) -> dict[str, MountSpec]:
    """Return the mounts in a file, by camera name.

    Raises:
        CameraError: the file cannot be read.
        ProfileError: a wrong key or value, with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CameraError(
            f"{path}: cannot read the camera transforms: {error.strerror}; make them with: "
            "ros2 run vla_teleop calibrate_hand_eye --profile … --camera …"
        ) from error
    section = Section(parse(text, str(path)), ("cameras",))
    mounts = {}
    for name, tree in entries(section.child("cameras")).items():
        inner = Section(tree, ("mount",))
        mount = camera_mount(inner)
        if mount is None:
            raise inner.error("mount", "missing key; say where the camera sits")
        mounts[name] = mount
    return mounts
