# SPDX-License-Identifier: Apache-2.0

"""Arguments that several ``ros2 bag`` commands share, and the QoS override file."""

import argparse
from pathlib import Path
from typing import Any

import yaml
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

from ros2_pip_cli.errors import CliError

_POLICIES: dict[str, Any] = {
    "history": HistoryPolicy,
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
    "liveliness": LivelinessPolicy,
}
_DURATIONS = ("deadline", "lifespan", "liveliness_lease_duration")
_DEFAULT_DEPTH = 10


def add_storage_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--storage``."""
    parser.add_argument(
        "-s", "--storage", default="", help="Storage of the bag: mcap (the default), or sqlite3 where a bag is read"
    )


def add_qos_overrides_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--qos-profile-overrides-path``, parsed into ``{topic: QoSProfile}``."""
    parser.add_argument(
        "--qos-profile-overrides-path",
        dest="qos_overrides",
        metavar="FILE",
        type=read_qos_overrides,
        default={},
        help="YAML file with a QoS profile for each topic that needs another than the automatic one",
    )


def bag_path(text: str) -> str:
    """Parse the path of a bag; it must exist."""
    if not Path(text).exists():
        msg = f"Bag path '{text}' does not exist!"
        raise argparse.ArgumentTypeError(msg)
    return text


def read_qos_overrides(path: str) -> dict[str, QoSProfile]:
    """Read ``{topic: QoSProfile}`` from a YAML file such as ``/image: {reliability: best_effort, depth: 5}``.

    Raises:
        CliError: the file is missing or wrong; the text names file, topic and key.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: cannot read the QoS overrides: {error.strerror}"
        raise CliError(msg) from None
    except yaml.YAMLError as error:
        msg = f"{path}: the QoS overrides are not YAML: {error}"
        raise CliError(msg) from None
    if not isinstance(data, dict):
        msg = f"{path}: expected a dictionary of topics, got {type(data).__name__}"
        raise CliError(msg)
    return {topic: _profile(node, f"{path}: {topic}") for topic, node in data.items()}


def _profile(node: Any, where: str) -> QoSProfile:
    if not isinstance(node, dict):
        msg = f"{where}: expected a dictionary of policies, got {type(node).__name__}"
        raise CliError(msg)
    profile = QoSProfile(depth=_DEFAULT_DEPTH)
    for key, value in node.items():
        if key in _POLICIES:
            setattr(profile, key, _policy(_POLICIES[key], value, f"{where}.{key}"))
        elif key in _DURATIONS:
            setattr(profile, key, _duration(value, f"{where}.{key}"))
        elif key == "depth" and isinstance(value, int) and value >= 0:
            profile.depth = value
        elif key == "avoid_ros_namespace_conventions" and isinstance(value, bool):
            profile.avoid_ros_namespace_conventions = value
        else:
            known = ", ".join(("depth", *_POLICIES, *_DURATIONS, "avoid_ros_namespace_conventions"))
            msg = f"{where}: '{key}: {value}' is not understood; the keys are {known}"
            raise CliError(msg)
    return profile


def _policy(kind: Any, value: Any, where: str) -> Any:
    known = [key for key in kind.short_keys() if key != "unknown"]
    if value not in known:
        msg = f"{where}: '{value}' is not one of {', '.join(known)}"
        raise CliError(msg)
    return kind.get_from_short_key(value)


def _duration(value: Any, where: str) -> Duration:
    if not isinstance(value, dict) or not set(value) <= {"sec", "nsec"}:
        msg = f"{where}: expected {{sec: …, nsec: …}}, got '{value}'"
        raise CliError(msg)
    return Duration(seconds=value.get("sec", 0), nanoseconds=value.get("nsec", 0))
