# SPDX-License-Identifier: Apache-2.0

"""Set up what this checkout lacks: Python environment, packages, system libraries, the built workspace.

Standard library only, any Python >= 3.8, because it runs before anything is installed. Every step has a fingerprint of its
inputs; a step runs when its fingerprint, or that of an earlier step, differs from the one stored after its last success. So
an interrupted run goes on where it stopped, and a complete one returns at once and needs no network.

    setup/bootstrap.py            set up what is missing
    setup/bootstrap.py --check    say what is missing, change nothing; exit code 1 if anything is
"""

import argparse
import ctypes.util
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".state"
VENV = ROOT / ".venv"
WORKSPACE = ROOT / "ros2_ws"
INTERFACES = ROOT / "ros2_pip" / "interfaces"
UV_VERSION = "0.13.8"
# what the set-up needs of the system, how to see that it is there, and the Debian/Ubuntu package that brings it
SYSTEM = (
    ("C and C++ compiler", lambda: bool(shutil.which("cc") and shutil.which("c++")), ("build-essential",)),
    ("EGL (headless rendering)", lambda: bool(ctypes.util.find_library("EGL")), ("libegl1", "libegl-mesa0")),
    ("Mesa drivers (headless rendering)", lambda: _has_mesa(), ("libgl1-mesa-dri",)),
    ("OpenGL", lambda: bool(ctypes.util.find_library("GL")), ("libgl1",)),
    ("FFmpeg libraries (video decoding)", lambda: bool(ctypes.util.find_library("avcodec")), ("ffmpeg",)),
)


class SetupError(Exception):
    """A step could not be done; the text says what, why and what to do."""


class Step(NamedTuple):
    """One step: its name, the fingerprint of its inputs, and what to do when that has changed."""

    name: str
    fingerprint: Callable[[], str]
    action: Callable[[], None]


def _has_mesa() -> bool:
    """Whether a GL driver is present: Mesa's software one, or a vendor's EGL."""
    patterns = ("usr/lib/*/dri/*swrast*", "usr/lib/*/dri/*_dri.so", "usr/lib/*/libgallium*", "usr/lib/*/libEGL_nvidia*")
    return any(next(Path("/").glob(pattern), None) for pattern in patterns)


def digest(*parts: str) -> str:
    """A short hash of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def file_digest(paths: List[Path]) -> str:
    """A hash of names and contents."""
    return digest(*(f"{p.relative_to(ROOT)}:{hashlib.sha256(p.read_bytes()).hexdigest()}" for p in sorted(paths)))


def external_prefixes() -> List[Path]:
    """Ament prefixes of a ROS 2 installation that is sourced in this shell; our own ones are left out."""
    own = (str(VENV), str(WORKSPACE))
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return [Path(p) for p in prefixes if not os.path.realpath(p).startswith(own)]


def sourced_ros() -> bool:
    """True when a ROS 2 installation (apt, Docker image, source build) is already sourced."""
    return any((p / "share" / "rclpy" / "package.xml").is_file() for p in external_prefixes())


def run(command: List[str], log: str, env: Optional[Dict[str, str]] = None, cwd: Path = ROOT) -> None:
    """Run a command with its output in .state/<log>.log.

    Raises:
        SetupError: the command failed; the text shows the end of its output.
    """
    path = STATE / f"{log}.log"
    with path.open("ab") as out:
        out.write(f"\n$ {' '.join(command)}\n".encode())
        out.flush()
        code = subprocess.call(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, cwd=str(cwd))
    if code != 0:
        tail = "\n".join(path.read_text(errors="replace").splitlines()[-25:])
        raise SetupError(f"`{' '.join(command)}` failed with exit code {code}. The end of {path.relative_to(ROOT)}:\n{tail}")


# --- system ----------------------------------------------------------------------------------------------------------


def missing_system() -> List[str]:
    """Debian packages for what the system lacks, in order."""
    wanted: List[str] = []
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
        raise SetupError(f"missing on this system: {what}. Install them with your package manager (on Debian/Ubuntu: {line}).")
    prefix: List[str] = []
    if os.geteuid() != 0:
        if not shutil.which("sudo") or subprocess.call(["sudo", "-n", "true"], stderr=subprocess.DEVNULL) != 0:
            raise SetupError(f"missing on this system: {what}, and this user may not install packages. Run:\n    {line}")
        prefix = ["sudo", "-n"]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run([*prefix, "apt-get", "update", "-qq"], "system", env)
    run([*prefix, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], "system", env)
    still = missing_system()
    if still:
        raise SetupError(f"apt-get installed {' '.join(packages)}, yet these are still not found: {' '.join(still)}.")


# --- Python ----------------------------------------------------------------------------------------------------------


def is_python312(candidate: str) -> bool:
    """Whether `candidate` runs and is CPython 3.12 with the venv module."""
    try:
        probe = [candidate, "-c", "import sys, venv, ensurepip; print(sys.version_info[:2] == (3, 12))"]
        return subprocess.run(probe, capture_output=True, text=True, timeout=30).stdout.strip() == "True"
    except (OSError, subprocess.TimeoutExpired):
        return False


def find_python() -> Optional[str]:
    """Python 3.12 from VLA_PYTHON, PATH, pyenv or the usual places; None where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"
    candidates = [os.environ.get("VLA_PYTHON", ""), shutil.which("python3.12") or "", shutil.which("python3") or ""]
    candidates += [str(p / "bin" / "python3.12") for p in sorted(pyenv.glob("3.12*"), reverse=True)]
    candidates += ["/usr/bin/python3.12", "/usr/local/bin/python3.12", "/opt/homebrew/bin/python3.12"]
    return next((c for c in candidates if c and is_python312(c)), None)


def uv_command() -> Optional[List[str]]:
    """The `uv` installer, fetched into .uv if necessary; None where it cannot be had (pip is used then)."""
    own = ROOT / ".uv" / "uv"
    if not own.exists():
        target = [sys.executable, "-m", "pip", "install", "-q", "--upgrade", "--target", str(ROOT / ".uv" / "lib"), f"uv=={UV_VERSION}"]
        try:
            (ROOT / ".uv").mkdir(exist_ok=True)
            run(target, "uv")
        except SetupError:
            found = shutil.which("uv")
            return [found] if found else None
        binary = ROOT / ".uv" / "lib" / "bin" / "uv"
        os.symlink(binary, own)
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
            run([*uv, "venv", "--seed", "--python", "3.12", *flags, str(VENV)], "venv")
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
    kept = [line for line in lock.read_text().splitlines() if not line.startswith("ros-jazzy-")]
    path = STATE / "requirements.sourced_ros.lock"
    path.write_text("\n".join(kept) + "\n")
    return path


def install_packages() -> None:
    """Install the pinned packages into .venv."""
    uv = uv_command()
    python = str(VENV / "bin" / "python")
    if uv:
        run([*uv, "pip", "install", "-q", "--python", python, "-r", str(requirements())], "packages")
    else:
        run([python, "-m", "pip", "install", "-q", "-r", str(requirements())], "packages")


def finish_environment() -> None:
    """Repair the wheels' CMake files and register the stand-ins for what PyPI lacks of ROS 2."""
    python = str(VENV / "bin" / "python")
    if not sourced_ros():
        run([python, str(ROOT / "setup" / "repair_wheels.py")], "environment")
    site = next((VENV / "lib").glob("python3.12/site-packages"))
    # .pth entries come last on sys.path, so any real package wins over a stand-in of the same name
    (site / "zz_ros2_pip.pth").write_text(f"{ROOT / 'ros2_pip' / 'src'}\n")
    run([python, str(ROOT / "setup" / "make_ros2_command.py")], "environment")


# --- workspace -------------------------------------------------------------------------------------------------------


def missing_interfaces() -> List[Path]:
    """Interface packages that the sourced ROS 2 does not have, or all of them without one."""
    have = external_prefixes()
    packages = sorted(p.parent for p in INTERFACES.glob("*/package.xml"))
    return [p for p in packages if not any((x / "share" / p.name / "package.xml").is_file() for x in have)]


def workspace_fingerprint() -> str:
    """Changes when a package must be built again: Python modules are linked, so only their names count."""
    source = WORKSPACE / "src"
    content = [p for n in ("package.xml", "setup.py", "setup.cfg", "CMakeLists.txt") for p in source.glob(f"*/{n}")]
    content += [p for folder in (source, INTERFACES) for kind in ("msg", "srv", "action") for p in folder.glob(f"*/{kind}/*.*")]
    content += list(INTERFACES.glob("*/package.xml")) + list(INTERFACES.glob("*/CMakeLists.txt"))
    kinds = ("launch", "robots", "config", "rviz", "urdf")
    names = [str(p.relative_to(ROOT)) for kind in kinds for p in sorted(source.glob(f"*/{kind}/*")) if p.suffix != ".pyc"]
    return digest(file_digest(content), *names, *(p.name for p in missing_interfaces()))


def build_workspace() -> None:
    """Build ros2_ws with colcon, by the Python that has torch and lerobot, so that its executables find them."""
    env = dict(os.environ)
    env.update(VIRTUAL_ENV=str(VENV), PATH=f"{VENV / 'bin'}{os.pathsep}{env['PATH']}", PYTHONNOUSERSITE="1")
    env.pop("PYTHONHOME", None)
    env.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    if not sourced_ros():
        env.update(AMENT_PREFIX_PATH=str(VENV), CMAKE_PREFIX_PATH=str(VENV), COLCON_PREFIX_PATH="")
    python = VENV / "bin" / "python"
    command = [str(python), "-m", "colcon", "build", "--symlink-install", "--base-paths", "src"]
    command += [os.path.relpath(p, WORKSPACE) for p in missing_interfaces()]
    command += ["--cmake-args", f"-DPython3_EXECUTABLE={python}", "-DBUILD_TESTING=OFF", "--no-warn-unused-cli"]
    run(command, "workspace", env, WORKSPACE)
    mend_script_headers()
    write_workspace_environment()


def mend_script_headers() -> None:
    """Let the built executables find an interpreter whose path holds a space, which a #! line cannot express."""
    python = str(VENV / "bin" / "python")
    if " " not in python:
        return
    for script in WORKSPACE.glob("install/*/lib/*/*"):
        if script.is_file() and not script.is_symlink():
            head, _, body = script.read_text(errors="surrogateescape").partition("\n")
            if head.startswith("#!") and "python" in head:
                # sh reads a command, Python reads a string: the form that pip and uv write too
                script.write_text(f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n{body}", errors="surrogateescape")


def write_workspace_environment() -> None:
    """Write .state/workspace.sh: what colcon's setup files would set. Those break where the path holds a space, and are slow."""
    values: Dict[str, List[str]] = {name: [] for name in ("AMENT_PREFIX_PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "PATH")}
    for manifest in sorted(WORKSPACE.glob("install/*/share/*/package.xml")):
        prefix = manifest.parent.parent.parent
        values["AMENT_PREFIX_PATH"].append(str(prefix))
        folders = {"PATH": [prefix / "bin"], "LD_LIBRARY_PATH": [prefix / "lib"]}
        folders["PYTHONPATH"] = list(prefix.glob("lib/python3*/site-packages"))
        develop = WORKSPACE / "build" / prefix.name / "share" / prefix.name / "hook" / "pythonpath_develop.dsv"
        for hook in [develop] if develop.exists() else []:  # --symlink-install
            folders["PYTHONPATH"] += [Path(line.rsplit(";", 1)[1]) for line in hook.read_text().splitlines() if line]
        for name, paths in folders.items():
            values[name] += [str(path) for path in paths if path.is_dir()]
    lines = ["# written by setup/bootstrap.py after each build"]
    for name, entries in values.items():
        if entries:
            add = f"_vla_add={shlex.quote(os.pathsep.join(entries))}"
            lines.append(f'{add}; case ":${{{name}:-}}:" in *":$_vla_add:"*) ;; *) export {name}="$_vla_add${{{name}:+:${name}}}" ;; esac')
    (STATE / "workspace.sh").write_text("\n".join([*lines, "unset _vla_add", ""]))


# --- all -------------------------------------------------------------------------------------------------------------

STEPS = (
    Step("system", lambda: digest(*missing_system()), install_system),
    Step("venv", lambda: digest(str(ROOT), str(sourced_ros())), make_venv),
    Step("packages", lambda: file_digest([ROOT / "setup" / "requirements.lock"]), install_packages),
    Step(
        "environment",
        lambda: file_digest([ROOT / "setup" / n for n in ("repair_wheels.py", "make_ros2_command.py")]),
        finish_environment,
    ),
    Step("workspace", workspace_fingerprint, build_workspace),
)


def pending() -> List[Step]:
    """Steps that must run, in order: the first that changed and all that rest on it."""
    stored = json.loads((STATE / "steps.json").read_text()) if (STATE / "steps.json").exists() else {}
    todo: List[Step] = []
    for step in STEPS:
        # the system step stands alone: a library that was installed by hand forces nothing to be rebuilt
        rests_on_changed = any(s.name != "system" for s in todo)
        gone = step.name == "venv" and not (VENV / "bin" / "python").exists()
        gone = gone or (step.name == "workspace" and not (STATE / "workspace.sh").exists())
        if rests_on_changed or gone or stored.get(step.name) != step.fingerprint():
            todo.append(step)
    return todo


def carry_out(todo: List[Step]) -> None:
    """Run steps and store each fingerprint after its success, so an interrupted set-up goes on where it stopped."""
    path = STATE / "steps.json"
    for step in todo:
        print(f"[setup] {step.name} …", end="", flush=True, file=sys.stderr)
        started = time.monotonic()
        stored = json.loads(path.read_text()) if path.exists() else {}
        for later in STEPS[STEPS.index(step) :]:
            if step.name != "system" or later is step:
                stored.pop(later.name, None)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(stored))
        temporary.replace(path)
        try:
            step.action()
        except SetupError:
            print(" failed", file=sys.stderr)
            raise
        stored[step.name] = step.fingerprint()
        temporary.write_text(json.dumps(stored, indent=2))
        temporary.replace(path)
        print(f" {time.monotonic() - started:.0f} s", file=sys.stderr)


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description="Set up what this checkout lacks.", epilog="example: setup/bootstrap.py --check")
    parser.add_argument("--check", action="store_true", help="only say which steps are missing; exit code 1 if any is")
    args = parser.parse_args()
    STATE.mkdir(exist_ok=True)
    if args.check:
        todo = pending()
        print("complete" if not todo else "missing: " + ", ".join(step.name for step in todo))
        return 1 if todo else 0
    try:
        if not pending():
            return 0
        with (STATE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two terminals may start at once
            todo = pending()
            if todo:
                names = ", ".join(step.name for step in todo)
                print(f"[setup] in {ROOT}: {names} (logs in .state/; a first set-up takes a few minutes and about 7 GB)", file=sys.stderr)
                carry_out(todo)
    except SetupError as error:
        print(f"[setup] {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n[setup] interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
