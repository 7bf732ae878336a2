# SPDX-License-Identifier: Apache-2.0

"""The files for rviz2 and Foxglove: every topic is one that the profile or a node of this workspace has."""

import json
from pathlib import Path

import pytest
import yaml
from vla_bringup import monitor_config
from vla_bringup.foxglove_layout import foxglove_layout, topics
from vla_bringup.rviz_config import IMAGE_DISPLAY, rviz_config, shown
from vla_core.frames import resolve_topic
from vla_core.profile import load_profile, parse_profile

PACKAGE = Path(__file__).parent.parent
ROBOTS = sorted(path.stem for path in (PACKAGE / "robots").glob("*.yaml"))
# Names in rviz's plugins_description.xml (rviz_default_plugins and rviz_common of Jazzy), with the type that each shows.
DISPLAYS = {
    "rviz_default_plugins/Grid": None,
    "rviz_default_plugins/TF": None,
    "rviz_default_plugins/RobotModel": "std_msgs/msg/String",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
}
PANELS = {"rviz_common/Displays", "rviz_common/Views", "rviz_common/Time"}
TOOLS = {f"rviz_default_plugins/{name}" for name in ("Interact", "MoveCamera", "Select", "FocusCamera", "Measure")}
FOXGLOVE_PANELS = {"Image", "Plot", "3D", "RawMessages"}
OWN = {
    "robot_description": "std_msgs/msg/String",
    "monitor/markers": "visualization_msgs/msg/MarkerArray",
    "monitor/joints": "sensor_msgs/msg/JointState",
    "policy/status": "vla_msgs/msg/PolicyStatus",
    "recorder/status": "vla_msgs/msg/RecorderStatus",
}


def profile(name):
    return load_profile(PACKAGE / "robots" / f"{name}.yaml")


def known(robot, inside="/"):
    """Every topic that there may be, with its type."""
    streams = [*robot.cameras, *robot.state, *(spec.record for spec in robot.action)]
    return {resolve_topic(s.topic, inside): s.type for s in streams} | {
        resolve_topic(topic, inside): kind for topic, kind in OWN.items()
    }


def shown_topics(config):
    """Topic to display class."""
    found = {}
    for display in config["Visualization Manager"]["Displays"]:
        topic = display.get("Topic") or display.get("Description Topic")
        if topic:
            found[topic["Value"]] = display["Class"]
    return found


@pytest.mark.parametrize("namespace", ["", "cell_2"])
@pytest.mark.parametrize("name", ROBOTS)
def test_rviz_shows_what_the_robot_has(name, namespace):
    robot = profile(name)
    config = yaml.safe_load(rviz_config(robot, namespace))
    manager = config["Visualization Manager"]
    assert {display["Class"] for display in manager["Displays"]} <= set(DISPLAYS)
    assert {panel["Class"] for panel in config["Panels"]} <= PANELS
    assert {tool["Class"] for tool in manager["Tools"]} <= TOOLS
    assert manager["Views"]["Current"]["Class"] == "rviz_default_plugins/Orbit"
    assert manager["Transformation"]["Current"]["Class"] == "rviz_default_plugins/TF"
    assert manager["Global Options"]["Fixed Frame"] == robot.base_frame
    types = known(robot, f"/{namespace}")
    for topic, display in shown_topics(config).items():
        kinds = {DISPLAYS[display]} | ({"sensor_msgs/msg/CompressedImage"} if display == IMAGE_DISPLAY else set())
        assert types[topic] in kinds, topic
    images = [display["Name"] for display in manager["Displays"] if display["Class"] == IMAGE_DISPLAY]
    assert images == [camera.name for camera in robot.cameras if shown(camera)]
    assert all(topic.startswith(f"/{namespace}") for topic in shown_topics(config))


def test_the_shipped_files_are_those_of_the_simulated_cell():
    shipped = yaml.safe_load((PACKAGE / "rviz" / "vla.rviz").read_text())
    assert yaml.safe_load(rviz_config(profile("sim_ur5e"))) == shipped
    layout = (PACKAGE / "foxglove" / "vla_layout.json").read_text()
    assert foxglove_layout(profile("sim_ur5e")) == layout, (
        "make it anew: ros2 run vla_bringup monitor_config foxglove --profile sim_ur5e --output …/vla_layout.json"
    )


def test_rviz_gets_compressed_images_by_their_transport_and_no_video():
    text = (PACKAGE / "robots" / "sim_ur5e.yaml").read_text()
    compressed = text.replace(
        "front_camera/color/image_raw,",
        "front_camera/color/image_raw/compressed, type: sensor_msgs/msg/CompressedImage,",
    )
    assert [shown(camera) for camera in parse_profile(compressed).cameras] == [True, True]
    odd = compressed.replace("image_raw/compressed", "jpeg")
    assert [shown(camera) for camera in parse_profile(odd).cameras] == [False, True], "rviz2 goes by the name"


@pytest.mark.parametrize("name", ROBOTS)
def test_foxglove_reads_what_the_robot_has(name):
    robot = profile(name)
    text = foxglove_layout(robot, "cell_2")
    assert topics(text) <= set(known(robot, "/cell_2"))
    layout = json.loads(text)
    assert {panel.split("!")[0] for panel in layout["configById"]} == FOXGLOVE_PANELS
    placed, trees = [], [layout["layout"]]
    while trees:
        tree = trees.pop()
        if isinstance(tree, str):
            placed.append(tree)
        else:
            trees += [tree["first"], tree["second"]]
    assert sorted(placed) == sorted(layout["configById"]), "every panel has its place"
    joints = [joint for spec in robot.action for joint in spec.joints]
    for panel, config in layout["configById"].items():
        for path in config.get("paths", []):
            if "/monitor/joints.position[" in path["value"]:
                index = int(path["value"].rstrip("]").split("[")[1])
                assert joints[index] == path["label"], panel


def test_the_command_writes_and_says_what_is_wrong(tmp_path, capsys):
    file = tmp_path / "layout.json"
    assert monitor_config.main(["foxglove", "--profile", "sim_ur5e", "--output", str(file)]) == 0
    assert json.loads(file.read_text())["configById"]
    assert monitor_config.main(["rviz", "--profile", "sim_ur5e", "--namespace", "left"]) == 0
    assert "/left/monitor/markers" in capsys.readouterr().out
    assert monitor_config.main(["rviz", "--profile", "sim_ur5"]) == 2
    assert "there is no robot profile 'sim_ur5'" in capsys.readouterr().err
    assert monitor_config.main(["rviz", "--profile", "sim_ur5e", "--output", "/nowhere/x.rviz"]) == 2
    assert "/nowhere/x.rviz: cannot be written" in capsys.readouterr().err
