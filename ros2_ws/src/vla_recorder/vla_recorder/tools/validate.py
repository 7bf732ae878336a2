# SPDX-License-Identifier: Apache-2.0

"""The command ``validate``: measure recordings and datasets, and say which rule each episode breaks."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vla_core.errors import VlaError
from vla_core.profile import load_profile

from vla_recorder.bags.reader import find_episodes
from vla_recorder.formats.lerobot_meta import INFO_PATH, OWN_META
from vla_recorder.formats.npz_reader import find_npz
from vla_recorder.formats.npz_spec import SPEC_FILE, load_spec
from vla_recorder.tools.validate_bag import validate_bag
from vla_recorder.tools.validate_lerobot import validate_lerobot
from vla_recorder.tools.validate_npz import validate_npz
from vla_recorder.tools.validate_rlds import find_rlds, validate_rlds
from vla_recorder.tools.validate_rules import RULES, EpisodeReport, Thresholds

EXIT_OK, EXIT_BROKEN, EXIT_USAGE = 0, 1, 2
KINDS = ("npz", "lerobot", "rlds", "bags")
_HELP = {
    "frame_tolerance": ("part of 1/fps by which a step in time may differ", "PART"),
    "camera_offset_s": ("between the stamps of a camera and of the joints", "SECONDS"),
    "joint_jump": ("of a joint between two rows", "RAD"),
    "tcp_jump_m": ("of the tool between two rows", "METRES"),
    "black_level": ("a picture is black if its mean is not above this (0 to 255)", "LEVEL"),
    "frozen_rows": ("rows with the same picture that count as frozen", "ROWS"),
    "frozen_motion": ("a joint must move by more than this meanwhile", "RAD"),
    "statistics": ("difference of stored statistics, relative to the spread of the column", "PART"),
}
_EPILOG = """\
examples:
  ros2 run vla_recorder validate ~/episodes                    recorded bags, before the conversion
  ros2 run vla_recorder validate ~/datasets/lift --strict      a dataset; warnings count too
  ros2 run vla_recorder validate --data-root data --spec data/spec.yaml --report report.json

exit code: 0 no rule is broken, 1 a rule is broken (with --strict also where that is only a warning), 2 nothing could be
measured. rules:
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for."""

    root: Path
    kind: str
    thresholds: Thresholds
    spec: Path | None = None
    profile: Path | None = None
    max_episodes: int | None = None
    images: bool = True


def kind_of(root: Path, spec: Path | None) -> str:
    """Return what a folder holds: npz, lerobot, rlds or bags.

    Raises:
        VlaError: There is no such folder.
    """
    if not root.is_dir():
        raise VlaError(f"{root}: no such folder; give a folder of recordings or of a dataset")
    if spec is not None or (root / SPEC_FILE).is_file() or list((root / "episodes").glob("*.npz"))[:1]:
        return "npz"
    if (root / INFO_PATH).is_file():
        return "lerobot"
    return "rlds" if find_rlds(root) else "bags"


def reports(request: Request) -> Iterator[EpisodeReport]:
    """Yield the report of every episode, as they are measured.

    Raises:
        VlaError: Nothing can be measured.
    """
    if request.kind == "npz":
        spec = load_spec(request.spec or request.root / SPEC_FILE)
        own = request.root / OWN_META / "profile.yaml"
        given = request.profile or (own if own.is_file() else None)
        profile = load_profile(given) if given else None
        for path in find_npz(request.root)[: request.max_episodes]:
            yield validate_npz(path, spec, request.thresholds, profile)
    elif request.kind == "lerobot":
        yield from validate_lerobot(
            request.root, request.thresholds, max_episodes=request.max_episodes, images=request.images
        )
    elif request.kind == "rlds":
        for folder in find_rlds(request.root):
            yield from validate_rlds(folder, max_episodes=request.max_episodes)
    else:
        for folder in find_episodes(request.root)[: request.max_episodes]:
            yield validate_bag(folder, request.thresholds, profile=request.profile, images=request.images)


def summary(request: Request, found: Sequence[EpisodeReport]) -> dict[str, Any]:
    """Return what ``--report`` writes."""
    rules = Counter(finding.rule for report in found for finding in report.findings)
    return {
        "root": str(request.root.absolute()),
        "kind": request.kind,
        "ok": not any(report.errors for report in found),
        "episodes": len(found),
        "errors": sum(report.errors for report in found),
        "warnings": sum(report.warnings for report in found),
        "broken_rules": dict(rules),
        "thresholds": asdict(request.thresholds),
        "reports": [report.to_json() for report in found],
    }


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    rules = "\n".join(f"  {name:<19} {what}" for name, what in RULES.items())
    result = argparse.ArgumentParser(
        prog="validate",
        description="Measure recorded bags, LeRobot v3.0 and v2.1, RLDS and npz datasets.",
        epilog=_EPILOG + rules,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("path", nargs="?", type=Path, help="folder of recordings, or of a dataset")
    result.add_argument("--data-root", type=Path, help="the same as PATH")
    result.add_argument("--spec", type=Path, help=f"spec of npz episodes; default {SPEC_FILE} in the folder")
    result.add_argument(
        "--profile", type=Path, help="robot profile of bags or npz; default: the one that travels with them"
    )
    result.add_argument("--report", type=Path, help="write everything that was found as JSON")
    result.add_argument("--max-episodes", type=int, help="look at the first ones only; default all")
    result.add_argument("--strict", action="store_true", help="exit code 1 for warnings too")
    result.add_argument("--no-images", action="store_true", help="do not decode pictures; quicker")
    group = result.add_argument_group("what is still all right")
    for field in fields(Thresholds):
        what, unit = _HELP[field.name]
        option = f"--{field.name.replace('_', '-')}"
        group.add_argument(
            option,
            type=type(field.default),
            default=field.default,
            metavar=unit,
            help=f"{what}; default {field.default}",
        )
    return result


def _request(arguments: argparse.Namespace) -> Request:
    if (arguments.path is None) == (arguments.data_root is None):
        raise VlaError("give one folder, as PATH or with --data-root; see --help")
    if arguments.max_episodes is not None and arguments.max_episodes < 1:
        raise VlaError(f"--max-episodes {arguments.max_episodes}: at least one is needed")
    root: Path = arguments.path or arguments.data_root
    values = {field.name: getattr(arguments, field.name) for field in fields(Thresholds)}
    for name, value in values.items():
        if value < 0:
            raise VlaError(f"--{name.replace('_', '-')} {value}: must not be below 0")
    return Request(
        root=root,
        kind=kind_of(root, arguments.spec),
        spec=arguments.spec,
        profile=arguments.profile,
        max_episodes=arguments.max_episodes,
        images=not arguments.no_images,
        thresholds=Thresholds(**values),
    )


def _print(report: EpisodeReport) -> None:
    verdict = "ok" if not report.findings else f"{report.errors} errors, {report.warnings} warnings"
    print(f"{report.name}: {report.rows} rows, {verdict}")
    for finding in report.findings:
        place = "" if finding.row is None else f" (first at row {finding.row})"
        print(f"  {finding.level:<7} {finding.rule}: {finding.text}{place}")


def _print_unchecked(found: Sequence[EpisodeReport]) -> None:
    for rule, why in {pair: None for report in found for pair in report.unchecked.items()}:
        print(f"not measured, {rule}: {why}")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if a rule is broken; 2 if nothing could be measured.
    """
    arguments = parser().parse_args(args)
    found: list[EpisodeReport] = []
    try:
        request = _request(arguments)
        for report in reports(request):
            _print(report)
            found.append(report)
        content = summary(request, found)
        if arguments.report is not None:
            arguments.report.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except (VlaError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    _print_unchecked(found)
    print(f"{request.kind}: {len(found)} reports, {content['errors']} errors, {content['warnings']} warnings")
    return EXIT_BROKEN if content["errors"] or (arguments.strict and content["warnings"]) else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
