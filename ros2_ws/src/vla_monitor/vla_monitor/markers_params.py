# SPDX-License-Identifier: Apache-2.0

"""Parameters of the markers node."""

from dataclasses import dataclass

from vla_common.params import param


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkersParams:
    """See the descriptions; `vla_common.params.table` prints them."""

    profile: str = param(description="Robot profile (YAML file).")
    rate_hz: float = param(10.0, "Markers per second of the node clock [Hz].", minimum=0.5, maximum=60.0)
    path_s: float = param(10.0, "Length of the path that the tool has taken [s].", minimum=0.1, maximum=600.0)
    fade_s: float = param(4.0, "A chunk has faded away after this time [s].", minimum=0.1, maximum=600.0)
    chunks: int = param(4, "Chunks that are drawn at a time.", minimum=1, maximum=50)
    text_height: float = param(1.0, "Where phase and task stand, above the base [m].", minimum=0.0, maximum=10.0)
