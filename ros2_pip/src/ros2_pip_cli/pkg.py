# SPDX-License-Identifier: Apache-2.0

"""``ros2 pkg``: packages of the sourced environment."""

import argparse
import os
from pathlib import Path

from ament_index_python import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
    get_packages_with_prefixes,
)

from ros2_pip_cli.arguments import SubVerb, add_sub_verbs, run_sub_verb
from ros2_pip_cli.errors import CliError

NAME = "pkg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    add_sub_verbs(
        parser,
        (
            SubVerb(
                name="executables",
                text="Output a list of package specific executables",
                add_arguments=_executables_arguments,
                main=_executables,
            ),
            SubVerb(
                name="list", text="Output a list of available packages", add_arguments=lambda _parser: None, main=_list
            ),
            SubVerb(
                name="prefix",
                text="Output the prefix path of a package",
                add_arguments=_prefix_arguments,
                main=_prefix,
            ),
        ),
    )


def main(args: argparse.Namespace) -> int:
    """Run the chosen sub-command."""
    return run_sub_verb(args)


def executable_paths(package: str) -> list[Path]:
    """Return the sorted paths of the executables in ``<prefix>/lib/<package>``.

    Raises:
        CliError: there is no such package.
    """
    try:
        prefix = get_package_prefix(package)
    except (PackageNotFoundError, ValueError):
        msg = f"Package '{package}' not found"
        raise CliError(msg) from None
    folder = Path(prefix) / "lib" / package
    return sorted(path for path in folder.rglob("*") if path.is_file() and os.access(path, os.X_OK))


def _executables_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package_name", nargs="?", help="The package name")
    parser.add_argument("--full-path", action="store_true", help="Show the full path of each executable")


def _executables(args: argparse.Namespace) -> int:
    packages = [args.package_name] if args.package_name else sorted(get_packages_with_prefixes())
    for package in packages:
        for path in executable_paths(package):
            print(path if args.full_path else f"{package} {path.name}")
    return 0


def _list(_args: argparse.Namespace) -> int:
    for package in sorted(get_packages_with_prefixes()):
        print(package)
    return 0


def _prefix_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package_name", help="The package name")
    parser.add_argument("--share", action="store_true", help="Show the share directory of the package")


def _prefix(args: argparse.Namespace) -> int:
    try:
        print(get_package_share_directory(args.package_name) if args.share else get_package_prefix(args.package_name))
    except (PackageNotFoundError, ValueError):
        msg = "Package not found"
        raise CliError(msg) from None
    return 0
