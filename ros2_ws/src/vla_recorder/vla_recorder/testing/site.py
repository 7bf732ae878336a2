# SPDX-License-Identifier: Apache-2.0

"""Publishers and recorders in processes of their own, and the check that a bag holds exactly what was sent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vla_recorder.testing.load import Kept, Load, Publisher, Sent, Stream, compare
from vla_recorder.testing.recorder import Operator, RecorderProgram, load_profile_text

FULL = os.environ.get("VLA_TEST_FULL") == "1"
"""Full camera size and joint rate instead of small ones."""
HEIGHT, WIDTH = (480, 640) if FULL else (120, 160)
JOINTS = "sensor_msgs/msg/JointState"
CAMERAS = tuple(
    Stream(topic=f"{name}/image_raw", type="sensor_msgs/msg/Image", rate_hz=30, height=HEIGHT, width=WIDTH)
    for name in ("front", "wrist")
)
SMALL = (
    Stream(topic="joint_states", type=JOINTS, rate_hz=500 if FULL else 200),
    Stream(topic="command/arm", type=JOINTS, rate_hz=100),
    Stream(topic="wrench", type="geometry_msgs/msg/WrenchStamped", rate_hz=100),
)
STREAMS = (*CAMERAS, *SMALL)


class Site:
    """A folder with a profile, publishers and recorders, one after another; the caller has initialised rclpy."""

    def __init__(self, folder: Path) -> None:
        """Write the profile."""
        self.folder = folder
        self.bags = folder / "bags"
        self.profile = folder / "robot.yaml"
        self.profile.write_text(load_profile_text(STREAMS))
        self.operator = Operator()
        self.publishers: list[Publisher] = []
        self.recorders: list[RecorderProgram] = []

    def publish(self, *streams: Stream, **settings: Any) -> Publisher:
        """Start a process that publishes some streams."""
        log = self.folder / f"log_{len(self.publishers)}"
        self.publishers.append(Publisher(Load(streams=streams, log=str(log), digests=True, **settings)))
        return self.publishers[-1]

    def publish_all(self, first: int = 0) -> None:
        """Start one process per camera and one for the rest, as drivers run."""
        for streams in (*((camera,) for camera in CAMERAS), SMALL):
            self.publish(*streams, first=first)

    def record(self, **parameters: object) -> RecorderProgram:
        """Start a recorder."""
        self.recorders.append(RecorderProgram(self.folder, self.profile, **parameters))
        return self.recorders[-1]

    def sent(self) -> list[Sent]:
        """End the publishers and return all that they have sent."""
        return [
            message for publisher in self.publishers if publisher.process.poll() is None for message in publisher.stop()
        ]

    def close(self) -> None:
        """End every process."""
        self.operator.close()
        for publisher in self.publishers:
            publisher.kill()
        for recorder in self.recorders:
            recorder.kill()


def file_of(folder: Path) -> Path:
    """Return the bag file in a folder."""
    return next(folder.glob("*.mcap"))


def growing(folder: Path, least: int = 1) -> Callable[[], bool]:
    """Return whether the bag in a folder has grown by `least` bytes since now, as a function."""
    size = file_of(folder).stat().st_size
    return lambda: file_of(folder).stat().st_size >= size + least


def exact(kept: dict[str, list[Kept]], sent: list[Sent]) -> dict[str, int]:
    """Check that what was kept is what was sent, without a hole.

    Returns:
        How many messages of each topic.

    Raises:
        AssertionError: Something is missing, repeated, swapped or has other bytes.
    """
    by_topic: dict[str, dict[int, Sent]] = {}
    for message in sent:
        by_topic.setdefault(message.topic, {})[message.number] = message
    for topic, messages in kept.items():
        wrong = [m.number for m in messages if by_topic[topic][m.number].digest != m.digest]
        assert not wrong, f"{topic}: other bytes than those sent in {wrong[:5]}"
        found = compare(list(by_topic[topic].values()), messages, from_ns=1, to_ns=0)
        assert (found.lost, found.duplicates, found.out_of_order) == (0, 0, 0), f"{topic}: {found}"
    return {topic: len(messages) for topic, messages in kept.items()}


def rarest(counts: dict[str, int]) -> int:
    """Return how many messages there are of the rarest observation; a recorder waits for those and for no other topic."""
    return min(counts[stream.topic] for stream in (*CAMERAS, SMALL[0]) if stream.topic in counts)
