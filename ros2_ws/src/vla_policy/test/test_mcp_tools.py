# SPDX-License-Identifier: Apache-2.0

"""The MCP tools without ROS: schema, arguments against checkpoints, lists, command line."""

import asyncio
import json
import math

import pytest
from mcp import Client
from policy_cell import fake_checkpoint
from policy_fixtures import small_profile
from vla_core.errors import CheckpointError, VlaError
from vla_msgs.msg import PolicyStatus
from vla_policy.mcp_tool.checkpoint_list import list_checkpoints, resolve
from vla_policy.mcp_tool.infer import RefusedError, Request, Settings, check, infer, make_goal
from vla_policy.mcp_tool.policy_client import PolicyClientError
from vla_policy.mcp_tool.server import describe, listen, make_server, parse

DEFAULTS = {
    "scene_name": "default",
    "device": "cuda",
    "max_steps": 500,
    "enable_realsense": False,
    "fps": 10,
    "debug": False,
    "record_eval": False,
    "dry_run": False,
    "task_prompt": None,
}
NO_CAMERA = {"cameras:\n  front: {topic: front/image_raw, size: [32, 32], rate_hz: 30.0, max_age_s: 0.2}\n": ""}


def checkpoint(folder, profile, kind="act"):
    run = fake_checkpoint(folder, profile)
    (run / "pretrained_model" / "config.json").write_text(json.dumps({"type": kind}))
    return run


def request(**changed):
    return Request(**{"policy": "act", "checkpoint_path": "run", **DEFAULTS, **changed})


def tools(server):
    async def ask():
        async with Client(server) as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    return asyncio.run(ask())


def test_the_schema_has_the_inputs_with_their_defaults_and_the_outputs(tmp_path):
    listed = tools(make_server(None, Settings(checkpoints_dir=tmp_path)))
    assert set(listed) == {"vla_infer", "list_checkpoints", "get_status"}
    tool = listed["vla_infer"]
    inputs = tool.input_schema["properties"]
    assert set(tool.input_schema["required"]) == {"policy", "checkpoint_path"}
    assert {name: entry["default"] for name, entry in inputs.items() if "default" in entry} == DEFAULTS
    assert {"smolvla", "pi0"} <= set(inputs["policy"]["enum"])
    assert inputs["device"]["enum"] == ["cuda", "cpu"]
    assert all(entry["description"] for entry in inputs.values())
    assert set(tool.output_schema["properties"]) == {"success", "message", "num_steps", "eval_dir"}
    assert "The arm moves" in tool.description


def test_only_the_chosen_tools_are_offered(tmp_path):
    assert set(tools(make_server(None, Settings(checkpoints_dir=tmp_path), ("get_status",)))) == {"get_status"}


def test_arguments_are_compared_with_the_checkpoint(tmp_path):
    checkpoint(tmp_path, small_profile())
    found = resolve(tmp_path, "run")
    assert check(request(enable_realsense=True), found) == []
    with pytest.raises(RefusedError, match=r"policy smolvla: .*run.* holds a policy of type act"):
        check(request(policy="smolvla"), found)
    checkpoint(tmp_path / "blind", small_profile(**NO_CAMERA, **{"fps: 10": "fps: 25"}))
    blind = resolve(tmp_path, "blind/run")
    assert check(request(), blind) == ["runs at 25 Hz, the rate that the checkpoint was trained at"]
    assert check(request(fps=25), blind) == []
    with pytest.raises(RefusedError, match=r"fps 30: the checkpoint was trained at 25 Hz .* leave fps out or give 25"):
        check(request(fps=30), blind)
    with pytest.raises(RefusedError, match=r"enable_realsense: the profile 'sim_two_joint' .* has no cameras"):
        check(request(enable_realsense=True), blind)


def test_a_goal_carries_all_that_was_asked_for(tmp_path):
    checkpoint(tmp_path, small_profile(**{"safety:": "ready: {arm: [0.3, 0.1]}\nsafety:"}))
    found = resolve(tmp_path, "run")
    asked = request(max_steps=50, dry_run=True, record_eval=True, scene_name="table", task_prompt="wave")
    goal = make_goal(asked, found, Settings(checkpoints_dir=tmp_path, heartbeat_timeout_s=0.7), name="me")
    assert (goal.task, goal.max_steps, goal.scene) == ("wave", 50, "table")
    assert (goal.dry_run, goal.record_eval, goal.ready_pose) == (True, True, True)
    assert (goal.client, goal.heartbeat_timeout) == ("me", 0.7)
    assert goal.max_duration > 2 * 50 / 10, "the step limit ends the run, not the time limit"
    assert goal.checkpoint == str(tmp_path / "run" / "pretrained_model")
    still = make_goal(request(), found, Settings(checkpoints_dir=tmp_path, ready_pose=False), name="me")
    assert (still.ready_pose, still.task) == (False, "")


class Node:
    """A policy node that has parameters and takes no goal."""

    def __init__(self, **parameters):
        self.parameters, self.goals = parameters, []

    async def parameter(self, name):
        return self.parameters.get(name)

    async def start(self, goal, _feedback):
        self.goals.append(goal)
        raise PolicyClientError("nobody offers the action")


class Silent:
    """A request whose client wants no progress."""

    async def report_progress(self, *_):
        pass


def test_the_profile_of_the_node_counts_and_a_node_that_is_gone_is_a_result(tmp_path):
    checkpoint(tmp_path, small_profile())
    file = tmp_path / "mine.yaml"
    file.write_text(small_profile(**{"safety:": "ready: {arm: [0.3, 0.1]}\nsafety:"}).text)
    settings = Settings(checkpoints_dir=tmp_path)
    plain, other = Node(device="cpu", profile=""), Node(device="cuda:0", profile=str(file))
    for node, moves in ((plain, False), (other, True)):
        result = asyncio.run(infer(request(), Silent(), node, settings))
        assert (result.success, result.message, result.num_steps) == (False, "nobody offers the action", 0)
        assert node.goals[0].ready_pose is moves
    lost = Node(device="cpu", profile=str(tmp_path / "gone.yaml"))
    result = asyncio.run(infer(request(), Silent(), lost, settings))
    assert not result.success
    assert "gone.yaml" in result.message
    assert not lost.goals


def test_checkpoints_are_listed_with_what_they_say_and_never_from_elsewhere(tmp_path):
    root = tmp_path / "root"
    checkpoint(root / "a", small_profile())
    checkpoint(root / "b", small_profile(), kind="smolvla")
    (root / "b" / "run" / "pretrained_model" / "vla" / "profile.yaml").write_text("robot: changed")
    outside = checkpoint(tmp_path / "outside", small_profile())
    (root / "link").symlink_to(outside)
    listed = list_checkpoints(root).checkpoints
    assert [entry.checkpoint_path for entry in listed] == ["a/run", "b/run"]
    assert (listed[0].policy, listed[0].robot, listed[0].fps, listed[0].cameras) == (
        "act",
        "sim_two_joint",
        10.0,
        ["front"],
    )
    assert "unusable" in listed[1].problem
    for path in ("link", "../outside/run", str(outside)):
        with pytest.raises(CheckpointError, match="lies outside"):
            resolve(root, path)
    with pytest.raises(CheckpointError, match="checkpoint_path is empty"):
        resolve(root, " ")
    assert resolve(root, str(root / "a" / "run")).checkpoint.policy_type == "act"


def test_a_status_is_values_of_json():
    status = describe(PolicyStatus(state=PolicyStatus.TAKEOVER, detail="waits", steps=7, inference_ms=math.nan))
    assert (status.available, status.state, status.message) == (True, "takeover", "waits")
    assert (status.values["steps"], status.values["inference_ms"]) == (7, None)
    assert json.loads(status.model_dump_json())["values"]["dry_run"] is False
    assert "stamp" not in status.values


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--checkpoints_dir"),
        (["--checkpoints_dir", "{nowhere}"], "no such folder"),
        (["--checkpoints_dir", ".", "--tools", "vla_infer,dance"], "unknown or none: dance"),
        (["--checkpoints_dir", ".", "--transport", "http", "--host", "0.0.0.0"], "could move the arm; set --token"),
        (["--checkpoints_dir", ".", "--token", "x"], "belongs to --transport http"),
        (["--checkpoints_dir", ".", "--heartbeat_timeout", "0"], "must be positive"),
    ],
)
def test_a_command_line_that_cannot_be_used_says_why(arguments, text, capsys):
    with pytest.raises(SystemExit):
        parse(arguments)
    assert text in " ".join(capsys.readouterr().err.split())


def test_an_address_in_use_is_named():
    with listen("127.0.0.1", 0, 3.0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(VlaError, match=rf"cannot listen on 127.0.0.1:{port}: .* choose another --port"):
            listen("127.0.0.1", port, 3.0)
