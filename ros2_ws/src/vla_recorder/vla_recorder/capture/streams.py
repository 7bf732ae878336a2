# SPDX-License-Identifier: Apache-2.0

"""What the recorder listens to: follows the profile, the patterns and the network while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from rclpy.node import Node
from vla_common.diagnostics import Diagnostics
from vla_common.ticks import Ticker
from vla_core.codecs import COMPRESSED_IMAGE
from vla_core.profile import Profile

from vla_recorder.capture.controller import Controller
from vla_recorder.capture.live_audit import Problem, StreamAudit
from vla_recorder.capture.motion import MotionDetector
from vla_recorder.capture.taps import Tap, Taps
from vla_recorder.capture.topic_plan import (
    Selection,
    TopicPlan,
    compressed_topic,
    compressible,
    discovered_plan,
    plan_topics,
    with_compressed,
)

_LOG_PERIOD_S = 1.0


class Streams:
    """Keeps subscriptions, audits and the ticker in step with what is to be recorded."""

    def __init__(
        self,
        node: Node,
        profile: Profile,
        selection: Selection,
        controller: Controller,
        *,
        ticker: Ticker,
        diagnostics: Diagnostics,
        prefer_compressed: bool,
        motion_threshold: float,
    ) -> None:
        """Subscribe to the profile's topics.

        Args:
            node: Of the recorder.
            profile: As given by the user.
            selection: Topics beside the profile's.
            controller: Gets the messages.
            ticker: Told of stamped messages.
            diagnostics: Gets one entry per stream.
            prefer_compressed: Record compressed images where they are offered.
            motion_threshold: See `MotionDetector`.

        Raises:
            BagError: A message type of the profile is not installed.
            SelectionError: The patterns take away what the profile needs.
        """
        self._node = node
        self._given = profile
        self._selection = selection
        self._controller = controller
        self._ticker = ticker
        self._diagnostics = diagnostics
        self._prefer_compressed = prefer_compressed
        self._motion_threshold = motion_threshold
        self._compressed: tuple[str, ...] = ()
        self._named: dict[str, float] = {}
        self._known: dict[tuple[str, str], Problem] = {}
        self.profile = profile
        self._plans = self._planned(profile)
        self.taps = Taps(node, self._plans, self._receive)
        controller.taps = self.taps
        self._watch()
        self.refresh()

    def refresh(self) -> None:
        """Follow publishers that come, go or change their QoS, and topics that appear; a few milliseconds."""
        if self._prefer_compressed and not self._controller.recording:
            self._choose_transport()
        self.taps.refresh()
        own = {self._node.resolve_topic_name("episode/event")}
        cameras = [self._node.resolve_topic_name(camera.topic) for camera in self.profile.cameras]
        found = self.taps.discover(
            lambda name: name not in own and self._selection.wants(name, cameras), discovered_plan
        )
        for tap in found:
            self._node.get_logger().info(f"also recording {tap.name} ({tap.plan.type})")
            if tap.stamped:
                self._ticker.watch(tap.name)
        conflicts = self.taps.conflicts()
        for name, audit in self._controller.board.streams.items():
            audit.conflict = conflicts.get(name, "")

    def report(self) -> None:
        """Log problems of the streams that are new, and those that are over."""
        now = time.monotonic()
        current = {(problem.topic, problem.kind): problem for problem in self._controller.problems()}
        for key, problem in current.items():
            heard = self._controller.recording or self._controller.board.streams[problem.topic].messages
            if key not in self._known and heard and now - self._named.get(problem.topic, 0.0) > _LOG_PERIOD_S:
                self._node.get_logger().warning(problem.text)
                self._named[problem.topic] = now
                self._known[key] = problem
        for key in [key for key in self._known if key not in current]:
            del self._known[key]
            stream = self._controller.board.streams.get(key[0])
            if stream is not None and stream.problem(self._node.get_clock().now().nanoseconds) is None:
                self._node.get_logger().info(f"{key[0]}: as expected again")

    def _planned(self, profile: Profile) -> list[TopicPlan]:
        resolve = self._node.resolve_topic_name
        return self._selection.planned((resolve(plan.topic), plan) for plan in plan_topics(profile))

    def _choose_transport(self) -> None:
        """Record each camera as compressed images while a publisher offers them."""
        types = dict(self._node.get_topic_names_and_types())
        offered = []
        for camera, topic in compressible(self._given).items():
            name = self._node.resolve_topic_name(compressed_topic(topic))
            if COMPRESSED_IMAGE in types.get(name, ()) and self._node.count_publishers(name):
                offered.append(camera)
        if tuple(offered) == self._compressed:
            return
        self._compressed = tuple(offered)
        self.profile = with_compressed(self._given, offered)
        before, self._plans = self._plans, self._planned(self.profile)
        kept = {plan.topic for plan in self._plans}
        for plan in before:
            if plan.topic not in kept:
                name = self._node.resolve_topic_name(plan.topic)
                self._ticker.unwatch(name)
                self.taps.remove(name)
        for plan in self._plans:
            name = self._node.resolve_topic_name(plan.topic)
            if name in self.taps.taps and self.taps.taps[name].plan != plan:  # so far recorded by a pattern
                self.taps.remove(name)
            self.taps.add(plan)
        self._watch()
        listed = ", ".join(offered) or "none, their compressed topics are gone"
        self._node.get_logger().info(f"cameras recorded as compressed images: {listed} (prefer_compressed)")

    def _watch(self) -> None:
        """Audit the streams of the profile and let the ticker wait for stamped topics."""
        audits: dict[str, StreamAudit] = {}
        for plan in self._plans:
            name = self._node.resolve_topic_name(plan.topic)
            tap = self.taps.taps[name]
            if tap.stamped:
                self._ticker.watch(name)
            if plan.max_age_s is not None:
                old = self._controller.board.streams.get(name)
                audits[name] = old if old is not None and old.plan == plan else StreamAudit(plan, name)
                self._diagnostics.part(plan.label, partial(self._diagnose, audits[name], tap))
        resolve: Callable[[str], str] = self._node.resolve_topic_name
        self._controller.observe(self.profile, MotionDetector(self.profile, resolve, self._motion_threshold), audits)

    def _diagnose(self, audit: StreamAudit, tap: Tap) -> tuple[bytes, str, dict[str, str]]:
        level, message, values = audit.report(self._node.get_clock().now().nanoseconds, tap.lost)
        return level, message, {"topic": tap.name, **values}

    def _receive(self, tap: Tap, data: bytes, stamp_ns: int, received_ns: int) -> None:
        self._controller.receive(tap, data, stamp_ns, received_ns)
        if tap.stamped:
            self._ticker.notice(tap.name, stamp_ns)
