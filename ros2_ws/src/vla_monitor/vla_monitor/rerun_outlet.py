# SPDX-License-Identifier: Apache-2.0

"""Where a rerun recording goes: a file, or a viewer in a process of its own that listens on loopback."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import rerun as rr
from vla_core.errors import VlaError

from vla_monitor.rerun_params import LIVE, SAVE, WEB, RerunParams

LOOPBACK = "127.0.0.1"
END_S = 3.0
CLOSED = "the viewer was closed"


class RerunError(VlaError):
    """There is nowhere to log to."""


class Outlet:
    """One recording and what shows it.

    Attributes:
        recording: To log to.
        where: File or address, for people.
    """

    def __init__(self, params: RerunParams, robot: str, blueprint: Any) -> None:
        """Open the file, or start the viewer.

        Raises:
            RerunError: the file exists already or cannot be written, or there is no viewer.
        """
        self.recording = rr.RecordingStream(f"vla_{robot}")
        self._viewer: subprocess.Popen[bytes] | None = None
        if params.mode == SAVE:
            self.where = str(_free_file(params.file, robot))
            self.recording.save(self.where, default_blueprint=blueprint)
            return
        self._viewer = _start_viewer(params)
        address = f"rerun+http://{LOOPBACK}:{params.port}/proxy"
        page = f"http://{LOOPBACK}:{params.web_port}?url=rerun%2Bhttp://{LOOPBACK}:{params.port}/proxy"
        self.where = page if params.mode == WEB else "the rerun window"
        self.recording.connect_grpc(address, default_blueprint=blueprint)

    def ended(self) -> str:
        """Why nobody looks on any more; empty while somebody may."""
        code = None if self._viewer is None else self._viewer.poll()
        if code is None:
            return ""
        if code == 0:
            return CLOSED
        return (
            f"the rerun viewer ended with exit code {code}; is its port taken, or is there no screen? "
            "Without one use the mode web or save (rerun_mode in the launch files)"
        )

    def close(self) -> str:
        """Hand everything over that was logged, and end the viewer; returns why something was not handed over, if so."""
        problem = ""
        if not self.ended():  # a viewer that was closed takes nothing more
            try:
                self.recording.flush(timeout_sec=END_S)
            except RuntimeError as error:
                problem = f"the end of the recording was not handed over: {error}"
        self.recording.disconnect()
        if self._viewer is not None and self._viewer.poll() is None:
            self._end(self._viewer)
        return problem

    @staticmethod
    def _end(viewer: "subprocess.Popen[bytes]") -> None:
        """End the whole group: the program `rerun` is a script that starts the viewer and hands no signal on."""
        deadline = time.monotonic() + END_S
        with contextlib.suppress(ProcessLookupError):  # the last of the group has gone
            os.killpg(viewer.pid, signal.SIGTERM)
            while time.monotonic() < deadline:
                viewer.poll()
                os.killpg(viewer.pid, 0)
                time.sleep(0.02)
            os.killpg(viewer.pid, signal.SIGKILL)
        viewer.wait()


def _free_file(given: str, robot: str) -> Path:
    path = (
        Path(given).expanduser() if given else Path("outputs/rerun") / f"{robot}_{time.strftime('%Y%m%d-%H%M%S')}.rrd"
    )
    if path.exists():
        raise RerunError(f"{path}: exists already; name another file, or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise RerunError(f"{path}: cannot be written: {error.strerror}; name another file") from None
    return path


def _start_viewer(params: RerunParams) -> "subprocess.Popen[bytes]":
    program = shutil.which("rerun")
    if program is None:
        raise RerunError("there is no program 'rerun' on PATH; it comes with: pip install rerun-sdk")
    command = [program, "--bind", LOOPBACK, "--port", str(params.port)]
    if params.mode == WEB:
        command += ["--serve-web", "--web-viewer-port", str(params.web_port)]
    assert params.mode in (LIVE, WEB)
    return subprocess.Popen(command, start_new_session=True)
