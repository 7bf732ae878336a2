# SPDX-License-Identifier: Apache-2.0

"""Parameters of the node that publishes where cameras sit."""

from dataclasses import dataclass

from vla_common.params import param


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraFramesParams:
    """See the descriptions; `vla_common.params.table` prints them."""

    profile: str = param(description="Robot profile (YAML file); the mounts of its cameras are published.")
    transforms_file: str = param(
        "", "Camera transforms, as calibrate_hand_eye writes them (YAML); they win over the profile's. Empty: none."
    )
