# SPDX-License-Identifier: Apache-2.0

"""The policy that docs/how-to/add_a_policy.md shows is found by its name, conforms, and its launch arguments exist."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from policy_fixtures import small_profile
from vla_policy.policies import registry
from vla_policy.policies.conformance import Subject
from vla_policy.policies.runner import LoadRequest

ROOT = Path(__file__).resolve().parents[4]
PAGE = (ROOT / "docs/how-to/add_a_policy.md").read_text()
FIXTURE = """

@pytest.fixture(scope="module")
def profile_file():
    return "two_joint.yaml"
"""


def install(folder):
    """The page's package, its entry point as an installer would write it, and its test; returns the test."""
    policy, test = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (entry,) = re.findall(r'"(home = [^"]*)"', PAGE)
    (folder / "my_policies").mkdir()
    (folder / "my_policies" / "__init__.py").touch()
    (folder / "my_policies" / "home.py").write_text(policy)
    info = folder / "my_policies-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_policies\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{entry}\n")
    (folder / "two_joint.yaml").write_text(small_profile().text)
    (folder / "test_home.py").write_text(test + FIXTURE)
    return folder / "test_home.py"


def test_the_pages_policy_moves_towards_zero(tmp_path, monkeypatch):
    install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    request = LoadRequest(profile=tmp_path / "two_joint.yaml", options={"speed": "0.5"})
    with Subject("home", request) as subject:
        frame = subject.frame(1)
        values = subject.runner.infer(frame, "").values
    np.testing.assert_allclose(values[0, :2], frame.joints["arm"], atol=1e-6)
    assert np.abs(np.diff(values[:, :2], axis=0)).max() <= 0.5 / 10 + 1e-6
    np.testing.assert_allclose(values[-1, :2], 0.0, atol=1e-6)


def test_the_pages_test_passes(tmp_path):
    test = install(tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", str(test)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout


def test_the_arguments_on_the_page_exist():
    known = yaml.safe_load((ROOT / "ros2_ws/src/vla_bringup/config/arguments.yaml").read_text())
    arguments = {name for section in known.values() for name in section}
    used = set(re.findall(r"([a-z_]+):=", PAGE))
    assert used <= arguments, used - arguments
    assert {"policy", "rename", "accelerate"} <= used
