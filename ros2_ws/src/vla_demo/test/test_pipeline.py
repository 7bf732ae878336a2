# SPDX-License-Identifier: Apache-2.0

import os
import signal
import subprocess
import sys
import time

import pytest
from vla_demo import main
from vla_demo.pipeline import Pipeline, StageError, stage_environment
from vla_demo.stages import _progress


def test_a_stage_keeps_its_log_and_its_time(tmp_path, capsys):
    pipeline = Pipeline(tmp_path)
    pipeline.run(
        "talk", [sys.executable, "-c", "print('[n-1] [INFO] [1.5] [operator]: 1 of 2'); print('detail')"], _progress
    )
    shown = capsys.readouterr().out
    assert "[talk] $ " in shown
    assert "1 of 2" in shown
    assert "detail" not in shown.split("\n", 2)[2]
    assert (tmp_path / "talk.log").read_text() == "[n-1] [INFO] [1.5] [operator]: 1 of 2\ndetail\n"
    assert pipeline.seconds["talk"] > 0


def test_a_failed_stage_names_its_log_and_shows_the_end_of_it(tmp_path):
    with pytest.raises(StageError, match=r"(?s)stage 'bad' ended with exit code 3.*bad\.log.*the reason"):
        Pipeline(tmp_path).run("bad", [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], _progress)


def test_a_stage_leaves_no_process_behind(tmp_path):
    child = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(p.pid)"
    Pipeline(tmp_path).run("parent", [sys.executable, "-c", child], lambda line: None)
    pid = int((tmp_path / "parent.log").read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if "Z" in subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout:
            return  # ended; init has not collected it yet
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the stage's child still ran")


def test_each_run_has_a_dds_domain_of_its_own_on_loopback(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    env = stage_environment()
    assert 1 <= int(env["ROS_DOMAIN_ID"]) <= 101
    assert env["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_an_output_folder_that_holds_something_is_not_touched(tmp_path, monkeypatch, capsys):
    (tmp_path / "precious").write_text("x")
    monkeypatch.setattr(sys, "argv", ["demo", "--output", str(tmp_path)])
    assert main.main() == 1
    assert (
        f"--output {tmp_path}: the folder exists and is not empty; name a new one or remove it"
        in capsys.readouterr().err
    )
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]
