# SPDX-License-Identifier: Apache-2.0

"""The Python environment: interpreter, venv, pinned packages, repairs and stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from base import ROOT, STATE, VENV, SetupError, run, sourced_ros

UV_VERSION = "0.13.8"


def is_python312(candidate: str) -> bool:
    """Whether `candidate` runs and is CPython 3.12 with the venv module."""
    try:
        probe = [candidate, "-c", "import sys, venv, ensurepip; print(sys.version_info[:2] == (3, 12))"]
        return subprocess.run(probe, capture_output=True, text=True, timeout=30).stdout.strip() == "True"
    except (OSError, subprocess.TimeoutExpired):
        return False


def find_python() -> str | None:
    """Python 3.12 from VLA_PYTHON, PATH, pyenv or the usual places; None where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"
    candidates = [os.environ.get("VLA_PYTHON", ""), shutil.which("python3.12") or "", shutil.which("python3") or ""]
    candidates += [str(p / "bin" / "python3.12") for p in sorted(pyenv.glob("3.12*"), reverse=True)]
    candidates += ["/usr/bin/python3.12", "/usr/local/bin/python3.12", "/opt/homebrew/bin/python3.12"]
    return next((c for c in candidates if c and is_python312(c)), None)


def uv_command() -> list[str] | None:
    """The `uv` installer, fetched into .uv if necessary; None where it cannot be had (pip is used then)."""
    own = ROOT / ".uv" / "uv"
    if not own.exists():
        target = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--upgrade",
            "--target",
            str(ROOT / ".uv" / "lib"),
            f"uv=={UV_VERSION}",
        ]
        try:
            (ROOT / ".uv").mkdir(exist_ok=True)
            run(target, "uv")
        except SetupError:
            found = shutil.which("uv")
            return [found] if found else None
        binary = ROOT / ".uv" / "lib" / "bin" / "uv"
        own.symlink_to(binary)
    return [str(own)]


def make_venv() -> None:
    """Make .venv with Python 3.12: the system's, pyenv's, or one that uv fetches."""
    if VENV.exists():
        shutil.rmtree(VENV)
    python = find_python()
    flags = ["--system-site-packages"] if sourced_ros() else []
    if python:
        run([python, "-m", "venv", *flags, str(VENV)], "venv")
        return
    uv = uv_command()
    if uv:
        try:
            run([*uv, "venv", "--system-certs", "--seed", "--python", "3.12", *flags, str(VENV)], "venv")
            return
        except SetupError:
            pass  # no network for a Python download: the message below says what to do
    raise SetupError(
        "no Python 3.12 found (PATH, pyenv, /usr/bin), and none could be fetched. ROS 2 Jazzy's wheels need exactly 3.12. "
        "Install it (Ubuntu 24.04: sudo apt-get install python3.12-venv; elsewhere: pyenv install 3.12) or name one with "
        "VLA_PYTHON=/path/to/python3.12, then run this again."
    )


def requirements() -> Path:
    """The lock file to install: all of it, or without what a sourced ROS 2 brings."""
    lock = ROOT / "setup" / "requirements.lock"
    if not sourced_ros():
        return lock
    # "ros-jazzy-…" are the names that were asked for, "ros-…" the wheels behind them; two ROS in one process do not work
    kept = [line for line in lock.read_text().splitlines() if not line.startswith("ros-")]
    path = STATE / "requirements.sourced_ros.lock"
    path.write_text("\n".join(kept) + "\n")
    return path


def install_packages() -> None:
    """Install the pinned packages into .venv."""
    uv, python, lock = uv_command(), str(VENV / "bin" / "python"), str(requirements())
    if uv:
        try:
            # compiled at once: every ROS and torch process starts in half the time
            options = ["-q", "--compile-bytecode", "--system-certs", "--python", python]
            run([*uv, "pip", "install", *options, "-r", lock], "packages")
            return
        except SetupError:
            print(" (uv failed, trying pip)", end="", flush=True, file=sys.stderr)
    run([python, "-m", "pip", "install", "-q", "-r", lock], "packages")


def finish_environment() -> None:
    """Repair the wheels' CMake files and register the stand-ins for what PyPI lacks of ROS 2."""
    python = str(VENV / "bin" / "python")
    if not sourced_ros():
        run([python, str(ROOT / "setup" / "repair_wheels.py")], "environment")
    site = next((VENV / "lib").glob("python3.12/site-packages"))
    # .pth entries come last on sys.path, so any real package wins over a stand-in of the same name
    (site / "zz_ros2_pip.pth").write_text(f"{ROOT / 'ros2_pip' / 'src'}\n")
    run([python, str(ROOT / "setup" / "make_ros2_command.py")], "environment")
