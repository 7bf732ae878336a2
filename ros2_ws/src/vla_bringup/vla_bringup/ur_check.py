# SPDX-License-Identifier: Apache-2.0

"""Before a UR's driver starts, the robot is asked whether it can be driven; nothing on it is changed."""

from launch import LaunchContext
from launch.logging import get_logger
from vla_drivers.ur_prerequisites import Finding, UrPorts, check_ur

from vla_bringup.driver_launch import Driver
from vla_bringup.launch_util import FALSE_WORDS, TRUE_WORDS, flag

_LAUNCH_FILE = "ur_control.launch.py"
# The driver's ports on this host: argument of its launch file and default.
_HOST_PORTS = {
    "reverse_port": 50001,
    "script_sender_port": 50002,
    "trajectory_port": 50003,
    "script_command_port": 50004,
}


def check_robots(context: LaunchContext, drivers: list[Driver], ports: UrPorts | None = None) -> None:
    """Ask every real UR among the drivers; warn of what keeps its arm from moving, refuse what cannot work.

    Args:
        context: Of the launch; `check_robot:=false` asks nothing.
        drivers: What is about to be started.
        ports: Where robots listen, other than real ones do.

    Raises:
        RuntimeError: a robot cannot be driven; the text has what was found and what to do.
    """
    if not flag(context, "check_robot"):
        return
    for driver in drivers:
        own = driver.arguments
        if driver.file.name != _LAUNCH_FILE or own.get("use_mock_hardware", "false").lower() in TRUE_WORDS:
            continue
        base = ports or UrPorts()
        host = base.host if ports else tuple(int(own.get(key, port)) for key, port in _HOST_PORTS.items())
        findings = check_ur(
            own.get("robot_ip", ""),
            headless=own.get("headless_mode", "false").lower() not in FALSE_WORDS,
            ports=UrPorts(dashboard=base.dashboard, robot=base.robot, host=host),
        )
        _judge(driver.name, findings)


def _judge(name: str, findings: list[Finding]) -> None:
    for finding in findings:
        if finding.level == "yellow":
            get_logger("check_robot").warning(f"{name}: {finding.what}. {finding.remedy}")
    bad = [finding for finding in findings if finding.level == "red"]
    if bad:
        lines = "".join(f"\n  {finding.what}\n    remedy: {finding.remedy}" for finding in bad)
        raise RuntimeError(
            f"driver '{name}' would not work, so nothing was started:{lines}\nLook again with: ros2 run vla_drivers check_ur "
            "--robot-ip …   Start all the same with: check_robot:=false"
        )
