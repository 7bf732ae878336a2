# SPDX-License-Identifier: Apache-2.0

"""Datasets arrive whole at the Hub, S3, a folder and an fsspec URL, or the message says what is there now."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import fsspec
import huggingface_hub
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from huggingface_hub import HfApi
from vla_recorder.convert import publish as command
from vla_recorder.convert.publish import PublishError, publish
from vla_recorder.convert.push import PushError, push
from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.lerobot_check import check_complete
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.formats.lerobot_v21 import LeRobotV21
from vla_recorder.testing.datasets import FRONT, write_dataset
from vla_recorder.testing.hub import TOKEN, Hub, serve_hub

REPOSITORY = Path(__file__).resolve().parents[4]
MOTO = REPOSITORY / ".referees/bin/moto_server"


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("publish") / "data"
    write_dataset(LeRobotV3(), root, (3, 4))
    return root


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()


def in_memory(filesystem: MemoryFileSystem, base: str) -> dict[str, bytes]:
    return {path.removeprefix(base + "/"): filesystem.cat(path) for path in filesystem.find(base)}


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_folder(dataset: Path, tmp_path: Path, prefix: str) -> None:
    publish(dataset, f"{prefix}{tmp_path}/there/data", overwrite=False)
    assert contents(tmp_path / "there/data") == contents(dataset)


def test_an_url_is_replaced_only_when_asked(dataset: Path, memory: MemoryFileSystem) -> None:
    memory.pipe("/lab/data/old.bin", b"1")
    memory.pipe("/lab/data/meta/info.json", b"{}")
    with pytest.raises(PublishError, match=r"memory://lab/data: holds 2 files already, for example meta/info.json"):
        publish(dataset, "memory://lab/data", overwrite=False)
    publish(dataset, "memory://lab/data", overwrite=True)
    assert in_memory(memory, "/lab/data") == contents(dataset)


def test_what_marks_it_complete_comes_last(
    dataset: Path, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    opened = MemoryFileSystem.open
    monkeypatch.setattr(
        MemoryFileSystem, "open", lambda self, path, *a, **k: order.append(path) or opened(self, path, *a, **k)
    )
    publish(dataset, "memory://lab/data", overwrite=False)
    assert len(order) == len(contents(dataset))
    assert order[-1] == "/lab/data/meta/info.json"


def test_an_interrupted_upload_names_what_is_there(
    dataset: Path, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(dataset, "memory://lab/data", overwrite=False)
    opened = MemoryFileSystem.open

    def broken(self: MemoryFileSystem, path: str, *args: object, **options: object) -> object:
        if path.endswith(".mp4"):
            raise OSError("no route to host")
        return opened(self, path, *args, **options)

    monkeypatch.setattr(MemoryFileSystem, "open", broken)
    with pytest.raises(
        PublishError,
        match=r"memory://lab/data: videos/.*mp4: no route to host; \d of \d+ files are there: data/chunk-000/"
        r"file-000.parquet.* It is not complete, so nobody takes it for a dataset; repeat with --overwrite",
    ):
        publish(dataset, "memory://lab/data", overwrite=True)
    assert not memory.exists("/lab/data/meta/info.json")


def test_a_short_file_is_noticed(dataset: Path, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    info = MemoryFileSystem.info
    monkeypatch.setattr(MemoryFileSystem, "info", lambda *a, **k: {**info(*a, **k), "size": 7})
    with pytest.raises(PublishError, match=r"data/chunk-000/file-000.parquet: 7 bytes arrived of \d+"):
        publish(dataset, "memory://lab/data", overwrite=False)


def test_what_cannot_be_published(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PublishError, match="is no folder; give a dataset"):
        publish(tmp_path / "nothing", "memory://x", overwrite=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PublishError, match="is empty, there is nothing to publish"):
        publish(tmp_path / "empty", "memory://x", overwrite=False)
    with pytest.raises(PublishError, match=r"nowhere://x: cannot be opened \(.*nowhere"):
        publish(dataset, "nowhere://x", overwrite=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "minio.lab")
    with pytest.raises(PublishError, match=r"AWS_ENDPOINT_URL=minio\.lab: is no URL"):
        publish(dataset, "s3://bucket/x", overwrite=False)


def test_the_command(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main([str(dataset), str(tmp_path / "there")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "there")
    with pytest.raises(SystemExit, match="1"):
        command.main([str(dataset), str(tmp_path / "there")])
    assert "publish: " in capsys.readouterr().err


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A stand-in S3 with one bucket."""
    if not MOTO.is_file():
        pytest.skip(f"{MOTO} is not installed; ./test --full makes the environment of referees")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (tmp_path / "moto.log").open("wb") as log:
        server = subprocess.Popen([str(MOTO), "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT"), timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, (tmp_path / "moto.log").read_text()
                    assert time.monotonic() < deadline, "the S3 stand-in does not answer"
            for name, value in {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }.items():
                monkeypatch.setenv(name, value)
            yield url
        finally:
            server.terminate()
            server.wait()


def test_s3(dataset: Path, s3: str) -> None:
    publish(dataset, "s3://bucket/lab/data", overwrite=False)
    for name, content in contents(dataset).items():
        with urllib.request.urlopen(f"{s3}/bucket/lab/data/{name}", timeout=10) as answer:
            assert answer.read() == content
    with pytest.raises(PublishError, match=r"s3://bucket/lab/data: holds \d+ files already"):
        publish(dataset, "s3://bucket/lab/data", overwrite=False)
    publish(dataset, "s3://bucket/lab/data", overwrite=True)
    with pytest.raises(PublishError, match=r"s3://nobucket/data: "):
        publish(dataset, "s3://nobucket/data", overwrite=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("vla_recorder.convert.push.get_token", lambda: None)
    with serve_hub() as hub:
        yield hub


def test_the_command_pushes_every_byte(dataset: Path, hub: Hub) -> None:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    push_it = [sys.executable, "-m", "vla_recorder.convert.push", str(dataset), "--repo-id", "alice/lift", "--private"]
    done = subprocess.run(push_it, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("/datasets/alice/lift")
    received = dict(hub.files)
    card = received.pop("README.md").decode()
    assert received == contents(dataset)
    assert hub.objects, "no file went by the protocol for large files"
    assert "- LeRobot" in card
    assert "2 episodes, 7 frames at 10 Hz" in card
    assert hub.created[0]["visibility"] == "private"
    assert hub.tags == ["v3.0"]

    hub.files["data/chunk-000/file-007.parquet"] = b"old"
    again = subprocess.run(push_it, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert again.returncode == 1
    assert "alice/lift: holds a dataset already; replace it with --overwrite" in again.stderr
    again = subprocess.run(
        [*push_it, "--overwrite"], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert again.returncode == 0, again.stderr
    assert {name: data for name, data in hub.files.items() if name != "README.md"} == contents(dataset)
    assert hub.tags == ["v3.0"]


def test_an_url_of_the_hub_makes_a_private_repository(dataset: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vla_recorder.convert.push.HfApi", lambda: HfApi(endpoint=hub.url, token=TOKEN))
    downloaded = dataset / ".cache/huggingface/lock"  # what a download leaves; the client does not upload it
    downloaded.parent.mkdir(parents=True)
    downloaded.touch()
    publish(dataset, "hf://alice/lift", overwrite=False)
    shutil.rmtree(dataset / ".cache")
    assert {name: data for name, data in hub.files.items() if name != "README.md"} == contents(dataset)
    assert hub.created[0]["visibility"] == "private"
    with pytest.raises(PushError, match="alice/lift: holds a dataset already"):
        publish(dataset, "hf://alice/lift", overwrite=False)


def test_push_says_what_is_wrong_with_the_token(dataset: Path, hub: Hub) -> None:
    with pytest.raises(PushError, match=r"there is no token for http://127.0.0.1:\d+; run `hf auth login`"):
        push(dataset, "alice/lift", api=HfApi(endpoint=hub.url))
    with pytest.raises(PushError, match=r"refuses the token \(401\): it is wrong, has expired or may not write there"):
        push(dataset, "alice/lift", api=HfApi(endpoint=hub.url, token="hf_wrong"))
    with pytest.raises(PushError, match="--repo-id a/b/c: "):
        push(dataset, "a/b/c", api=HfApi(endpoint=hub.url, token=TOKEN))


def test_push_compares_what_arrived(dataset: Path, hub: Hub) -> None:
    hub.truncate = "meta/stats.json"
    with pytest.raises(PushError, match=r"alice/lift: meta/stats.json has \d+ bytes there, \d+ here; push again"):
        push(dataset, "alice/lift", api=HfApi(endpoint=hub.url, token=TOKEN))


def test_an_incomplete_dataset_is_not_pushed(tmp_path: Path) -> None:
    root, old = tmp_path / "data", tmp_path / "old"
    write_dataset(LeRobotV3(), root, (3, 4))
    write_dataset(LeRobotV21(), old, (3, 4))
    assert check_complete(root)["total_frames"] == check_complete(old)["total_frames"] == 7

    video = root / f"videos/{FRONT}/chunk-000/file-000.mp4"
    other = root / "videos/observation.images.wrist/chunk-000/file-000.mp4"
    content = video.read_bytes()
    video.unlink()
    with pytest.raises(DatasetError, match=r"file-000.mp4: is missing; convert the dataset again"):
        push(root, "alice/lift")
    write_dataset(LeRobotV3(), tmp_path / "short", (3,))
    video.write_bytes((tmp_path / "short" / other.relative_to(root)).read_bytes())
    with pytest.raises(DatasetError, match=r"the metadata count 7 pictures, there are 3"):
        push(root, "alice/lift")
    video.write_bytes(content)
    rows = root / "data/chunk-000/file-000.parquet"
    rows.write_bytes(rows.read_bytes()[:-10])
    with pytest.raises(DatasetError, match=r"file-000.parquet: is damaged"):
        push(root, "alice/lift")
    (root / "meta/info.json").unlink()
    with pytest.raises(DatasetError, match=r"has no meta/info.json, so it is no complete LeRobot dataset"):
        push(root, "alice/lift")
    episodes = old / "meta/episodes.jsonl"
    episodes.write_text(episodes.read_text().splitlines()[0] + "\n")
    with pytest.raises(DatasetError, match=r"the metadata count 2 episodes, there are 1"):
        push(old, "alice/lift")
