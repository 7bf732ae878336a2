# SPDX-License-Identifier: Apache-2.0

"""Make the pages of docs/reference that follow from the code: `python checks/reference.py`."""

import argparse
import dataclasses
import importlib
import itertools
import pkgutil
from collections.abc import Sequence
from pathlib import Path

import yaml
from vla_common.params import table
from vla_recorder.convert.command import parser
from vla_recorder.formats import FORMATS, format_options

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
ARGUMENTS = ROOT / "ros2_ws" / "src" / "vla_bringup" / "config" / "arguments.yaml"
MESSAGES = ROOT / "ros2_ws" / "src" / "vla_msgs"
PARTS = {"msg": ("",), "srv": ("request", "response"), "action": ("goal", "result", "feedback")}
LAUNCH_FILES = {
    "sim.launch.py": ("The simulated cell alone.", ("robot", "sim")),
    "robot.launch.py": ("The robot's drivers, or the simulated cell.", ("robot", "sim")),
    "record.launch.py": (
        "Record demonstrations.",
        ("robot", "sim", "record", "teleop_device", "teleop", "skills", "joystick", "monitor"),
    ),
    "teleop.launch.py": (
        "Drive by hand, without a recorder.",
        ("robot", "sim", "teleop_device", "teleop", "teleop_only", "monitor"),
    ),
    "infer.launch.py": ("Run a policy.", ("robot", "sim", "infer", "teleop", "skills", "monitor")),
    "usb_camera.launch.py": ("One USB camera, as a driver of a profile.", ("usb_camera",)),
    "replay.launch.py": ("Play a recorded episode.", ("replay", "monitor")),
}
NODE_PACKAGES = (
    *("vla_recorder", "vla_policy", "vla_teleop", "vla_sim", "vla_drivers", "vla_monitor", "vla_web"),
    "vla_bringup",
)


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
    """Node name and parameter class of every node: classes named `<Node>Params` in modules `<node>_params`.

    A class that others are made of is shown as a part of them only.
    """
    found: list[tuple[str, type]] = []
    for package in NODE_PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if module.name.endswith("_params"):
                content = vars(importlib.import_module(module.name))
                found += [
                    (f"{package}: {module.name.rpartition('.')[2].removesuffix('_params')}", value)
                    for name, value in content.items()
                    if name.endswith("Params") and dataclasses.is_dataclass(value) and isinstance(value, type)
                    if value.__module__ == module.name
                ]
    parts = {base for _, cls in found for base in cls.__mro__[1:]}
    return [(title, cls) for title, cls in found if cls not in parts]


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


def convert_page() -> str:
    """The page of the converter's options."""
    command = parser()
    lines = [
        "# Options of `convert`",
        "",
        "Made from the command line; `ros2 run vla_recorder convert --help` shows the same. How to use them:",
        "[convert recordings](../how-to/convert.md).",
    ]
    for group in command._action_groups:
        actions = [action for action in group._group_actions if action.dest != "help"]
        if actions:
            title = "input and output" if group.title == "options" else group.title
            lines += ["", f"## {title}", "", "| option | default | meaning |", "|---|---|---|"]
            lines += [_option_row(action) for action in actions]
    lines += ["", "## Options of the formats", "", "Given as `--format-option KEY=VALUE`."]
    for name in FORMATS:
        options = format_options(name)
        lines += ["", f"### {name}", ""]
        if not options:
            lines.append("None.")
            continue
        lines += ["| key | default | meaning |", "|---|---|---|"]
        for field in options:
            choices = ", ".join(f"`{choice}`" for choice in field.metadata.get("choices", ()))
            text = _plain(field.metadata.get("help", "")) + (f". One of {choices}" if choices else "")
            default = field.default if field.default is not dataclasses.MISSING else ""
            lines.append(f"| `{field.name}` | {_cell(default)} | {text} |")
    lines += [
        "",
        "## Exit codes",
        "",
        "```",
        *str(command.epilog).partition("exit codes:\n")[2].rstrip().splitlines(),
        "```",
    ]
    return "\n".join([*lines, ""])


def _option_row(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    choices = ", ".join(f"`{choice}`" for choice in action.choices or ())
    text = _plain(str(action.help)) + (f". One of {choices}" if choices else "")
    flag = action.nargs == 0
    default = "*required*" if action.required else ("" if flag else _cell(action.default))
    return f"| {names} | {default} | {text} |"


def _plain(text: str) -> str:
    """Return a help text that Markdown leaves as it is."""
    return text.replace("|", "\\|").replace("<", "\\<").replace("%%", "%")


def _cell(value: object) -> str:
    empty = value is None or value in ("", [], ())
    return "" if empty else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def message_page() -> str:
    """The page of the interfaces of vla_msgs: every field with the comment behind it."""
    lines = [
        "# Messages, services and actions",
        "",
        "Made from `vla_msgs`; `ros2 interface show vla_msgs/msg/PolicyStatus` shows the same. Zero means the node's default.",
    ]
    for kind, title in (("msg", "Messages"), ("srv", "Services"), ("action", "Actions")):
        lines += ["", f"## {title}"]
        for path in sorted((MESSAGES / kind).glob(f"*.{kind}")):
            lines += ["", f"### {path.stem}", "", *_interface(path.read_text(encoding="utf-8"), PARTS[kind])]
    return "\n".join([*lines, ""])


def _interface(text: str, parts: Sequence[str]) -> list[str]:
    """The lines of one interface file: what stands above its first field, then a table for each part."""
    lines: list[str] = []
    about = list(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))
    body = text.splitlines()[len(about) :]
    if about:
        lines += [_plain(" ".join(line.lstrip("# ") for line in about)), ""]
    for number, part in enumerate("\n".join(body).split("\n---\n")):
        rows = [row for row in (_field(line) for line in part.splitlines()) if row]
        title = f"*{parts[number]}*" if len(parts) > 1 else ""
        if not rows:
            lines += [f"{title}: nothing", ""]
            continue
        lines += [*([title, ""] if title else []), "| field | type | meaning |", "|---|---|---|", *rows, ""]
    return lines[:-1]


def _field(line: str) -> str:
    """One field or constant as a row of a table; empty for a line that holds none."""
    declared, _, comment = line.partition("#")
    kind, _, name = declared.strip().partition(" ")
    return f"| `{''.join(name.split())}` | `{kind}` | {_plain(comment.strip())} |" if name else ""


PAGES = {
    "launch.md": launch_page,
    "parameters.md": parameter_page,
    "convert.md": convert_page,
    "messages.md": message_page,
}


if __name__ == "__main__":
    for file_name, make in PAGES.items():
        (REFERENCE / file_name).write_text(make(), encoding="utf-8")
