# SPDX-License-Identifier: Apache-2.0

"""RLDS: robots, options and episodes that do not fit are refused, with a way out."""

import dataclasses

import numpy as np
import pytest
from vla_recorder.formats import rlds_episode
from vla_recorder.formats.base import DatasetError, PacketReference
from vla_recorder.formats.rlds import Rlds
from vla_recorder.media.stream_copy import CopyRefusedError
from vla_recorder.testing.rows import PROFILE, layout, rows, write_rows


def test_a_robot_that_does_not_fit_the_seed_schema_is_told_about_generic(tmp_path):
    limits = "limits: {lower: [-3, -3, -3, -3, -3], upper: [3, 3, 3, 3, 3]}"
    five = PROFILE.replace("j4, j5]", "j4]").replace(
        "limits: {lower: [-3, -3, -3, -3, -3, -3], upper: [3, 3, 3, 3, 3, 3]}", limits
    )
    with pytest.raises(DatasetError, match=r"six measured joints and one gripper; .* has 5 joints .*schema=generic"):
        Rlds().episode_writer(layout(text=five), tmp_path)
    in_percent = PROFILE.replace("to: [0.0, 1.0]}}", "to: [0.0, 100.0]}}")
    with pytest.raises(DatasetError, match=r"finger the scale \{from: \[open, closed\]"):
        Rlds().episode_writer(layout(text=in_percent), tmp_path)
    with pytest.raises(DatasetError, match=r"one camera as 'wrist_image', found hand among .*option wrist=CAMERA"):
        Rlds(wrist="hand").episode_writer(layout(), tmp_path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"schema": "sead"}, "no RLDS schema 'sead'; schemas: seed, generic"),
        ({"jpeg_quality": 0}, "a JPEG quality is 1 to 100"),
        ({"shard_mb": 0}, "at least 1 MB"),
        ({"embedder": "none"}, "schema 'seed' has a language embedding"),
        ({"dataset": "9 lives"}, "wants a letter"),
        ({"embedder": "hsah"}, r"embedder 'hsah': there is none of that name; a package.*Known: .*'hash'\?"),
    ],
)
def test_options_out_of_range_are_refused(options, reason):
    with pytest.raises(DatasetError, match=reason):
        Rlds(**options)


def test_bad_columns_are_refused(tmp_path):
    shape, form = layout(), Rlds()
    columns, images = rows(2)
    for change, reason in (
        ({"action": columns["action"][:, :6]}, r"column 'action' has the shape \(2, 6\), the feature needs \(2, 7\)"),
        ({"action": np.full((2, 7), np.nan, np.float32)}, "column 'action' holds NaN or infinity"),
        ({"stamp_ns": None}, "no column 'stamp_ns'"),
    ):
        one = form.episode_writer(shape, tmp_path / "work")
        for row in images:
            one.add(row)
        changed = {key: value for key, value in {**columns, **change}.items() if value is not None}
        with pytest.raises(DatasetError, match=reason):
            form.dataset_writer(tmp_path / "out", shape).add(one.finish(changed, "t", {}))


def test_an_image_of_another_size_is_refused(tmp_path):
    one = Rlds().episode_writer(layout(64), tmp_path / "work")
    with pytest.raises(DatasetError, match=r"an image of \(32, 32\) pixels came, the dataset has \(64, 64\)"):
        one.add(rows(1, size=32)[1][0])
    one.discard()
    assert not list((tmp_path / "work").iterdir())


def test_an_episode_that_protobuf_could_not_hold_is_refused_with_a_way_out(tmp_path, monkeypatch):
    shape, form = layout(), Rlds()
    columns, images = rows(3)
    one = form.episode_writer(shape, tmp_path / "work")
    for row in images:
        one.add(row)
    size = one.finish(columns, "t", {}).files["observation.images.front"].stat().st_size
    monkeypatch.setattr(rlds_episode, "MAX_RECORD", size - 1)
    one = form.episode_writer(shape, tmp_path / "work")
    for row in images[:-1]:
        one.add(row)
    with pytest.raises(DatasetError, match=r"front: the images of this episode take more than 2 GiB.*--image-size"):
        one.add(images[-1])
    monkeypatch.setattr(rlds_episode, "MAX_RECORD", size + 100)
    one = form.episode_writer(shape, tmp_path / "work")
    for row in images:
        one.add(row)
    with pytest.raises(DatasetError, match=r"one protobuf message of at most 2 GiB.*shorter episodes"):
        one.finish(columns, "t", {})


def test_depth_in_metres_and_in_millimetres_does_not_mix(tmp_path):
    shape, form = layout(depth=True), Rlds(schema="generic")
    dataset = form.dataset_writer(tmp_path / "out", shape)
    for number, kind in enumerate((np.uint16, np.float32)):
        columns, images = rows(2, depth=lambda v, kind=kind: np.asarray(v, kind))
        one = form.episode_writer(shape, tmp_path / f"work{number}")
        for row in images:
            one.add(row)
        episode = one.finish(columns, "t", {})
        if number == 0:
            dataset.add(episode)
    with pytest.raises(
        DatasetError, match=r"images\.far: depth came in metres in one episode and in millimetres in another"
    ):
        dataset.add(episode)


def test_two_features_of_one_name_are_refused(tmp_path):
    shape = layout()
    clash = {"dtype": "float32", "shape": (1,), "names": None}
    shape = dataclasses.replace(shape, features={**shape.features, "observation.front": clash})
    columns, images = rows(2)
    columns["observation.front"] = np.zeros(2, np.float32)
    with pytest.raises(DatasetError, match=r"'observation\.images\.front' and 'observation\.front' would both be"):
        write_rows(tmp_path / "out", Rlds(schema="generic"), shape, [(columns, images, "t", {})], tmp_path / "work")


def test_packets_of_a_video_are_sent_back_to_be_decoded(tmp_path):
    packet = PacketReference(object(), 0)
    with pytest.raises(CopyRefusedError, match="RLDS holds single pictures") as caught:
        Rlds().episode_writer(layout(), tmp_path / "work").add(dict.fromkeys(layout().image_keys, packet))
    assert caught.value.key == "observation.images.front"
