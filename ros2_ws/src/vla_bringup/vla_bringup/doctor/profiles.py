# SPDX-License-Identifier: Apache-2.0

"""Finding a robot profile by its name or its path."""

from __future__ import annotations

from pathlib import Path

from vla_common.profiles import shipped_profiles
from vla_core.errors import listing, nearest_name

from vla_bringup.doctor.findings import DoctorError

DEFAULT_ROBOT = "ur5e_2f85_realsense"


def find_profile(given: str) -> Path:
    """Return the file of a profile.

    Args:
        given: Path of a YAML file, or the name of a shipped robot.

    Raises:
        DoctorError: there is neither.
    """
    path = Path(given).expanduser()
    if path.suffix in (".yaml", ".yml") or "/" in given:
        if not path.is_file():
            raise DoctorError(
                f"{given}: no such file; give the path of a profile, or a robot: {listing(shipped_profiles())}"
            )
        return path.resolve()
    robots = shipped_profiles()
    if given not in robots:
        raise DoctorError(
            f"'{given}' is neither a file nor a shipped robot; robots: {listing(robots)}{nearest_name(given, robots)}"
        )
    return robots[given]
