# SPDX-License-Identifier: Apache-2.0

"""Robot profiles by name, for programs that no launch file starts."""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from vla_core.errors import ProfileError, listing, nearest_name
from vla_core.profile import Profile, load_profile

HOME = "vla_bringup"
"""The package that ships the profiles."""


def shipped_profiles() -> dict[str, Path]:
    """Return the file of each profile that is installed, by name; empty where the package is not installed."""
    try:
        folder = Path(get_package_share_directory(HOME)) / "robots"
    except PackageNotFoundError:
        return {}
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_profile(name: str) -> Profile:
    """Return a robot profile.

    Args:
        name: Of a shipped profile, such as ``sim_ur5e``, or path of a YAML file.

    Raises:
        ProfileError: neither, or the profile has an error.
    """
    if not name:
        raise ProfileError(f"no robot profile was named; name one of {listing(shipped_profiles())}, or a YAML file")
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return load_profile(path)
    shipped = shipped_profiles()
    if name not in shipped:
        raise ProfileError(
            f"there is no robot profile '{name}'{nearest_name(name, shipped)}; shipped are {listing(shipped)}; "
            "name a YAML file for one of your own"
        )
    return load_profile(shipped[name])
