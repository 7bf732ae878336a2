# SPDX-License-Identifier: Apache-2.0

"""What must hold before ur_robot_driver can drive a UR, asked of the robot itself; nothing on it is changed.

The Dashboard server of a UR (TCP 29999) answers one line of text per line: robot mode, safety, loaded program, remote
control. The driver itself needs the ports 30001, 30002 and 30004 of the robot, and offers 50001 to 50004 on this host,
to which the robot's program (External Control) connects.

Source: Universal Robots, "Dashboard Server e-Series, port 29999" and the documentation of ur_robot_driver.
"""

from __future__ import annotations

import errno
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

Level = Literal["green", "yellow", "red"]

_GOOD_SAFETY = ("NORMAL", "REDUCED")
_BROKEN_MODES = ("NO_CONTROLLER", "DISCONNECTED", "CONFIRM_SAFETY")
_SAFETY_REMEDIES = {
    "PROTECTIVE_STOP": "look why it stopped, clear the space, then press 'Enable robot' on the pendant, or: ros2 service call "
    "/dashboard_client/unlock_protective_stop std_srvs/srv/Trigger",
    "ROBOT_EMERGENCY_STOP": "release the emergency stop on the pendant and initialise the robot there",
    "SYSTEM_EMERGENCY_STOP": "release the emergency stop of the cell and initialise the robot on the pendant",
    "SAFEGUARD_STOP": "close the safeguard (door, light curtain) and reset it",
    "RECOVERY": "move the arm back inside its safety limits by hand on the pendant",
}
_URCAP = (
    "on the pendant: install the URCap External Control, put its node into a program, set Host IP {host} and Custom port "
    "50002 in its installation, load the program and press play once the driver runs (or start the driver with "
    "headless_mode:=true)"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: green (as it should be), yellow (the driver starts, but the arm will not move yet) or red (it cannot work).
        what: What was found.
        remedy: What to do; empty where all is well.
    """

    level: Level
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level.upper():<6} {self.what}" + (f"  ->  {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class UrPorts:
    """TCP ports: of the robot's Dashboard server and of its other interfaces, and those that this host offers to it."""

    dashboard: int = 29999
    robot: tuple[int, ...] = (30001, 30002, 30004)
    host: tuple[int, ...] = (50001, 50002, 50003, 50004)


class _NoAnswerError(Exception):
    """The other side did not answer as a Dashboard server does."""


def check_ur(
    ip: str,
    *,
    timeout_s: float = 2.0,
    headless: bool = False,
    driver_running: bool = False,
    ports: UrPorts | None = None,
) -> list[Finding]:
    """Say whether the UR at an address can be driven by ur_robot_driver; raises nothing, takes about `timeout_s` at most.

    Args:
        ip: Address or host name of the robot.
        timeout_s: For everything together [s].
        headless: Whether the driver is started with headless_mode:=true, which needs remote control.
        driver_running: Whether the driver runs already, so that the host's ports are taken by it.
        ports: Other ports than those of a real robot.
    """
    used = ports or UrPorts()
    deadline = time.monotonic() + timeout_s
    try:
        address = socket.getaddrinfo(ip, used.dashboard, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        return [
            Finding("red", f"robot_ip {ip!r} is no address ({error})", "give the IPv4 address that the pendant shows "
                    "under Settings, System, Network")
        ]  # fmt: skip
    numbers = (used.dashboard, *used.robot)
    with ThreadPoolExecutor(len(numbers)) as pool:
        problems = dict(zip(numbers, pool.map(lambda port: _reach(str(address), port, deadline), numbers), strict=True))
    findings = _reachability(ip, used, problems)
    if not problems[used.dashboard]:
        findings += _dashboard(str(address), used, deadline, headless=headless)
    if not driver_running:
        findings.append(_host_ports(used))
    return findings


def worst(findings: list[Finding]) -> Level:
    """Return the worst level of findings; green for none."""
    levels = {finding.level for finding in findings}
    return "red" if "red" in levels else "yellow" if "yellow" in levels else "green"


def _left(deadline: float) -> float:
    return max(0.05, deadline - time.monotonic())


def _reach(address: str, port: int, deadline: float) -> str:
    """Why a port cannot be reached; empty where it can."""
    try:
        with socket.create_connection((address, port), timeout=_left(deadline)):
            return ""
    except TimeoutError:
        return "no answer"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return "no route" if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH) else str(error)


def _reachability(ip: str, used: UrPorts, problems: dict[int, str]) -> list[Finding]:
    bad = {port: problem for port, problem in problems.items() if problem}
    if not bad:
        listed = ", ".join(map(str, problems))
        return [Finding("green", f"robot at {ip} answers on ports {listed}")]
    text = ", ".join(f"{port} {problem}" for port, problem in bad.items())
    if len(bad) == len(problems):
        refused = set(bad.values()) == {"refused"}
        remedy = (
            "a computer is there, but no running UR: check the address on the pendant (Settings, System, Network)"
            if refused
            else "is the robot on and its cable plugged in, is the address right (pendant: Settings, System, Network), and is "
            f"this computer in the same network (ip route get {ip})?"
        )
        return [Finding("red", f"robot at {ip} cannot be reached: {text}", remedy)]
    if used.dashboard in bad:
        remedy = "enable it on the pendant: Settings, Security, Services, Dashboard Server (PolyScope X has none)"
        found = [Finding("yellow", f"Dashboard server of {ip}: port {text}; its mode and safety are not known", remedy)]
        bad.pop(used.dashboard)
    else:
        found = []
    if bad:
        closed = ", ".join(f"{port} {problem}" for port, problem in bad.items())
        remedy = "enable Primary, Secondary and Real-Time Data Exchange on the pendant: Settings, Security, Services"
        found.append(Finding("red", f"interfaces of {ip} that the driver needs are closed: port {closed}", remedy))
    return found


def _dashboard(address: str, used: UrPorts, deadline: float, *, headless: bool) -> list[Finding]:
    questions = ("robotmode", "safetystatus", "is in remote control", "programState", "get loaded program")
    try:
        answers, host = _ask(address, used.dashboard, questions, deadline)
    except (_NoAnswerError, OSError) as error:
        what = f"port {used.dashboard} of {address} does not answer as a Dashboard server: {error}"
        return [Finding("red", what, "is this address the robot's? If so, restart its controller")]
    remote = answers["is in remote control"].lower()
    return [
        _mode(answers["robotmode"]),
        _safety(answers["safetystatus"]),
        _remote(remote, headless=headless),
        _program(answers["programState"], answers["get loaded program"], host, headless=headless),
    ]


def _ask(address: str, port: int, questions: tuple[str, ...], deadline: float) -> tuple[dict[str, str], str]:
    """Answers by question, and this host's address as the robot sees it."""
    with socket.create_connection((address, port), timeout=_left(deadline)) as link:
        host = str(link.getsockname()[0])
        lines = _Lines(link, deadline)
        greeting = lines.next()
        if "dashboard server" not in greeting.lower():
            raise _NoAnswerError(f"it greets with {greeting[:60]!r}")
        answers = {}
        for question in questions:
            link.sendall(f"{question}\n".encode("ascii"))
            answers[question] = lines.next()
    return answers, host


class _Lines:
    """Reads lines of a connection until a deadline."""

    def __init__(self, link: socket.socket, deadline: float) -> None:
        self._link, self._deadline, self._rest = link, deadline, b""

    def next(self) -> str:
        while b"\n" not in self._rest:
            self._link.settimeout(_left(self._deadline))
            try:
                more = self._link.recv(4096)
            except TimeoutError:
                raise _NoAnswerError("no answer in time") from None
            if not more:
                raise _NoAnswerError("it closed the connection")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", errors="replace").strip()


def _after_colon(answer: str) -> str:
    return answer.rpartition(":")[2].strip().upper()


def _mode(answer: str) -> Finding:
    mode = _after_colon(answer)
    if mode == "RUNNING":
        return Finding("green", "robot mode RUNNING: powered, brakes released")
    if mode in _BROKEN_MODES:
        return Finding("red", f"robot mode {mode}", "clear what the pendant shows; restart the controller if it stays")
    remedy = (
        "power on and release the brakes on the pendant, or once the driver runs: ros2 service call "
        "/dashboard_client/power_on std_srvs/srv/Trigger, then /dashboard_client/brake_release"
    )
    return Finding("yellow", f"robot mode {mode or repr(answer)}: the arm cannot move", remedy)


def _safety(answer: str) -> Finding:
    status = _after_colon(answer)
    if status in _GOOD_SAFETY:
        return Finding("green", f"safety status {status}")
    remedy = _SAFETY_REMEDIES.get(status, "clear what the pendant shows before the driver is started")
    return Finding("red", f"safety status {status or repr(answer)}: the arm is stopped", remedy)


def _remote(answer: str, *, headless: bool) -> Finding:
    if answer == "true":
        return Finding("green", "remote control is on")
    if answer != "false":
        return Finding("green", f"remote control: not known to this controller ({answer[:60]}); a CB3 needs none")
    if headless:
        remedy = (
            "switch the pendant to Remote Control (upper right corner; enable it once under Settings, System, Remote "
            "Control), or start the driver with headless_mode:=false and play the program by hand"
        )
        return Finding("red", "local control: with headless_mode the driver cannot send its program", remedy)
    remedy = "fine while a person presses play on the pendant; dashboard_client/play needs Remote Control"
    return Finding("yellow", "local control", remedy)


def _program(state: str, loaded: str, host: str, *, headless: bool) -> Finding:
    name = loaded.partition(":")[2].strip().rpartition("/")[2]
    if state.upper().startswith("PLAYING"):
        return Finding("green", f"program {name or '(unnamed)'} is playing")
    if headless:
        return Finding("green", "no program is playing; the driver sends its own (headless_mode)")
    remedy = _URCAP.format(host=host)
    if not name:
        return Finding("yellow", "no program is loaded on the pendant", remedy)
    return Finding(
        "yellow",
        f"program {name} is loaded and not playing",
        f"press play once the driver runs. If it is new: {remedy}",
    )


def _host_ports(used: UrPorts) -> Finding:
    taken = []
    for port in used.host:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                taken.append(str(port))
    listed = ", ".join(map(str, used.host))
    if not taken:
        return Finding("green", f"ports {listed} of this host are free for the robot's program")
    return Finding(
        "red",
        f"port {', '.join(taken)} of this host is in use; the robot's program connects to {listed}",
        "end the other driver (ss -ltnp | grep 5000 shows the process), or give this one reverse_port, script_sender_port, "
        "trajectory_port and script_command_port of its own",
    )
