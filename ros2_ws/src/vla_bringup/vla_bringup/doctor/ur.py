# SPDX-License-Identifier: Apache-2.0

"""The controllers of UR arms that a profile names: address, mode, protective stop, program; asked of the robot itself."""

from __future__ import annotations

from collections.abc import Mapping

from vla_core.profile import Profile
from vla_drivers.ur_prerequisites import UrPorts, check_ur

from vla_bringup.doctor.findings import DoctorError, Finding

PACKAGE = "ur_robot_driver"
SIDES = ("left", "right")


def addresses(profile: Profile, given: Mapping[str, str]) -> dict[str, str]:
    """Return the address of each UR driver of a profile, by the driver's name; mock hardware has none.

    Args:
        profile: Of the robot.
        given: Addresses of the command line by side: ``""`` for the only arm, ``left``, ``right``; empty: the profile's.

    Raises:
        DoctorError: an address was given that belongs to no driver.
    """
    urs = {driver.name: driver.args for driver in profile.drivers if driver.package == PACKAGE}
    found = {name: args.get("robot_ip", "") for name, args in urs.items() if args.get("use_mock_hardware") != "true"}
    for side, address in given.items():
        if not address:
            continue
        takers = [name for name in urs if name.startswith(f"{side}_")] if side else list(urs)
        if len(takers) != 1:
            option = f"--{side}-robot-ip" if side else "--robot-ip"
            drivers = ", ".join(urs) or "none"
            raise DoctorError(
                f"{option} {address}: fits {len(takers)} UR drivers of {profile.robot} (there are: {drivers})"
            )
        found[takers[0]] = address
    return {name: address for name, address in found.items() if address}


def judge_ur(arms: Mapping[str, str], *, running: bool, ports: UrPorts | None = None) -> list[Finding]:
    """Return what the arms' controllers say.

    Args:
        arms: Address by name of the driver.
        running: Whether the driver runs, so that it has taken this host's ports.
        ports: Other ports than those of real robots.
    """
    return [
        Finding(finding.level, finding.what, finding.remedy, f"{name} {address}")
        for name, address in arms.items()
        for finding in check_ur(address, driver_running=running, ports=ports)
    ]
