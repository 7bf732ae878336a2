# SPDX-License-Identifier: Apache-2.0

"""The ROS 2 workspace: when it must be built again, building it, and the shell environment it needs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from base import ROOT, STATE, VENV, WORKSPACE, digest, external_prefixes, file_digest, run, sourced_ros

INTERFACES = ROOT / "ros2_pip" / "interfaces"


def missing_interfaces() -> list[Path]:
    """Interface packages that the sourced ROS 2 does not have, or all of them without one."""
    have = external_prefixes()
    packages = sorted(p.parent for p in INTERFACES.glob("*/package.xml"))
    return [p for p in packages if not any((x / "share" / p.name / "package.xml").is_file() for x in have)]


def workspace_fingerprint() -> str:
    """Changes when a package must be built again: Python modules are linked, so only their names count."""
    source = WORKSPACE / "src"
    content = [p for n in ("package.xml", "setup.py", "setup.cfg", "CMakeLists.txt") for p in source.glob(f"*/{n}")]
    content += [
        p for folder in (source, INTERFACES) for kind in ("msg", "srv", "action") for p in folder.glob(f"*/{kind}/*.*")
    ]
    content += list(INTERFACES.glob("*/package.xml")) + list(INTERFACES.glob("*/CMakeLists.txt"))
    kinds = ("launch", "robots", "config", "rviz", "urdf")
    names = [
        str(p.relative_to(ROOT)) for kind in kinds for p in sorted(source.glob(f"*/{kind}/*")) if p.suffix != ".pyc"
    ]
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
                script.write_text(
                    f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n{body}", errors="surrogateescape"
                )


def write_workspace_environment() -> None:
    """Write .state/workspace.sh: what colcon's setup files would set. Those break where the path holds a space, and are slow."""
    values: dict[str, list[str]] = {name: [] for name in ("AMENT_PREFIX_PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "PATH")}
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
            lines.append(
                f'{add}; case ":${{{name}:-}}:" in *":$_vla_add:"*) ;; *) export {name}="$_vla_add${{{name}:+:${name}}}" ;; esac'
            )
    (STATE / "workspace.sh").write_text("\n".join([*lines, "unset _vla_add", ""]))
