# SPDX-License-Identifier: Apache-2.0

"""A recording of a real robot gives exactly the numbers of the dataset that it was made from."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from vla_core.frames import Frame, FrameBuilder
from vla_core.profile import load_profile
from vla_core.stamps import tick_ns, to_ns

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
DATA = Path(os.environ.get("VLA_TEST_DATA") or ROOT.parent / "shared" / "data")
BAG = DATA / "bags" / "g1_bottle" / "g1_ep29.mcap"
TABLE = DATA / "bags" / "g1_bottle_episode29.parquet"

pytestmark = pytest.mark.skipif(not BAG.is_file(), reason=f"no recorded data: {BAG} is absent (set VLA_TEST_DATA)")


@pytest.fixture(scope="module")
def frames():
    reader_module = pytest.importorskip("mcap.reader", reason="reading the bag needs mcap")
    decoder_module = pytest.importorskip("mcap_ros2.decoder", reason="reading the bag needs mcap_ros2")
    pytest.importorskip("cv2", reason="the bag holds JPEG images")
    profile = load_profile(HERE / "g1_bottle.yaml")
    builder = FrameBuilder(profile, actions=True)
    found: list[Frame] = []
    lookahead_ns = to_ns(builder.lookahead_s)
    with BAG.open("rb") as stream:
        reader = reader_module.make_reader(stream, decoder_factories=[decoder_module.DecoderFactory()])
        statistics = reader.get_summary().statistics
        start, end = statistics.message_start_time, statistics.message_end_time
        for _, channel, message, decoded in reader.iter_decoded_messages():
            while message.log_time > tick_ns(start, len(found), profile.fps) + lookahead_ns:
                found.append(builder.sample(tick_ns(start, len(found), profile.fps)))
            builder.push_topic(channel.topic, message.log_time, decoded)
    while tick_ns(start, len(found), profile.fps) <= end:
        found.append(builder.sample(tick_ns(start, len(found), profile.fps)))
    return builder, found


def test_every_row_is_equal_in_float32(frames):
    parquet = pytest.importorskip("pyarrow.parquet", reason="reading the table needs pyarrow")
    rows = parquet.read_table(TABLE)
    builder, built = frames
    assert builder.dropped == {}
    assert len(built) == rows.num_rows == 221
    assert all(isinstance(frame, Frame) for frame in built)
    for column, name in (("observation.state", "state"), ("action", "action")):
        wanted = np.array(rows[column].to_pylist(), dtype=np.float32)
        assert (np.stack([getattr(frame, name) for frame in built]) == wanted).all()


def test_images_are_those_of_a_camera(frames):
    _, built = frames
    images = [frame.images["cam_high"] for frame in built[::40]]
    assert all(picture.shape == (480, 640, 3) and picture.dtype == np.uint8 for picture in images)
    assert all(20 < picture.mean() < 235 for picture in images)
    assert any((a != b).any() for a, b in pairwise(images))
