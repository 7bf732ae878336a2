# SPDX-License-Identifier: Apache-2.0

"""An offline evaluation for people: tables for the terminal, pictures, and a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_core.actions import ActionMap
from vla_core.profile import Profile

from vla_policy.evaluation.offline import DATASET_MEAN, POLICY, PREDICTORS, Trace
from vla_policy.evaluation.plots import NAMES, draw_dimensions, draw_episode, draw_horizon, with_unit
from vla_policy.evaluation.predictors import HOLD_LAST
from vla_policy.evaluation.texts import Rows, html_table, page, paragraph, percent, picture, text_table

REPORT_FILE = "report.html"
Table = tuple[Sequence[str], Rows]


def summary_table(measures: dict[str, Any]) -> Table:
    """The measures that are one number each."""
    rows = [
        [label, *(measures[name][key] for name in PREDICTORS)]
        for key, label in (("mse", "MSE, mean over the values"), ("nmse", "MSE / variance in the dataset"))
    ]
    return ["", *(NAMES[name] for name in PREDICTORS)], rows


def dimension_table(measures: dict[str, Any]) -> Table:
    """MSE of each value, and RMSE in its unit."""
    head = ["value", "MSE", "RMSE", "RMSE hold last", "RMSE dataset mean", "step predicted", "step recorded"]
    delta = measures["delta"]
    rows = []
    for i, (name, unit) in enumerate(zip(measures["action_names"], measures["units"], strict=True)):
        policy = measures[POLICY]
        rows.append(
            [
                with_unit(name, unit),
                policy["mse_per_dimension"][i],
                policy["rmse_per_dimension"][i],
                measures[HOLD_LAST]["rmse_per_dimension"][i],
                measures[DATASET_MEAN]["rmse_per_dimension"][i],
                delta and delta["predicted_per_dimension"][i],
                delta and delta["recorded_per_dimension"][i],
            ]
        )
    return head, rows


def sentences(content: dict[str, Any]) -> list[str]:
    """What the numbers say, one sentence each."""
    policy, held = content[POLICY], content[HOLD_LAST]
    better = sum(a < b for a, b in zip(policy["mse_per_dimension"], held["mse_per_dimension"], strict=True))
    said = [f"Better than holding the last action in {better} of {len(held['mse_per_dimension'])} values."]
    delta = content["delta"]
    if delta and delta["ratio"] is not None:
        said.append(
            f"Delta magnitude: predicted steps are {delta['ratio']:.2f} times the recorded ones "
            f"({delta['predicted']:.4g} against {delta['recorded']:.4g} per step, mean over the values)."
        )
    clipping = content["clipping"]
    if clipping["fraction"] is None:
        said.append(f"Clipping was not measured: {clipping.get('why_not', 'no chunk could be reached by the arm')}.")
    else:
        groups = ", ".join(f"{name} {percent(share, 2)}" for name, share in clipping["per_group"].items())
        reasons = ", ".join(f"{kind} in {count}" for kind, count in clipping["refused_by"].items())
        said.append(
            f"Clipping: {percent(clipping['fraction'], 2)} of the commands lie outside the profile's limits ({groups}); its "
            f"safety filter would refuse {percent(clipping['refused_chunks'], 1)} of the chunks"
            f"{f' ({reasons})' if reasons else ''}."
        )
    if content["latency_ms"]:
        timed = content["latency_ms"]
        said.append(
            f"Inference on {content['device']}: median {timed['p50']:.1f} ms, 95 % below {timed['p95']:.1f} ms."
        )
    return said


def as_text(content: dict[str, Any]) -> str:
    """The evaluation for a terminal."""
    return "\n".join(
        [text_table(*summary_table(content)), "", text_table(*dimension_table(content)), "", *sentences(content)]
    )


def write_page(content: dict[str, Any], traces: Sequence[Trace], profile: Profile, folder: Path) -> Path:
    """Write the pictures and the page that holds them.

    Args:
        content: The evaluation's JSON.
        traces: Episodes to draw.
        profile: The profile.
        folder: Where to; it is made.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dt_s = 1.0 / profile.fps
    groups = [(group.spec.name, group.values) for group in ActionMap(profile).groups]
    draw_horizon(content, groups, folder / "horizon.png", dt_s=dt_s)
    draw_dimensions(content, folder / "dimensions.png")
    parts = [
        paragraph(f"{content['policy_description']}."),
        paragraph(f"Dataset {content['dataset']['path']}: {content['dataset']['selection']}."),
        html_table(*summary_table(content)),
        *(paragraph(sentence) for sentence in sentences(content)),
        "<h2>Error over the chunk</h2>",
        picture(folder / "horizon.png", "RMSE over the horizon"),
        "<h2>Error by value</h2>",
        html_table(*dimension_table(content)),
        picture(folder / "dimensions.png", "RMSE against the baselines"),
        "<h2>Predicted against recorded</h2>",
    ]
    if not traces:
        parts.append(
            paragraph("Not drawn: actions of this profile are differences, each chunk counts from a state of its own.")
        )
    for trace in traces:
        path = folder / f"episode_{trace.episode}.png"
        draw_episode(trace, content, path, dt_s=dt_s)
        parts.append(picture(path, f"episode {trace.episode}"))
    parts += ["<h2>How it was made</h2>", html_table(["", ""], provenance(content))]
    report = folder / REPORT_FILE
    report.write_text(page(f"Offline evaluation: {content['name']}", parts), encoding="utf-8")
    return report


def provenance(content: dict[str, Any]) -> Rows:
    """Where the numbers come from."""
    dataset = content["dataset"]
    return [
        ["checkpoint", content["checkpoint"]],
        ["weights (sha256)", content["weights_sha256"]],
        ["training step", content["step"]],
        ["dataset (sha256)", dataset["sha256"]],
        ["profile (sha256)", content["profile_sha256"]],
        ["episodes", ", ".join(map(str, dataset["episodes"]))],
        ["windows", f"{content['windows']}, one every {content['stride']} frames, {content['steps']} steps each"],
        ["seed", content["seed"]],
        ["made", content["created"]],
        ["command", content["command"]],
    ]
