# SPDX-License-Identifier: Apache-2.0

"""Draw the end of a rerun recording without a screen: `python docs/media/rerun_picture.py run.rrd run.png`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rerun.experimental import ViewerClient

PORT = 9887
PATIENCE_S = 120.0
LOADED_S = 15.0  # the viewer says nothing when it has read a file


def draw(recording: Path, picture: Path) -> None:
    """Write the picture (PNG).

    Raises:
        SystemExit: the viewer drew nothing within two minutes.
    """
    command = ["rerun", "--headless", "--hide-welcome-screen", "--bind", "127.0.0.1", "--port", str(PORT)]
    viewer = subprocess.Popen([*command, "--window-size", "1600x1000", str(recording)], start_new_session=True)
    try:
        time.sleep(LOADED_S)
        deadline, why = time.monotonic() + PATIENCE_S, ""
        while time.monotonic() < deadline:
            try:
                # A software renderer may take longer than the viewer waits; the next attempt finds more of it done.
                ViewerClient(f"rerun+http://127.0.0.1:{PORT}/proxy").save_screenshot(str(picture))
            except (RuntimeError, ConnectionError) as error:
                why = str(error)
                continue
            return
        raise SystemExit(f"{picture}: the viewer drew nothing within {PATIENCE_S:g} s: {why}")
    finally:
        os.killpg(viewer.pid, signal.SIGTERM)  # `rerun` is a script that hands no signal on to the viewer
        viewer.wait(10.0)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
