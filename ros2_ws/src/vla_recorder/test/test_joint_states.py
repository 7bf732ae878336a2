# SPDX-License-Identifier: Apache-2.0

"""The quick decoder of joint states gives what the general one gives, whatever changes between messages."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from mcap.records import Schema
from mcap_ros2.decoder import DecoderFactory
from vla_recorder.bags.joint_states import JointStateDecoder, text_is_joint_state
from vla_recorder.testing import DEFINITIONS, IMAGE, JOINT_STATE

FRAMES = ("", "b", "base", "base_link")
NAMES = ([], ["a"], ["elbow_joint", "wrist_1"], ["wrist_1", "elbow_joint"], [f"j{i}" for i in range(14)])


def general() -> Any:
    schema = Schema(id=1, name=JOINT_STATE, encoding="ros2msg", data=DEFINITIONS[JOINT_STATE].encode())
    return DecoderFactory().decoder_for("cdr", schema)


def serialized(frame: str, names: list[str], numbers: tuple[list[float], ...], order: str = "<") -> bytes:
    data = bytearray(struct.pack(order + "iI", 12, 345))

    def align(size: int) -> None:
        data.extend(b"\0" * (-len(data) % size))

    def text(value: str) -> None:
        align(4)
        data.extend(struct.pack(order + "I", len(value) + 1) + value.encode() + b"\0")

    text(frame)
    align(4)
    data.extend(struct.pack(order + "I", len(names)))
    for name in names:
        text(name)
    for values in numbers:
        align(4)
        data.extend(struct.pack(order + "I", len(values)))
        for value in values:
            align(8)
            data.extend(struct.pack(order + "d", value))
    return (b"\0\1\0\0" if order == "<" else b"\0\0\0\0") + bytes(data)


def fields(message: Any) -> tuple[Any, ...]:
    stamp = message.header.stamp
    numbers = [list(values) for values in (message.position, message.velocity, message.effort)]
    return (stamp.sec, stamp.nanosec, message.header.frame_id, list(message.name), *numbers)


def test_every_combination_in_any_order() -> None:
    rng = np.random.default_rng(1)
    quick, slow = JointStateDecoder(general()), general()
    for _ in range(300):
        names = NAMES[rng.integers(len(NAMES))]
        numbers = tuple(rng.normal(size=rng.choice([0, 1, len(names)])).tolist() for _ in range(3))
        order = "<" if rng.random() < 0.9 else ">"
        data = serialized(FRAMES[rng.integers(len(FRAMES))], names, numbers, order)
        for _ in range(rng.integers(1, 4)):  # repeated: the names are known then
            assert fields(quick(data)) == fields(slow(data))


def test_a_message_may_be_changed_without_changing_the_next() -> None:
    decode = JointStateDecoder(general())
    data = serialized("base", ["a", "b"], ([1.0, 2.0], [], []))
    decode(data)
    decode(data).name.append("c")
    assert decode(data).name == ["a", "b"]


def test_a_message_that_is_cut_short_is_no_message() -> None:
    decode = JointStateDecoder(general())
    data = serialized("base", ["a", "b"], ([1.0, 2.0], [3.0, 4.0], []))
    decode(data)
    with pytest.raises((struct.error, ValueError, IndexError)):
        decode(data[:-20])


def test_only_the_standard_definition_is_read_quickly() -> None:
    text = DEFINITIONS[JOINT_STATE]
    assert text_is_joint_state(JOINT_STATE, text)
    assert text_is_joint_state("sensor_msgs/JointState", f"# comment\n\n{text}")
    assert not text_is_joint_state("my_msgs/msg/JointState", text)
    assert not text_is_joint_state(JOINT_STATE, text.replace("float64[] effort", "float32[] effort"))
    assert not text_is_joint_state(JOINT_STATE, text.replace("float64[] velocity\n", ""))
    assert not text_is_joint_state(IMAGE, DEFINITIONS[IMAGE])
