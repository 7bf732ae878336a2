# SPDX-License-Identifier: Apache-2.0

"""How long the targets in force were silent in a recording, and whether two drivers ever said different things at a time."""

from itertools import pairwise

from vla_core.stamps import stamp_ns
from vla_recorder.bags.reader import open_episode

TARGETS = ("/command/arm", "/command/gripper")
CLOCK = "/joint_states"  # recorded all the time; nothing of it while the recording pauses
PAUSE_S = 0.1


def silences(folder):
    """Longest silence [s] of each target topic of an episode while it is recorded, and conflicts as text."""
    said, recorded = {topic: {} for topic in TARGETS}, []
    conflicts = []
    for record in open_episode(folder).messages({*TARGETS, CLOCK}):
        t = stamp_ns(record.message) * 1e-9
        if record.topic == CLOCK:
            recorded.append(t)
            continue
        values = tuple(record.message.position)
        before = said[record.topic].setdefault(t, (record.message.header.frame_id, values))
        if before[1] != values:
            conflicts.append(f"{record.topic} at {t:.3f} s: {before[0]} and {record.message.header.frame_id} differ")
    recorded.sort()
    pauses = [(a, b) for a, b in pairwise(recorded) if b - a > PAUSE_S]
    longest = {}
    for topic, messages in said.items():
        gaps = [
            b - a for a, b in pairwise(sorted(messages)) if not any(a <= end and b >= begin for begin, end in pauses)
        ]
        longest[topic] = max(gaps, default=float("inf"))
    return longest, conflicts


def drivers(folder, topic=TARGETS[0]):
    """Who said the targets, in order, each once in a row."""
    rows = sorted((stamp_ns(r.message), r.message.header.frame_id) for r in open_episode(folder).messages({topic}))
    return [name for i, (_, name) in enumerate(rows) if i == 0 or rows[i - 1][1] != name]
