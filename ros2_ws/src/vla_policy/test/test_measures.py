# SPDX-License-Identifier: Apache-2.0

"""Measures of a run: bounded distributions, smoothness, the log and its exact figures against numbers worked out by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from policy_fixtures import small_frame, small_profile
from vla_core.chunks import ActionChunk
from vla_policy.execution.inference import Answer
from vla_policy.execution.measures import Measures
from vla_policy.execution.measures_log import RunLog, number
from vla_policy.execution.measures_motion import Motion
from vla_policy.execution.measures_series import RECENT, Series, percentile
from vla_policy.tools.report import main as report
from vla_policy.tools.report_log import Exact, LogError, read_log, summarise

MS = 1_000_000
TICK_NS = 20 * MS


def filled(values):
    series = Series()
    for value in values:
        series.add(value)
    return series


@pytest.mark.parametrize("q", [1, 50, 95, 99, 100])
def test_percentiles_of_a_series_are_within_half_a_percent(q):
    values = np.random.default_rng(0).lognormal(2.0, 1.5, 5000)
    series = filled(values)
    assert series.percentile(q) == pytest.approx(percentile(list(values), q), rel=0.0051)
    assert series.largest == values.max()
    assert series.mean == pytest.approx(values.mean())


def test_a_series_is_empty_zero_and_bounded():
    series = Series()
    assert np.isnan([series.percentile(50), series.largest, series.last, series.mean]).all()
    series.add(0.0)
    series.add(-1.0)
    assert (series.percentile(99), series.largest, series.count) == (0.0, 0.0, 2)
    many = filled(range(3 * RECENT))
    assert (len(many.recent), many.count, many.last) == (RECENT, 3 * RECENT, 3 * RECENT - 1)
    assert filled([1e15]).percentile(50) <= 1e15


def test_percentile_is_the_nearest_rank():
    assert percentile([3.0, 1.0, 2.0, 4.0], 50) == 2.0
    assert percentile([3.0, 1.0, 2.0, 4.0], 95) == 4.0
    assert np.isnan(percentile([], 50))


def line(motion, speeds, *, chunk=1, resting=False, start=0, position=0.0):
    """Feed ticks of 20 ms with these speeds of the first of two joints; returns where time and position have come to."""
    for speed in speeds:
        start, position = start + TICK_NS, position + 0.02 * speed
        motion.add(start, np.array([position, 0.0]), chunk, resting=resting)
    return start, position


def test_an_even_motion_has_no_seam():
    motion = Motion(30.0, Exact)
    motion.add(0, np.zeros(2), 1, resting=False)
    at = line(motion, [0.5] * 20)
    at = line(motion, [0.5] * 20, chunk=2, start=at[0], position=at[1])
    motion.gap()
    assert len(motion.seams.values) == 1
    assert motion.seam_jump == pytest.approx(1.0)
    assert max(motion.accelerations.values) < 1e-9


def test_a_jump_shows_wherever_it_is_within_two_policy_steps():
    for late in range(4):  # 2 / 30 s hold the tick of the change and three more
        motion = Motion(30.0, Exact)
        motion.add(0, np.zeros(2), 1, resting=False)
        at = line(motion, [0.5] * 20)
        line(motion, [0.5] * late + [2.0] + [0.5] * 20, chunk=2, start=at[0], position=at[1])
        motion.gap()
        assert motion.seam_jump == pytest.approx(4.0), f"{late} ticks after the change"
    motion = Motion(30.0, Exact)
    motion.add(0, np.zeros(2), 1, resting=False)
    at = line(motion, [0.5] * 20)
    line(motion, [0.5] * 4 + [2.0] + [0.5] * 20, chunk=2, start=at[0], position=at[1])
    motion.gap()
    assert motion.seam_jump == pytest.approx(1.0), "later it belongs to the chunk"


def test_acceleration_is_the_change_of_speed_over_time():
    motion = Motion(30.0, Exact)
    motion.add(0, np.zeros(2), 1, resting=False)
    line(motion, [0.0, 0.1, 0.3, 0.3])
    first, second = np.array(motion.accelerations.values).reshape(-1, 2).T
    assert first == pytest.approx([5.0, 10.0, 0.0])  # rad/s^2
    assert second == pytest.approx([0.0, 0.0, 0.0])


def test_a_skipped_tick_is_no_jump():
    motion = Motion(30.0, Exact)
    for i in [*range(10), *range(11, 30)]:
        motion.add(i * TICK_NS, np.array([0.01 * i]), 1 + (i > 20), resting=False)
    motion.add(29 * TICK_NS, np.array([9.0]), 2, resting=False)  # the same tick again
    motion.gap()
    assert motion.seam_jump == pytest.approx(1.0)
    assert max(motion.accelerations.values) < 1e-6


def test_rest_is_no_motion_inside_a_chunk_and_a_gap_no_step():
    motion = Motion(30.0, Exact)
    motion.add(0, np.zeros(2), 1, resting=False)
    at = line(motion, [1.0] * 8)
    line(motion, [0.0] * 40, start=at[0], position=at[1], resting=True)
    motion.gap()
    assert motion.steps.percentile(50) == pytest.approx(1.0)
    motion.add(at[0] + 10**9, np.array([9.0, 9.0]), 1, resting=False)
    assert motion.steps.largest == pytest.approx(1.0)


def test_without_a_boundary_there_is_no_seam_jump():
    motion = Motion(30.0)
    assert np.isnan(motion.seam_jump)
    line(motion, [1.0] * 30)
    assert np.isnan(motion.seam_jump)
    assert np.isnan(motion.seam_jump_at(95))


def answer(t_ns, seconds=0.2, **timing):
    profile = small_profile()
    frame = replace(small_frame(profile, t_ns), joints={"arm": np.array([0.1, 0.2]), "gripper": np.array([0.0])})
    chunk = ActionChunk(t0_ns=t_ns, dt_s=0.1, values=np.zeros((8, 3)))
    return Answer(frame=frame, chunk=chunk, seconds=seconds, timing=timing)


def run_by_hand(measures, *, lockstep=False):
    """Twelve ticks of 20 ms: two without a chunk, four with the first, one held, five with the second; 2 ms late once."""
    for i in range(12):
        t_ns = i * TICK_NS
        measures.tick(t_ns, None if lockstep else 0.02 * i + (0.002 if i == 9 else 0.0))
        overhead_s = None if lockstep else 0.003
        if i == 2:
            measures.answered(answer(0, 0.03, preprocess=0.005, model=0.02, postprocess=0.005))
            measures.sent(t_ns, skipped=1, clamped=0, overhead_s=overhead_s)
        if i == 7:
            measures.answered(answer(4 * TICK_NS, 0.05))
            measures.sent(t_ns, skipped=2, clamped=3, overhead_s=None if lockstep else 0.004)
        observed_ns = None if i < 2 else 0 if i < 7 else 4 * TICK_NS
        arms = {} if i < 2 else {"arm": np.array([0.01 * i, 0.0])}
        measures.in_force(t_ns, arms, observed_ns, held=i == 6)
    measures.refuse(["arm: position of elbow"])
    measures.stop_requested(12 * TICK_NS, 1.0)
    measures.stop_requested(13 * TICK_NS, 1.1)
    measures.stopped(14 * TICK_NS, 1.25)


def test_figures_of_a_run_worked_out_by_hand():
    measures = Measures(fps=10.0)
    run_by_hand(measures)
    figures = measures.figures()
    assert figures["control_rate_hz"] == pytest.approx(50.0)
    assert figures["control_jitter_ms_p99"] == pytest.approx(2.0, rel=0.006)
    assert figures["held_percent"] == pytest.approx(10.0)  # 1 of the 10 ticks since the first chunk
    assert figures["observation_age_ms_p95"] == pytest.approx(140.0, rel=0.006)
    assert figures["inference_ms_max"] == pytest.approx(50.0)
    assert figures["inference_ms_p50"] == pytest.approx(30.0, rel=0.006)
    assert figures["model_ms_p95"] == pytest.approx(20.0, rel=0.006)
    assert figures["overhead_ms_p95"] == pytest.approx(4.0, rel=0.006)
    assert figures["replan_rate_hz"] == pytest.approx(1 / (9 * 0.02))
    assert figures["stop_ms"] == pytest.approx(250.0)
    summary = measures.summary()
    assert (summary["skipped_steps"], summary["clamped_values"], summary["refused_chunks"]) == (3, 3, 1)
    assert (summary["held_ticks"], summary["ticks"], summary["chunks_in_force"]) == (1, 12, 2)
    json.dumps(summary, allow_nan=False)


def test_in_lockstep_wall_time_means_nothing():
    measures = Measures(fps=10.0)
    run_by_hand(measures, lockstep=True)
    figures = measures.figures()
    assert np.isnan([figures["control_jitter_ms_p99"], figures["overhead_ms_p95"]]).all()
    assert figures["stop_ms"] == pytest.approx(40.0), "on the node clock"
    assert measures.summary()["control_jitter_ms_p99"] is None


def test_the_log_gives_the_same_figures_exactly(tmp_path):
    log = RunLog(tmp_path / "new" / "log.jsonl")
    log.write(
        "run", joints=["arm.a", "arm.b"], fps=10.0, rate_hz=50.0, clock="paced", strategy="latest", policy="p", task="t"
    )
    measures = Measures(fps=10.0, log=log)
    run_by_hand(measures)
    log.write("end", termination="canceled", message="", **measures.summary())
    log.close()
    (run,) = read_log(log.path)
    found, live = summarise(run), measures.figures()
    assert found["termination"] == "canceled"
    assert (found["held_ticks"], found["skipped_steps"], found["refused_chunks"]) == (1, 3, 1)
    assert run.refusals[0]["why"] == ["arm: position of elbow"]
    assert run.chunks[0]["joints"] == {"arm": [0.1, 0.2], "gripper": [0.0]}
    for name in (
        "control_jitter_ms_p99",
        "held_percent",
        "observation_age_ms_p95",
        "inference_ms_max",
        "overhead_ms_p95",
    ):
        assert found[name] == pytest.approx(live[name], rel=0.006), name
    assert found["control_jitter_ms_p99"] == pytest.approx(2.0)
    assert found["stop_ms"] == pytest.approx(250.0)


def test_a_log_that_was_cut_is_read_up_to_there(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    log.write(
        "run", joints=["arm.a", "arm.b"], fps=10.0, rate_hz=50.0, clock="paced", strategy="latest", policy="p", task="t"
    )
    run_by_hand(Measures(fps=10.0, log=log))
    log.close()
    text = log.path.read_text()
    log.path.write_text(text[:-20])
    (run,) = read_log(log.path)
    assert len(run.ticks) == 12
    assert summarise(run)["termination"] == "no end in the log"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"kind": "tick"}\n', r"log:1: not a line of a run log \(kind 'tick'\)"),
        ('{"task": "x"}\n', "report_file has one summary per run and needs no report"),
        ("no json\n{}\n", "log:1: not JSON"),
        ("", "no run in it; has the node run a goal"),
    ],
)
def test_other_files_are_named(tmp_path, text, message):
    (tmp_path / "log").write_text(text)
    with pytest.raises(LogError, match=message):
        read_log(tmp_path / "log")
    with pytest.raises(LogError, match=r"absent: cannot be read: .*parameter log_file"):
        read_log(tmp_path / "absent")


def test_numbers_of_a_log_line():
    assert number(1.23456) == 1.235
    assert number(float("nan")) is None
    assert number(None) is None


@pytest.fixture
def log(tmp_path):
    """A log with two runs; the second was cut before anything moved."""
    log = RunLog(tmp_path / "log.jsonl")
    begin = {"joints": ["arm.a", "arm.b"], "fps": 10.0, "rate_hz": 50.0, "clock": "paced", "policy": "<p>", "task": "t"}
    log.write("run", strategy="crossfade", **begin)
    measures = Measures(fps=10.0, log=log)
    run_by_hand(measures)
    log.write("end", termination="canceled", message="", **measures.summary())
    log.write("run", strategy="sync", **begin)
    log.close()
    return log.path


def test_report_prints_a_table_and_json(log, capsys):
    assert report([str(log)]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("control jitter p99 [ms]"))
    assert row.split()[-2:] == ["2", "-"]
    assert any(line.split()[-2:] == ["crossfade", "sync"] for line in lines)
    assert report([str(log), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["stop_ms"] == pytest.approx(250.0)
    assert second["ticks"] == 0


@pytest.mark.parametrize("name", ["out/run.html", "out/run.png", "out/run.svg"])
def test_report_draws(log, name, capsys):
    output = log.parent / name
    assert report([str(log), "--output", str(output)]) == 0
    assert f"written: {output}" in capsys.readouterr().err
    data = output.read_bytes()
    if output.suffix == ".html":
        assert data.count(b"data:image/png;base64,") == 1
    else:
        assert data[:5] in (b"\x89PNG\r", b"<?xml")
        assert len(data) > 10_000


def test_report_names_what_it_cannot_do(tmp_path, log, capsys):
    assert report([str(tmp_path / "absent")]) == 1
    assert "absent: cannot be read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        report([str(log), "--output", "run.pdf"])
    assert "--output run.pdf: unknown kind of file; use .html, .png, .svg" in capsys.readouterr().err
