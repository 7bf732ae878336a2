# SPDX-License-Identifier: Apache-2.0

"""Checks of this machine: versions, disk, memory, GPU, processor, serial ports, cameras. Writes one file and removes it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import NamedTemporaryFile

from vla_core.errors import listing
from vla_core.profile import Profile

from vla_bringup.doctor.findings import Finding, green, red, yellow

OURS = ("vla_core", "vla_common", "vla_recorder", "vla_policy", "vla_teleop", "vla_sim", "vla_bringup")
PYTHON = (3, 12)
DISTRO = "jazzy"
_GB = 1e9
_RED_FREE, _YELLOW_FREE = 1.0 * _GB, 20.0 * _GB
_RED_MEMORY, _YELLOW_MEMORY = 0.5 * _GB, 2.0 * _GB
_TEST_BYTES = 16 << 20
_RATE_WITHOUT_PROFILE = 60e6  # two raw cameras of 640x480 at 30 Hz [B/s]
_RESERVE = 1.5
_CUDA = "import torch; print(torch.cuda.is_available(), torch.version.cuda)"


@dataclass(frozen=True)
class Host:
    """The machine that is looked at.

    Attributes:
        root: Where ``/proc``, ``/sys`` and ``/dev`` are.
        env: Environment variables.
        timeout_s: Longest wait for a program that is asked [s].
    """

    root: Path = Path("/")
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    timeout_s: float = 60.0

    def read(self, path: str) -> str:
        """Return the content of a file below the root; empty where it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def ask(self, *command: str) -> str | None:
        """Return what a program prints; None where it is absent, fails or hangs."""
        program = shutil.which(command[0], path=self.env.get("PATH"))
        if program is None:
            return None
        try:
            done = subprocess.run(
                [program, *command[1:]], capture_output=True, text=True, timeout=self.timeout_s, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None


def judge_versions(host: Host, rmw: str) -> list[Finding]:
    """Return what is found about Python, ROS and packages.

    Args:
        host: This machine.
        rmw: Middleware in use.
    """
    found = [_python(), _flavour(host)]
    found.append(green("middleware", rmw))
    for name, use in (("lerobot", "policies and datasets"), ("torch", "policies"), ("mujoco", "the simulated cell")):
        number = package_version(name)
        found.append(
            green(name, number)
            if number
            else yellow(name, "is not installed", f"{use} need it: run setup/bootstrap.py in the repository")
        )
    missing = [name for name in OURS if not package_version(name)]
    if missing:
        remedy = "build the workspace: python setup/bootstrap.py, then source setup/enter.sh"
        found.append(red("workspace", f"{listing(missing)} not found", remedy))
    else:
        found.append(green("workspace", f"{len(OURS)} packages, version {package_version('vla_bringup')}"))
    return found


def package_version(name: str) -> str:
    """Return the version of an installed Python package; empty where it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _python() -> Finding:
    if sys.version_info[:2] == PYTHON:
        return green("python", platform.python_version())
    wanted = ".".join(map(str, PYTHON))
    return red("python", platform.python_version(), f"ROS 2 {DISTRO} is built for Python {wanted}: use that one")


def _flavour(host: Host) -> Finding:
    distro = host.env.get("ROS_DISTRO", "")
    sourced = f"/opt/ros/{distro}" in host.env.get("AMENT_PREFIX_PATH", "") if distro else False
    kinds = ["ROS of the distribution (apt)"] if sourced else ["ROS from PyPI wheels"]
    kinds += ["virtual environment"] if sys.prefix != sys.base_prefix else []
    kinds += ["container"] if (host.root / ".dockerenv").exists() or host.env.get("container") else []
    if distro and distro != DISTRO:
        remedy = f"source /opt/ros/{DISTRO}/setup.bash in a new terminal"
        return red("ROS", f"{distro}: {', '.join(kinds)}", remedy)
    return green("ROS", f"{distro or DISTRO}: {', '.join(kinds)}; {platform.platform(terse=True)}")


def judge_disk(folder: Path, profile: Profile | None) -> list[Finding]:
    """Return what is found about the disk where bags go.

    Args:
        folder: Of the bags; need not exist.
        profile: Its raw images are what must be written; None: two cameras of 640x480 at 30 Hz.
    """
    place = folder.expanduser().absolute()
    while not place.is_dir():
        place = place.parent
    free = shutil.disk_usage(place).free
    where, text = f"disk of {folder}", f"{free / _GB:.1f} GB are free"
    remedy = "free space, or record into another folder (output_dir:=…)"
    if free < _RED_FREE:
        return [red(where, f"{text}; recording needs {_RED_FREE / _GB:g} GB", remedy)]
    found = [yellow(where, text, remedy) if free < _YELLOW_FREE else green(where, text)]
    return [*found, _speed(place, where, profile)]


def data_rate(profile: Profile | None) -> float:
    """Return how much a recording of raw images writes [B/s]."""
    if profile is None:
        return _RATE_WITHOUT_PROFILE
    return sum(c.size[0] * c.size[1] * (2 if c.depth else 3) * c.rate_hz for c in profile.cameras)


def _speed(place: Path, where: str, profile: Profile | None) -> Finding:
    needed = data_rate(profile)
    try:
        with NamedTemporaryFile(dir=place, prefix=".doctor_") as file:
            block = os.urandom(1 << 20)
            began = time.monotonic()
            for _ in range(_TEST_BYTES >> 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            rate = _TEST_BYTES / (time.monotonic() - began)
    except OSError as error:
        return red(where, f"cannot write into {place}: {error.strerror}", "choose a folder of yours (output_dir:=…)")
    of = f"of {profile.robot}" if profile else "of two cameras 640x480"
    text = f"writes {rate / 1e6:.0f} MB/s now; raw images {of} need {needed / 1e6:.0f} MB/s"
    if rate < needed and profile is not None:
        return red(where, text, "record compressed images, or onto a faster disk (NVMe)")
    if rate < _RESERVE * needed:
        return yellow(where, text, "little is in reserve: record compressed images, or onto a faster disk")
    return green(where, text)


def judge_machine(host: Host) -> list[Finding]:
    """Return what is found about memory, processor and GPU."""
    return [_memory(host), _governor(host), *_gpu(host)]


def _memory(host: Host) -> Finding:
    rows = dict(row.split(":", 1) for row in host.read("proc/meminfo").splitlines() if ":" in row)
    free = float(rows.get("MemAvailable", "0 kB").split()[0]) * 1024
    total = float(rows.get("MemTotal", "0 kB").split()[0]) * 1024
    text = f"{free / _GB:.1f} of {total / _GB:.1f} GB are free"
    remedy = "end other programs; a policy of 0.5 billion parameters needs about 2 GB"
    if free < _RED_MEMORY:
        return red("memory", text, remedy)
    return yellow("memory", text, remedy) if free < _YELLOW_MEMORY else green("memory", text)


def _governor(host: Host) -> Finding:
    files = sorted((host.root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    names = {host.read(str(file.relative_to(host.root))) for file in files}
    text = f"{os.cpu_count()} cores, governor {', '.join(sorted(names)) or 'not told'}"
    if "powersave" in names:
        remedy = "control loops stumble when cores sleep: sudo cpupower frequency-set -g performance"
        return yellow("processor", text, remedy)
    return green("processor", text)


def _gpu(host: Host) -> list[Finding]:
    query = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    answer = host.ask(*query)
    if answer is None:
        if (host.root / "proc/driver/nvidia").exists() or list((host.root / "dev").glob("nvidia[0-9]*")):
            remedy = "repair the driver: sudo ubuntu-drivers install; in a container start it with --gpus all"
            return [red("GPU", "there is an NVIDIA GPU, but nvidia-smi does not answer", remedy)]
        return [green("GPU", "none; policies run on the processor (device:=cpu), or on another machine")]
    found = [green("GPU", "; ".join(answer.splitlines()))]
    if package_version("torch"):
        told = host.ask(sys.executable, "-c", _CUDA) or "no answer"
        if not told.startswith("True"):
            text = f"torch {package_version('torch')} does not use it (cuda available, version: {told})"
            remedy = "install the CUDA build of torch, and a driver that is new enough for it; see docs/how-to/train_on_a_gpu.md"
            found.append(red("GPU", text, remedy))
    return found


def judge_devices(host: Host) -> list[Finding]:
    """Return what is found about serial ports and video devices."""
    return [*_serial(host), *_video(host)]


def _serial(host: Host) -> list[Finding]:
    dev = host.root / "dev"
    ports = [path for pattern in ("ttyACM*", "ttyUSB*") for path in sorted(dev.glob(pattern))]
    if not ports:
        return [green("serial ports", "none (an SO-101 or a leader arm would be /dev/ttyACM*)")]
    denied = [port.name for port in ports if not os.access(port, os.R_OK | os.W_OK)]
    if denied:
        remedy = "sudo usermod -aG dialout $USER, then log out and in (a udev rule works too)"
        return [red("serial ports", f"no right to open {listing(denied)}", remedy)]
    names = {link.resolve().name: link.name for link in sorted((dev / "serial/by-id").glob("*"))}
    return [green("serial ports", listing([f"{port.name} ({names.get(port.name, 'no id')})" for port in ports]))]


def _video(host: Host) -> list[Finding]:
    videos = sorted((host.root / "dev").glob("video[0-9]*"))
    if not videos:
        return [green("cameras", "no /dev/video*")]
    denied = [video.name for video in videos if not os.access(video, os.R_OK | os.W_OK)]
    if denied:
        remedy = "sudo usermod -aG video $USER, then log out and in"
        return [red("cameras", f"no right to open {listing(denied)}", remedy)]
    busy = _holders(host, {str(video) for video in videos})
    found = [green("cameras", listing([video.name for video in videos]))]
    for name, holders in busy.items():
        text = f"{name} is open in {listing(holders)}, so no driver can start with it"
        found.append(yellow("cameras", text, "right if that is your driver; else end that program"))
    return found


def _holders(host: Host, devices: set[str]) -> dict[str, list[str]]:
    """Which processes have a device open; those of other users are not told to us."""
    found: dict[str, list[str]] = {}
    for link in host.root.glob("proc/[0-9]*/fd/*"):
        try:
            target = str(link.readlink())
        except OSError:
            continue  # the process ended, or is another user's
        if target in devices:
            number = link.parent.parent.name
            holder = f"{host.read(f'proc/{number}/comm') or 'process'} ({number})"
            if holder not in found.setdefault(Path(target).name, []):
                found[Path(target).name].append(holder)
    return found
