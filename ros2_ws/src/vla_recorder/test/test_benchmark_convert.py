# SPDX-License-Identifier: Apache-2.0

"""The benchmark of the conversion measures what it says, and notices rows that are wrong."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from vla_recorder.media.settings import VideoSettings
from vla_recorder.media.video import VideoEncoder
from vla_recorder.testing.recordings import CAMERAS, Pictures, Recording, expected_joints

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"
FULL = os.environ.get("VLA_TEST_FULL") == "1"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("convert")
    sys.path.remove(str(BENCHMARKS))


def test_a_tiny_run(tmp_path: Path) -> None:
    ways = ["ours_x264", "floor_x264", "ours_copy"]
    ways += ["ours_av1", "floor_av1", "lerobot_default", "lerobot_streaming"] if FULL else []
    result = tmp_path / "result.json"
    command = [sys.executable, str(BENCHMARKS / "convert.py"), "--json", str(result), "--without-scaling"]
    command += [
        "--episodes",
        "2",
        "--seconds",
        "1",
        "--height",
        "48",
        "--width",
        "64",
        "--inputs",
        "jpeg",
        "--ways",
        *ways,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result.read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == set(ways)
    for row in rows.values():
        assert row["rows_ok"], row
        assert row["frames"] == 60
        assert row["cpu_s_per_episode_s"] > 0
        assert row["wall_s"] > 0
        assert row["peak_rss_mb"] > 20
    assert rows["ours_copy"]["input"] == "h264"
    assert rows["ours_x264"]["psnr_db"] == pytest.approx(rows["floor_x264"]["psnr_db"], abs=0.2)
    assert {"ours_x264 / floor_x264", "ours_copy times real time"} <= {bar["name"] for bar in found["bars"]}
    for word in ("CPU-s/ep-s", "ours_copy", "60 ok", "ours_x264 / floor_x264 (jpeg)"):
        assert word in done.stdout


def dataset(root: Path, recording: Recording, *, shift: int = 0, missing: int = 0) -> Path:
    """Write what a converter would, with rows that are `shift` frames off or pictures that are missing."""
    pictures = Pictures(recording.height, recording.width, recording.seed)
    for camera in CAMERAS:
        path = root / f"videos/observation.images.{camera}/chunk-000/file-000.mp4"
        size = {"height": recording.height, "width": recording.width}
        with VideoEncoder(path, fps=recording.fps, settings=VideoSettings(), **size) as encoder:
            for number in range(recording.frames - missing):
                encoder.add(pictures.draw(number / recording.fps, number))
    index = np.arange(recording.frames)
    state = expected_joints((index + shift + 0.4) / recording.fps)
    (root / "data").mkdir()
    table = pa.table({"observation.state": list(state), "frame_index": index})
    pq.write_table(table, root / "data/file.parquet")
    return root


def test_wrong_rows_are_noticed(tmp_path: Path, benchmark: ModuleType) -> None:
    recording = Recording(seconds=1.0, height=48, width=64)
    right = dataset(tmp_path / "right", recording)
    assert benchmark.check_rows("ours_x264", right, recording, 1) == (30, "")
    assert benchmark.quality("ours_x264", right, recording) > 30
    late = dataset(tmp_path / "late", recording, shift=1)
    assert "joints differ by 0.03" in benchmark.check_rows("ours_x264", late, recording, 1)[1]
    short = dataset(tmp_path / "short", recording, missing=2)
    assert benchmark.check_rows("ours_x264", short, recording, 1)[1] == "front has 28 pictures instead of 30"


def row(name: str, kind: str, cpu: float, **more: Any) -> dict[str, Any]:
    values = {"psnr_db": 35.0, "times_real_time": 60.0, "rss_over_imports_mb": 200.0}
    return {"name": name, "input": kind, "cpu_s_per_episode_s": cpu, **values, **more}


def test_bars(benchmark: ModuleType) -> None:
    rows = [
        row("ours_av1", "raw", 0.70),
        row("floor_av1", "raw", 0.60, psnr_db=35.1),
        row("lerobot_default", "raw", 2.10),
        row("ours_x264", "raw", 0.45),
        row("floor_x264", "raw", 0.30, psnr_db=35.3),
        row("ours_copy", "h264", 0.02, times_real_time=49.0),
    ]
    found = {
        bar.name: bar for bar in benchmark.bars(rows, [{"workers": 1, "wall_s": 8.0}, {"workers": 2, "wall_s": 5.0}])
    }
    assert set(found) == set(benchmark.BARS)
    failed = {name for name, bar in found.items() if not bar.ok}
    assert failed == {
        "lerobot_default / ours_av1",
        "ours_x264 / floor_x264",
        "PSNR ours_x264 - floor_x264 [dB]",
        "ours_copy times real time",
    }
    assert found["ours_av1 / floor_av1"].value == pytest.approx(0.7 / 0.6)


def test_medians_and_errors_of_several_rounds(benchmark: ModuleType) -> None:
    rounds = [
        [{"name": "a", "wall_s": wall, "rows_ok": wall != 3.0, "wrong": "" if wall != 3.0 else "x"}]
        for wall in (1.0, 3.0, 2.0)
    ]
    assert benchmark.median_rows(rounds) == [{"name": "a", "wall_s": 2.0, "rows_ok": False, "wrong": "x"}]


def test_a_way_that_fails_says_why(tmp_path: Path, benchmark: ModuleType) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError, match="ours_x264 on empty failed:"):
        benchmark.run_way("ours_x264", tmp_path / "empty", tmp_path / "out")


def test_bags_of_every_kind_are_made(tmp_path: Path, benchmark: ModuleType) -> None:
    arguments = argparse.Namespace(height=48, width=64, episodes=2, seconds=0.2)
    for kind in ("raw", "jpeg", "h264"):
        assert benchmark.make_bags(tmp_path, kind, arguments).frames == 6
        assert len(list((tmp_path / kind).glob("episode_*/*.mcap"))) == 2
