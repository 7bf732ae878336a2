# SPDX-License-Identifier: Apache-2.0

"""The same numbers from every kind of message object: ROS classes, objects decoded from a bag, and fakes."""

import io

import numpy as np
import pytest
from vla_core import codecs, testing
from vla_core.frames import Frame, FrameBuilder
from vla_core.stamps import stamp_ns
from vla_core.testing import T0_NS, image, joint_state, synthetic_events, test_pixels
from vla_core.video_packets import packet_of

HEADER = "std_msgs/Header header\n"
JOINT_STATE_TEXT = HEADER + "string[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n"
IMAGE_TEXT = HEADER + "uint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data\n"
DEPENDENCIES = (
    "=" * 80
    + "\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
    + "=" * 80
    + "\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
)
TEXTS = {codecs.JOINT_STATE: JOINT_STATE_TEXT + DEPENDENCIES, codecs.IMAGE: IMAGE_TEXT + DEPENDENCIES}
PIXELS = test_pixels((24, 32), 5)


def as_ros(msg, type_name):
    """Return a fake as a message of the real class."""
    messages = pytest.importorskip("sensor_msgs.msg", reason="the ROS message packages are not installed")
    real = getattr(messages, type_name.rpartition("/")[2])()
    real.header.stamp.sec, real.header.stamp.nanosec = msg.header.stamp.sec, msg.header.stamp.nanosec
    for name in real.get_fields_and_field_types():
        if name != "header":
            setattr(real, name, getattr(msg, name))
    return real


def plain(msg):
    """Return a fake as nested dictionaries, as the bag writer takes them."""
    stamp = {"sec": msg.header.stamp.sec, "nanosec": msg.header.stamp.nanosec}
    fields = {name: getattr(msg, name) for name in msg.__slots__ if name != "header"}
    return {"header": {"stamp": stamp, "frame_id": msg.header.frame_id}, **fields}


def through_a_bag(events, types):
    """Return events as they come back from an MCAP file."""
    writer_module = pytest.importorskip("mcap_ros2.writer", reason="writing bags needs mcap_ros2")
    reader = pytest.importorskip("mcap.reader")
    decoder = pytest.importorskip("mcap_ros2.decoder")
    file = io.BytesIO()
    writer = writer_module.Writer(file)
    schemas = {t: writer.register_msgdef(t.replace("/msg/", "/"), TEXTS[t]) for t in set(types.values())}
    for event in events:
        writer.write_message(
            event.topic, schemas[types[event.topic]], plain(event.msg), event.receive_ns, event.receive_ns
        )
    writer.finish()
    file.seek(0)
    found = reader.make_reader(file, decoder_factories=[decoder.DecoderFactory()]).iter_decoded_messages()
    return [(channel.topic, message.log_time, decoded) for _, channel, message, decoded in found]


@pytest.mark.parametrize(
    ("msg", "type_name"),
    [
        (joint_state(T0_NS, ["b", "a"], [0.25, -1.5]), codecs.JOINT_STATE),
        (image(T0_NS, PIXELS), codecs.IMAGE),
        (image(T0_NS, PIXELS, "bgr8", padding=3), codecs.IMAGE),
    ],
    ids=["joints", "rgb", "padded bgr"],
)
def test_ros_classes(msg, type_name):
    real = as_ros(msg, type_name)
    assert (codecs.decode(real, type_name) == codecs.decode(msg, type_name)).all()
    assert stamp_ns(real) == T0_NS
    if type_name == codecs.JOINT_STATE:
        assert codecs.decode(real, type_name, ["position.a"]).tolist() == [-1.5]


def test_live_objects_and_bag_objects_give_the_same_frames(profile):
    events = synthetic_events(profile, 1.0)
    types = {stream.topic: stream.type for stream in FrameBuilder(profile, actions=True).streams}
    live, bag = FrameBuilder(profile, actions=True), FrameBuilder(profile, actions=True)
    for event in events:
        live.push_topic(event.topic, event.receive_ns, as_ros(event.msg, types[event.topic]))
    for topic, receive_ns, msg in through_a_bag(events, types):
        bag.push_topic(topic, receive_ns, msg)
    for i in range(10):
        a, b = (builder.sample(T0_NS + i * 100_000_000) for builder in (live, bag))
        assert isinstance(a, Frame)
        assert a.state.tobytes() == b.state.tobytes()
        assert a.action.tobytes() == b.action.tobytes()
        assert a.images["front"].tobytes() == b.images["front"].tobytes()
        assert a.ages_s == b.ages_s
        assert np.isfinite(a.state).all()


UPSTREAM = {
    "foxglove_msgs": ("CompressedVideo", {"timestamp": "builtin_interfaces/Time", "frame_id": "string", "data": "sequence<uint8>", "format": "string"}),
    "ffmpeg_image_transport_msgs": ("FFMPEGPacket", {"header": "std_msgs/Header", "width": "int32", "height": "int32", "encoding": "string", "pts": "uint64", "flags": "uint8", "is_bigendian": "boolean", "data": "sequence<uint8>"}),
}  # fmt: skip


@pytest.mark.parametrize("package", UPSTREAM)
def test_video_messages_of_the_real_packages(package):
    messages = pytest.importorskip(f"{package}.msg", reason=f"{package} is not installed")
    name, fields = UPSTREAM[package]
    real, fake = getattr(messages, name)(), getattr(testing, name)()
    assert real.get_fields_and_field_types() == fields
    assert list(fake.__slots__) == list(fields)
    # The header of a keyframe: sequence parameter set, then an IDR slice.
    real.data = b"\0\0\1\x67\x42\xc0\x1e\xda\0\0\0\1\x65\xb8\x80"
    stamp = real.header.stamp if "header" in fields else real.timestamp
    stamp.sec, stamp.nanosec = 7, 5
    setattr(real, "encoding" if "encoding" in fields else "format", "h264")
    assert stamp_ns(real) == 7_000_000_005
    packet = packet_of(real)
    assert (packet.codec, packet.keyframe, packet.data) == ("h264", True, bytes(real.data))
