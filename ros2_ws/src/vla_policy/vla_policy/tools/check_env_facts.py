# SPDX-License-Identifier: Apache-2.0

"""What a machine offers for training: gathered without importing ROS, torch or a codec into this process.

Libraries that are slow to load, or that end the process when they are broken, are tried in child processes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROBE_TIMEOUT_S = 180.0
_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps({
    "version": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip, "available": cuda,
    "devices": [[torch.cuda.get_device_name(i), torch.cuda.get_device_properties(i).total_memory]
                for i in range(torch.cuda.device_count())] if cuda else [],
    "bfloat16": bool(cuda and torch.cuda.is_bf16_supported()), "mps": torch.backends.mps.is_available()}))
"""
_TORCHCODEC = """
import json, torchcodec, torchcodec.decoders
print(json.dumps({"version": torchcodec.__version__}))
"""
_ENCODERS = """
import json, av, numpy
frame = av.VideoFrame.from_ndarray(numpy.zeros((64, 64, 3), numpy.uint8), format="rgb24").reformat(format="yuv420p")
works = []
for name in ("libsvtav1", "libx264", "h264_nvenc"):
    try:
        with av.open("/dev/null", "w", format="mp4") as out:
            stream = out.add_stream(name, rate=10)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            packets = stream.encode(frame) + stream.encode(None)
        works.append(name)
    except (av.error.FFmpegError, ValueError, OSError):
        pass
print(json.dumps({"version": av.__version__, "encoders": works}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found; sizes in bytes, None for what is absent.

    Attributes:
        python: Version of the interpreter.
        torch: What torch says of itself, or ``error``.
        torchcodec: Its ``version``, or ``error``.
        video: PyAV's ``version`` and the ``encoders`` that made a picture, or ``error``.
        lerobot: Version of the package.
        ros: ``distro``, ``path`` of rclpy and whether it comes from a ``wheel``; None without ROS.
        cpu_flags: Features of the processor, in the kernel's words.
        gpu_hints: Devices that the kernel shows: ``nvidia``, ``amd``.
        memory: Total and available memory.
        shared: Total and free shared memory (/dev/shm).
        disk: Folder that is written to, its total and free space.
    """

    python: tuple[int, int, int]
    torch: dict[str, Any]
    torchcodec: dict[str, Any]
    video: dict[str, Any]
    lerobot: str | None
    ros: dict[str, Any] | None
    memory: tuple[int, int] | None
    shared: tuple[int, int] | None
    disk: tuple[str, int, int]
    cpu_flags: frozenset[str] = field(default_factory=frozenset)
    gpu_hints: tuple[str, ...] = ()


def gather(folder: Path) -> Facts:
    """Return the facts of this machine; takes as long as torch takes to load.

    Args:
        folder: Where runs will be written; its nearest existing parent is measured.
    """
    return Facts(
        python=sys.version_info[:3],
        torch=probe("torch", _TORCH),
        torchcodec=probe("torchcodec", _TORCHCODEC),
        video=probe("av", _ENCODERS),
        lerobot=_version("lerobot"),
        ros=_ros(),
        memory=_memory(Path("/proc/meminfo")),
        shared=_space(Path("/dev/shm")),
        disk=_disk(folder),
        cpu_flags=_cpu_flags(Path("/proc/cpuinfo")),
        gpu_hints=tuple(
            name for name, device in (("nvidia", "/dev/nvidiactl"), ("amd", "/dev/kfd")) if Path(device).exists()
        ),
    )


def probe(package: str, code: str) -> dict[str, Any]:
    """Return what a child process prints as JSON, or ``{"error": its last line}``.

    Args:
        package: Whose absence is found out without starting one.
        code: Python that prints one line of JSON.
    """
    if importlib.util.find_spec(package) is None:
        return {"error": "not installed"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"did not load within {PROBE_TIMEOUT_S:.0f} s"}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        return {"error": last}
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return dict(answer)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ros() -> dict[str, Any] | None:
    found = importlib.util.find_spec("rclpy")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent
    return {"distro": os.environ.get("ROS_DISTRO"), "path": str(path), "wheel": "site-packages" in path.parts}


def _memory(file: Path) -> tuple[int, int] | None:
    try:
        lines = dict(line.split(":", 1) for line in file.read_text(encoding="ascii").splitlines() if ":" in line)
        return int(lines["MemTotal"].split()[0]) * 1024, int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return None


def _cpu_flags(file: Path) -> frozenset[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return frozenset(line.partition(":")[2].split())


def _space(folder: Path) -> tuple[int, int] | None:
    if not folder.is_dir():
        return None
    usage = shutil.disk_usage(folder)
    return usage.total, usage.free


def _disk(folder: Path) -> tuple[str, int, int]:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    usage = shutil.disk_usage(existing)
    return str(existing), usage.total, usage.free
