# SPDX-License-Identifier: Apache-2.0

"""The machine's check: levels and remedies from facts, and the real command in a process without ROS."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from vla_policy.tools import check_env
from vla_policy.tools.check_env import CHECKS, GB, lines_of
from vla_policy.tools.check_env_facts import Facts, probe

TORCH = {
    "version": "2.11.0",
    "cuda": None,
    "hip": None,
    "available": False,
    "devices": [],
    "bfloat16": False,
    "mps": False,
}
GPU = TORCH | {"cuda": "12.6", "available": True, "devices": [["NVIDIA L40S", 48 * GB]], "bfloat16": True}
GOOD = Facts(
    python=(3, 12, 3),
    torch=GPU,
    torchcodec={"version": "0.11"},
    video={"version": "15.1", "encoders": ["libsvtav1", "libx264"]},
    lerobot="0.6.1",
    ros={"distro": "jazzy", "path": "/opt/ros/jazzy/lib/python3.12/site-packages/rclpy", "wheel": False},
    memory=(32 * GB, 24 * GB),
    shared=(8 * GB, 8 * GB),
    disk=("/data", 1000 * GB, 500 * GB),
    cpu_flags=frozenset({"avx512_bf16"}),
)
CPU = replace(GOOD, torch=TORCH)
BROKEN = {"error": "not installed"}


def line(part, facts, device="auto"):
    """The line of a part."""
    (found,) = (one for one in lines_of(facts, device) if one.part == part)
    return found


def test_a_good_machine_has_no_remedies():
    assert [one.level for one in lines_of(GOOD, "cuda")] == ["ok"] * len(CHECKS)
    assert not any(one.remedy for one in lines_of(GOOD))
    assert line("device", GOOD).found == "CUDA 12.6: NVIDIA L40S (48 GB)"
    assert line("rclpy", GOOD).found.startswith("from apt, jazzy, /opt/ros/jazzy")


@pytest.mark.parametrize(
    ("part", "facts", "device", "level", "said"),
    [
        ("python", replace(GOOD, python=(3, 10, 1)), "auto", "error", "python3.12 -m venv"),
        ("python", replace(GOOD, python=(3, 13, 0)), "auto", "warning", "tested with 3.12"),
        ("torch", replace(GOOD, torch=BROKEN), "auto", "error", "lerobot[dataset,training]"),
        ("device", replace(GOOD, torch=BROKEN), "auto", "error", "see torch"),
        ("device", CPU, "cuda", "error", "choose --device cpu"),
        ("device", replace(CPU, gpu_hints=("nvidia",)), "cuda", "error", "download.pytorch.org/whl/cu126"),
        ("device", replace(CPU, gpu_hints=("nvidia",)), "auto", "warning", "build without CUDA"),
        (
            "device",
            replace(CPU, gpu_hints=("nvidia",), torch=TORCH | {"cuda": "12.6"}),
            "auto",
            "warning",
            "nvidia-smi",
        ),
        ("device", replace(CPU, gpu_hints=("amd",)), "auto", "warning", "download.pytorch.org/whl/rocm6.2"),
        (
            "device",
            replace(CPU, gpu_hints=("amd",), torch=TORCH | {"hip": "6.2"}),
            "auto",
            "warning",
            "render and video",
        ),
        ("device", replace(CPU, torch=TORCH | {"mps": True}), "cuda", "error", "choose --device cpu"),
        ("bfloat16", replace(CPU, cpu_flags=frozenset()), "cpu", "warning", "--precision float32"),
        ("bfloat16", replace(GOOD, torch=GPU | {"bfloat16": False}), "auto", "warning", "--precision float32"),
        ("lerobot", replace(GOOD, lerobot=None), "auto", "error", "pip install"),
        ("lerobot", replace(GOOD, lerobot="0.5.2"), "auto", "error", ">=0.6.1,<0.7"),
        ("lerobot", replace(GOOD, lerobot="0.7.0"), "auto", "error", ">=0.6.1,<0.7"),
        ("torchcodec", replace(GOOD, torchcodec=BROKEN), "auto", "warning", "FFmpeg 4 to 7: apt install ffmpeg"),
        ("encoder", replace(GOOD, video=BROKEN), "auto", "error", "pip install av"),
        ("encoder", replace(GOOD, video={"encoders": []}), "auto", "error", "pip install av"),
        ("rclpy", replace(GOOD, ros=None), "auto", "warning", "training and offline evaluation work without"),
        ("disk", replace(GOOD, disk=("/data", GB, GB)), "auto", "error", "train --output DIR"),
        ("disk", replace(GOOD, disk=("/data", 9 * GB, 9 * GB)), "auto", "warning", "20 GB are good"),
        ("memory", replace(GOOD, memory=(4 * GB, GB)), "auto", "error", "--workers 0"),
        ("memory", replace(GOOD, memory=None), "auto", "warning", "8 GB are needed"),
        ("shared memory", replace(GOOD, shared=(GB // 16, GB // 16)), "auto", "warning", "docker run --shm-size 2g"),
        ("shared memory", replace(GOOD, shared=None), "auto", "warning", "--workers 0"),
    ],
)
def test_what_is_wrong_has_a_remedy(part, facts, device, level, said):
    found = line(part, facts, device)
    assert found.level == level
    assert said in found.remedy


def test_what_is_right_in_other_ways():
    assert line("device", CPU, "cpu").level == "ok"
    assert line("device", replace(CPU, torch=TORCH | {"mps": True}), "mps").found == "mps"
    assert line("bfloat16", CPU).found == "yes, on the CPU (avx512_bf16)"
    assert line("device", replace(GOOD, torch=GPU | {"hip": "6.2"})).found.startswith("ROCm 6.2")
    assert line("lerobot", replace(GOOD, lerobot="0.6.9rc1")).level == "ok"
    wheels = {"distro": None, "path": "/v/site-packages/rclpy", "wheel": True}
    assert line("rclpy", replace(GOOD, ros=wheels)).found == "from wheels, ROS_DISTRO not set, /v/site-packages/rclpy"


def test_a_library_that_is_broken_does_not_end_the_command():
    assert probe("json", "import os; os.abort()")["error"].startswith("ended with code -6")
    assert probe("json", "raise OSError('libavutil.so.59: cannot open')")["error"].endswith(
        "libavutil.so.59: cannot open"
    )
    assert probe("no_such_package", "") == {"error": "not installed"}
    assert probe("json", "print('noise'); print('{\"a\": 1}')") == {"a": 1}


@pytest.mark.parametrize(("facts", "code"), [(GOOD, 0), (CPU, 1)])
def test_the_exit_code_and_json(monkeypatch, capsys, facts, code):
    monkeypatch.setattr(check_env, "gather", lambda _path: facts)
    assert check_env.main(["--json", "--device", "cuda"]) == code
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is (code == 0)
    assert [check["part"] for check in report["checks"]][:3] == ["python", "torch", "device"]
    assert check_env.main(["--device", "cuda"]) == code
    assert capsys.readouterr().out.splitlines()[0] == "ok      python        3.12.3"


def test_this_machine_in_a_process_without_ros(tmp_path):
    """With an import path that has no ROS, and without loading torch into the process itself."""
    code = (
        "import json, sys; from vla_policy.tools import check_env; done = check_env.main(['--json', '--path', sys.argv[1]]); "
        "sys.stderr.write(' '.join({'rclpy', 'torch', 'lerobot', 'av'} & set(sys.modules))); sys.exit(done)"
    )
    paths = [
        path
        for path in os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if "vla_policy" in path or "vla_core" in path
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "not" / "yet")],
        capture_output=True, text=True, check=False, env=environment, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    checks = {check["part"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["lerobot"]["level"] == "ok"
    assert checks["torch"]["level"] == "ok"
    assert "libsvtav1" in checks["encoder"]["found"]
    assert str(tmp_path) in checks["disk"]["found"]
