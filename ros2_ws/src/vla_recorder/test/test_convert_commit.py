# SPDX-License-Identifier: Apache-2.0

"""Power is lost at each step of putting a dataset in place: the old or the new one is there, and the next run tidies up."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from vla_recorder.convert import staging
from vla_recorder.convert.command import main
from vla_recorder.testing import Scene, scene_events, small_profile, write_episode


class PowerCutError(BaseException):
    """Nothing of the process runs after it."""


def write_bag(folder: Path, name: str) -> None:
    profile = small_profile()
    events = scene_events(profile, Scene(seed=ord(name), duration_s=1.0))
    write_episode(folder / f"episode_{name}", events, profile, recorded_at=name)


def run(tmp_path: Path, *more: str) -> int:
    return main(["--bags", str(tmp_path / "bags"), "--output", str(tmp_path / "data"), "--workers", "1", *more])


def stamps(tmp_path: Path) -> list[int]:
    table = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "data/data").rglob("*.parquet")))
    return table.column("stamp_ns").to_pylist()


def cut(monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Lose power at a point of `Workspace.commit`."""
    monkeypatch.setattr(staging.Workspace, "__exit__", lambda space, *_: os.close(space._lock))

    def stop(*_: object) -> None:
        raise PowerCutError

    if point == "before the data are on the disk":
        monkeypatch.setattr(staging, "sync", stop)
    elif point == "before the swap":
        monkeypatch.setattr(staging, "exchange", stop)
    elif point == "after the swap":
        swap = staging.exchange
        monkeypatch.setattr(staging, "exchange", lambda a, b: swap(a, b) and stop())
    elif point == "between two renames":
        monkeypatch.setattr(staging, "exchange", lambda *_: False)
        rename = Path.rename
        monkeypatch.setattr(Path, "rename", lambda path, to: stop() if path.name == "dataset" else rename(path, to))
    else:
        remove = shutil.rmtree
        suffix = {"before the old one is deleted": ".replaced", "before the work is deleted": ".partial"}[point]
        monkeypatch.setattr(
            shutil,
            "rmtree",
            lambda path, **more: stop() if Path(path).name == f"data{suffix}" else remove(path, **more),
        )


POINTS = (
    "before the data are on the disk",
    "before the swap",
    "after the swap",
    "between two renames",
    "before the old one is deleted",
    "before the work is deleted",
)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
def test_power_cut_while_a_dataset_is_replaced_or_extended(
    tmp_path: Path, monkeypatch, option: str, point: str
) -> None:
    write_bag(tmp_path / "bags", "a")
    assert run(tmp_path) == 0
    old = stamps(tmp_path)
    write_bag(tmp_path / "bags", "b")
    with monkeypatch.context() as patch:
        cut(patch, point)
        with pytest.raises(PowerCutError):
            run(tmp_path, option)
    if point != "between two renames":  # the way of file systems that cannot swap names
        assert len(stamps(tmp_path)) in (len(old), 2 * len(old)), "the old or the new dataset"
    assert run(tmp_path, "--resume") == 0
    assert len(stamps(tmp_path)) == 2 * len(old)
    assert stamps(tmp_path)[: len(old)] == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bags", "data"]


@pytest.mark.parametrize("point", [POINTS[0], POINTS[3], POINTS[5]])
def test_power_cut_while_a_new_dataset_is_put_in_place(tmp_path: Path, monkeypatch, point: str) -> None:
    write_bag(tmp_path / "bags", "a")
    with monkeypatch.context() as patch:
        cut(patch, point)
        with pytest.raises(PowerCutError):
            run(tmp_path)
    assert (tmp_path / "data").exists() == (point == "before the work is deleted")
    assert run(tmp_path, "--resume") == 0
    assert len(stamps(tmp_path)) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bags", "data"]
