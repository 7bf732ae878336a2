# SPDX-License-Identifier: Apache-2.0

"""Make docs/reference/launch.md and docs/reference/parameters.md from the code: `python checks/reference.py`."""

import dataclasses
import importlib
import pkgutil
from pathlib import Path

import yaml
from vla_common.params import table

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
ARGUMENTS = ROOT / "ros2_ws" / "src" / "vla_bringup" / "config" / "arguments.yaml"
LAUNCH_FILES = {
    "sim.launch.py": ("The simulated cell alone.", ("robot", "sim")),
    "robot.launch.py": ("The robot's drivers, or the simulated cell.", ("robot", "sim")),
    "record.launch.py": ("Record demonstrations.", ("robot", "sim", "record")),
    "infer.launch.py": ("Run a policy.", ("robot", "sim", "infer")),
    "replay.launch.py": ("Play a recorded episode.", ("replay",)),
}
NODE_PACKAGES = ("vla_recorder", "vla_policy", "vla_sim")


def launch_page() -> str:
    """The page of launch files and their arguments."""
    groups = yaml.safe_load(ARGUMENTS.read_text(encoding="utf-8"))
    lines = [
        "# Launch files and arguments",
        "",
        "Made from `vla_bringup/config/arguments.yaml`, the one home of these defaults.",
        "",
    ]
    lines += ["| launch file | what it does | groups of arguments |", "|---|---|---|"]
    for name, (what, used) in LAUNCH_FILES.items():
        lines.append(f"| `{name}` | {what} | {', '.join(used)} |")
    for group, arguments in groups.items():
        lines += ["", f"## {group}", "", "| argument | default | choices | meaning |", "|---|---|---|---|"]
        for name, entry in arguments.items():
            default = (
                f"`{entry['default']}`" if entry.get("default") else ("empty" if "default" in entry else "*required*")
            )
            choices = ", ".join(f"`{choice}`" for choice in entry.get("choices", []) if choice)
            lines.append(f"| `{name}` | {default} | {choices} | {entry['description']} |")
    return "\n".join([*lines, ""])


def parameter_classes() -> list[tuple[str, type]]:
    """Node name and parameter class of every node: classes named `<Node>Params` in modules `<node>_params`."""
    found: list[tuple[str, type]] = []
    for package in NODE_PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if module.name.endswith("_params"):
                content = vars(importlib.import_module(module.name))
                found += [
                    (f"{package}: {module.name.rpartition('.')[2].removesuffix('_params')}", value)
                    for name, value in content.items()
                    if name.endswith("Params") and dataclasses.is_dataclass(value) and isinstance(value, type)
                ]
    return found


def parameter_page() -> str:
    """The page of node parameters."""
    lines = [
        "# Node parameters",
        "",
        "Made from the parameter classes of the nodes; `ros2 param describe` shows the same text.",
    ]
    for title, cls in parameter_classes():
        lines += ["", f"## {title}", "", table(cls)]
    return "\n".join([*lines, ""])


PAGES = {"launch.md": launch_page, "parameters.md": parameter_page}


if __name__ == "__main__":
    for file_name, make in PAGES.items():
        (REFERENCE / file_name).write_text(make(), encoding="utf-8")
