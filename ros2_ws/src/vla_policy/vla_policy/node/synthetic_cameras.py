# SPDX-License-Identifier: Apache-2.0

"""Labelled test pictures for cameras that are silent at the start, where that was asked for (`allow_synthetic`).

Made for trying a set-up out: on a robot that moves by what a policy sees, a picture that is not real is a hazard, so it is
allowed only where nothing is sent or where the policy does not look at pictures. A camera that begins to send takes its
place back.
"""

from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from vla_common.diagnostics import Diagnostics
from vla_common.params import ParameterError
from vla_core.frames import IMAGE_PREFIX, FrameBuilder
from vla_core.specs import CameraSpec
from vla_core.stamps import stamp_ns, to_ns

from vla_policy.node.policy_params import PolicyParams
from vla_policy.policies.synthetic import LABEL, synthetic_image, to_png

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
LOOKS_AT_NO_PICTURE = "scripted"
SILENT_AFTER_S = 2.0


class SyntheticCameras:
    """Feeds the frame builder in the place of silent cameras; without `allow_synthetic` it does nothing.

    Attributes:
        names: Cameras that are replaced at present.
    """

    def __init__(self, node: Node, params: PolicyParams, builder: FrameBuilder, diagnostics: Diagnostics) -> None:
        """Begin to wait for the cameras.

        Raises:
            ParameterError: pictures that are not real are not allowed here, or cannot be made for one of the cameras.
        """
        self.names: set[str] = set()
        self._node = node
        self._builder = builder
        self._begun_ns: int | None = None
        self._given_ns: dict[str, int] = {}
        self._real: set[str] = set()
        self._count = 0
        if not params.allow_synthetic:
            return
        cameras = builder.profile.cameras
        _check(params, cameras)
        diagnostics.part("synthetic cameras", self._diagnosis)
        for camera in cameras:
            node.create_timer(1.0 / camera.rate_hz, lambda camera=camera: self._feed(camera))

    def note(self) -> str:
        """For people, in every status; empty while all cameras are real."""
        return f"{LABEL} cameras: {', '.join(sorted(self.names))}" if self.names else ""

    def _feed(self, camera: CameraSpec) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        if self._begun_ns is None or now_ns < self._begun_ns:
            self._begun_ns = now_ns
        if camera.name in self._real or now_ns - self._begun_ns < to_ns(SILENT_AFTER_S):
            return
        newest_ns = self._builder.newest_ns(IMAGE_PREFIX + camera.name)
        if newest_ns != self._given_ns.get(camera.name):
            self._is_real(camera)
            return
        if camera.name not in self.names:
            self.names.add(camera.name)
            self._node.get_logger().warning(
                f"camera '{camera.name}' is silent on {camera.topic}: {LABEL} pictures take its place (allow_synthetic)"
            )
        self._count += 1
        msg = _message(camera, self._count)
        msg.header.stamp = self._node.get_clock().now().to_msg()
        self._builder.push(IMAGE_PREFIX + camera.name, now_ns, msg)
        self._given_ns[camera.name] = stamp_ns(msg) if camera.stamp == "header" else now_ns

    def _is_real(self, camera: CameraSpec) -> None:
        self._real.add(camera.name)
        if camera.name in self.names:
            self.names.discard(camera.name)
            self._node.get_logger().info(f"camera '{camera.name}' sends now; its {LABEL} pictures end")

    def _diagnosis(self) -> tuple[bytes, str, dict[str, str]]:
        level = DiagnosticStatus.WARN if self.names else DiagnosticStatus.OK
        return level, self.note() or "all cameras are real", {}


def _check(params: PolicyParams, cameras: tuple[CameraSpec, ...]) -> None:
    reasons = []
    if not params.dry_run and params.policy != LOOKS_AT_NO_PICTURE:
        reasons.append(
            f"policy '{params.policy}' would move the arm by pictures that are not real; add dry_run:=true, or take "
            f"policy:={LOOKS_AT_NO_PICTURE}"
        )
    if params.lockstep:
        reasons.append("in lockstep simulated time waits for every camera; use clock:=paced")
    unknown = [camera.name for camera in cameras if camera.depth or camera.type not in (RAW, COMPRESSED)]
    if unknown:
        reasons.append(f"no pictures can be made for {', '.join(unknown)}: only for colour {RAW} and {COMPRESSED}")
    if reasons:
        raise ParameterError(f"allow_synthetic: {'; '.join(reasons)}.")


def _message(camera: CameraSpec, index: int) -> Any:
    pixels = synthetic_image(camera.name, camera.size, index)
    if camera.type == COMPRESSED:
        return CompressedImage(format="png", data=to_png(pixels))
    height, width = camera.size
    return Image(height=height, width=width, encoding="rgb8", step=3 * width, data=pixels.tobytes())
