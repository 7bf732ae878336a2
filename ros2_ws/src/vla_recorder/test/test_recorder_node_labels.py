# SPDX-License-Identifier: Apache-2.0

"""Labels after the fact, undo, discarded episodes, phases and notes, through the services of the node."""

import threading
import time
from pathlib import Path

import pytest
import yaml
from vla_core.errors import EpisodeError
from vla_msgs.action import RecordEpisode
from vla_msgs.msg import EpisodeEvent, RecorderStatus
from vla_msgs.srv import AnnotateEpisode, DiscardEpisode, LabelEpisode, SetPhase, StartEpisode, StopEpisode
from vla_recorder.bags.reader import open_episode
from vla_recorder.capture.labels import LABELS, Shelf, rewrite_metadata
from vla_recorder.testing import read_bag, wait_for

Result = RecordEpisode.Result
Label = LabelEpisode.Request


def custom(path: Path | str) -> dict[str, str]:
    return dict(open_episode(Path(path)).custom)


def record(bench, outcome: int = Result.OUTCOME_SUCCESS) -> Path:
    assert bench.call(StartEpisode, "start").success
    before = bench.messages()
    wait_for(lambda: bench.messages() > before + 10)
    stopped = bench.call(StopEpisode, "stop", outcome=outcome)
    assert stopped.success, stopped.message
    return Path(stopped.bag_path)


def test_labels_have_the_numbers_of_the_service() -> None:
    assert [LABELS.index(name) for name in ("unknown", "success", "failure", "discarded")] == [
        Label.UNKNOWN,
        Label.SUCCESS,
        Label.FAILURE,
        Label.DISCARD,
    ]
    assert len(LABELS) == Label.UNDO


def test_labels_change_after_the_fact_and_can_be_taken_back(bench, tmp_path: Path) -> None:
    bench.ready()
    nothing = bench.call(LabelEpisode, "label", label=Label.SUCCESS)
    assert not nothing.success
    assert "no episode was saved since the recorder started" in nothing.message
    folder = record(bench)
    uuid = custom(folder)["episode_uuid"]
    failed = bench.call(LabelEpisode, "label", label=Label.FAILURE)
    assert (failed.success, failed.outcome, failed.episode_uuid, failed.bag_path) == (
        True,
        "failure",
        uuid,
        str(folder),
    )
    assert custom(folder)["outcome"] == "failure"
    assert custom(folder)["labelled_at"]
    assert list(folder.glob("*.tmp")) == []
    assert bench.call(LabelEpisode, "label", label=Label.UNDO).outcome == "success"
    assert custom(folder)["outcome"] == "success"
    assert bench.call(LabelEpisode, "label", label=Label.UNDO).outcome == "unknown", (
        "also the label of the stop service"
    )
    empty = bench.call(LabelEpisode, "label", label=Label.UNDO)
    assert (empty.success, empty.message[:32]) == (False, "there is no label to take back: ")
    assert "label 9 is not one of" in bench.call(LabelEpisode, "label", label=9).message
    unknown = bench.call(LabelEpisode, "label", label=Label.SUCCESS, episode_uuid="x")
    assert f"no episode x was saved since the recorder started; known: {uuid}" in unknown.message


def test_discarded_episodes_come_back_until_the_next_one_is_saved(bench, tmp_path: Path) -> None:
    bench.ready()
    bags = tmp_path / "bags"
    assert bench.call(StartEpisode, "start").success
    wait_for(lambda: bench.messages() > 10)
    assert bench.call(DiscardEpisode, "discard").success
    aside = next((bags / ".discarded").iterdir())
    assert custom(aside)["termination"] == "discarded"
    back = bench.call(LabelEpisode, "label", label=Label.UNDO)
    assert (back.success, back.outcome, back.bag_path) == (True, "unknown", str(bags / aside.name))
    assert len(read_bag(Path(back.bag_path))[1]["/joint_states"]) > 0
    assert (custom(back.bag_path)["termination"], custom(back.bag_path)["outcome"]) == ("stopped", "unknown")
    second = record(bench)
    discarded = bench.call(LabelEpisode, "label", label=Label.DISCARD)
    assert not second.exists()
    assert (custom(discarded.bag_path)["termination"], custom(discarded.bag_path)["outcome"]) == (
        "discarded",
        "success",
    )
    assert Path(discarded.bag_path).is_dir()
    assert bench.call(LabelEpisode, "label", label=Label.UNDO).outcome == "success"
    assert custom(second)["termination"] == "stopped"
    assert bench.call(LabelEpisode, "label", label=Label.DISCARD).success
    third = record(bench)
    assert not Path(discarded.bag_path).exists(), "gone when the next episode is saved"
    assert sorted(path.name for path in bags.iterdir()) == sorted([aside.name, third.name])
    assert bench.recorder._controller.saved == 2


def test_a_reader_never_sees_half_a_label(bench) -> None:
    bench.ready()
    folder = record(bench)
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            content = yaml.safe_load((folder / "metadata.yaml").read_text())
            seen.add(content["rosbag2_bagfile_information"]["custom_data"]["outcome"])

    reader = threading.Thread(target=read)
    reader.start()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        rewrite_metadata(folder, {"outcome": "failure"})
        rewrite_metadata(folder, {"outcome": "success"})
    done.set()
    reader.join()
    assert seen == {"failure", "success"}


def test_an_episode_whose_metadata_are_gone_cannot_be_labelled(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    folder = tmp_path / "episode_x"
    folder.mkdir()
    shelf.add("x", folder, "unknown")
    with pytest.raises(EpisodeError, match=r"episode_x/metadata.yaml: the episode cannot be labelled, its metadata"):
        shelf.label("", "success")
    assert not shelf.can_undo


def test_a_skill_reports_phases_and_results(make_bench) -> None:
    bench = make_bench(record_from="motion", operator="ada")
    bench.ready()
    refused = bench.call(SetPhase, "set_phase", phase=EpisodeEvent.SKILL)
    assert (refused.success, refused.message) == (False, "no episode is open; start one first")
    assert bench.call(StartEpisode, "start", notes="cold room").success
    assert "SKILL cannot follow ARMED" in bench.call(SetPhase, "set_phase", phase=EpisodeEvent.SKILL).message
    assert bench.messages() == 0
    bench.driver.target = 0.3
    wait_for(lambda: bench.recorder._controller.snapshot()["phase"] == EpisodeEvent.TELEOP, what="TELEOP")
    skill = bench.call(SetPhase, "set_phase", phase=EpisodeEvent.SKILL, label="button", skill="insert_cpu")
    assert (skill.success, skill.phase) == (True, EpisodeEvent.SKILL)
    grasp = {"keys": ["grasp_commanded", "grasp_actual"], "values": ["165", "140"]}
    assert bench.call(AnnotateEpisode, "annotate", notes="nice", operator_name="bob", **grasp).success
    lopsided = bench.call(AnnotateEpisode, "annotate", keys=["grasp_actual"])
    assert "1 keys but 0 values; give one value per key" in lopsided.message
    assert "cannot be added" in bench.call(AnnotateEpisode, "annotate", keys=["uuid"], values=["1"]).message
    wait_for(lambda: bench.messages() > 20)
    wrong = bench.call(StopEpisode, "stop", skill_outcome="fine")
    assert "skill_outcome 'fine' is not one of" in wrong.message
    folder = Path(bench.call(StopEpisode, "stop", outcome=Result.OUTCOME_SUCCESS).bag_path)
    data = custom(folder)
    assert (data["skill_name"], data["skill_outcome"], data["grasp_actual"]) == ("insert_cpu", "completed", "140")
    assert (data["operator"], data["notes"]) == ("ada", "cold room; nice")
    assert bench.call(AnnotateEpisode, "annotate", notes="after all").success
    assert custom(folder)["notes"] == "cold room; nice; after all"
    assert bench.call(StartEpisode, "start").success
    assert bench.recorder._controller.snapshot()["operator"] == "bob"


def test_the_status_says_it_all_in_one_line(make_bench, tmp_path: Path) -> None:
    bench = make_bench(record_from="motion")
    latest: list[RecorderStatus] = []
    bench.client.create_subscription(RecorderStatus, "recorder/status", latest.append, 10)
    bench.ready()
    wait_for(lambda: latest and latest[-1].rate_hz > 30, what="a measured rate")
    assert latest[-1].line.startswith("idle  task: lift the block  0 saved")
    assert latest[-1].disk_free > 0
    assert bench.call(StartEpisode, "start").success
    wait_for(lambda: "ARMED 00:0" in latest[-1].line, what="ARMED")
    assert (latest[-1].recording, latest[-1].writing, latest[-1].phase) == (True, False, EpisodeEvent.ARMED)
    bench.driver.target = 0.4
    wait_for(lambda: latest[-1].writing and "REC TELEOP" in latest[-1].line, what="REC")
    folder = Path(bench.call(StopEpisode, "stop", outcome=Result.OUTCOME_FAILURE).bag_path)
    wait_for(lambda: latest[-1].last_label == "failure", what="the label")
    assert (latest[-1].last_bag_path, latest[-1].can_undo, latest[-1].episodes_saved) == (str(folder), True, 1)
    bench.driver.silent = True
    wait_for(lambda: latest[-1].silent_topics, what="silence")
    assert "! camera 'front': /front/image_raw silent for" in latest[-1].line


def test_what_another_recorder_discarded_is_named_and_left_alone(make_bench, tmp_path: Path, capfd) -> None:
    old = tmp_path / "bags" / ".discarded" / "episode_old"
    old.mkdir(parents=True)
    bench = make_bench()
    bench.ready()
    record(bench)
    assert bench.call(LabelEpisode, "label", label=Label.DISCARD).success
    bench.recorder.close()
    assert [path.name for path in old.parent.iterdir()] == ["episode_old"]
    assert f"{old.parent}: episodes that were discarded before their recorder was killed" in capfd.readouterr().err
