# SPDX-License-Identifier: Apache-2.0

"""Parameters of the node preflight."""

from dataclasses import dataclass

from vla_common.params import param


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightParams:
    """See the descriptions."""

    profile: str = param(description="Robot profile (YAML file).")
    camera_settings: str = param("", "Settings that calibrate_cameras saved; the cameras must have them. Empty: none.")
    seconds: float = param(2.0, "How long to listen at each look [wall s].", minimum=0.5, maximum=600.0)
    pause_s: float = param(2.0, "Pause between two looks [wall s].", minimum=0.0, maximum=600.0)
    patience_s: float = param(
        20.0, "What is red is logged after this time, in which drivers come up [wall s].", minimum=0.0, maximum=600.0
    )
