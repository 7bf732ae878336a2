# SPDX-License-Identifier: Apache-2.0

"""System libraries: what is missing, and installing it with apt where that is allowed."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
from pathlib import Path

from base import SetupError, run


def _has_mesa() -> bool:
    """Whether a GL driver is present: Mesa's software one, or a vendor's EGL."""
    patterns = ("usr/lib/*/dri/*swrast*", "usr/lib/*/dri/*_dri.so", "usr/lib/*/libgallium*", "usr/lib/*/libEGL_nvidia*")
    return any(next(Path("/").glob(pattern), None) for pattern in patterns)


# what the set-up needs of the system, how to see that it is there, and the Debian/Ubuntu package that brings it
SYSTEM = (
    ("C and C++ compiler", lambda: bool(shutil.which("cc") and shutil.which("c++")), ("build-essential",)),
    ("EGL (headless rendering)", lambda: bool(ctypes.util.find_library("EGL")), ("libegl1", "libegl-mesa0")),
    ("Mesa drivers (headless rendering)", lambda: _has_mesa(), ("libgl1-mesa-dri",)),
    ("OpenGL", lambda: bool(ctypes.util.find_library("GL")), ("libgl1",)),
    ("FFmpeg libraries (video decoding)", lambda: bool(ctypes.util.find_library("avcodec")), ("ffmpeg",)),
)


def missing_system() -> list[str]:
    """Debian packages for what the system lacks, in order."""
    wanted: list[str] = []
    for _, present, packages in SYSTEM:
        if not present():
            wanted.extend(packages)
    return wanted


def install_system() -> None:
    """Install missing system packages with apt where that is allowed without a question, else say the line to run."""
    packages = missing_system()
    if not packages:
        return
    line = f"sudo apt-get update && sudo apt-get install -y {' '.join(packages)}"
    what = ", ".join(name for name, present, _ in SYSTEM if not present())
    if not shutil.which("apt-get"):
        raise SetupError(
            f"missing on this system: {what}. Install them with your package manager (on Debian/Ubuntu: {line})."
        )
    prefix: list[str] = []
    if os.geteuid() != 0:
        if not shutil.which("sudo") or subprocess.call(["sudo", "-n", "true"], stderr=subprocess.DEVNULL) != 0:
            raise SetupError(
                f"missing on this system: {what}, and this user may not install packages. Run:\n    {line}"
            )
        prefix = ["sudo", "-n"]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run([*prefix, "apt-get", "update", "-qq"], "system", env)
    run([*prefix, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], "system", env)
    still = missing_system()
    if still:
        raise SetupError(f"apt-get installed {' '.join(packages)}, yet these are still not found: {' '.join(still)}.")
