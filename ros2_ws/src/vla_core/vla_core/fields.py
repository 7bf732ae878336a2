# SPDX-License-Identifier: Apache-2.0

"""Field paths: how a profile names single numbers inside a message.

Three kinds of message, three kinds of path:

- by name (JointState, JointTrajectory): ``position.elbow_joint`` is the value of ``position`` at the index at which the
  message's list of names says ``elbow_joint``; the order of joints in the message never matters;
- by path (PoseStamped, TwistStamped, Bool): ``pose.position.x``;
- by index (Float64MultiArray, Joy): ``data[3]``, also written ``data.3``.

Messages are duck-typed: generated ROS classes, objects decoded from a bag and test fakes all work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import FieldError, listing, nearest_name

ALL = "all"
SOME = "some"
NONE = "none"
_INDEXED = re.compile(r"^(?P<array>[A-Za-z_]\w*)(?:\[(?P<bracket>\d+)\]|\.(?P<dot>\d+))$")
# A topic is published by a handful of nodes; a sender that changes its joint names all the time must not fill memory.
_MAX_CACHED_LAYOUTS = 64


class FieldReader(Protocol):
    """Reads the same numbers from each message of one type."""

    def read(self, msg: Any) -> NDArray[np.float64]:
        """Return the ``(k,)`` values of the fields, in their order; FieldError if the message lacks one."""

    def carries(self, msg: Any) -> str:
        """Return ``all``, ``some`` or ``none``: how many of the wanted names the message carries."""


class Layout(Protocol):
    """What can be addressed inside a message type."""

    def bind(self, fields: Sequence[str], point: str) -> FieldReader:
        """Return a reader of these fields; FieldError names the first path that the type cannot have."""

    def everything(self, msg: Any) -> NDArray[np.float64]:
        """Return all numbers of a message in its own order."""


def joint_of(field: str) -> str | None:
    """Return the joint of a by-name path (``position.elbow_joint`` gives ``elbow_joint``), else None."""
    group, _, name = field.partition(".")
    return name if group == "position" and name else None


def _array(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class NamedLayout:
    """Values that are addressed by a name in a parallel list.

    Attributes:
        names_attr: Attribute that lists the names.
        groups: Field group (``position``) to the attribute that holds its values (``positions``).
        points: The values lie in ``points[0]`` or ``points[-1]`` instead of in the message itself.
    """

    names_attr: str
    groups: dict[str, str]
    points: bool = False

    def bind(self, fields: Sequence[str], point: str) -> FieldReader:
        """Return a reader of ``group.name`` paths."""
        wanted = []
        for path in fields:
            group, dot, name = path.partition(".")
            if group not in self.groups or not dot or not name:
                example = f"{next(iter(self.groups))}.<joint name>"
                raise FieldError(
                    f"'{path}' is no field path here; write it like '{example}' with one of "
                    f"{listing(self.groups)}{nearest_name(group, self.groups)}"
                )
            wanted.append((self.groups[group], name))
        return _NamedReader(self, tuple(wanted), point)

    def holder(self, msg: Any, point: str) -> Any:
        """Return the part of the message that holds the values."""
        if not self.points:
            return msg
        if not len(msg.points):
            raise FieldError("the trajectory message has no points")
        return msg.points[0 if point == "first" else -1]

    def everything(self, msg: Any) -> NDArray[np.float64]:
        """Return the positions in the order of the message."""
        return _array(getattr(self.holder(msg, "last"), next(iter(self.groups.values()))))


class _NamedReader:
    def __init__(self, layout: NamedLayout, wanted: tuple[tuple[str, str], ...], point: str) -> None:
        self._layout = layout
        self._wanted = wanted
        self._names = frozenset(name for _, name in wanted)
        self._point = point
        attrs = {attr for attr, _ in wanted}
        self._single_attr = attrs.pop() if len(attrs) == 1 else None
        self._indices: dict[tuple[str, ...], NDArray[np.intp] | None] = {}
        self._carried: dict[tuple[str, ...], str] = {}

    def carries(self, msg: Any) -> str:
        names = tuple(getattr(msg, self._layout.names_attr))
        carried = self._carried.get(names)
        if carried is None:
            found = len(self._names.intersection(names))
            carried = ALL if found == len(self._names) else SOME if found else NONE
            if len(self._carried) >= _MAX_CACHED_LAYOUTS:
                self._carried.clear()
            self._carried[names] = carried
        return carried

    def read(self, msg: Any) -> NDArray[np.float64]:
        names = tuple(getattr(msg, self._layout.names_attr))
        indices = self._indices.get(names)
        if indices is None:
            indices = self._index(names)
        holder = self._layout.holder(msg, self._point)
        if self._single_attr is not None:
            values: NDArray[np.float64] = self._values(holder, self._single_attr, names)[indices]
            return values
        columns = {attr: self._values(holder, attr, names) for attr, _ in self._wanted}
        return np.array([columns[attr][i] for (attr, _), i in zip(self._wanted, indices, strict=True)])

    def _index(self, names: tuple[str, ...]) -> NDArray[np.intp]:
        absent = [name for _, name in self._wanted if name not in names]
        if absent:
            near = nearest_name(absent[0], names)
            raise FieldError(f"the message carries {listing(names)} but not {listing(dict.fromkeys(absent))}{near}")
        if len(set(names)) != len(names):
            raise FieldError(f"the message names a joint twice: {listing(names)}")
        indices = np.array([names.index(name) for _, name in self._wanted], dtype=np.intp)
        if len(self._indices) >= _MAX_CACHED_LAYOUTS:
            self._indices.clear()
        self._indices[names] = indices
        return indices

    def _values(self, holder: Any, attr: str, names: tuple[str, ...]) -> NDArray[np.float64]:
        values = _array(getattr(holder, attr))
        if len(values) != len(names):
            raise FieldError(f"the message has {len(values)} values in '{attr}' for {len(names)} names")
        return values


@dataclass(frozen=True, slots=True)
class PathLayout:
    """Numbers at fixed attribute paths."""

    leaves: tuple[str, ...]

    def bind(self, fields: Sequence[str], point: str) -> FieldReader:
        """Return a reader of attribute paths."""
        for path in fields:
            if path not in self.leaves:
                raise FieldError(
                    f"'{path}' is no field path here; allowed: {listing(self.leaves)}{nearest_name(path, self.leaves)}"
                )
        return _GetterReader(tuple(_attribute_getter(path) for path in fields), tuple(fields))

    def everything(self, msg: Any) -> NDArray[np.float64]:
        """Return all numbers in the order of the message definition."""
        return self.bind(self.leaves, "last").read(msg)


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """Numbers at an index of an array attribute."""

    arrays: tuple[str, ...]

    def bind(self, fields: Sequence[str], point: str) -> FieldReader:
        """Return a reader of ``array[index]`` paths."""
        getters = []
        for path in fields:
            match = _INDEXED.match(path)
            if match is None or match["array"] not in self.arrays:
                near = nearest_name(path.partition("[")[0], self.arrays)
                raise FieldError(
                    f"'{path}' is no field path here; write it like '{self.arrays[0]}[0]' with one of "
                    f"{listing(self.arrays)}{near}"
                )
            getters.append(_element_getter(match["array"], int(match["bracket"] or match["dot"])))
        return _GetterReader(tuple(getters), tuple(fields))

    def everything(self, msg: Any) -> NDArray[np.float64]:
        """Return the arrays one after the other."""
        return np.concatenate([_array(getattr(msg, name)) for name in self.arrays])


class _GetterReader:
    def __init__(self, getters: tuple[Callable[[Any], float], ...], fields: tuple[str, ...]) -> None:
        self._getters = getters
        self._fields = fields

    def carries(self, msg: Any) -> str:
        return ALL

    def read(self, msg: Any) -> NDArray[np.float64]:
        values = np.empty(len(self._getters))
        for i, getter in enumerate(self._getters):
            try:
                values[i] = getter(msg)
            except (AttributeError, IndexError) as error:
                raise FieldError(f"{type(msg).__name__} has no '{self._fields[i]}': {error}") from None
        return values


def _attribute_getter(path: str) -> Callable[[Any], float]:
    return partial(_walk, names=tuple(path.split(".")))


def _walk(msg: Any, *, names: tuple[str, ...]) -> float:
    for name in names:
        msg = getattr(msg, name)
    return float(msg)


def _element_getter(array: str, index: int) -> Callable[[Any], float]:
    return partial(_element, array=array, index=index)


def _element(msg: Any, *, array: str, index: int) -> float:
    return float(getattr(msg, array)[index])
