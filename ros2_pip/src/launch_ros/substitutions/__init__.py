# SPDX-License-Identifier: Apache-2.0

"""Substitutions that look packages up in the ament index."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from ament_index_python.search_paths import get_search_paths
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions.substitution_failure import SubstitutionFailure
from launch.utilities.substitutions import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    perform_substitutions,
)

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

__all__ = ["ExecutableInPackage", "FindPackage", "FindPackagePrefix", "FindPackageShare", "Parameter"]


class FindPackage(Substitution):
    """Base of the two that find a folder of a package."""

    def __init__(self, package: SomeSubstitutionsType) -> None:
        self._package = normalize_to_list_of_substitutions(package)

    @property
    def package(self) -> list[Substitution]:
        """Name of the package."""
        return self._package

    def describe(self) -> str:
        """Return a readable form."""
        return f"{type(self).__name__}(pkg={describe_substitutions(self._package)})"

    def find(self, package_name: str) -> str:
        """Return the folder of this package."""
        raise NotImplementedError(f"{type(self).__name__} does not define find()")

    def perform(self, context: "LaunchContext") -> str:
        """Return the folder.

        Raises:
            PackageNotFoundError: the ament index has no such package.
        """
        return self.find(perform_substitutions(context, self._package))


class FindPackagePrefix(FindPackage):
    """Prefix that a package is installed in."""

    def find(self, package_name: str) -> str:
        """Return the prefix."""
        return str(get_package_prefix(package_name))


class FindPackageShare(FindPackage):
    """Share folder of a package."""

    def find(self, package_name: str) -> str:
        """Return the share folder."""
        return str(get_package_share_directory(package_name))


class ExecutableInPackage(Substitution):
    """Path of an executable in ``<prefix>/lib/<package>``."""

    def __init__(self, executable: SomeSubstitutionsType, package: SomeSubstitutionsType) -> None:
        self._executable = normalize_to_list_of_substitutions(executable)
        self._package = normalize_to_list_of_substitutions(package)

    def describe(self) -> str:
        """Return a readable form."""
        package, executable = describe_substitutions(self._package), describe_substitutions(self._executable)
        return f"ExecInPkg(pkg={package}, exec={executable})"

    def perform(self, context: "LaunchContext") -> str:
        """Return the path, of the first prefix that has the executable.

        Raises:
            PackageNotFoundError: the ament index has no such package.
            SubstitutionFailure: the package has no such executable.
        """
        package = perform_substitutions(context, self._package)
        executable = perform_substitutions(context, self._executable)
        first = get_package_prefix(package)
        folders = [Path(prefix) / "lib" / package for prefix in dict.fromkeys([first, *get_search_paths()])]
        for folder in folders:
            path = folder / executable
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
        raise SubstitutionFailure(
            f"executable '{executable}' not found on the libexec directory '{folders[0]}'{_known(folders[0])}"
        )


def _known(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return f" (it has: {', '.join(names) or 'none'})"


class Parameter(Substitution):
    """Value of a parameter that SetParameter has set in this scope."""

    def __init__(self, name: SomeSubstitutionsType, *, default: SomeSubstitutionsType | None = None) -> None:
        self._name = normalize_to_list_of_substitutions(name)
        self._default = None if default is None else normalize_to_list_of_substitutions(default)

    def describe(self) -> str:
        """Return a readable form."""
        return f"Parameter({describe_substitutions(self._name)})"

    def perform(self, context: "LaunchContext") -> str:
        """Return the value as text.

        Raises:
            SubstitutionFailure: it is not set and there is no default.
        """
        name = perform_substitutions(context, self._name)
        for item in reversed(context.launch_configurations.get("global_params", [])):
            if isinstance(item, tuple) and item[0] == name:
                return str(item[1])
        if self._default is None:
            raise SubstitutionFailure(f"parameter '{name}' not found")
        return perform_substitutions(context, self._default)
