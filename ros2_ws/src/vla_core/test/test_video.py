# SPDX-License-Identifier: Apache-2.0

"""Encoded video: pictures are exactly those of the encoder's own stream, or there is none and the reason is said."""

import random
import sys
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from vla_core.errors import CodecError, DamagedError, DecoderError, ProfileError
from vla_core.frames import FrameBuilder, Missing
from vla_core.images_video import VideoDecoder, VideoPacket, _av
from vla_core.profile import parse_profile
from vla_core.stamps import split_ns, tick_ns
from vla_core.testing import PROFILE, T0_NS, CompressedVideo, FFMPEGPacket, Time, header, joint_state
from vla_core.video_packets import packet_of

av = pytest.importorskip("av", reason="PyAV is an optional extra of vla_core")

FRONT = "observation.images.front"
SIZE, RATE, GOP, COUNT = (48, 64), 20, 5, 20
STEP = 1_000_000_000 // RATE
TYPES = {"foxglove": "foxglove_msgs/msg/CompressedVideo", "ffmpeg": "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"}
ENCODERS = {
    "h264": ("libx264", {"preset": "veryfast", "x264-params": "bframes=0:ref=3:scenecut=0"}),
    "h265": ("libx265", {"preset": "ultrafast", "x265-params": "bframes=0:log-level=none:scenecut=0"}),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "pred-struct=1:lookahead=0"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
}


def scenery(count=COUNT):
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    return [np.roll(noise, (5 * i, 3 * i), axis=(0, 1)) for i in range(count)]


@cache
def encoded(form, gop=GOP, b_frames=0):
    """Return the packets of a stream."""
    name, options = ENCODERS[form]
    context = av.CodecContext.create(name, "w")
    context.height, context.width, context.pix_fmt = *SIZE, "yuv420p"
    context.time_base, context.framerate, context.gop_size = Fraction(1, RATE), RATE, gop
    context.options = {**options, "x264-params": f"bframes={b_frames}:b-adapt=0"} if b_frames else options
    packets = []
    for i, pixels in enumerate(scenery()):
        picture = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
        picture.pts = i
        packets += context.encode(picture)
    return [bytes(packet) for packet in [*packets, *context.encode(None)]]


@cache
def pictures(form, gop=GOP):
    """Return what a decoder that is given the whole stream makes of it."""
    context = av.CodecContext.create({"h265": "hevc", "av1": "libdav1d"}.get(form, form), "r")
    found = []
    for data in [*encoded(form, gop), None]:
        found += context.decode(av.Packet(data) if data else None)
    return [picture.to_ndarray(format="rgb24") for picture in found]


def message(kind, form, i, data=None, gop=GOP):
    content = encoded(form, gop)[i] if data is None else data
    if kind == "foxglove":
        return CompressedVideo(Time(*split_ns(T0_NS + i * STEP)), "camera", content, form)
    codec = {"h264": "libx264;yuv420p;bgr8;bgr8", "h265": "hevc_nvenc"}.get(form, form)
    return FFMPEGPacket(header(T0_NS + i * STEP), *SIZE[::-1], codec, 100 + i, 0, False, content)


def builder_for(kind, **options):
    text = PROFILE.replace(
        "topic: front/image_raw, size: [24, 32]", f"topic: front, type: {TYPES[kind]}, size: {list(SIZE)}"
    )
    builder = FrameBuilder(parse_profile(text), actions=False, **options)
    for i in range(COUNT):
        t_ns = T0_NS + i * STEP
        builder.push_topic(
            "joint_states", t_ns, joint_state(t_ns, ["elbow_joint", "wrist_joint", "finger_joint"], [0] * 3)
        )
    return builder


def result(builder, i):
    frame = builder.sample(T0_NS + i * STEP)
    return frame if isinstance(frame, Missing) else frame.images["front"]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("form", ENCODERS)
def test_every_picture_is_that_of_the_whole_stream(kind, form):
    builder = builder_for(kind)
    for i in range(COUNT):
        assert builder.push(FRONT, T0_NS + i * STEP, message(kind, form, i)) == "stored"
        assert (result(builder, i) == pictures(form)[i]).all()
    assert result(builder, COUNT - 1) is result(builder, COUNT - 1)


@pytest.mark.parametrize("form", ENCODERS)
def test_order_of_arrival_and_of_asking_does_not_matter(form):
    order = list(range(COUNT))
    random.Random(2).shuffle(order)
    builder = builder_for("foxglove")
    for i in order:
        builder.push(FRONT, T0_NS, message("foxglove", form, i))
    for i in (7, 19, 3, 4, 12, 11, 0, 18):
        assert (result(builder, i) == pictures(form)[i]).all()


def test_nothing_is_decoded_before_it_is_asked_for(monkeypatch):
    opened = []
    monkeypatch.setattr("vla_core.images_video._open", lambda codec: opened.append(codec))
    builder = builder_for("foxglove")
    for i in range(COUNT):
        builder.push(FRONT, T0_NS, message("foxglove", "h264", i))
    assert not opened
    referenced = builder_for("foxglove", references=frozenset({"front"}))
    sent = [message("foxglove", "h264", i) for i in range(COUNT)]
    for msg in sent:
        referenced.push(FRONT, T0_NS, msg)
    assert [referenced.sample(T0_NS + i * STEP).references["front"] is sent[i] for i in range(COUNT)] == [True] * COUNT
    assert not opened


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("form", ENCODERS)
def test_a_lost_packet_costs_the_pictures_up_to_the_next_keyframe(kind, form):
    builder = builder_for(kind)
    for i in range(COUNT):
        if i != 7:
            builder.push(FRONT, T0_NS, message(kind, form, i))
    for i in range(8, COUNT):
        found = result(builder, i)
        if i < 10:
            assert (found.reason, found.lasting) == ("lost", False)
            assert "cannot be decoded until the next keyframe" in found.detail
            assert "missing" in found.detail
            assert "(topic front)" in found.detail
        else:
            assert (found == pictures(form)[i]).all()
    # The packet came late after all.
    builder.push(FRONT, T0_NS, message(kind, form, 7))
    assert (result(builder, 9) == pictures(form)[9]).all()


@pytest.mark.parametrize(
    ("kind", "form", "said"),
    [
        ("ffmpeg", "av1", "1 pictures are missing before it (pts 102, 104)"),
        ("ffmpeg", "h264", "pictures are missing before it (frame_num 4 instead of 3)"),
        ("foxglove", "h264", "pictures are missing before it (frame_num 4 instead of 3)"),
        ("foxglove", "h265", "pictures are missing before it (picture order count grew by 2 instead of 1)"),
        ("foxglove", "vp9", "it comes 0.1 s after the one before, where rate_hz in the profile says 0.05 s"),
    ],
)
def test_each_stream_says_what_it_counts_by(kind, form, said):
    builder = builder_for(kind)
    for i in (0, 1, 2, 4):
        builder.push(FRONT, T0_NS, message(kind, form, i))
    assert said in result(builder, 4).detail


@pytest.mark.parametrize("kind", TYPES)
def test_h265_whose_first_picture_after_the_keyframe_is_lost(kind):
    # Its order count may well grow by two; only the stamps or the sender's count tell, and after that it is known.
    builder = builder_for(kind)
    for i in (0, 2, 5, 6, 7, 9):
        builder.push(FRONT, T0_NS, message(kind, "h265", i))
    assert result(builder, 2).reason == "lost"
    assert (result(builder, 7) == pictures("h265")[7]).all()
    assert "picture order count grew by 2 instead of 1" in result(builder, 9).detail


def test_a_pause_in_which_the_count_could_come_round_is_a_loss():
    builder = builder_for("foxglove")
    # frame_num has four bits here: sixteen lost pictures would leave no trace in it.
    for i, tick in ((0, 0), (1, 1), (2, 18), (3, 19)):
        msg = message("foxglove", "h264", i)
        msg.timestamp = Time(*split_ns(T0_NS + tick * STEP))
        builder.push(FRONT, T0_NS, msg)
    assert packet_of(message("foxglove", "h264", 0)).layout == (4,)
    assert "it comes 0.85 s after the one before" in result(builder, 19).detail


@pytest.mark.parametrize("form", ["h264", "h265"])
def test_a_pause_of_the_camera_loses_nothing_where_pictures_are_counted(form):
    builder = builder_for("foxglove")
    for i in range(5):
        msg = message("foxglove", form, i)
        msg.timestamp = Time(*split_ns(T0_NS + (i + 3 * (i > 2)) * STEP))
        builder.push(FRONT, T0_NS, msg)
    assert (result(builder, 7) == pictures(form)[4]).all()


@pytest.mark.parametrize("form", ENCODERS)
def test_before_the_first_keyframe_there_is_no_picture(form):
    builder = builder_for("foxglove")
    for i in range(2, COUNT):
        builder.push(FRONT, T0_NS, message("foxglove", form, i))
    assert [result(builder, i).reason for i in (2, 3, 4)] == ["lost"] * 3
    assert "no keyframe came before it" in result(builder, 4).detail
    assert (result(builder, 5) == pictures(form)[5]).all()


def test_a_long_stream_between_two_looks_stays_decodable_in_bounded_memory(monkeypatch):
    monkeypatch.setattr("vla_core.frame_sources._MOST_PACKETS", 12)
    builder = builder_for("foxglove")
    source = builder._sources[FRONT]
    for i in range(COUNT):
        builder.push(FRONT, T0_NS, message("foxglove", "h264", i))
    assert len(source._packets) == 12
    assert (result(builder, COUNT - 1) == pictures("h264")[COUNT - 1]).all()
    # Without a keyframe among what is kept there is no way back...
    endless = builder_for("foxglove")
    for i in range(COUNT):
        endless.push(FRONT, T0_NS, message("foxglove", "h264", i, gop=1000))
    assert "no keyframe came before it" in result(endless, COUNT - 1).detail
    # ...but who looks all the time follows the stream for ever.
    followed = builder_for("foxglove")
    for i in range(COUNT):
        followed.push(FRONT, T0_NS, message("foxglove", "h264", i, gop=1000))
        assert (result(followed, i) == pictures("h264", 1000)[i]).all()
    followed.clear()
    assert result(followed, COUNT - 1).reason == "empty"


def test_packets_before_a_keyframe_that_nobody_can_ask_for_are_forgotten():
    builder = builder_for("ffmpeg")
    for lap in range(30):
        for i in range(GOP):
            msg = message("ffmpeg", "h264", i)
            t_ns = T0_NS + (lap * GOP + i) * STEP
            msg.header = header(t_ns)
            builder.push(FRONT, t_ns, msg)
    kept = builder._sources[FRONT]._packets
    assert kept[0].keyframe
    assert len(kept) <= 1.2 * RATE + 2 * GOP


@pytest.mark.parametrize("form", ["h264", "h265", "av1"])
def test_damaged_packets_are_no_pictures(form):
    builder = builder_for("ffmpeg")
    for i in range(COUNT):
        data = encoded(form)[i]
        builder.push(FRONT, T0_NS, message("ffmpeg", form, i, b"garbage" if i == 6 else data))
    assert (result(builder, 5) == pictures(form)[5]).all()
    assert result(builder, 6).reason == "damaged"
    after = result(builder, 8)
    assert after.reason == "lost"
    assert "a packet that it refers to is unreadable" in after.detail
    assert (result(builder, 10) == pictures(form)[10]).all()


def test_a_packet_that_the_decoder_refuses_is_damaged():
    # The header of a keyframe, and nothing that belongs to it.
    broken = encoded("av1")[0][:40]
    packets = [
        VideoPacket(T0_NS, 1, message("foxglove", "av1", 0, broken)),
        VideoPacket(T0_NS, 2, message("foxglove", "av1", 1)),
    ]
    decoder = VideoDecoder(RATE)
    with pytest.raises(DamagedError, match="av1 packet of 40 bytes cannot be decoded"):
        decoder.picture(packets[:1])
    with pytest.raises(CodecError, match="a packet that it refers to is unreadable: av1 packet of 40 bytes"):
        decoder.picture(packets)


def test_pictures_out_of_order_are_refused():
    builder = builder_for("foxglove")
    for i, data in enumerate(encoded("h264", 12, 2)[:6]):
        builder.push(FRONT, T0_NS, message("foxglove", "h264", i, data))
    found = [result(builder, i) for i in range(6)]
    assert all(isinstance(item, Missing) for item in found)
    assert "where the encoder uses B-frames, let the camera's encoder send none (max_b_frames 0)" in found[0].detail
    assert any(packet_of(message("foxglove", "h264", 0, data)).reordered for data in encoded("h264", 12, 2)[:6])


def test_a_stream_may_change_its_codec_at_a_keyframe():
    builder = builder_for("foxglove")
    for i in range(GOP):
        builder.push(FRONT, T0_NS, message("foxglove", "h264", i))
    builder.push(FRONT, T0_NS, message("foxglove", "h265", 6))
    assert "the stream turned from h264 to hevc without a keyframe" in result(builder, 6).detail
    for i in range(10, 13):
        builder.push(FRONT, T0_NS, message("foxglove", "h265", i))
    assert (result(builder, 12) == pictures("h265")[12]).all()


def test_another_size_is_named():
    text = PROFILE.replace("topic: front/image_raw", f"topic: front, type: {TYPES['foxglove']}")
    builder = FrameBuilder(parse_profile(text), actions=False)
    builder.push_topic(
        "joint_states", T0_NS, joint_state(T0_NS, ["elbow_joint", "wrist_joint", "finger_joint"], [0] * 3)
    )
    builder.push(FRONT, T0_NS, message("foxglove", "h264", 0))
    missing = result(builder, 0)
    assert missing.reason == "size"
    assert "camera 'front' sends [48, 64] (height, width) on front" in missing.detail


def test_video_on_the_grid_of_a_slower_dataset():
    builder = builder_for("foxglove")
    for i in range(COUNT):
        builder.push(FRONT, T0_NS, message("foxglove", "h264", i))
    for k in range(10):
        frame = builder.sample(tick_ns(T0_NS, k, 10))
        assert (frame.images["front"] == pictures("h264")[2 * k]).all()


@pytest.mark.parametrize("form", ENCODERS)
def test_keyframes_are_known_without_decoding(form):
    packets = [packet_of(message("foxglove", form, i)) for i in range(COUNT)]
    assert [i for i, packet in enumerate(packets) if packet.keyframe] == [0, 5, 10, 15]
    assert not any(packet.reordered for packet in packets)
    assert packet_of(message("ffmpeg", form, 3)).number == 103


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(("matrix", "stated"), [("ITU601", 5), ("ITU601", 2), ("ITU709", 1)])
def test_colours_are_those_that_the_stream_states(matrix, stated, full_range):
    quarters = np.zeros((*SIZE, 3), np.uint8)
    quarters[:24], quarters[24:] = (220, 30, 40), (30, 200, 40)
    quarters[:, 32:] //= 2
    context = av.CodecContext.create("libx264", "w")
    context.height, context.width, context.pix_fmt, context.time_base = *SIZE, "yuv444p", Fraction(1, RATE)
    context.options = {"qp": "0", "x264-params": "bframes=0"}
    context.colorspace, context.color_range = stated, 2 if full_range else 1
    # The equations of the two standards, without a library.
    kr, kb = {"ITU601": (0.299, 0.114), "ITU709": (0.2126, 0.0722)}[matrix]
    red, green, blue = np.moveaxis(quarters / 255.0, 2, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = [(blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)]
    ends = (0, 255, 255) if full_range else (16, 219, 224)
    planes = np.stack([ends[0] + ends[1] * luma, *(128 + ends[2] * part for part in chroma)])
    picture = av.VideoFrame.from_ndarray(np.rint(planes).clip(0, 255).astype(np.uint8), "yuv444p")
    data = b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)])
    found = VideoDecoder(RATE).picture([VideoPacket(T0_NS, 1, message("foxglove", "h264", 0, data))])
    assert np.abs(found.astype(int) - quarters).max() <= 2


def test_what_is_no_packet_is_named():
    with pytest.raises(DecoderError, match=r"a JointState is no packet of a video: .*; correct the type in the robot"):
        packet_of(joint_state(T0_NS, ["a"], [0.0]))
    with pytest.raises(
        DecoderError, match="video format 'mpeg4' is not supported; supported: h264, h265, hevc, av1, vp9"
    ):
        packet_of(message("foxglove", "mpeg4", 0, b""))
    for form, data, said in (
        ("h264", b"\x01\x02\x03\x04\x05", "does not begin with an Annex B start code; is it cut short, or in MP4 form"),
        ("h264", b"\x00\x00\x00\x01\x67\x64\x00", "header of a video packet is cut short"),
        ("h265", b"\x00\x00\x01\x40\x01\x00", "hevc packet of 6 bytes holds no picture"),
        ("h265", encoded("h265")[0][4:60] + b"\x00\x00\x01\x26\x01", "does not begin with an Annex B start code"),
        ("av1", b"\x12\x00", "av1 packet of 2 bytes holds no picture"),
        ("av1", b"\x0a\x80", "av1 packet of 2 bytes is cut short"),
        ("av1", b"\x0a" + b"\x80" * 9, "damaged length"),
        ("vp9", b"\x00", "vp9 packet of 1 bytes does not begin with a frame"),
    ):
        with pytest.raises(DamagedError, match=said):
            packet_of(message("foxglove", form, 0, data))


def test_video_has_no_depth():
    with pytest.raises(
        ProfileError, match=r"cameras\.front\.depth: encoded video holds no depth; use sensor_msgs/msg/Image"
    ):
        parse_profile(PROFILE.replace("topic: front/image_raw", f"topic: front, type: {TYPES['ffmpeg']}, depth: true"))


def test_absent_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    _av.cache_clear()
    builder = builder_for("foxglove")
    builder.push(FRONT, T0_NS, message("foxglove", "h264", 0))
    missing = result(builder, 0)
    assert (missing.reason, missing.lasting) == ("unsupported", True)
    assert "encoded video needs PyAV, which cannot be imported; install it with 'pip install av'" in missing.detail
    _av.cache_clear()
