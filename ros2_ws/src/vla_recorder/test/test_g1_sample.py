# SPDX-License-Identifier: Apache-2.0

"""A recording of a real two-armed robot becomes exactly the numbers of the dataset that it was made from."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from vla_core.profile import load_profile
from vla_recorder.convert.command import main
from vla_recorder.media.video import count_frames

HERE = Path(__file__).parent
PROFILE = HERE / "data" / "g1_sample.yaml"
DATA = Path(os.environ.get("VLA_TEST_DATA") or HERE.parents[3].parent / "shared" / "data")
BAG = DATA / "bags" / "g1_bottle"
TABLE = DATA / "bags" / "g1_bottle_episode29.parquet"

needs_data = pytest.mark.skipif(not TABLE.is_file(), reason=f"no recorded data: {TABLE} is absent (set VLA_TEST_DATA)")


def column(path: Path, name: str) -> np.ndarray:
    return np.array(pq.read_table(path)[name].to_pylist(), dtype=np.float32)


def shuffled(tmp_path: Path) -> tuple[Path, list[int]]:
    """Return a profile with the hands before the arms, and which source columns its vectors then hold."""
    lines = PROFILE.read_text().split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith("  - ")]
    begin, middle = lines.index("state:"), lines.index("action:")
    state = [i for i in starts if begin < i < middle]
    action = [i for i in starts if i > middle]
    blocks = []
    for entries, end in ((state, middle), (action, len(lines))):
        parts = [lines[a:b] for a, b in zip(entries, [*entries[1:], end], strict=True)]
        blocks.append([line for k in (3, 0, 2, 1) for line in parts[k] if line])
    path = tmp_path / "shuffled.yaml"
    path.write_text("\n".join([*lines[: begin + 1], *blocks[0], "action:", *blocks[1], ""]))
    order = [range(7), range(7, 14), range(14, 20), range(20, 26)]
    return path, [i for k in (3, 0, 2, 1) for i in order[k]]


def test_the_profile_names_all_joints_once() -> None:
    profile = load_profile(PROFILE)
    assert len(profile.state_names) == len(set(profile.state_names)) == 26
    assert profile.action_names == profile.state_names


@needs_data
@pytest.mark.parametrize("order", ["as in the source", "hands first"])
def test_every_row_is_equal_in_float32(tmp_path: Path, order: str) -> None:
    profile, columns = (PROFILE, list(range(26))) if order == "as in the source" else shuffled(tmp_path)
    output = tmp_path / "data"
    arguments = ["--bags", BAG, "--profile", profile, "--output", output, "--encoder", "fast", "--workers", 1]
    assert main([str(argument) for argument in arguments]) == 0
    written = output / "data" / "chunk-000" / "file-000.parquet"
    for name in ("observation.state", "action"):
        wanted = column(TABLE, name)[:, columns]
        got = column(written, name)
        assert got.shape == wanted.shape == (221, 26)
        assert got.tobytes() == wanted.tobytes()
    assert count_frames(next((output / "videos").rglob("*.mp4"))) == 221
