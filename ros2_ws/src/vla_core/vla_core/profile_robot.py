# SPDX-License-Identifier: Apache-2.0

"""The parts of a robot profile that are no streams: kinematics, recording, drivers."""

from __future__ import annotations

from vla_core.profile_words import Triple, check_word, message_type, topic_name, triple
from vla_core.specs import QOS, STREAM_POLICIES, DriverSpec, Kinematics, RecordingSpec, RecordTopic
from vla_core.yamltree import Section, Tree, entries, items, text

KINEMATICS_KEYS = ("joints", "a", "d", "alpha", "theta", "base", "tool", "reference_rpy")
RECORD_TOPIC_KEYS = ("topic", "type", "qos")
RECORDING_KEYS = ("on_missing_stream", "on_slow_stream", "prefer_compressed")
DRIVER_KEYS = ("package", "launch", "args", "namespace")


def kinematics(section: Section) -> Kinematics | None:
    """Return the kinematics of the only arm, if the profile has them."""
    if "kinematics" not in section or is_per_arm(section):
        return None
    return table(Section(section.child("kinematics"), KINEMATICS_KEYS))


def is_per_arm(section: Section) -> bool:
    """Whether `kinematics` has one table for each arm, under the names of their actions."""
    if "kinematics" not in section:
        return False
    tree: Tree = section.child("kinematics")
    return isinstance(tree.value, dict) and bool(tree.value) and not set(tree.value) & set(KINEMATICS_KEYS)


def table(inner: Section) -> Kinematics:
    """Return the Denavit-Hartenberg table in a map."""
    joints = inner.texts("joints")
    zero = (0.0, 0.0, 0.0)
    poses: dict[str, Triple] = {}
    for part in ("base", "tool"):
        offset = Section(inner.child(part), ("xyz", "rpy")) if part in inner else None
        poses[f"{part}_xyz"] = triple(offset, "xyz", zero) if offset else zero
        poses[f"{part}_rpy"] = triple(offset, "rpy", zero) if offset else zero
    return Kinematics(
        joints=joints,
        a=inner.numbers("a", len(joints)),
        d=inner.numbers("d", len(joints)),
        alpha=inner.numbers("alpha", len(joints)),
        theta=inner.numbers("theta", len(joints)) if "theta" in inner else (0.0,) * len(joints),
        reference_rpy=triple(inner, "reference_rpy", zero),
        **poses,
    )


def record_topics(section: Section) -> tuple[RecordTopic, ...]:
    """Return the topics that are recorded beside the streams."""
    if "record_topics" not in section:
        return ()
    topics = []
    for tree in items(section.child("record_topics")):
        inner = Section(tree, RECORD_TOPIC_KEYS)
        topics.append(
            RecordTopic(topic=topic_name(inner), type=message_type(inner), qos=inner.choice("qos", QOS, "default"))
        )
    return tuple(topics)


def recording(section: Section) -> RecordingSpec:
    """Return what the recorder does with the streams."""
    if "recording" not in section:
        return RecordingSpec(on_missing_stream="refuse", on_slow_stream="warn", prefer_compressed=True)
    inner = Section(section.child("recording"), RECORDING_KEYS)
    return RecordingSpec(
        on_missing_stream=inner.choice("on_missing_stream", STREAM_POLICIES, "refuse"),
        on_slow_stream=inner.choice("on_slow_stream", STREAM_POLICIES, "warn"),
        prefer_compressed=inner.flag("prefer_compressed", True),
    )


def drivers(section: Section) -> tuple[DriverSpec, ...]:
    """Return the launch files that bring the hardware up."""
    if "drivers" not in section:
        return ()
    found = []
    for name, tree in entries(section.child("drivers")).items():
        inner = Section(tree, DRIVER_KEYS)
        args = entries(inner.child("args")) if "args" in inner else {}
        found.append(
            DriverSpec(
                name=check_word(tree, name, "driver name"),
                package=inner.text("package"),
                launch=inner.text("launch"),
                args={key: "" if value.value == "" else text(value) for key, value in args.items()},
                namespace=topic_name(inner, "namespace") if "namespace" in inner else "",
            )
        )
    return tuple(found)
