# SPDX-License-Identifier: Apache-2.0

"""What a run of the demo came to: report.json and the table on the terminal."""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any, TypedDict

from vla_core.statistics import wilson_interval

_VERSIONED = ("lerobot", "torch", "mujoco", "numpy", "ros-jazzy-rclpy", "mcap", "av")


class Success(TypedDict):
    """Trials, successes, their rate and its 95 % Wilson interval."""

    n: int
    ok: int
    rate: float
    ci95: tuple[float, float]


def success(ok: int, n: int) -> Success:
    """Success rate with its interval; `n` is at least 1."""
    low, high = wilson_interval(ok, n)
    return {"n": n, "ok": ok, "rate": ok / n, "ci95": (round(low, 4), round(high, 4))}


def versions() -> dict[str, str]:
    """Versions of what the result depends on; packages that are not installed by pip are left out."""
    found = {"python": python_version()}
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write(path: Path, report: Mapping[str, Any]) -> None:
    """Write report.json in one piece."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def _ms(number: float | None) -> str:
    return "not measured" if number is None else f"{number:.1f} ms"


def _rate(got: Mapping[str, Any]) -> str:
    low, high = got["ci95"]
    return f"{got['ok']}/{got['n']} = {100 * got['rate']:.0f} % (95 %: {100 * low:.0f} to {100 * high:.0f} %)"


def table(report: Mapping[str, Any]) -> str:
    """The closing table."""
    rows = [("task", f"{report['task']}, policy {report['policy']}, clock {report['clock']}")]
    rows += [(f"stage {name}", f"{seconds:.0f} s") for name, seconds in report["stages"].items()]
    rows.append(("total", f"{sum(report['stages'].values()):.0f} s"))
    dropped = ", ".join(f"{reason}: {count}" for reason, count in report["dropped"].items() if count) or "none"
    rows.append(("frames", f"{report['frames']} in {report['episodes']} episodes; dropped {dropped}"))
    rows.append(("success", _rate(report["success"])))
    rows.append(("success in real time", _rate(report["success_real_time"])))
    if (against := report.get("untrained")) is not None:
        rows.append(
            (
                "tool to block",
                f"{1000 * against['distance_trained']:.0f} mm, untrained {1000 * against['distance_untrained']:.0f} mm (mean of {against['n']} paired seeds)",
            )
        )
    rows.append(("control jitter p99", _ms(report["control_jitter_ms_p99"])))
    rows.append(("observation to action p95", _ms(report["obs_to_action_ms_p95"])))
    rows.append(("inference p50 / p95", f"{_ms(report['inference_ms_p50'])} / {_ms(report['inference_ms_p95'])}"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in rows)
