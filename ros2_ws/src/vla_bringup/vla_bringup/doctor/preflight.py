# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_bringup preflight``: the doctor's look at the running robot, once after its start; launch files start it.

It looks until nothing is red and says so, latched, to those who move the arm (`vla_common.preflight`); from then on it
listens to nothing. What is still red after a while is logged with its remedy, and again when it changes. What breaks later is
seen by those who drive: they watch the streams and the robot's state all the time.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from std_msgs.msg import Bool
from vla_common.params import declare
from vla_common.preflight import TOPIC
from vla_common.qos import LATCHED
from vla_common.run import ManagedNode, run_node
from vla_core.profile import Profile, load_profile

from vla_bringup.doctor.findings import RED, YELLOW, Finding, Group
from vla_bringup.doctor.live import live_groups
from vla_bringup.doctor.preflight_params import PreflightParams

CLOSE_S = 4.0
Look = Callable[[], Sequence[Group]]


class Verdict:
    """What the looks come to: what to say, and when."""

    def __init__(self, patience_s: float, again: str) -> None:
        """Args: patience_s: before it nothing wrong is said. again: command with which a person looks again."""
        self._patience_s, self._again = patience_s, again
        self._said: frozenset[str] = frozenset()

    def judge(self, groups: Sequence[Group], elapsed_s: float) -> tuple[bool, list[str], list[str]]:
        """Return whether the checks have passed, errors and other lines to log.

        Args:
            groups: What a look has found.
            elapsed_s: Since the start.
        """
        found = [finding for group in groups for finding in group.findings]
        bad = [finding for finding in found if finding.level == RED]
        if not bad:
            doubts = [finding.line for finding in found if finding.level == YELLOW]
            return True, [], [*doubts, f"checks of the start: passed ({len(found)} findings, {len(doubts)} yellow)"]
        subjects = frozenset(map(_subject, bad))
        if elapsed_s < self._patience_s or subjects == self._said:
            return False, [], []
        self._said = subjects
        lines = "".join(f"\n  {finding.line}" for finding in bad)
        text = f"checks of the start: {len(bad)} red, so nothing may move:{lines}\nLooked at again until nothing is red; more: {self._again}"
        return False, [text], []


def _subject(finding: Finding) -> str:
    """What a finding is about, without its numbers, which differ from look to look."""
    return (
        f"{finding.where} {''.join(c for c in finding.what if not c.isdigit())}" if not finding.where else finding.where
    )


class PreflightNode(ManagedNode):
    """See the module."""

    def __init__(self, *, look: Look | None = None, **kwargs: Any) -> None:
        """Begin to look.

        Args:
            look: Replaces the look at the running graph.
            kwargs: For rclpy's Node, e.g. `parameter_overrides`.

        Raises:
            VlaError: a parameter or the profile is unusable.
        """
        super().__init__("preflight", **kwargs)
        self._params = declare(self, PreflightParams)
        self._profile = load_profile(Path(self._params.profile))
        self._look = look or self._look_around
        self._passed = self.create_publisher(Bool, TOPIC, LATCHED)
        self._passed.publish(Bool(data=False))
        self._thread = self.start_thread(self._work, "preflight")

    def _work(self) -> None:
        begin_s = time.monotonic()
        verdict = Verdict(self._params.patience_s, command(self._profile, self.get_namespace()))
        while not self.stop.is_set():
            groups = self._look()
            passed, errors, lines = verdict.judge(groups, time.monotonic() - begin_s)
            for text in errors:
                self.get_logger().error(text)
            for text in lines:
                self.get_logger().info(text)
            if passed:
                self._passed.publish(Bool(data=True))
                return
            self.stop.wait(self._params.pause_s)

    def close(self) -> None:
        """Let a look that is under way end."""
        self._thread.join(CLOSE_S)

    def _look_around(self) -> Sequence[Group]:
        options = Namespace(
            seconds=self._params.seconds,
            namespace=self.get_namespace(),
            camera_settings=self._params.camera_settings or None,
        )
        return live_groups(self._profile, options, name="preflight_look", over=self.stop.is_set)


def command(profile: Profile, namespace: str) -> str:
    """Return the doctor's command with which a person looks at the same."""
    space = f" --namespace {namespace}" if namespace.strip("/") else ""
    return f"ros2 run vla_bringup doctor --profile {profile.source} --live{space}"


def main(args: list[str] | None = None) -> int:
    """Entry point of `preflight`."""
    return run_node(PreflightNode, args)


if __name__ == "__main__":
    sys.exit(main())
