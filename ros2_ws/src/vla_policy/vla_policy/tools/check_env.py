# SPDX-License-Identifier: Apache-2.0

"""The command ``check_env``: whether this machine can train, and what to do where it cannot.

One line per part: ok, warning (it works, but slower or less) or error (it does not), with the remedy on the same line.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vla_policy.tools.check_env_facts import Facts, gather

OK, WARNING, ERROR = "ok", "warning", "error"
EXIT_OK, EXIT_ERROR = 0, 1
LEROBOT_FROM, LEROBOT_BELOW = (0, 6, 1), (0, 7)
PYTHON = (3, 12)
GB = 1024**3
_BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
_EXAMPLE = """\
examples:
  ros2 run vla_policy check_env
  ros2 run vla_policy check_env --device cuda --path outputs/runs --json
Without ROS: python -m vla_policy.tools.check_env
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One part: its name, ok, warning or error, what was found, and what to do (empty if ok)."""

    part: str
    level: str
    found: str
    remedy: str = ""


def check_python(facts: Facts, _device: str) -> Line:
    """Return whether the interpreter is of the tested version."""
    shown = ".".join(map(str, facts.python))
    if facts.python[:2] < PYTHON:
        return Line("python", ERROR, shown, "LeRobot needs Python 3.12: make the environment with python3.12 -m venv")
    if facts.python[:2] > PYTHON:
        return Line("python", WARNING, shown, "tested with 3.12; ROS 2 Jazzy's rclpy is built for 3.12 only")
    return Line("python", OK, shown)


def check_torch(facts: Facts, _device: str) -> Line:
    """Return whether torch loads."""
    if "error" in facts.torch:
        return Line("torch", ERROR, facts.torch["error"], "pip install 'lerobot[dataset,training]' brings torch")
    return Line("torch", OK, facts.torch["version"])


def check_device(facts: Facts, device: str) -> Line:
    """Return whether the wanted device is there; ``auto`` takes what there is."""
    torch = facts.torch
    if "error" in torch:
        return Line("device", ERROR, "unknown, torch does not load", "see torch")
    if torch["available"]:
        kind = f"ROCm {torch['hip']}" if torch["hip"] else f"CUDA {torch['cuda']}"
        names = ", ".join(f"{name} ({memory / GB:.0f} GB)" for name, memory in torch["devices"])
        return Line("device", OK, f"{kind}: {names}")
    found = "mps" if torch["mps"] else "cpu only"
    if device == "mps" and torch["mps"]:
        return Line("device", OK, found)
    remedy = _gpu_remedy(facts)
    if device in ("cuda", "mps"):
        return Line("device", ERROR, f"{found}, and --device {device} was asked for", remedy or "choose --device cpu")
    if remedy and device == "auto":
        return Line("device", WARNING, found, remedy)
    return Line("device", OK, found)


def _gpu_remedy(facts: Facts) -> str:
    """Return what makes torch see a GPU that the kernel shows; nothing without one."""
    if "nvidia" in facts.gpu_hints:
        if facts.torch["cuda"] is None:
            return "torch is a build without CUDA: pip install torch --index-url https://download.pytorch.org/whl/cu126"
        return "torch sees no GPU: compare the driver (nvidia-smi) with the CUDA of torch, " + str(facts.torch["cuda"])
    if "amd" in facts.gpu_hints:
        if facts.torch["hip"] is None:
            return (
                "torch is a build without ROCm: pip install torch --index-url https://download.pytorch.org/whl/rocm6.2"
            )
        return "torch sees no GPU: is the user in the groups render and video (rocminfo)?"
    return ""


def check_bfloat16(facts: Facts, _device: str) -> Line:
    """Return whether the device computes in bfloat16 itself."""
    if "error" in facts.torch:
        return Line("bfloat16", ERROR, "unknown, torch does not load", "see torch")
    if facts.torch["available"]:
        if facts.torch["bfloat16"]:
            return Line("bfloat16", OK, "yes, on the GPU")
        return Line("bfloat16", WARNING, "not on this GPU", "train with --precision float32")
    flags = [flag for flag in _BF16_FLAGS if flag in facts.cpu_flags]
    if flags:
        return Line("bfloat16", OK, f"yes, on the CPU ({', '.join(flags)})")
    return Line("bfloat16", WARNING, "emulated on this CPU, slower than float32", "train with --precision float32")


def check_lerobot(facts: Facts, _device: str) -> Line:
    """Return whether LeRobot is of the tested range."""
    wanted = "pip install 'lerobot[dataset,training]>=0.6.1,<0.7'"
    if facts.lerobot is None:
        return Line("lerobot", ERROR, "not installed", wanted)
    numbers = tuple(int(n) for n in re.findall(r"\d+", facts.lerobot)[:3])
    if not LEROBOT_FROM <= numbers < LEROBOT_BELOW:
        return Line("lerobot", ERROR, f"{facts.lerobot}, tested are 0.6.1 up to but not 0.7", wanted)
    return Line("lerobot", OK, facts.lerobot)


def check_torchcodec(facts: Facts, _device: str) -> Line:
    """Return whether the fast video decoder loads; PyAV is used where it does not."""
    if "error" in facts.torchcodec:
        remedy = "PyAV decodes instead, 1.4 to 2.5 times slower; torchcodec needs FFmpeg 4 to 7: apt install ffmpeg"
        return Line("torchcodec", WARNING, facts.torchcodec["error"], remedy)
    return Line("torchcodec", OK, facts.torchcodec["version"])


def check_encoder(facts: Facts, _device: str) -> Line:
    """Return which video encoders made a picture."""
    remedy = "pip install av brings FFmpeg with libsvtav1 and libx264"
    if "error" in facts.video:
        return Line("encoder", ERROR, f"PyAV: {facts.video['error']}", remedy)
    works = facts.video["encoders"]
    if not works:
        return Line("encoder", ERROR, "none of PyAV's encoders works", remedy)
    return Line("encoder", OK, ", ".join(works))


def check_ros(facts: Facts, _device: str) -> Line:
    """Return where rclpy comes from; training needs none."""
    if facts.ros is None:
        remedy = (
            "training and offline evaluation work without; for evaluate --sim and infer.launch.py run ./setup/enter.sh"
        )
        return Line("rclpy", WARNING, "absent", remedy)
    origin = "wheels" if facts.ros["wheel"] else "apt"
    return Line("rclpy", OK, f"from {origin}, {facts.ros['distro'] or 'ROS_DISTRO not set'}, {facts.ros['path']}")


def check_disk(facts: Facts, _device: str) -> Line:
    """Return whether checkpoints have room."""
    folder, _, free = facts.disk
    remedy = "free some, or write elsewhere: train --output DIR"
    return _size("disk", free, 2, 20, f"{free / GB:.1f} GB free in {folder}", remedy)


def check_memory(facts: Facts, _device: str) -> Line:
    """Return whether the machine has memory to train."""
    if facts.memory is None:
        return Line("memory", WARNING, "unknown", "/proc/meminfo cannot be read here; 8 GB are needed")
    total, available = facts.memory
    found = f"{available / GB:.1f} of {total / GB:.1f} GB available"
    return _size(
        "memory", available, 2, 8, found, "end other programs, or train with --workers 0 and a smaller --batch-size"
    )


def check_shared(facts: Facts, _device: str) -> Line:
    """Return whether decoding processes and ROS can share memory."""
    if facts.shared is None:
        return Line("shared memory", WARNING, "no /dev/shm", "train with --workers 0")
    remedy = "docker run --shm-size 2g; or train with --workers 0"
    return _size("shared memory", facts.shared[1], 0.03, 0.5, f"{facts.shared[1] / GB:.2f} GB free in /dev/shm", remedy)


def _size(part: str, free: int, least: float, enough: float, found: str, remedy: str) -> Line:
    level = ERROR if free < least * GB else WARNING if free < enough * GB else OK
    return Line(part, level, found, "" if level == OK else f"{enough:g} GB are good: {remedy}")


CHECKS: tuple[Callable[[Facts, str], Line], ...] = (
    check_python,
    check_torch,
    check_device,
    check_bfloat16,
    check_lerobot,
    check_torchcodec,
    check_encoder,
    check_ros,
    check_disk,
    check_memory,
    check_shared,
)


def lines_of(facts: Facts, device: str = "auto") -> list[Line]:
    """Return all lines; `device` is auto, cpu, cuda or mps."""
    return [check(facts, device) for check in CHECKS]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if there is an error.
    """
    parser = argparse.ArgumentParser(
        prog="ros2 run vla_policy check_env",
        description="Say whether this machine can train: one line per part, with the remedy.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda", "mps"),
        default="auto",
        help="device that must be there (default auto)",
    )
    parser.add_argument(
        "--path", type=Path, default=Path("outputs"), help="where runs are written (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(args)
    lines = lines_of(gather(arguments.path), arguments.device)
    failed = any(line.level == ERROR for line in lines)
    if arguments.json:
        sys.stdout.write(json.dumps({"ok": not failed, "checks": [asdict(line) for line in lines]}, indent=2) + "\n")
    else:
        for line in lines:
            sys.stdout.write(
                f"{line.level:<8}{line.part:<14}{line.found}{f'  -> {line.remedy}' if line.remedy else ''}\n"
            )
    return EXIT_ERROR if failed else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
