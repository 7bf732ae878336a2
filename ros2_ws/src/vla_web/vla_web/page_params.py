# SPDX-License-Identifier: Apache-2.0

"""Parameters of the page's node."""

from dataclasses import dataclass

from vla_common.params import param


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParams:
    """See the descriptions; `ros2 param describe /page <name>` shows them too."""

    profile: str = param(description="Path of the robot profile; its streams are shown.")
    web_host: str = param(
        "127.0.0.1",
        "Address that the server listens on. Other than loopback (127.0.0.1, ::1, localhost) needs web_token.",
    )
    web_port: int = param(8080, "TCP port of the page; 0: any free one, named in the log.", minimum=0, maximum=65535)
    web_token: str = param("", "Secret that a browser must give, at least 8 characters; empty: none, on loopback only.")
    episodes_dir: str = param(
        "", "Folder whose episodes are listed until the recorder says where it writes its own; empty: none."
    )
    image_rate_hz: float = param(
        8.0, "Pictures per second of each camera on the page, at most.", minimum=0.5, maximum=15.0
    )
    image_width: int = param(320, "Width of the pictures on the page [pixels], at most.", minimum=64, maximum=640)
    jpeg_quality: int = param(70, "Quality of the pictures on the page.", minimum=10, maximum=95)
