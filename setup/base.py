# SPDX-License-Identifier: Apache-2.0

"""What the set-up steps share: places, hashes, running a command with a log, whether a ROS 2 is sourced."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".state"
VENV = ROOT / ".venv"
WORKSPACE = ROOT / "ros2_ws"


class SetupError(Exception):
    """A step could not be done; the text says what, why and what to do."""


def digest(*parts: str) -> str:
    """A short hash of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def file_digest(paths: list[Path]) -> str:
    """A hash of names and contents."""
    return digest(*(f"{p.relative_to(ROOT)}:{hashlib.sha256(p.read_bytes()).hexdigest()}" for p in sorted(paths)))


def external_prefixes() -> list[Path]:
    """Ament prefixes of a ROS 2 installation that is sourced in this shell; our own ones are left out."""
    own = (str(VENV), str(WORKSPACE))
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return [Path(p) for p in prefixes if not os.path.realpath(p).startswith(own)]


def sourced_ros() -> bool:
    """True when a ROS 2 installation (apt, Docker image, source build) is already sourced."""
    return any((p / "share" / "rclpy" / "package.xml").is_file() for p in external_prefixes())


def run(command: list[str], log: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> None:
    """Run a command with its output in .state/<log>.log.

    Raises:
        SetupError: the command failed; the text shows the end of its output.
    """
    path = STATE / f"{log}.log"
    with path.open("ab") as out:
        out.write(f"\n$ {' '.join(command)}\n".encode())
        out.flush()
        code = subprocess.call(
            command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, cwd=str(cwd)
        )
    if code != 0:
        tail = "\n".join(path.read_text(errors="replace").splitlines()[-25:])
        raise SetupError(
            f"`{' '.join(command)}` failed with exit code {code}. The end of {path.relative_to(ROOT)}:\n{tail}"
        )
