# SPDX-License-Identifier: Apache-2.0

"""What the launch argument `monitor` starts beside a robot, a policy or a played episode: programs that only look on.

A monitor is one entry of `MONITORS`. Whether it can start is checked before anything starts; when it is closed or dies,
everything else goes on.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import Action, LaunchContext
from launch.actions import OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnShutdown
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from vla_core.profile import Profile

from vla_bringup.launch_util import given_file, node, require, value
from vla_bringup.rviz_config import rviz_config

NONE = "none"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What monitors look at.

    Attributes:
        path: Robot profile.
        profile: The same, loaded.
        use_sim_time: Whether the clock is that of a simulation or of a bag.
        simulated: Whether it is the simulated cell, which describes itself and publishes its transforms.
    """

    path: Path
    profile: Profile
    use_sim_time: bool
    simulated: bool

    @property
    def parameters(self) -> dict[str, object]:
        """Parameters that every monitor node of this workspace has."""
        return {"profile": str(self.path), "use_sim_time": self.use_sim_time}


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """One value of the launch argument `monitor`.

    Attributes:
        check: Refuses by a RuntimeError what cannot work; called before anything starts.
        start: Makes its processes.
        scene: Whether it draws the robot, so that it needs transforms and markers as topics.
    """

    check: Callable[[LaunchContext], None]
    start: Callable[[LaunchContext, Watched], list[Action]]
    scene: bool = False


def monitors(
    context: LaunchContext, path: Path | None, profile: Profile, *, simulated: bool, use_sim_time: bool
) -> list[Action]:
    """Everything that the launch argument `monitor` asks for.

    Args:
        context: Of the launch.
        path: File of the robot profile; None where it comes out of a bag.
        profile: The same, loaded.
        simulated: Whether the simulated cell runs.
        use_sim_time: Whether the clock is that of a simulation or of a bag.

    Raises:
        RuntimeError: no such monitor, or a program that it needs is not installed; what to do is said.
    """
    names, urdf = chosen(value(context, "monitor")), given_file(context, "urdf")
    scene = any(MONITORS[name].scene for name in names)
    require(scene or urdf is None, "urdf:= is for a monitor that draws the robot: add monitor:=rviz or leave it out")
    require(urdf is None or not simulated, "urdf:= is for a robot; the simulated cell brings its own description")
    for name in names:
        MONITORS[name].check(context)
    if not names:
        return []
    clean_up, path = _profile_file(path, profile)
    watched = Watched(path=path, profile=profile, use_sim_time=use_sim_time, simulated=simulated)
    actions = [*clean_up, *(_scene(context, watched, urdf) if scene else [])]
    for name in names:
        actions += MONITORS[name].start(context, watched)
    return actions


def chosen(text: str) -> list[str]:
    """The monitors in the text of the launch argument, without `none`.

    Raises:
        RuntimeError: there is no such monitor.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        require(
            name == NONE or name in MONITORS,
            f"launch argument monitor:={text}: there is no monitor '{name}'; there are {NONE}, {', '.join(MONITORS)}, "
            "several with commas between them",
        )
    require(NONE not in names or len(names) == 1, f"launch argument monitor:={text}: '{NONE}' goes with no other")
    return [name for name in names if name != NONE]


def needs_package(name: str, package: str, instead: str) -> None:
    """Refuse a monitor whose program is not installed.

    Raises:
        RuntimeError: with the command that installs it, and what else there is.
    """
    try:
        get_package_share_directory(package)
    except LookupError as error:
        raise RuntimeError(
            f"monitor:={name} needs the ROS 2 package {package}, which is not installed: sudo apt-get install "
            f"ros-jazzy-{package.replace('_', '-')}. {instead}"
        ) from error


def _scene(context: LaunchContext, watched: Watched, urdf: Path | None) -> list[Action]:
    """Markers, and the transforms of the links where nobody else publishes them."""
    markers = node(context, "vla_monitor", "markers_node", "markers", watched.parameters)
    if watched.simulated:
        return [markers]
    state = {"urdf_file": str(urdf or ""), "use_sim_time": watched.use_sim_time}
    return [markers, node(context, "vla_monitor", "robot_state", "robot_state", state)]


def _check_rviz(_: LaunchContext) -> None:
    needs_package("rviz", "rviz2", "Where there is none, such as on PyPI, watch with monitor:=rerun or monitor:=web")


def _rviz(context: LaunchContext, watched: Watched) -> list[Action]:
    namespace = value(context, "namespace")
    config = scratch() / "vla.rviz"
    config.write_text(rviz_config(watched.profile, namespace), encoding="utf-8")
    inside = [("/tf", "tf"), ("/tf_static", "tf_static")] if namespace else []
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz",
            namespace=namespace,
            arguments=["-d", str(config)],
            parameters=[{"use_sim_time": watched.use_sim_time}],
            remappings=inside,
            output="screen",
            emulate_tty=False,
        ),
        _forgotten_at_the_end(),
    ]


def _check_foxglove(context: LaunchContext) -> None:
    text = value(context, "foxglove_port")
    require(
        text.isdecimal() and 0 < int(text) < 65536,
        f"launch argument foxglove_port:={text}: expected a port, 1 to 65535",
    )
    needs_package(
        "foxglove", "foxglove_bridge", "Where there is none, such as on PyPI, watch with monitor:=rerun or monitor:=web"
    )


def _foxglove(context: LaunchContext, watched: Watched) -> list[Action]:
    port = int(value(context, "foxglove_port"))
    parameters = {"port": port, "address": "127.0.0.1", "use_sim_time": watched.use_sim_time}
    return [
        Node(
            package="foxglove_bridge",
            executable="foxglove_bridge",
            name="foxglove_bridge",
            namespace=value(context, "namespace"),
            parameters=[parameters],
            output="screen",
            emulate_tty=False,
        )
    ]


def _check_rerun(context: LaunchContext) -> None:
    file = value(context, "rerun_file")
    require(
        value(context, "rerun_mode") == "save" or not file,
        f"rerun_file:={file} is written by rerun_mode:=save only; add it, or leave rerun_file out",
    )


def _rerun(context: LaunchContext, watched: Watched) -> list[Action]:
    parameters = {**watched.parameters, "mode": value(context, "rerun_mode"), "file": value(context, "rerun_file")}
    return [node(context, "vla_monitor", "rerun_node", "rerun", parameters)]


def _check_web(context: LaunchContext) -> None:
    port, host, token = (value(context, name) for name in ("web_port", "web_host", "web_token"))
    require(
        port.isdecimal() and int(port) < 65536,
        f"launch argument web_port:={port}: expected a port, 0 to 65535",
    )
    require(
        host in LOOPBACK or bool(token),
        f"web_host:={host} lets other machines press the buttons of the page; add web_token:=<a secret, such as from "
        "openssl rand -hex 16>, or leave web_host at 127.0.0.1 and come in through ssh -L",
    )


def _web(context: LaunchContext, watched: Watched) -> list[Action]:
    parameters = {
        **watched.parameters,
        "web_host": value(context, "web_host"),
        "web_port": int(value(context, "web_port")),
        "web_token": ParameterValue(value(context, "web_token"), value_type=str),
        "episodes_dir": context.launch_configurations.get("output_dir", ""),
    }
    return [node(context, "vla_web", "page_node", "page", parameters)]


MONITORS: dict[str, Monitor] = {
    "rviz": Monitor(check=_check_rviz, start=_rviz, scene=True),
    "rerun": Monitor(check=_check_rerun, start=_rerun),
    "foxglove": Monitor(check=_check_foxglove, start=_foxglove, scene=True),
    "web": Monitor(check=_check_web, start=_web),
}
"""Name of each monitor to what it starts."""


def _profile_file(path: Path | None, profile: Profile) -> tuple[list[Action], Path]:
    """The file of a profile; of one that came out of a bag, a copy for as long as the launch runs."""
    if path is not None:
        return [], path
    copy = scratch() / f"{profile.robot}.yaml"
    copy.write_text(profile.text, encoding="utf-8")
    return [_forgotten_at_the_end()], copy


@cache
def scratch() -> Path:
    """A folder for files of this launch; see `_forgotten_at_the_end`."""
    return Path(tempfile.mkdtemp(prefix="vla_monitor_"))


def _forgotten_at_the_end() -> Action:
    def forget(_: LaunchContext) -> None:
        shutil.rmtree(scratch(), ignore_errors=True)

    return RegisterEventHandler(OnShutdown(on_shutdown=[OpaqueFunction(function=forget)]))
