# SPDX-License-Identifier: Apache-2.0

"""The operator page's node. It looks and passes on what people press; its death changes nothing for the robot.

ros2 run vla_web page_node --ros-args -p profile:=/path/of/the/profile.yaml -p web_port:=8080
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from vla_common.params import declare
from vla_common.run import ManagedNode, run_node
from vla_core.profile import load_profile

from vla_web.page_params import PageParams
from vla_web.ros.cameras import camera_views
from vla_web.ros.commands import Commands
from vla_web.ros.crew import Crew
from vla_web.ros.episodes import EpisodeShelf
from vla_web.ros.health import STALE, Event, StreamWatch
from vla_web.ros.joints import JointView
from vla_web.ros.taps import Unserved
from vla_web.server.door import Door
from vla_web.server.serving import WebServer
from vla_web.server.site import PERIOD_S, Site

_GATHER_S = 0.05  # status messages may wait as long; nobody sees it
_SCAN_S = 1.0
_LINGER_S = 5.0  # a reload of the page keeps the subscriptions


class PageNode(ManagedNode):
    """Composes the page: what is looked at, the server, and the thread that it runs on."""

    def __init__(self, **kwargs: Any) -> None:
        """Open the page; nothing is subscribed before somebody looks.

        Raises:
            ProfileError: The profile cannot be used.
            DoorError: The page would be open to the network without a token.
        """
        super().__init__("page", **kwargs)
        params = declare(self, PageParams)
        profile = load_profile(params.profile)
        self.gather_s = _GATHER_S
        self._sim_time = bool(self.get_parameter("use_sim_time").value)
        group = Unserved()
        self._profile = profile
        self._cameras = camera_views(self, group, profile, width=params.image_width, quality=params.jpeg_quality)
        self._joints = JointView(self, group, profile, "policy/chunk")
        self._crew = Crew(self, profile)
        self._watches: list[StreamWatch] = [view.watch for view in self._cameras]
        self._watches += [part.watch for part in self._joints.parts]
        self._commands = Commands(self, profile, self._crew)
        self._shelf, self._given_folder = EpisodeShelf(profile), params.episodes_dir
        self._lock = threading.Lock()
        self._events: deque[dict[str, Any]] = deque(maxlen=50)
        self._viewers, self._left_s, self._watching = 0, 0.0, False
        self._picture_s, self._picture_due_s = 1.0 / params.image_rate_hz, 0.0
        self._looked_s = time.monotonic()
        site = Site(self, Door(params.web_host, params.web_token), params.image_rate_hz)
        self.server = WebServer(site.application, params.web_host, params.web_port)
        self.create_timer(PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._closing = threading.Event()
        self.start_thread(self._scan, "episodes")
        self.start_thread(self.server.run, "web")
        if self.server.wait_open(5.0):
            self.get_logger().info(f"operator page of {profile.robot}: http://{params.web_host}:{self.server.port}/")

    def close(self) -> None:
        """Close the server; browsers say that the connection is lost."""
        self._closing.set()
        self.server.close()

    def watch(self, viewers: int) -> None:
        """See `Desk.watch`."""
        self._viewers, self._left_s = viewers, time.monotonic()

    def hello(self) -> dict[str, Any]:
        """See `Desk.hello`."""
        with self._lock:
            history = list(self._joints.history)
        return {
            "robot": self._profile.robot,
            "cameras": [view.camera.name for view in self._cameras],
            "joints": self._joints.titles,
            "history": history,
        }

    def fast(self) -> dict[str, Any]:
        """See `Desk.fast`."""
        with self._lock:
            now_s = self._now_s()
            lost = self._crew.nodes.lost
            return {
                "t": round(now_s, 3),
                "node_age": round(time.monotonic() - self._looked_s, 2),
                "streams": [watch.row(now_s, lost.get(watch.topic)) for watch in self._watches],
                "row": self._joints.history[-1] if self._joints.history else None,
                "chunk": self._joints.chunk(now_s),
            }

    def slow(self) -> dict[str, Any]:
        """See `Desk.slow`."""
        with self._lock:
            return {
                "clock": "live" if not self._sim_time else f"live · simulated time {self._now_s():.1f} s",
                "recorder": self._crew.recorder_row(),
                "policy": self._crew.policy_row(),
                "nodes": self._crew.nodes.rows(),
                "monitors": self._crew.monitor_rows(),
                "alerts": self._alerts(),
                "events": list(self._events),
                "allowed": self._commands.allowed(),
                "episodes": self._shelf.rows,
                "folder": str(self._folder() or ""),
            }

    def pictures(self) -> dict[str, tuple[int, bytes]]:
        """See `Desk.pictures`."""
        return {view.camera.name: view.newest() for view in self._cameras}

    def command(self, name: str, arguments: Mapping[str, str]) -> tuple[bool, str]:
        """See `Desk.command`."""
        done, said = self._commands.do(name, arguments)
        level = "info" if done else "error"
        with self._lock:
            self._note([Event(level, f"{name.replace('_', ' ')}: {said}")])
        if done:
            self.get_logger().info(f"{name}: {said}")
        else:
            self.get_logger().warning(f"{name}: {said}")
        return done, said

    def thumbnail(self, uuid: str) -> bytes | None:
        """See `Desk.thumbnail`."""
        return self._shelf.thumbnail(uuid)

    def _folder(self) -> Path | None:
        """Where the recorder writes; before its first episode the folder that was given."""
        recorder = self._crew.recorder_row() or {}
        path = recorder.get("bag_path") or recorder.get("last_bag_path")
        if path:
            return Path(path).parent
        return Path(self._given_folder).expanduser() if self._given_folder else None

    def _scan(self) -> None:
        """Keep the list of episodes up to date while somebody looks."""
        while not self._closing.wait(_SCAN_S):
            folder = self._folder() if self._watching else None
            if folder is not None:
                self._shelf.scan(folder)

    def _now_s(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def _look(self) -> None:
        """Ten times a second: subscribe while somebody looks, poll, judge."""
        steady_s = time.monotonic()
        self._looked_s = steady_s
        wanted = self._viewers > 0 or (self._watching and steady_s - self._left_s < _LINGER_S)
        if wanted != self._watching:
            self._switch(wanted)
        if not self._watching:
            return
        now_s = self._now_s()
        if steady_s >= self._picture_due_s:
            self._picture_due_s = max(self._picture_due_s + self._picture_s, steady_s)
            for view in self._cameras:
                view.look(now_s, steady_s, sim_time=self._sim_time)
        with self._lock:
            self._joints.look(now_s, steady_s, sim_time=self._sim_time)
            driven = self._crew.driven
            for watch in self._watches:
                self._note(watch.judge(now_s, driven=driven))
            self._note(self._crew.changes())

    def _note(self, events: list[Event]) -> None:
        for event in events:
            self._events.append({"at": time.time(), "level": event.level, "text": event.text})

    def _alerts(self) -> list[dict[str, str]]:
        """What is wrong now, for the top of the page."""
        stale = [watch.label for watch in self._watches if watch.level == STALE]
        silent = [row["name"] for row in self._crew.nodes.rows() if row["level"] == "error"]
        alerts = [{"level": "error", "text": f"no messages: {', '.join(stale)}"}] if stale else []
        if silent:
            alerts.append({"level": "error", "text": f"no sign of life: {', '.join(silent)}"})
        bad = [row for row in self._crew.monitor_rows() if not row["ok"] and row["text"] != "not heard"]
        alerts += [{"level": "error", "text": f"{row['name']} {row['text']}: {row['hint']}"} for row in bad]
        return alerts

    def _switch(self, on: bool) -> None:
        self._watching = on
        now_s = self._now_s()
        for watch in self._watches:
            watch.restart(now_s)
        for view in self._cameras:
            view.tap.open() if on else view.tap.close()
        with self._lock:
            self._joints.open() if on else self._joints.close()


def main(args: list[str] | None = None) -> int:
    """Serve the page until the node is told to end."""
    return run_node(PageNode, args)


if __name__ == "__main__":
    sys.exit(main())
