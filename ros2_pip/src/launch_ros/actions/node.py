# SPDX-License-Identifier: Apache-2.0

"""Action that runs a ROS node."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from launch.actions.arguments import name_value_pairs, text
from launch.actions.execute_process import ExecuteProcess
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.logging import get_logger, launch_config
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.utilities.substitutions import normalize_to_list_of_substitutions, perform_substitutions

from launch_ros.actions.settings import NAMESPACE, PARAMETERS, REMAPPINGS, join_namespaces
from launch_ros.parameter_descriptions import Parameter, ParameterFile
from launch_ros.parameter_values import flatten
from launch_ros.substitutions import ExecutableInPackage

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

_ANY_NODE = "/**"


class Node(ExecuteProcess):
    """Runs an executable of a package as a ROS node.

    The command line is: executable, arguments, ``--ros-args``, name, namespace, parameters of the scope, parameters
    of the node (so these win), remappings of the scope, remappings of the node.

    Args:
        executable: file in ``lib/<package>``, or a command on PATH if there is no package.
        package: name of the package.
        name: name of the node.
        namespace: inside that of the scope, unless absolute.
        exec_name: what the process is called in the log.
        parameters: paths of YAML files, dictionaries, ParameterFile and Parameter, the later ones winning.
        remappings: pairs of from and to.
        ros_arguments: put behind a ``--ros-args`` of their own.
        arguments: arguments of the executable.
        kwargs: those of :class:`launch.actions.ExecuteProcess`, without ``cmd``.
    """

    def __init__(
        self,
        *,
        executable: SomeSubstitutionsType,
        package: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        namespace: SomeSubstitutionsType | None = None,
        exec_name: SomeSubstitutionsType | None = None,
        parameters: Iterable[Any] | None = None,
        remappings: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] | None = None,
        ros_arguments: Iterable[SomeSubstitutionsType] | None = None,
        arguments: Iterable[SomeSubstitutionsType] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(parameters, str | Mapping):
            raise TypeError(f"Node: parameters must be a list of files and dictionaries, got {parameters!r}")
        program: SomeSubstitutionsType = executable if package is None else ExecutableInPackage(executable, package)
        ros = list(ros_arguments or ())
        cmd = [program, *(arguments or ()), *(["--ros-args", *ros] if ros else []), "--ros-args"]
        super().__init__(cmd=cmd, name=exec_name, **kwargs)
        self._executable = executable
        self._package = package
        self._node_name_subs = None if name is None else normalize_to_list_of_substitutions(name)
        self._namespace_subs = None if namespace is None else normalize_to_list_of_substitutions(namespace)
        self._parameters = [_checked(item) for item in parameters or ()]
        self._remappings = name_value_pairs("remappings", remappings)
        self._node_name: str | None = None
        self._namespace = ""

    @property
    def node_package(self) -> Any:
        """Package, None if the executable comes from PATH."""
        return self._package

    @property
    def node_executable(self) -> Any:
        """Executable."""
        return self._executable

    @property
    def node_name(self) -> str:
        """Name with namespace.

        Raises:
            RuntimeError: the action was not executed yet.
        """
        if self.process_details is None:
            raise RuntimeError("cannot access 'node_name' before executing action")
        return f"{self._namespace.rstrip('/')}/{self._node_name or '<node_name_unspecified>'}"

    @property
    def expanded_node_namespace(self) -> str:
        """Namespace; empty if none was given."""
        return self._namespace

    def execute(self, context: "LaunchContext") -> Sequence[LaunchDescriptionEntity] | None:
        """Start the node."""
        if not context.is_shutdown:
            self._resolve_names(context)
        return super().execute(context)

    def _resolve_names(self, context: "LaunchContext") -> None:
        if self._node_name_subs is not None:
            name = perform_substitutions(context, self._node_name_subs)
            if "/" in name:
                raise ValueError(f"Node: name '{name}' must not contain '/'; use namespace for the part before it")
            self._node_name = name
        base = str(context.launch_configurations.get(NAMESPACE, ""))
        joined = join_namespaces(base, text(context, self._namespace_subs) or "")
        if self._namespace_subs is not None or joined:
            self._namespace = joined if joined.startswith("/") else f"/{joined}"

    def _expand_cmd(self, context: "LaunchContext") -> list[str]:
        ros: list[str] = []
        if self._node_name is not None:
            ros += ["-r", f"__node:={self._node_name}"]
        if self._namespace:
            ros += ["-r", f"__ns:={self._namespace}"]
        configurations = context.launch_configurations
        for item in configurations.get(PARAMETERS, []):
            ros += self._file_arguments(item) if isinstance(item, Path) else _parameter_arguments(*item)
        for parameter in self._parameters:
            ros += self._node_parameter_arguments(parameter, context)
        pairs = [
            *configurations.get(REMAPPINGS, []),
            *((perform_substitutions(context, a), perform_substitutions(context, b)) for a, b in self._remappings),
        ]
        for source, target in pairs:
            ros += ["-r", f"{source}:={target}"]
        return [*super()._expand_cmd(context), *ros]

    def _node_parameter_arguments(self, parameter: Any, context: "LaunchContext") -> list[str]:
        if isinstance(parameter, ParameterFile):
            return self._file_arguments(parameter.evaluate(context))
        if isinstance(parameter, Parameter):
            return _parameter_arguments(*parameter.evaluate(context))
        # the full name keeps the values from other nodes in the process; without both parts it is not known here
        key = f"{self._namespace.rstrip('/')}/{self._node_name}" if self._node_name and self._namespace else _ANY_NODE
        content = {key: {"ros__parameters": flatten(parameter, context)}}
        path = launch_config.write_temporary("launch_params_", yaml.safe_dump(content, default_flow_style=False))
        return ["--params-file", os.fspath(path)]

    def _file_arguments(self, path: Path) -> list[str]:
        if not path.is_file():
            get_logger("launch_ros.actions.node").warning("Parameter file path is not a file: %s", path)
            return []
        return ["--params-file", os.fspath(path)]


def _checked(item: Any) -> Any:
    if isinstance(item, Mapping | ParameterFile | Parameter):
        return item
    if isinstance(item, str | Path | Substitution | Iterable):
        return ParameterFile(item)
    raise TypeError(f"Node: parameters may hold paths, dictionaries, ParameterFile and Parameter, got {item!r}")


def _parameter_arguments(name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        written = (
            yaml.safe_dump(value, default_flow_style=True, width=float("inf")).removesuffix("\n...\n").rstrip("\n")
        )
    else:
        written = str(value)
    return ["-p", f"{name}:={written}"]
