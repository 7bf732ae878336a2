# SPDX-License-Identifier: Apache-2.0

"""Which package may import what: arrows point down only, and each heavy library has its owners."""

import ast
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parent.parent / "ros2_ws" / "src"
ROOMS = ("vla_recorder", "vla_policy", "vla_teleop", "vla_sim", "vla_drivers", "vla_monitor", "vla_web")
LEROBOT_DEVICES = ("lerobot_robot_ros2", "lerobot_teleoperator_ros2")  # LeRobot's commands on top of the shared stairs
# package -> packages of this workspace that it may import
MAY_IMPORT: dict[str, frozenset[str]] = {
    "vla_core": frozenset(),
    "vla_common": frozenset({"vla_core", "vla_msgs"}),
    **{room: frozenset({"vla_common", "vla_core", "vla_msgs"}) for room in ROOMS},
    "lerobot_policy_vla_keypoints": frozenset(),
    **{plugin: frozenset({"vla_common", "vla_core"}) for plugin in LEROBOT_DEVICES},
    "vla_bringup": frozenset({"vla_common", "vla_core", "vla_drivers", "vla_policy", "vla_recorder", "vla_teleop"}),
    "vla_demo": frozenset({"vla_core", "vla_recorder"}),
}
# library -> the only packages, or single modules with their dotted name, that may import it
OWNERS: dict[str, tuple[str, ...]] = {
    "rclpy": ("vla_common", *ROOMS, *LEROBOT_DEVICES, "vla_bringup.doctor.graph"),
    "torch": ("vla_policy", "lerobot_policy_vla_keypoints"),
    "lerobot": ("vla_policy", "lerobot_policy_vla_keypoints", *LEROBOT_DEVICES, "vla_drivers.so101.arm"),
    "transformers": ("vla_policy",),
    "mujoco": ("vla_sim",),
    "serial": ("vla_drivers",),
    "av": ("vla_core.images_video", "vla_recorder", "vla_demo"),
    "pyarrow": ("vla_recorder", "vla_policy.training.dataset_checks", "vla_policy.training.merging"),
    "mcap": ("vla_recorder", "vla_demo"),
    "mcap_ros2": ("vla_recorder", "vla_demo"),
    "rosbags": ("vla_recorder",),
    "ray": ("vla_recorder",),
    "fsspec": ("vla_recorder",),
    "matplotlib": (
        "vla_demo",
        "vla_policy.training.loss_plot",
        "vla_policy.tools.report_plots",
        "vla_policy.evaluation.plots",
        "vla_teleop.node.check_plot",
        "vla_recorder.tools.compare_replay",
    ),
    "rerun": ("vla_monitor",),
    "aiohttp": ("vla_web",),
    "websockets": ("vla_policy",),
    "msgpack": ("vla_policy",),
    "prometheus_client": ("vla_policy",),
    "mcp": ("vla_policy",),
    "ros2_pip_cli": (),
}


# folders inside a package, from the ground up: each may import those before it, and those of its own floor not
FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "vla_recorder": (("bags",), ("capture", "media"), ("formats",), ("convert",), ("tools",), ("testing",)),
    "vla_teleop": (("motion", "skills"), ("devices", "cameras"), ("node",), ("operator",)),
    "vla_policy": (
        ("policies",),
        ("execution", "training", "serving", "registration"),
        ("node",),
        ("mcp_tool", "tools", "evaluation"),
        ("testing",),
    ),
}


class Violation(NamedTuple):
    """One import that breaks the contract."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def imported_modules(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and full name of every absolute import, also those inside functions and by ``import_module("name")``."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.append((node.lineno, node.module))
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__"):
                found.append((node.lineno, str(node.args[0].value)))
    return found


def check_file(path: Path, package: str) -> list[Violation]:
    """Violations of one file of `package`."""
    parts = path.with_suffix("").parts
    name = ".".join(parts[len(parts) - 1 - parts[::-1].index(package) :])
    violations: list[Violation] = []
    for line, module in imported_modules(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        top = module.split(".")[0]
        if top.startswith("vla_") and top != package and top not in MAY_IMPORT[package]:
            allowed = ", ".join(sorted(MAY_IMPORT[package])) or "no package of this workspace"
            violations.append(Violation(path, line, f"{package} imports {top}; it may import {allowed}"))
        if top in OWNERS and not {package, name} & set(OWNERS[top]):
            owners = ", ".join(OWNERS[top]) or "no package"
            violations.append(Violation(path, line, f"{name} imports {top}; that library belongs to {owners}"))
    return violations


def check_floors(path: Path, package: str, folder: str) -> list[Violation]:
    """Violations of one file in a folder of a package whose folders stand on floors."""
    floors = FLOORS[package]
    level = next((number for number, names in enumerate(floors) if folder in names), None)
    if level is None:
        listed = ", ".join(name for names in floors for name in names)
        return [
            Violation(path, 1, f"{package}/{folder} stands on no floor ({listed}); add it to checks/import_contract.py")
        ]
    allowed = {folder, *(name for names in floors[:level] for name in names)}
    found = []
    for line, module in imported_modules(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        parts = module.split(".")
        if parts[0] == package and len(parts) > 1 and parts[1] not in allowed:
            found.append(
                Violation(
                    path, line, f"{package}/{folder} imports {module}; it may import {', '.join(sorted(allowed))}"
                )
            )
    return found


def check(source: Path = SOURCE) -> list[Violation]:
    """Violations of all packages below `source`; test folders are free."""
    violations: list[Violation] = []
    for package in sorted(p.parent.name for p in source.glob("*/setup.py")):
        if package not in MAY_IMPORT:
            violations.append(
                Violation(
                    source / package, 1, f"{package} is not in the import contract; add it to checks/import_contract.py"
                )
            )
            continue
        for folder in (package, "launch"):
            for path in sorted((source / package / folder).rglob("*.py")):
                violations += check_file(path, package)
        if package in FLOORS:
            for path in sorted((source / package / package).rglob("*/*.py")):
                violations += check_floors(path, package, path.relative_to(source / package / package).parts[0])
    return violations
