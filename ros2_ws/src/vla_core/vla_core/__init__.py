# SPDX-License-Identifier: Apache-2.0

"""Profiles, codecs, frames, chunks and safety of the ROS 2 VLA workspace; NumPy and YAML only.

The way through the package::

    profile = load_profile("robot.yaml")          # what the robot's topics mean
    builder = FrameBuilder(profile, actions=False)
    builder.push_topic(topic, receive_ns, msg)    # every message, live or from a bag
    frame = builder.sample(t_ns)                  # Frame, or Missing with its reason
    targets = ActionMap(profile).to_joint_targets(chunk.values, frame.state)
    report = SafetyFilter(profile).check(targets, chunk.dt_s)
    trajectory = build_trajectory(targets["arm"], chunk.t0_ns, chunk.dt_s, now_ns, joint_names=names)
"""

from vla_core.actions import ActionMap
from vla_core.chunks import ActionChunk
from vla_core.errors import VlaError
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY, Frame, FrameBuilder, Missing, Stream, features
from vla_core.profile import Profile, load_profile, mapping_differences, parse_profile, with_codec
from vla_core.safety import SafetyFilter, SafetyReport, Watchdog
from vla_core.trajectory import Trajectory, build_trajectory

__all__ = [
    "ACTION_KEY",
    "IMAGE_PREFIX",
    "STATE_KEY",
    "ActionChunk",
    "ActionMap",
    "Frame",
    "FrameBuilder",
    "Missing",
    "Profile",
    "SafetyFilter",
    "SafetyReport",
    "Stream",
    "Trajectory",
    "VlaError",
    "Watchdog",
    "build_trajectory",
    "features",
    "load_profile",
    "mapping_differences",
    "parse_profile",
    "with_codec",
]
