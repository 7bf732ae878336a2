# SPDX-License-Identifier: Apache-2.0

"""Actions that change what later nodes of the scope get: namespace, parameters, remappings."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.action import Action
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities.substitutions import normalize_to_list_of_substitutions, perform_substitutions

from launch_ros.parameter_descriptions import Parameter, ParameterFile

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

NAMESPACE = "ros_namespace"
PARAMETERS = "global_params"
REMAPPINGS = "ros_remaps"


def join_namespaces(base: str, namespace: str) -> str:
    """Return the namespace inside the base one; an absolute namespace stands for itself."""
    if namespace.startswith("/") or not base:
        joined = namespace
    elif not namespace:
        joined = base
    else:
        joined = f"{base.rstrip('/')}/{namespace}"
    return joined if len(joined) <= 1 else joined.rstrip("/")


class PushROSNamespace(Action):
    """Puts later nodes of the scope into a namespace."""

    def __init__(self, namespace: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._namespace = normalize_to_list_of_substitutions(namespace)

    @property
    def namespace(self) -> Any:
        """The namespace, unevaluated."""
        return self._namespace

    def execute(self, context: "LaunchContext") -> None:
        """Join it to the present one."""
        base = str(context.launch_configurations.get(NAMESPACE, ""))
        joined = join_namespaces(base, perform_substitutions(context, self._namespace))
        context.launch_configurations[NAMESPACE] = joined if joined.startswith("/") else f"/{joined}"


class PushRosNamespace(PushROSNamespace):
    """Older name of PushROSNamespace."""


def _append(context: "LaunchContext", key: str, item: Any) -> None:
    context.launch_configurations[key] = [*context.launch_configurations.get(key, []), item]


class SetParameter(Action):
    """Gives later nodes of the scope a parameter."""

    def __init__(self, name: SomeSubstitutionsType, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._parameter = Parameter(name, value)

    @property
    def name(self) -> Any:
        """Name of the parameter, unevaluated."""
        return self._parameter.name

    def execute(self, context: "LaunchContext") -> None:
        """Set it; it replaces an earlier one of that name."""
        name, value = self._parameter.evaluate(context)
        kept = [
            item
            for item in context.launch_configurations.get(PARAMETERS, [])
            if isinstance(item, Path) or item[0] != name
        ]
        context.launch_configurations[PARAMETERS] = [*kept, (name, value)]


class SetUseSimTime(SetParameter):
    """Sets ``use_sim_time`` for later nodes of the scope."""

    def __init__(self, value: bool | SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__("use_sim_time", value, **kwargs)


class SetParametersFromFile(Action):
    """Gives later nodes of the scope the parameters of a file."""

    def __init__(self, filename: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._file = ParameterFile(filename)

    def execute(self, context: "LaunchContext") -> None:
        """Add the file."""
        path: Path = self._file.evaluate(context)
        _append(context, PARAMETERS, path)


class SetRemap(Action):
    """Gives later nodes of the scope a remapping."""

    def __init__(self, src: SomeSubstitutionsType, dst: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._src = normalize_to_list_of_substitutions(src)
        self._dst = normalize_to_list_of_substitutions(dst)

    def execute(self, context: "LaunchContext") -> None:
        """Add it."""
        pair = (perform_substitutions(context, self._src), perform_substitutions(context, self._dst))
        _append(context, REMAPPINGS, pair)
