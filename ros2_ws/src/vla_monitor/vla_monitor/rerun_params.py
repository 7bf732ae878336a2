# SPDX-License-Identifier: Apache-2.0

"""Parameters of the rerun node."""

from dataclasses import dataclass

from vla_common.params import param

LIVE, WEB, SAVE = "live", "web", "save"


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunParams:
    """See the descriptions; `vla_common.params.table` prints them."""

    profile: str = param(description="Robot profile (YAML file).")
    mode: str = param(
        LIVE,
        "live: a viewer window; web: a viewer page for the browser of this machine; save: an .rrd file.",
        choices=(LIVE, WEB, SAVE),
    )
    file: str = param("", "mode `save`: the .rrd file. Empty: outputs/rerun/<robot>_<time>.rrd.")
    port: int = param(
        9876, "modes `live` and `web`: port of the viewer on this machine's loopback.", minimum=1, maximum=65535
    )
    web_port: int = param(9090, "mode `web`: port of the page, on this machine's loopback.", minimum=1, maximum=65535)
    image_hz: float = param(10.0, "Images of each camera per second at most [Hz].", minimum=0.1, maximum=120.0)
    jpeg_quality: int = param(
        80, "Of raw images, which are encoded as JPEG; compressed ones are taken as they are.", minimum=1, maximum=100
    )
    rate_hz: float = param(30.0, "Values of each joint per second at most [Hz].", minimum=0.5, maximum=500.0)
    queue: int = param(
        256, "Messages that wait for the viewer; what comes on top is dropped and counted.", minimum=1, maximum=100000
    )
