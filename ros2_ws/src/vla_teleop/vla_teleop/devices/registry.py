# SPDX-License-Identifier: Apache-2.0

"""Devices by the `kind` of their mapping: the built-in kinds, and entry points of the group `vla_teleop.devices`.

A package adds a kind of its own by one module and one line in its setup.py::

    entry_points={"vla_teleop.devices": ["pedal = my_package.pedal:make"]}

where `make` is a `DeviceFactory`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, cast

from ament_index_python.packages import get_package_share_directory
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from vla_core.errors import VlaError, listing, nearest_name
from vla_core.yamltree import Tree, entries, text

from vla_teleop.devices import gamepad, joy_pair, keyboard, leader_arm, spacemouse
from vla_teleop.devices.device import Device, DeviceError
from vla_teleop.devices.joined import KIND as JOINED
from vla_teleop.devices.joined import Joined, read_joined_spec
from vla_teleop.devices.settings import read_tree

GROUP = "vla_teleop.devices"


class DeviceFactory(Protocol):
    """Makes a device of one kind."""

    def __call__(self, node: Node, tree: Tree, callback_group: CallbackGroup | None = None) -> Device:
        """Return the device.

        Args:
            node: Which listens and whose clock counts; topics are relative to its namespace.
            tree: The whole YAML file of the mapping; `vla_core.yamltree.Section` reads it strictly.
            callback_group: Of the subscriptions.

        Raises:
            DeviceError: it cannot be opened.
            ProfileError: the mapping cannot be used.
        """


BUILT_IN: dict[str, DeviceFactory] = {
    "joy_pair": joy_pair.make,
    "gamepad": gamepad.make,
    "keyboard": keyboard.make,
    "spacemouse": spacemouse.make,
    "leader_arm": leader_arm.make,
}
"""Kinds of this package, beside `joined`, which is made of several of them."""


def installed() -> dict[str, EntryPoint]:
    """Kinds that other installed packages offer, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in (*BUILT_IN, JOINED)}


def kinds() -> tuple[str, ...]:
    """Names of all kinds."""
    return (*BUILT_IN, JOINED, *sorted(installed()))


def config_folder() -> Path:
    """Where the shipped mappings lie."""
    return Path(get_package_share_directory("vla_teleop")) / "config" / "devices"


def shipped() -> tuple[str, ...]:
    """Names of the shipped mappings."""
    return tuple(sorted(path.stem for path in config_folder().glob("*.yaml")))


def find_config(name_or_path: str) -> Path:
    """Return the YAML file of a mapping.

    Args:
        name_or_path: Name of a shipped mapping (``sol_r2``), or path of a file (with a slash or the ending .yaml).

    Raises:
        DeviceError: there is none; lists the shipped ones.
    """
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise DeviceError(f"device mapping '{path}': no such file; shipped mappings by name: {listing(shipped())}")
        return path
    if name_or_path not in shipped():
        raise DeviceError(
            f"device '{name_or_path}': there is no such mapping{nearest_name(name_or_path, shipped())}. Shipped are: "
            f"{listing(shipped())}; for one of your own give the path of its YAML file."
        )
    return config_folder() / f"{name_or_path}.yaml"


def make_device(node: Node, config: Path, *, callback_group: CallbackGroup | None = None) -> Device:
    """Make the device of a mapping.

    Args:
        node: Which listens and whose clock counts; topics are relative to its namespace.
        config: The YAML file, see `find_config`.
        callback_group: Of the subscriptions.

    Raises:
        DeviceError: the file cannot be read, its kind is unknown, or the device cannot be opened.
        ProfileError: the mapping cannot be used; names file, line and key.
    """
    tree = read_tree(config)
    children = entries(tree)
    if "kind" not in children:
        raise tree.place.error(f"missing key 'kind'; one of {listing(kinds())}")
    kind = text(children["kind"])
    if kind == JOINED:
        return _join(node, tree, config, callback_group)
    return _factory(kind, children["kind"])(node, tree, callback_group)


def mapping_parts(config: Path) -> tuple[Path, ...]:
    """Return the files of the mappings that a mapping is made of: itself, or those that it joins.

    Raises:
        DeviceError: a file cannot be found or read.
        ProfileError: it is no mapping that joins others properly.
    """
    tree = read_tree(config)
    children = entries(tree)
    if "kind" not in children or children["kind"].value != JOINED:
        return (config,)
    spec = read_joined_spec(tree, config.stem)
    return tuple(_part(one, config) for one in (spec.motion, *spec.events))


def _part(name_or_path: str, config: Path) -> Path:
    """The file of a joined mapping; a relative path is relative to the file that joins it."""
    beside = config.parent / name_or_path
    path = beside if beside.suffix in (".yaml", ".yml") and beside.is_file() else find_config(name_or_path)
    kind = entries(read_tree(path)).get("kind")
    if kind is not None and kind.value == JOINED:
        raise kind.place.error(f"a mapping that {config} joins joins others itself; name those in {config}")
    return path


def _join(node: Node, tree: Tree, config: Path, callback_group: CallbackGroup | None) -> Device:
    made: list[Device] = []
    try:
        for path in mapping_parts(config):
            made.append(make_device(node, path, callback_group=callback_group))  # noqa: PERF401 - closed on an error
    except VlaError:
        for device in made:
            device.close()
        raise
    return Joined(read_joined_spec(tree, config.stem).name, made[0], made[1:])


def _factory(kind: str, tree: Tree) -> DeviceFactory:
    if kind in BUILT_IN:
        return BUILT_IN[kind]
    others = installed()
    if kind not in others:
        raise tree.place.error(
            f"unknown kind '{kind}'; installed are {listing(kinds())}{nearest_name(kind, kinds())} (packages add kinds by "
            f"entry points of the group '{GROUP}')"
        )
    try:
        return cast(DeviceFactory, others[kind].load())
    except (ImportError, AttributeError) as error:
        raise tree.place.error(
            f"kind '{kind}': its entry point {others[kind].value} cannot be imported: {error}. Install what it needs."
        ) from error
