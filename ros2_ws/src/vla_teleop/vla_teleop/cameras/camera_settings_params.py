# SPDX-License-Identifier: Apache-2.0

"""Parameters of the node that applies and watches camera settings."""

from dataclasses import dataclass

from vla_common.params import param


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettingsParams:
    """See the descriptions; `vla_common.params.table` prints them."""

    profile: str = param(description="Robot profile (YAML file) that names the cameras' drivers.")
    settings_file: str = param(description="Camera settings, as calibrate_cameras writes them (JSON).")
    driver_timeout_s: float = param(60.0, "How long to wait for each camera's driver [s].", minimum=0.1)
    check_period_s: float = param(
        10.0,
        "How often the settings are compared with the file; differences are warnings on /diagnostics [s].",
        minimum=0.1,
    )
    once: bool = param(False, "End after applying: exit code 0 where every camera took its settings, else 1.")
