# SPDX-License-Identifier: Apache-2.0

"""Launch files with shipped profiles: every declared stream comes, the doctor has nothing to say against what runs, then all
processes end on SIGINT, with none left over.

With VLA_TEST_FULL=1 every launch file with every profile that it can take, else one of each kind, and the doctor for one.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from launches import begin, end, isolated, launch, run
from vla_core.profile import load_profile
from vla_recorder.testing import read_bag

HERE = Path(__file__).resolve().parent
ROBOTS = HERE.parent / "robots"
FULL = os.environ.get("VLA_TEST_FULL") == "1"
PATIENCE_S = 200.0  # of the wall; seconds where nothing else runs
PACED = ("clock:=paced", "real_time_factor:=0.3")  # light enough for a machine that does something else, too
LOCKSTEP = (
    "clock:=lockstep",
)  # no image is left out on a machine that does something else, which the doctor would find
SIMULATED = sorted(path.stem for path in ROBOTS.glob("sim_*.yaml"))
MORE = {
    "sim": [],
    "robot": ["sim:=true"],
    "record": ["sim:=true"],
    "infer": ["sim:=true", "policy:=scripted"],
    "teleop": ["sim:=true"],
}
EACH = [
    (file, robot)
    for file in MORE
    for robot in SIMULATED
    if file != "teleop" or load_profile(ROBOTS / f"{robot}.yaml").teleops
]
pytestmark = pytest.mark.timeout(900)  # of the wall, on a machine that does something else, too
SOME = [("robot", "sim_so101"), ("record", "sim_tatbot_bimanual"), ("infer", "sim_ur5e_bimanual_tiny")]
EXAMINED = EACH if FULL else [("infer", "sim_ur5e_bimanual_tiny")]
NOT_GREEN = {  # what the doctor may call yellow of a shipped profile, and why
    "safety.workspace: the profile has none": "small arms on a table of their own: joint limits hold them",
}
OF_THE_MACHINE = (
    "software",
    "machine",
    "network",
)  # what a machine lacks is no fault of a profile; red counts all the same
DISK = "disk of "  # but how fast a disk is, is said of a moment at which others write, too


@contextlib.contextmanager
def running(env, file, *arguments):
    """A launch that is ended by SIGINT and must then leave with status 0 and no process of its group."""
    with (Path(env["ROS_LOG_DIR"]).parent / f"{time.monotonic_ns()}.txt").open("w+") as output:
        process = begin(["ros2", "launch", "vla_bringup", f"{file}.launch.py", *arguments], env, stdout=output)
        try:
            yield process
            assert process.poll() is None, "it ended by itself"
            process.send_signal(signal.SIGINT)
            code = process.wait(60)
            output.seek(0)
            text = output.read()
            assert code == 0, text
            assert "Traceback" not in text, text
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)
        except BaseException:
            output.seek(0)
            print(output.read())
            raise
        finally:
            end(process)


def streams(env, robot, namespace=""):
    """What every declared stream has delivered when each has 10 messages, or after a while."""
    command = [sys.executable, str(HERE / "stream_count.py"), str(ROBOTS / f"{robot}.yaml"), "10", str(PATIENCE_S)]
    counting = begin([*command, *([namespace] if namespace else [])], env)
    try:
        out, _ = counting.communicate(timeout=PATIENCE_S + 60)
    finally:
        end(counting)
    return json.loads(out.splitlines()[-1])


def examine(env, folder, *arguments):
    """Run `doctor --live` as a user does; returns its output and what is wrong: red, or yellow without a reason."""
    report = folder / "doctor.json"
    command = ["ros2", "run", "vla_bringup", "doctor", "--live", "--json", str(report), "--output-dir", str(folder)]
    code, out = run(env, *command, *arguments, timeout=PATIENCE_S)
    found = json.loads(report.read_text())
    assert found["exit_code"] == code, out
    wrong = [
        (finding["level"], f"{finding['where']}: {finding['what']}")
        for group in found["groups"]
        for finding in group["findings"]
        if finding["level"] == "red" or (finding["level"] == "yellow" and group["title"] not in OF_THE_MACHINE)
        if not finding["where"].startswith(DISK)
    ]
    return out, [(level, text) for level, text in wrong if level == "red" or text not in NOT_GREEN]


@pytest.mark.parametrize(("file", "robot"), EACH if FULL else SOME)
def test_every_declared_stream_comes_and_nothing_stays(tmp_path, file, robot):
    env = isolated(tmp_path / "log")
    more = [f"output_dir:={tmp_path / 'bags'}"] if file == "record" else []
    profile = load_profile(ROBOTS / f"{robot}.yaml")
    more += ["device:=gello_left,gello_right"] if file == "teleop" and len(profile.teleops) > 1 else []
    clock = LOCKSTEP if (file, robot) in EXAMINED else PACED
    with running(env, file, f"robot:={robot}", *MORE[file], *clock, *more):
        found = streams(env, robot)
        assert found["missing"] == [], found["counts"]
        if (file, robot) in EXAMINED:
            out, wrong = examine(env, tmp_path, "--robot", robot)
            assert wrong == [], out
    joints = {name for names in found["names"].values() for name in names}
    assert {joint for spec in profile.action for joint in spec.joints} <= joints


def test_the_mock_hardware_of_an_so101_publishes_and_leaves(tmp_path):
    env = isolated(tmp_path / "log")
    profile = tmp_path / "arm_only.yaml"
    text = (ROBOTS / "sim_so101.yaml").read_text().split("record_topics:")[0]
    before, _, after = text.partition("\ncameras:")
    state = after.partition("\nstate:")[2]
    profile.write_text(f"{before}\ncameras: {{}}\nstate:{state}")
    with running(env, "robot", "robot:=so101", "drivers:=arm", "use_mock_hardware:=true"):
        command = [sys.executable, str(HERE / "stream_count.py"), str(profile), "10", str(PATIENCE_S)]
        counting = begin(command, env)
        out, _ = counting.communicate(timeout=PATIENCE_S + 60)
        found = json.loads(out.splitlines()[-1])
    assert found["counts"]["joint_states"] >= 10, out
    assert found["names"]["joint_states"] == sorted(load_profile(ROBOTS / "so101.yaml").action[0].joints)


@pytest.mark.parametrize("apart", ["namespace", "domain"])
def test_two_cells_run_beside_each_other(tmp_path, apart):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = isolated(tmp_path / "a" / "log")
    second = (
        isolated(tmp_path / "b" / "log") if apart == "domain" else {**first, "ROS_LOG_DIR": str(tmp_path / "b" / "log")}
    )
    spaces = ("", "") if apart == "domain" else ("cell_a", "cell_b")
    if apart == "domain" and first["ROS_DOMAIN_ID"] == second["ROS_DOMAIN_ID"]:
        second["ROS_DOMAIN_ID"] = str(int(first["ROS_DOMAIN_ID"]) + 1)
    cells = [
        (env, robot, space, [f"robot:={robot}", *PACED, *([f"namespace:={space}"] if space else [])])
        for env, space, robot in zip((first, second), spaces, ("sim_ur5e_tiny", "sim_so101"), strict=True)
    ]
    with contextlib.ExitStack() as stack:
        for env, _, _, arguments in cells:
            stack.enter_context(running(env, "sim", *arguments))
        for env, robot, space, _ in cells:
            found = streams(env, robot, space)
            own = {topic: n for topic, n in found["publishers"].items() if "/tf" not in topic}
            assert found["missing"] == [], found["counts"]
            assert max(own.values()) <= 2, own  # arm and gripper share joint_states
            joints = {joint for spec in load_profile(ROBOTS / f"{robot}.yaml").action for joint in spec.joints}
            assert {name for names in found["names"].values() for name in names} == joints


@pytest.mark.parametrize("robot", ["sim_ur5e_bimanual_tiny", *(["sim_tatbot_bimanual", "sim_so101"] if FULL else [])])
def test_the_scripted_operator_records_all_arms(tmp_path, robot):
    arguments = ["sim:=true", f"robot:={robot}", "operator:=scripted", "seed:=3", f"output_dir:={tmp_path / 'bags'}"]
    code, out = launch(
        isolated(tmp_path / "log"), "record", *arguments, f"result_file:={tmp_path / 'result.json'}", timeout=280
    )
    assert code == 0, out
    assert json.loads((tmp_path / "result.json").read_text())["ok"] == 1, out
    (bag,) = (tmp_path / "bags").iterdir()
    _, topics = read_bag(bag)
    for spec in load_profile(ROBOTS / f"{robot}.yaml").action:
        targets = [list(msg.position) for _, msg in topics[f"/{spec.record.topic}"]]
        spread = [max(values) - min(values) for values in zip(*targets, strict=True)]
        assert max(spread) > 0.01, f"{spec.name} did not move"


@pytest.mark.parametrize(
    ("robot", "old", "new", "texts"),
    [
        ("sim_ur5e_bimanual", "left_elbow_joint", "elbow_joint", ["action 'left_arm' drives", "left_elbow_joint"]),
        ("sim_ur5e_stream", "[shoulder_pan_joint, shoulder_lift_joint, elbow_joint", "[elbow_joint, shoulder_lift_joint, shoulder_pan_joint", ["streams positions without names", "Write 'joints' in that order"]),
        ("sim_ur5e_bimanual", "right/robotiq_gripper_controller", "robotiq_gripper_controller", ["action 'right_gripper' commands"]),
    ],
)  # fmt: skip
def test_wrong_joints_are_found_at_launch(tmp_path, robot, old, new, texts):
    text = (ROBOTS / f"{robot}.yaml").read_text().replace("extends: ", f"extends: {ROBOTS}/")
    assert old in text
    profile = tmp_path / "wrong.yaml"
    profile.write_text(text.replace(old, new))
    _, out = launch(isolated(tmp_path / "log"), "sim", f"profile:={profile}", timeout=300)
    assert "cell ready" not in out
    for wanted in texts:
        assert wanted in out, out
