# SPDX-License-Identifier: Apache-2.0

"""Packaging, read with the standard library alone: package.xml, setup.py, launch files, sizes, headers."""

import ast
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "ros2_ws" / "src"
PACKAGES = sorted(p.parent for p in SOURCE.glob("*/package.xml"))
PYTHON_PACKAGES = [p for p in PACKAGES if (p / "setup.py").exists()]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\n")
    if name
]
CODE = [p for p in TRACKED if p.exists() and not {"test", "tests", "checks"} & set(p.relative_to(ROOT).parts)]
MAX_FILE, MAX_FUNCTION = 400, 60
NAME = {"ids": lambda p: p.name}


@pytest.mark.parametrize("package", PACKAGES, **NAME)
def test_package_xml_is_complete(package):
    root = ElementTree.parse(package / "package.xml").getroot()
    assert root.get("format") == "3"
    assert root.findtext("name") == package.name
    assert root.findtext("license") == "Apache-2.0"
    assert re.fullmatch(r"[^@]+@[^@]+\.[^@.]{2,}", root.find("maintainer").get("email"))
    assert len(root.findtext("description")) > 20


@pytest.mark.parametrize("package", PYTHON_PACKAGES, **NAME)
def test_setup_py_agrees_with_package_xml(package):
    text = (package / "setup.py").read_text()
    root = ElementTree.parse(package / "package.xml").getroot()
    assert f'version="{root.findtext("version")}"' in text
    assert f'NAME = "{package.name}"' in text
    assert '"test": ["pytest"]' in text  # without it `colcon test` finds nothing
    assert (package / "resource" / package.name).exists()
    assert f"$base/lib/{package.name}" in (package / "setup.cfg").read_text()


@pytest.mark.parametrize("package", PYTHON_PACKAGES, **NAME)
def test_entry_points_exist(package):
    for module, function in re.findall(r'"\w+ ?= ?([\w.]+):(\w+)"', (package / "setup.py").read_text()):
        path = package / Path(*module.split(".")).with_suffix(".py")
        assert path.exists(), f"{package.name}: entry point {module} has no file"
        assert re.search(rf"^def {function}\(", path.read_text(), re.M), f"{path}: no function {function}"


@pytest.mark.parametrize("package", PYTHON_PACKAGES, **NAME)
def test_imports_of_ros_packages_are_declared(package):
    root = ElementTree.parse(package / "package.xml").getroot()
    declared = {e.text for kind in ("depend", "exec_depend", "build_depend") for e in root.iter(kind)}
    known = {p.name for p in PACKAGES} | {
        "rclpy",
        "launch",
        "launch_ros",
        "rosbag2_py",
        "cv_bridge",
        "rosidl_runtime_py",
    }
    missing = set()
    for path in (package / package.name).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for top in {n.split(".")[0] for n in names}:
                if (top in known or top.endswith("_msgs")) and top not in declared and top != package.name:
                    missing.add(top)
    assert missing - {"builtin_interfaces"} == set(), (
        f"{package.name}/package.xml lacks exec_depend for {sorted(missing)}"
    )


def test_every_launch_argument_has_a_description():
    table = yaml.safe_load((SOURCE / "vla_bringup" / "config" / "arguments.yaml").read_text())
    for section, arguments in table.items():
        for name, entry in arguments.items():
            assert set(entry) <= {"default", "choices", "description"}, f"{section}.{name}"
            assert len(entry["description"]) > 15, f"{section}.{name}"
            assert isinstance(entry.get("default", ""), str), f"{section}.{name}: launch passes text"


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_small_and_licensed(path):
    text = path.read_text()
    if not text:
        return
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0"), "licence header missing"
    assert text.count("\n") <= MAX_FILE, f"{text.count(chr(10))} lines; split it along what it does"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{node.name} has {length} lines"
