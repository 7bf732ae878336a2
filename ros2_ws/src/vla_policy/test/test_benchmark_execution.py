# SPDX-License-Identifier: Apache-2.0

"""What `benchmarks/execution.py` concludes from its rows, and LeRobot's own loops on the scripted policy."""

import sys
from pathlib import Path

import numpy as np
import pytest
from vla_policy.execution.measures_log import RunLog
from vla_policy.tools.report_log import read_log

BENCHMARKS = Path(__file__).resolve().parents[4] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import execution  # noqa: E402
from execution_lerobot import reference_rows  # noqa: E402
from execution_sim import Scenario, standstill_ms  # noqa: E402

MS = 1_000_000


def row(strategy="crossfade", **values):
    found = {
        "strategy": strategy,
        "latency_ms": 150.0,
        "held_pct_max": 0.0,
        "seam_jump": 1.1,
        "tracking_rms": 0.01,
        "stop_ms": 40.0,
        "jitter_ms_p99": None,
        "overhead_ms_p95": None,
        "stopped": [],
    }
    return {**found, **values}


def broken(*rows):
    return [bar["name"] for bar in execution.bars(list(rows)) if not bar["ok"]]


def test_good_rows_break_no_bar():
    assert broken(row(), row("latest", tracking_rms=0.01), row("sync", held_pct_max=20.0, seam_jump=9.0)) == []
    assert broken(row("lerobot_async", reference=True, held_pct_max=50.0, stop_ms=None)) == []


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"held_pct_max": 0.3}, "held ticks [%], crossfade at 150 ms"),
        ({"seam_jump": 1.21}, "seam jump, crossfade at 150 ms"),
        ({"tracking_rms": 0.011}, "tracking error [rad], crossfade at 150 ms"),
        ({"stop_ms": 101.0}, "time to stop [ms], crossfade at 150 ms"),
        ({"clock_stop_ms": 101.0}, "time to stop in real time [ms], crossfade at 150 ms"),
        ({"jitter_ms_p99": 5.1}, "control jitter p99 [ms], crossfade at 150 ms"),
        ({"overhead_ms_p95": 5.1}, "overhead p95 [ms], crossfade at 150 ms"),
        ({"stopped": ["refused"]}, "runs that ended by themselves, crossfade at 150 ms"),
    ],
)
def test_each_bar_can_be_broken(values, name):
    assert broken(row(**values), row("latest")) == [name]


def test_rows_of_the_real_time_part_alone_have_bars_of_their_own():
    real = {
        "strategy": "crossfade",
        "latency_ms": 150.0,
        "jitter_ms_p99": 1.0,
        "overhead_ms_p95": 6.0,
        "clock_stop_ms": 30.0,
    }
    assert broken(real, {**real, "strategy": "latest"}) == [
        f"overhead p95 [ms], {n} at 150 ms" for n in ("crossfade", "latest")
    ]
    assert "| crossfade | 150 ms | - | - | - | - | - | 1 | 6 | - |" in execution.table([real])
    assert execution.parse(["--only", "real-time"]).only == execution.REAL_TIME


def test_the_limit_of_the_seam_depends_on_the_latency():
    assert broken(row(latency_ms=400.0, seam_jump=1.4)) == []
    assert broken(row(latency_ms=400.0, seam_jump=1.6)) == ["seam jump, crossfade at 400 ms"]
    assert broken(row("latest", latency_ms=400.0, seam_jump=4.0)) == []


def test_time_to_standstill_counts_from_the_request(tmp_path):
    log = RunLog(tmp_path / "log")
    log.write("run", fps=30.0)
    log.write("end", stop_requested_ns=100 * MS)
    log.close()
    (run,) = read_log(log.path)
    still, moved = [0.0, 0.5], [0.0, 0.6]
    states = [(t * MS, still if t < 60 else moved if t < 140 else [0.0, 0.61]) for t in range(0, 300, 10)]
    arrays = [(t, np.array(q)) for t, q in states]
    assert standstill_ms(run, arrays) == pytest.approx(40.0)
    assert standstill_ms(run, arrays[:10]) == 0.0


def test_lerobots_own_loops(tmp_path):
    profile = Scenario(seeds=1, seconds=4.0, noise=0.01, folder=tmp_path).profile()
    rows = {one["strategy"]: one for one in reference_rows(profile, 400.0, seeds=1, seconds=4.0, noise=0.01, chunk=50)}
    assert all(one["reference"] for one in rows.values())
    radians, degrees = rows["lerobot_async"], rows["lerobot_async_degrees"]
    assert radians["observations_filtered"] > 0.9 * radians["observations_sent"], "its filter expects degrees"
    assert radians["held_pct"] > 5.0
    assert degrees["held_pct"] == 0.0
    assert rows["lerobot_sync"]["held_pct"] > 10.0
    assert rows["lerobot_queue_replace"]["held_pct"] == 0.0
    assert rows["lerobot_queue_append"]["tracking_rms"] > rows["lerobot_queue_replace"]["tracking_rms"]
