# SPDX-License-Identifier: Apache-2.0

"""The Foxglove layout of a robot: images, joints and gripper, the robot in space, policy and recorder.

The form is that of layouts which Foxglove exports and imports as JSON: panels by id, and a tree of how they are split.
"""

import json
from typing import Any

from vla_core.codecs import COMPRESSED_IMAGE, IMAGE
from vla_core.frames import resolve_topic
from vla_core.profile import Profile
from vla_core.specs import ActionSpec

MARKERS, JOINTS, DESCRIPTION = "monitor/markers", "monitor/joints", "robot_description"
STATUS, RECORDER = "policy/status", "recorder/status"
# Okabe and Ito's colours; measured and commanded of a joint have the same, one full and one pale.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
Panels = dict[str, dict[str, Any]]


def foxglove_layout(profile: Profile, namespace: str = "") -> str:
    """The layout (JSON), to be imported into Foxglove.

    Args:
        profile: Robot profile.
        namespace: In which its relative topics live.
    """
    inside = "/" + namespace.strip("/")
    images = {
        f"Image!{camera.name}": {"imageMode": {"imageTopic": resolve_topic(camera.topic, inside)}}
        for camera in profile.cameras
        if camera.type in (IMAGE, COMPRESSED_IMAGE)
    }
    arms = _plots(profile, inside, gripper=False)
    grippers = _plots(profile, inside, gripper=True)
    latency = {f"{STATUS}.inference_ms": "inference [ms]", f"{STATUS}.observation_age_ms": "age of observation [ms]"}
    policy = {"Plot!policy": _plot([(resolve_topic(path, inside), label) for path, label in latency.items()])}
    raw = {
        "RawMessages!policy": {"topicPath": resolve_topic(STATUS, inside)},
        "RawMessages!recorder": {"topicPath": resolve_topic(RECORDER, inside)},
    }
    scene = {"3D!robot": _scene(profile, inside)}
    panels: Panels = {**images, **scene, **arms, **grippers, **policy, **raw}
    left = _stack([*images, *raw], "column")
    right = _stack([*scene, *arms, *grippers, *policy], "column")
    layout = {
        "configById": panels,
        "globalVariables": {},
        "userNodes": {},
        "playbackConfig": {"speed": 1},
        "layout": {"direction": "row", "first": left, "second": right, "splitPercentage": 35},
    }
    return json.dumps(layout, indent=2) + "\n"


def topics(layout: str) -> set[str]:
    """Every topic that a layout reads."""
    found = set()
    for panel in json.loads(layout)["configById"].values():
        found.add(panel.get("imageMode", {}).get("imageTopic"))
        found.add(panel.get("topicPath"))
        found |= {path["value"].split(".")[0] for path in panel.get("paths", [])}
        found |= set(panel.get("topics", {}))
        found |= {layer.get("topic") for layer in panel.get("layers", {}).values()}
    return {topic for topic in found if topic}


def _plots(profile: Profile, inside: str, *, gripper: bool) -> Panels:
    """One plot per arm or per gripper: measured and commanded joints."""
    joints = [joint for spec in profile.action for joint in spec.joints]
    chosen = [spec for spec in profile.action if spec.is_gripper == gripper]
    return {f"Plot!{spec.name}": _plot(_series(spec, joints, inside)) for spec in chosen}


def _series(spec: ActionSpec, joints: list[str], inside: str) -> list[tuple[str, str]]:
    measured, commanded = resolve_topic(JOINTS, inside), resolve_topic(spec.record.topic, inside)
    series = [(f"{measured}.position[{joints.index(joint)}]", joint) for joint in spec.joints]
    if spec.record.type == "sensor_msgs/msg/JointState":  # whoever drives publishes them in the order of the profile
        series += [(f"{commanded}.position[{i}]", f"{joint} target") for i, joint in enumerate(spec.joints)]
    return series


def _plot(series: list[tuple[str, str]]) -> dict[str, Any]:
    count = max(1, sum(not label.endswith(" target") for _, label in series))
    paths = [
        {
            "value": value,
            "label": label,
            "enabled": True,
            "timestampMethod": "receiveTime",
            "color": COLORS[number % count % len(COLORS)] + ("80" if label.endswith(" target") else ""),
        }
        for number, (value, label) in enumerate(series)
    ]
    return {"paths": paths, "showLegend": True, "legendDisplay": "left", "isSynced": True, "followingViewWidth": 20}


def _scene(profile: Profile, inside: str) -> dict[str, Any]:
    grid = {"layerId": "foxglove.Grid", "label": "Grid", "visible": True, "size": 2, "divisions": 20, "order": 1}
    robot = {"layerId": "foxglove.Urdf", "label": "Robot", "visible": True, "order": 2, "sourceType": "topic"}
    return {
        "followTf": profile.base_frame,
        "followMode": "follow-none",
        "cameraState": {
            "distance": 2.2,
            "phi": 60,
            "thetaOffset": 45,
            "target": [0, 0, 0],
            "targetOffset": [0, 0, 0.3],
        },
        "layers": {
            "grid": {**grid, "instanceId": "grid"},
            "robot": {**robot, "instanceId": "robot", "topic": resolve_topic(DESCRIPTION, inside)},
        },
        "topics": {resolve_topic(MARKERS, inside): {"visible": True}},
    }


def _stack(names: list[str], direction: str) -> Any:
    """A tree that gives each panel the same share."""
    if len(names) == 1:
        return names[0]
    return {
        "direction": direction,
        "first": names[0],
        "second": _stack(names[1:], direction),
        "splitPercentage": 100 / len(names),
    }
