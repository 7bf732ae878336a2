# SPDX-License-Identifier: Apache-2.0

"""``python -m launch_testing.launch_test FILE``: runs the launch tests of a module."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

from launch_testing.loader import TestRun, load_test_runs
from launch_testing.test_runner import LaunchTestRunner, Outcome


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tests; return 0 if all passed, 1 if not, 2 for a wrong command line."""
    args = _parser().parse_args(argv)
    path = Path(args.launch_test_file)
    if not path.is_file():
        sys.stderr.write(f"Test file '{path}' does not exist\n")
        return 1
    arguments: dict[str, str] = {}
    for text in args.launch_arguments:
        name, separator, value = text.partition(":=")
        if not separator or not name:
            sys.stderr.write(f"malformed launch argument '{text}', expected format '<name>:=<value>'\n")
            return 1
        arguments[name] = value
    runs = load_test_runs(_import(path))
    if args.show_args:
        _show_arguments(runs)
        return 0
    outcomes = {run.name: LaunchTestRunner(run, launch_arguments=arguments, debug=args.verbose).run() for run in runs}
    for name, outcome in outcomes.items():
        for test, text in outcome.failures.items():
            if test in outcome.tests:
                continue  # unittest has printed it
            sys.stderr.write(f"FAIL: {name}: {test}\n{text}\n")
    if args.xmlpath:
        _write_xunit(Path(args.xmlpath), args.package_name, outcomes)
    return 0 if all(outcome.successful for outcome in outcomes.values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="launch_test", description="Launch integration testing tool.")
    parser.add_argument("--package-name", default="", help="Name of the package the test is in, for the report")
    parser.add_argument("-v", "--verbose", action="store_true", help="Run with verbose output")
    parser.add_argument(
        "-s", "--show-args", "--show-arguments", dest="show_args", action="store_true", help="Show the launch arguments"
    )
    parser.add_argument("--junit-xml", dest="xmlpath", help="Write an xUnit report to this path")
    parser.add_argument("launch_test_file", help="Path to the launch test")
    parser.add_argument("launch_arguments", nargs="*", help="Arguments in '<name>:=<value>' format")
    return parser


def _import(path: Path) -> ModuleType:
    name = path.stem.replace(".", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"Test file '{path}' is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _show_arguments(runs: Sequence[TestRun]) -> None:
    arguments = {item.name: item for run in runs for item in run.describe()[0].get_launch_arguments(True)}
    sys.stdout.write("Arguments (pass arguments as '<name>:=<value>'):\n")
    for name, item in arguments.items():
        sys.stdout.write(f"\n    '{name}':\n        {item.description}\n")
    if not arguments:
        sys.stdout.write("\n  No arguments.\n")


def _write_xunit(path: Path, package: str, outcomes: dict[str, Outcome]) -> None:
    root = ElementTree.Element("testsuites")
    for name, outcome in outcomes.items():
        full = f"{package}.{name}" if package else name
        names = list(dict.fromkeys([*outcome.tests, *outcome.failures]))
        counts = {"tests": names, "failures": outcome.failures, "skipped": outcome.skipped}
        attributes = {"name": full, **{key: str(len(items)) for key, items in counts.items()}}
        suite = ElementTree.SubElement(root, "testsuite", attributes)
        for test in names:
            case = ElementTree.SubElement(suite, "testcase", classname=full, name=test)
            if test in outcome.failures:
                ElementTree.SubElement(case, "failure", message=test).text = outcome.failures[test]
            elif test in outcome.skipped:
                ElementTree.SubElement(case, "skipped", message=outcome.skipped[test])
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


if __name__ == "__main__":
    sys.exit(main())
