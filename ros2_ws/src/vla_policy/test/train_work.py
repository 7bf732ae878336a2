# SPDX-License-Identifier: Apache-2.0

"""What tests of the launcher need without loading LeRobot or torch: a small dataset, a ready checkpoint, a piece of work."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from vla_core.frames import features
from vla_policy.policies.checkpoint import attach
from vla_policy.training.train_job import Work, new_work
from vla_policy.training.train_options import build_parser
from vla_policy.training.train_resume import resumed_work

FRONT = "observation.images.front"
COUNTERS = ("frame_index", "episode_index", "index", "task_index")


def work_of(*argv: str | Path) -> Work:
    """What the launcher would do with these options."""
    given = [str(one) for one in argv]
    split = given.index("--") if "--" in given else len(given)
    arguments = build_parser().parse_args(given[:split])
    make = resumed_work if arguments.resume else new_work
    return make(arguments, given[split + 1 :], arguments.output)


def write_dataset(folder: Path, profile, *, episodes: int = 3, length: int = 12, offset: float = 0.0) -> Path:
    """A LeRobot v3.0 dataset of the two-joint profile, with pictures in the data file, as plain files."""
    count = episodes * length
    phase = 0.2 * (np.arange(count) % length) + np.arange(count) // length + offset
    state = np.stack([np.sin(phase), np.cos(phase), 0.5 + 0.3 * np.sin(phase)], axis=1).astype(np.float32)
    action = np.stack([np.sin(phase + 0.2), np.cos(phase + 0.2), 0.5 + 0.3 * np.cos(phase)], axis=1).astype(np.float32)
    pictures = [_picture(value, profile.cameras[0].frame_size) for value in phase]
    counters = {
        "frame_index": np.arange(count) % length,
        "episode_index": np.arange(count) // length,
        "index": np.arange(count),
        "task_index": np.zeros(count, int),
    }
    vector = pa.list_(pa.float32(), 3)
    table = pa.table(
        {
            "observation.state": pa.array(state.tolist(), vector),
            "action": pa.array(action.tolist(), vector),
            FRONT: pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "timestamp": pa.array((counters["frame_index"] / profile.fps).astype(np.float32)),
            **{name: pa.array(values, pa.int64()) for name, values in counters.items()},
        }
    )
    _write(folder / "data" / "chunk-000" / "file-000.parquet", table)
    starts = length * np.arange(episodes)
    rows = {
        "episode_index": np.arange(episodes),
        "length": np.full(episodes, length),
        "data/chunk_index": np.zeros(episodes, int),
        "data/file_index": np.zeros(episodes, int),
        "dataset_from_index": starts,
        "dataset_to_index": starts + length,
    }
    tasks = pa.array([[profile.task]] * episodes, pa.list_(pa.string()))
    _write(folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet", pa.table({**rows, "tasks": tasks}))
    _write(folder / "meta" / "tasks.parquet", pa.table({"task_index": [0], "task": [profile.task]}))
    _write_meta(folder, profile, episodes, count, {"observation.state": state, "action": action})
    return folder


def _picture(value, size):
    pixels = np.full((*size, 3), int(127 + 100 * np.sin(value)), dtype=np.uint8)
    return {"bytes": cv2.imencode(".png", pixels)[1].tobytes(), "path": None}


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_meta(folder: Path, profile, episodes: int, count: int, vectors) -> None:
    stored = {n: {**f, "dtype": "image"} if f["dtype"] == "video" else f for n, f in features(profile).items()}
    stored |= {name: {"dtype": "int64", "shape": [1], "names": None} for name in COUNTERS}
    stored["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    info = {
        "codebase_version": "v3.0",
        "fps": int(profile.fps),
        "robot_type": profile.robot,
        "features": stored,
        "total_episodes": episodes,
        "total_frames": count,
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "splits": {"train": f"0:{episodes}"},
    }
    stats = {
        name: {
            "min": rows.min(axis=0).tolist(),
            "max": rows.max(axis=0).tolist(),
            "mean": rows.mean(axis=0, dtype=float).tolist(),
            "std": rows.std(axis=0, dtype=float).tolist(),
            "q01": np.quantile(rows, 0.01, axis=0).tolist(),
            "q99": np.quantile(rows, 0.99, axis=0).tolist(),
            "count": [count],
        }
        for name, rows in vectors.items()
    }
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    (folder / "meta" / "stats.json").write_text(json.dumps(stats))
    (folder / "meta" / "vla").mkdir()
    (folder / "meta" / "vla" / "profile.yaml").write_text(profile.text)


def write_checkpoint(folder: Path, profile, kind: str = "act") -> Path:
    """A run folder with a checkpoint that holds no real weights; returns its `pretrained_model`."""
    path = folder / "checkpoints" / "000001" / "pretrained_model"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"type": kind}))
    (path / "model.safetensors").write_bytes(b"none")
    (folder / "checkpoints" / "last").symlink_to("000001")
    attach(path, profile=profile, vlm=None)
    return path
