# SPDX-License-Identifier: Apache-2.0

"""Which interfaces the sourced environment offers, read from the ament index."""

from collections.abc import Iterable
from pathlib import Path

from ament_index_python import get_package_share_directory, get_resource, get_resources

_RESOURCE = "rosidl_interfaces"


def get_interface_packages() -> dict[str, str]:
    """Return ``{package: prefix}`` of all packages that hold interfaces."""
    return dict(get_resources(_RESOURCE))


def get_interfaces(package_names: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return ``{package: ['msg/Name', 'srv/Name', …]}``, sorted; without names, of all packages.

    Raises:
        LookupError: a named package holds no interfaces.
    """
    return _collect(package_names, ("msg/", "srv/", "action/"))


def get_message_interfaces(package_names: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return the messages only; otherwise as :func:`get_interfaces`."""
    return _collect(package_names, ("msg/",))


def get_service_interfaces(package_names: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return the services only; otherwise as :func:`get_interfaces`."""
    return _collect(package_names, ("srv/",))


def get_action_interfaces(package_names: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return the actions only; otherwise as :func:`get_interfaces`."""
    return _collect(package_names, ("action/",))


def get_interface_path(interface_name: str) -> str:
    """Return the path of the definition file of ``package/msg|srv|action/Name``.

    Raises:
        ValueError: the name has not that form.
        LookupError: no such package, or the package has no such interface.
    """
    parts = interface_name.split("/")
    if len(parts) != 3 or not all(parts):
        msg = f"Invalid name '{interface_name}'. Expected three parts separated by '/'"
        raise ValueError(msg)
    package, kind, name = parts
    share = Path(get_package_share_directory(package))
    path = share / kind / f"{name}.{kind}"
    if not path.exists():
        msg = f"Could not find the interface '{interface_name}': no file {path}"
        raise LookupError(msg)
    return str(path)


def _collect(package_names: Iterable[str], prefixes: tuple[str, ...]) -> dict[str, list[str]]:
    names = sorted(package_names) or sorted(get_resources(_RESOURCE))
    found = {}
    for name in names:
        listing, _prefix = get_resource(_RESOURCE, name)
        # the list holds .msg and .idl of the same interface, and parts of actions under other extensions
        stems = {line.rpartition(".")[0] for line in listing.splitlines() if line.startswith(prefixes)}
        if stems:
            found[name] = sorted(stems)
    return found
