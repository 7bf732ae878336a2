# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_teleop camera_frames``: publish where the cameras sit as static transforms (REP-105)."""

import sys
from pathlib import Path
from typing import Any

from geometry_msgs.msg import TransformStamped
from tf2_msgs.msg import TFMessage
from vla_common.params import declare
from vla_common.qos import LATCHED
from vla_common.run import ManagedNode, run_node
from vla_core.kinematics import quaternion_from_rotation
from vla_core.profile import load_profile
from vla_core.specs import MountSpec

from vla_teleop.cameras.camera_frames_params import CameraFramesParams
from vla_teleop.cameras.errors import CameraError
from vla_teleop.cameras.transforms import pose_of, read_transforms


class CameraFramesNode(ManagedNode):
    """Publishes mounts once, latched."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("camera_frames", **kwargs)
        params = declare(self, CameraFramesParams)
        profile = load_profile(params.profile)
        mounts = {camera.name: camera.mount for camera in profile.cameras if camera.mount is not None}
        if params.transforms_file:
            given = read_transforms(Path(params.transforms_file))
            for name in given:
                if name not in profile.camera_names:
                    raise CameraError(
                        f"{params.transforms_file}: the profile {profile.robot} has no camera '{name}'; it has: "
                        f"{', '.join(profile.camera_names)}"
                    )
            mounts.update(given)
        if not mounts:
            raise CameraError(
                f"{params.profile}: no camera has a mount and no transforms_file is given, so there is nothing to publish"
            )
        self._publisher = self.create_publisher(TFMessage, "tf_static", LATCHED)
        self._publisher.publish(TFMessage(transforms=[self._edge(mount) for mount in mounts.values()]))
        listed = "; ".join(f"{name}: {mount.child} in {mount.parent}" for name, mount in mounts.items())
        self.get_logger().info(f"camera frames published: {listed}")

    def _edge(self, mount: MountSpec) -> TransformStamped:
        edge = TransformStamped(child_frame_id=mount.child)
        edge.header.frame_id = mount.parent
        edge.header.stamp = self.get_clock().now().to_msg()
        t, r = edge.transform.translation, edge.transform.rotation
        t.x, t.y, t.z = mount.xyz
        r.x, r.y, r.z, r.w = (float(v) for v in quaternion_from_rotation(pose_of(mount)[:3, :3]))
        return edge


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(CameraFramesNode, args)


if __name__ == "__main__":
    sys.exit(main())
