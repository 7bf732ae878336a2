# SPDX-License-Identifier: Apache-2.0

"""The core runs where there is no ROS, no torch and no image library."""

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "vla_core"
BLOCKED = ("rclpy", "torch", "lerobot", "cv2", "cv_bridge", "PIL", "av", "vla_msgs", "sensor_msgs", "mcap", "pyarrow")

SCRIPT = f"""
import importlib, sys
before = set(sys.modules)
for name in {BLOCKED!r}:
    sys.modules[name] = None
import vla_core
for name in {sorted(path.stem for path in PACKAGE.glob("*.py"))!r}:
    if name != "__init__":
        importlib.import_module("vla_core." + name)
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before if sys.modules[name] is not None}}
loaded = {{name for name in loaded if not name.startswith(("_cython", "cython"))}}  # the C part of PyYAML
print(*sorted(loaded - set(sys.stdlib_module_names) - {{"numpy", "yaml", "_yaml", "vla_core"}}))
from vla_core.testing import PROFILE, synthetic_events
profile = vla_core.parse_profile(PROFILE)
builder = vla_core.FrameBuilder(profile, actions=True)
for event in synthetic_events(profile, 0.2):
    builder.push_topic(event.topic, event.receive_ns, event.msg)
assert isinstance(builder.sample(event.receive_ns), vla_core.Frame)
"""


def test_every_module_imports_without_ros_or_torch():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, cwd=PACKAGE.parent, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [], "modules beyond numpy and yaml were loaded"
