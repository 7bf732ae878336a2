# SPDX-License-Identifier: Apache-2.0

"""What a conversion costs, against LeRobot's own writer and against encoding alone.

    python benchmarks/convert.py --json result.json     # 4 episodes of 20 s, raw, JPEG and H.264
    python benchmarks/convert.py --quick                # one episode of 6 s

Synthetic bags: two 640x480 cameras at 30 Hz with moving texture and noise, joints at 200 Hz, two command topics at 100 Hz.
Every way runs in a fresh process, one after the other, so that other work on the machine hits them alike; the cost of the
imports is measured apart and not counted. CPU seconds are user and system time, children included.

* ``ours_av1``: this converter, bag to finished dataset, AV1 preset 12, GOP 2, CRF 30 (LeRobot's defaults); ``ours_x264``:
  x264 veryfast, GOP 2, CRF 23; ``ours_copy``: packets of an H.264 camera copied;
* ``lerobot_default``, ``lerobot_streaming``: the same frames through ``LeRobotDataset.add_frame`` and ``save_episode``;
* ``floor_av1``, ``floor_x264``: the pictures of the same bag through a bare PyAV loop with the same settings: no rows, no
  statistics, no check. Nothing that encodes with these settings can take less.

The JSON holds ``machine``, ``load_average``, ``bars`` (name, value, limit, ok), ``scaling`` (wall time by workers) and
``rows`` with ``name``, ``input``, ``cpu_s_per_episode_s``, ``wall_s``, ``peak_rss_mb``, ``frames``, ``rows_ok`` and more. The
exit code is 1 if a way lost or changed a row; a bar that is missed is printed, and fails only with ``--strict``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from convert_ways import WAYS
from vla_recorder.media.video import count_frames, decode
from vla_recorder.testing.recordings import CAMERAS, Pictures, Recording, expected_joints, write_recording
from vla_recorder.tools.probe_encoders import psnr_db

_COMPARED_PICTURES = 60
_EVERY = 10
_STATE_TOLERANCE = 0.02  # joints move by 1/s at most, and a message is held for 5 ms
BARS = {
    "ours_av1 CPU-s per episode-second": 0.75,
    "ours_av1 / floor_av1": 1.25,
    "lerobot_default / ours_av1": 3.5,
    "ours_x264 / floor_x264": 1.3,
    "PSNR ours_av1 - floor_av1 [dB]": -0.2,
    "PSNR ours_x264 - floor_x264 [dB]": -0.2,
    "memory of ours over its imports [MB]": 500.0,
    "ours_copy times real time": 50.0,
    "wall time of 1 / 2 workers": 1.5,
}
_AT_LEAST = ("lerobot_default", "PSNR", "ours_copy times", "wall time")


@dataclass(frozen=True, slots=True)
class Bar:
    """A number and what it must be."""

    name: str
    input: str
    value: float
    limit: float
    ok: bool


def make_bags(folder: Path, kind: str, arguments: argparse.Namespace) -> Recording:
    """Write the episodes of one kind; return what each is (their seeds differ)."""
    size = {"height": arguments.height, "width": arguments.width}
    for number in range(arguments.episodes):
        recording = Recording(kind=kind, seconds=arguments.seconds, seed=number, **size)
        write_recording(folder / kind / f"episode_{number}", recording)
    return Recording(kind=kind, seconds=arguments.seconds, **size)


def run_way(way: str, bags: Path, output: Path, workers: int = 1) -> dict[str, float]:
    """Run a way in a fresh process and return what it cost.

    Raises:
        RuntimeError: It failed; with the end of what it said.
    """
    script = Path(__file__).with_name("convert_ways.py")
    command = [sys.executable, str(script), way, str(bags), str(output), "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{way} on {bags.name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    cost: dict[str, float] = json.loads(done.stdout.rstrip().splitlines()[-1])
    return cost


def videos(way: str, output: Path, camera: str) -> list[Path]:
    """Return the video files of a camera, in the order of the episodes."""
    if way.startswith("floor"):
        return sorted(output.glob(f"*/{camera}.mp4"))
    return sorted((output / f"videos/observation.images.{camera}").rglob("*.mp4"))


def check_rows(way: str, output: Path, recording: Recording, count: int) -> tuple[int, str]:
    """Return the number of rows of a result, and what is wrong with it; empty if every row is right."""
    wanted = recording.frames * count
    for camera in CAMERAS:
        pictures = sum(count_frames(path) for path in videos(way, output, camera))
        if pictures != wanted:
            return pictures, f"{camera} has {pictures} pictures instead of {wanted}"
    if way.startswith("floor"):
        return wanted, ""
    table = pq.read_table(sorted((output / "data").rglob("*.parquet")), columns=["observation.state", "frame_index"])
    state = np.array(table["observation.state"].to_pylist())
    if len(state) != wanted:
        return len(state), f"{len(state)} rows instead of {wanted}"
    # The grid begins with the last stream, which is 0.4 frames after the first picture.
    t = (table["frame_index"].to_numpy() + 0.4) / recording.fps
    worst = float(np.abs(state - expected_joints(t)).max())
    return wanted, f"joints differ by {worst:.3f} rad" if worst > _STATE_TOLERANCE else ""


def quality(way: str, output: Path, recording: Recording) -> float:
    """Return the mean PSNR of the first pictures of the first camera against what was drawn [dB]."""
    pictures = Pictures(recording.height, recording.width, recording.seed)
    values = []
    for number, picture in enumerate(decode(videos(way, output, CAMERAS[0])[0])):
        if number == min(recording.frames, _COMPARED_PICTURES):
            break
        if number % _EVERY == 0:
            values.append(psnr_db(pictures.draw(number / recording.fps, number), picture))
    return float(np.mean(values))


def measure(way: str, kind: str, folder: Path, recording: Recording, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a way once and return its row."""
    output = folder / "output"
    cost = run_way(way, folder / kind, output)
    frames, wrong = check_rows(way, output, recording, arguments.episodes)
    seconds = recording.seconds * arguments.episodes
    row = {
        "name": way,
        "input": kind,
        "cpu_s_per_episode_s": cost["cpu_s"] / seconds,
        "wall_s": cost["wall_s"],
        "peak_rss_mb": cost["peak_rss_mb"],
        "frames": frames,
        "rows_ok": not wrong,
        "wrong": wrong,
        "episode_s": seconds,
        "times_real_time": seconds / cost["wall_s"],
        "psnr_db": quality(way, output, recording),
        "mb": sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) / 1e6,
        "rss_over_imports_mb": cost["peak_rss_mb"] - cost["import_rss_mb"],
        "import_cpu_s": cost["import_cpu_s"],
    }
    if way == "ours_copy" and not wrong:
        row |= _copied(output, arguments.episodes)
    shutil.rmtree(output)
    return row


def _copied(output: Path, count: int) -> dict[str, Any]:
    """Return whether the packets of every camera were copied; a conversion that encodes again is no copy."""
    info = json.loads((output / "meta/info.json").read_text())
    encoded = [
        key for key, spec in info["features"].items() if spec["dtype"] == "video" and "video.crf" in spec["info"]
    ]
    if encoded:
        return {"rows_ok": False, "wrong": f"{', '.join(encoded)} of {count} episodes encoded again instead of copied"}
    return {}


def scaling(folder: Path, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Return the wall time of the converter by the number of workers; the start of the processes is counted."""
    result = []
    cores = len(os.sched_getaffinity(0))
    for workers in sorted({1, 2, min(4, cores)} if cores > 1 else {1}):
        cost = run_way("ours_x264", folder / "jpeg", folder / "output", workers)
        result.append({"workers": workers, "wall_s": cost["wall_s"], "cpu_s": cost["cpu_s"]})
        shutil.rmtree(folder / "output")
    return result


def median_rows(rounds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return one row per way and input: medians of the numbers, and every error."""
    rows = []
    for same in zip(*rounds, strict=True):
        row = dict(same[0])
        for key, value in row.items():
            if isinstance(value, float):
                row[key] = statistics.median(one[key] for one in same)
        row["rows_ok"] = all(one["rows_ok"] for one in same)
        row["wrong"] = next((one["wrong"] for one in same if one["wrong"]), "")
        rows.append(row)
    return rows


def bars(rows: list[dict[str, Any]], scaled: list[dict[str, float]]) -> list[Bar]:
    """Compare what was measured with the limits; what was not measured has no bar."""
    found = []

    def add(name: str, kind: str, value: float) -> None:
        limit = BARS[name]
        found.append(Bar(name, kind, value, limit, value >= limit if name.startswith(_AT_LEAST) else value <= limit))

    for kind in dict.fromkeys(row["input"] for row in rows):
        by_name = {row["name"]: row for row in rows if row["input"] == kind}
        cpu = {name: row["cpu_s_per_episode_s"] for name, row in by_name.items()}
        if "ours_av1" in cpu:
            add("ours_av1 CPU-s per episode-second", kind, cpu["ours_av1"])
            add("memory of ours over its imports [MB]", kind, by_name["ours_av1"]["rss_over_imports_mb"])
        for top, bottom in (("ours_av1", "floor_av1"), ("lerobot_default", "ours_av1"), ("ours_x264", "floor_x264")):
            if top in cpu and bottom in cpu:
                add(f"{top} / {bottom}", kind, cpu[top] / cpu[bottom])
        for top, bottom in (("ours_av1", "floor_av1"), ("ours_x264", "floor_x264")):
            if top in cpu and bottom in cpu:
                add(f"PSNR {top} - {bottom} [dB]", kind, by_name[top]["psnr_db"] - by_name[bottom]["psnr_db"])
        if "ours_copy" in cpu:
            add("ours_copy times real time", kind, by_name["ours_copy"]["times_real_time"])
    wall = {int(one["workers"]): one["wall_s"] for one in scaled}
    if 2 in wall:
        add("wall time of 1 / 2 workers", "jpeg", wall[1] / wall[2])
    return found


def print_result(rows: list[dict[str, Any]], found: list[Bar], scaled: list[dict[str, float]]) -> None:
    """Print the tables."""
    print(
        f"{'way':<18} {'input':<5} {'CPU-s/ep-s':>10} {'wall s':>8} {'x real':>7} {'RSS MB':>7} {'MB':>7} {'PSNR':>6} rows"
    )
    for row in rows:
        state = f"{row['frames']} ok" if row["rows_ok"] else f"{row['frames']} WRONG: {row['wrong']}"
        print(
            f"{row['name']:<18} {row['input']:<5} {row['cpu_s_per_episode_s']:10.3f} {row['wall_s']:8.2f} "
            f"{row['times_real_time']:7.1f} {row['peak_rss_mb']:7.0f} {row['mb']:7.1f} {row['psnr_db']:6.2f} {state}"
        )
    for one in scaled:
        print(f"ours_x264 jpeg with {one['workers']:.0f} workers: {one['wall_s']:.2f} s wall, {one['cpu_s']:.2f} CPU-s")
    for bar in found:
        sign = ">=" if bar.name.startswith(_AT_LEAST) else "<="
        print(f"{'pass' if bar.ok else 'FAIL'}  {bar.name} ({bar.input}): {bar.value:.3f} {sign} {bar.limit:g}")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--quick", action="store_true", help="one episode of 6 s and no scaling: ratios are rough")
    result.add_argument("--episodes", type=int, default=4, help="number of episodes")
    result.add_argument("--seconds", type=float, default=20.0, help="length of each [s]")
    result.add_argument("--height", type=int, default=480, help="of the pictures [px]")
    result.add_argument("--width", type=int, default=640, help="of the pictures [px]")
    result.add_argument("--rounds", type=int, default=1, help="times that every way runs; medians count")
    result.add_argument(
        "--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=f"of {', '.join(WAYS)}"
    )
    result.add_argument(
        "--inputs", nargs="+", choices=("raw", "jpeg"), default=["raw", "jpeg"], help="of the ways but copy"
    )
    result.add_argument("--without-scaling", action="store_true", help="leave the runs with several workers out")
    result.add_argument("--strict", action="store_true", help="exit code 1 if a bar is missed")
    result.add_argument("--json", type=Path, help="write the result to this file")
    return result


def processor() -> str:
    """Return the name of the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.machine()


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run everything and return the result."""
    plan = [(way, kind) for kind in arguments.inputs for way in arguments.ways if way != "ours_copy"]
    plan += [("ours_copy", "h264")] if "ours_copy" in arguments.ways else []
    before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="convert_benchmark_") as name:
        folder = Path(name)
        kinds = dict.fromkeys([kind for _, kind in plan] + ([] if arguments.without_scaling else ["jpeg"]))
        recordings = {kind: make_bags(folder, kind, arguments) for kind in kinds}
        rounds = []
        for number in range(arguments.rounds):
            rows = []
            for way, kind in plan:
                print(f"round {number + 1}: {way} on {kind} ...", file=sys.stderr, flush=True)
                rows.append(measure(way, kind, folder, recordings[kind], arguments))
            rounds.append(rows)
        scaled = [] if arguments.without_scaling else scaling(folder, arguments)
    rows = median_rows(rounds)
    return {
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "cpu": processor(),
            "python": platform.python_version(),
        },
        "load_average": {"before": before, "after": os.getloadavg()},
        "episodes": arguments.episodes,
        "seconds": arguments.seconds,
        "size": [arguments.height, arguments.width],
        "rounds": arguments.rounds,
        "rows": rows,
        "scaling": scaled,
        "bars": [asdict(bar) for bar in bars(rows, scaled)],
    }


def main() -> int:
    """Run the benchmark."""
    arguments = parser().parse_args()
    if arguments.quick:
        arguments.episodes, arguments.seconds, arguments.without_scaling = 1, min(arguments.seconds, 6.0), True
    result = run(arguments)
    found = [Bar(**bar) for bar in result["bars"]]
    print_result(result["rows"], found, result["scaling"])
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    right = all(row["rows_ok"] for row in result["rows"])
    return 0 if right and (not arguments.strict or all(bar.ok for bar in found)) else 1


if __name__ == "__main__":
    sys.exit(main())
