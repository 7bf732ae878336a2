# SPDX-License-Identifier: Apache-2.0

"""The node of `record_skill`: listens to the robot, the camera and the buttons, and keeps the waypoints. Moves nothing."""

import queue
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from vla_common.qos import COMMAND, EVENT, SENSOR
from vla_common.run import EXIT_FAILURE, EXIT_OK, ManagedNode
from vla_common.stillness import Stillness
from vla_common.terminal_keys import terminal_keys
from vla_common.ticks import make_ticker
from vla_core.errors import CodecError, ProfileError, listing, nearest_name
from vla_core.kinematics import forward, pose_matrix, rotation_from_quaternion, rotation_from_rpy
from vla_core.profile import Profile
from vla_core.specs import CameraSpec
from vla_core.stamps import stamp_ns, to_s
from vla_msgs.msg import TeleopEvent

from vla_teleop.cameras.session import CameraTap
from vla_teleop.node.joint_watch import JointWatch
from vla_teleop.node.lesson import Lesson
from vla_teleop.node.skill_robot import arm_and_gripper
from vla_teleop.skills.errors import SkillFileError
from vla_teleop.skills.table import GRIPPER_MAX
from vla_teleop.skills.waypoints import Waypoint

Array = NDArray[np.float64]
ADD, UNDO, PAUSE, MARK, SAVE = "add", "undo", "pause", "mark", "save"
KEYS = {"a": ADD, "u": UNDO, "p": PAUSE, "v": MARK, "s": SAVE, "q": SAVE}
EVENTS = {"waypoint_add": ADD, "waypoint_undo": UNDO, "waypoint_pause": PAUSE, "waypoint_save": SAVE}
HELP = "keys: a add   u undo   p pause   v verify the grasp at the last waypoint   s save and end"
POSE_TOPIC = "tcp_pose_broadcaster/pose"
AGREES_M = 0.001
HELD = 5.0  # gripper numbers between told and measured, above which it holds something
RATE_HZ = 50.0
POLL_S = 0.2  # wall
SILENT_S = 0.5  # joint states older than this say nothing about where the arm is
QUALITY = 95  # of JPEG


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachOptions:
    """What was asked for: file, its skill_id, whether to go on with it, camera (empty: none), largest age of its picture [s]."""

    output: Path
    skill_id: str = "0"
    append: bool = False
    camera: str = ""
    max_age_s: float = 0.5


class NoAnswerError(SkillFileError):
    """A waypoint cannot be taken now; the text says why."""


class TeacherNode(ManagedNode):
    """Takes waypoints where the arm stands, when a button or a key says so."""

    def __init__(
        self,
        profile: Profile,
        options: TeachOptions,
        *,
        source: TextIO | None = None,
        say: Callable[[str], None] = print,
        **kwargs: Any,
    ) -> None:
        """Open the file and listen.

        Args:
            profile: Of the robot.
            options: What was asked for.
            source: Where keys come from; standard input if left out.
            say: Takes lines for the person.
            **kwargs: Of the node.

        Raises:
            VlaError: the file exists, or the profile has no such camera or no section teleop.
        """
        super().__init__("record_skill", **kwargs)
        self._options, self._say, self._source = options, say, source or sys.stdin
        self._teleop, self._kinematics, self._arm, self._gripper = arm_and_gripper(profile)
        self.lesson = Lesson(options.output, append=options.append)
        self._ticker = make_ticker(self, RATE_HZ)
        self._names = (*self._arm.joints, *self._gripper.joints)
        self._watch = JointWatch(self, profile, self._ticker, self._names)
        self._rest = Stillness(self._arm.joints)
        self._now_ns, self._silent_s = 0, 0.0
        self._tap = CameraTap(self, _camera(profile, options.camera)) if options.camera else None
        self._wishes: queue.Queue[str] = queue.Queue()
        self._told: float | None = None  # the gripper's target in force [rad or m]
        self._pose: PoseStamped | None = None
        self.create_subscription(TeleopEvent, "teleop/event", self._on_event, EVENT)
        self.create_subscription(JointState, self._gripper.record.topic, self._on_target, COMMAND)
        self.create_subscription(PoseStamped, POSE_TOPIC, self._on_pose, SENSOR)
        self._thread = self.start_thread(self._teach, "teach")

    def close(self) -> None:
        """Give the terminal back."""
        self.stop.set()
        self._thread.join(timeout=2.0)
        self._ticker.close()

    def wish(self, what: str) -> None:
        """Do one of ADD, UNDO, PAUSE, MARK, SAVE soon; from any thread."""
        self._wishes.put(what)

    def _teach(self) -> None:
        self._watch.start()
        with self._ticker.attached(), terminal_keys(self._wishes, KEYS, self._source) as terminal:
            self._say(HELP if terminal else f"no terminal: buttons only ({listing(EVENTS)} on teleop/event)")
            while not self.stop.is_set():
                now = self._ticker.wait(timeout_s=POLL_S)
                if now is not None and self._watch.complete():
                    self._now_ns = now
                    self._silent_s = self._watch.age_s(now, self._names)
                    self._rest.note(now, self._watch.positions(self._arm.joints))
                while not self._wishes.empty() and not self.stop.is_set():
                    self._serve(self._wishes.get())

    def _serve(self, what: str) -> None:
        lesson = self.lesson
        actions = {ADD: lambda: lesson.add(self._waypoint), UNDO: lesson.undo, PAUSE: lesson.pause, MARK: lesson.mark}
        if what == SAVE:
            self.stop.set(EXIT_OK)
            return
        try:
            self._say(actions[what]())
        except NoAnswerError as error:
            self._say(f"no waypoint was added: {error}")
        except SkillFileError as error:  # the disk is full, say; what is in the file stays there
            self._say(str(error))
            self.stop.set(EXIT_FAILURE, str(error))

    def _waypoint(self, number: int) -> Waypoint:
        """A waypoint of where the arm stands now."""
        now = self.get_clock().now().nanoseconds
        if not self._watch.complete():
            raise NoAnswerError(f"joint states of {listing(self._names)} have not arrived on {self._watch.topics}")
        if self._silent_s > SILENT_S:
            raise NoAnswerError(
                f"{self._watch.topics} is silent for {self._silent_s:.1f} s. Is the robot's driver running?"
            )
        if not np.isfinite(self._watch.positions(self._names)).all():
            raise NoAnswerError(f"{self._watch.topics}: a joint position is not a number")
        moves = self._rest.why_not(self._now_ns)
        if moves is not None:
            raise NoAnswerError(f"the arm does not stand still ({moves}); let go, then add again")
        q = self._watch.positions(self._kinematics.joints)
        flange = self._to_table() @ forward(self._kinematics, q)
        T = flange @ self._teleop.T_tool_tcp
        self._compare(T, flange)
        stamp = datetime.fromtimestamp(now * 1e-9, tz=UTC).strftime("%Y%m%d_%H%M%S_%f")
        return Waypoint(
            T=T,
            joints=q,
            gripper=self._closing(),
            image=self._picture(number, stamp, now),
            timestamp=stamp,
            skill_id=self._options.skill_id,
        )

    def _to_table(self) -> Array:
        """Pose ``(4, 4)`` of the profile's base_frame in the base of the kinematics table, the frame of waypoint files."""
        arm = self._kinematics
        return np.array(np.linalg.inv(pose_matrix(arm.base_xyz, rotation_from_rpy(arm.base_rpy))), dtype=np.float64)

    def _closing(self) -> int:
        """What the gripper is to be told: its target in force where one was heard, for holding needs force; else measured."""
        measured = self._teleop.gripper_number(float(self._watch.positions(self._gripper.joints)[0]))
        number = measured if self._told is None else self._teleop.gripper_number(self._told)
        if abs(number - measured) > HELD:
            self._say(
                f"the gripper is told {number:.0f} and is at {measured:.0f}: it holds something; {number:.0f} is taken"
            )
        return int(min(max(round(number), 0), GRIPPER_MAX))

    def _compare(self, T: Array, flange: Array) -> None:
        """Warn where the robot's controller puts the tool elsewhere; it may know the tool centre point or only the flange."""
        pose = self._pose
        if pose is None:
            return
        p, o = pose.pose.position, pose.pose.orientation
        theirs = pose_matrix([p.x, p.y, p.z], rotation_from_quaternion([o.x, o.y, o.z, o.w]))
        far = float(np.linalg.norm(theirs[:3, 3] - T[:3, 3]))
        if min(far, float(np.linalg.norm(theirs[:3, 3] - flange[:3, 3]))) > AGREES_M:
            self._say(
                f"warning: {POSE_TOPIC} is {far * 1e3:.1f} mm from the tool centre point of the profile (limit "
                f"{AGREES_M * 1e3:g} mm). Skills are driven with teleop.tcp of the profile and its kinematics: compare both "
                "with the teach pendant"
            )

    def _picture(self, number: int, stamp: str, now: int) -> str:
        """Write the newest picture beside the file; returns its path relative to it, or an empty text."""
        if self._tap is None:
            return ""
        camera, seen = self._tap.camera.name, self._tap.count
        if not seen:
            self._say(f"no picture: camera '{camera}' has sent none on {self._tap.camera.topic}")
            return ""
        msg = self._tap.message(seen - 1)
        age_s = to_s(now - stamp_ns(msg))
        if age_s > self._options.max_age_s:
            self._say(
                f"no picture: the newest of camera '{camera}' is {age_s:.2f} s old (limit {self._options.max_age_s:g} s)"
            )
            return ""
        try:
            image = self._tap.newest()
        except CodecError as error:
            self._say(f"no picture: {error}")
            return ""
        return write_picture(self.lesson, f"waypoint_{number:03d}_{stamp}.jpg", image)

    def _on_event(self, msg: TeleopEvent) -> None:
        if msg.name in EVENTS:
            self.wish(EVENTS[msg.name])

    def _on_target(self, msg: JointState) -> None:
        joint = self._gripper.joints[0]
        if joint in msg.name:
            self._told = float(msg.position[list(msg.name).index(joint)])

    def _on_pose(self, msg: PoseStamped) -> None:
        self._pose = msg


def _camera(profile: Profile, name: str) -> CameraSpec:
    found = {camera.name: camera for camera in profile.cameras if not camera.depth}
    if name not in found:
        raise ProfileError(
            f"{profile.source}: there is no colour camera '{name}'; there are: {listing(found)}{nearest_name(name, found)}"
        )
    return found[name]


def write_picture(lesson: Lesson, name: str, image: NDArray[Any]) -> str:
    """Write an RGB image ``(H, W, 3)`` uint8 beside the file of a lesson; returns its path relative to it.

    Raises:
        SkillFileError: it cannot be written.
    """
    folder = lesson.pictures
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    part = folder / f".{name}.part"
    try:
        folder.mkdir(exist_ok=True)
        part.write_bytes(data.tobytes())
        part.replace(folder / name)  # whole or not at all
    except OSError as error:
        raise SkillFileError(f"{folder / name}: the picture cannot be written: {error}") from None
    return f"{folder.name}/{name}"
